"""Calls to a party: what it raises is raised here, and nobody else can answer for it."""

import socket
import threading
import time

import pytest

from protocols.base import (
    BudgetExceeded,
    ConfigurationError,
    IntegrityError,
    MessageError,
    ProofRefused,
    StaleVersion,
    UnknownCase,
)
from protocols.ledger import Message
from service import peer as peers
from service.errors import LimitReached, ServerFault, Unauthenticated, Unavailable, WrongPin
from service.peer import Peer
from service.requests import sign_response
from service.web import Endpoint
from tests.service.keys import OTHER_MANIFEST, party, verifiers
from tests.service.serving import build, serving

EXCHANGE, MEMBER = party("exchange"), party("member-2")
PARTIES = verifiers(EXCHANGE, MEMBER)


class Note(Message, frozen=True):
    text: str
    data: memoryview


class First(Message, frozen=True):
    first: int = 0
    name: str = ""


ERRORS = [
    StaleVersion("version 3 is over"),
    UnknownCase("no such case"),
    WrongPin("no case has this number and PIN"),
    LimitReached("too many", 17.5),
    BudgetExceeded("too many results", 86_400.0),
    ProofRefused("a proof fails", "platform-a", "row 3", b"evidence"),
    Unavailable("member-3 cannot be reached", "http://10.0.0.3"),
]


def _raise(call):
    raise ERRORS[call.query.first] if call.query.first < len(ERRORS) else KeyError("secret")


ENDPOINTS = [
    Endpoint("POST", "/notes", lambda call: call.message, Note, Note),
    Endpoint("POST", "/steps", lambda call: call.caller.encode() + call.message, bytes, bytes, {"member"}),
    Endpoint("GET", "/query", lambda call: call.query, None, First, query=First),
    Endpoint("GET", "/raise", _raise, query=First),
    Endpoint("GET", "/large", lambda call: bytes(1 << 20), None, bytes),
    Endpoint("PUT", "/nothing", lambda call: None),
]


@pytest.fixture(scope="module")
def url():
    with serving(build(ENDPOINTS, EXCHANGE, PARTIES)) as url:
        yield url


@pytest.fixture
def member(url):
    peer = Peer(url, "exchange", PARTIES["exchange"], MEMBER)
    yield peer
    peer.close()


def test_messages_and_bytes_go_both_ways(member, url):
    note = Note("hello", memoryview(b"\x00" * 1000))
    assert member.call("POST", "/notes", note, kind=Note) == note
    assert member.call("POST", "/steps", b"abc", kind=bytes) == b"member-2abc"
    assert member.call("PUT", "/nothing") is None
    client = Peer(url, "exchange", PARTIES["exchange"], None)
    assert client.call("POST", "/notes", note, kind=Note) == note
    with pytest.raises(Unauthenticated, match="sign the request"):
        client.call("POST", "/steps", b"abc", kind=bytes)


def test_a_query_arrives_as_it_was_meant(member):
    query = {"first": 3, "name": "a b&c=d/é%"}
    assert member.call("GET", "/query", kind=First, query=query) == First(3, "a b&c=d/é%")


@pytest.mark.parametrize("number", range(len(ERRORS)), ids=[type(error).__name__ for error in ERRORS])
def test_what_is_raised_there_is_raised_here(member, number):
    with pytest.raises(type(ERRORS[number]), match="exchange: ") as raised:
        member.call("GET", "/raise", query={"first": number})
    assert type(raised.value) is type(ERRORS[number])
    if isinstance(ERRORS[number], BudgetExceeded):
        assert raised.value.retry_after == ERRORS[number].retry_after
    if isinstance(ERRORS[number], ProofRefused):
        assert (raised.value.party, raised.value.check) == ("platform-a", "row 3")
    assert "10.0.0.3" not in str(raised.value)


def test_a_fault_there_is_a_named_fault_here(member):
    with pytest.raises(ServerFault, match=r"incident [0-9a-f]{16}") as raised:
        member.call("GET", "/raise", query={"first": 99})
    assert "secret" not in str(raised.value)


def test_a_party_that_is_away_is_named_with_its_url():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unavailable, match="member-2 cannot be reached") as raised:
        Peer(url, "member-2", PARTIES["member-2"], EXCHANGE).call("PUT", "/nothing")
    assert url in str(raised.value)
    assert url not in raised.value.reason


def _answering(answers, delay=0.0):
    """A server that sends the n-th of `answers` to the n-th connection, whatever it is asked, and counts."""
    listener = socket.create_server(("127.0.0.1", 0))
    count = []

    def run():
        for answer in answers:
            connection, _ = listener.accept()
            count.append(1)
            with connection:
                connection.recv(65536)
                time.sleep(delay)
                connection.sendall(answer)
        listener.close()

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", count


def _http(status, body=b"", **headers):
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def test_only_the_party_itself_can_answer(url):
    for verifier, me in [
        (verifiers(party("exchange"))["exchange"], MEMBER),
        (verifiers(EXCHANGE, manifest=OTHER_MANIFEST)["exchange"], None),
    ]:
        with pytest.raises(IntegrityError, match="exchange"):
            Peer(url, "exchange", verifier, me).call("PUT", "/nothing")


def test_an_old_answer_does_not_pass_for_a_new_one():
    first, _ = peers.outgoing(MEMBER, "exchange", "PUT", "/nothing", "", b"")
    url, _ = _answering([_http(204, **sign_response(EXCHANGE, first, 204, "", b""))])
    with pytest.raises(IntegrityError, match="for this request"):
        Peer(url, "exchange", PARTIES["exchange"], MEMBER).call("PUT", "/nothing")


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, IntegrityError), (204, IntegrityError), (403, IntegrityError), (502, Unavailable), (503, Unavailable)],
)
def test_what_stands_in_front_can_only_say_that_the_party_is_away(status, error):
    url, _ = _answering([_http(status, b"<html>")])
    with pytest.raises(error, match="exchange"):
        Peer(url, "exchange", PARTIES["exchange"], None).call("PUT", "/nothing")


@pytest.mark.parametrize("status", [200, 302, 404])
def test_unverified_answers_have_to_be_well_formed_too(status):
    url, _ = _answering([_http(status, b"<html>", Content_Type="text/html")])
    with pytest.raises(MessageError):
        Peer(url, "exchange", None, None).call("GET", "/manifest", kind=Note)


def test_without_keys_nothing_is_verified(url):
    assert Peer(url, "exchange", None, None).call("GET", "/query", kind=First) == First()


def test_an_answer_that_is_too_large_is_refused(url):
    peer = Peer(url, "exchange", PARTIES["exchange"], None, max_bytes=1 << 19)
    with pytest.raises(MessageError, match="larger"):
        peer.call("GET", "/large", kind=bytes)
    assert len(Peer(url, "exchange", PARTIES["exchange"], None).call("GET", "/large", kind=bytes)) == 1 << 20


def test_an_encoded_answer_is_refused():
    url, _ = _answering([_http(200, b"x", Content_Encoding="gzip")])
    with pytest.raises(IntegrityError):
        Peer(url, "exchange", PARTIES["exchange"], None).call("GET", "/query", kind=bytes)


def test_a_broken_connection_is_tried_again_only_if_told_so(monkeypatch):
    monkeypatch.setattr(peers, "_PAUSE", 0.01)
    for retries, tried in [(0, 1), (2, 3)]:
        url, count = _answering([b""] * 5)
        with pytest.raises(Unavailable, match="broke off"):
            Peer(url, "exchange", PARTIES["exchange"], MEMBER).call("PUT", "/nothing", retries=retries)
        assert len(count) == tried


def test_a_party_that_answers_too_late_is_not_asked_again(monkeypatch):
    asked, outgoing = [], peers.outgoing
    monkeypatch.setattr(peers, "outgoing", lambda *given: asked.append(given) or outgoing(*given))
    url, _ = _answering([b""] * 3, delay=2)
    with pytest.raises(Unavailable, match="in time"):
        Peer(url, "exchange", PARTIES["exchange"], MEMBER, timeout=0.2).call("PUT", "/nothing", retries=2)
    assert len(asked) == 1


def test_a_retry_is_a_new_request(url, monkeypatch):
    """Its nonce is another one: a server that saw the first does not take the second for a replay."""
    made, send = [], peers.httpx.Client.send

    def flaky(self, request, **kwargs):
        made.append(request.headers["Hushmatch-Nonce"])
        assert request.headers["Accept-Encoding"] == "identity"
        answer = send(self, request, **kwargs)
        if len(made) == 1:
            answer.close()
            raise peers.httpx.ReadError("lost")
        return answer

    monkeypatch.setattr(peers, "_PAUSE", 0.01)
    monkeypatch.setattr(peers.httpx.Client, "send", flaky)
    Peer(url, "exchange", PARTIES["exchange"], MEMBER).call("PUT", "/nothing", retries=1)
    assert len(set(made)) == 2


@pytest.mark.parametrize("url", ["ftp://a", "127.0.0.1:80", "http://", "http://a/prefix", "http://a?x=1"])
def test_a_url_that_cannot_be_is_refused(url):
    with pytest.raises(ConfigurationError, match="member-2"):
        Peer(url, "member-2", None, None)


def test_keys_of_somebody_else_are_refused():
    with pytest.raises(ConfigurationError, match="member-2"):
        Peer("http://a", "exchange", PARTIES["member-2"], None)


def test_a_path_that_a_url_would_change_is_refused(member):
    with pytest.raises(ConfigurationError, match="path"):
        member.call("GET", "/a b")

"""What a role answers on a real socket: its own endpoints to who may, and everything else refused by name."""

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import httpx
import msgspec
import pytest

from protocols.base import ConfigurationError, IntegrityError, StaleVersion
from protocols.ledger import Message, encode
from service import bodies, web
from service.bodies import JSON, MSGPACK
from service.errors import Failure, StorageFailed
from service.limits import Rate
from service.metrics import Metrics
from service.requests import outgoing, verify_response
from service.web import Call, Endpoint
from tests.service.keys import OTHER_MANIFEST, MemoryNonces, party, verifiers
from tests.service.serving import GENEROUS, build, serving

EXCHANGE, MEMBER, PLATFORM = party("exchange"), party("member-2"), party("platform-a")
PARTIES = verifiers(EXCHANGE, MEMBER, PLATFORM)
SECRET = "tops3cret"
ROOT = Path(__file__).parents[2]


class Echo(Message, frozen=True):
    text: Annotated[str, msgspec.Meta(max_length=40)]
    data: bytes = b""


class Page(Message, frozen=True):
    first: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0


class Seen(Message, frozen=True):
    caller: str
    address: str
    path: dict[str, int | str]
    first: int | None


def _seen(call: Call) -> Seen:
    return Seen(call.caller, call.address, dict(call.path), call.query.first if call.query else None)


def _raise(error):
    def handler(call):
        raise error

    return handler


class Stage:
    """What the application under test did."""

    def __init__(self):
        self.nonces, self.metrics, self.stopped, self.parties = MemoryNonces(), Metrics(), threading.Event(), PARTIES
        self.url = ""

    def endpoints(self):
        return [
            Endpoint("POST", "/echo", lambda call: call.message, Echo, Echo, max_bytes=200),
            Endpoint("POST", "/steps", lambda call: call.message, bytes, bytes, {"exchange", "member"}, max_bytes=5000),
            Endpoint("PUT", "/steps", _seen, None, Seen, {"platform"}),
            Endpoint("GET", "/blocks/{block:number}/{name:token}", _seen, None, Seen, query=Page),
            Endpoint("DELETE", "/nothing", lambda call: None),
            Endpoint("GET", "/rare", lambda call: None, limit="rare"),
            Endpoint("GET", "/crash", _raise(KeyError(SECRET))),
            Endpoint("GET", "/stale", _raise(StaleVersion("version 3 is over"))),
            Endpoint("GET", "/wrong", _seen, None, Echo),
            Endpoint("GET", "/disk", _raise(StorageFailed(f"disk full: {SECRET}"))),
        ]


TOKEN = "sixteen-or-more-characters"
SCRAPER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def stage():
    stage = Stage()
    app = build(
        stage.endpoints(),
        EXCHANGE,
        PARTIES,
        rates=GENEROUS | {"rare": Rate(2, 100)},
        parties=lambda: stage.parties,
        nonces=stage.nonces,
        metrics=stage.metrics,
        stop=stage.stopped.set,
        metrics_token=TOKEN,
    )
    with serving(app) as url:
        stage.url = url
        yield stage


def _send(stage, method, target, body=b"", media=MSGPACK, me=None, receiver="exchange", **headers):
    """The answer, its signature checked."""
    request, signed = outgoing(me, receiver, method, target, media if body else "", body)
    answer = httpx.request(
        method, stage.url + target, content=body or None, headers=signed | {"Accept": MSGPACK} | headers
    )
    verify_response(PARTIES["exchange"], request, answer.status_code, answer.headers, answer.content)
    return answer


def _failure(answer):
    return msgspec.msgpack.decode(answer.content, type=Failure)


@pytest.mark.parametrize("media", [MSGPACK, JSON])
def test_a_message_comes_and_goes_in_either_form(stage, media):
    message = Echo("hello", b"\x00\xff")
    answer = _send(stage, "POST", "/echo", bodies.encode(message, media), media, Accept=media)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == media
    assert bodies.decode(answer.content, Echo, media) == message
    assert answer.headers["Cache-Control"] == "no-store"


def test_without_accept_the_answer_has_the_form_of_the_question(stage):
    body = b'{"text":"a"}'
    answer = httpx.post(stage.url + "/echo", content=body, headers={"Content-Type": "application/json; charset=utf-8"})
    assert answer.json() == {"text": "a", "data": ""}


def test_an_opaque_body_reaches_the_handler_as_it_is(stage):
    answer = _send(stage, "POST", "/steps", b"\xc1 not msgpack", me=MEMBER)
    assert (answer.status_code, answer.content) == (200, b"\xc1 not msgpack")


def test_a_handler_sees_caller_path_query_and_no_address(stage):
    answer = _send(stage, "GET", "/blocks/17/some-Name_1?first=3", me=PLATFORM)
    seen = msgspec.msgpack.decode(answer.content, type=Seen)
    assert (seen.caller, seen.path, seen.first) == ("platform-a", {"block": 17, "name": "some-Name_1"}, 3)
    assert "127.0.0.1" not in seen.address
    client = msgspec.msgpack.decode(_send(stage, "GET", "/blocks/0/x").content, type=Seen)
    assert (client.caller, client.address, client.first) == ("client", seen.address, 0)


def test_nothing_to_say_is_204(stage):
    answer = _send(stage, "DELETE", "/nothing", me=MEMBER)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("method", "target", "body", "headers", "status", "error"),
    [
        ("POST", "/echo", encode(Echo("x" * 41)), {}, 400, "MessageError"),
        ("POST", "/echo", b"\xff\xff", {}, 400, "MessageError"),
        ("POST", "/echo", b'{"text":1}', {"Content-Type": JSON}, 400, "MessageError"),
        ("POST", "/echo", b"x" * 201, {}, 413, "TooLarge"),
        ("POST", "/echo", b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "UnsupportedMediaType"),
        ("POST", "/echo", b"", {}, 415, "UnsupportedMediaType"),
        ("POST", "/echo", encode(Echo("a")), {"Content-Encoding": "gzip"}, 415, "UnsupportedMediaType"),
        ("POST", "/echo", encode(Echo("a")), {"Accept": "text/html"}, 406, "NotAcceptable"),
        ("POST", "/echo?a=1", encode(Echo("a")), {}, 400, "MessageError"),
        ("GET", "/blocks/1/x", b"body", {}, 413, "TooLarge"),
        ("GET", "/blocks/1/x?first=10", b"", {}, 400, "MessageError"),
        ("GET", "/blocks/1/x?last=1", b"", {}, 400, "MessageError"),
        ("GET", "/blocks/1/x?first=1&first=2", b"", {}, 400, "MessageError"),
        ("GET", "/blocks/-1/x", b"", {}, 404, "NotFound"),
        ("GET", "/blocks/" + "9" * 19 + "/x", b"", {}, 404, "NotFound"),
        ("GET", "/blocks/1/a%00b", b"", {}, 404, "NotFound"),
        ("GET", "/blocks/1/%61", b"", {}, 404, "NotFound"),
        ("GET", "/echo/", b"", {}, 404, "NotFound"),
        ("GET", "/nowhere", b"", {}, 404, "NotFound"),
        ("GET", "/blocks/1/x?" + "a" * 3000, b"", {}, 414, "TargetTooLong"),
        ("GET", "/echo", b"", {}, 405, "MethodNotAllowed"),
        ("PATCH", "/steps", b"", {}, 405, "MethodNotAllowed"),
        ("POST", "/steps", b"x", {}, 401, "Unauthenticated"),
        ("GET", "/stale", b"", {}, 409, "StaleVersion"),
        ("POST", "/echo", encode(Echo("a")), {"Hushmatch-Nonce": "zz"}, 400, "MessageError"),
        ("POST", "/echo", encode(Echo("a")), {"Hushmatch-Party": "member-2"}, 401, "Unauthenticated"),
    ],
)
def test_what_is_not_as_declared_is_refused_by_name(stage, method, target, body, headers, status, error):
    sent = outgoing(None, "exchange", method, target, MSGPACK if body else "", body)[1]
    answer = httpx.request(
        method, stage.url + target, content=body or None, headers=sent | {"Accept": MSGPACK} | headers
    )
    failure = msgspec.json.decode(answer.content, type=Failure) if status == 406 else _failure(answer)
    assert (answer.status_code, failure.error) == (status, error)
    assert "Hushmatch-Signature" in answer.headers
    assert len(failure.detail) > 10
    assert "Traceback" not in failure.detail


def test_a_method_that_the_path_does_not_take_is_answered_with_those_that_it_does(stage):
    assert _send(stage, "GET", "/steps").headers["Allow"] == "POST, PUT"


def test_a_refusal_is_signed_for_its_request(stage):
    assert _send(stage, "GET", "/nowhere").status_code == 404
    assert _send(stage, "POST", "/echo", b"x" * 300).status_code == 413
    _, signed = outgoing(None, "exchange", "GET", "/nowhere", "", b"")
    answer = httpx.get(stage.url + "/nowhere", headers=signed)
    another, _ = outgoing(None, "exchange", "GET", "/nowhere", "", b"")
    with pytest.raises(IntegrityError):
        verify_response(PARTIES["exchange"], another, answer.status_code, answer.headers, answer.content)


def test_only_roles_of_the_row_may_call(stage):
    assert _send(stage, "PUT", "/steps", me=PLATFORM).status_code == 200
    answer = _send(stage, "PUT", "/steps", me=MEMBER)
    assert (answer.status_code, _failure(answer).error) == (403, "Forbidden")
    answer = _send(stage, "PUT", "/steps", me=party("platform-b"))
    assert (answer.status_code, _failure(answer).error) == (401, "Unauthenticated")


def _replayed(stage, changed_target=None, changed_body=None, changed_method=None, **kwargs):
    body = kwargs.pop("body", b"step")
    me, receiver = kwargs.pop("me", MEMBER), kwargs.pop("receiver", "exchange")
    _, headers = outgoing(me, receiver, "POST", "/steps", MSGPACK, body)
    target, method = changed_target or "/steps", changed_method or "POST"
    return httpx.request(
        method, stage.url + target, content=changed_body or body, headers=headers | {"Accept": MSGPACK} | kwargs
    )


@pytest.mark.parametrize(
    ("changed", "status", "error"),
    [
        ({}, 200, None),
        ({"changed_target": "/steps?x=1"}, 401, "Unauthenticated"),
        ({"changed_target": "/echo"}, 401, "Unauthenticated"),
        ({"changed_method": "PUT"}, 401, "Unauthenticated"),
        ({"changed_body": b"other"}, 409, "IntegrityError"),
        ({"receiver": "member-1"}, 401, "Unauthenticated"),
        ({"me": MEMBER.under(OTHER_MANIFEST)}, 401, "Unauthenticated"),
        ({"Hushmatch-Time": "1"}, 401, "Unauthenticated"),
        ({"Hushmatch-Party": "exchange"}, 401, "Unauthenticated"),
    ],
    ids=str,
)
def test_only_the_request_that_was_signed_is_taken(stage, changed, status, error):
    answer = _replayed(stage, **changed)
    assert answer.status_code == status
    if error:
        assert _failure(answer).error == error
    else:
        assert answer.content == b"step"


def test_the_same_request_twice_is_refused(stage):
    _, headers = outgoing(MEMBER, "exchange", "POST", "/steps", MSGPACK, b"step")
    answers = [httpx.post(stage.url + "/steps", content=b"step", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert _failure(answers[1]).error == "ReplayError"


def test_parties_may_change_while_it_runs(stage):
    newcomer = party("platform-new")
    assert _send(stage, "PUT", "/steps", me=newcomer).status_code == 401
    stage.parties = PARTIES | verifiers(newcomer)
    assert _send(stage, "PUT", "/steps", me=newcomer).status_code == 200
    stage.parties = PARTIES
    assert _send(stage, "PUT", "/steps", me=newcomer).status_code == 401


def test_a_client_over_its_rate_is_told_when_to_come_back(stage):
    answers = [_send(stage, "GET", "/rare") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [204, 204, 429]
    assert _failure(answers[2]).error == "LimitReached"
    assert 0 < int(answers[2].headers["Retry-After"]) <= 100
    assert _send(stage, "GET", "/rare", me=MEMBER).status_code == 204


def test_a_fault_of_the_program_is_an_incident_without_its_cause(stage, caplog):
    with caplog.at_level(logging.INFO, logger="hushmatch"):
        answer = _send(stage, "GET", "/crash")
    assert answer.status_code == 500
    assert SECRET not in answer.text
    (record,) = [record for record in caplog.records if record.event == "incident"]
    assert record.incident in _failure(answer).detail


def test_an_answer_of_another_kind_than_declared_is_a_fault(stage):
    assert _send(stage, "GET", "/wrong").status_code == 500


def test_when_the_storage_fails_the_process_ends_after_saying_so(stage):
    assert not stage.stopped.is_set()
    answer = _send(stage, "GET", "/disk")
    assert (answer.status_code, _failure(answer).error) == (503, "Unavailable")
    assert SECRET not in _failure(answer).detail
    assert stage.stopped.wait(5)


def _raw(stage, *pieces, pause=0.0):
    """What comes back for bytes as they are, until the server closes."""
    host, _, port = stage.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except OSError:
                break
            time.sleep(pause)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except OSError:
            pass
    return received


def _head(size):
    return f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: {MSGPACK}\r\n{size}\r\nConnection: close\r\n\r\n".encode()


def test_a_body_is_refused_by_its_length_before_it_is_read(stage):
    answer = _raw(stage, _head("Content-Length: 999999999999999"))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"TooLarge" in answer


def test_a_body_in_chunks_is_refused_once_it_is_too_large(stage):
    chunk = b"64\r\n" + b"x" * 100 + b"\r\n"
    answer = _raw(stage, _head("Transfer-Encoding: chunked"), chunk, chunk, chunk)
    assert answer.startswith(b"HTTP/1.1 413")
    good = encode(Echo("a"))
    answer = _raw(stage, _head("Transfer-Encoding: chunked"), f"{len(good):x}\r\n".encode() + good + b"\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_keep_coming_is_given_up(stage, monkeypatch):
    monkeypatch.setattr(bodies, "GRACE", 0.3)
    started = time.perf_counter()
    assert _raw(stage, _head("Content-Length: 100"), b"x").startswith(b"HTTP/1.1 408")
    assert _raw(stage, _head("Content-Length: 100"), *[b"x"] * 10, pause=0.1).startswith(b"HTTP/1.1 408")
    assert time.perf_counter() - started < 5


def test_who_goes_away_in_the_middle_of_a_body_harms_nobody(stage):
    host, _, port = stage.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(_head("Content-Length: 100") + b"x")
    assert _send(stage, "GET", "/health").status_code == 200


def test_bytes_that_are_no_http_are_refused(stage):
    assert _raw(stage, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_health_says_who_answers(stage):
    assert msgspec.msgpack.decode(_send(stage, "GET", "/health").content) == {"party": "exchange", "status": "ok"}


def test_metrics_count_by_row_of_the_table_and_name_no_path(stage):
    _send(stage, "GET", "/blocks/90817263544/somecasenumber")
    _send(stage, "GET", "/unheard-of")
    text = httpx.get(stage.url + "/metrics", headers=SCRAPER).text
    assert 'hushmatch_requests_total{endpoint="GET /blocks/{block:number}/{name:token}",status="200"}' in text
    assert 'hushmatch_requests_total{endpoint="other",status="404"}' in text
    assert "hushmatch_request_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
    for hidden in ("90817263544", "somecasenumber", "unheard-of", "127.0.0.1"):
        assert hidden not in text


def test_while_every_handler_is_busy_it_says_so_and_health_answers(monkeypatch):
    monkeypatch.setattr(web, "HANDLERS", 2)
    monkeypatch.setattr(web, "WAITING", 3)
    go = threading.Event()
    row = Endpoint("GET", "/slow", lambda call: None if go.wait(20) else b"late")
    answers = []
    app = build([row], EXCHANGE, PARTIES)
    with serving(app) as url:
        threads = [
            threading.Thread(target=lambda: answers.append(httpx.get(url + "/slow", timeout=30))) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        while app.router.default.gate.handlers.statistics().tasks_waiting < 3:
            time.sleep(0.01)
        refused = httpx.get(url + "/slow")
        assert refused.status_code == 503
        assert "busy" in refused.json()["detail"]
        assert httpx.get(url + "/health").status_code == 200
        go.set()
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in answers] == [204] * 5


@pytest.mark.parametrize("given", [None, "", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}\xe9"])
def test_metrics_are_for_who_has_the_token(stage, given):
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    answer = httpx.get(stage.url + "/metrics", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "hushmatch_" not in answer.text


def test_without_a_token_nobody_reads_metrics_and_a_short_one_is_refused():
    with serving(build([], EXCHANGE, PARTIES)) as url:
        for headers in ({}, {"Authorization": "Bearer"}, SCRAPER):
            answer = httpx.get(url + "/metrics", headers=headers)
            assert answer.status_code == 403
            assert "set metrics_token" in answer.json()["detail"]
    with pytest.raises(ConfigurationError, match="metrics_token has fewer than 16 characters"):
        build([], EXCHANGE, PARTIES, metrics_token="short")


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json"])
def test_open_documents_take_get_only(stage, path):
    answer = httpx.post(stage.url + path)
    assert answer.status_code == 405
    assert answer.json()["error"] == "MethodNotAllowed"


def test_the_document_is_served(stage):
    document = httpx.get(stage.url + "/openapi.json").json()
    assert set(document["paths"]) == {row.template for row in stage.endpoints()} | {"/health"}
    assert json.dumps(document)


def test_a_table_that_contradicts_itself_is_refused():
    row = Endpoint("GET", "/a", lambda call: None)
    with pytest.raises(ConfigurationError, match="twice"):
        build([row, row], EXCHANGE, PARTIES)
    with pytest.raises(ConfigurationError, match="rate"):
        build([Endpoint("GET", "/a", lambda call: None, limit="unheard")], EXCHANGE, PARTIES)


_DISK_FULL = """
import sys
from protocols.scan.sealing import Identity
from service import web
from service.errors import StorageFailed
from service.limits import Limits, Rate
from service.metrics import Metrics

def fail(call):
    raise StorageFailed("disk full")

me = Identity("exchange")
rows = [web.Endpoint("GET", "/disk", fail)]
limits = Limits({"default": Rate(10, 1.0)})
app = web.application(
    rows, me=lambda: me, parties=dict, nonces=None, limits=limits, metrics=Metrics(), title="test"
)
web.server(app, "127.0.0.1", int(sys.argv[1])).run()
"""


@pytest.mark.slow
def test_the_process_ends_at_once_and_says_so_before():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", _DISK_FULL, str(port)], cwd=ROOT)
    try:
        answer = None
        while answer is None and process.poll() is None:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/disk")
            except httpx.ConnectError:
                time.sleep(0.05)
        assert answer is not None
        assert answer.status_code == 503
        assert process.wait(10) == web.EXIT_STORAGE
    finally:
        process.kill()

"""A request and an answer count only as they were signed: whole, for this receiver, under this manifest, once."""

import hashlib
import time

import msgspec
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError
from service import requests
from service.errors import Unauthenticated
from service.requests import check_digest, incoming, outgoing, sign_response, verify_request, verify_response
from tests.service.keys import OTHER_MANIFEST, MemoryNonces, party, verifiers

MEMBER, EXCHANGE = party("member-2"), party("exchange")
PARTIES = verifiers(MEMBER, EXCHANGE)
BODY = b"\x81\xa1a\x01"
SENT = {"method": "POST", "target": "/steps?x=1", "content_type": "application/msgpack", "body": BODY}


def _receive(headers, body=BODY, receiver="exchange", later=0, nonces=None, method="POST", target="/steps?x=1"):
    """What a receiver does with a signed request: the name of its sender."""
    request, signature = incoming(method, target, headers, receiver)
    verify_request(request, signature, PARTIES, nonces or MemoryNonces(), time.time() + later)
    check_digest(request, hashlib.sha256(body).digest())
    return request.sender


def _headers(me=MEMBER, receiver="exchange", **changed):
    return outgoing(me, receiver, **SENT | changed)[1]


def test_a_request_as_it_was_signed_passes():
    nonces = MemoryNonces()
    assert _receive(_headers(), nonces=nonces) == "member-2"
    ((name, nonce),) = nonces.seen
    assert name == "member-2"
    assert len(nonce) == 16
    assert nonces.seen[name, nonce] >= time.time() + requests.WINDOW - 2


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ({"target": "/steps?x=2"}, Unauthenticated, "signature"),
        ({"target": "/step?x=1"}, Unauthenticated, "signature"),
        ({"target": "/steps"}, Unauthenticated, "signature"),
        ({"method": "PUT"}, Unauthenticated, "signature"),
        ({"receiver": "member-1"}, Unauthenticated, "signature"),
        ({"body": BODY + b"\x00"}, IntegrityError, "digest"),
        ({"later": 300}, Unauthenticated, "clock"),
        ({"later": -300}, Unauthenticated, "clock"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_another_request_than_the_signed_one_is_refused(what, error, says):
    headers = _headers()
    with pytest.raises(error, match=says):
        _receive(headers, **what)
    assert _receive(headers) == "member-2"


@pytest.mark.parametrize(
    ("header", "value", "error"),
    [
        ("Hushmatch-Party", "member-1", Unauthenticated),
        ("Hushmatch-Party", "exchange", Unauthenticated),
        ("Hushmatch-Party", "member 2", MessageError),
        ("Hushmatch-Time", "-1", MessageError),
        ("Hushmatch-Time", "1" * 5000, MessageError),
        ("Hushmatch-Nonce", "00" * 16, Unauthenticated),
        ("Hushmatch-Nonce", "00", MessageError),
        ("Hushmatch-Signature", "AAAA", Unauthenticated),
        ("Hushmatch-Signature", "=A", MessageError),
        ("Content-Digest", "sha-256=:" + "A" * 43 + "=:", Unauthenticated),
        ("Content-Digest", "sha-512=:AAAA:", MessageError),
        ("Content-Type", "application/json", Unauthenticated),
    ],
)
def test_a_changed_header_is_refused(header, value, error):
    with pytest.raises(error):
        _receive(_headers() | {header: value})


def test_a_moved_time_is_refused():
    headers = _headers()
    with pytest.raises(Unauthenticated, match="signature"):
        _receive(headers | {"Hushmatch-Time": str(int(headers["Hushmatch-Time"]) + 7)})


@pytest.mark.parametrize(
    "header", ["Hushmatch-Party", "Hushmatch-Time", "Hushmatch-Nonce", "Hushmatch-Signature", "Content-Digest"]
)
def test_a_missing_header_is_refused_by_its_name(header):
    headers = _headers()
    del headers[header]
    with pytest.raises(Unauthenticated, match=header):
        _receive(headers)


def test_a_replay_is_refused():
    headers, nonces = _headers(), MemoryNonces()
    _receive(headers, nonces=nonces)
    with pytest.raises(ReplayError):
        _receive(headers, nonces=nonces)


def test_a_forged_request_does_not_use_up_a_nonce():
    headers, nonces = _headers(), MemoryNonces()
    with pytest.raises(Unauthenticated):
        _receive(headers, target="/other", nonces=nonces)
    assert _receive(headers, nonces=nonces) == "member-2"


def test_under_another_manifest_nothing_counts():
    with pytest.raises(Unauthenticated, match="manifest"):
        _receive(_headers(MEMBER.under(OTHER_MANIFEST)))


def test_a_party_that_the_manifest_does_not_name_is_refused():
    with pytest.raises(Unauthenticated, match="member-9 is not a party"):
        _receive(_headers(party("member-9")))


def test_what_a_party_signed_as_something_else_is_no_request():
    """A signature over the same bytes as another kind of message does not carry over."""

    class Other(requests.Message, frozen=True):
        method: str
        target: str
        sender: str
        receiver: str
        time: int
        nonce: bytes
        content_type: str
        digest: bytes

    request, headers = outgoing(MEMBER, "exchange", **SENT)
    other = MEMBER.sign(Other(**msgspec.structs.asdict(request)), requests.SignedHttpRequest)
    assert other.body == requests.encode(request)
    with pytest.raises(Unauthenticated, match="signature"):
        _receive(headers | {"Hushmatch-Signature": requests._to_base64(other.signature)})


def test_a_client_does_not_sign():
    request, headers = outgoing(None, "exchange", **SENT)
    assert set(headers) == {"Hushmatch-Nonce", "Content-Digest", "Content-Type"}
    assert incoming("POST", "/steps?x=1", headers, "exchange") == (request, None)
    bare, signature = incoming("GET", "/health", {}, "exchange")
    assert (bare.sender, bare.nonce, bare.digest, signature) == ("client", b"", b"", None)
    with pytest.raises(IntegrityError, match="digest"):
        check_digest(request, hashlib.sha256(b"").digest())


def _answered(me=EXCHANGE, caller=MEMBER, status=200, body=b"yes"):
    request, _ = outgoing(caller, "exchange", **SENT)
    headers = sign_response(me, request, status, "application/msgpack", body)
    return request, headers | {"Content-Type": "application/msgpack"}


@pytest.mark.parametrize("caller", [MEMBER, None], ids=["member", "client"])
def test_an_answer_as_it_was_signed_passes(caller):
    request, headers = _answered(caller=caller)
    verify_response(PARTIES["exchange"], request, 200, headers, b"yes")


@pytest.mark.parametrize("what", ["status", "body", "type", "request", "signer", "manifest", "unsigned", "garbage"])
def test_another_answer_is_refused(what):
    request, headers = _answered(
        me={"signer": MEMBER, "manifest": EXCHANGE.under(OTHER_MANIFEST)}.get(what, EXCHANGE),
    )
    status = 201 if what == "status" else 200
    body = b"no" if what == "body" else b"yes"
    if what == "type":
        headers["Content-Type"] = "application/json"
    if what == "request":
        request, _ = outgoing(MEMBER, "exchange", **SENT)
    if what == "unsigned":
        del headers["Hushmatch-Signature"]
    if what == "garbage":
        headers["Hushmatch-Signature"] = "?"
    with pytest.raises(IntegrityError, match="exchange"):
        verify_response(PARTIES["exchange"], request, status, headers, body)

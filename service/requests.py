"""Signed HTTP: who sent a request, that it is whole, new and meant for us; who answered it, and that it is the answer.

A request carries `Hushmatch-Party`, `Hushmatch-Time` (unix seconds), `Hushmatch-Nonce` (16 bytes, hex),
`Content-Digest` (RFC 9530, SHA-256 of the body) and `Hushmatch-Signature` (base64 Ed25519 over `HttpRequest`, which
both sides put together for themselves). The signature can be checked before the body is read, and the digest after. An
answer is signed over `HttpResponse`, which holds the digest of the `HttpRequest` that it answers. `Identity` and
`Verifier` bind both to the manifest and to the kind of message.

People have no keys: a client's requests carry only nonce and digest, and the answers are signed all the same.

NOT protected: who reads along (TLS does that), who talks to whom, and requests of people: whoever ends their TLS can
change them, though not make an answer to the changed request pass for the answer to theirs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from typing import Protocol

from protocols.base import IntegrityError, MessageError
from protocols.ledger import Message, encode
from protocols.scan.sealing import Identity, Signed, Verifier, same
from service.errors import Unauthenticated

CLIENT = "client"
WINDOW = 120  # seconds that a sender's clock may be off, either way
PARTY, TIME, NONCE = "Hushmatch-Party", "Hushmatch-Time", "Hushmatch-Nonce"
SIGNATURE, DIGEST, CONTENT_TYPE = "Hushmatch-Signature", "Content-Digest", "Content-Type"
_NONCE_BYTES = 16


class HttpRequest(Message, frozen=True):
    """What the signature of a request covers.

    target: path and query as sent. sender: "client" for people, who do not sign; their `time` is 0. nonce, digest:
    empty if a client left them out. content_type: the header, as sent.
    """

    method: str
    target: str
    sender: str
    receiver: str
    time: int
    nonce: bytes
    content_type: str
    digest: bytes


class SignedHttpRequest(Signed, frozen=True):
    """An HttpRequest, signed by its sender."""


class HttpResponse(Message, frozen=True):
    """What the signature of an answer covers. request: SHA-256 of the encoded HttpRequest that it answers."""

    sender: str
    request: bytes
    status: int
    content_type: str
    digest: bytes


class SignedHttpResponse(Signed, frozen=True):
    """An HttpResponse, signed by its sender."""


class Nonces(Protocol):
    """The nonces that a party has seen; it keeps them over a restart."""

    def use(self, party: str, nonce: bytes, expires: int) -> None:
        """Remember a nonce of `party` until unix time `expires`. Raises ReplayError if it is there already."""


def outgoing(
    me: Identity | None, receiver: str, method: str, target: str, content_type: str, body: bytes
) -> tuple[HttpRequest, dict[str, str]]:
    """A request's head and its headers, signed by `me`; by nobody if that is None. content_type: "" without body."""
    request = HttpRequest(
        method,
        target,
        CLIENT if me is None else me.name,
        receiver,
        0 if me is None else int(time.time()),
        secrets.token_bytes(_NONCE_BYTES),
        content_type,
        hashlib.sha256(body).digest(),
    )
    headers = {NONCE: request.nonce.hex(), DIGEST: f"sha-256=:{_to_base64(request.digest)}:"}
    if content_type:
        headers[CONTENT_TYPE] = content_type
    if me is not None:
        signature = me.sign(request, SignedHttpRequest).signature
        headers |= {PARTY: me.name, TIME: str(request.time), SIGNATURE: _to_base64(signature)}
    return request, headers


def incoming(method: str, target: str, headers: Mapping[str, str], receiver: str) -> tuple[HttpRequest, bytes | None]:
    """The head of a request as it came, and its signature; None for a client's.

    headers: names in any case. Raises MessageError for headers that are malformed, Unauthenticated for missing ones.
    """
    signed = PARTY in headers or SIGNATURE in headers
    request = HttpRequest(
        method,
        target,
        _header(headers, PARTY, r"[!-~]{1,100}") if signed else CLIENT,
        receiver,
        int(_header(headers, TIME, r"[0-9]{1,12}")) if signed else 0,
        bytes.fromhex(_header(headers, NONCE, r"[0-9a-f]{32}")) if signed or NONCE in headers else b"",
        headers.get(CONTENT_TYPE, ""),
        _digest(headers) if signed or DIGEST in headers else b"",
    )
    if not signed:
        return request, None
    return request, _from_base64(_header(headers, SIGNATURE, r"[A-Za-z0-9+/=]{1,200}"), SIGNATURE)


def verify_request(
    request: HttpRequest, signature: bytes, parties: Mapping[str, Verifier], nonces: Nonces, now: float
) -> None:
    """Raises Unauthenticated if the sender is unknown, its clock is off or its signature fails; ReplayError."""
    verifier = parties.get(request.sender)
    if verifier is None:
        raise Unauthenticated(f"{request.sender} is not a party of the manifest")
    if abs(now - request.time) > WINDOW:
        raise Unauthenticated(f"{TIME} is {now - request.time:+.0f} s off; expected within {WINDOW} s: set the clock")
    try:
        verifier.verify(SignedHttpRequest(encode(request), signature), HttpRequest)
    except IntegrityError:
        raise Unauthenticated(
            f"the signature of {request.sender} does not verify: altered, meant for another, or under another manifest"
        ) from None
    nonces.use(request.sender, request.nonce, request.time + WINDOW)


def check_digest(request: HttpRequest, digest: bytes) -> None:
    """Raises IntegrityError if the body that came has not the digest that its head says."""
    if request.digest and not same(request.digest, digest):
        raise IntegrityError(f"{DIGEST}: not the digest of the body that came")


def sign_response(me: Identity, request: HttpRequest, status: int, content_type: str, body: bytes) -> dict[str, str]:
    """The headers that make an answer provably ours."""
    response = _response(me.name, request, status, content_type, body)
    return {PARTY: me.name, SIGNATURE: _to_base64(me.sign(response, SignedHttpResponse).signature)}


def verify_response(
    verifier: Verifier, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    """Raises IntegrityError if the answer is not `verifier`'s to this very request."""
    response = _response(verifier.name, request, status, headers.get(CONTENT_TYPE, ""), body)
    try:
        signature = _from_base64(headers[SIGNATURE], SIGNATURE)
        verifier.verify(SignedHttpResponse(encode(response), signature), HttpResponse)
    except KeyError:
        raise IntegrityError(f"the answer is not signed; expected {verifier.name}'s signature") from None
    except (IntegrityError, MessageError):
        raise IntegrityError(f"the answer is not what {verifier.name} signed for this request") from None


def _response(sender: str, request: HttpRequest, status: int, content_type: str, body: bytes) -> HttpResponse:
    asked = hashlib.sha256(encode(request)).digest()
    return HttpResponse(sender, asked, status, content_type, hashlib.sha256(body).digest())


def _header(headers: Mapping[str, str], name: str, pattern: str) -> str:
    value = headers.get(name)
    if value is None:
        raise Unauthenticated(f"{name} is missing: a signed request carries it")
    if not re.fullmatch(pattern, value):
        raise MessageError(f"{name} is malformed; expected {pattern}")
    return value


def _digest(headers: Mapping[str, str]) -> bytes:
    value = _header(headers, DIGEST, r"sha-256=:[A-Za-z0-9+/]{43}=:")
    return _from_base64(value.removeprefix("sha-256=:").removesuffix(":"), DIGEST)


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise MessageError(f"{name} is not base64") from None

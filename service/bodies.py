"""Bodies of requests and answers: a message as msgpack, or as JSON for people and fuzzers; bytes are base64 there.

What does not decode is refused with the place in the message and what was expected there, never with the bytes. A body
is counted while it comes, and has to keep coming.
"""

from __future__ import annotations

import hashlib
import re
from typing import TypeVar
from urllib.parse import parse_qsl

import anyio
import msgspec
from starlette.requests import Request

from protocols.base import MessageError
from protocols.ledger import Message, decoder
from service.errors import NotAcceptable, TooLarge, TooSlow

MSGPACK, JSON = "application/msgpack", "application/json"
MEDIA_TYPES = (MSGPACK, JSON)
GRACE = 20.0  # seconds that a body may take, beside those that its size gives it
RATE = 8192  # bytes a second
_PARAMETERS = 50
_SAFE = re.compile(r"(Expected|Object missing required field) ")  # of these msgspec quotes types and our own names only
_PLACE = re.compile(r" - at `(\$[^`]*)`$")

M = TypeVar("M", bound=Message)


def encode(message: Message, media: str) -> bytes:
    """The message as `media`."""
    return msgspec.json.encode(message) if media == JSON else msgspec.msgpack.encode(message)


def decode(payload: bytes, kind: type[M], media: str) -> M:
    """The message of type `kind` in `payload`. Raises MessageError."""
    reader = decoder(kind)  # for JSON too: it makes `kind` ready for threads
    try:
        return msgspec.json.decode(payload, type=kind) if media == JSON else reader.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise MessageError(f"{kind.__name__}: {_reason(error)}") from None


def query(raw: bytes, kind: type[M] | None) -> M | None:
    """The message of type `kind` that a query string holds; None takes no query. Raises MessageError."""
    if kind is None:
        if raw:
            raise MessageError("the path takes no query")
        return None
    try:
        text = raw.decode("ascii")
        pairs = parse_qsl(text, True, bool(text), errors="strict", max_num_fields=_PARAMETERS)
    except ValueError:
        raise MessageError("the query is malformed; expected name=value&name=value") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MessageError("the query has a parameter twice")
    decoder(kind)  # as above
    try:
        return msgspec.convert(fields, kind, strict=False)
    except (msgspec.ValidationError, OverflowError) as error:
        raise MessageError(f"{kind.__name__}: {_reason(error)}") from None


def announced(request: Request, limit: int) -> int:
    """How many bytes of body will be taken, at most."""
    declared = request.headers.get("content-length", "")
    return min(int(declared), limit) if re.fullmatch("[0-9]{1,18}", declared) else limit


async def receive(request: Request, limit: int) -> tuple[bytes, bytes]:
    """A request's body and its SHA-256. Raises TooLarge beyond `limit` bytes, TooSlow, ClientDisconnect."""
    too_large = TooLarge(f"the body is larger than {limit} bytes" if limit else "the path takes no body")
    declared = request.headers.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,18}", declared) or int(declared) > limit:
        raise too_large
    chunks: list[bytes] = []
    size, hasher, stream = 0, hashlib.sha256(), request.stream()
    started = anyio.current_time()
    while True:
        left = started + GRACE + size / RATE - anyio.current_time()
        try:
            with anyio.fail_after(max(left, 0.0)):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise TooSlow(f"only {size} bytes of the body came; expected {RATE} bytes a second") from None
        if chunk is None:
            return b"".join(chunks), hasher.digest()
        size += len(chunk)
        if size > limit:
            raise too_large
        chunks.append(chunk)
        hasher.update(chunk)


def media_type(header: str | None) -> str:
    """The media type that a Content-Type names, without its parameters."""
    return (header or "").partition(";")[0].strip().lower()


def accepted(header: str | None, default: str) -> str:
    """The content type of an answer, by the Accept header, first come first served. Raises NotAcceptable."""
    for entry in (header or "*/*").split(","):
        media = media_type(entry)
        if media in MEDIA_TYPES:
            return media
        if media in ("*/*", "application/*"):
            return default
    raise NotAcceptable(f"the answer can be {' or '.join(MEDIA_TYPES)}; Accept names neither")


def _reason(error: Exception) -> str:
    text = str(error)
    place = _PLACE.search(text)
    where = f" at {place[1]}" if place else ""
    if isinstance(error, msgspec.ValidationError) and _SAFE.match(text):
        return _PLACE.sub("", text) + where
    return f"the bytes do not decode to this message{where}"

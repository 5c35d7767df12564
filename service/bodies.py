"""Bodies of requests and answers: a message as msgpack, or as JSON for people and fuzzers; bytes are base64 there.

What does not decode is refused with the place in the message and what was expected there, never with the bytes.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from protocols.base import MessageError
from protocols.ledger import Message
from service.errors import NotAcceptable

MSGPACK, JSON = "application/msgpack", "application/json"
MEDIA_TYPES = (MSGPACK, JSON)
_SAFE = re.compile(r"(Expected|Object missing required field) ")  # of these msgspec quotes types and our own names only
_PLACE = re.compile(r" - at `(\$[^`]*)`$")

M = TypeVar("M", bound=Message)


def encode(message: Message, media: str) -> bytes:
    """The message as `media`."""
    return msgspec.json.encode(message) if media == JSON else msgspec.msgpack.encode(message)


def decode(payload: bytes, kind: type[M], media: str) -> M:
    """The message of type `kind` in `payload`. Raises MessageError."""
    try:
        return (msgspec.json if media == JSON else msgspec.msgpack).decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise MessageError(f"{kind.__name__}: {_reason(error)}") from None


def convert(fields: dict[str, Any], kind: type[M]) -> M:
    """The message of type `kind` with these fields, all text as a query has them. Raises MessageError."""
    try:
        return msgspec.convert(fields, kind, strict=False)
    except (msgspec.ValidationError, OverflowError) as error:
        raise MessageError(f"{kind.__name__}: {_reason(error)}") from None


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

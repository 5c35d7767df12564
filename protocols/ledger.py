"""What crossed between roles, and what it cost: messages, bytes, CPU seconds.

Costs and leakage are read from here, so nothing may cross between roles but through `Ledger.send`, which
encodes a message, writes it down and decodes it again for the receiver. Arrays of 128 KiB and more are not copied on
the way: they are what they are encoded as, and whoever sent them must not write to them again.

The two exceptions that decoding raises, and their parents, are defined here because `base` imports this
module; `protocols.base` draws the whole tree and is where to import them from.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray


class HushmatchError(Exception):
    """Root of every exception that a protocol raises on purpose."""


class ProtocolError(HushmatchError):
    """What another role sent is not acceptable."""


class MessageError(ProtocolError):
    """Bytes that do not decode, or whose lengths or ranges do not fit."""


class UndeclaredMessage(ProtocolError):
    """A message that the protocol's table does not list."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What crosses between roles: a typed msgpack map. Arrays travel as `bytes`; see `as_array`.

    A subclass's `repr` shows no contents: what crosses is not for logs.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


M = TypeVar("M", bound=Message)
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # as databases and numpy take it


def encode(message: Message) -> bytes:
    """The message as msgpack bytes."""
    return msgspec.msgpack.encode(message)


_LARGE = 1 << 17  # bytes of an array from which on it is not copied
_LONGER = 3  # bytes that msgpack's header of such an array (bin 32) has more than that of an empty one (bin 8)


@cache
def _array_fields(kind: type[Message]) -> list[str]:
    return [field.name for field in msgspec.structs.fields(kind) if field.type is memoryview]


def _set_apart(message: M) -> tuple[M, dict[str, memoryview]]:
    """The message with nothing in place of its large arrays, and those by field, read-only."""
    arrays = {}
    for name in _array_fields(type(message)):
        value = getattr(message, name)
        if isinstance(value, memoryview) and _LARGE <= value.nbytes < 1 << 32:
            arrays[name] = value.cast("B").toreadonly()
    rest = msgspec.structs.replace(message, **dict.fromkeys(arrays, memoryview(b""))) if arrays else message
    return rest, arrays


_decoders: dict[Any, msgspec.msgpack.Decoder] = {}
_making = threading.Lock()


def decoder(kind: Any) -> msgspec.msgpack.Decoder:
    """What decodes msgpack to `kind`, made once. From then on every function of msgspec may be used for `kind`.

    One is made at a time: msgspec 0.22 crashes the process where two threads use a struct for the first time at once.
    """
    if kind not in _decoders:
        with _making:
            if kind not in _decoders:
                _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return _decoders[kind]


def decode(payload: bytes | memoryview, kind: type[M]) -> M:
    """The message of type `kind` that `payload` holds. Raises MessageError, which never quotes the bytes."""
    try:
        return decoder(kind).decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        raise MessageError(f"{kind.__name__}: the bytes do not decode to this message") from None


def as_array(data: bytes | memoryview, dtype: DTypeLike, shape: tuple[int, ...], field: str) -> NDArray:
    """`data` as a read-only array. One entry of `shape` may be -1. Raises MessageError if the length does not fit."""
    item = np.dtype(dtype).itemsize
    known = item
    for size in shape:
        known *= size if size >= 0 else 1
    fits = len(data) % known == 0 if -1 in shape and known else len(data) == known
    if not fits:
        raise MessageError(f"{field}: {len(data)} bytes do not fit shape {shape} of {np.dtype(dtype)}")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


@dataclass(frozen=True, slots=True)
class MessageKind:
    """One row of a protocol's table of messages.

    kind: the message's class. sender, receiver: role names without number ("member", not "member-1").
    function_of: what it is computed from, in words: the threat model's tables print it.
    """

    kind: type[Message]
    sender: str
    receiver: str
    function_of: str


@dataclass(frozen=True, slots=True)
class Record:
    """A message that crossed. size: bytes. payload: its bytes if the ledger records, else None."""

    phase: str
    sender: str
    receiver: str
    kind: str
    size: int
    payload: bytes | None = None

    def __repr__(self) -> str:
        return f"Record({self.phase!r}, {self.sender!r} -> {self.receiver!r}, {self.kind!r}, {self.size} bytes)"


def role_of(name: str) -> str:
    """The role that a party plays: "member-2" is a "member"."""
    return name.partition("-")[0]


class Ledger:
    """The record of every message and of each role's CPU time. Safe to use from several threads.

    messages: list of `Record`, in order.
    cpu_seconds: {(role, phase): seconds}, CPU time of the threads that ran `with ledger.cpu(role)`.
    stage_seconds: {(role, phase, stage): seconds}, the same by step.
    """

    def __init__(self, table: Sequence[MessageKind], record: bool = False) -> None:
        self.messages: list[Record] = []
        self.cpu_seconds: dict[tuple[str, str], float] = defaultdict(float)
        self.stage_seconds: dict[tuple[str, str, str], float] = defaultdict(float)
        self.record = record
        self._declared = {(row.kind, row.sender, row.receiver) for row in table}
        self._phase = "setup"
        self._lock = threading.Lock()
        self._running = threading.local()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Messages and CPU time inside count for phase `name`."""
        before, self._phase = self._phase, name
        try:
            yield
        finally:
            self._phase = before

    @contextmanager
    def cpu(self, role: str, stage: str = "other") -> Iterator[None]:
        """This thread's CPU time inside counts for `role`; where two nest, for the inner one only.

        `stage` names the step, for protocols that account for their steps.
        """
        outer = getattr(self._running, "inner_seconds", 0.0)
        self._running.inner_seconds = 0.0
        start = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - start
            self.charge(role, stage, spent - self._running.inner_seconds)
            self._running.inner_seconds = outer + spent

    def charge(self, role: str, stage: str, seconds: float) -> None:
        """Count CPU seconds for `role` that were spent elsewhere than in `with ledger.cpu(role)`."""
        with self._lock:
            self.cpu_seconds[role, self._phase] += seconds
            self.stage_seconds[role, self._phase, stage] += seconds

    def send(self, sender: str, receiver: str, message: M) -> M:
        """Pass `message` on: encode, write down, decode. Returns what the receiver gets.

        Encoding counts as the sender's CPU time, decoding as the receiver's. The receiver gets large arrays read-only,
        where the sender wrote them. Raises UndeclaredMessage, MessageError.
        """
        kind = type(message)
        if (kind, role_of(sender), role_of(receiver)) not in self._declared:
            raise UndeclaredMessage(f"{kind.__name__} from {sender} to {receiver} is not in the protocol's table")
        with self.cpu(sender, "encoding"):
            rest, arrays = _set_apart(message)
            payload = encode(rest)
        size = len(payload) + sum(array.nbytes + _LONGER for array in arrays.values())
        kept = encode(message) if self.record else None
        with self._lock:
            self.messages.append(Record(self._phase, sender, receiver, kind.__name__, size, kept))
        with self.cpu(receiver, "encoding"):
            received = decode(payload, kind)
            return msgspec.structs.replace(received, **arrays) if arrays else received

    def bytes_by_kind(self, phase: str | None = None) -> dict[tuple[str, str, str], tuple[int, int]]:
        """{(kind, sender role, receiver role): (messages, bytes)}, of one phase or of all."""
        totals: dict[tuple[str, str, str], tuple[int, int]] = {}
        for message in self.messages:
            if phase in (None, message.phase):
                key = message.kind, role_of(message.sender), role_of(message.receiver)
                count, size = totals.get(key, (0, 0))
                totals[key] = count + 1, size + message.size
        return totals

    def received_by(self, role: str) -> list[Record]:
        """What a party ("member-1"), or every party of a role ("member"), received."""
        return [message for message in self.messages if role in (message.receiver, role_of(message.receiver))]

"""A member's methods that the exchange and platforms may call over the network: the table, decoding, letters.

A call is a msgpack array of arguments, decoded by the method's own type hints. What another member said comes as a
letter, and the method is told who wrote it; what the method answers to another party leaves as a letter to that party.
Methods that are not in the table cannot be called.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

import msgspec

from protocols.base import IntegrityError, MessageError
from protocols.ledger import decoder, role_of
from protocols.scan.audit import Auditor
from protocols.scan.blocks import BlockStore
from protocols.scan.ceremony import Ceremony
from protocols.scan.custody import Custody
from protocols.scan.dealing import Stock
from protocols.scan.keys import MEMBERS
from protocols.scan.member import Member
from protocols.scan.sealing import Identity, Verifier
from protocols.scan.sessions import Sessions
from service.errors import Forbidden
from service.letters import open_letter, seal

Receivers = Sequence[str | None]  # None: the caller, in the clear
_BEFORE_SESSIONS = ("sessions.stock.receive", "sessions.stock.missing", "sessions.receive_results")

_PARTS: dict[str, type] = {
    "": Member,
    "ceremony": Ceremony,
    "custody": Custody,
    "sessions": Sessions,
    "sessions.stock": Stock,
    "bank": BlockStore,
    "auditor": Auditor,
}


def _caller(member: Any, arguments: Sequence[Any]) -> Receivers:
    return [None]


def _others(member: Any, arguments: Sequence[Any]) -> Receivers:
    return [f"member-{other}" for other in MEMBERS if other != member.number]


def _partner(member: Any, arguments: Sequence[Any]) -> Receivers:
    return [f"member-{member.sessions.other_of(_session(arguments))}"]


def _first_named(member: Any, arguments: Sequence[Any]) -> Receivers:
    return [_member(arguments[0])]


def _first_of_pair(member: Any, arguments: Sequence[Any]) -> Receivers:
    return [_member(arguments[1][0])]


def _dealt(member: Any, arguments: Sequence[Any]) -> Receivers:
    return [None, *(_member(number) for number in arguments[0])]


def _answered(member: Any, arguments: Sequence[Any]) -> Receivers:
    return ["exchange", None]


def _member(number: int) -> str:
    if number not in MEMBERS:
        raise MessageError(f"there is no member {number}")
    return f"member-{number}"


def _session(arguments: Sequence[Any]) -> bytes:
    """The session that a call is about: an argument, or named by a message or by its answer."""
    return next(getattr(one, "session", one) for one in arguments if isinstance(one, bytes) or hasattr(one, "session"))


@dataclass(frozen=True)
class Step:
    """One method. path: where it is. by: the role that may call it. letter: its last argument is another member's.

    to: who gets the result; for a tuple, who gets each part.
    """

    path: str
    by: str
    letter: bool = False
    to: Callable[[Any, Sequence[Any]], Receivers] = field(default=_caller)

    @property
    def name(self) -> str:
        """As it stands in a URL."""
        return self.path.replace(".", "-")

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The method's parameters and `return`, with their types."""
        part, _, method = self.path.rpartition(".")
        function = getattr(_PARTS[part], method)
        hints = typing.get_type_hints(function)
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        return {name: hints[name] for name in names} | {"return": hints["return"]}

    @cached_property
    def sent(self) -> list[str]:
        """The parameters that travel; who calls and who wrote a letter is known otherwise."""
        return [name for name in self.hints if name not in ("return", "sender", "platform")]

    @cached_property
    def wire_type(self) -> Any:
        """What the arguments decode to."""
        kinds = [self.hints[name] for name in self.sent]
        if self.letter:
            kinds[-1] = bytes
        return tuple[tuple(kinds)] if kinds else tuple[()]  # type: ignore[misc]


def _steps(by: str, part: str, *, letters: str = "", plain: str = "", **sent: str) -> list[Step]:
    """Steps of one part. letters: methods that take a letter; plain: others; sent: methods by whom they answer."""
    to = {"others": _others, "partner": _partner, "named": _first_named, "pair": _first_of_pair, "answered": _answered}
    receivers = {method: to[key] for key, methods in sent.items() for method in methods.split()}
    taking = set(letters.split())
    names = [*letters.split(), *plain.split(), *receivers]
    prefix = part + "." if part else ""
    return [Step(prefix + name, by, name in taking, receivers.get(name, _caller)) for name in dict.fromkeys(names)]


STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        *_steps(
            "exchange",
            "ceremony",
            letters="receive_commitment receive_contribution receive_test_vector unmask receive_share"
            " receive_plaintext",
            others="commit test_vector open_share tell_plaintext",
            named="contribute",
            pair="mask",
        ),
        *_steps(
            "exchange",
            "custody",
            letters="receive_commitment receive_toss receive_opening receive_map_digest",
            plain="settle conclude accept_map withdraw abandon",
            others="receive toss opening receive_map",
        ),
        *_steps("exchange", "bank", plain="receive_planes install"),
        *_steps(
            "exchange",
            "auditor",
            letters="receive_commitment receive_toss receive_opening",
            plain="conclude",
            others="commit toss opening",
        ),
        *_steps("exchange", "", plain="finish_ceremony sign_block"),
        *_steps(
            "platform",
            "sessions",
            letters="receive_header receive_deal receive_toss receive_opening receive_closing receive_partial"
            " next_gates receive_match_bits",
            plain="start_comparison abandon",
            partner="receive_results use_deal toss receive_toss receive_opening partial gate_opening next_gates"
            " match_bits",
            answered="answer",
        ),
        *_steps("platform", "sessions.stock", letters="receive", plain="missing"),
        Step("deal", "platform", to=_dealt),
    )
}


def call(member: Member, parties: Mapping[str, Verifier], me: Identity, step: Step, caller: str, body: bytes) -> bytes:
    """Call a step for `caller`; what goes back. Raises Forbidden, MessageError, and what the method raises."""
    if role_of(caller) != step.by:
        raise Forbidden(f"{step.path} is for the {step.by}; {caller} is not")
    try:
        values = list(decoder(step.wire_type).decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        raise MessageError(f"{step.path}: the arguments do not decode; expected {', '.join(step.sent)}") from None
    writer = ""
    if step.letter:
        kind = step.hints[step.sent[-1]]
        kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        writer, values[-1] = open_letter(me, parties, values[-1], kinds)
        if role_of(writer) != "member":
            raise IntegrityError(f"{step.path}: a letter of {writer}; expected a member's")
    of_session = step.path.startswith("sessions.") and step.path not in _BEFORE_SESSIONS
    if of_session and member.sessions.platform_of(_session(values)) != caller:
        raise Forbidden(f"{step.path}: the session is another platform's")
    known = dict(zip(step.sent, values, strict=True))
    known |= {"sender": int(writer[-1]) if writer else 0, "platform": caller}
    result = attrgetter(step.path)(member)(**{name: known[name] for name in step.hints if name != "return"})
    receivers = step.to(member, [*values, result]) if result is not None else [None]
    if not isinstance(result, tuple):
        if receivers == [None]:
            return msgspec.msgpack.encode(result)
        return msgspec.msgpack.encode({name: seal(me, parties[str(name)], result) for name in receivers})
    return msgspec.msgpack.encode(
        [part if to is None else seal(me, parties[to], part) for to, part in zip(receivers, result, strict=True)]
    )


def arguments(step: Step, given: Sequence[Any]) -> bytes:
    """The body of a call with these positional arguments, as the method takes them."""
    names = [name for name in step.hints if name != "return"]
    known = dict(zip(names, given, strict=True))
    return msgspec.msgpack.encode([known[name] for name in step.sent])


class Letters(dict[str, bytes]):
    """A result that is for other parties: one letter each."""


def result(step: Step, body: bytes, given: Sequence[Any]) -> Any:
    """What a call with these arguments answered: letters to be carried, or the result. Raises MessageError."""
    kind = step.hints["return"]
    try:
        if typing.get_origin(kind) is tuple:
            parts, receivers = typing.get_args(kind), step.to(None, given)
            kinds = tuple(part if to is None else bytes for part, to in zip(parts, receivers, strict=True))
            values = decoder(tuple[kinds]).decode(body)  # type: ignore[valid-type]
            return tuple(
                value if to is None else Letters({to: value}) for value, to in zip(values, receivers, strict=True)
            )
        if step.to is _caller:
            return decoder(kind).decode(body)
        decoded = decoder(dict[str, bytes] | None).decode(body)
        return None if decoded is None else Letters(decoded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        raise MessageError(f"{step.path}: the answer does not decode") from None

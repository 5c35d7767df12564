"""The contract every protocol keeps, and the exceptions every protocol raises.

A protocol plays all its roles in one process, but the roles share nothing: what one gives another is a
message (`ledger.Message`), encoded to bytes and decoded again. `enroll`, `match` and `withdraw` check their
input here, once, so that a protocol's own `_enroll`, `_match` and `_withdraw` see clean arrays only.

The exception tree:

    HushmatchError
    ├── InputError (ValueError)       an argument is wrong; names the field and what was expected
    │   └── UnknownCase               withdraw() of a case that is not, or no longer, enrolled
    ├── ConfigurationError            create() was asked for something that cannot be
    │   ├── UnknownProtocol           no protocol of that name
    │   ├── ProtocolUnavailable       it exists, but a library it needs is missing; says which
    │   └── UnsafeThreshold           the threshold would let random queries read the bank
    ├── ProtocolError                 what another role sent is not acceptable; names the role
    │   ├── MessageError              bytes that do not decode, or lengths and ranges that do not fit
    │   ├── UndeclaredMessage         a message that the protocol's table does not list
    │   ├── IntegrityError            a signature, commitment, proof or digest does not verify
    │   │   └── ProofRefused          a proof was checked and is wrong; says which check, and whose proof
    │   ├── ReplayError               something single-use came twice, or out of order
    │   └── StaleVersion              the wrong epoch or bank version
    └── BudgetExceeded                a limit was reached; says how long to wait
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.ledger import HushmatchError, Ledger, MessageError, MessageKind, ProtocolError, UndeclaredMessage

__all__ = [
    "BudgetExceeded",
    "Capabilities",
    "ConfigurationError",
    "HushmatchError",
    "InputError",
    "IntegrityError",
    "Match",
    "MessageError",
    "ProofRefused",
    "Protocol",
    "ProtocolError",
    "ProtocolUnavailable",
    "ReplayError",
    "StaleVersion",
    "UndeclaredMessage",
    "UnknownCase",
    "UnknownProtocol",
    "UnsafeThreshold",
]

Hashes = NDArray[np.uint8]
Margins = NDArray[np.floating]
Progress = Callable[[str, int, int], None]


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody is told."""


class InputError(HushmatchError, ValueError):
    """An argument is wrong; the message names the field, what it was and what was expected."""


class UnknownCase(InputError):
    """The case is not enrolled, or has been withdrawn."""


class ConfigurationError(HushmatchError):
    """The protocol cannot be set up as asked."""


class UnknownProtocol(ConfigurationError):
    """No protocol of that name is registered."""


class ProtocolUnavailable(ConfigurationError):
    """The protocol is registered, but something that it needs is missing."""


class UnsafeThreshold(ConfigurationError):
    """At this threshold random queries would match often enough to read the bank."""


class IntegrityError(ProtocolError):
    """A signature, commitment, proof or digest does not verify."""


class ProofRefused(IntegrityError):
    """A proof fails. `party`: whose it is. `check`: the check that it fails. `evidence`: what that party signed."""

    def __init__(self, message: str, party: str, check: str, evidence: bytes) -> None:
        super().__init__(message)
        self.party, self.check, self.evidence = party, check, evidence


class ReplayError(ProtocolError):
    """Something that may be used once was used again, or came out of order."""


class StaleVersion(ProtocolError):
    """A message belongs to another epoch or bank version."""


class BudgetExceeded(HushmatchError):
    """A budget is used up. `retry_after`: seconds until it admits more."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Match(NamedTuple):
    """Upload number `query` (its row in the array given to `match`) matches an entry of `case`."""

    query: int
    case: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a protocol promises.

    exact: it reports every pair that the plaintext matcher reports, and no other. If False, it never
        reports a pair that plaintext does not, and its documentation states its recall.
    reveals: one sentence: what somebody learns beyond the matches.
    bits: hash lengths that it takes.
    max_threshold: the largest threshold that `create` accepts at max(bits), research options aside.
    why_not: None where it can run here, else what is missing and how to get it.
    """

    exact: bool
    reveals: str
    bits: tuple[int, ...]
    max_threshold: int
    why_not: str | None = None


class Protocol(ABC):
    """Private matching of perceptual hashes, all roles in this process.

    Subclasses set `capabilities` and `messages` (every message that may cross) and implement `_enroll`,
    `_match` and `_withdraw`. Not thread-safe: one caller at a time.
    """

    capabilities: ClassVar[Capabilities]
    messages: ClassVar[tuple[MessageKind, ...]]

    def __init__(
        self, *, bits: int = 256, threshold: int = 31, record: bool = False, progress: Progress | None = None
    ) -> None:
        """bits: hash length. threshold: largest Hamming distance that matches. record: keep every message's
        bytes in the ledger. progress: called with (what, done, total) during long work.

        Raises ConfigurationError for what the protocol does not take.
        """
        if not isinstance(bits, int) or bits not in self.capabilities.bits:
            raise ConfigurationError(f"bits is {bits!r}; this protocol takes one of {self.capabilities.bits}")
        if isinstance(threshold, bool) or not isinstance(threshold, int) or not 0 <= threshold <= bits:
            largest = min(bits, self.capabilities.max_threshold)
            raise ConfigurationError(f"threshold is {threshold!r}; expected a whole number from 0 to {largest}")
        if not isinstance(record, bool):
            raise ConfigurationError(f"record is {record!r}; expected True or False")
        if progress is not None and not callable(progress):
            raise ConfigurationError(f"progress is {progress!r}; expected a function of what, done and total, or None")
        self.bits = bits
        self.threshold = threshold
        self.ledger = Ledger(self.messages, record=record)
        self._progress: Progress = progress or quiet
        self._cases: set[str] = set()

    @classmethod
    def why_not(cls) -> str | None:
        """None where the protocol can run here, else what is missing and how to get it."""
        return None

    @classmethod
    def options(cls) -> set[str]:
        """Names of the keyword arguments that `create` passes on to this protocol."""
        signatures = [signature(base) for base in cls.__mro__ if issubclass(base, Protocol)]
        named = {p.name for each in signatures for p in each.parameters.values() if p.kind is p.KEYWORD_ONLY}
        return named - {"bits", "threshold"}

    def enroll(self, cases: Sequence[str], hashes: Hashes, margins: Margins | None = None) -> None:
        """Add entries: `hashes` uint8 (N, bits/8), `cases` N names; a name may repeat and be added to later.

        margins: how reliable each bit is, where the hash says so: floating-point (N, bits), any scale, a larger
        size for a more reliable bit. A protocol that is not exact may find more with them; others ignore them.
        All or nothing. Raises InputError if they do not fit each other or the protocol.
        """
        rows = self._check_hashes(hashes)
        names = _check_cases(cases, len(rows))
        self._check_margins(margins, len(rows))
        if names:
            with self.ledger.phase("enroll"):
                self._enroll(names, rows)
            self._cases.update(names)

    def match(self, hashes: Hashes | Iterable[Hashes], margins: Margins | None = None) -> list[Match]:
        """Pairs (query, case) at Hamming distance <= threshold, sorted, no doubles.

        hashes: uint8 (Q, bits/8), or an iterable of such batches, numbered on from one to the next.
        margins: as in `enroll`, (Q, bits); then hashes is one array. Raises InputError for anything else.
        """
        if margins is not None and not isinstance(hashes, np.ndarray):
            raise InputError("hashes is not one array; with margins it must be")
        found: set[Match] = set()
        start = 0
        with self.ledger.phase("match"):
            for batch in _batches(hashes):
                rows = self._check_hashes(batch)
                self._check_margins(margins, len(rows))
                if len(rows):
                    found.update(Match(start + query, case) for query, case in self._match(rows))
                start += len(rows)
        return sorted(found)

    def withdraw(self, case: str) -> None:
        """Every entry of `case` stops matching, at once. Raises UnknownCase."""
        if not isinstance(case, str) or case not in self._cases:
            raise UnknownCase("case is not enrolled, or has been withdrawn already")
        with self.ledger.phase("withdraw"):
            self._withdraw(str(case))
        self._cases.remove(case)

    @abstractmethod
    def _enroll(self, cases: list[str], hashes: Hashes) -> None:
        """Enrol checked input, at least one row."""

    @abstractmethod
    def _match(self, hashes: Hashes) -> Iterable[tuple[int, str]]:
        """(row, case) of every match in one checked batch, in any order."""

    @abstractmethod
    def _withdraw(self, case: str) -> None:
        """Withdraw a case that is enrolled."""

    def _check_hashes(self, hashes: Hashes) -> Hashes:
        if not isinstance(hashes, np.ndarray) or hashes.dtype != np.uint8 or hashes.ndim != 2:
            what = f"{hashes.dtype} {hashes.shape}" if isinstance(hashes, np.ndarray) else type(hashes).__name__
            raise InputError(f"hashes is {what}; expected a uint8 array of shape (rows, {self.bits // 8})")
        if hashes.shape[1] != self.bits // 8:
            raise InputError(f"hashes has {hashes.shape[1]} bytes a row; {self.bits}-bit hashes have {self.bits // 8}")
        return np.ascontiguousarray(hashes)

    def _check_margins(self, margins: Margins | None, rows: int) -> None:
        if margins is None:
            return
        if not isinstance(margins, np.ndarray) or margins.dtype.kind != "f" or margins.shape != (rows, self.bits):
            what = f"{margins.dtype} {margins.shape}" if isinstance(margins, np.ndarray) else type(margins).__name__
            raise InputError(f"margins is {what}; expected a floating-point array of shape ({rows}, {self.bits})")
        if not np.isfinite(margins).all():
            raise InputError("margins has values that are not finite")


def _check_cases(cases: Sequence[str], rows: int) -> list[str]:
    if isinstance(cases, (str, bytes)) or not isinstance(cases, Iterable):
        raise InputError(f"cases is one {type(cases).__name__}; expected a sequence of strings, one a row of hashes")
    names = list(cases)
    if len(names) != rows:
        raise InputError(f"cases has {len(names)} names for {rows} rows of hashes; expected one a row")
    for index, name in enumerate(names):
        if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
            raise InputError(f"cases[{index}] is not a string of 1 to 200 printable characters")
    return [str(name) for name in names]  # numpy's strings are a subclass that messages do not take


def _batches(hashes: Hashes | Iterable[Hashes]) -> Iterator[Hashes]:
    if isinstance(hashes, np.ndarray):
        yield hashes
    elif isinstance(hashes, (str, bytes)) or not isinstance(hashes, Iterable):
        raise InputError(f"hashes is {type(hashes).__name__}; expected a uint8 array or an iterable of them")
    else:
        yield from hashes

"""The oracle: today's practice, raw hashes at every platform.

The client's raw hash goes to the exchange and from there, with its case number, to the platform, which compares
uploads with it. Exact, fast, and what every other protocol is checked and timed against.

NOT protected: anything. Exchange and platforms hold every hash; a raw perceptual hash can be turned back into a
recognisable thumbnail, and whoever holds it can search for the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from hashing import hamming
from protocols.base import Capabilities, Hashes, Protocol
from protocols.ledger import Message, MessageKind, as_array

faiss: Any
try:
    import faiss
except ImportError:  # an extra; numpy does the same more slowly
    faiss = None

_PIECE = 1 << 22  # numpy: comparisons held at a time


class RawEntries(Message, frozen=True):
    """Cases and their raw hashes, packed one after another."""

    cases: list[str]
    hashes: bytes


class Removal(Message, frozen=True):
    """A case that was withdrawn."""

    case: str


class Plaintext(Protocol):
    """Plaintext matching; see the module."""

    capabilities = Capabilities(
        exact=True,
        reveals="everything: exchange and platforms hold every raw hash and case number",
        bits=(64, 256),
        max_threshold=256,
    )
    messages = (
        MessageKind(RawEntries, "client", "exchange", "the person's raw hashes"),
        MessageKind(RawEntries, "exchange", "platform", "everybody's raw hashes and case numbers"),
        MessageKind(Removal, "client", "exchange", "the case number"),
        MessageKind(Removal, "exchange", "platform", "the case number"),
    )

    def __init__(self, *, bits: int = 256, threshold: int = 31, **options: Any) -> None:
        super().__init__(bits=bits, threshold=threshold, **options)
        self._platform = Platform(bits, threshold)

    def _enroll(self, cases: list[str], hashes: Hashes) -> None:
        received = self.ledger.send("client", "exchange", RawEntries(cases, hashes.tobytes()))
        entries = self.ledger.send("exchange", "platform", received)
        with self.ledger.cpu("platform"):
            self._platform.add(entries)

    def _match(self, hashes: Hashes) -> Iterable[tuple[int, str]]:
        with self.ledger.cpu("platform"):
            return list(self._platform.search(hashes))

    def _withdraw(self, case: str) -> None:
        received = self.ledger.send("client", "exchange", Removal(case))
        removal = self.ledger.send("exchange", "platform", received)
        with self.ledger.cpu("platform"):
            self._platform.remove(removal)


class Platform:
    """Holds the bank in the clear and compares uploads with it."""

    def __init__(self, bits: int, threshold: int) -> None:
        self._bits = bits
        self._threshold = threshold
        self._cases: list[str] = []
        self._hashes = np.empty((0, bits // 8), dtype=np.uint8)
        self._index: Any = None
        self._threads = ThreadpoolController()

    def add(self, entries: RawEntries) -> None:
        """Append entries. Raises MessageError if the hashes do not fit the cases."""
        rows = as_array(entries.hashes, np.uint8, (len(entries.cases), self._bits // 8), "hashes")
        self._replace(self._cases + entries.cases, np.concatenate([self._hashes, rows]))

    def remove(self, removal: Removal) -> None:
        """Forget every entry of a case."""
        kept = [row for row, case in enumerate(self._cases) if case != removal.case]
        self._replace([self._cases[row] for row in kept], self._hashes[kept])

    def search(self, hashes: Hashes) -> Iterator[tuple[int, str]]:
        """(row of hashes, case) of every pair at distance <= threshold, on one thread."""
        if self._index is not None:
            with self._threads.limit(limits=1):
                bounds, _, entries = self._index.range_search(hashes, self._threshold + 1)
            queries = np.repeat(np.arange(len(hashes)), np.diff(bounds.astype(np.int64)))
            pairs: Iterable[tuple[Any, Any]] = zip(queries, entries, strict=True)
        else:
            pairs = within(hashes, self._hashes, self._threshold)
        for query, entry in pairs:
            yield int(query), self._cases[entry]

    def _replace(self, cases: list[str], hashes: Hashes) -> None:
        self._cases, self._hashes = cases, hashes
        if faiss is not None:
            self._index = faiss.IndexBinaryFlat(self._bits)
            self._index.add(np.ascontiguousarray(hashes))


def within(queries: Hashes, entries: Hashes, threshold: int) -> Iterator[tuple[int, int]]:
    """Pairs (query, entry) at Hamming distance <= threshold, in numpy, memory bounded."""

    step = max(1, _PIECE // max(1, len(queries)))
    for start in range(0, len(entries), step):
        near: NDArray[np.bool_] = hamming(queries, entries[start : start + step]) <= threshold
        for query, entry in np.argwhere(near):
            yield int(query), start + int(entry)

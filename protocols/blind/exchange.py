"""The exchange: keeps which slot is which case, gives every entry a slot, and passes sealed entries on.

It holds no key and asks for no tokens. What it sees of fingerprints: which entries have a row id in common, that is,
are near each other, and which entries uploads match. NOT protected: it may lie about which case a slot belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocols.base import MessageError, ReplayError, StaleVersion
from protocols.blind import keys
from protocols.blind.entries import ENTRY_ID, KEY, ROW_ID, entry_size
from protocols.blind.messages import BankUpdate, Manifest, MatchReport, Removal, SealedEntries, Withdrawal
from protocols.blind.parameters import Parameters


class Exchange:
    """Cases and slots, and the epoch of the key that entries are sealed under."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._epoch: int | None = None
        self._cases: dict[int, str] = {}
        self._seen: set[bytes] = set()
        self._next = 0
        self.broken: set[int] = set()

    def pin(self, manifests: Mapping[int, Manifest]) -> None:
        """Take the manifest that all members agree on, once. Raises IntegrityError, ElementError, ReplayError."""
        if self._epoch is not None:
            raise ReplayError(f"the key of epoch {self._epoch} is pinned already")
        self._epoch = keys.agreed(manifests).epoch

    def add(self, sealed: Sequence[SealedEntries]) -> BankUpdate:
        """Give the entries slots; what platforms add. All or nothing.

        Raises MessageError, ReplayError, and StaleVersion before there is a key. An entry that has a row id twice is
        refused: no honest one does, and queries would try all its rows.
        """
        if self._epoch is None:
            raise StaleVersion("no manifest is pinned: there is no key that entries could be sealed under")
        size, count = entry_size(self._parameters.bits), self._parameters.entry_tokens
        cases, ids = [], []
        for part in sealed:
            for field, data, width in (
                ("entries", part.entries, size),
                ("ids", part.ids, count * ROW_ID),
                ("labels", part.labels, count * KEY),
            ):
                if len(data) != len(part.cases) * width:
                    raise MessageError(f"{field} is {len(data)} bytes; {len(part.cases)} entries have {width} each")
            cases += part.cases
            ids += [part.entries[at : at + ENTRY_ID] for at in range(0, len(part.entries), size)]
            rows = [part.ids[at : at + ROW_ID] for at in range(0, len(part.ids), ROW_ID)]
            for entry in range(len(part.cases)):
                if len(set(rows[entry * count : (entry + 1) * count])) < count:
                    raise MessageError(f"ids has one row id twice in entry {entry}")
        if len(set(ids)) != len(ids) or not self._seen.isdisjoint(ids):
            raise ReplayError("an entry id was used before")
        first = self._next
        self._seen.update(ids)
        self._cases.update(enumerate(cases, first))
        self._next += len(cases)
        joined = (b"".join(getattr(part, field) for part in sealed) for field in ("entries", "ids", "labels"))
        return BankUpdate(self._epoch, first, *joined)

    def resolve(self, report: MatchReport) -> list[str | None]:
        """The case of every matched slot; None where it has been withdrawn. Raises MessageError."""
        for slot in (*report.matched, *report.broken):
            if slot >= self._next:
                raise MessageError(f"slot {slot} was never given to an entry")
        self.broken.update(report.broken)
        return [self._cases.get(slot) for slot in report.matched]

    def withdraw(self, request: Withdrawal) -> Removal:
        """Forget a case; what platforms delete."""
        slots = [slot for slot, case in self._cases.items() if case == request.case]
        for slot in slots:
            del self._cases[slot]
        return Removal(slots)

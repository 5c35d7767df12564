"""The exchange: keeps which slot is which case, gives every entry a slot, and passes sealed entries on.

It holds no key and asks for no tokens. What it sees of fingerprints: which entries have a row id in common, that is,
are near each other, and which entries uploads match. NOT protected: it may lie about which case a slot belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.blind.entries import ENTRY_ID, KEY, ROW_ID, entry_size
from protocols.blind.messages import BankUpdate, Manifest, MatchReport, Removal, SealedEntries, Withdrawal
from protocols.blind.parameters import Parameters


class Exchange:
    """Cases, slots, and the manifest that everybody pins."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._epoch: int | None = None
        self._cases: dict[int, str] = {}
        self._seen: set[bytes] = set()
        self._next = 0
        self.broken: set[int] = set()

    def publish(self, manifests: Sequence[Manifest]) -> Manifest:
        """The manifest on which all members agree. Raises IntegrityError if they do not."""
        if any(manifest != manifests[0] for manifest in manifests):
            raise IntegrityError("the members do not agree on the manifest: one of them dealt two ways")
        self._epoch = manifests[0].epoch
        return manifests[0]

    def add(self, sealed: Sequence[SealedEntries]) -> BankUpdate:
        """Give the entries slots; what platforms add. All or nothing.

        Raises MessageError, ReplayError, and StaleVersion before there is a key.
        """
        if self._epoch is None:
            raise StaleVersion("no manifest has been published: there is no key that entries could be sealed under")
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
            if not 0 <= slot < self._next:
                raise MessageError(f"slot {slot} was never given to an entry")
        self.broken.update(report.broken)
        return [self._cases.get(slot) for slot in report.matched]

    def withdraw(self, request: Withdrawal) -> Removal:
        """Forget a case; what platforms delete."""
        slots = [slot for slot, case in self._cases.items() if case == request.case]
        for slot in slots:
            del self._cases[slot]
        return Removal(slots)

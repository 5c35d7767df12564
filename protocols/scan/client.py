"""The client: the device of the person the media shows. Splits fingerprints into shares and seals them; no more.

No homomorphic code runs here, so a phone or a browser can do it. It keeps what it sent only until the members' receipts
say what became of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError
from protocols.scan.enrolling_messages import CaseEntries, Enrollment, EntryReceipt, Receipts
from protocols.scan.entries import seal_entry
from protocols.scan.manifest import Pinned
from protocols.scan.parameters import Parameters


class Client:
    """Seals entries under a pinned manifest, and keeps their ids and commitments to check receipts with."""

    def __init__(self, pinned: Pinned, parameters: Parameters) -> None:
        self._pinned = pinned
        self._parameters = parameters
        self._pending: dict[bytes, tuple[str, bytes]] = {}
        self._entries: dict[str, list[bytes]] = {}

    def seal(self, cases: Sequence[str], hashes: NDArray[np.uint8]) -> Enrollment:
        """Entries for packed hashes (N, bits/8), row by row under `cases`, in order of first appearance."""
        by_case: dict[str, CaseEntries] = {}
        for case, row in zip(cases, hashes, strict=True):
            bits = np.unpackbits(row)
            entry = seal_entry(bits, self._parameters, self._pinned.manifest.epoch, self._pinned.members)
            self._pending[entry.entry] = case, entry.commitments
            by_case.setdefault(case, CaseEntries(case, [])).entries.append(entry)
        return Enrollment(list(by_case.values()))

    def check_accepted(self, receipts: Receipts) -> None:
        """All three members accepted everything that was sealed since the last receipts, as it was sent.

        Raises IntegrityError if a receipt is missing, forged, or says something else.
        """
        for receipt in self._verified(receipts, "accepted"):
            told = dict(zip(receipt.entries, receipt.commitments, strict=False))
            if any(told.get(entry) != commitments for entry, (_, commitments) in self._pending.items()):
                raise IntegrityError(f"receipt of {receipt.member}: entries are missing or not as they were sent")
        for entry, (case, _) in self._pending.items():
            self._entries.setdefault(case, []).append(entry)
        self._pending.clear()

    def check_withdrawn(self, case: str, receipts: Receipts) -> None:
        """All three members have stopped matching every entry of a case. Raises IntegrityError."""
        for receipt in self._verified(receipts, "withdrawn"):
            if not set(self._entries[case]) <= set(receipt.entries):
                raise IntegrityError(f"receipt of {receipt.member}: an entry of the case was not withdrawn")
        del self._entries[case]

    def check_abandoned(self, receipts: Receipts) -> None:
        """An enrolment failed: drop what has no receipts or was given up. Raises IntegrityError."""
        self._pending.clear()
        given_up = set.intersection(*(set(receipt.entries) for receipt in self._verified(receipts, "abandoned")))
        kept = {case: [entry for entry in entries if entry not in given_up] for case, entries in self._entries.items()}
        self._entries = {case: entries for case, entries in kept.items() if entries}

    def _verified(self, receipts: Receipts, status: str) -> list[EntryReceipt]:
        if len(receipts.receipts) != len(self._pinned.members):
            raise IntegrityError(f"receipts: {len(receipts.receipts)} came; every member's is needed")
        verified = []
        for keys, signed in zip(self._pinned.members, receipts.receipts, strict=True):
            receipt = keys.verify(signed, EntryReceipt)
            if receipt.member != keys.name or receipt.epoch != self._pinned.manifest.epoch:
                raise IntegrityError(f"receipt of {keys.name}: names another member or epoch")
            if receipt.status != status:
                raise IntegrityError(f"receipt of {keys.name}: entries are {receipt.status}; expected {status}")
            verified.append(receipt)
        return verified

"""The platform: makes its uploads' tokens with the committee's help, looks them up, opens what it finds.

A row found opens its entry's fingerprint. It counts only if the commitment holds, if the fingerprint agrees with
the token in its band up to the one bit that its client may have turned over, and if the true distance keeps the
rule: so no reported pair is false. An entry that fails the first two is reported as broken, and passed over
by requests that are searched afterwards.

The members see random elements, the exchange which slots matched. NOT protected: a platform that holds an image
which agrees with an entry in a band learns that entry's fingerprint, and keeps what it learnt. A table it was told
to forget, it may have kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hashing import hamming
from protocols.base import Hashes, IntegrityError, Margins, MessageError, StaleVersion
from protocols.blind import bands, entries
from protocols.blind.group import Rows
from protocols.blind.messages import BankUpdate, BlindedElements, EvaluatedElements, Manifest, MatchReport, Removal
from protocols.blind.parameters import Parameters
from protocols.blind.requester import Pending, Requester
from protocols.blind.table import TokenTable
from protocols.ledger import as_array


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What the platform keeps of a request until the answers are in."""

    pending: Pending
    hashes: Hashes = field(repr=False)
    bands: NDArray = field(repr=False)
    values: NDArray = field(repr=False)


class Checker:
    """A platform: a token table, the entries it points to, and the right to ask the committee.

    Requests may be made and searched in several threads, but not beside `update` and `remove`.
    """

    def __init__(self, parameters: Parameters, manifests: Mapping[int, Manifest]) -> None:
        """manifests: by the member that sent it. Raises IntegrityError or ElementError if they are not good."""
        self._parameters = parameters
        self._requester = Requester(parameters, manifests)
        self._entries = np.empty((0, entries.entry_size(parameters.bits)), dtype=np.uint8)
        self._broken = np.empty(0, dtype=np.bool_)  # by slot
        self.table = TokenTable.empty()

    def update(self, update: BankUpdate) -> None:
        """Add entries and their rows. Raises StaleVersion, MessageError."""
        if update.epoch != self._requester.epoch:
            raise StaleVersion(
                f"the update is of epoch {update.epoch}; this platform's key is of {self._requester.epoch}"
            )
        if update.first_slot != len(self._entries):
            raise MessageError(f"the update starts at slot {update.first_slot}; the next is {len(self._entries)}")
        new = as_array(update.entries, np.uint8, (-1, self._entries.shape[1]), "entries")
        count = self._parameters.entry_tokens
        ids = as_array(update.ids, np.uint8, (len(new) * count, entries.ROW_ID), "ids")
        labels = as_array(update.labels, np.uint8, (len(new) * count, entries.KEY), "labels")
        slots = np.repeat(np.arange(update.first_slot, update.first_slot + len(new)), count)
        table = self.table.with_rows(ids, slots, labels)
        every, broken = np.concatenate([self._entries, new]), np.append(self._broken, np.zeros(len(new), np.bool_))
        self._entries, self._broken, self.table = every, broken, table  # rows last: none may point nowhere

    def remove(self, removal: Removal) -> None:
        """Delete the rows of these slots, and what they opened."""
        slots = np.array(removal.slots, dtype=np.int64)
        if len(slots) and slots.max() >= len(self._entries):
            raise MessageError("slots has one that was never given to an entry")
        self.table = self.table.without_slots(slots)
        self._entries = self._entries.copy()
        self._entries[slots] = 0

    def request(self, hashes: Hashes, margins: Margins | None) -> tuple[Query, BlindedElements]:
        """For hashes (Q, bits/8) and their margins (Q, bits): what to keep, and what to ask the members."""
        count = self._parameters.query_tokens
        texts, chosen, values = bands.inputs(hashes, margins, count, self._parameters)
        pending, request = self._requester.request(texts)
        return Query(pending, hashes, chosen, values), request

    def finish(self, query: Query, answers: dict[int, EvaluatedElements]) -> tuple[list[int], MatchReport]:
        """The row of `hashes` of every match, and the report with its slot at the same place.

        Raises IntegrityError, which names a member that answered wrongly.
        """
        return self.search(query, self._requester.finish(query.pending, answers))

    def search(self, query: Query, tokens: Rows) -> tuple[list[int], MatchReport]:
        """`finish` from the tokens on, (Q*T, 64): look up, open, check, compare."""
        asked, slots, labels = self.table.find(entries.row_ids(tokens))
        kept = ~self._broken[slots]
        asked, slots, labels = asked[kept], slots[kept], labels[kept]
        count = self._parameters.query_tokens
        rows: list[int] = []
        matched: list[int] = []
        broken: set[int] = set()
        done: set[tuple[int, int]] = set()
        for at, slot, label in zip(asked.tolist(), slots.tolist(), labels, strict=True):
            row, token = divmod(at, count)
            if (row, slot) in done or slot in broken:
                continue
            band = int(query.bands[row, token])
            try:
                fingerprint = self._open(slot, label, tokens[at], band, query.values[row, token])
            except IntegrityError:
                broken.add(slot)
                continue
            done.add((row, slot))
            if hamming(query.hashes[row : row + 1], fingerprint[None])[0, 0] <= self._parameters.threshold:
                rows.append(row)
                matched.append(slot)
        self._broken[list(broken)] = True
        return rows, MatchReport(matched, sorted(broken))

    def _open(self, slot: int, label: Rows, token: Rows, band: int, values: NDArray) -> Hashes:
        fingerprint = entries.unseal(self._entries[slot], label, token, band, self._requester.epoch)
        agreed = np.unpackbits(fingerprint)[bands.positions(self._parameters)[band]]
        if int((agreed != values).sum()) > bands.TURNED:
            raise IntegrityError("an entry's fingerprint does not have the bits of the band that it was found by")
        return fingerprint

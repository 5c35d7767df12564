"""A member's part in the check that a batch of entries is bits: the order of steps. `entries` has the mathematics.

    receive -> commitments -> tosses -> openings, bisecting, until every entry is settled -> receipts

Whoever knows rho before the batch is fixed can make a bad entry pass, so tosses are committed to together with the
digest of the batch and told only after all three have committed. Each opening is masked by fresh values that cancel
among the three.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ReplayError
from protocols.ledger import as_array
from protocols.scan.enrolling_messages import CheckCommitment, CheckOpening, CheckToss, EntryShares
from protocols.scan.entries import CHECKS, check_lengths, check_sums, open_entry
from protocols.scan.keys import MEMBERS
from protocols.scan.parameters import Parameters
from protocols.scan.sampling import Stream, derive, fresh_seed
from protocols.scan.sealing import Identity, digest, same


class EntryCheck:
    """Member `member`'s, of one batch; single use. bad: indices of entries that are not well-formed, as far as known.

    shares: the two that this member holds of each entry, empty where nothing opened.
    """

    def __init__(
        self, member: int, identity: Identity, parameters: Parameters, epoch: int, message: EntryShares
    ) -> None:
        """Opens the batch; what does not open or fit its commitments is bad. Raises MessageError for wrong lengths."""
        self.id = message.batch
        self.entries = message.entries
        self.given = message.commitments  # by the clients
        self.shares: list[bytes] = []
        self.bad: set[int] = set()
        self.open: list[tuple[int, int]] = []
        self._member = member
        self._epoch = epoch
        self._bits = parameters.bits
        for index, (entry, commitments, sealed) in enumerate(
            zip(message.entries, message.commitments, message.sealed, strict=True)
        ):
            check_lengths(entry, commitments)
            try:
                shares = open_entry(identity, sealed, entry, commitments, parameters, epoch, member)
            except (IntegrityError, MessageError):
                self.bad.add(index)
                shares = b""
            self.shares.append(shares)
        self._toss = fresh_seed()
        self._sums: NDArray[np.uint64] | None = None
        self._tosses: dict[int, bytes] = {}
        self._openings: dict[int, NDArray[np.uint64]] = {}
        self.commitment = CheckCommitment(
            message.batch,
            digest("entries", *message.entries, *message.commitments),
            self._committed(member, self._toss),
            sorted(self.bad),
        )
        self._commitments = {member: self.commitment}

    def __repr__(self) -> str:
        return f"<EntryCheck at member-{self._member}>"

    def _committed(self, member: int, seed: bytes) -> bytes:
        return digest("toss", self.id, bytes([member]), seed)

    def receive_commitment(self, sender: int, message: CheckCommitment) -> None:
        """Raises IntegrityError if the sender was given other entries, ReplayError, MessageError."""
        if sender in self._commitments:
            raise ReplayError(f"check: member-{sender} has committed already")
        if not same(message.entries_digest, self.commitment.entries_digest):
            raise IntegrityError(f"check: member-{sender} was given other entries or commitments")
        if any(not 0 <= index < len(self.entries) for index in message.bad):
            raise MessageError(f"check: member-{sender} names an entry that is not in the batch")
        self._commitments[sender] = message
        self.bad |= set(message.bad)

    def toss(self) -> CheckToss:
        """Tell the seed, once all have committed. Raises ReplayError before."""
        if len(self._commitments) < len(MEMBERS):
            raise ReplayError("check: seeds are told after all have committed")
        self._tosses[self._member] = self._toss
        return CheckToss(self.id, self._toss)

    def receive_toss(self, sender: int, message: CheckToss) -> None:
        """Raises IntegrityError if it is not what was committed to, ReplayError before all have committed."""
        if len(self._commitments) < len(MEMBERS):
            raise ReplayError("check: seeds are told after all have committed")
        if not same(self._commitments[sender].toss, self._committed(sender, message.seed)):
            raise IntegrityError(f"check: member-{sender} tells another seed than it committed to")
        self._tosses[sender] = message.seed

    def opening(self, pair_keys: dict[int, bytes]) -> CheckOpening:
        """Masked sums of the subsets that are not settled; of the whole batch at first. Raises ReplayError.

        pair_keys: with each other member, which masks that cancel come from.
        """
        if len(self._tosses) < len(MEMBERS):
            raise ReplayError("check: sums are opened after all seeds are told")
        tosses = b"".join(self._tosses[member] for member in MEMBERS)
        if self._sums is None:
            good = [i for i in range(len(self.entries)) if i not in self.bad]
            self._sums = np.zeros((len(self.entries), CHECKS), dtype=np.uint64)
            if good:
                held, seed = [self.shares[i] for i in good], derive(tosses, "check", self.id)
                self._sums[good] = check_sums(self._member, held, self._bits, seed)
            self.open = [(0, len(self.entries))]
        sums = np.array([self._sums[first:last].sum(axis=0) for first, last in self.open], dtype=np.uint64)
        # Fresh for every batch and subset; by the tosses too, should the batch's id come twice.
        context = self.id + self.commitment.entries_digest + tosses
        for row, (first, last) in enumerate(self.open):
            sums[row] += self._cancelling(pair_keys, context + first.to_bytes(8) + last.to_bytes(8))
        self._openings = {self._member: sums}
        return CheckOpening(self.id, self.open, sums.tobytes())

    def _cancelling(self, pair_keys: dict[int, bytes], context: bytes) -> NDArray[np.uint64]:
        """Masks that add up to 0 over the members."""
        total = np.zeros(CHECKS, dtype=np.uint64)
        for other, key in pair_keys.items():
            mask = Stream(derive(key, "check mask", self._epoch.to_bytes(8), context)).words(CHECKS)
            total = total + mask if self._member < other else total - mask
        return total

    def receive_opening(self, sender: int, message: CheckOpening) -> None:
        """Raises MessageError if it is not about the same subsets, ReplayError."""
        due = self._member in self._openings and sender not in self._openings
        if not due or [tuple(bound) for bound in message.bounds] != self.open:
            raise ReplayError(f"check: member-{sender} opens sums that are not due")
        self._openings[sender] = as_array(message.sums, "<u8", (len(self.open), CHECKS), "check sums")

    def settle(self) -> bool:
        """Take in everybody's openings: halve what failed. Whether every entry is settled. Raises ReplayError."""
        if len(self._openings) < len(MEMBERS):
            raise ReplayError("check: a member's opening is missing")
        total = np.stack([self._openings[member] for member in MEMBERS]).sum(axis=0, dtype=np.uint64)
        halves = []
        for (first, last), row in zip(self.open, total, strict=True):
            if row.any() and last - first > 1:
                middle = (first + last) // 2
                halves += [(first, middle), (middle, last)]
            elif row.any():
                self.bad.add(first)
        self.open, self._openings = halves, {}
        return not halves

    @property
    def settled(self) -> bool:
        """Whether each entry is known to be well-formed or bad."""
        return self._sums is not None and not self.open

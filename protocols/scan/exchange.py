"""The exchange: keeps cases and gives their entries slots in blocks.

`publishing` builds the blocks out of the members' encryptions, `resolving` turns slots that match into cases.

It sees case numbers, sealed shares, ciphertexts, and which cases matched when and where. It never sees a hash, a share
or an upload.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ReplayError, UnknownCase
from protocols.ledger import decode, encode
from protocols.scan.enrolling_messages import (
    BlockSignatures,
    Enrollment,
    EntryReceipt,
    EntryShares,
    EntryWithdrawal,
    Receipts,
    SignedBlockDigest,
    SignedReceipt,
    SlotMap,
)
from protocols.scan.entries import SHARES, check_lengths
from protocols.scan.manifest import Pinned
from protocols.scan.parameters import Parameters
from protocols.scan.publishing import PublishedBlocks
from protocols.scan.resolving import Resolver
from protocols.scan.slots import BlockSlots, read_map, slot_map
from protocols.scan.store import Store, Tables, number_key, read_number


class Exchange:
    """Cases, their entries and slots. blocks: by number, as adopted. published: their planes. resolver: of matches."""

    def __init__(
        self,
        pinned: Pinned,
        parameters: Parameters,
        folder: Path,
        store: Tables | None = None,
    ) -> None:
        """folder: where blocks are kept. store: entries outlive the epoch there, and versions go on; the rest is the
        epoch's own.

        A batch under check is in no table: members forget it (`abandon_batch`), and its entries are sent again.
        """
        self._store = store = store or Store()
        epoch = pinned.manifest.epoch
        self.blocks: dict[int, BlockSlots] = {}
        self.version = 0
        self._pinned = pinned
        self._parameters = parameters
        self._cases: dict[str, list[bytes]] = {}
        self._case_of: dict[bytes, str] = {}
        self._entries = store.table("entries")
        self._seen = store.table("seen")
        self._received: dict[bytes, dict[bytes, str]] = {}
        self._waiting: list[bytes] = []
        self._counters = store.table("counters")
        self._maps = store.table(f"maps {epoch}")
        self._touched = store.table(f"touched {epoch}")
        self._restore()
        self.published = PublishedBlocks(pinned, parameters, folder, store.table(f"published {epoch}"))
        self.resolver = Resolver(pinned, self.blocks, self._case_of, store.table("resolved"))

    def _restore(self) -> None:
        """Blocks as they were published; what was accepted and stands in none of them waits again."""
        for entry, case in self._entries.items():
            self._case_of[entry] = case.decode()
            self._cases.setdefault(case.decode(), []).append(entry)
        for body in self._maps.values():
            self.blocks |= read_map(decode(body, SlotMap), self._parameters)
        placed: set[bytes] = set()
        for slots in self.blocks.values():
            slots.keep(self._case_of)
            placed |= slots.standing()
        self._waiting = [entry for entry in self._case_of if entry not in placed]
        self.version = max((slots.version for slots in self.blocks.values()), default=0)

    # Enrolling ---------------------------------------------------------------------------------------------------

    def enrolled_before(self, entries: Iterable[bytes]) -> bool:
        """Whether an entry id was ever settled or withdrawn here, so that no member would take it again."""
        return any(entry in self._seen for entry in entries)

    def spend(self, entries: Iterable[bytes]) -> None:
        """Entries that are withdrawn before they were settled: their ids are used all the same."""
        self._seen.update(dict.fromkeys(entries, b""))

    def receive(self, message: Enrollment) -> dict[int, EntryShares]:
        """Take in sealed entries: for each member its part. Entries are `received` until the members accept them.

        Raises ReplayError for an entry id that was ever seen, MessageError.
        """
        case_of: dict[bytes, str] = {}
        under_check = {entry for batch in self._received.values() for entry in batch}
        for case in message.cases:
            for entry in case.entries:
                check_lengths(entry.entry, entry.commitments)
                if len(entry.sealed) != len(SHARES):
                    raise MessageError(f"an entry is sealed to {len(entry.sealed)} members; expected {len(SHARES)}")
                if entry.entry in case_of or entry.entry in self._seen or entry.entry in under_check:
                    raise ReplayError("enrolment: an entry id comes twice, or was enrolled before")
                case_of[entry.entry] = case.case
        batch = secrets.token_bytes(16)
        self._received[batch] = case_of
        entries = [entry for case in message.cases for entry in case.entries]
        ids, commitments = [entry.entry for entry in entries], [entry.commitments for entry in entries]
        return {
            member: EntryShares(batch, ids, commitments, [entry.sealed[member - 1] for entry in entries])
            for member in SHARES
        }

    def settle(self, batch: bytes, receipts: dict[int, list[SignedReceipt]]) -> tuple[Receipts, list[str]]:
        """The members' receipts of a batch: accepted entries wait for slots.

        Returns the receipts of the accepted entries, for the clients, and the cases of the refused ones, to be told.
        Raises IntegrityError if the members disagree, ReplayError for a batch that is settled.
        """
        case_of = self._received.get(batch)
        if case_of is None:
            raise ReplayError("enrolment: the batch is unknown, or settled already")
        accepted = self._agreed("accepted", [receipts[member][0] for member in SHARES])
        refused = []
        if any(len(signed) > 1 for signed in receipts.values()):
            refused = self._agreed("refused", [receipts[member][-1] for member in SHARES])
        del self._received[batch]
        self._seen.update(dict.fromkeys(case_of, b""))
        for entry in accepted:
            self._cases.setdefault(case_of[entry], []).append(entry)
            self._case_of[entry] = case_of[entry]
            self._entries[entry] = case_of[entry].encode()
        self._waiting += accepted
        told = sorted({case_of[entry] for entry in refused})
        return Receipts([receipts[member][0] for member in SHARES]), told

    def _agreed(self, status: str, signed: list[SignedReceipt]) -> list[bytes]:
        entries = None
        for member, one in zip(SHARES, signed, strict=True):
            receipt = self._pinned.parties[f"member-{member}"].verify(one, EntryReceipt)
            if receipt.status != status or entries not in (None, receipt.entries):
                raise IntegrityError(f"receipt of member-{member}: differs from the others'")
            entries = receipt.entries
        return entries or []

    @property
    def enrolled(self) -> int:
        """How many entries are accepted and not withdrawn."""
        return len(self._case_of)

    # Blocks ------------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many accepted entries stand in no published block yet."""
        return len(self._waiting)

    def stale(self) -> bool:
        """Whether a new version is due: entries wait, withdrawn ones still stand, or a version broke off."""
        return bool(self._waiting or self._touched or self.tombstoned())

    def assign(self, away: int | None = None, rebuild: frozenset[int] = frozenset(), above: int = 0) -> SlotMap:
        """A new version: waiting entries get random free slots; `rebuild`: blocks to build anew without tombstones.

        above: the highest version that a member is known to have.

        Blocks that were assigned before and not published since are built anew too, as members may have accepted them.
        Nothing but the version's number changes until `adopt`.
        """
        p = self._parameters
        per_lane = p.slots_per_lane
        version = max(self.version, above, read_number(self._counters, b"assigned")) + 1
        self._counters[b"assigned"] = number_key(version)
        broken_off = {int.from_bytes(block) for block in self._touched}
        rebuild = rebuild | broken_off
        standing = set().union(*(self.blocks[block].standing() for block in broken_off & self.blocks.keys()))
        unplaced = [entry for entry in self._waiting if entry not in standing]
        waiting = np.frombuffer(b"".join(unplaced), dtype=np.uint64).reshape(-1, 2)
        changed: dict[int, BlockSlots] = {block: self._compacted(block, version) for block in rebuild}
        block = 0
        while len(waiting):
            now = changed.get(block) or (self._compacted(block, version) if block in self.blocks else None)
            taken_up = len(now.slots) if now else 0
            room = p.lanes * per_lane - taken_up
            if room > 0:
                taken, waiting = waiting[:room], waiting[room:]
                lanes = max(now.lanes if now else 1, -(-(taken_up + len(taken)) // per_lane))
                used = now.slots if now else np.empty(0, dtype=np.int64)
                free = np.setdiff1d(np.arange(lanes * per_lane), used, assume_unique=True)
                slots = np.concatenate([used, _random_choice(free, len(taken))])
                entries = np.concatenate([now.entries, taken]) if now else taken
                changed[block] = BlockSlots(lanes, version, entries, slots, p)
            block += 1
        self._touched.update({number_key(block): b"" for block in changed})
        return slot_map(self._pinned.manifest.epoch, version, changed, away)

    def _compacted(self, block: int, version: int) -> BlockSlots:
        now = self.blocks.get(block)
        if now is None:
            return BlockSlots(1, version, np.empty((0, 2), np.uint64), np.empty(0, np.int64), self._parameters)
        return BlockSlots(now.lanes, version, now.entries[now.live], now.slots[now.live], self._parameters)

    def adopt(self, message: SlotMap) -> None:
        """Use a slot map that every member has accepted."""
        self.version = message.version
        changed = read_map(message, self._parameters)
        for slots in changed.values():
            slots.keep(self._case_of)  # a case may have been withdrawn since it was assigned
        self.blocks |= changed

    def publish(self, block: int, signatures: list[SignedBlockDigest]) -> BlockSignatures:
        """What makes a built block valid. Raises IntegrityError for a signature of another digest."""
        slots = self.blocks[block]
        published = self.published.publish(block, slots.version, signatures)
        placed = {entry.tobytes() for entry in slots.entries}
        self._waiting = [entry for entry in self._waiting if entry not in placed]
        self._maps[number_key(block)] = encode(
            slot_map(self._pinned.manifest.epoch, slots.version, {block: slots}, None)
        )
        self._touched.pop(number_key(block), None)
        return published

    # Leaving ------------------------------------------------------------------------------------------------------

    def withdraw(self, case: str) -> EntryWithdrawal:
        """Stop matching a case. Raises UnknownCase."""
        if case not in self._cases:
            raise UnknownCase("case is not enrolled, or has been withdrawn already")
        entries = self._cases.pop(case)
        for slots in self.blocks.values():
            slots.withdraw(set(entries))
        for entry in entries:
            del self._case_of[entry], self._entries[entry]
        self._waiting = [entry for entry in self._waiting if entry not in set(entries)]
        return EntryWithdrawal(self._pinned.manifest.epoch, self.version, entries)

    def abandon(self) -> EntryWithdrawal:
        """Forget entries that are not settled or in a published block yet: their enrolment failed as a whole."""
        waiting, self._waiting = self._waiting, []
        unsettled = [entry for batch in self._received.values() for entry in batch]
        self._received = {}
        for slots in self.blocks.values():
            slots.withdraw(set(waiting))
        for entry in waiting:
            case = self._case_of.pop(entry)
            del self._entries[entry], self._seen[entry]
            self._cases[case].remove(entry)
            if not self._cases[case]:
                del self._cases[case]
        return EntryWithdrawal(self._pinned.manifest.epoch, self.version, waiting + unsettled)

    def abandon_batch(self, batch: bytes) -> EntryWithdrawal:
        """Forget a batch whose check failed: what members shall forget. Its entries may come again."""
        return self.to_forget(list(self._received.pop(batch, {})))

    def to_forget(self, entries: list[bytes]) -> EntryWithdrawal:
        """What tells members to forget entries that were never settled here: after a crash, before they come again."""
        return EntryWithdrawal(self._pinned.manifest.epoch, self.version, entries)

    def tombstoned(self) -> frozenset[int]:
        """Blocks in which a withdrawn entry still stands as ciphertext."""
        return frozenset(block for block, slots in self.blocks.items() if not slots.live.all())


def _random_choice(items: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` of the items in random order, from the operating system's randomness."""
    keys = np.frombuffer(secrets.token_bytes(8 * len(items)), dtype=np.uint64)
    return items[np.argsort(keys, kind="stable")[:count]]

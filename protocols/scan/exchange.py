"""The exchange: keeps cases and the sealed bank, builds blocks out of the members' encryptions, turns slots into cases.

It sees case numbers, sealed shares, ciphertexts, and which cases matched when and where. It never sees a hash, a share
or an upload.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion, UnknownCase
from protocols.scan.blocks import block_hasher
from protocols.scan.entries import SHARES, check_lengths
from protocols.scan.keys import read_residues
from protocols.scan.manifest import Pinned
from protocols.scan.messages import (
    BlockDigest,
    BlockPlanes,
    BlockSignatures,
    Enrollment,
    EntryReceipt,
    EntryShares,
    EntryWithdrawal,
    MatchHandles,
    MatchList,
    PlaneShares,
    Receipts,
    ScanHeader,
    SignedBlockDigest,
    SignedMatchList,
    SignedReceipt,
    SlotMap,
)
from protocols.scan.packing import pack
from protocols.scan.parameters import RESIDUE_BITS, Parameters
from protocols.scan.proof_messages import ProofRefusal, SignedRefusal
from protocols.scan.ring import ring_of
from protocols.scan.sealing import Identity
from protocols.scan.slots import BlockSlots, read_map

_SERVED = 16  # planes a message


class Exchange:
    """Cases, slots, blocks and match handles."""

    def __init__(self, identity: Identity, pinned: Pinned, parameters: Parameters, folder: Path) -> None:
        """folder: where blocks are kept."""
        self.blocks: dict[int, BlockSlots] = {}
        self.version = 0
        self._identity = identity
        self._pinned = pinned
        self._parameters = parameters
        self._folder = folder
        self._cases: dict[str, list[bytes]] = {}
        self._case_of: dict[bytes, str] = {}
        self._seen: set[bytes] = set()
        self._received: dict[bytes, dict[bytes, str]] = {}
        self._waiting: list[bytes] = []
        self._digests: dict[int, bytes] = {}
        self._published: dict[int, BlockSignatures] = {}
        self.refusals: list[ProofRefusal] = []
        self._handles: dict[bytes, str] = {}
        self._resolved: set[bytes] = set()

    # Enrolling ---------------------------------------------------------------------------------------------------

    def receive(self, message: Enrollment) -> dict[int, EntryShares]:
        """Take in sealed entries: for each member its part. Entries are `received` until the members accept them.

        Raises ReplayError for an entry id that was ever seen, MessageError.
        """
        case_of = {}
        for case in message.cases:
            for entry in case.entries:
                check_lengths(entry.entry, entry.commitments)
                if len(entry.sealed) != len(SHARES):
                    raise MessageError(f"an entry is sealed to {len(entry.sealed)} members; expected {len(SHARES)}")
                if entry.entry in case_of or entry.entry in self._seen:
                    raise ReplayError("enrolment: an entry id comes twice, or was enrolled before")
                case_of[entry.entry] = case.case
        batch = secrets.token_bytes(16)
        self._received[batch] = case_of
        self._seen |= case_of.keys()
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
        for entry in accepted:
            self._cases.setdefault(case_of[entry], []).append(entry)
            self._case_of[entry] = case_of[entry]
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

    # Blocks ------------------------------------------------------------------------------------------------------

    def assign(self, away: int | None = None, rebuild: frozenset[int] = frozenset()) -> SlotMap:
        """A new version: waiting entries get random free slots; `rebuild`: blocks to build anew without tombstones.

        Nothing changes until `adopt`.
        """
        p = self._parameters
        per_lane = p.slots_per_lane
        version = self.version + 1
        waiting = np.frombuffer(b"".join(self._waiting), dtype=np.uint64).reshape(-1, 2)
        changed: dict[int, BlockSlots] = {block: self._compacted(block, version) for block in rebuild}
        block = 0
        while len(waiting):
            now = changed.get(block) or (self._compacted(block, version) if block in self.blocks else None)
            standing = len(now.slots) if now else 0
            room = p.lanes * per_lane - standing
            if room > 0:
                taken, waiting = waiting[:room], waiting[room:]
                lanes = max(now.lanes if now else 1, -(-(standing + len(taken)) // per_lane))
                used = now.slots if now else np.empty(0, dtype=np.int64)
                free = np.setdiff1d(np.arange(lanes * per_lane), used, assume_unique=True)
                slots = np.concatenate([used, _random_choice(free, len(taken))])
                entries = np.concatenate([now.entries, taken]) if now else taken
                changed[block] = BlockSlots(lanes, version, entries, slots, p)
            block += 1
        blocks = sorted(changed)
        return SlotMap(
            self._pinned.manifest.epoch,
            version,
            blocks,
            [changed[b].lanes for b in blocks],
            [len(changed[b].slots) for b in blocks],
            memoryview(b"".join(changed[b].entries.tobytes() for b in blocks)),
            memoryview(b"".join(changed[b].slots.astype("<u4").tobytes() for b in blocks)),
            away,
        )

    def _compacted(self, block: int, version: int) -> BlockSlots:
        now = self.blocks[block]
        return BlockSlots(now.lanes, version, now.entries[now.live], now.slots[now.live], self._parameters)

    def adopt(self, message: SlotMap) -> None:
        """Use a slot map that every member has accepted."""
        self.version = message.version
        self.blocks |= read_map(message, self._parameters)

    def build(
        self, block: int, version: int, parts: list[Iterator[PlaneShares]]
    ) -> Iterator[BlockPlanes | BlockDigest]:
        """Add the members' encryptions of a block's three shares: its planes as they come, then what members sign.

        Raises MessageError if a part is not what is due.
        """
        p, lanes = self._parameters, self.blocks[block].lanes
        hasher = block_hasher()
        path = self._folder / f"block-{block}.bin"
        first = 0
        with path.open("wb") as file:
            for messages in zip(*parts, strict=True):
                if {m.share for m in messages} != set(SHARES):
                    raise MessageError(f"block {block}: a share's planes are missing")
                due = (version, block, first, messages[0].count)
                if any((m.version, m.block, m.first, m.count) != due for m in messages):
                    raise MessageError(f"block {block}: planes of another version or place")
                packed = self._sum([m.planes for m in messages], messages[0].count, lanes)
                hasher.update(packed.data.cast("B"))
                file.write(packed.data)
                yield BlockPlanes(version, block, first, len(packed), packed.data)
                first += len(packed)
        if first != p.bits:
            raise MessageError(f"block {block}: {first} planes of {p.bits} came")
        self._digests[block] = hasher.digest()
        yield BlockDigest(self._pinned.manifest.epoch, version, block, lanes, hasher.digest())

    def _sum(self, planes: list[memoryview], count: int, lanes: int) -> NDArray[np.uint64]:
        p, ring = self._parameters, ring_of(self._parameters.n)
        row = 2 * (lanes + 1) * RESIDUE_BITS * p.n // 8
        packed = []
        for plane in range(count):
            parts = (read_residues(one[plane * row : (plane + 1) * row], (lanes + 1,), p.n, "planes") for one in planes)
            packed.append(pack(reduce(ring.add, parts)))
        return np.stack(packed)

    def publish(self, block: int, signatures: list[SignedBlockDigest]) -> BlockSignatures:
        """What makes a built block valid. Raises IntegrityError for a signature of another digest."""
        for signed in signatures:
            member, told = self._pinned.verify_member(signed, BlockDigest)
            if told.digest != self._digests[block]:
                raise IntegrityError(f"block {block}: member-{member} signed another digest")
        placed = {entry.tobytes() for entry in self.blocks[block].entries}
        self._waiting = [entry for entry in self._waiting if entry not in placed]
        self._published[block] = BlockSignatures(self.blocks[block].version, block, signatures)
        return self._published[block]

    def serve(self, block: int, version: int) -> Iterator[BlockPlanes | BlockSignatures]:
        """A published block again, unless it is of this version or older: for a member that was away."""
        published = self._published.get(block)
        if published is None or published.version <= version:
            return
        planes = np.fromfile(self._folder / f"block-{block}.bin", dtype=np.uint8).reshape(self._parameters.bits, -1)
        for first in range(0, len(planes), _SERVED):
            step = planes[first : first + _SERVED]
            yield BlockPlanes(published.version, block, first, len(step), step.reshape(-1).data)
        yield published

    def receive_refusal(self, signed: SignedRefusal) -> None:
        """A member refused a platform's proof: kept, with what that platform signed, as evidence for anybody.

        Raises IntegrityError, MessageError.
        """
        member, told = self._pinned.verify_member(signed, ProofRefusal)
        if told.member != f"member-{member}":
            raise IntegrityError(f"refusal: member-{member} signs for {told.member}")
        if told.platform not in self._pinned.parties:
            raise IntegrityError(f"refusal: {told.platform} is not in the manifest")
        header = self._pinned.parties[told.platform].verify(told.header, ScanHeader)
        if (header.platform, header.session) != (told.platform, told.session):
            raise IntegrityError(f"refusal of member-{member}: the header is not {told.platform}'s of that session")
        self.refusals.append(told)

    # Matching ----------------------------------------------------------------------------------------------------

    def resolve(self, signed: tuple[SignedMatchList, SignedMatchList], pair: tuple[int, int]) -> MatchHandles:
        """Handles for the matches that both members of a pair list alike.

        Raises IntegrityError, StaleVersion; ReplayError for a session that was resolved before.
        """
        if len(set(pair)) != 2:
            raise IntegrityError(f"match lists: {pair} is no pair of members")
        lists = []
        for one, member in zip(signed, pair, strict=True):
            told = self._pinned.parties[f"member-{member}"].verify(one, MatchList)
            if told.member != f"member-{member}":
                raise IntegrityError(f"match list: member-{member} signs for {told.member}")
            lists.append(told)
        a, b = lists
        if (a.session, a.platform, a.version, a.block) != (b.session, b.platform, b.version, b.block) or (
            (a.queries, a.slots, a.many) != (b.queries, b.slots, b.many)
        ):
            raise IntegrityError(f"match lists of member-{pair[0]} and member-{pair[1]} differ")
        slots = self.blocks.get(a.block)
        if slots is None or slots.version != a.version:
            raise StaleVersion(f"match list: block {a.block}, version {a.version} is not served")
        if a.session in self._resolved:
            raise ReplayError("match lists: the session was resolved before")
        cases = [self._case_of[entry] for entry in slots.entries_at(a.slots)]
        handles = [secrets.token_bytes(16) for _ in cases]
        self._resolved.add(a.session)
        self._handles |= dict(zip(handles, cases, strict=True))
        return MatchHandles(a.session, a.queries, handles, a.many)

    def case_of(self, handle: bytes) -> str:
        """Whose match a handle stands for: what the exchange tells the person."""
        return self._handles[handle]

    def withdraw(self, case: str) -> EntryWithdrawal:
        """Stop matching a case. Raises UnknownCase."""
        if case not in self._cases:
            raise UnknownCase("case is not enrolled, or has been withdrawn already")
        entries = self._cases.pop(case)
        for slots in self.blocks.values():
            slots.withdraw(set(entries))
        for entry in entries:
            del self._case_of[entry]
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
            self._cases[case].remove(entry)
            if not self._cases[case]:
                del self._cases[case]
        return EntryWithdrawal(self._pinned.manifest.epoch, self.version, waiting + unsettled)

    def tombstoned(self) -> frozenset[int]:
        """Blocks in which a withdrawn entry still stands as ciphertext."""
        return frozenset(block for block, slots in self.blocks.items() if not slots.live.all())


def _random_choice(items: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """`count` of the items in random order, from the operating system's randomness."""
    keys = np.frombuffer(secrets.token_bytes(8 * len(items)), dtype=np.uint64)
    return items[np.argsort(keys, kind="stable")[:count]]

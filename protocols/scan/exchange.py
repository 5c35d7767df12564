"""The exchange: keeps cases and the sealed bank, builds blocks out of the members' encryptions, turns slots into cases.

It sees case numbers, sealed shares, ciphertexts, and which cases matched when and where. It never sees a hash, a share
or an upload.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion, UnknownCase
from protocols.ledger import decode, encode
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
from protocols.scan.slots import BlockSlots, read_map, slot_map
from protocols.scan.store import Store, Tables, number_key, read_number

_SERVED = 16  # planes a message


class Exchange:
    """Cases, slots, blocks and match handles."""

    def __init__(
        self,
        identity: Identity,
        pinned: Pinned,
        parameters: Parameters,
        folder: Path,
        store: Tables | None = None,
    ) -> None:
        """folder: where blocks are kept. store: entries outlive the epoch there, and versions go on; the rest is the
        epoch's own.

        A batch under check is in no table: members forget it (`abandon_batch`), and its entries are sent again.
        """
        self._store: Tables = store or Store()
        store = self._store
        epoch = pinned.manifest.epoch
        self.blocks: dict[int, BlockSlots] = {}
        self.version = 0
        self._identity = identity
        self._pinned = pinned
        self._parameters = parameters
        self._folder = folder
        self._cases: dict[str, list[bytes]] = {}
        self._case_of: dict[bytes, str] = {}
        self._entries = store.table("entries")
        self._seen = store.table("seen")
        self._received: dict[bytes, dict[bytes, str]] = {}
        self._waiting: list[bytes] = []
        self._digests: dict[int, bytes] = {}
        self._published: dict[int, BlockSignatures] = {}
        self.refusals: list[ProofRefusal] = []
        self._handles: dict[bytes, str] = {}
        self._resolved = store.table("resolved")
        self._counters = store.table("counters")
        self._maps = store.table(f"maps {epoch}")
        self._signatures = store.table(f"published {epoch}")
        self._touched = store.table(f"touched {epoch}")
        self._restore()

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
        for key, body in self._signatures.items():
            self._published[int.from_bytes(key)] = decode(body, BlockSignatures)
        self.drop_replaced()

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

    def build(
        self, block: int, version: int, parts: list[Iterator[PlaneShares]]
    ) -> Iterator[BlockPlanes | BlockDigest]:
        """Add the members' encryptions of a block's three shares: its planes as they come, then what members sign.

        Raises MessageError if a part is not what is due.
        """
        p, lanes = self._parameters, self.blocks[block].lanes
        hasher = block_hasher()
        path = self._folder / f"block-{block}-{version}.part"
        first = 0
        with path.open("wb") as file:
            for messages in zip_longest(*parts):
                if None in messages or {m.share for m in messages} != set(SHARES):
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
        slots = self.blocks[block]
        placed = {entry.tobytes() for entry in slots.entries}
        self._waiting = [entry for entry in self._waiting if entry not in placed]
        published = self._published[block] = BlockSignatures(slots.version, block, signatures)
        self._path(block, slots.version).with_suffix(".part").replace(self._path(block, slots.version))
        self._maps[number_key(block)] = encode(
            slot_map(self._pinned.manifest.epoch, slots.version, {block: slots}, None)
        )
        self._signatures[number_key(block)] = encode(published)
        self._touched.pop(number_key(block), None)
        return published

    def drop_replaced(self) -> None:
        """Remove the files of blocks that are not published any more, once it is on disk that others are."""
        current = {self._path(block, published.version) for block, published in self._published.items()}
        for path in set(self._folder.glob("block-*")) - current:
            path.unlink()

    @property
    def enrolled(self) -> int:
        """How many entries are accepted and not withdrawn."""
        return len(self._case_of)

    def published(self) -> list[BlockSignatures]:
        """What platforms can fetch."""
        return [self._published[block] for block in sorted(self._published)]

    def _path(self, block: int, version: int) -> Path:
        return self._folder / f"block-{block}-{version}.bin"

    def serve(self, block: int, version: int) -> Iterator[BlockPlanes | BlockSignatures]:
        """A published block again, unless it is of this version or older: for a member that was away."""
        published = self._published.get(block)
        if published is None or published.version <= version:
            return
        for first in range(0, self._parameters.bits, _SERVED):
            yield self.planes(block, published.version, first)
        yield published

    def planes(self, block: int, version: int, first: int) -> BlockPlanes:
        """Some planes of a published block, from plane `first` on. Raises StaleVersion, MessageError."""
        published, bits = self._published.get(block), self._parameters.bits
        if published is None or published.version != version:
            raise StaleVersion(f"block {block}, version {version} is not published; ask for the list anew")
        if not 0 <= first < bits:
            raise MessageError(f"block {block}: there is no plane {first}; expected 0 to {bits - 1}")
        planes = np.memmap(self._path(block, version), dtype=np.uint8, mode="r").reshape(bits, -1)[
            first : first + _SERVED
        ]
        return BlockPlanes(version, block, first, len(planes), planes.reshape(-1).data)

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

        Raises IntegrityError; StaleVersion for another version, or where what one of them lists was withdrawn, which
        the other may know already; ReplayError for a session that was resolved before.
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
        differ = f"match lists of member-{pair[0]} and member-{pair[1]} differ"
        if (a.session, a.platform, a.version, a.block) != (b.session, b.platform, b.version, b.block):
            raise IntegrityError(differ)
        slots = self.blocks.get(a.block)
        if slots is None or slots.version != a.version:
            raise StaleVersion(f"match list: block {a.block}, version {a.version} is not served")
        if a.session in self._resolved:
            raise ReplayError("match lists: the session was resolved before")
        if slots.withdrawn_at(a.slots + b.slots):
            raise StaleVersion("match lists: an entry was withdrawn meanwhile; scan again")
        if (a.queries, a.slots, a.many) != (b.queries, b.slots, b.many):
            raise IntegrityError(differ)
        cases = [self._case_of[entry] for entry in slots.entries_at(a.slots)]
        handles = [secrets.token_bytes(16) for _ in cases]
        self._resolved[a.session] = b""
        self._handles |= dict(zip(handles, cases, strict=True))
        return MatchHandles(a.session, a.queries, handles, a.many)

    def case_of(self, handle: bytes) -> str:
        """Whose match a handle stands for: what the exchange tells the person."""
        return self._handles[handle]

    def forget(self, handles: list[bytes]) -> None:
        """Drop handles that are kept elsewhere."""
        for handle in handles:
            self._handles.pop(handle, None)

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

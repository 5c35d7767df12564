"""A member's custody of entries: the shares of those that passed their check, their blocks, receipts, withdrawal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import decode, encode
from protocols.scan.encryption import PublicKey
from protocols.scan.enrolling_messages import (
    BlockDigest,
    CheckCommitment,
    CheckOpening,
    CheckToss,
    EntryReceipt,
    EntryShares,
    EntryWithdrawal,
    PlaneShares,
    SignedBlockDigest,
    SignedReceipt,
    SlotMap,
    SlotMapDigest,
)
from protocols.scan.entries import keep, kept_share, shares_due
from protocols.scan.keys import MEMBERS
from protocols.scan.manifest import Pinned
from protocols.scan.packing import pack
from protocols.scan.parameters import FIELDS, T_BITS, WIDTH, Parameters
from protocols.scan.sampling import Stream
from protocols.scan.sealing import DIGEST_BYTES, Identity, digest, same
from protocols.scan.slots import BlockSlots, check_bijection, read_map, slot_map
from protocols.scan.store import Store, Tables, number_key
from protocols.scan.wellformedness import EntryCheck

_COMMITMENTS = 3 * DIGEST_BYTES
_WITHDRAWN = b"withdrawn"


@dataclass
class Building:
    """A block between its accepted slot map and its publication. due, begun: shares that this member encrypts."""

    version: int
    map_digest: bytes
    away: int
    due: frozenset[int]
    begun: set[int] = field(default_factory=set)


class Custody:
    """What member `member` keeps of entries and blocks. Secrets: the shares."""

    def __init__(
        self, member: int, identity: Identity, pinned: Pinned, parameters: Parameters, store: Tables | None = None
    ) -> None:
        """store: entries outlive the epoch there; slot maps and signed digests are its own. Default: in memory."""
        store = store or Store()
        self.blocks: dict[int, BlockSlots] = {}
        self.block_digests: dict[int, bytes] = {}
        self.version = 0
        self._member = member
        self._identity = identity
        self._pinned = pinned
        self._parameters = parameters
        self._epoch = pinned.manifest.epoch
        self._pair_keys: dict[int, bytes] = {}
        self._batches: dict[bytes, EntryCheck] = {}
        self._shares = store.table("shares")
        self._seen = store.table("seen")
        self._withdrawals = store.table("withdrawals")
        self._pending_map: tuple[int, dict[int, BlockSlots], bytes] | None = None
        self._map_digests: dict[int, bytes] = {}
        self._accepted_maps: dict[int, bytes] = {}
        self._building: dict[int, Building] = {}
        self._maps = store.table(f"maps {self._epoch}")
        self._signed = store.table(f"signed {self._epoch}")
        self._restore()

    def __repr__(self) -> str:
        return f"<Custody of member-{self._member}>"

    def _restore(self) -> None:
        """Blocks as they were accepted. What was being built is not: its version is never encrypted again."""
        for body in self._maps.values():
            self.blocks |= read_map(decode(body, SlotMap), self._parameters)
        for block, slots in self.blocks.items():
            slots.keep(self._shares)
            self.version = max(self.version, slots.version)
            signed = self._signed.get(number_key(block) + number_key(slots.version))
            if signed is not None:
                self.block_digests[block] = signed

    @property
    def entries(self) -> int:
        """How many entries it holds shares of."""
        return len(self._shares)

    @property
    def withdrawals(self) -> int:
        """How many withdrawals it was told, in all epochs."""
        return len(self._withdrawals)

    @property
    def used(self) -> bool:
        """Whether a block was begun under this epoch's key."""
        return bool(self._maps or self._signed)

    def use_keys(self, public_key: PublicKey, pair_keys: dict[int, bytes]) -> None:
        """What the ceremony gave."""
        self._public_key, self._pair_keys = public_key, pair_keys

    # Entries under check -----------------------------------------------------------------------------------------

    def receive(self, message: EntryShares) -> CheckCommitment:
        """Open a batch; what does not open or fit its commitments counts as bad. First step of its check: `EntryCheck`.

        Raises ReplayError for an entry id or batch that was seen before, MessageError.
        """
        if message.batch in self._batches or not len(message.entries) == len(message.commitments) == len(
            message.sealed
        ):
            raise ReplayError("entry shares: the batch was seen before, or its lists differ in length")
        fresh = set(message.entries)
        if len(fresh) != len(message.entries) or any(entry in self._seen for entry in fresh):
            raise ReplayError("entry shares: an entry id comes twice, or was enrolled before")
        batch = EntryCheck(self._member, self._identity, self._parameters, self._epoch, message)
        self._batches[message.batch] = batch
        self._seen.update(dict.fromkeys(fresh, b""))
        return batch.commitment

    def receive_commitment(self, sender: int, message: CheckCommitment) -> None:
        """Raises IntegrityError if the sender was given other entries, ReplayError, MessageError."""
        self._batch(message.batch).receive_commitment(sender, message)

    def toss(self, batch_id: bytes) -> CheckToss:
        """Tell the seed, once all have committed. Raises ReplayError before."""
        return self._batch(batch_id).toss()

    def receive_toss(self, sender: int, message: CheckToss) -> None:
        """Raises IntegrityError if it is not what was committed to, ReplayError before all have committed."""
        self._batch(message.batch).receive_toss(sender, message)

    def opening(self, batch_id: bytes) -> CheckOpening:
        """Masked sums of the subsets that are not settled; of the whole batch at first. Raises ReplayError."""
        return self._batch(batch_id).opening(self._pair_keys)

    def receive_opening(self, sender: int, message: CheckOpening) -> None:
        """Raises MessageError if it is not about the same subsets, ReplayError."""
        self._batch(message.batch).receive_opening(sender, message)

    def settle(self, batch_id: bytes) -> bool:
        """Take in everybody's openings: halve what failed. Whether every entry is settled. Raises ReplayError."""
        return self._batch(batch_id).settle()

    def conclude(self, batch_id: bytes) -> list[SignedReceipt]:
        """Keep the good entries, forget the rest. Receipts: of the accepted, and of the refused if any."""
        batch = self._batch(batch_id)
        if not batch.settled:
            raise ReplayError("check: the batch is not settled")
        del self._batches[batch_id]
        bad = batch.bad | {i for i, entry in enumerate(batch.entries) if self._seen.get(entry) == _WITHDRAWN}
        rows = list(zip(batch.entries, batch.given, strict=True))
        accepted = [i for i in range(len(rows)) if i not in bad]
        for i in accepted:
            entry, commitments = rows[i]
            self._shares[entry] = commitments + keep(self._member, batch.shares[i], self._parameters.bits)
        receipts = [self._receipt("accepted", [rows[i] for i in accepted])]
        if bad:
            receipts.append(self._receipt("refused", [rows[i] for i in sorted(bad)]))
        return receipts

    def _batch(self, batch_id: bytes) -> EntryCheck:
        if batch_id not in self._batches:
            raise ReplayError("check: the batch is unknown, or concluded already")
        return self._batches[batch_id]

    def _receipt(self, status: str, rows: list[tuple[bytes, bytes]]) -> SignedReceipt:
        entries = [entry for entry, _ in rows]
        commitments = [held[:_COMMITMENTS] for _, held in rows]
        name = self._identity.name
        receipt = EntryReceipt(name, self._epoch, self.version, status, entries, commitments)
        return self._identity.sign(receipt, SignedReceipt)

    # Blocks ------------------------------------------------------------------------------------------------------

    def receive_map(self, message: SlotMap) -> SlotMapDigest:
        """Check the slot map of a new version. Raises StaleVersion, MessageError; keeps nothing of a bad one."""
        if message.epoch != self._epoch or message.version <= self.version:
            raise StaleVersion(
                f"slot map: epoch {message.epoch}, version {message.version}; expected epoch {self._epoch}, version"
                f" above {self.version}"
            )
        changed = read_map(message, self._parameters)
        check_bijection(self.blocks | changed, set(self._shares))
        away = message.away or 0
        parts = (
            np.array([message.version, away, *message.blocks, *message.lanes, *message.counts], dtype="<i8").tobytes(),
            message.entries,
            message.slots,
        )
        self._pending_map = message.version, changed, digest("slot map", *parts)
        self._away = away
        self._map_digests = {}
        return SlotMapDigest(message.version, self._pending_map[2])

    def receive_map_digest(self, sender: int, message: SlotMapDigest) -> None:
        """Raises IntegrityError if the sender was given another slot map."""
        if self._pending_map is None or message.version != self._pending_map[0]:
            raise StaleVersion(f"slot map: member-{sender} speaks of version {message.version}, which is not due")
        if not same(message.digest, self._pending_map[2]):
            raise IntegrityError(f"slot map: member-{sender} was given another one")
        self._map_digests[sender] = message.digest

    def accept_map(self) -> list[tuple[int, int]]:
        """Use the pending slot map. What this member shall encrypt: (block, share). Raises ReplayError.

        Every member that is there must have compared digests first, and nothing have been withdrawn since.
        """
        others = {member for member in MEMBERS if member not in (self._member, self._away)}
        if self._pending_map is None or not others <= self._map_digests.keys():
            raise ReplayError(
                "slot map: none is due (a withdrawal drops it: assign anew), or it is not compared with every member"
                " that is there"
            )
        version, changed, map_digest = self._pending_map
        self.version, self._pending_map = version, None
        self._accepted_maps[version] = map_digest
        self.blocks |= changed
        for block in changed:
            self.block_digests.pop(block, None)
            due = frozenset(shares_due(self._member, self._away))
            self._maps[number_key(block)] = encode(slot_map(self._epoch, version, {block: changed[block]}, None))
            self._building[block] = Building(version, map_digest, self._away, due)
        return [(block, share) for block in changed for share in shares_due(self._member, self._away)]

    def accepted_map(self, version: int) -> SlotMapDigest:
        """The digest of a map that was accepted, for a member that was away. Raises StaleVersion."""
        if version not in self._accepted_maps:
            raise StaleVersion(f"slot map: version {version} was not accepted here")
        return SlotMapDigest(version, self._accepted_maps[version])

    def planes(self, block: int, share: int, step: int) -> Iterator[PlaneShares]:
        """Encryptions of a share's planes of a block, `step` planes a message.

        Raises ReplayError for a share that is not this member's to encrypt, or that was asked for before; StaleVersion
        if an entry of the slot map was withdrawn: members that encrypt different entries would leave less than all
        three shares of one in its slot, which is no number of bits.
        """
        slots, building, p = self.blocks.get(block), self._building.get(block), self._parameters
        if slots is None or building is None or share not in building.due - building.begun:
            raise ReplayError(f"planes: share {share} of block {block} is not due from member-{self._member}")
        if not slots.live.all():
            raise StaleVersion(f"planes: an entry of block {block} was withdrawn since its slot map: assign anew")
        building.begun.add(share)
        rows = np.zeros((slots.lanes * p.n, p.bits), dtype=np.uint64)
        for ids, slot in zip(slots.entries, slots.slots, strict=True):
            kept = self._shares[ids.tobytes()][_COMMITMENTS:]
            values = kept_share(self._member, share, kept, p.bits)
            rows[slot // FIELDS] += values << np.uint64(1 + WIDTH * (slot % FIELDS))  # mod 2^64, then mod t
        messages = np.ascontiguousarray(rows.T).reshape(p.bits, slots.lanes, p.n) & np.uint64((1 << T_BITS) - 1)
        stream = Stream()
        for first in range(0, p.bits, step):
            planes = [self._public_key.encrypt(message, stream) for message in messages[first : first + step]]
            packed = np.stack([pack(plane) for plane in planes])
            yield PlaneShares(slots.version, block, share, first, len(packed), packed.data)

    def building(self, block: int, version: int) -> Building:
        """What was agreed on about a version of a block. Raises StaleVersion."""
        building = self._building.get(block)
        if building is None or building.version != version:
            raise StaleVersion(f"block {block}, version {version} is not what members build")
        return building

    def sign_block(self, message: BlockDigest) -> SignedBlockDigest:
        """Sign a block's digest. Raises StaleVersion; ReplayError for a second digest of the same block and version."""
        slots = self.blocks.get(message.block)
        if (
            slots is None
            or (message.epoch, message.version) != (self._epoch, slots.version)
            or message.lanes != slots.lanes
        ):
            raise StaleVersion(
                f"block digest: block {message.block}, version {message.version} is not what members built"
            )
        before = self._signed.setdefault(number_key(message.block) + number_key(message.version), message.digest)
        if not same(before, message.digest):
            raise ReplayError(
                f"block digest: another one was signed for block {message.block}, version {message.version}"
            )
        self.block_digests[message.block] = message.digest
        return self._identity.sign(message, SignedBlockDigest)

    def withdraw(self, message: EntryWithdrawal) -> SignedReceipt:
        """Stop matching entries and forget their shares, at once; those that did not come yet never will.

        The same again gets the same receipt. Raises MessageError for an entry that is named twice, or another epoch.
        """
        told = digest("withdrawal", message.epoch.to_bytes(8), *message.entries)
        if told in self._withdrawals:
            return decode(self._withdrawals[told], SignedReceipt)
        if message.epoch != self._epoch or len(set(message.entries)) != len(message.entries):
            raise MessageError("withdrawal: an entry is named twice, or it is of another epoch")
        known = dict(self._forget([entry for entry in message.entries if entry in self._shares]))
        receipt = self._receipt("withdrawn", [(entry, known.get(entry, b"")) for entry in message.entries])
        self._seen.update(dict.fromkeys(message.entries, _WITHDRAWN))
        if message.entries:
            self._withdrawals[told] = encode(receipt)
        return receipt

    def abandon(self, message: EntryWithdrawal) -> SignedReceipt:
        """Forget an enrolment that failed, as if its entries had never come: they may come again.

        What was withdrawn stays withdrawn, or an exchange could bring it back. Raises MessageError.
        """
        if message.epoch != self._epoch:
            raise MessageError(f"enrolment given up: of epoch {message.epoch}; expected {self._epoch}")
        failed = {entry for entry in message.entries if self._seen.get(entry) != _WITHDRAWN}
        self._batches = {key: batch for key, batch in self._batches.items() if failed.isdisjoint(batch.entries)}
        receipt = self._receipt(
            "abandoned", self._forget([entry for entry in message.entries if entry in self._shares])
        )
        for entry in failed:
            self._seen.pop(entry, None)
        return receipt

    def _forget(self, entries: list[bytes]) -> list[tuple[bytes, bytes]]:
        """Stop matching entries, drop their shares; what was held of each."""
        rows = [(entry, self._shares.pop(entry)) for entry in entries]
        if rows:
            self._pending_map = None  # it was checked against entries that are gone
        for slots in self.blocks.values():
            slots.withdraw(set(entries))
        return rows

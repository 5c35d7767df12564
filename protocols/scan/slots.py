"""Which entry stands in which slot of a block: what the exchange decides and every member checks.

A slot's number is (lane * n + coefficient) * 5 + field. A slot that is free, or whose entry was withdrawn, is not live:
it carries a tombstone and is dropped from every match list.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
from numpy.typing import NDArray

from protocols.base import MessageError
from protocols.ledger import as_array
from protocols.scan.enrolling_messages import SlotMap
from protocols.scan.entries import ENTRY_BYTES, SHARES
from protocols.scan.packing import Words, bit_mask
from protocols.scan.parameters import FIELDS, Parameters

Ids = NDArray[np.uint64]  # (N, 2): 16-byte ids as two words


class BlockSlots:
    """The slots of one block at one version."""

    def __init__(
        self, lanes: int, version: int, entries: Ids, slots: NDArray[np.int64], parameters: Parameters
    ) -> None:
        """entries: (N, 2) ids. slots: (N,) their numbers."""
        self.lanes = lanes
        self.version = version
        self.entries = entries
        self.slots = slots
        self._size = lanes * parameters.n
        self.live = np.ones(len(slots), dtype=bool)
        self.revision = 0  # counts withdrawals, for who keeps things computed from `live`

    def withdraw(self, entries: set[bytes]) -> int:
        """Make the slots of these entries tombstones. Returns how many stand here."""
        halves = {int.from_bytes(entry[:8], "little") for entry in entries}
        likely = np.flatnonzero(np.isin(self.entries[:, 0], np.array(list(halves), dtype=np.uint64)) & self.live)
        here = [row for row in likely if self.entries[row].tobytes() in entries]
        self.live[here] = False
        self.revision += bool(here)
        return len(here)

    def keep(self, entries: Container[bytes]) -> None:
        """Make tombstones of all slots but those of these entries."""
        gone = {entry.tobytes() for entry in self.entries[self.live] if entry.tobytes() not in entries}
        if gone:
            self.withdraw(gone)

    def standing(self) -> set[bytes]:
        """The ids of the live entries."""
        return {entry.tobytes() for entry in self.entries[self.live]}

    def live_mask(self) -> Words:
        """Bit planes of live slots, (FIELDS, lanes*n/64): bit r of word c stands for coefficient r*lanes*n/64 + c."""
        live = self.slots[self.live]
        return np.stack([bit_mask(live[live % FIELDS == f] // FIELDS, self._size) for f in range(FIELDS)])

    def tombstones(self) -> NDArray[np.uint8]:
        """1 where a slot is not live, (lanes*n, FIELDS)."""
        dead = np.ones(self._size * FIELDS, dtype=np.uint8)
        dead[self.slots[self.live]] = 0
        return dead.reshape(self._size, FIELDS)

    def withdrawn_at(self, slots: list[int]) -> bool:
        """Whether the entry of one of these slots was withdrawn."""
        return bool(np.isin(self.slots[~self.live], slots).any())

    def entries_at(self, slots: list[int]) -> list[bytes]:
        """The ids of the live entries at these slots. Raises MessageError."""
        rows = np.full(self._size * FIELDS, -1)
        rows[self.slots[self.live]] = np.flatnonzero(self.live)
        if slots and not 0 <= min(slots) <= max(slots) < len(rows):
            raise MessageError("a slot number is out of range")
        found = rows[slots]
        if (found < 0).any():
            raise MessageError("a slot holds no live entry")
        return [self.entries[row].tobytes() for row in found]


def slot_map(epoch: int, version: int, blocks: dict[int, BlockSlots], away: int | None) -> SlotMap:
    """The message that says what stands where in these blocks."""
    order = sorted(blocks)
    return SlotMap(
        epoch,
        version,
        order,
        [blocks[block].lanes for block in order],
        [len(blocks[block].slots) for block in order],
        memoryview(b"".join(blocks[block].entries.tobytes() for block in order)),
        memoryview(b"".join(blocks[block].slots.astype("<u4").tobytes() for block in order)),
        away,
    )


def read_map(message: SlotMap, parameters: Parameters) -> dict[int, BlockSlots]:
    """The blocks of a slot map. Raises MessageError for lengths, numbers out of range and slots used twice."""
    if not len(message.blocks) == len(message.lanes) == len(message.counts) == len(set(message.blocks)):
        raise MessageError("slot map: blocks, lanes and counts differ in length, or a block comes twice")
    if message.away not in (None, *SHARES) or not all(
        0 <= number < 1 << 32 for number in (message.version, *message.blocks, *message.counts)
    ):
        raise MessageError("slot map: a version, block, count or member is out of range")
    total = sum(message.counts)
    entries = as_array(message.entries, np.uint8, (total, ENTRY_BYTES), "slot map entries")
    ids = np.ascontiguousarray(entries).view(np.uint64)
    slots = as_array(message.slots, "<u4", (total,), "slot map slots").astype(np.int64)
    blocks, start = {}, 0
    for block, lanes, count in zip(message.blocks, message.lanes, message.counts, strict=True):
        mine = slots[start : start + count]
        if not 1 <= lanes <= parameters.lanes:
            raise MessageError(f"slot map: block {block} has {lanes} lanes; expected 1 to {parameters.lanes}")
        if count and (mine.max() >= lanes * parameters.slots_per_lane or len(np.unique(mine)) != count):
            raise MessageError(f"slot map: block {block} uses a slot twice, or one that it does not have")
        blocks[block] = BlockSlots(lanes, message.version, ids[start : start + count], mine, parameters)
        start += count
    return blocks


def check_bijection(blocks: dict[int, BlockSlots], live_entries: set[bytes]) -> None:
    """Every live accepted entry stands in exactly one live slot, and nothing else does. Raises MessageError."""
    standing = [entry.tobytes() for block in blocks.values() for entry in block.entries[block.live]]
    if len(standing) != len(live_entries) or set(standing) != live_entries:
        raise MessageError(
            "slot map: not a bijection between the live accepted entries and the live slots"
            f" ({len(standing)} slots, {len(live_entries)} entries)"
        )

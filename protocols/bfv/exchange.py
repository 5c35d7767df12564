"""The exchange: gives out slots, adds clients' ciphertexts into the bank's, knows which case a slot belongs to."""

from __future__ import annotations

from typing import Any

from protocols.base import MessageError
from protocols.bfv import seal
from protocols.bfv.messages import Block, Closed, Deposit, Notice, Opened, Places, Reservation, Withdrawal
from protocols.bfv.parameters import Parameters
from protocols.bfv.slots import LiveSlots


class Exchange:
    """Keeps the bank: `bits` ciphertexts a block of n slots. Slots are given out in order and never twice."""

    def __init__(self, parameters: Parameters, bits: int) -> None:
        self._parameters = parameters
        self._bits = bits
        self._evaluator = seal.sealapi.Evaluator(seal.context(parameters))
        self._given = 0
        self._reserved: dict[int, int] = {}
        self._blocks: dict[int, list[Any]] = {}
        self._changed: set[int] = set()
        self._live = LiveSlots(parameters.n)
        self._case_of_slot: dict[int, str] = {}
        self._case_of_handle: dict[bytes, str] = {}

    def reserve(self, wanted: Reservation) -> Places:
        """The next free slots."""
        places = Places(self._given, wanted.entries)
        self._reserved[places.first] = wanted.entries
        self._given += wanted.entries
        return places

    def add(self, deposit: Deposit) -> Opened:
        """Add a client's ciphertexts to the bank. Raises MessageError, and then nothing has changed."""
        entries = len(deposit.cases)
        if self._reserved.get(deposit.first) != entries:
            raise MessageError(f"client deposits {entries} entries from slot {deposit.first}, which it was not given")
        n, bits = self._parameters.n, self._bits
        slots = range(deposit.first, deposit.first + entries)
        blocks = range(slots[0] // n, slots[-1] // n + 1)
        new = seal.ciphertexts(self._parameters, deposit.ciphertexts, bits * len(blocks), "client's ciphertexts")
        for index, block in enumerate(blocks):
            part = new[index * bits : (index + 1) * bits]
            self._blocks[block] = self._sum(self._blocks[block], part) if block in self._blocks else part
        del self._reserved[deposit.first]
        self._live.open(slots)
        self._case_of_slot.update(zip(slots, deposit.cases, strict=True))
        self._changed.update(blocks)
        return Opened(deposit.first, entries)

    def changed_blocks(self) -> list[int]:
        """Numbers of the blocks that changed since this was last asked."""
        changed, self._changed = sorted(self._changed), set()
        return changed

    def block(self, number: int) -> Block:
        """A block of the bank, for platforms."""
        return Block(number, seal.to_bytes(self._blocks[number]), self._live.of(number).tobytes())

    def withdraw(self, withdrawal: Withdrawal) -> Closed:
        """Forget a case; its slots are dead from now on."""
        slots = [slot for slot, case in self._case_of_slot.items() if case == withdrawal.case]
        for slot in slots:
            del self._case_of_slot[slot]
        self._live.close(slots)
        return Closed(slots)

    def note(self, notice: Notice) -> None:
        """Remember which case each handle stands for. Raises MessageError for slots without a live entry."""
        if len(notice.handles) != len(notice.slots) or not set(notice.slots) <= self._case_of_slot.keys():
            raise MessageError("key holder's notice: expected a slot with a live entry for each handle")
        for handle, slot in zip(notice.handles, notice.slots, strict=True):
            self._case_of_handle[handle] = self._case_of_slot[slot]

    def case_of(self, handle: bytes) -> str:
        """The case that a platform's match is about. Raises MessageError for a handle that no match was given."""
        if handle not in self._case_of_handle:
            raise MessageError("handle: no match was given this one")
        return self._case_of_handle[handle]

    def _sum(self, old: list[Any], new: list[Any]) -> list[Any]:
        out = []
        for left, right in zip(old, new, strict=True):
            total = seal.sealapi.Ciphertext()
            self._evaluator.add(left, right, total)
            out.append(total)
        return out

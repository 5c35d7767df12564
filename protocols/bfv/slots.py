"""Which slots hold a live entry: the exchange, the platform and the key holder each keep their own list."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from protocols.base import MessageError


class LiveSlots:
    """Slots numbered from 0 over all blocks of n; dead until opened."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._blocks: dict[int, NDArray[np.bool_]] = {}

    def open(self, slots: Iterable[int]) -> None:
        """Count slots as live."""
        self._set(slots, True)

    def close(self, slots: Iterable[int]) -> None:
        """Count slots as dead."""
        self._set(slots, False)

    def of(self, block: int) -> NDArray[np.bool_]:
        """(n,) bool, whether each slot of the block is live. A copy."""
        return self._blocks[block].copy() if block in self._blocks else np.zeros(self._n, dtype=bool)

    def replace(self, block: int, flags: bytes) -> None:
        """Take over a block's list, one byte a slot, 0 or 1. Raises MessageError."""
        if len(flags) != self._n or not set(flags) <= {0, 1}:
            raise MessageError(f"live: {len(flags)} bytes; expected {self._n}, each 0 or 1")
        self._blocks[block] = np.frombuffer(flags, dtype=np.uint8).astype(bool)

    def _set(self, slots: Iterable[int], live: bool) -> None:
        for slot in slots:
            block, place = divmod(slot, self._n)
            self._blocks.setdefault(block, np.zeros(self._n, dtype=bool))[place] = live

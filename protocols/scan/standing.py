"""What a member adds to results for a block's slots that are not live, and which matches it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.base import StaleVersion
from protocols.scan.keys import half_unit
from protocols.scan.packing import Words
from protocols.scan.parameters import FIELDS, WIDTH, Parameters
from protocols.scan.ring import Residues, ring_of
from protocols.scan.slots import BlockSlots


@dataclass(frozen=True)
class Standing:
    """What is computed from a block's live slots: tombstones plus floor(q/2t), (2, lanes, n); their bit planes."""

    version: int
    revision: int
    added: Residues
    live: Words


class Standings:
    """Each block's, made anew after a withdrawal."""

    def __init__(self, blocks: dict[int, BlockSlots], parameters: Parameters) -> None:
        """blocks: as members agreed on them; looked into at every use."""
        self._blocks = blocks
        self._parameters = parameters
        self._kept: dict[int, Standing] = {}

    def of(self, block: int, version: int) -> Standing:
        """Raises StaleVersion for a block that is of another version by now."""
        slots = self._blocks[block]
        if slots.version != version:
            raise StaleVersion("the block was rebuilt during the session")
        kept = self._kept.get(block)
        if kept is None or (kept.version, kept.revision) != (slots.version, slots.revision):
            kept = self._kept[block] = _standing(slots, self._parameters)
        return kept


def _standing(slots: BlockSlots, parameters: Parameters) -> Standing:
    """A tombstone adds 2(T+1) to its field: the distance is then above the threshold, whatever the ciphertext holds."""
    p, ring = parameters, ring_of(parameters.n)
    weights = np.uint64(2 * (p.threshold + 1)) << (np.uint64(WIDTH) * np.arange(FIELDS, dtype=np.uint64))
    message = slots.tombstones().astype(np.uint64) @ weights
    scaled = ring.scale_up(message.reshape(slots.lanes, p.n))
    added = ring.add(scaled, half_unit(p.n, slots.lanes))
    return Standing(slots.version, slots.revision, added, slots.live_mask())

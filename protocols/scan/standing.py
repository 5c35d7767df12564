"""What a member adds to results for a block's slots that are not live, and which matches it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def standing(slots: BlockSlots, parameters: Parameters) -> Standing:
    """A tombstone adds 2(T+1) to its field: the distance is then above the threshold, whatever the ciphertext holds."""
    p, ring = parameters, ring_of(parameters.n)
    weights = np.uint64(2 * (p.threshold + 1)) << (np.uint64(WIDTH) * np.arange(FIELDS, dtype=np.uint64))
    message = slots.tombstones().astype(np.uint64) @ weights
    scaled = ring.scale_up(message.reshape(slots.lanes, p.n))
    added = ring.add(scaled, half_unit(p.n, slots.lanes))
    return Standing(slots.version, slots.revision, added, slots.live_mask())

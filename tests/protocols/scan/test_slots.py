"""Slot maps as they are read: what lies outside a block is refused before anything is built on it."""

import numpy as np
import pytest

from protocols.base import MessageError
from protocols.scan.parameters import Parameters
from protocols.scan.slots import BlockSlots, read_map, slot_map

P = Parameters("INSECURE_TINY", lanes=2)
IDS = np.arange(1, 5, dtype=np.uint64).reshape(2, 2)


def test_a_map_is_read_as_it_was_written():
    blocks = {3: BlockSlots(2, 7, IDS, np.array([0, 2 * P.slots_per_lane - 1]), P)}
    read = read_map(slot_map(1, 7, blocks, None), P)[3]
    assert (read.lanes, read.version) == (2, 7)
    assert (read.entries == IDS).all()
    assert (read.slots == blocks[3].slots).all()


@pytest.mark.parametrize(("lanes", "slot"), [(1, P.slots_per_lane), (2, 2 * P.slots_per_lane), (2, 2**32 - 1)])
def test_a_slot_beyond_a_blocks_own_lanes_is_refused(lanes, slot):
    blocks = {0: BlockSlots(lanes, 1, IDS, np.array([0, slot]), P)}
    with pytest.raises(MessageError, match="does not have"):
        read_map(slot_map(1, 1, blocks, None), P)
    below = {0: BlockSlots(lanes, 1, IDS, np.array([0, lanes * P.slots_per_lane - 1]), P)}
    assert read_map(slot_map(1, 1, below, None), P)

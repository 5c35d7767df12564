"""Live slots: dead until opened, per block."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import MessageError
from protocols.bfv.slots import LiveSlots

SLOTS = st.sets(st.integers(0, 40))


@given(opened=SLOTS, closed=SLOTS)
def test_same_as_a_set(opened, closed):
    live = LiveSlots(8)
    live.open(opened)
    live.close(closed)
    flags = np.concatenate([live.of(block) for block in range(6)])
    assert set(np.flatnonzero(flags).tolist()) == opened - closed


def test_a_blocks_list_is_taken_over_whole():
    live = LiveSlots(4)
    live.open([4, 9])
    live.replace(1, bytes([0, 1, 1, 0]))
    assert live.of(1).tolist() == [False, True, True, False]
    assert live.of(2).tolist() == [False, True, False, False]


@pytest.mark.parametrize("flags", [b"", bytes(3), bytes(5), bytes([0, 1, 2, 0])])
def test_other_lists_are_refused(flags):
    with pytest.raises(MessageError, match="live"):
        LiveSlots(4).replace(0, flags)

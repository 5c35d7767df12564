"""The secure comparison: right for every value, uniform on the wire, and nothing out of turn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.base import MessageError, ReplayError
from protocols.scan.comparison import Comparison, corrections, gates, rounds
from protocols.scan.parameters import WIDTH, Parameters, largest_threshold
from tests.protocols.scan.parties import flipped

SEEDS = bytes(32), b"b" * 32


def run(p, left, right):
    """Both sides in turn, and the match bits."""
    for _ in rounds(p):
        mine, theirs = left.opening(), right.opening()
        left.receive(theirs.data.cast("B"))
        right.receive(mine.data.cast("B"))
    return left.result() ^ right.result()


def parameters(threshold, bits=256):
    return Parameters("INSECURE_TINY", 1, bits, threshold, allow_unsafe_threshold=True)


def slices(values):
    """Values of WIDTH bits, 64 a word, as bit planes (WIDTH, words)."""
    bits = (values[None] >> np.arange(WIDTH, dtype=np.uint64)[:, None]) & np.uint64(1)
    return np.packbits(bits.astype(np.uint8), axis=1, bitorder="little").view(np.uint64)


def sides(p, left, right, seeds=SEEDS):
    words = len(left) // 64
    corrected = corrections(*seeds, np.empty((gates(p), words), dtype=np.uint64))
    one = Comparison(p, slices(left), True, seeds[0], None)
    return one, Comparison(p, slices(right), False, seeds[1], corrected)


def matches(p, left, right):
    bits = run(p, *sides(p, left, right))
    return np.unpackbits(bits.view(np.uint8), bitorder="little").astype(bool)


@pytest.mark.parametrize("threshold", [0, 1, 2, 3, 7, 15, 31, 32, 63, 64, 71, 127])
def test_every_value_with_and_without_the_carry(threshold):
    p = parameters(threshold)
    values = np.tile(np.arange(1 << (WIDTH - 1), dtype=np.uint64), 2)
    carry = np.repeat(np.array([0, 1], dtype=np.uint64), 1 << (WIDTH - 1))
    masks = np.random.default_rng(threshold).integers(0, 1 << WIDTH, len(values), dtype=np.uint64)
    masks[:40] = 0
    masks[-40:] = (1 << WIDTH) - 1
    left = (2 * values + carry + masks) & np.uint64((1 << WIDTH) - 1)
    assert np.array_equal(matches(p, left, masks), values < 1 << p.kappa)


@given(
    threshold=st.integers(0, 127),
    seed=st.integers(0, 2**32),
    seeds=st.tuples(*[st.binary(min_size=32, max_size=32)] * 2),
)
@settings(max_examples=25, deadline=None)
def test_random_values_masks_and_deals(threshold, seed, seeds):
    p = parameters(threshold)
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, 1 << WIDTH, (2, 128), dtype=np.uint64)
    bits = run(p, *sides(p, left, right, seeds if seeds[0] != seeds[1] else SEEDS))
    expected = ((left - right) & np.uint64((1 << WIDTH) - 1)) >> np.uint64(1) < 1 << p.kappa
    assert np.array_equal(np.unpackbits(bits.view(np.uint8), bitorder="little").astype(bool), expected)


@pytest.mark.parametrize("threshold", range(largest_threshold(256) + 1))
def test_gates_are_what_rounds_open(threshold):
    p = parameters(threshold)
    assert sum(rounds(p)) == gates(p)
    one, two = sides(p, *np.zeros((2, 64), dtype=np.uint64))
    for size in rounds(p):
        mine, theirs = one.opening(), two.opening()
        assert mine.shape == (size, 2, 1)
        with pytest.raises(ReplayError, match="not ready"):
            one.result()
        one.receive(theirs.data.cast("B"))
        two.receive(mine.data.cast("B"))
    assert one.result().shape == (1,)
    with pytest.raises(ReplayError, match="no round is due"):
        one.opening()
    with pytest.raises(ReplayError, match="out of turn"):
        one.receive(theirs.data.cast("B"))


def test_threshold_31_costs_12_gates():
    assert gates(parameters(31)) == 12


def test_a_side_refuses_what_is_out_of_turn_or_of_another_length():
    p = parameters(31)
    one, two = sides(p, *np.zeros((2, 64), dtype=np.uint64))
    with pytest.raises(ReplayError, match="out of turn"):
        one.receive(memoryview(bytes(16)))
    with pytest.raises(ReplayError, match="not ready"):
        one.result()
    mine = one.opening()
    with pytest.raises(ReplayError, match="no round is due"):
        one.opening()
    for wrong in (b"", bytes(8), bytes(24)):
        with pytest.raises(MessageError, match="gate openings"):
            one.receive(memoryview(wrong))
    one.receive(two.opening().data.cast("B"))
    two.receive(mine.data.cast("B"))
    assert (one.round, two.round) == (1, 1)


def test_what_crosses_is_uniform_whatever_the_inputs():
    """Both sides' openings of equal inputs, over many deals: monobit per side and round."""
    p = parameters(31)
    left, right = np.zeros((2, 4096), dtype=np.uint64)
    ones = np.zeros((2, len(rounds(p))))
    for deal in range(20):
        one, two = sides(p, left, right, (bytes([deal]) * 32, bytes([deal + 100]) * 32))
        for round_ in range(len(rounds(p))):
            mine, theirs = one.opening(), two.opening()
            ones[0, round_] += np.bitwise_count(mine).mean() / 64
            ones[1, round_] += np.bitwise_count(theirs).mean() / 64
            one.receive(theirs.data.cast("B"))
            two.receive(mine.data.cast("B"))
    sigma = 0.5 / np.sqrt(20 * 2 * 4096)
    assert np.abs(ones / 20 - 0.5).max() < 8 * sigma


def test_each_side_s_result_alone_is_uniform():
    p = parameters(31)
    results = []
    for deal in range(40):
        one, two = sides(p, *np.zeros((2, 1024), dtype=np.uint64), (bytes([deal]) * 32, bytes([deal + 100]) * 32))
        run(p, one, two)
        results.append(one.result())
    share = np.bitwise_count(np.array(results)).mean() / 64
    assert abs(share - 0.5) < 8 * 0.5 / np.sqrt(40 * 1024)


def test_a_flipped_opening_changes_the_answer():
    """Member-to-member channels must be authenticated: nothing in the comparison itself notices."""
    p = parameters(31)
    one, two = sides(p, *np.zeros((2, 64), dtype=np.uint64))
    first = True
    for _ in rounds(p):
        mine, theirs = one.opening(), two.opening()
        sent = theirs.tobytes()
        one.receive(memoryview(flipped(sent, 0) if first else sent))
        two.receive(mine.data.cast("B"))
        first = False
    assert one.result() ^ two.result() != 2**64 - 1
    assert repr(one) == "<Comparison>"

"""Residues and bits: what is packed comes back, and what does not belong is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.base import MessageError
from protocols.scan.packing import bit_mask, check_residues, field_planes, pack, positions, unpack
from protocols.scan.parameters import FIELDS, PRIMES, RESIDUE_BITS, T_BITS, WIDTH

SIZES = st.sampled_from([256, 4096])


def random_residues(seed, *shape):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(-(p // 2), p // 2 + 1, shape).astype(np.float64) for p in PRIMES])


@given(seed=st.integers(0, 2**32), n=SIZES, lanes=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_residues_come_back(seed, n, lanes):
    residues = random_residues(seed, lanes, n)
    words = pack(residues)
    assert words.shape == (2, lanes, RESIDUE_BITS, n // 64)
    assert np.array_equal(unpack(words, "x"), residues)
    assert words.nbytes == 2 * lanes * n * RESIDUE_BITS // 8


def test_what_stood_there_is_overwritten():
    residues = random_residues(1, 2, 4096)
    left = np.full((2, 2, RESIDUE_BITS, 64), 2**64 - 1, dtype=np.uint64)
    assert np.array_equal(pack(residues, left), pack(residues))
    assert np.array_equal(unpack(left, "x"), residues)


def test_extreme_residues_come_back():
    residues = np.stack([np.resize([p // 2, -(p // 2), 0, 1, -1], 256).astype(np.float64) for p in PRIMES])
    assert np.array_equal(unpack(pack(residues), "x"), residues)


@given(seed=st.integers(0, 2**32), row=st.integers(0, 255))
@settings(max_examples=15, deadline=None)
def test_the_layout_is_columns_of_bit_strings(seed, row):
    residues = random_residues(seed, 256)
    words = pack(residues)
    for index, p in enumerate(PRIMES):
        bits = np.unpackbits(words[index, :, row % 4].copy().view(np.uint8), bitorder="little")
        number = int.from_bytes(
            np.packbits(bits[RESIDUE_BITS * (row // 4) :][:RESIDUE_BITS], bitorder="little"), "little"
        )
        assert number == int(residues[index, row]) % p


@pytest.mark.parametrize("prime", [0, 1])
@pytest.mark.parametrize("value", [0, 1, (1 << RESIDUE_BITS) - 1 - PRIMES[0]])
def test_a_residue_not_below_its_prime_is_refused(prime, value):
    words = pack(np.zeros((2, 256)))
    for bit in range(RESIDUE_BITS):  # column 0, row 0
        words[prime, 0, 0] |= np.uint64(((PRIMES[prime] + value) >> bit & 1) << bit)
    with pytest.raises(MessageError, match="c1: a residue is not below its prime"):
        unpack(words, "c1")


def test_a_message_s_residues_are_checked_wherever_they_lie():
    """Row r of the words is residue r of each of n/64 columns: every row, in the outer polynomials of either prime."""
    n, shape, rng = 256, (2, 6), np.random.default_rng(0)
    for row in range(64):
        for part in (0, 2, 3, 5):
            p = PRIMES[part // 3]
            residues = [rng.integers(PRIMES[i // 3], size=(2, n)) for i in range(6)]
            residues[part][1, row * (n // 64) + row % (n // 64)] = p - 1
            check_residues(_packed(residues, n), shape, n, "c0")
            residues[part][1, row * (n // 64) + row % (n // 64)] = p
            with pytest.raises(MessageError, match="c0: a residue is not below its prime"):
                check_residues(_packed(residues, n), shape, n, "c0")


def _packed(residues, n):
    """Numbers (6, 2, n) of up to 45 bits as a message's bytes: 2 results of 6 polynomials."""
    bits = np.array(residues).reshape(6, 2, 64, n // 64)[..., None] >> np.arange(RESIDUE_BITS) & 1
    rows = bits.transpose(1, 0, 3, 2, 4).reshape(2, 6, n // 64, 64 * RESIDUE_BITS).astype(np.uint8)
    words = np.packbits(rows, axis=-1, bitorder="little").view(np.uint64)
    return np.ascontiguousarray(words.swapaxes(2, 3)).data.cast("B")


@given(seed=st.integers(0, 2**32), n=st.sampled_from([256, 512, 4096]))
@settings(max_examples=10, deadline=None)
def test_planes_hold_bit_j_of_field_f(seed, n):
    values = np.random.default_rng(seed).integers(0, 1 << T_BITS, n, dtype=np.uint64)
    planes = np.zeros((WIDTH, 2, FIELDS, n // 64), dtype=np.uint64)
    field_planes(values, planes, 1)
    assert not planes[:, 0].any()
    for j in range(WIDTH):
        for f in range(FIELDS):
            expected = np.flatnonzero(values >> np.uint64(f * WIDTH + j) & np.uint64(1))
            (found,) = positions(planes[j, 1, f])
            assert np.array_equal(np.sort(found), expected)


@given(indices=st.sets(st.integers(0, 511)))
def test_bit_mask_and_positions_undo_each_other(indices):
    chosen = np.array(sorted(indices), dtype=np.int64)
    row, found = positions(np.stack([np.zeros(8, dtype=np.uint64), bit_mask(chosen, 512)]))
    assert (row == 1).all()
    assert np.array_equal(np.sort(found), chosen)

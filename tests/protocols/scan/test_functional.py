"""Functionals of packed ciphertexts, against whole numbers: exact where products are largest, too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.base import MessageError
from protocols.scan.functional import dot, functional
from protocols.scan.packing import pack
from protocols.scan.parameters import PRIMES, RESIDUE_BITS


def centred(value, p):
    return (value + p // 2) % p - p // 2


def packed(residues):
    """(count, 2*parts, 45, n/64) of (2, count, parts, n)."""
    words = pack(residues)
    return np.ascontiguousarray(np.concatenate([words[0], words[1]], axis=1))


def whole(x, rho, p):
    """<rho, x> mod p of Python's integers."""
    return centred(sum(int(a) * int(b) for a, b in zip(x.reshape(-1), rho.reshape(-1), strict=True)), p)


@given(seed=st.integers(0, 2**32), n=st.sampled_from([256, 4096]), parts=st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_random_residues(seed, n, parts):
    rng = np.random.default_rng(seed)
    x, rho = (
        np.stack([rng.integers(-(p // 2), p // 2 + 1, shape).astype(np.float64) for p in PRIMES])
        for shape in ((2, parts, n), (parts, n))
    )
    values = functional(packed(x), rho, "x")
    for index, p in enumerate(PRIMES):
        assert [int(value) for value in values[index]] == [whole(row, rho[index], p) for row in x[index]]


@pytest.mark.parametrize("left", [1, -1])
@pytest.mark.parametrize("right", [1, -1])
@pytest.mark.parametrize("less", [0, 1, 2])
def test_the_largest_residues(left, right, less):
    """Every product as large as it gets, over as many parts as a block has."""
    halves = np.array([p // 2 for p in PRIMES], dtype=np.float64)[:, None, None]
    rho = np.broadcast_to(right * halves, (2, 9, 4096)).copy()
    x = np.broadcast_to(left * (halves - less), (2, 9, 4096))[:, None].copy()
    values = functional(packed(x), rho, "x")
    for index, p in enumerate(PRIMES):
        assert int(values[index, 0]) == whole(x[index], rho[index], p)


@pytest.mark.parametrize("prime", [0, 1])
def test_a_residue_not_below_its_prime_is_refused(prime):
    words = packed(np.zeros((2, 1, 1, 256)))
    for bit in range(RESIDUE_BITS):  # column 0, row 0
        words[0, prime, 0, 0] |= np.uint64((PRIMES[prime] >> bit & 1) << bit)
    with pytest.raises(MessageError, match="planes: a residue is not below its prime"):
        functional(words, np.zeros((2, 1, 256)), "planes")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_dot_takes_any_integers_of_64_bits(seed):
    rng = np.random.default_rng(seed)
    z = rng.integers(-(2**63), 2**63, 8192)
    z[:4] = -(2**63), 2**63 - 1, 0, -1
    for p in PRIMES:
        weights = rng.integers(-(p // 2), p // 2 + 1, len(z)).astype(np.float64)
        assert int(dot(z, weights, weights / p, float(p))) == whole(z, weights, p)

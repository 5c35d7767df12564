"""The vector type under the transforms, and what they must hold; `test_ring` has the mathematics."""

import numpy as np
import pytest
from numba import njit

from protocols.scan.parameters import PRIMES
from protocols.scan.ring import ring_of
from protocols.scan.vectors import WIDTH, fma, load, spread, store, transpose


@njit
def _apply(x, out):
    a, b = load(x, 1), load(x, 9)
    store(out, 0, a + b)
    store(out, 8, a - b)
    store(out, 16, a * b)
    store(out, 24, fma(a, b, spread(3.0)))


def test_operations_are_those_of_each_place():
    x = np.arange(17) ** 2 + 0.5
    out = np.zeros(32)
    _apply(x, out)
    a, b = x[1:9], x[9:17]
    assert np.array_equal(out.reshape(4, WIDTH), [a + b, a - b, a * b, a * b + 3.0])


@njit
def _turn(x, out):
    rows = load(x, 0), load(x, 8), load(x, 16), load(x, 24), load(x, 32), load(x, 40), load(x, 48), load(x, 56)
    a, b, c, d, e, f, g, h = transpose(rows)
    store(out, 0, a)
    store(out, 8, b)
    store(out, 16, c)
    store(out, 24, d)
    store(out, 32, e)
    store(out, 40, f)
    store(out, 48, g)
    store(out, 56, h)


def test_transpose():
    x, out = np.arange(64.0), np.zeros(64)
    _turn(x, out)
    assert np.array_equal(out.reshape(8, 8), x.reshape(8, 8).T)


@njit
def _fused(x, out):
    store(out, 0, fma(load(x, 0), load(x, 0), spread(-1.0)))


def test_fma_rounds_once():
    x, out = np.full(8, 1.0 + 2.0**-30), np.zeros(8)
    _fused(x, out)
    assert (out == 2.0**-29 + 2.0**-60).all()


@pytest.mark.parametrize("n", [128, 256, 512, 1024, 4096])
def test_every_number_of_levels_is_undone_and_multiplies(n):
    """1 + X times a polynomial, for sizes with and without single levels between the triple ones."""
    rng = np.random.default_rng(n)
    ring = ring_of(n)
    x = np.stack([rng.integers(-(p // 2), p // 2 + 1, (1, n)) for p in PRIMES]).astype(np.float64)
    factor = np.zeros((2, n))
    factor[:, :2] = 1.0
    product = ring.multiply(ring.forward(x), factor)
    shifted = np.concatenate([-x[..., -1:], x[..., :-1]], axis=-1)
    for index, p in enumerate(PRIMES):
        assert not ((product[index] - x[index] - shifted[index]) % p).any()

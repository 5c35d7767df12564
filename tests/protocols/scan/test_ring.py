"""The ring against Python's integers; the exactness claims at their extremes."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from protocols.scan.parameters import PRIMES, T_BITS
from protocols.scan.ring import Field, mulmod, reduce, ring_of, small

N = 256
T = 1 << T_BITS
Q = PRIMES[0] * PRIMES[1]
RING = ring_of(N)
_mulmod = njit(lambda x, w, ratio, p: mulmod(x, w, ratio, p))
_reduce = njit(lambda x, p, inverse: reduce(x, p, inverse))


def residues(values):
    """Integers (k, N) as centred residues (2, k, N)."""
    out = [[[float((int(v) + p // 2) % p - p // 2) for v in row] for row in values] for p in PRIMES]
    return np.array(out)


def integers(x):
    """Residues (2, k, N) as integers in [0, q)."""
    p0, p1 = PRIMES
    r0, r1 = (x[i].astype(np.int64).astype(object) for i in range(2))
    return (r0 + p0 * ((r1 - r0) * pow(p0, -1, p1) % p1)) % Q


def negacyclic(x, y):
    """Schoolbook product mod X^N + 1, over Python's integers."""
    out = [0] * N
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            out[(i + j) % N] += int(a) * int(b) * (1 if i + j < N else -1)
    return out


@pytest.mark.parametrize("p", PRIMES)
@given(data=st.data())
@settings(deadline=None)  # the first example compiles
def test_mulmod_is_exact_up_to_8p(p, data):
    x = data.draw(st.one_of(st.integers(-8 * p + 1, 8 * p - 1), st.sampled_from([8 * p - 1, 1 - 8 * p, p, -p, 0])))
    w = data.draw(st.one_of(st.integers(-(p // 2), p // 2), st.sampled_from([p // 2, -(p // 2), 1, -1])))
    result = _mulmod(float(x), float(w), w / p, float(p))
    assert (int(result) - x * w) % p == 0
    assert abs(result) < 0.54 * p


@pytest.mark.parametrize("p", PRIMES)
@given(x=st.integers(-(2**53) + 1, 2**53 - 1))
@settings(deadline=None)
def test_reduce_is_exact_below_2_53(p, x):
    result = _reduce(float(x), float(p), 1.0 / p)
    assert (int(result) - x) % p == 0
    assert abs(result) <= p // 2 + 1


@pytest.mark.parametrize("n", [256, 4096])
def test_transform_is_evaluation_at_odd_powers_of_the_smallest_root(n):
    rng = np.random.default_rng(n)
    for field in ring_of(n).fields:
        p = field.p
        x = rng.integers(-(p // 2), p // 2 + 1, n)
        out = x.astype(np.float64)[None].copy()
        field.forward(out)
        roots = (r for r in range(2, p) if pow(r, (p - 1) // (2 * n), p) not in (1, p - 1))
        some = next(pow(r, (p - 1) // (2 * n), p) for r in roots if pow(r, (p - 1) // 2, p) == p - 1)
        psi = min(pow(some, odd, p) for odd in range(1, 2 * n, 2))
        order = seal_order(n)
        for index in (0, 1, 2, n // 2, n - 1):
            reversed_ = int(format(index, f"0{n.bit_length() - 1}b")[::-1], 2)
            point, value = pow(psi, 2 * reversed_ + 1, p), 0
            for coefficient in x[::-1].tolist():
                value = (value * point + coefficient) % p
            assert int(out[0, order[index]]) % p == value


def seal_order(n):
    """Where this ring keeps what SEAL keeps at position 0, 1, 2, ..."""
    j, k = np.divmod(np.arange(n), 8)
    return k * (n // 8) + j


@pytest.mark.parametrize("n", [256, 4096])
def test_inverse_undoes_forward_at_the_extremes(n):
    for field in ring_of(n).fields:
        rng = np.random.default_rng(3)
        top = field.p // 2
        rows = np.array([np.full(n, top), np.full(n, -top), rng.integers(-top, top + 1, n)], dtype=np.float64)
        rows[0, ::2] = -top
        work = rows.copy()
        field.forward(work)
        assert (np.abs(work) < 0.54 * field.p).all()
        field.inverse(work)
        assert (np.abs(work) < 0.54 * field.p).all()
        assert not ((work - rows) % field.p).any()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_multiply_is_the_product_mod_x_n_plus_1(seed):
    rng = np.random.default_rng(seed)
    x = [[int.from_bytes(rng.bytes(12)) % Q for _ in range(N)]]
    y = rng.integers(-1, 2, N)
    product = RING.multiply(RING.forward(residues(x)), small(y.astype(np.float64)))
    assert integers(product)[0].tolist() == [value % Q for value in negacyclic(x[0], y)]


def test_x_to_the_n_is_minus_1():
    x = np.zeros((1, N), dtype=object)
    x[0, N - 1] = 1
    shift = np.zeros(N)
    shift[1] = 1.0
    product = integers(RING.multiply(RING.forward(residues(x)), small(shift)))
    assert product[0, 0] == Q - 1
    assert not product[0, 1:].any()


@given(seed=st.integers(0, 2**32), some=st.lists(st.sampled_from([0, 1, T // 2, T - 1])))
@settings(max_examples=30, deadline=None)
def test_scale_up_rounds_q_m_over_t(seed, some):
    values = (some + np.random.default_rng(seed).integers(0, T, N).tolist())[:N]
    out = integers(RING.scale_up(np.array([values], dtype=np.uint64)))[0]
    assert out.tolist() == [(Q * m + T // 2) // T % Q for m in values]


@given(seed=st.integers(0, 2**32), some=st.lists(st.sampled_from([0, 1, Q // 2, Q - 1, PRIMES[0], Q - PRIMES[1]])))
@settings(max_examples=30, deadline=None)
def test_scale_down_is_the_floor_up_to_2_to_the_minus_12(seed, some):
    rng = np.random.default_rng(seed)
    values = (some + [int.from_bytes(rng.bytes(12)) % Q for _ in range(N)])[:N]
    out = RING.scale_down(residues([values]))[0].tolist()
    for x, got in zip(values, out, strict=True):
        exact = Fraction(T * x, Q)
        assert got in {floor(exact) % T, floor(exact - Fraction(1, 1 << 12)) % T}


def test_scale_down_near_integers_is_off_only_within_its_error():
    rng = np.random.default_rng(5)
    units = [int(m) for m in rng.integers(1, T, N)]
    clear = [(m * Q) // T + (Q >> (T_BITS + 11)) for m in units]  # a 2^-11 above the step: never below it
    assert RING.scale_down(residues([clear]))[0].tolist() == units


def test_add_is_centred_addition():
    rng = np.random.default_rng(6)
    x, y = ([[int.from_bytes(rng.bytes(12)) % Q for _ in range(N)]] for _ in range(2))
    total = RING.add(residues(x), residues(y))
    assert integers(total)[0].tolist() == [(a + b) % Q for a, b in zip(x[0], y[0], strict=True)]
    assert all((np.abs(total[i]) <= p // 2 + 1).all() for i, p in enumerate(PRIMES))


def test_products_of_largest_residues():
    for index, p in enumerate(PRIMES):
        top = p // 2
        rows, factor = np.zeros((2, 1, N)), np.zeros((2, N))
        rows[index], factor[index] = top, -top
        assert (RING.products(rows, factor)[index].astype(np.int64) % p == -top * top % p).all()


def test_a_field_of_another_prime():
    field = Field(188_417, N)  # SEAL's special prime in the cross-check
    x = np.arange(N, dtype=np.float64)[None].copy()
    field.forward(x)
    field.inverse(x)
    assert np.array_equal(x[0], np.arange(N))

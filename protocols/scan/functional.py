"""Linear functionals <rho, x> mod p of ciphertexts as they travel, and dot products with 64-bit integers.

A functional of a ciphertext is one number a prime: rho weighs every coefficient of every half. Products are centred
(|r| < 0.54 p, p < 2^45) and added up side by side: at most 128 of them at n = 4096, below 2^52, exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from protocols.base import MessageError
from protocols.scan.packing import Words, readonly, unpack_rows
from protocols.scan.parameters import PRIMES
from protocols.scan.ring import Residues, mulmod, reduce
from protocols.scan.transforms import ROUND
from protocols.scan.vectors import WIDTH, fma, load, spread, store

_LOW = (1 << 31) - 1
WIDE = 64  # numbers that are added up side by side


@njit(nogil=True)
def _times(x: Any, w: Any, field: Any) -> Any:
    """x*w mod p of vectors, centred, as `transforms.times`, without w/p to be read. field: (-p, ROUND, 1/p, -0.0).

    |x*w/p| < 2^43, and what it is taken for is off by 2^-8 at the most.
    """
    minus_p, rounding, p_inverse, zero = field
    h = x * w
    k = fma(h, p_inverse, rounding) - rounding
    return fma(k, minus_p, h) + fma(x, w, zero - h)


@njit(nogil=True, error_model="numpy")
def _weigh(x: Any, weights: Any, p: Any) -> Any:
    """<x, weights> mod p as 32 numbers to be added up, none of them reduced."""
    field = spread(-p), spread(ROUND), spread(1.0 / p), spread(-0.0)
    a = b = c = d = spread(0.0)
    for j in range(0, len(x), 4 * WIDTH):
        a = a + _times(load(x, j), load(weights, j), field)
        b = b + _times(load(x, j + 8), load(weights, j + 8), field)
        c = c + _times(load(x, j + 16), load(weights, j + 16), field)
        d = d + _times(load(x, j + 24), load(weights, j + 24), field)
    return a, b, c, d


@njit(
    types.boolean(readonly(4), types.int64, types.float64[:, ::1], types.int64, types.float64[::1]),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _functional(words: Any, offset: int, rho: Any, p: int, out: Any) -> bool:
    """out[i] += <rho, polynomials offset, offset + 1, ... of words[i]>. Whether every residue is below p."""
    prime, p_inverse = np.float64(p), 1.0 / p
    residues, sums = np.empty((1, rho.shape[1])), np.empty(4 * WIDTH)
    below = True
    for i in range(len(words)):
        total = out[i]
        for part in range(len(rho)):
            below &= unpack_rows(words[i : i + 1], residues, offset + part, 0, p, 0)
            a, b, c, d = _weigh(residues[0], rho[part], prime)
            store(sums, 0, a)
            store(sums, 8, b)
            store(sums, 16, c)
            store(sums, 24, d)
            for j in range(len(sums)):
                total += reduce(sums[j], prime, p_inverse)
            total = reduce(total, prime, p_inverse)
        out[i] = total
    return below


def functional(words: Words, rho: Residues, field: str) -> NDArray[np.float64]:
    """<rho, each ciphertext>, (2, count) centred. Raises MessageError for a residue that is not below its prime.

    words: (count, 2*parts, 45, n/64), the parts mod p0, then those mod p1. rho: (2, parts, n).
    """
    out = np.zeros((2, len(words)))
    for index, p in enumerate(PRIMES):
        weights = np.ascontiguousarray(rho[index])
        if not _functional(words, index * len(weights), weights, p, out[index]):
            raise MessageError(f"{field}: a residue is not below its prime")
    return out


@njit("f8(i8[::1], f8[::1], f8[::1], f8)", cache=True, nogil=True, error_model="numpy")
def dot(integers: Any, weights: Any, ratio: Any, p: float) -> float:
    """<integers, weights> mod p, centred, for any int64s; their number is a multiple of 64. ratio: weights/p.

    An integer is high*2^31 + low with |high| <= 2^32 and low < 2^31.
    """
    p_inverse = 1.0 / p
    low, high = np.zeros(WIDE), np.zeros(WIDE)
    for block in range(len(integers) // WIDE):
        start = np.uint64(block) * np.uint64(WIDE)
        for c in range(np.uint64(WIDE)):
            z, w, r = integers[start + c], weights[start + c], ratio[start + c]
            low[c] += mulmod(np.float64(z & _LOW), w, r, p)
            high[c] += mulmod(np.float64(z >> 31), w, r, p)
        if block % WIDE == WIDE - 1:
            for c in range(WIDE):
                low[c] = reduce(low[c], p, p_inverse)
                high[c] = reduce(high[c], p, p_inverse)
    total_low, total_high = 0.0, 0.0
    for c in range(WIDE):
        total_low += reduce(low[c], p, p_inverse)
        total_high += reduce(high[c], p, p_inverse)
    shift = np.float64(1 << 31)
    return reduce(total_low + mulmod(reduce(total_high, p, p_inverse), shift, shift / p, p), p, p_inverse)


@njit("void(i8[::1], i4[:,::1], u8[::1])", cache=True, nogil=True)
def project(integers: Any, weights: Any, out: Any) -> None:
    """out[j] = <integers, weights[j]> mod 2^64."""
    for j in range(len(weights)):
        total = np.int64(0)
        row = weights[j]
        for k in range(len(integers)):
            total += integers[k] * np.int64(row[k])
        out[j] = np.uint64(total)


_ROWS = types.int32[:, ::1]
_NUMBERS = types.float64[:, ::1]


@njit(
    types.void(
        types.int64[::1],
        types.UniTuple(_ROWS, 3),
        _NUMBERS,
        _NUMBERS,
        types.float64[::1],
        types.uint64[::1],
        types.int64[::1],
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def evaluate(z: Any, weights: Any, linear: Any, ratio: Any, primes: Any, projections: Any, values: Any) -> None:
    """Projections of the last parts of z, one part after another, mod 2^64; and <linear[i], z> mod each prime."""
    first, second, third = weights
    start = len(z) - first.shape[1] - second.shape[1] - third.shape[1]
    done = 0
    for part in (first, second, third):
        stop = start + part.shape[1]
        project(z[start:stop], part, projections[done : done + len(part)])
        start, done = stop, done + len(part)
    for i in range(2):
        values[i] = np.int64(dot(z, linear[i], ratio[i], primes[i]))


@njit("void(f8[::1], i4[:,::1], f8[::1], f8)", cache=True, nogil=True, error_model="numpy")
def fold(weights: Any, rows: Any, factors: Any, p: float) -> None:
    """weights += sum_j factors[j]*rows[j] mod p, centred."""
    p_inverse = 1.0 / p
    for j in range(len(rows)):
        factor, ratio, row = factors[j], factors[j] / p, rows[j]
        for k in range(len(weights)):
            weights[k] = reduce(weights[k] + mulmod(np.float64(row[k]), factor, ratio, p), p, p_inverse)

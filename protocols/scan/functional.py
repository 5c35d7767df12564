"""Linear functionals <rho, x> mod p of ciphertexts as they travel, and dot products with 64-bit integers.

A functional of a ciphertext is one number a prime: rho weighs every coefficient of every half. Read straight from the
packed residues, 64 columns at a time in vector registers; a product is centred (|r| < 0.54 p, p < 2^45), so 64 of them
add up below 2^51, exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from protocols.base import MessageError
from protocols.scan.packing import Words, readonly
from protocols.scan.parameters import PRIMES, RESIDUE_BITS
from protocols.scan.ring import Residues, mulmod, reduce

_MASK = np.uint64((1 << RESIDUE_BITS) - 1)
_U1, _U45, _U63, _U64, _SIX = (np.uint64(value) for value in (1, 45, 63, 64, 6))
_WHOLE = np.uint64(64 - RESIDUE_BITS)
_LOW = (1 << 31) - 1
WIDE = 64  # numbers that are added up side by side


@njit(
    types.boolean(
        readonly(4), types.int64, types.float64[:, ::1], types.float64[:, ::1], types.int64, types.float64[::1]
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _functional(words: Any, offset: int, rho: Any, ratio: Any, p: int, out: Any) -> bool:
    """out[i] += <rho, polynomials offset, offset + 1, ... of words[i]>. Whether every residue is below p."""
    columns, prime, p_inverse = np.uint64(words.shape[3]), np.float64(p), 1.0 / p
    sums = np.empty(WIDE)
    invalid = np.int64(0)
    for i in range(len(words)):
        total = out[i]
        for part in range(len(rho)):
            source = words[i, offset + part]
            sums[:] = 0.0
            for r in range(64):
                bit = _U45 * np.uint64(r)
                word, shift, start = bit >> _SIX, bit & _U63, np.uint64(r) * columns
                back = _U64 - shift
                here, weights, ratios = source[word], rho[part], ratio[part]
                if shift <= _WHOLE:
                    for c in range(columns):
                        value = np.int64((here[c] >> shift) & _MASK)
                        invalid |= p - 1 - value
                        sums[c] += mulmod(np.float64(value), weights[start + c], ratios[start + c], prime)
                else:
                    above = source[word + _U1]
                    for c in range(columns):
                        value = np.int64(((here[c] >> shift) | (above[c] << back)) & _MASK)
                        invalid |= p - 1 - value
                        sums[c] += mulmod(np.float64(value), weights[start + c], ratios[start + c], prime)
            for c in range(columns):
                total += reduce(sums[c], prime, p_inverse)
        out[i] = reduce(total, prime, p_inverse)
    return bool(invalid >= 0)


def functional(words: Words, rho: Residues, field: str) -> NDArray[np.float64]:
    """<rho, each ciphertext>, (2, count) centred. Raises MessageError for a residue that is not below its prime.

    words: (count, 2*parts, 45, n/64), the parts mod p0, then those mod p1. rho: (2, parts, n).
    """
    out = np.zeros((2, len(words)))
    for index, p in enumerate(PRIMES):
        weights = np.ascontiguousarray(rho[index])
        if not _functional(words, index * len(weights), weights, weights / p, p, out[index]):
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


@njit("void(f8[::1], i4[:,::1], f8[::1], f8)", cache=True, nogil=True, error_model="numpy")
def fold(weights: Any, rows: Any, factors: Any, p: float) -> None:
    """weights += sum_j factors[j]*rows[j] mod p, centred."""
    p_inverse = 1.0 / p
    for j in range(len(rows)):
        factor, ratio, row = factors[j], factors[j] / p, rows[j]
        for k in range(len(weights)):
            weights[k] = reduce(weights[k] + mulmod(np.float64(row[k]), factor, ratio, p), p, p_inverse)

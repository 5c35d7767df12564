"""Decryption into shares of a whole batch, from packed residues to bit planes, in one piece of compiled code a side.

What `keys.KeyShare.mask` and `unmask` do a result at a time, lane by lane, so that it all stays in the cache; and
without Python in between, so that workers don't wait for each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from protocols.scan.packing import field_planes, pack_rows, readonly, unpack_rows
from protocols.scan.ring import Constants, Tables, multiply_one, reduce, scale_down
from protocols.scan.transforms import forward

_RESIDUES = types.float64[:, :, ::1]
_WORDS = types.uint64[:, :, :, ::1]


@njit(nogil=True, error_model="numpy")
def _read_first(c1: Any, row: Any, factor: Any, ratio: Any, tables: Any, primes: Any) -> bool:
    """c1 of a result transformed, (2, n), and that over the primes. Whether every residue is below its prime."""
    below = True
    roots, ratios, tail, tail_ratios = tables
    for i in range(2):
        p, here = primes[i], factor[i : i + 1]
        below &= unpack_rows(c1[row : row + 1], here, i, 0, np.int64(p), 0)
        forward(here, roots[i], ratios[i], tail[i], tail_ratios[i], p)
        for j in range(factor.shape[1]):
            ratio[i, j] = factor[i, j] / p
    return below


@njit(
    types.boolean(readonly(4), _RESIDUES, _RESIDUES, types.int64, _WORDS, _WORDS, Tables, Tables, Constants),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def mask_row(
    c1: Any, keys: Any, mu: Any, row: int, masked: Any, planes: Any, forwards: Any, inverses: Any, constants: Any
) -> bool:
    """As B, for one result: `masked[row]` = key*c1 + mu, packed; `planes[:, row]`: the bits of floor(t*mu/q).

    c1: (batch, 2, 45, n/64). keys: (2, R, n) transformed. mu: (2, lanes, n). masked: (batch, 2*lanes, 45, n/64).
    planes: (WIDTH, batch, FIELDS, lanes*n/64). Whether every residue of c1 is below its prime.
    """
    primes, lanes, n = constants[2], mu.shape[1], mu.shape[2]
    factor, ratio, x = np.empty((2, n)), np.empty((2, n)), np.empty((1, n))
    share = np.empty(lanes * n, dtype=np.uint64)
    below = _read_first(c1, row, factor, ratio, forwards, primes)
    for lane in range(lanes):
        for i in range(2):
            p = primes[i]
            p_inverse = 1.0 / p
            multiply_one(keys[i, lane], factor, ratio, x, i, inverses, p)
            for j in range(n):
                x[0, j] = reduce(x[0, j] + mu[i, lane, j], p, p_inverse)
            pack_rows(x, masked[row : row + 1], i * lanes + lane, 0, np.int64(p))
        scale_down(mu[0, lane], mu[1, lane], share[lane * n : (lane + 1) * n], constants)
    field_planes(share, planes, row)
    return below


@njit(
    types.boolean(readonly(4), readonly(4), readonly(4), _RESIDUES, _RESIDUES, _WORDS, Tables, Tables, Constants),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def unmask(
    c1: Any, c0: Any, masked: Any, added: Any, keys: Any, planes: Any, forwards: Any, inverses: Any, constants: Any
) -> bool:
    """As A, for a batch: `planes`: the bits of floor(t*(c0 + added + key*c1 + masked)/q), shapes as for `mask_row`.

    added: (2, lanes, n). Whether every residue is below its prime.
    """
    primes, lanes, n = constants[2], added.shape[1], added.shape[2]
    factor, ratio, x, y = np.empty((2, n)), np.empty((2, n)), np.empty((2, n)), np.empty((1, n))
    share = np.empty(lanes * n, dtype=np.uint64)
    below = True
    for row in range(len(c1)):
        below &= _read_first(c1, row, factor, ratio, forwards, primes)
        for lane in range(lanes):
            for i in range(2):
                p, part = primes[i], i * lanes + lane
                multiply_one(keys[i, lane], factor, ratio, x[i : i + 1], i, inverses, p)
                below &= unpack_rows(c0[row : row + 1], y, part, 0, np.int64(p), 0)
                for j in range(n):
                    x[i, j] += y[0, j] + added[i, lane, j]
                below &= unpack_rows(masked[row : row + 1], y, part, 0, np.int64(p), 0)
                for j in range(n):
                    x[i, j] += y[0, j]
            scale_down(x[0], x[1], share[lane * n : (lane + 1) * n], constants)
        field_planes(share, planes, row)
    return below

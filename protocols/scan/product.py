"""The hot loop: every query against every entry of a block, as one exact matrix product in float64.

Hamming distance is popcount(q) + sum_i (1 - 2*q_i)*b_i, so with S the (Q, bits) matrix of signs and B a block's planes
as a (bits, .) matrix of centred residues, S @ B mod p is the whole homomorphic computation. Exact: |residue| < 2^44 and
at most 256 terms, so every partial sum stays below 2^52, in whatever order they are added, fused or not. From a dozen
queries on, `sums` has it faster than any product of matrices: signs are only 1 and -1.

A block stays packed (45 bits a residue); tiles of it are unpacked, multiplied, finished and packed while they are in
the cache.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from protocols.base import ConfigurationError
from protocols.scan.packing import Words, pack_rows, readonly, unpack_rows
from protocols.scan.parameters import FIELDS, PRIMES, RESIDUE_BITS, WIDTH, Parameters
from protocols.scan.ring import Residues, reduce, ring_of
from protocols.scan.sums import BREAK_EVEN, places, signed_sums
from protocols.scan.vectors import LINE, prefetch

AHEAD = 4  # planes, or encryptions of zero, that are fetched before they are due, as they lie far from each other
TILE_ROWS = 4  # of 64 rows of a packed polynomial: with n = 4096 a tile of 256 planes is 512 KiB


def signs(hashes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """1 - 2*q for packed hashes (Q, bits/8), (Q, bits)."""
    return 1.0 - 2.0 * np.unpackbits(hashes, axis=1).astype(np.float64)


def product(signs: Any, planes: Any, xp: ModuleType | Any = np) -> Any:
    """signs (Q, bits) @ planes (bits, columns) in float64, with any array module `xp` that has `matmul`."""
    return xp.matmul(signs, planes)


def check_exactness(xp: ModuleType | Any = np, bits: int = 256) -> None:
    """Whether `product` is exact here: extreme and random residues against integer arithmetic.

    A matrix product that emulates float64, or drops to a narrower type, would corrupt silently. Raises
    ConfigurationError.
    """
    rng = np.random.default_rng(1)
    top = max(PRIMES) // 2
    planes = rng.integers(-top, top + 1, (bits, 64))
    planes[:, :8], planes[:, 8:16] = top, -top
    left = rng.choice([-1, 1], (16, bits))
    left[0], left[1] = 1, -1
    result = product(xp.asarray(left, dtype=xp.float64), xp.asarray(planes, dtype=xp.float64), xp)
    host = result.get() if hasattr(result, "get") else np.asarray(result)
    if not np.array_equal(host.astype(np.int64), left @ planes):
        raise ConfigurationError(
            f"the float64 matrix product of {xp.__name__} is not exact here; the scan cannot use it"
        )


_ZEROS = types.float64[:, :, :, ::1]
_WORDS = types.uint64[:, :, :, ::1]
_FINISH = (types.float64[:, ::1], _ZEROS, types.float64[::1], _WORDS, *[types.int64] * 5)


@njit(types.void(*_FINISH), cache=True, nogil=True, error_model="numpy")
def _finish(
    tile: Any, zeros: Any, constants: Any, target: Any, place: int, prime: int, part: int, first: int, p: int
) -> None:
    """Add encryptions of zero and constants (Q,) to a tile of sums, and pack it into polynomial `place` of `target`.

    The tile is rows first, first + 1, ... of polynomial `part` under a prime, p.
    """
    modulus, inverse = np.float64(p), 1.0 / p
    flat, apart = zeros.reshape(-1), zeros.shape[1] * zeros.shape[2] * zeros.shape[3]
    start = first * target.shape[3]
    begin = (prime * zeros.shape[2] + part) * zeros.shape[3] + start
    for q in range(len(tile)):
        if q + AHEAD < len(tile):
            for at in range(tile.shape[1] // LINE):
                prefetch(flat, begin + (q + AHEAD) * apart + at * LINE)
        zero = zeros[q, prime, part]
        for c in range(tile.shape[1]):
            tile[q, c] = reduce(tile[q, c] + zero[start + c] + constants[q], modulus, inverse)
    pack_rows(tile, target, place, first, p)


@njit(
    types.void(readonly(4), types.int64[:, :, ::1], _ZEROS, types.float64[::1], _WORDS, *[types.int64] * 4),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _scan_polynomial(
    planes: Any, where: Any, zeros: Any, constants: Any, target: Any, place: int, prime: int, part: int, p: int
) -> None:
    """One polynomial of every result, tile after tile. where: of the queries, see `sums.places`."""
    columns = planes.shape[3]
    tile = np.empty((planes.shape[0], TILE_ROWS * columns))
    out = np.empty((zeros.shape[0], TILE_ROWS * columns))
    for first in range(0, 64, TILE_ROWS):
        unpack_rows(planes, tile, prime * zeros.shape[2] + part, first, p, AHEAD * planes[0].size)
        signed_sums(tile, where, out)
        _finish(out, zeros, constants, target, place, prime, part, first, p)


def scan_constants(parameters: Parameters) -> tuple[list[int], list[int]]:
    """g = round(q*G/t) and k = round(q*2*alignment*G/t) mod each prime, G = sum_f 2^(w f)."""
    unit = sum(1 << (WIDTH * f) for f in range(FIELDS))
    message = np.array([unit, 2 * parameters.alignment * unit] + [0] * 62, dtype=np.uint64)
    scaled = ring_of(parameters.n).scale_up(message)
    return [int(row[0]) for row in scaled], [int(row[1]) for row in scaled]


def query_constants(hashes: NDArray[np.uint8], parameters: Parameters) -> NDArray[np.float64]:
    """2*popcount(q)*g + k mod each prime, (2, Q).

    g and k are rounded once each, so that the constant is linear in the query.
    """
    units, alignments = scan_constants(parameters)
    popcount = np.bitwise_count(hashes).sum(axis=1, dtype=np.int64)
    out = np.empty((2, len(hashes)))
    for index, (p, g, k) in enumerate(zip(PRIMES, units, alignments, strict=True)):
        out[index] = [(2 * int(ones) * g + k + p // 2) % p - p // 2 for ones in popcount]
    return out


def scan_block(
    planes: Words, hashes: NDArray[np.uint8], zeros: Residues, parameters: Parameters
) -> tuple[Words, Words]:
    """Scan results of a batch against a block: c1 (Q, 2, 45, n/64) and c0 (Q, 2*lanes, 45, n/64), packed.

    planes: (bits, 2*(lanes+1), 45, n/64). hashes: (Q, bits/8). zeros: (Q, 2, lanes+1, n), fresh encryptions of zero.
    """
    batch, lanes, columns = len(hashes), zeros.shape[2] - 1, planes.shape[3]
    left, where = signs(hashes), places(hashes)
    constants, nothing = query_constants(hashes, parameters), np.zeros(batch)
    c1 = np.empty((batch, 2, RESIDUE_BITS, columns), dtype=np.uint64)
    c0 = np.empty((batch, 2 * lanes, RESIDUE_BITS, columns), dtype=np.uint64)
    tile = np.empty((parameters.bits, TILE_ROWS * columns))
    for index, p in enumerate(PRIMES):
        for part in range(lanes + 1):
            target, place = (c1, index) if part == 0 else (c0, index * lanes + part - 1)
            added = constants[index] if part else nothing
            if batch >= BREAK_EVEN:
                _scan_polynomial(planes, where, zeros, added, target, place, index, part, p)
                continue
            for first in range(0, 64, TILE_ROWS):
                unpack_rows(planes, tile, index * (lanes + 1) + part, first, p, AHEAD * planes[0].size)
                _finish(product(left, tile), zeros, added, target, place, index, part, first, p)
    return c1, c0


def scan_file(
    path: Path, hashes: NDArray[np.uint8], zeros: Residues, parameters: Parameters
) -> tuple[Words, Words, float]:
    """`scan_block` on a block's file, on one thread, for a worker elsewhere; and the CPU seconds that it took."""
    start = time.thread_time()
    shape = (parameters.bits, 2 * zeros.shape[2], RESIDUE_BITS, parameters.n // 64)
    with threadpool_limits(1, user_api="blas"):
        c1, c0 = scan_block(np.memmap(path, dtype=np.uint64, mode="r", shape=shape), hashes, zeros, parameters)
    return c1, c0, time.thread_time() - start

"""Signed sums of the rows of a matrix for many sign vectors at once: sum_i w_i*x_i, w_i in {1, -1}.

Rows are taken by fours. Four rows have 16 signed sums: made once in a table, they leave each query one addition for
four rows, where a matrix product takes four multiplications (the method of four Russians: Arlazarov, Dinic, Kronrod,
Faradzhev 1970). Strips of 16 columns and 8 groups of rows at a time keep the table, 16 KiB, in the first-level cache.

What is added up on the way are signed sums of some of the rows: as exact as the product (docs/scan.md, claim 1).

NOT protected: which entry of a table is read depends on the query. Whoever shares the platform's machine is out of
scope.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from protocols.scan.vectors import WIDTH, load, spread, store

STRIP = 2 * WIDTH  # columns that are summed up side by side
_ROWS = 4  # a group
_SUMS = 1 << _ROWS
_GROUPS = 8  # whose tables are in the cache together
BREAK_EVEN = 12  # queries from which on tables are faster than a matrix product


@njit(nogil=True)
def _tabulate(rows: Any, start: Any, stride: Any, table: Any, first: Any) -> None:
    """table[first + 16*k:], k < 16: the signed sum of four strips in which bit i of k makes strip i negative.

    Strip i is rows[start + i*stride:].
    """
    for c in range(0, STRIP, WIDTH):
        x0, x1 = load(rows, start + c), load(rows, start + stride + c)
        x2, x3 = load(rows, start + 2 * stride + c), load(rows, start + 3 * stride + c)
        both, differ = x2 + x3, x2 - x3
        left = x0 + x1, x1 - x0, x0 - x1, spread(-0.0) - (x0 + x1)
        for k in range(4):
            at = first + k * STRIP + c
            store(table, at, left[k] + both)
            store(table, at + 4 * STRIP, left[k] - differ)
            store(table, at + 8 * STRIP, left[k] + differ)
            store(table, at + 12 * STRIP, left[k] - both)


@njit(nogil=True)
def _look_up(table: Any, places: Any, first: Any, sums: Any, at: Any) -> None:
    """Add the strips of `table` that start at places[first], ..., places[first + 7] to the one at sums[at:]."""
    left, right = load(sums, at), load(sums, at + WIDTH)
    for group in range(_GROUPS):
        place = places[first + group]
        left, right = left + load(table, place), right + load(table, place + WIDTH)
    store(sums, at, left)
    store(sums, at + WIDTH, right)


def places(hashes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where each query (Q, bits/8) finds its sums in the tables, (bits/32, Q, 8): a set bit is the sign -1."""
    bits = np.unpackbits(hashes, axis=1).astype(np.int64)
    numbers = bits.reshape(len(hashes), -1, _GROUPS, _ROWS) @ (1 << np.arange(_ROWS))
    return np.ascontiguousarray(((numbers + _SUMS * np.arange(_GROUPS)) * STRIP).swapaxes(0, 1))


@njit("void(f8[:,::1], i8[:,:,::1], f8[:,::1])", cache=True, nogil=True, error_model="numpy")
def signed_sums(rows: Any, places: Any, out: Any) -> None:
    """out (Q, columns) = signs of the queries @ rows (bits, columns), columns a multiple of 16; `places` of queries."""
    columns, queries = rows.shape[1], places.shape[1]
    flat, numbers = rows.reshape(-1), places.reshape(-1)
    table, sums = np.empty(_GROUPS * _SUMS * STRIP), np.empty(queries * STRIP)
    for start in range(0, columns, STRIP):
        sums[:] = 0.0
        for part in range(len(places)):
            for group in range(_GROUPS):
                row = (part * _GROUPS + group) * _ROWS
                _tabulate(flat, row * columns + start, columns, table, group * _SUMS * STRIP)
            for q in range(queries):
                _look_up(table, numbers, (part * queries + q) * _GROUPS, sums, q * STRIP)
        for q in range(queries):
            for c in range(STRIP):
                out[q, start + c] = sums[q * STRIP + c]

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
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

STRIP = 16  # columns that are summed up side by side in vector registers
_ROWS = 4  # a group
_SUMS = 1 << _ROWS
_GROUPS = 8  # whose tables are in the cache together
BREAK_EVEN = 12  # queries from which on tables are faster than a matrix product

_INDEX = ir.IntType(64)
_VECTOR = ir.VectorType(ir.DoubleType(), STRIP)


def _strip(context: Any, builder: ir.IRBuilder, array_type: Any, array: Any, index: Any) -> Any:
    """Where the strip that starts at array[index] lies."""
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _load(builder: ir.IRBuilder, pointer: Any) -> Any:
    value = builder.load(pointer)
    value.align = 8
    return value


@intrinsic
def _tabulate(typing_context: Any, rows: Any, start: Any, stride: Any, table: Any, first: Any) -> Any:
    """table[first + 16*k:], k < 16: the signed sum of four strips in which bit i of k makes strip i negative.

    Strip i is rows[start + i*stride:].
    """
    signature = types.void(rows, types.int64, types.int64, table, types.int64)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        rows, start, stride, table, first = arguments
        x = []
        for _ in range(_ROWS):
            x.append(_load(builder, _strip(context, builder, signature.args[0], rows, start)))
            start = builder.add(start, stride)
        plus, minus = builder.fadd(x[0], x[1]), builder.fsub(x[0], x[1])
        left = [plus, builder.fneg(minus), minus, builder.fneg(plus)]
        both, differ = builder.fadd(x[2], x[3]), builder.fsub(x[2], x[3])
        for k in range(_SUMS):
            add, right = [(builder.fadd, both), (builder.fsub, differ), (builder.fadd, differ), (builder.fsub, both)][
                k >> 2
            ]
            index = builder.add(first, ir.Constant(_INDEX, k * STRIP))
            builder.store(add(left[k & 3], right), _strip(context, builder, signature.args[3], table, index)).align = 8
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _look_up(typing_context: Any, table: Any, places: Any, first: Any, sums: Any, at: Any) -> Any:
    """Add the strips of `table` that start at places[first], ..., places[first + 7] to the one at sums[at:]."""
    signature = types.void(table, places, types.int64, sums, types.int64)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        table, places, first, sums, at = arguments
        numbers = cgutils.create_struct_proxy(signature.args[1])(context, builder, value=places).data
        target = _strip(context, builder, signature.args[3], sums, at)
        total = _load(builder, target)
        for group in range(_GROUPS):
            place = builder.load(builder.gep(numbers, [builder.add(first, ir.Constant(_INDEX, group))]))
            total = builder.fadd(total, _load(builder, _strip(context, builder, signature.args[0], table, place)))
        builder.store(total, target).align = 8
        return context.get_dummy_value()

    return signature, generate


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

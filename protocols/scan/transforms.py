"""Negacyclic number-theoretic transforms mod a prime p < 2^45, of residues held as float64, in vector registers.

psi a primitive 2n-th root of unity, the smallest, as in SEAL: forward by Cooley-Tukey, inverse by Gentleman-Sande
(Longa, Naehrig 2016, algorithms 1 and 2), three levels at a time, so that a polynomial goes through memory three times
and not twelve. The forward output is in bit-reversed order but for its last three levels, which are kept transposed:
position k*(n/8) + j here is position 8*j + k there. Sixty-four neighbours go through six levels in registers, with a
transposition in the middle.

Sizes: a product is centred, below 0.54 p, if its factor is below 8 p. Forward, every level adds one of them to |x| < p:
at n = 4096 at most 7.5 p. Inverse, sums double at each of three levels, from 0.54 p to 4.4 p, and are brought back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from protocols.scan.vectors import fma, load, spread, store, transpose

ROUND = 6755399441055744.0  # 1.5 * 2^52: adding and subtracting it rounds to the nearest integer

_SIGNATURE = "void(f8[:,::1], f8[::1], f8[::1], f8[::1], f8[::1], f8)"


@njit(nogil=True)
def times(x: Any, root: Any, field: Any) -> Any:
    """x*w mod p of vectors, centred, as `ring.mulmod` has it. root: (w, w/p). field: (-p, ROUND, -0.0)."""
    w, ratio = root
    minus_p, rounding, zero = field
    k = fma(x, ratio, rounding) - rounding
    h = x * w
    return fma(k, minus_p, h) + fma(x, w, zero - h)


@njit(nogil=True)
def _split(u: Any, v: Any, root: Any, field: Any) -> Any:
    product = times(v, root, field)
    return u + product, u - product


@njit(nogil=True)
def _join(u: Any, v: Any, root: Any, field: Any) -> Any:
    return u + v, times(u - v, root, field)


@njit(nogil=True)
def _split_eight(x: Any, roots: Any, field: Any) -> Any:
    """Three levels of the forward transform. roots: one, two and four, in order."""
    a, b, c, d, e, f, g, h = x
    first, left, right, r0, r1, r2, r3 = roots
    a, e = _split(a, e, first, field)
    b, f = _split(b, f, first, field)
    c, g = _split(c, g, first, field)
    d, h = _split(d, h, first, field)
    a, c = _split(a, c, left, field)
    b, d = _split(b, d, left, field)
    e, g = _split(e, g, right, field)
    f, h = _split(f, h, right, field)
    a, b = _split(a, b, r0, field)
    c, d = _split(c, d, r1, field)
    e, f = _split(e, f, r2, field)
    g, h = _split(g, h, r3, field)
    return a, b, c, d, e, f, g, h


@njit(nogil=True)
def _join_eight(x: Any, roots: Any, unit: Any, field: Any) -> Any:
    """Three levels of the inverse transform; what is left as sums is multiplied by `unit`, and so brought back."""
    a, b, c, d, e, f, g, h = x
    last, left, right, r0, r1, r2, r3 = roots
    a, b = _join(a, b, r0, field)
    c, d = _join(c, d, r1, field)
    e, f = _join(e, f, r2, field)
    g, h = _join(g, h, r3, field)
    a, c = _join(a, c, left, field)
    b, d = _join(b, d, left, field)
    e, g = _join(e, g, right, field)
    f, h = _join(f, h, right, field)
    a, e = _join(a, e, last, field)
    b, f = _join(b, f, last, field)
    c, g = _join(c, g, last, field)
    d, h = _join(d, h, last, field)
    return times(a, unit, field), times(b, unit, field), times(c, unit, field), times(d, unit, field), e, f, g, h


@njit(nogil=True)
def _load_eight(x: Any, at: Any, step: Any) -> Any:
    return (
        load(x, at),
        load(x, at + step),
        load(x, at + 2 * step),
        load(x, at + 3 * step),
        load(x, at + 4 * step),
        load(x, at + 5 * step),
        load(x, at + 6 * step),
        load(x, at + 7 * step),
    )


@njit(nogil=True)
def _store_eight(x: Any, at: Any, step: Any, values: Any) -> None:
    a, b, c, d, e, f, g, h = values
    store(x, at, a)
    store(x, at + step, b)
    store(x, at + 2 * step, c)
    store(x, at + 3 * step, d)
    store(x, at + 4 * step, e)
    store(x, at + 5 * step, f)
    store(x, at + 6 * step, g)
    store(x, at + 7 * step, h)


@njit(nogil=True)
def _root(roots: Any, ratios: Any, i: Any) -> Any:
    return spread(roots[i]), spread(ratios[i])


@njit(nogil=True)
def _roots(roots: Any, ratios: Any, i: Any) -> Any:
    """Those of group i of a level, of its two halves, and of their four."""
    return (
        _root(roots, ratios, i),
        _root(roots, ratios, 2 * i),
        _root(roots, ratios, 2 * i + 1),
        _root(roots, ratios, 4 * i),
        _root(roots, ratios, 4 * i + 1),
        _root(roots, ratios, 4 * i + 2),
        _root(roots, ratios, 4 * i + 3),
    )


@njit(nogil=True)
def _tails(tail: Any, ratios: Any, at: Any, step: Any) -> Any:
    """Those of the three levels that are kept transposed, for eight groups side by side."""
    return (
        (load(tail, at), load(ratios, at)),
        (load(tail, at + step), load(ratios, at + step)),
        (load(tail, at + 2 * step), load(ratios, at + 2 * step)),
        (load(tail, at + 3 * step), load(ratios, at + 3 * step)),
        (load(tail, at + 4 * step), load(ratios, at + 4 * step)),
        (load(tail, at + 5 * step), load(ratios, at + 5 * step)),
        (load(tail, at + 6 * step), load(ratios, at + 6 * step)),
    )


@njit(nogil=True)
def _reduce_eight(x: Any, unit: Any, field: Any) -> Any:
    a, b, c, d, e, f, g, h = x
    a, b, c, d = times(a, unit, field), times(b, unit, field), times(c, unit, field), times(d, unit, field)
    return a, b, c, d, times(e, unit, field), times(f, unit, field), times(g, unit, field), times(h, unit, field)


@njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy")
def forward(batch: Any, roots: Any, ratios: Any, tail: Any, tail_ratios: Any, p: float) -> None:
    """Transform every row of (count, n), n >= 128, in place; |input| < p, output centred.

    roots: powers of psi in bit-reversed order. tail: of the last three levels, 7 rows of n/8. ratios: those over p.
    """
    count, n = batch.shape
    eighth = n // 8
    field, one = (spread(-p), spread(ROUND), spread(-0.0)), (spread(1.0), spread(1.0 / p))
    y = np.empty(n)
    for row in range(count):
        x = batch[row]
        half, groups, source = n // 2, 1, x
        while half >= 256:
            for g in range(groups):
                twiddles = _roots(roots, ratios, groups + g)
                for at in range(2 * g * half, 2 * g * half + half // 4, 8):
                    values = _split_eight(_load_eight(source, at, half // 4), twiddles, field)
                    _store_eight(y, at, half // 4, values)
            half, groups, source = half // 8, groups * 8, y
        while half > 32:
            for g in range(groups):
                twiddle = _root(roots, ratios, groups + g)
                for at in range(2 * g * half, (2 * g + 1) * half, 8):
                    u, v = _split(load(source, at), load(source, at + half), twiddle, field)
                    store(y, at, u)
                    store(y, at + half, v)
            half, groups, source = half // 2, groups * 2, y
        for g in range(groups):
            values = transpose(_split_eight(_load_eight(y, 64 * g, 8), _roots(roots, ratios, groups + g), field))
            values = _split_eight(values, _tails(tail, tail_ratios, 8 * g, eighth), field)
            _store_eight(x, 8 * g, eighth, _reduce_eight(values, one, field))


@njit(_SIGNATURE, cache=True, nogil=True, error_model="numpy")
def inverse(batch: Any, roots: Any, ratios: Any, tail: Any, tail_ratios: Any, p: float) -> None:
    """Undo `forward` in place; output centred. roots: powers of 1/psi; the first is 1/n, the second has it multiplied
    in.
    """
    count, n = batch.shape
    eighth = n // 8
    field, one = (spread(-p), spread(ROUND), spread(-0.0)), (spread(1.0), spread(1.0 / p))
    y = np.empty(n)
    for row in range(count):
        x = batch[row]
        for g in range(n // 64):
            values = _join_eight(_load_eight(x, 8 * g, eighth), _tails(tail, tail_ratios, 8 * g, eighth), one, field)
            values = _join_eight(transpose(values), _roots(roots, ratios, n // 64 + g), one, field)
            _store_eight(y, 64 * g, 8, values)
        half, groups = 64, n // 128
        while half < n:
            if 4 * half < n:
                unit, out = (_root(roots, ratios, 0), x) if 8 * half == n else (one, y)
                for g in range(groups // 4):
                    twiddles = _roots(roots, ratios, groups // 4 + g)
                    for at in range(8 * g * half, (8 * g + 1) * half, 8):
                        _store_eight(out, at, half, _join_eight(_load_eight(y, at, half), twiddles, unit, field))
                half, groups = half * 8, groups // 8
            else:
                unit, out = (_root(roots, ratios, 0), x) if 2 * half == n else (one, y)
                for g in range(groups):
                    twiddle = _root(roots, ratios, groups + g)
                    for at in range(2 * g * half, (2 * g + 1) * half, 8):
                        u, v = _join(load(y, at), load(y, at + half), twiddle, field)
                        store(out, at, times(u, unit, field))
                        store(out, at + half, v)
                half, groups = half * 2, groups // 2

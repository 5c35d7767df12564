"""The ring R_q = Z_q[X]/(X^n + 1), q = p0*p1, in residues held as float64.

A residue mod p (p < 2^45) is an integer in a float64. A product is exact with fused multiply-add: with
h = fl(x*w) and l = fma(x, w, -h), x*w = h + l exactly; with k = rint(x * (w/p)) the difference h - k*p is an
integer far below 2^53, so fma(-k, p, h) + l is x*w - k*p without rounding (Dekker 1971; Shoup's trick of a
precomputed quotient). |k - x*w/p| <= 1/2 + 2^-5 for |x| < 8p, so results are centred: |r| < 0.54 p.

NOT protected: numba's machine code is not constant-time in any audited sense; whoever shares the machine is out of
scope.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from protocols.scan.parameters import PRIMES, T_BITS
from protocols.scan.transforms import ROUND, forward, inverse
from protocols.scan.vectors import fma

Residues = NDArray[np.float64]


@njit(inline="always")
def mulmod(x: float, w: float, w_over_p: float, p: float) -> float:
    """x*w mod p, centred: |result| < 0.54 p, for |x| < 8p and |w| < p, w_over_p = w/p."""
    k = fma(x, w_over_p, ROUND) - ROUND
    h = x * w
    return fma(-k, p, h) + fma(x, w, -h)


@njit(inline="always")
def reduce(x: float, p: float, p_inverse: float) -> float:
    """x mod p, centred, for an integer |x| < 2^53."""
    return fma(ROUND - fma(x, p_inverse, ROUND), p, x)


def _centred(value: int, p: int) -> float:
    value %= p
    return float(value - p if value > p // 2 else value)


def _smallest_root(p: int, order: int) -> int:
    """The smallest primitive root of unity of a power-of-two order mod p."""
    generator = next(g for x in range(2, p) if pow(g := pow(x, (p - 1) // order, p), order // 2, p) == p - 1)
    best, power, square = generator, generator, generator * generator % p
    for _ in range(order // 2):
        power = power * square % p
        best = min(best, power)
    return best


@dataclass(frozen=True)
class Field:
    """Transforms and products mod one prime p = 1 mod 2n."""

    p: int
    n: int

    @cached_property
    def _tables(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        psi = _smallest_root(self.p, 2 * self.n)
        return self._table(psi, 1), self._table(pow(psi, -1, self.p), pow(self.n, -1, self.p))

    def _table(self, psi: int, scale: int) -> tuple[Any, ...]:
        """roots, tail and those over p, as transforms take them; the last level of the inverse is scaled."""
        width = self.n.bit_length() - 1
        powers = [1]
        for _ in range(self.n - 1):
            powers.append(powers[-1] * psi % self.p)
        order = [int(format(i, f"0{width}b")[::-1], 2) for i in range(self.n)]
        roots = np.array([_centred(powers[i], self.p) for i in order])
        roots[:2] = _centred(scale, self.p), _centred(scale * powers[order[1]], self.p)
        eighth = self.n // 8
        tail = np.concatenate(
            [
                roots[(eighth << level) + g : eighth << (level + 1) : 1 << level]
                for level in range(3)
                for g in range(1 << level)
            ]
        )
        return roots, roots / self.p, tail, tail / self.p

    def forward(self, batch: Residues) -> None:
        """Transform every row of (count, n) in place; |input| < p."""
        forward(batch, *self._tables[0], float(self.p))

    def inverse(self, batch: Residues) -> None:
        """Undo `forward` in place; output centred."""
        inverse(batch, *self._tables[1], float(self.p))


@njit("void(f8[:,::1], f8[::1], f8[:,::1], f8)", cache=True, nogil=True, error_model="numpy")
def _products(rows, factor, out, p):  # type: ignore[no-untyped-def]
    ratio = factor / p
    for i in range(len(rows)):
        for j in range(len(factor)):
            out[i, j] = mulmod(rows[i, j], factor[j], ratio[j], p)


@njit("void(f8[::1], f8[::1], f8)", cache=True, nogil=True, error_model="numpy")
def _add(x, y, p):  # type: ignore[no-untyped-def]
    p_inverse = 1.0 / p
    for i in range(len(x)):
        x[i] = reduce(x[i] + y[i], p, p_inverse)


@njit("void(u8[::1], f8[::1], u8, f8, f8)", cache=True, nogil=True, error_model="numpy")
def _scale_up(message, out, q_low, t_inverse, p):  # type: ignore[no-untyped-def]
    mask = np.uint64((1 << T_BITS) - 1)
    half = np.uint64(1 << (T_BITS - 1))
    ratio = t_inverse / p
    for i in range(len(message)):
        remainder = (q_low * message[i] + half) & mask
        out[i] = mulmod(np.float64(np.int64(half) - np.int64(remainder)), t_inverse, ratio, p)


Constants = types.UniTuple(types.float64[::1], 3)  # of `Ring.constants`
Tables = types.UniTuple(types.float64[:, ::1], 4)  # of `Ring.forward_tables`, `Ring.inverse_tables`


@njit(nogil=True, error_model="numpy")
def multiply_one(row: Any, factor: Any, ratio: Any, out: Any, i: Any, tables: Any, p: Any) -> None:
    """out (1, n) = row * factor[i] mod prime i; row and factor transformed, the product not. ratio: factor/p."""
    roots, ratios, tail, tail_ratios = tables
    for j in range(len(row)):
        out[0, j] = mulmod(row[j], factor[i, j], ratio[i, j], p)
    inverse(out, roots[i], ratios[i], tail[i], tail_ratios[i], p)


@njit(
    types.void(types.float64[::1], types.float64[::1], types.uint64[::1], Constants),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def scale_down(first: Any, second: Any, out: Any, constants: Any) -> None:
    """`Ring.scale_down` of one polynomial, given mod p0 and mod p1, |x| < 8p."""
    inverses, tails, primes = constants
    p, w, tail = primes[0], inverses[0], tails[0]
    ratio = w / p
    for i in range(len(out)):
        y = mulmod(first[i], w, ratio, p)
        y = y + p if y < 0 else y
        out[i] = (np.uint64(np.int64(y)) << np.uint64(19)) + np.uint64(np.int64(y * tail))
    p, w, tail = primes[1], inverses[1], tails[1]
    ratio = w / p
    for i in range(len(out)):
        y = mulmod(second[i], w, ratio, p)
        y = y + p if y < 0 else y
        total = out[i] + (np.uint64(np.int64(y)) << np.uint64(19)) + np.uint64(np.int64(y * tail))
        out[i] = total >> np.uint64(64 - T_BITS)


class Ring:
    """R_q for one dimension n. Elements are float64 arrays (2, ..., n): centred residues mod p0, then mod p1."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.fields = [Field(p, n) for p in PRIMES]
        p0, p1 = PRIMES
        inverses = np.array([_centred(pow(p1, -1, p0), p0), _centred(pow(p0, -1, p1), p1)])
        tails = np.array([float(Fraction(1 << 64, p) - (1 << 19)) for p in PRIMES])
        self.constants = inverses, tails, np.array(PRIMES, dtype=np.float64)

    @cached_property
    def forward_tables(self) -> tuple[Residues, ...]:
        """What `transforms.forward` takes, a row a prime."""
        return tuple(np.stack(pair) for pair in zip(*(field._tables[0] for field in self.fields), strict=True))

    @cached_property
    def inverse_tables(self) -> tuple[Residues, ...]:
        """What `transforms.inverse` takes, a row a prime."""
        return tuple(np.stack(pair) for pair in zip(*(field._tables[1] for field in self.fields), strict=True))

    def forward(self, x: Residues) -> Residues:
        """The transform of x, in a new array."""
        out = np.array(x, order="C")
        for index, field in enumerate(self.fields):
            field.forward(out[index].reshape(-1, self.n))
        return out

    def inverse(self, x: Residues) -> Residues:
        """The inverse transform of x, in place; returns x."""
        for index, field in enumerate(self.fields):
            field.inverse(x[index].reshape(-1, self.n))
        return x

    def products(self, rows: Residues, factor: Residues) -> Residues:
        """Transformed `rows` (2, k, n) times transformed `factor` (2, n), point by point."""
        out = np.empty_like(rows)
        for index, field in enumerate(self.fields):
            _products(rows[index], factor[index], out[index], float(field.p))
        return out

    def multiply(self, rows: Residues, factor: Residues) -> Residues:
        """`rows` (2, k, n), transformed, times `factor` (2, n), not transformed: their product in R_q."""
        return self.inverse(self.products(rows, self.forward(factor)))

    def add(self, x: Residues, y: Residues) -> Residues:
        """x + y, centred, written to x; both (2, ...) contiguous, of one shape. Returns x."""
        for index, p in enumerate(PRIMES):
            _add(x[index].reshape(-1), y[index].reshape(-1), float(p))
        return x

    def scale_up(self, message: NDArray[np.uint64]) -> Residues:
        """round(q*m/t) for m (..., n) mod t: the encoding of a plaintext, (2, ..., n).

        q*m + t/2 = t*y + r with r < t, so y = (t/2 - r)/t mod each prime, where q vanishes.
        """
        flat = np.ascontiguousarray(message).reshape(-1)
        out = np.empty((2, flat.size))
        q_low = np.uint64(PRIMES[0] * PRIMES[1] % (1 << 64))
        for index, p in enumerate(PRIMES):
            _scale_up(flat, out[index], q_low, _centred(pow(1 << T_BITS, -1, p), p), float(p))
        return out.reshape(2, *message.shape)

    def scale_down(self, x: Residues) -> NDArray[np.uint64]:
        """floor(t*x/q) mod t for x (2, ..., n), as uint64 (..., n), up to an error of 2^-12 before the floor.

        x/q = y0/p0 + y1/p1 mod 1 with y_i = x/p_(1-i) mod p_i; y_i/p_i in units of 2^-64 is y_i*2^19 plus
        y_i*(2^64/p_i - 2^19), a number below 2^45 that float64 gives to 2^-8. Two units of each prime are lost at
        the most: 4 * 2^-64 of q, 2^-12 of q/t.
        """
        flat = np.ascontiguousarray(x).reshape(2, -1)
        out = np.empty(flat.shape[1], dtype=np.uint64)
        scale_down(flat[0], flat[1], out, self.constants)
        return out.reshape(x.shape[1:])


@lru_cache(maxsize=4)
def ring_of(n: int) -> Ring:
    """The ring of dimension n, its tables made once."""
    return Ring(n)


def small(polynomials: NDArray[np.float64]) -> Residues:
    """Polynomials with coefficients far below the primes, (..., n), as residues (2, ..., n)."""
    return np.stack([polynomials, polynomials])

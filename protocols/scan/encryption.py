"""BFV encryption with R lanes under one public key (Fan, Vercauteren 2012; shared randomness: Peikert, Vaikuntanathan,
Waters 2008): c1 = a*u + e', c0_r = b_r*u + e_r + round(q*m_r/t), for the key b_r = -(a*s_r + e_r').

A ciphertext of R lanes is (2, R+1, n): c1 first, then c0_1..c0_R.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from protocols.scan.parameters import PRIMES, PROTOCOL_VERSION, RESIDUE_BITS, Parameters
from protocols.scan.ring import Constants, Residues, Tables, multiply_one, reduce, ring_of
from protocols.scan.sampling import Stream, binomial, ternary
from protocols.scan.transforms import forward

_SPARE = 64


def common_polynomial(parameters: Parameters, epoch: int, manifest: bytes) -> Residues:
    """The public a, (2, n), that nobody chose: SHAKE-128 output, 8 bytes a word, low 45 bits, rejected if >= p."""
    out = np.empty((2, parameters.n))
    for index, p in enumerate(PRIMES):
        context = f"{PROTOCOL_VERSION} a {parameters.name} {epoch} {index} ".encode() + manifest
        words = np.frombuffer(hashlib.shake_128(context).digest(8 * (parameters.n + _SPARE)), dtype="<u8")
        values = (words & np.uint64((1 << RESIDUE_BITS) - 1)).astype(np.int64)
        values = values[values < p][: parameters.n]
        out[index] = np.where(values > p // 2, values - p, values)
    return out


@dataclass(frozen=True, slots=True, repr=False)
class Randomness:
    """What one encryption of zero was made from: u (n,), e' and e_r (R+1, n), small integers."""

    u: NDArray[np.int8]
    errors: NDArray[np.int8]


@njit(
    types.void(
        types.uint64[:, ::1],
        types.float64[:, :, ::1],
        types.float64[:, :, ::1],
        types.int8[::1],
        types.int8[:, ::1],
        Tables,
        Tables,
        Constants,
    ),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _encrypt_zero(
    words: Any, key: Any, out: Any, u: Any, errors: Any, forwards: Any, inverses: Any, constants: Any
) -> None:
    """words: (parts+1, n), for u and every part's error. key: (2, R+1, n), transformed. out: (2, parts, n)."""
    n, primes = key.shape[2], constants[2]
    roots, ratios, tail, tail_ratios = forwards
    factor, ratio, error, x = np.empty((2, n)), np.empty((2, n)), np.empty(n), np.empty((1, n))
    ternary(words[0], error)
    for j in range(n):
        u[j] = np.int8(error[j])
    for i in range(2):
        factor[i] = error
        forward(factor[i : i + 1], roots[i], ratios[i], tail[i], tail_ratios[i], primes[i])
        for j in range(n):
            ratio[i, j] = factor[i, j] / primes[i]
    for part in range(out.shape[1]):
        binomial(words[part + 1], error)
        for j in range(n):
            errors[part, j] = np.int8(error[j])
        for i in range(2):
            p = primes[i]
            p_inverse = 1.0 / p
            multiply_one(key[i, part], factor, ratio, x, i, inverses, p)
            for j in range(n):
                out[i, part, j] = reduce(x[0, j] + error[j], p, p_inverse)


class PublicKey:
    """(a, b_1..b_R), kept transformed."""

    def __init__(self, a: Residues, b: Residues) -> None:
        """a: (2, n). b: (2, R, n). Both centred, not transformed."""
        self._ring = ring_of(a.shape[-1])
        self._key = self._ring.forward(np.concatenate([a[:, None], b], axis=1))

    def encrypt_zero(self, out: Residues, stream: Stream) -> Randomness:
        """A fresh encryption of zero in the first lanes, written to out (2, lanes+1, n); its randomness.

        u is drawn ternary, then the errors binomial.
        """
        ring, parts = self._ring, out.shape[1]
        random = Randomness(np.empty(ring.n, np.int8), np.empty((parts, ring.n), np.int8))
        tables = ring.forward_tables, ring.inverse_tables, ring.constants
        _encrypt_zero(stream.words(parts + 1, ring.n), self._key, out, random.u, random.errors, *tables)
        return random

    def transposed(self, rho: Residues) -> Residues:
        """h (2, n) with <rho, (a*u, b_1*u, ..)> = <h, u> for every u; rho: (2, parts, n), the halves that it weighs.

        <f, g> is the constant coefficient of f(X)*g(1/X), so h = sum rho(X)*a(1/X).
        """
        transformed = self._ring.forward(rho)
        total = np.zeros((2, 1, self._ring.n))
        for part in range(rho.shape[1]):
            row = np.ascontiguousarray(transformed[:, part : part + 1])
            self._ring.add(total, self._ring.products(row, self._turned[:, part]))
        return self._ring.inverse(total)[:, 0]

    @cached_property
    def _turned(self) -> Residues:
        """The key's polynomials at 1/X = -X^(n-1), transformed."""
        key = self._ring.inverse(self._key.copy())
        turned = np.concatenate([key[..., :1], -key[..., :0:-1]], axis=-1)
        return self._ring.forward(turned)

    def encrypt(self, message: NDArray[np.uint64], stream: Stream) -> Residues:
        """An encryption of message (lanes, n) mod t, (2, lanes+1, n)."""
        ciphertext = np.empty((2, len(message) + 1, self._ring.n))
        self.encrypt_zero(ciphertext, stream)
        scaled = np.zeros_like(ciphertext)
        scaled[:, 1:] = self._ring.scale_up(message)
        return self._ring.add(ciphertext, scaled)

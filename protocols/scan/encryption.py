"""BFV encryption with R lanes under one public key (Fan, Vercauteren 2012; shared randomness: Peikert, Vaikuntanathan,
Waters 2008): c1 = a*u + e', c0_r = b_r*u + e_r + round(q*m_r/t), for the key b_r = -(a*s_r + e_r').

A ciphertext of R lanes is (2, R+1, n): c1 first, then c0_1..c0_R.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from protocols.scan.parameters import PRIMES, PROTOCOL_VERSION, RESIDUE_BITS, Parameters
from protocols.scan.ring import Residues, ring_of, small
from protocols.scan.sampling import Stream

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
    """What one encryption of zero was made from: u (n,), e' and e_r (R+1, n), small integers in float64."""

    u: NDArray[np.float64]
    errors: NDArray[np.float64]


class PublicKey:
    """(a, b_1..b_R), kept transformed."""

    def __init__(self, a: Residues, b: Residues) -> None:
        """a: (2, n). b: (2, R, n). Both centred, not transformed."""
        self._ring = ring_of(a.shape[-1])
        self._key = self._ring.forward(np.concatenate([a[:, None], b], axis=1))

    def encrypt_zero(self, lanes: int, stream: Stream) -> tuple[Residues, Randomness]:
        """A fresh encryption of zero in the first `lanes` lanes, (2, lanes+1, n), and its randomness."""
        n = self._ring.n
        randomness = Randomness(stream.ternary(n), stream.binomial(lanes + 1, n))
        ciphertext = self._ring.multiply(self._key[:, : lanes + 1], small(randomness.u))
        return self._ring.add(ciphertext, small(randomness.errors)), randomness

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
        ciphertext, _ = self.encrypt_zero(len(message), stream)
        scaled = np.zeros_like(ciphertext)
        scaled[:, 1:] = self._ring.scale_up(message)
        return self._ring.add(ciphertext, scaled)

"""BFV encryption with R lanes under one public key (Fan, Vercauteren 2012; shared randomness: Peikert, Vaikuntanathan,
Waters 2008): c1 = a*u + e', c0_r = b_r*u + e_r + round(q*m_r/t), for the key b_r = -(a*s_r + e_r').

A ciphertext of R lanes is (2, R+1, n): c1 first, then c0_1..c0_R.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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

    def encrypt(self, message: NDArray[np.uint64], stream: Stream) -> Residues:
        """An encryption of message (lanes, n) mod t, (2, lanes+1, n)."""
        ciphertext, _ = self.encrypt_zero(len(message), stream)
        scaled = np.zeros_like(ciphertext)
        scaled[:, 1:] = self._ring.scale_up(message)
        return self._ring.add(ciphertext, scaled)

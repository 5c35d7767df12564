"""Randomness: AES-256-CTR streams, and the distributions that the protocol draws from them.

Seeds come from the operating system (`fresh_seed`). A stream given by its seed is what two roles, or a test vector,
draw alike; every draw below takes words from the stream in order and says how many.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from protocols.base import ProtocolError
from protocols.scan.parameters import ETA, PRIMES, RESIDUE_BITS

SEED_BYTES = 32
_ZEROS = memoryview(bytes((1 << 19) + 512))  # what keystream is added to; fits the cache, and a mu of 8 lanes fits it
_SPARE = 32  # words drawn beyond need; more rejections than that have probability below 2^-700


def fresh_seed() -> bytes:
    """32 bytes from the operating system."""
    return secrets.token_bytes(SEED_BYTES)


def derive(seed: bytes, label: str, *context: bytes) -> bytes:
    """A seed for one purpose from another: SHA-256 over the length-prefixed label, seed and context."""
    digest = hashes.Hash(hashes.SHA256())
    for part in (b"hushmatch-scan-derive", label.encode(), seed, *context):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.finalize()


class Stream:
    """AES-256-CTR keystream of a 32-byte seed from counter 0: a seed must serve one purpose only."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._encryptor = Cipher(algorithms.AES(seed or fresh_seed()), modes.CTR(bytes(16))).encryptor()

    def __repr__(self) -> str:
        return "<Stream>"

    def words(self, *shape: int) -> NDArray[np.uint64]:
        """The next words of the stream, uint64 of the given shape, little-endian."""
        return self.fill(np.empty(shape, dtype="<u8"))

    def fill(self, out: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The next words of the stream, written to `out`, contiguous; returns it."""
        flat = memoryview(out.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        for start in range(0, len(flat), len(_ZEROS)):
            piece = flat[start : start + len(_ZEROS)]
            self._encryptor.update_into(_ZEROS[: len(piece)], piece)
        return out

    def uniform(self, *shape: int) -> NDArray[np.float64]:
        """Uniform in R_q: (2, *shape) centred residues. Per prime: size + 32 words; low 45 bits, rejected if >= p."""
        out = np.empty((2, *shape))
        words = self.words(2, out[0].size + _SPARE)
        for index, p in enumerate(PRIMES):
            flat = out[index].reshape(-1)
            if not _uniform(words[index], flat, p):
                raise ProtocolError("the random generator failed: too many words above the prime")
        return out

    def ternary(self, *shape: int) -> NDArray[np.float64]:
        """Uniform in {-1, 0, 1} up to 2^-62 a coefficient: one word mod 3 each."""
        out = np.empty(shape)
        ternary(self.words(out.size), out.reshape(-1))
        return out

    def binomial(self, *shape: int) -> NDArray[np.float64]:
        """Centred binomial, eta = 21: one word each, bits 0..20 counted minus bits 21..41."""
        out = np.empty(shape)
        binomial(self.words(out.size), out.reshape(-1))
        return out


@intrinsic
def _population_count(typing_context: Any, word: Any) -> Any:
    signature = types.uint64(types.uint64)

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return signature, generate


@njit("void(u8[::1], f8[::1])", cache=True, nogil=True)
def binomial(words: Any, out: Any) -> None:
    """`Stream.binomial` of given words."""
    mask = np.uint64((1 << ETA) - 1)
    for i in range(len(out)):
        ones = np.int64(_population_count(words[i] & mask))
        out[i] = np.float64(ones - np.int64(_population_count((words[i] >> np.uint64(ETA)) & mask)))


@njit("void(u8[::1], f8[::1])", cache=True, nogil=True)
def ternary(words: Any, out: Any) -> None:
    """`Stream.ternary` of given words."""
    low, few = np.uint64((1 << 32) - 1), np.uint64((1 << 8) - 1)
    for i in range(len(out)):  # powers of 4 are 1 mod 3, so digits to such a base may be added up
        total = (words[i] & low) + (words[i] >> np.uint64(32))
        total = (total & few) + (total >> np.uint64(8) & few) + (total >> np.uint64(16))
        value = np.float64(np.int64(total))
        out[i] = value - 3.0 * np.floor((value + 0.5) / 3.0) - 1.0


@njit("b1(u8[::1], f8[::1], i8)", cache=True, nogil=True)
def _uniform(words: Any, out: Any, p: int) -> bool:
    mask = np.uint64((1 << RESIDUE_BITS) - 1)
    half = p >> 1
    rejected = np.int64(0)
    for i in range(len(out)):
        value = np.int64(words[i] & mask)
        rejected |= p - 1 - value
        out[i] = np.float64(value - (p & ((half - value) >> 63)))
    if rejected >= 0:
        return True
    taken = 0
    for i in range(len(words)):  # rare: a word was rejected, so all that follow move up
        value = np.int64(words[i] & mask)
        if value < p and taken < len(out):
            out[taken] = np.float64(value - (p & ((half - value) >> 63)))
            taken += 1
    return taken == len(out)

"""Fingerprints, Hamming distance, and the rule for what counts as a match.

A fingerprint's bits travel as packed bytes, most significant bit first, in the order of the algorithm's hex
notation; for PDQ that is the hex of ThreatExchange and pdqhash. Batches are uint8 arrays (N, bits/8).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

PackedHashes = NDArray[np.uint8]


class HashingError(Exception):
    """Root of what this package raises on purpose: media or fingerprints that it cannot take."""


class FingerprintError(HashingError, ValueError):
    """A fingerprint's fields are wrong; says which and what was expected."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What counts as a match: same algorithm, distance <= threshold, both qualities >= min_quality."""

    bits: int
    threshold: int
    min_quality: int = 0


# PDQ: ThreatExchange's recommended confidence threshold and quality (PDQ-TMK whitepaper, 2019).
# The 64-bit hashes: the largest threshold at which a random hash matches an entry with probability < 2^-40.
RULES: dict[str, Rule] = {
    "pdq": Rule(bits=256, threshold=31, min_quality=50),
    "phash": Rule(bits=64, threshold=5),
    "dhash": Rule(bits=64, threshold=5),
    "ahash": Rule(bits=64, threshold=5),
    "whash": Rule(bits=64, threshold=5),
}


def rule_for(algorithm: str) -> Rule:
    """The match rule of `algorithm`. Raises FingerprintError."""
    try:
        return RULES[algorithm]
    except (KeyError, TypeError):
        raise FingerprintError(f"algorithm is {algorithm!r}; expected one of {', '.join(RULES)}") from None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A perceptual hash. data: bits/8 packed bytes. quality: 0..100, how much the image gives to go by.

    margins: how far each bit was from being the other, floating-point (bits,), where the algorithm says so (PDQ does):
    bits of a small size are the first to flip in a copy. Not written to lists, and not compared.
    `repr` shows neither the bits nor anything computed from them. Raises FingerprintError.
    """

    algorithm: str
    data: bytes = field(repr=False)
    quality: int = 100
    margins: NDArray[np.floating] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        size = rule_for(self.algorithm).bits // 8
        if not isinstance(self.data, bytes) or len(self.data) != size:
            got = f"{len(self.data)} bytes" if isinstance(self.data, bytes) else type(self.data).__name__
            raise FingerprintError(f"data is {got}; {self.algorithm} has {size} bytes")
        if isinstance(self.quality, bool) or not isinstance(self.quality, int) or not 0 <= self.quality <= 100:
            raise FingerprintError(f"quality is {self.quality!r}; expected a whole number from 0 to 100")
        if self.margins is not None and self.margins.shape != (8 * size,):
            raise FingerprintError(f"margins has shape {self.margins.shape}; {self.algorithm} has {8 * size} bits")

    @classmethod
    def from_hex(cls, text: str, algorithm: str = "pdq", quality: int = 100) -> Fingerprint:
        """From hex in either case, as ThreatExchange writes it. Raises FingerprintError."""
        size = rule_for(algorithm).bits // 8
        if not isinstance(text, str) or len(text) != 2 * size or not set(text) <= set("0123456789abcdefABCDEF"):
            raise FingerprintError(f"hex is not {2 * size} hexadecimal digits, which {algorithm} has")
        return cls(algorithm, bytes.fromhex(text), quality)

    @classmethod
    def from_bits(cls, bits: NDArray, algorithm: str = "pdq", quality: int = 100) -> Fingerprint:
        """From an array of 0s and 1s, most significant first. Raises FingerprintError."""
        values = np.asarray(bits).ravel()
        if len(values) != rule_for(algorithm).bits or not np.isin(values, (0, 1)).all():
            raise FingerprintError(f"bits is not {rule_for(algorithm).bits} zeros and ones, which {algorithm} has")
        return cls(algorithm, np.packbits(values.astype(np.uint8)).tobytes(), quality)

    @property
    def hex(self) -> str:
        """The bits in lower-case hex."""
        return self.data.hex()

    @property
    def bits(self) -> NDArray[np.uint8]:
        """The bits, (rule.bits,) uint8 of 0s and 1s, most significant first."""
        return np.unpackbits(np.frombuffer(self.data, dtype=np.uint8))

    @property
    def usable(self) -> bool:
        """Whether the quality is enough for the rule."""
        return self.quality >= rule_for(self.algorithm).min_quality

    def distance(self, other: Fingerprint) -> int:
        """Hamming distance. Raises FingerprintError if the algorithms differ."""
        if self.algorithm != other.algorithm:
            raise FingerprintError(f"a {self.algorithm} cannot be compared with a {other.algorithm}")
        return (int.from_bytes(self.data) ^ int.from_bytes(other.data)).bit_count()

    def matches(self, other: Fingerprint) -> bool:
        """Whether the rule counts the two as a match. Raises FingerprintError if the algorithms differ."""
        return self.distance(other) <= rule_for(self.algorithm).threshold and self.usable and other.usable


def pack(fingerprints: Iterable[Fingerprint]) -> PackedHashes:
    """One packed row a fingerprint, (N, bits/8) uint8. Raises FingerprintError if none, or of several algorithms."""
    rows = list(fingerprints) if isinstance(fingerprints, Iterable) else [fingerprints]
    if others := {type(row).__name__ for row in rows if not isinstance(row, Fingerprint)}:
        raise FingerprintError(f"fingerprints holds {', '.join(sorted(others))}; expected Fingerprint objects only")
    if len({row.algorithm for row in rows}) != 1:
        raise FingerprintError("expected at least one fingerprint, and all of one algorithm")
    return np.frombuffer(b"".join(row.data for row in rows), dtype=np.uint8).reshape(len(rows), -1)


def pack_margins(fingerprints: Iterable[Fingerprint]) -> NDArray[np.float32] | None:
    """How reliable each bit is, (N, bits) float32, or None unless every fingerprint knows."""
    margins = [fingerprint.margins for fingerprint in fingerprints]
    known = [each for each in margins if each is not None]
    return np.stack(known).astype(np.float32) if known and len(known) == len(margins) else None


def hamming(queries: PackedHashes, entries: PackedHashes) -> NDArray[np.uint16]:
    """All distances between packed hashes: (Q, B) and (N, B) uint8 give (Q, N) uint16.

    Takes Q * N * (B + 2) bytes at the most; feed large sets in pieces. Raises FingerprintError.
    """
    left, right = _words(queries, "queries"), _words(entries, "entries")
    if left.shape[1] != right.shape[1]:
        raise FingerprintError(f"queries are {left.shape[1] * 8} bytes a row, entries {right.shape[1] * 8}")
    distances = np.zeros((len(left), len(right)), dtype=np.uint16)
    for column in range(left.shape[1]):
        distances += np.bitwise_count(left[:, None, column] ^ right[None, :, column])
    return distances


def _words(hashes: PackedHashes, name: str) -> NDArray[np.uint64]:
    if not isinstance(hashes, np.ndarray) or hashes.dtype != np.uint8 or hashes.ndim != 2 or hashes.shape[1] % 8:
        raise FingerprintError(f"{name} is not a uint8 array of shape (rows, a multiple of 8)")
    return np.ascontiguousarray(hashes).view(np.uint64)

"""Parameters of the encrypted scan: one frozen, validated dataclass with named sets.

Security: a public key and R ciphertext halves under one `u` are R + 1 ring-LWE samples with a ternary secret,
errors centred binomial (eta = 21, standard deviation 3.24), dimension n and log2 q = 90. The Homomorphic
Encryption Standard (Albrecht et al. 2018, table 1, ternary secret) allows log2 q <= 109 at n = 4096 for 128-bit
classical security, and table 2 allows 101 for 128-bit quantum security.

A plaintext coefficient, an integer mod t = 2^50, carries 5 entries in fields of 10 bits: a guard bit below, 9 bits of
aligned distance above. Alignment adds 2^kappa - 1 - T, so that "distance <= T" reads "value < 2^kappa", with kappa =
bit_length(T); a tombstone adds T + 1. The largest value, bits + 2^kappa, must fit 9 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb, log2

from protocols.base import ConfigurationError, UnsafeThreshold

PROTOCOL_VERSION = "hushmatch-scan-3"

T_BITS = 50  # plaintext modulus t = 2^T_BITS
FIELDS = 5  # entries a coefficient
WIDTH = 10  # bits a field, guard bit included
ETA = 21  # centred binomial: difference of two sums of ETA bits
RESIDUE_BITS = 45
PRIMES = (35184371884033, 35184371703809)  # the two largest primes below 2^45 that are 1 mod 8192
RANDOM_MATCH_LOG2 = -41.0  # a random query may match an entry with at most this probability

SETS = {"N4096": 4096, "INSECURE_TINY": 256}


@dataclass(frozen=True)
class Parameters:
    """One set. name: a key of the named sets. lanes: R, ciphertexts that share their first half.

    Raises ConfigurationError; UnsafeThreshold if random queries would match too often and
    `allow_unsafe_threshold` (research only) is not given.
    """

    name: str = "N4096"
    lanes: int = 8
    bits: int = 256
    threshold: int = 31
    allow_unsafe_threshold: bool = False

    def __post_init__(self) -> None:
        if self.name not in SETS:
            raise ConfigurationError(f"parameter set is {self.name!r}; expected one of {', '.join(SETS)}")
        if not 1 <= self.lanes <= 16:
            raise ConfigurationError(f"lanes is {self.lanes}; expected 1 to 16")
        if self.bits not in (64, 256):
            raise ConfigurationError(f"bits is {self.bits}; expected 64 or 256")
        if not 0 <= self.threshold <= self.bits or self.bits + (1 << self.kappa) > (1 << (WIDTH - 1)) - 1:
            raise ConfigurationError(
                f"threshold is {self.threshold}; distances of {self.bits} bits leave room in a field up to"
                f" {largest_threshold(self.bits)}"
            )
        if self.bits * (max(PRIMES) // 2 + 1) >= 1 << 53:
            raise ConfigurationError("a signed sum of all planes does not fit a float64 exactly")
        if not self.allow_unsafe_threshold and self.random_match_log2 > RANDOM_MATCH_LOG2:
            raise UnsafeThreshold(
                f"at threshold {self.threshold} a random {self.bits}-bit query matches an entry with probability"
                f" 2^{self.random_match_log2:.1f}, so that queries read the bank; the largest safe threshold is"
                f" {largest_safe_threshold(self.bits)} (allow_unsafe_threshold=True lifts this, for research only)"
            )

    @property
    def insecure(self) -> bool:
        """Whether the set is for tests only."""
        return self.name.startswith("INSECURE")

    @property
    def n(self) -> int:
        """Ring dimension."""
        return SETS[self.name]

    @property
    def q(self) -> int:
        """Ciphertext modulus."""
        return PRIMES[0] * PRIMES[1]

    @property
    def kappa(self) -> int:
        """ "distance <= T" reads "aligned value < 2^kappa"."""
        return self.threshold.bit_length()

    @property
    def alignment(self) -> int:
        """What is added to a distance."""
        return (1 << self.kappa) - 1 - self.threshold

    @property
    def slots_per_lane(self) -> int:
        """Entries in one ciphertext."""
        return self.n * FIELDS

    @cached_property
    def random_match_log2(self) -> float:
        """log2 of the probability that a uniform query matches a given entry."""
        return log2(sum(comb(self.bits, d) for d in range(self.threshold + 1))) - self.bits

    def noise_bound(self, u: int = 1, error: int = ETA, encryptors: int = 3) -> int:
        """Largest |noise| of a scan result, in units of q/q: worst case, no probability.

        Planes: `encryptors` ciphertexts with noise |e_pk*u - s*e' + e''| and one rounding each, summed with signs
        over all bits; the fresh encryption of zero, whose randomness may be bounded otherwise (`u`, `error`); three
        roundings of constants; tombstones; the key is a sum of three ternary secrets.
        """
        key, key_error = 3, 3 * ETA
        plane = encryptors * (self.n * key_error + self.n * key * ETA + ETA + 1)
        zero = self.n * key_error * u + self.n * key * error + error
        return self.bits * plane + zero + self.bits + 3


def largest_threshold(bits: int) -> int:
    """The largest threshold that a field has room for."""
    kappa = ((1 << (WIDTH - 1)) - 1 - bits).bit_length() - 1
    return min(bits, (1 << kappa) - 1)


def largest_safe_threshold(bits: int) -> int:
    """The largest threshold at which a random query matches with probability at most 2^-41."""
    return max(t for t in range(bits) if log2(sum(comb(bits, d) for d in range(t + 1))) - bits <= RANDOM_MATCH_LOG2)

"""What everybody must agree on, and why the numbers are what they are (docs/blind.md has the measurements).

k = 64 positions a band: an unrelated query of T tokens shares one with some of N entries by accident about
N * T / 2^k times, and whoever shares a token with an entry opens it. A platform that asks 10^8 queries a day of a
bank of 10^6 entries opens, at T = 128, 95 % of it within a day if k = 32, and its first one after years if k = 64.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.base import ConfigurationError
from protocols.blind.oprf import MAX_BATCH, Mode

MEMBERS = 3
QUORUM = 2  # members that must answer; one alone learns and can compute nothing
SAFE_BAND_BITS = 64
MAX_WINDOW = 1_000_000_000  # seconds: some 30 years
MAX_THRESHOLD = 40  # one copy in twenty at that distance shares a token, and nearly none beyond: see docs/blind.md


@dataclass(frozen=True, slots=True)
class Parameters:
    """Validated; raises ConfigurationError.

    bits, threshold: of the hash and of the rule. k: positions a band. bands: size L of the public family of bands.
    entry_tokens, query_tokens: tokens that are made of each fingerprint at enrolment, and evaluated a query; always
    exactly so many, so that the count says nothing. proofs: VOPRF with checked members, else OPRF.
    budget: OPRF evaluations a requester may have from the committee in `window` seconds.
    allow_unsafe_k: take a k below 64. Research only: such a bank can be harvested.
    """

    bits: int = 256
    threshold: int = 31
    k: int = SAFE_BAND_BITS
    bands: int = 1024
    entry_tokens: int = 128
    query_tokens: int = 128
    proofs: bool = True
    budget: int = 1 << 24
    window: float = 86_400.0
    allow_unsafe_k: bool = False

    def __post_init__(self) -> None:
        self._whole("bits", 256, 256)
        self._whole("threshold", 0, MAX_THRESHOLD)
        self._whole("k", 8, self.bits)
        self._whole("bands", 1, 1 << 16)
        self._whole("entry_tokens", 1, min(self.bands, MAX_BATCH - 1))  # a proof's check is one element more
        self._whole("query_tokens", 1, min(self.bands, MAX_BATCH - 1))
        self._whole("budget", 1, 1 << 40)  # a static Diffie-Hellman key should not answer more in its whole life
        for name in ("proofs", "allow_unsafe_k"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; expected True or False")
        if self.k < SAFE_BAND_BITS and not self.allow_unsafe_k:
            raise ConfigurationError(
                f"k is {self.k}; below {SAFE_BAND_BITS} positions a band, unrelated queries open entries by accident. "
                "allow_unsafe_k=True takes it, for research"
            )
        number = isinstance(self.window, (int, float)) and not isinstance(self.window, bool)
        if not number or not 1 <= self.window <= MAX_WINDOW:
            raise ConfigurationError(f"window is {self.window!r}; expected seconds from 1 to {MAX_WINDOW}")
        needed = max(self.entry_tokens, self.query_tokens) + self.proofs
        if self.answers < needed:
            raise ConfigurationError(
                f"budget is {self.budget}: a member would give {self.answers} answers a window, and one fingerprint "
                f"needs {needed}; expected {-(-needed * MEMBERS // QUORUM)} or more"
            )

    @property
    def mode(self) -> Mode:
        """The RFC's mode."""
        return Mode.VOPRF if self.proofs else Mode.OPRF

    @property
    def domain(self) -> bytes:
        """What the bands are drawn from and every OPRF input starts with: other parameters, other tokens."""
        return f"hushmatch/blind/1/{self.bits}/{self.k}/{self.bands}/".encode()

    @property
    def answers(self) -> int:
        """What each member gives a requester a window: however it splits them, they make `budget` evaluations."""
        return self.budget * QUORUM // MEMBERS

    @property
    def rows_per_request(self) -> int:
        """Fingerprints whose tokens go into one request: few, so that requests spread over threads and fit a window."""
        return max(1, min(1024, self.answers - self.proofs) // max(self.entry_tokens, self.query_tokens))

    def _whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigurationError(f"{name} is {value!r}; expected a whole number from {low} to {high}")

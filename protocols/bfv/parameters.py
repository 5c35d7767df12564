"""Parameters: ring degree n, plaintext modulus t, and the bound that makes additions exact.

Fresh noise under the public key is e*u + e1 + e2*s with ternary u, s and |e| <= 21 (SEAL's centred binomial), at
the most 21 * (2n + 1) a coefficient, and rounding q*m/t adds 1/2. A result is a signed sum of `bits` bank ciphertexts,
each of them a sum of at most n clients', and one fresh zero. Decryption is right while its noise stays below q / 2t.

Source: BFV as in SEAL 4; the homomorphic encryption standard (2018) allows log q = 54 at n = 2048 for 128 bits.
NOT protected: see `protocols.bfv`.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.base import ConfigurationError

_ERROR_BOUND = 21


@dataclass(frozen=True, slots=True)
class Parameters:
    """n: ring degree, also slots a ciphertext. t: plaintext modulus. log_q: bits of SEAL's modulus at 128-bit security.

    Raises ConfigurationError where t gives no slots.
    """

    name: str
    n: int
    t: int
    log_q: int

    def __post_init__(self) -> None:
        if self.t % (2 * self.n) != 1:
            raise ConfigurationError(f"{self.name}: t is {self.t}; slots need t = 1 mod {2 * self.n}")

    def check(self, bits: int) -> None:
        """Raises ConfigurationError unless distances of `bits`-bit hashes never wrap and always decrypt."""
        fresh = _ERROR_BOUND * (2 * self.n + 1) + 0.5
        if bits >= self.t:
            raise ConfigurationError(f"{self.name}: distances up to {bits} wrap modulo {self.t}")
        if (bits * self.n + 2) * fresh >= 2 ** (self.log_q - 1) / (2 * self.t):
            raise ConfigurationError(f"{self.name}: noise could spoil distances of {bits}-bit hashes")


STANDARD = Parameters("STANDARD", n=2048, t=12289, log_q=54)

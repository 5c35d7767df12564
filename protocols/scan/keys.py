"""The committee's key: made by three members together, used by any two, held by nobody.

Each member i draws ternary s_r^(i), publishes b_r^(i) = -(a*s_r^(i) + e_r^(i)) after all have committed to theirs, and
deals Shamir shares of s_r^(i), 2 of 3, mod p0 and mod p1 with independent coefficients (Shamir 1979). Member j's key
share is the sum of what it was dealt: sigma_j = s + r*j. A pair (A, B) decrypts with the Lagrange coefficients
lambda_A = B/(B-A), lambda_B = A/(A-B).

Decryption goes into shares: B returns lambda_B*sigma_B*c1 + mu with mu uniform in R_q, and keeps floor(t*mu/q); A adds
c0, its own part and floor(q/2t) and takes floor(t*x'/q). The two differ by M or M + 1 mod t (docs/scan.md): A sees a
one-time pad, whatever ciphertext it was given, so nothing of key or noise.

NOT protected: two members together hold the key. A member that deviates from the protocol is out of scope.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocols.base import MessageError
from protocols.ledger import as_array
from protocols.scan.decryption import mask_row, unmask
from protocols.scan.encryption import PublicKey
from protocols.scan.packing import Words, pack, unpack
from protocols.scan.parameters import PRIMES, RESIDUE_BITS, T_BITS, Parameters
from protocols.scan.ring import Residues, ring_of, small
from protocols.scan.sampling import Stream

MEMBERS = (1, 2, 3)


def read_residues(data: memoryview | bytes, shape: tuple[int, ...], n: int, field: str) -> Residues:
    """Packed residues from another role, (2, *shape, n) centred. Raises MessageError for lengths and ranges."""
    words = as_array(data, np.uint64, (2, *shape, RESIDUE_BITS, n // 64), field)
    return unpack(words, field)


def lagrange(member: int, other: int) -> list[int]:
    """The coefficient of `member` when it decrypts with `other`, mod each prime."""
    return [other * pow(other - member, -1, p) % p for p in PRIMES]


class KeyDealing:
    """One member's part in making the key: its secret, until it has been dealt."""

    def __init__(self, parameters: Parameters, a: Residues, stream: Stream) -> None:
        ring = ring_of(parameters.n)
        secret = small(stream.ternary(parameters.lanes, parameters.n))
        error = small(stream.binomial(parameters.lanes, parameters.n))
        self.b = -ring.add(ring.multiply(ring.forward(secret), a), error)
        slope = stream.uniform(parameters.lanes, parameters.n)
        self._shares = {}
        share = secret
        for member in MEMBERS:
            share = ring.add(share.copy(), slope)
            self._shares[member] = share

    def __repr__(self) -> str:
        return "<KeyDealing>"

    def share(self, member: int) -> Residues:
        """What `member` is dealt, (2, R, n)."""
        return self._shares[member]


class KeyShare:
    """A member's share of the key, and decryption with it. Transformed, one a partner, lambda multiplied in."""

    def __init__(self, member: int, share: Residues) -> None:
        """share: (2, R, n), the sum of what every member dealt."""
        self._ring = ring_of(share.shape[-1])
        self._share = share
        transformed = self._ring.forward(share)
        self._keys = {}
        for other in MEMBERS:
            if other != member:
                factor = np.array(
                    [c - p if c > p // 2 else c for c, p in zip(lagrange(member, other), PRIMES, strict=True)]
                )
                repeated = np.repeat(factor.astype(np.float64), self._ring.n).reshape(2, self._ring.n)
                self._keys[other] = self._ring.products(transformed, repeated)

    def __repr__(self) -> str:
        return "<KeyShare>"

    def secret_bytes(self) -> bytes:
        """The share packed, for `read_key_share`: a secret."""
        return pack(self._share).tobytes()

    def partial(self, other: int, c1: Residues, lanes: int) -> Residues:
        """lambda*sigma_r*c1 for c1 (2, n), (2, lanes, n), to decrypt with member `other`."""
        return self._ring.multiply(self._keys[other][:, :lanes], c1)

    def mask(self, other: int, c1: Residues, lanes: int, stream: Stream) -> tuple[Residues, NDArray[np.uint64]]:
        """As B: the partial plus a fresh mu, (2, lanes, n), and B's share floor(t*mu/q), (lanes, n) uint64."""
        mu = stream.uniform(lanes, self._ring.n)
        share = self._ring.scale_down(mu)
        return self._ring.add(self.partial(other, c1, lanes), mu), share

    def unmask(self, other: int, c1: Residues, c0: Residues, masked: Residues) -> NDArray[np.uint64]:
        """As A: its share floor(t*x'/q), (lanes, n) uint64.

        c0: (2, lanes, n), tombstones and floor(q/2t) already added. masked: what B sent.
        """
        x = self._ring.add(self.partial(other, c1, c0.shape[1]), masked)
        return self._ring.scale_down(self._ring.add(x, c0))

    def mask_batch(self, other: int, c1: Words, stream: Stream, masked: Words, planes: Words) -> None:
        """`mask` for a batch of packed c1 (batch, 2, 45, n/64), each with a mu of its own.

        masked: (batch, 2*lanes, 45, n/64), written: what B sends. planes: (WIDTH, batch, FIELDS, lanes*n/64), written:
        B's shares, bit-sliced. Raises MessageError for a residue that is not below its prime.
        """
        ring, keys = self._ring, self._keys[other]
        tables = ring.forward_tables, ring.inverse_tables, ring.constants
        for row in range(len(c1)):
            mu = stream.uniform(masked.shape[1] // 2, ring.n)
            if not mask_row(c1, keys, mu, row, masked, planes, *tables):
                raise MessageError("c1: a residue is not below its prime")

    def unmask_batch(self, other: int, c1: Words, c0: Words, masked: Words, added: Residues, planes: Words) -> None:
        """`unmask` for a batch, shapes as for `mask_batch`.

        c0: (batch, 2*lanes, 45, n/64). added: (2, lanes, n), to every c0. Raises MessageError for a residue that is not
        below its prime.
        """
        ring, keys = self._ring, self._keys[other]
        tables = ring.forward_tables, ring.inverse_tables, ring.constants
        if not unmask(c1, c0, masked, added, keys, planes, *tables):
            raise MessageError("results or partial decryption: a residue is not below its prime")


def read_key_share(member: int, packed: bytes, parameters: Parameters) -> KeyShare:
    """The share that `secret_bytes` gave. Raises MessageError."""
    return KeyShare(member, read_residues(packed, (parameters.lanes,), parameters.n, "key share"))


def half_unit(n: int, lanes: int) -> Residues:
    """floor(q/2t) in every coefficient, (2, lanes, n)."""
    half = (PRIMES[0] * PRIMES[1]) >> (T_BITS + 1)
    out = np.empty((2, lanes, n))
    for index, p in enumerate(PRIMES):
        value = half % p
        out[index] = value - p if value > p // 2 else value
    return out


def check_test_shares(a: NDArray[np.uint64], b: NDArray[np.uint64], plaintext: NDArray[np.uint64]) -> bool:
    """Whether two opened shares differ by the plaintext, or that plus 1, mod t everywhere."""
    excess = (a - b - plaintext) & np.uint64((1 << T_BITS) - 1)
    return bool((excess <= 1).all())


def test_ciphertexts(
    parameters: Parameters, a: Residues, parts: list[Residues], stream: Stream
) -> tuple[Residues, NDArray[np.uint64]]:
    """Encryptions (3, 2, R+1, n) of random plaintexts (3, R, n), one under each member's part of the key."""
    plaintexts = stream.words(len(parts), parameters.lanes, parameters.n) >> np.uint64(64 - T_BITS)
    ciphertexts = [PublicKey(a, b).encrypt(m, stream) for b, m in zip(parts, plaintexts, strict=True)]
    return np.stack(ciphertexts), plaintexts


def blame(failures: set[tuple[int, tuple[int, int]]]) -> str:
    """Who is at fault for failed test decryptions, given as (dealer, pair).

    A dealer whose part is inconsistent fails alone; a member that decrypts wrongly fails with every dealer's part.
    """
    dealers = {dealer for dealer, _ in failures}
    if len(dealers) == 1:
        return f"member-{dealers.pop()} dealt key shares that do not fit its part of the public key"
    common = set.intersection(*(set(pair) for _, pair in failures))
    if common:
        return f"member-{' or member-'.join(map(str, sorted(common)))} decrypts wrongly"
    raise MessageError("test decryptions fail for several dealers and pairs")

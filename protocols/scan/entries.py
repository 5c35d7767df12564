"""Entries: a fingerprint's bits in replicated shares, committed to and sealed; the check that they are bits.

Each bit b is x1 + x2 + x3 mod 2^64 (Ito, Saito, Nishizeki 1987; Araki et al. 2016): x1 and x2 are 32-byte seeds, x3
is spelled out; member i holds x_i and x_{i+1}. C_i = BLAKE3(label, entry, i, r_i, x_i), with r_i sealed beside the
share so that nobody can test guesses.

Well-formedness of a batch: v*(v-1) = 0 for every v = x1 + x2 + x3. For random rho the three sums
z_i = sum rho*(x_i^2 + 2*x_i*x_{i+1} - x_i) add up to sum rho*v*(v-1) mod 2^64. Planes depend on v mod 2^49, where a v
that is no bit has v*(v-1) divisible by 2^48 at the most, so a check passes with probability at most 2^-16; CHECKS of
them, 2^-80.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from protocols.base import IntegrityError, MessageError
from protocols.scan.enrolling_messages import SealedEntry
from protocols.scan.parameters import PROTOCOL_VERSION, T_BITS, Parameters
from protocols.scan.sampling import SEED_BYTES, Stream, derive, fresh_seed
from protocols.scan.sealing import DIGEST_BYTES, Verifier, digest, same

ENTRY_BYTES = 16
CHECKS = 5
SHARES = (1, 2, 3)
PLANE_BITS = T_BITS - 1  # bits of a share that reach a plane: one is lost to the guard bit


def held_by(member: int) -> tuple[int, int]:
    """The two shares that a member holds."""
    return member, member % 3 + 1


def shares_due(member: int, away: int) -> list[int]:
    """The shares whose planes a member encrypts."""
    return [share for share in SHARES if encryptor(share, away) == member]


def encryptor(share: int, away: int) -> int:
    """Who encrypts a share's planes: the member of that number, or its other holder if that one is away."""
    return share if share != away else next(m for m in SHARES if m != share and share in held_by(m))


def share_bytes(share: int, bits: int) -> int:
    """Length of a share as it travels."""
    return SEED_BYTES if share != 3 else 8 * bits


def expand(share: int, raw: bytes, bits: int) -> NDArray[np.uint64]:
    """A share's numbers, (bits,) uint64."""
    return np.frombuffer(raw, dtype="<u8") if share == 3 else Stream(raw).words(bits)


def _commitment(entry: bytes, share: int, opening: bytes, raw: bytes) -> bytes:
    return digest("share", entry, bytes([share]), opening, raw)


def _context(parameters: Parameters, epoch: int, entry: bytes, member: int, commitments: bytes) -> bytes:
    header = f"{PROTOCOL_VERSION} {parameters.name} {parameters.bits} {epoch} {member} ".encode()
    return header + entry + commitments


def seal_entry(bits: NDArray[np.uint8], parameters: Parameters, epoch: int, members: list[Verifier]) -> SealedEntry:
    """A fingerprint's bits (bits,) as a fresh entry for the three members."""
    seeds = fresh_seed(), fresh_seed()
    third = bits.astype(np.uint64) - expand(1, seeds[0], len(bits)) - expand(2, seeds[1], len(bits))
    entry = secrets.token_bytes(ENTRY_BYTES)
    raw = dict(zip(SHARES, (*seeds, third.tobytes()), strict=True))
    return seal_shares(raw, entry, parameters, epoch, members)


def seal_shares(
    raw: dict[int, bytes], entry: bytes, parameters: Parameters, epoch: int, members: list[Verifier]
) -> SealedEntry:
    """Given shares as an entry: commitments, and for each member its two, sealed."""
    opened = {share: fresh_seed() for share in SHARES}
    commitments = b"".join(_commitment(entry, share, opened[share], raw[share]) for share in SHARES)
    sealed = []
    for member, keys in zip(SHARES, members, strict=True):
        plain = b"".join(opened[share] + raw[share] for share in held_by(member))
        sealed.append(keys.seal(plain, _context(parameters, epoch, entry, member, commitments)))
    return SealedEntry(entry, commitments, sealed)


def check_lengths(entry: bytes, commitments: bytes) -> None:
    """Raises MessageError for an id or commitments of the wrong length."""
    if len(entry) != ENTRY_BYTES or len(commitments) != 3 * DIGEST_BYTES:
        raise MessageError(f"an entry has an id of {ENTRY_BYTES} bytes and {3 * DIGEST_BYTES} bytes of commitments")


def open_entry(
    identity: Any, sealed: bytes, entry: bytes, commitments: bytes, parameters: Parameters, epoch: int, member: int
) -> bytes:
    """The two shares x_i, x_{i+1} that were sealed to `member`, one after the other, checked against their commitments.

    `identity` opens sealed bytes. Raises IntegrityError or MessageError, without quoting a share.
    """
    check_lengths(entry, commitments)
    plain = identity.open(sealed, _context(parameters, epoch, entry, member, commitments))
    sizes = [share_bytes(share, parameters.bits) for share in held_by(member)]
    if len(plain) != sum(sizes) + 2 * DIGEST_BYTES:
        raise MessageError(f"entry {entry.hex()}: the shares have the wrong length")
    shares, start = [], 0
    for share, size in zip(held_by(member), sizes, strict=True):
        opening, raw = plain[start : start + DIGEST_BYTES], plain[start + DIGEST_BYTES : start + DIGEST_BYTES + size]
        expected = commitments[(share - 1) * DIGEST_BYTES : share * DIGEST_BYTES]
        if not same(_commitment(entry, share, opening, raw), expected):
            raise IntegrityError(f"entry {entry.hex()}: share {share} is not the one committed to")
        shares.append(raw)
        start += DIGEST_BYTES + size
    return b"".join(shares)


def share_of(member: int, share: int, held: bytes, bits: int) -> NDArray[np.uint64]:
    """One of the two shares in `held`, expanded. `share` must be in `held_by(member)`."""
    first, _ = held_by(member)
    size = share_bytes(first, bits)
    return expand(share, held[:size] if share == first else held[size:], bits)


def keep(member: int, held: bytes, bits: int) -> bytes:
    """What a member keeps of `held` once it is checked: numbers mod 2^49, as planes depend on no more of them."""
    first, second = held_by(member)
    size = share_bytes(first, bits)
    parts = {first: held[:size], second: held[size:]}
    if 3 in parts:
        numbers = np.unpackbits(np.frombuffer(parts[3], np.uint8).reshape(bits, 8), axis=1, bitorder="little")
        parts[3] = np.packbits(numbers[:, :PLANE_BITS], bitorder="little").tobytes()
    return b"".join(parts.values())


def kept_share(member: int, share: int, kept: bytes, bits: int) -> NDArray[np.uint64]:
    """One of the two shares in what `keep` gave, (bits,) uint64; the third one's numbers mod 2^49."""
    first, _ = held_by(member)
    size = bits * PLANE_BITS // 8 if first == 3 else SEED_BYTES
    raw = kept[:size] if share == first else kept[size:]
    if share != 3:
        return expand(share, raw, bits)
    numbers = np.zeros((bits, 64), dtype=np.uint8)
    numbers[:, :PLANE_BITS] = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little").reshape(bits, -1)
    return np.packbits(numbers, axis=1, bitorder="little").view("<u8").reshape(bits)


@njit("void(u8[:,::1], u8[:,::1], u8[:,::1], u8[::1])", cache=True, nogil=True)
def _check_sums(x: Any, y: Any, rho: Any, out: Any) -> None:
    for entry in range(len(x)):
        total = np.uint64(0)
        for k in range(x.shape[1]):
            total += rho[entry, k] * x[entry, k] * (x[entry, k] + y[entry, k] + y[entry, k] - np.uint64(1))
        out[entry] = total


def check_sums(member: int, held: list[bytes], bits: int, seed: bytes) -> NDArray[np.uint64]:
    """Each entry's sums sum_k rho_k*(x_i^2 + 2*x_i*x_{i+1} - x_i) mod 2^64, not yet masked: (entries, CHECKS) uint64.

    rho is the stream of a seed derived from the tossed `seed`, one a check.
    """
    first, second = held_by(member)
    x = np.array([share_of(member, first, one, bits) for one in held], dtype=np.uint64)
    y = np.array([share_of(member, second, one, bits) for one in held], dtype=np.uint64)
    out = np.empty((CHECKS, len(held)), dtype=np.uint64)
    for check in range(CHECKS):
        rho = Stream(derive(seed, "rho", bytes([check]))).words(len(held), bits)
        _check_sums(x, y, rho, out[check])
    return out.T

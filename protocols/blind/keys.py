"""One key, three shares: Shamir over the scalar field, dealt by the members themselves (Feldman, FOCS 1987).

Member i draws f_i(x) = a_i0 + a_i1 x and publishes A_i0 = a_i0 G, A_i1 = a_i1 G; member j receives f_i(j) from it
and checks f_i(j) G = A_i0 + j A_i1. Then k_j = sum_i f_i(j) is j's share of k = sum_i a_i0, which nobody holds,
K = sum_i A_i0, and anyone computes K_j = k_j G = sum_i (A_i0 + j A_i1). For any two members i, j the Lagrange
coefficients at 0, l_i = j / (j - i), give l_i k_i + l_j k_j = k.

Commitments are published only after everybody has sent a digest of theirs, so that no member chooses its own in
the light of the others' (Gennaro, Jarecki, Krawczyk, Rabin, "Secure distributed key generation", 2007, show how
one that does can bias the key).

Everybody who will ask for tokens takes the public keys from all three members, and only where they agree, so that
nobody in between can put keys of its own in their place.

NOT protected: the ceremony stops if a member does not take part or deals wrongly, and starts anew with another in
its place. Who deals wrongly is named to the member that notices, who cannot prove it to others; a dealer that tells
members different things is noticed at the end and not named. A dealer that breaks off after it has seen the others'
commitments chooses among as many keys as it has attempts. Two members together hold the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from protocols.base import IntegrityError, MessageError, ReplayError
from protocols.blind import group, oprf
from protocols.blind.messages import CeremonyCommitments, CeremonyDigest, CeremonyShare, Manifest
from protocols.blind.parameters import MEMBERS, QUORUM

NUMBERS = tuple(range(1, MEMBERS + 1))
QUORUMS: tuple[tuple[int, int], ...] = tuple(combinations(NUMBERS, 2))  # QUORUM at a time


def lagrange(member: int, members: tuple[int, ...]) -> bytes:
    """The coefficient at 0 of `member` among `members`. Raises MessageError if they are no quorum, or it is not in."""
    if tuple(sorted(members)) not in QUORUMS or member not in members:
        raise MessageError(f"members is {members}; expected {QUORUM} of {NUMBERS}, member {member} among them")
    coefficient = 1
    for other in members:
        if other != member:
            coefficient = coefficient * other * pow(other - member, -1, group.ORDER) % group.ORDER
    return group.small_scalar(coefficient)


def agreed(manifests: Mapping[int, Manifest]) -> Manifest:
    """What all members say the public keys are; manifests: by the member that sent it.

    Raises IntegrityError unless it came from each of them, the same, and fits together; ElementError.
    """
    if set(manifests) != set(NUMBERS):
        raise IntegrityError(f"manifests came from members {sorted(manifests)}; expected one from each of {NUMBERS}")
    first, *others = manifests.values()
    if any(manifest != first for manifest in others):
        raise IntegrityError("the members do not agree on the manifest: one of them dealt two ways, or lies")
    check_manifest(first)
    return first


def check_manifest(manifest: Manifest) -> None:
    """Raises IntegrityError unless every quorum's public shares interpolate to the public key."""
    key = group.elements(manifest.public_key, 1, "public_key")
    shares = group.elements(manifest.public_shares, MEMBERS, "public_shares")
    for quorum in QUORUMS:
        coefficients = b"".join(lagrange(member, quorum) for member in quorum)
        scalars = np.frombuffer(coefficients, np.uint8).reshape(QUORUM, group.SIZE)
        combined = group.weighted_sum(scalars, shares[[member - 1 for member in quorum]])
        if combined != key.tobytes():
            raise IntegrityError(f"the public shares of members {quorum} do not interpolate to the public key")


def public_share(manifest: Manifest, member: int, members: tuple[int, ...]) -> bytes:
    """l_i K_i, which the answers of `member` as one of `members` are proved against."""
    share = manifest.public_shares[(member - 1) * group.SIZE : member * group.SIZE]
    row = np.frombuffer(share, np.uint8).reshape(1, group.SIZE)
    return group.multiply(lagrange(member, members), row).tobytes()


class Ceremony:
    """One member's part in making the key: `digest`, then `commitments` and `share_for`, then `finish`."""

    def __init__(self, member: int, epoch: int) -> None:
        self._member = member
        self._others = set(NUMBERS) - {member}
        self._epoch = epoch
        self._coefficients = group.random_scalars(QUORUM)
        self._commitments = group.multiply_base(self._coefficients).tobytes()
        self._promised: dict[int, bytes] = {}

    @property
    def digest(self) -> CeremonyDigest:
        """The first round: to everybody."""
        return CeremonyDigest(_digest(self._member, self._epoch, self._commitments))

    def commitments(self, digests: Mapping[int, CeremonyDigest]) -> CeremonyCommitments:
        """The second round, once all digests are in: to everybody.

        Raises MessageError if one is missing, ReplayError if they are others than before.
        """
        if set(digests) != self._others:
            raise MessageError(f"digests came from {sorted(digests)}; expected one from each of {sorted(self._others)}")
        promised = {dealer: message.digest for dealer, message in digests.items()}
        if self._promised not in ({}, promised):
            raise ReplayError("other digests came after this member published its commitments")
        self._promised = promised
        return CeremonyCommitments(self._commitments)

    def share_for(self, member: int) -> CeremonyShare:
        """The second round: f_i(j), to member j alone. Raises MessageError before the digests are in."""
        if not self._promised or member not in self._others:
            raise MessageError(f"member-{self._member} deals to {sorted(self._others)}, once their digests are in")
        return CeremonyShare(self._dealt_to(member))

    def finish(
        self, commitments: Mapping[int, CeremonyCommitments], shares: Mapping[int, CeremonyShare]
    ) -> tuple[bytes, Manifest]:
        """(k_j, what everybody pins) from what the others sent, by their numbers.

        Raises IntegrityError, ElementError or ScalarError, each naming the member whose share or commitments are
        wrong; MessageError if something is missing. Where shares add up to zero, once in 2^252, no member is named.
        """
        if not self._promised or set(commitments) != self._others or set(shares) != self._others:
            raise MessageError(f"the ceremony needs a digest, commitments and a share from each of {NUMBERS}")
        published = {dealer: message.elements for dealer, message in commitments.items()}
        for dealer, promise in self._promised.items():
            if not hmac.compare_digest(promise, _digest(dealer, self._epoch, published[dealer])):
                raise IntegrityError(f"member-{dealer} published other commitments than it promised")
        published[self._member] = self._commitments
        dealt = {dealer: [_evaluate(published[dealer], at, dealer) for at in (0, *NUMBERS)] for dealer in NUMBERS}
        for dealer, values in dealt.items():
            if not all(map(any, values[1:])):
                raise IntegrityError(f"member-{dealer} dealt somebody a share of zero")
        key = self._dealt_to(self._member)
        for dealer, message in shares.items():
            share = group.scalar(message.share, f"the share from member-{dealer}")
            if oprf.public_key(share) != dealt[dealer][self._member]:
                raise IntegrityError(f"member-{dealer} dealt a share that does not fit its commitments")
            key = group.scalar_add(key, share)
        public = [_sum(values) for values in zip(*dealt.values(), strict=True)]
        manifest = Manifest(self._epoch, public[0], b"".join(public[1:]))
        check_manifest(manifest)
        return key, manifest

    def _dealt_to(self, member: int) -> bytes:
        value = bytes(group.SIZE)
        for coefficient in self._coefficients[::-1]:  # Horner
            value = group.scalar_add(group.scalar_mul(value, group.small_scalar(member)), coefficient.tobytes())
        return value


def _digest(member: int, epoch: int, commitments: bytes) -> bytes:
    return hashlib.sha256(b"hushmatch/blind/ceremony" + bytes([member]) + epoch.to_bytes(8) + commitments).digest()


def _evaluate(commitments: bytes, at: int, dealer: int) -> bytes:
    """A_0 + at * A_1: the dealer's polynomial at `at`, in the exponent."""
    elements = group.elements(commitments, QUORUM, f"the commitments of member-{dealer}")
    group.check(elements, f"the commitments of member-{dealer}")
    powers = b"".join(group.small_scalar(at**power) for power in range(QUORUM))
    scalars = np.frombuffer(powers, np.uint8).reshape(QUORUM, group.SIZE)
    return elements[0].tobytes() if at == 0 else group.weighted_sum(scalars, elements)


def _sum(elements: Sequence[bytes]) -> bytes:
    ones = np.frombuffer(group.small_scalar(1) * len(elements), np.uint8).reshape(-1, group.SIZE)
    return group.weighted_sum(ones, np.frombuffer(b"".join(elements), np.uint8).reshape(-1, group.SIZE))

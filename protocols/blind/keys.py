"""One key, three shares: Shamir over the scalar field, dealt by the members themselves (Feldman, FOCS 1987).

Member i draws f_i(x) = a_i0 + a_i1 x and publishes A_i0 = a_i0 G, A_i1 = a_i1 G; member j receives f_i(j) from it
and checks f_i(j) G = A_i0 + j A_i1. Then k_j = sum_i f_i(j) is j's share of k = sum_i a_i0, which nobody holds,
K = sum_i A_i0, and anyone computes K_j = k_j G = sum_i (A_i0 + j A_i1). For any two members i, j the Lagrange
coefficients at 0, l_i = j / (j - i), give l_i k_i + l_j k_j = k.

Commitments are published only after everybody has sent a digest of theirs, so that no member chooses its own in
the light of the others' (Gennaro, Jarecki, Krawczyk, Rabin, "Secure distributed key generation", 2007, show how
one that does can bias the key).

NOT protected: the ceremony stops if a member does not take part or deals wrongly; the one to blame is named, and
it starts anew without it. Two members together hold the key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from itertools import combinations

import numpy as np

from protocols.base import IntegrityError, MessageError
from protocols.blind import group
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
        self._epoch = epoch
        self._coefficients = group.random_scalars(QUORUM)
        self._commitments = group.multiply_base(self._coefficients).tobytes()

    @property
    def digest(self) -> CeremonyDigest:
        """The first round: to everybody."""
        return CeremonyDigest(_digest(self._member, self._epoch, self._commitments))

    @property
    def commitments(self) -> CeremonyCommitments:
        """The second round: to everybody, once all digests are in."""
        return CeremonyCommitments(self._commitments)

    def share_for(self, member: int) -> CeremonyShare:
        """The second round: f_i(j), to member j alone."""
        value = bytes(group.SIZE)
        for coefficient in self._coefficients[::-1]:  # Horner
            value = group.scalar_add(group.scalar_mul(value, group.small_scalar(member)), coefficient.tobytes())
        return CeremonyShare(value)

    def finish(
        self,
        digests: Mapping[int, CeremonyDigest],
        commitments: Mapping[int, CeremonyCommitments],
        shares: Mapping[int, CeremonyShare],
    ) -> tuple[bytes, Manifest]:
        """(k_j, what everybody pins) from what the others sent, by their numbers.

        Raises IntegrityError, which names the member whose share or commitments are wrong.
        """
        own = {self._member: self._commitments}
        published = {dealer: message.elements for dealer, message in commitments.items()} | own
        if set(published) != set(NUMBERS) or set(shares) != set(digests) or set(shares) != set(NUMBERS) - set(own):
            raise MessageError(f"the ceremony needs a digest, commitments and a share from each of {NUMBERS}")
        key = self.share_for(self._member).share
        for dealer, message in shares.items():
            if not hmac.compare_digest(digests[dealer].digest, _digest(dealer, self._epoch, published[dealer])):
                raise IntegrityError(f"member-{dealer} published other commitments than it promised")
            share = group.scalar(message.share, f"the share from member-{dealer}")
            dealt = group.multiply_base(np.frombuffer(share, np.uint8).reshape(1, group.SIZE)).tobytes()
            if dealt != _evaluate(published[dealer], self._member, dealer):
                raise IntegrityError(f"member-{dealer} dealt a share that does not fit its commitments")
            key = group.scalar_add(key, share)
        public = [_sum([_evaluate(published[dealer], at, dealer) for dealer in NUMBERS]) for at in (0, *NUMBERS)]
        manifest = Manifest(self._epoch, public[0], b"".join(public[1:]))
        check_manifest(manifest)
        return group.scalar(key, "the key share"), manifest


def _digest(member: int, epoch: int, commitments: bytes) -> bytes:
    return hashlib.sha256(b"hushmatch/blind/ceremony" + bytes([member]) + epoch.to_bytes(8) + commitments).digest()


def _evaluate(commitments: bytes, at: int, dealer: int) -> bytes:
    """A_0 + at * A_1: the dealer's polynomial at `at`, in the exponent."""
    elements = group.elements(commitments, QUORUM, f"the commitments of member-{dealer}")
    group.check(elements, f"the commitments of member-{dealer}")
    powers = b"".join(group.small_scalar(at**power) for power in range(QUORUM))
    scalars = np.frombuffer(powers, np.uint8).reshape(QUORUM, group.SIZE)
    return elements[0].tobytes() if at == 0 else group.weighted_sum(scalars, elements)


def _sum(elements: list[bytes]) -> bytes:
    ones = np.frombuffer(group.small_scalar(1) * len(elements), np.uint8).reshape(-1, group.SIZE)
    return group.weighted_sum(ones, np.frombuffer(b"".join(elements), np.uint8).reshape(-1, group.SIZE))

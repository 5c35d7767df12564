"""One member's side of checking the proofs of a batch: the order of steps. `proof` has the mathematics.

    A <-> B: digest of the header, commitment to a seed     (the header names the digests of everything)
    A <-> B: digest of the deal
    A <-> B: the seed                                       (from here on the batch is challenged: once, ever)
    A <-> B: projections, linear parts, w - r
    A <-> B: sign sums                                      (accepted, or refused by name)

Nothing is decrypted before the whole batch is accepted. Whatever the platform did, the members have agreed by then on
what it signed, so what is refused here is evidence against it: tampering in transit fails earlier, at a digest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.base import IntegrityError, MessageError, ProofRefused, ReplayError
from protocols.ledger import as_array, encode
from protocols.scan.encryption import PublicKey
from protocols.scan.matching_messages import ScanHeader, ScanResults, SignedHeader
from protocols.scan.packing import Words, pack, unpack
from protocols.scan.parameters import PRIMES, RESIDUE_BITS, Parameters
from protocols.scan.proof import (
    PROJECTIONS,
    SHORT,
    Challenge,
    Values,
    length,
    linear_holds,
    masked_signs,
    projections_short,
    read_values,
    shares,
    sign_sums,
    signs_hold,
)
from protocols.scan.proof_messages import ProofClosing, ProofOpening, ProofToss
from protocols.scan.ring import Residues, ring_of
from protocols.scan.sampling import SEED_BYTES, derive, fresh_seed
from protocols.scan.sealing import Identity, digest, same


@dataclass(frozen=True, repr=False)
class Batch:
    """What a member was given of a batch of results. masked: A's part of the shares, None at B; c0 empty at B."""

    signed: SignedHeader
    header: ScanHeader
    c1: memoryview
    c0: memoryview
    sealed: bytes
    masked: memoryview | None


def share_info(header_fields: tuple[bytes, int, int, int], platform: str, receiver: int, results: bytes) -> bytes:
    """What a sealed seed is bound to: (session, epoch, version, block), platform, receiving member, H(c1, c0)."""
    session, *numbers = header_fields
    fields = (session, *(number.to_bytes(8) for number in (*numbers, receiver)), platform.encode(), results)
    return b"proof share " + digest("proof share", *fields)


def results_digest(c1_digest: bytes, c0_digest: bytes) -> bytes:
    """H(c1, c0) of a batch."""
    return digest("results", c1_digest, c0_digest)


class Verification:
    """Member `member`'s, of one batch; single use."""

    def __init__(self, member: int, identity: Identity, parameters: Parameters, batch: Batch) -> None:
        self.accepted = False
        self.deal_agreed = False
        self._member = member
        self._identity = identity
        self._parameters = parameters
        self._batch = batch
        self._other = next(other for other in batch.header.pair if other != member)
        self._first = batch.header.pair[0] == member
        self._seed = fresh_seed()
        self._committed: bytes | None = None
        self._told = False
        self._challenge_seed: bytes | None = None
        self._opening: tuple[Words, Values, Residues] | None = None
        self._closing: Values | None = None

    def __repr__(self) -> str:
        return f"<Verification at member-{self._member}>"

    def _commitment(self, member: int, seed: bytes) -> bytes:
        return digest("proof toss", self._batch.header.session, bytes([member]), seed)

    @property
    def commitment(self) -> bytes:
        """To this member's seed: it travels with the header's digest."""
        return self._commitment(self._member, self._seed)

    def receive_commitment(self, commitment: bytes) -> None:
        """Raises ReplayError for a second one."""
        if self._committed is not None:
            raise ReplayError("proof: the seed was committed to before")
        self._committed = commitment

    def toss(self) -> ProofToss:
        """Tell the seed, once. Raises ReplayError before members agree on header and deal, or a second time."""
        if self._committed is None or not self.deal_agreed or self._told:
            raise ReplayError("proof: header and deal are not compared yet, or the seed was told before")
        self._told = True
        return ProofToss(self._batch.header.session, self._seed)

    @property
    def challenged(self) -> bool:
        """Whether the seed was told, and the batch not accepted since."""
        return self._told and not self.accepted

    def receive_toss(self, sender: int, message: ProofToss) -> None:
        """The other member's seed. Raises IntegrityError if it is not what was committed to, ReplayError."""
        if sender != self._other or self._committed is None or self._challenge_seed is not None:
            raise ReplayError(f"proof: no seed of member-{sender} is due")
        if not same(self._commitment(sender, message.seed), self._committed):
            raise IntegrityError(f"proof: member-{sender} tells another seed than it committed to")
        seeds = (self._seed, message.seed) if self._first else (message.seed, self._seed)
        self._challenge_seed = derive(b"".join(seeds), "challenge", digest("header", self._batch.signed.body))

    def opening(
        self, public_key: PublicKey, planes: Words, dealt: tuple[Residues, Residues], results: bytes
    ) -> ProofOpening:
        """Everything that is opened in the first round.

        planes: the block. dealt: this side's shares of the dealer's r and r^2. results: H(c1, c0). Raises ProofRefused
        if the platform's share does not open, MessageError, ReplayError out of turn.
        """
        if self._challenge_seed is None or not self._told or self._opening is not None:
            raise ReplayError("proof: the challenge is not tossed, or was answered before")
        p, batch = self._parameters, self._batch
        count, lanes = batch.header.batch, planes.shape[1] // 2 - 1
        seed = self._share_seed(results)
        challenge = Challenge(self._challenge_seed, p, public_key, planes)
        size = length(p, lanes)
        projections = np.empty((count, PROJECTIONS), dtype=np.uint64)
        linear = np.empty((count, 2), dtype=np.int64)
        w = np.empty((count, p.bits), dtype=np.int64)
        for row, z in enumerate(shares(seed, batch.masked, count, size)):
            w[row] = z[challenge.parts["w"]]
            challenge.evaluate(z, projections[row], linear[row])
        values = np.ascontiguousarray(linear.T)
        if self._first:
            c1 = as_array(batch.c1, np.uint64, (count, 2, RESIDUE_BITS, p.n // 64), "c1")
            c0 = as_array(batch.c0, np.uint64, (count, 2 * lanes, RESIDUE_BITS, p.n // 64), "c0")
            values += challenge.of_results(c1, c0)
            values %= np.array(PRIMES, dtype=np.int64)[:, None]
        masked = masked_signs(w, dealt[0])
        self._challenge, self._dealt = challenge, dealt
        self._opening = projections, values, masked
        return ProofOpening(batch.header.session, projections.data, values.data, pack(masked).data)

    def _share_seed(self, results: bytes) -> bytes:
        header = self._batch.header
        fields = header.session, header.epoch, header.version, header.block
        info = share_info(fields, header.platform, self._member, results)
        try:
            seed = self._identity.open(self._batch.sealed, info)
        except IntegrityError:
            seed = b""
        if len(seed) != SEED_BYTES:
            raise self._refused("shares", "the share of it that was sealed does not open for this batch and platform")
        return seed

    def receive_opening(self, sender: int, message: ProofOpening) -> ProofClosing:
        """The other member's opening; what to send in the second round.

        Raises ProofRefused for projections out of bounds and for a linear form that does not hold, MessageError.
        """
        if sender != self._other or self._opening is None or self._closing is not None:
            raise ReplayError(f"proof: no opening of member-{sender} is due")
        p, count = self._parameters, self._batch.header.batch
        projections, values, masked = self._opening
        their_projections = as_array(message.projections, np.uint64, (count, PROJECTIONS), "projections")
        their_values = read_values(message.linear, count, "linear parts")
        words = as_array(message.signs, np.uint64, (2, count, RESIDUE_BITS, p.bits // 64), "masked signs")
        opened = ring_of(p.bits).add(unpack(words, "masked signs"), masked)
        total = (projections + their_projections).view(np.int64)
        if (part := projections_short(total)) is not None:
            bound = next(short.bound for short in SHORT if short.part == part)
            raise self._refused(f"short {part}", f"a projection of {part} is beyond {bound}")
        if not linear_holds(self._challenge, total, values + their_values):
            raise self._refused("linear", "a result is not the published scan of what was shared")
        sums = sign_sums(opened, *self._dealt, self._challenge.tau, self._first)
        self._closing = sums
        return ProofClosing(self._batch.header.session, sums.data)

    def receive_closing(self, sender: int, message: ProofClosing) -> None:
        """The other member's sign sums: the batch is accepted, or refused. Raises ProofRefused, MessageError."""
        if sender != self._other or self._closing is None or self.accepted:
            raise ReplayError(f"proof: no sign sums of member-{sender} are due")
        theirs = read_values(message.signs, self._batch.header.batch, "sign sums")
        if not signs_hold(self._closing + theirs):
            raise self._refused("signs", "a weight is neither 1 nor -1")
        self.accepted = True

    def _refused(self, check: str, why: str) -> ProofRefused:
        party = self._batch.header.platform
        return ProofRefused(
            f"proof of {party} refused, check {check}: {why}; the batch is not answered",
            party,
            check,
            encode(self._batch.signed),
        )


def proof_of(
    message: ScanResults, header: ScanHeader, member: int, identity: Identity, parameters: Parameters, lanes: int
) -> Verification:
    """The check of a batch's proof, before it starts. Raises IntegrityError if it is not the one of the header."""
    first, platform = header.pair[0] == member, header.platform
    size = 8 * header.batch * length(parameters, lanes) if first else 0
    if len(header.shares_digest) != 2 or len(message.masked) != size:
        raise MessageError(f"results of {platform}: a proof is missing, or has the wrong length")
    if not same(digest("shares", message.sealed, message.masked), header.shares_digest[not first]):
        raise IntegrityError(f"results of {platform}: the proof is not the one that its header is about")
    masked = message.masked if first else None
    batch = Batch(message.header, header, message.c1, message.c0, message.sealed, masked)
    return Verification(member, identity, parameters, batch)

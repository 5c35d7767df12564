"""What crosses for the proof of a scan and for the audit of a block, and the table that declares it."""

from __future__ import annotations

from protocols.ledger import Message, MessageKind, Number
from protocols.scan.enrolling_messages import BlockPlanes, BlockSignatures
from protocols.scan.matching_messages import SignedHeader
from protocols.scan.sealing import Signed


class AuditCommitment(Message, frozen=True):
    """The digests of the block that the exchange gave the sender and of the slot map that it encrypted.

    shares: those that it contributed. toss: a commitment to a coin-toss seed.
    """

    version: Number
    block: Number
    digest: bytes
    map_digest: bytes
    shares: list[Number]
    toss: bytes


class AuditToss(Message, frozen=True):
    """The coin-toss seed of an audit."""

    version: Number
    block: Number
    seed: bytes


class AuditOpening(Message, frozen=True):
    """<rho, the planes that the sender contributed>: two int64, centred mod p0 and p1."""

    version: Number
    block: Number
    value: bytes


class ProofDeal(Message, frozen=True):
    """Digest of whose deal, and which, the sender checks a batch with."""

    session: bytes
    deal: bytes


class ProofToss(Message, frozen=True):
    """The coin-toss seed of a batch's challenge."""

    session: bytes
    seed: bytes


class ProofOpening(Message, frozen=True):
    """From a member's share of every result's z, in the order of the batch.

    projections: (batch, projections) uint64. linear: (2, batch) int64 mod p0 and p1. signs: w - r, packed residues.
    """

    session: bytes
    projections: memoryview
    linear: memoryview
    signs: memoryview


class ProofClosing(Message, frozen=True):
    """A member's shares of sum_i tau_i*(w_i^2 - 1): (2, batch) int64 mod p0 and p1."""

    session: bytes
    signs: memoryview


class ProofRefusal(Message, frozen=True):
    """A member's word that a proof failed: whose, which check, and the header with the platform's signature."""

    member: str
    platform: str
    session: bytes
    check: str
    header: SignedHeader


class SignedRefusal(Signed, frozen=True):
    """A ProofRefusal, signed by its member."""


PROOF_MESSAGES = (
    MessageKind(BlockPlanes, "exchange", "member", "encryptions of the bits"),
    MessageKind(BlockSignatures, "exchange", "member", "digest of the encrypted block"),
    MessageKind(AuditCommitment, "member", "member", "digests of block and slot map; hash of a random seed"),
    MessageKind(AuditToss, "member", "member", "a random seed"),
    MessageKind(AuditOpening, "member", "member", "a random functional of encryptions that the exchange has"),
    MessageKind(ProofDeal, "member", "member", "digest of a deal's number"),
    MessageKind(ProofToss, "member", "member", "a random seed"),
    MessageKind(
        ProofOpening, "member", "member", "eleven random projections of encryption randomness; values that cancel"
    ),
    MessageKind(ProofClosing, "member", "member", "values that cancel"),
    MessageKind(SignedRefusal, "member", "exchange", "which platform's proof failed, and which check"),
)

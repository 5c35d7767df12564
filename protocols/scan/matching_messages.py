"""What crosses when a batch of results is decrypted, compared and answered; and the table that declares it.

Encoded as `founding_messages` says.
"""

from __future__ import annotations

from protocols.ledger import Message, MessageKind, Number
from protocols.scan.sealing import Signed


class ScanHeader(Message, frozen=True):
    """What a platform signs about a batch of results, alike to both members. shares_digest: A's, B's, with proofs."""

    session: bytes
    epoch: Number
    version: Number
    block: Number
    block_digest: bytes
    pair: list[Number]
    batch: Number
    platform: str
    c0_digest: bytes
    c1_digest: bytes
    shares_digest: list[bytes]


class SignedHeader(Signed, frozen=True):
    """A ScanHeader, signed by its platform."""


class ScanResults(Message, frozen=True):
    """A batch of results: signed header, c1 halves, and to member A the c0 halves (empty to B).

    With proofs, the sealed seed of the receiver's shares, and to A its masked shares, (batch, length) uint64.
    """

    header: SignedHeader
    c1: memoryview
    c0: memoryview
    sealed: bytes
    masked: memoryview


class HeaderDigest(Message, frozen=True):
    """The digest of the header that a member was given; with proofs, a commitment to a coin-toss seed."""

    session: bytes
    digest: bytes
    toss: bytes


class PartialDecryption(Message, frozen=True):
    """lambda_B * sigma_B,r * c1 + mu for every result and lane: uniform in R_q."""

    session: bytes
    partial: memoryview


class TripleSeed(Message, frozen=True):
    """To A: the seed of its triple shares for `words` words a gate."""

    deal: bytes
    seed: bytes
    words: Number


class TripleCorrection(Message, frozen=True):
    """To B: the seed of its triple shares and the corrected third parts; with proofs, of squares too."""

    deal: bytes
    seed: bytes
    words: Number
    corrections: memoryview
    squares: memoryview


class GateOpening(Message, frozen=True):
    """One round of a chunk of the batch's comparison: both masked inputs of every AND gate of the round."""

    session: bytes
    chunk: Number
    round: Number
    masked: memoryview


class MatchBits(Message, frozen=True):
    """A member's share of the match bits."""

    session: bytes
    bits: memoryview


class MatchList(Message, frozen=True):
    """Pairs that match: query numbers and slots of one block; `many`: queries answered in part, over the cap."""

    member: str
    session: bytes
    platform: str
    version: Number
    block: Number
    queries: list[Number]
    slots: list[Number]
    many: list[Number]


class SignedMatchList(Signed, frozen=True):
    """A MatchList, signed by its member."""


class MatchCounts(Message, frozen=True):
    """How many entries of a block each query of a batch matches."""

    member: str
    session: bytes
    block: Number
    counts: list[Number]


class SignedMatchCounts(Signed, frozen=True):
    """MatchCounts, signed by its member."""


class MatchHandles(Message, frozen=True):
    """For the platform: an opaque handle for each match, and which queries had more than the cap."""

    session: bytes
    queries: list[Number]
    handles: list[bytes]
    many: list[Number]


MATCHING_MESSAGES = (
    MessageKind(
        ScanResults, "platform", "member", "encryptions of aligned distances; with proofs: a share of their proof"
    ),
    MessageKind(
        HeaderDigest, "member", "member", "digest of what the platform signed; with proofs: hash of a random seed"
    ),
    MessageKind(PartialDecryption, "member", "member", "a partial decryption, one-time-padded"),
    MessageKind(TripleSeed, "member", "member", "a random seed"),
    MessageKind(
        TripleCorrection, "member", "member", "a random seed; uniform correction bits; with proofs: uniform residues"
    ),
    MessageKind(GateOpening, "member", "member", "uniform bits: masked shares of carries"),
    MessageKind(MatchBits, "member", "member", "shares of the match bits"),
    MessageKind(SignedMatchList, "member", "exchange", "which slots match which queries"),
    MessageKind(SignedMatchCounts, "member", "platform", "how many entries match each query"),
    MessageKind(MatchHandles, "exchange", "platform", "which queries match; a random handle a match"),
)

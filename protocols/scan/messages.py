"""Everything that crosses between roles in the encrypted scan, and the table that declares it.

Arrays travel as bytes, decoded as views: residues packed 45 bits each (`packing`), bit-sliced words as uint64.
A `Signed` subclass carries the exact bytes that were signed.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.ledger import Message, MessageKind
from protocols.scan.sealing import PublicKeys, Signed

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # as databases and numpy take it


class Manifest(Message, frozen=True):
    """What everybody pins: keys, parameters, limits, whether proofs are asked for. All three members sign it."""

    protocol: str
    parameter_set: str
    lanes: Number
    bits: Number
    threshold: Number
    epoch: Number
    parties: list[PublicKeys]
    batch: Number
    match_cap: Number | None
    daily_results: Number | None
    daily_match_share: float | None
    proofs: bool = False


class SignedManifest(Message, frozen=True):
    """The encoded manifest with the members' signatures, in member order."""

    manifest: bytes
    signatures: list[bytes]


class SignedManifestPart(Signed, frozen=True):
    """The manifest, signed by one member."""


class KeyCommitment(Message, frozen=True):
    """Hash over ceremony, member, parameter set and all lanes of a member's part of the public key."""

    commitment: bytes


class KeyContribution(Message, frozen=True):
    """A member's part b_r of the public key, and what it seals to one other member: Shamir shares and a PRF key."""

    b: memoryview
    sealed: bytes


class TestVector(Message, frozen=True):
    """A member's encryptions of secret test plaintexts, one under each member's part of the key, every lane."""

    ciphertexts: memoryview


class TestShare(Message, frozen=True):
    """A share of a decrypted test vector, opened."""

    dealer: Number
    pair: list[Number]
    share: memoryview


class TestPlaintext(Message, frozen=True):
    """The secret test plaintexts, told after all shares are open."""

    plaintexts: memoryview


class CommitteeKey(Message, frozen=True):
    """The public key's sum b_r over the members, every lane."""

    b: memoryview


class SealedEntry(Message, frozen=True):
    """One entry: random id, commitments C_1..C_3, and for each member its two sealed shares."""

    entry: Annotated[bytes, Meta(max_length=16)]
    commitments: Annotated[bytes, Meta(max_length=96)]
    sealed: Annotated[list[Annotated[bytes, Meta(max_length=1 << 14)]], Meta(max_length=3)]


class CaseEntries(Message, frozen=True):
    """The entries of one case."""

    case: str
    entries: list[SealedEntry]


class Enrollment(Message, frozen=True):
    """Cases with their sealed entries."""

    cases: list[CaseEntries]


class EntryShares(Message, frozen=True):
    """For one member: ids, commitments and what was sealed to it, of a batch of entries. No cases."""

    batch: bytes
    entries: list[bytes]
    commitments: list[bytes]
    sealed: list[bytes]


class CheckCommitment(Message, frozen=True):
    """Digest of a batch's ids and commitments, a commitment to a coin-toss seed, and which entries did not open."""

    batch: bytes
    entries_digest: bytes
    toss: bytes
    bad: list[Number]


class CheckToss(Message, frozen=True):
    """The coin-toss seed."""

    batch: bytes
    seed: bytes


class CheckOpening(Message, frozen=True):
    """A member's masked sums z_i of some subsets of a batch: [first, last) of each, five uint64 each."""

    batch: bytes
    bounds: list[tuple[Number, Number]]
    sums: bytes


class EntryReceipt(Message, frozen=True):
    """What a member did with entries: "accepted", "refused", "withdrawn" or "abandoned", as of a bank version."""

    member: str
    epoch: Number
    version: Number
    status: str
    entries: list[bytes]
    commitments: list[bytes]


class SignedReceipt(Signed, frozen=True):
    """An EntryReceipt, signed by its member."""


class Receipts(Message, frozen=True):
    """The members' signed receipts."""

    receipts: list[SignedReceipt]


class SlotMap(Message, frozen=True):
    """Which entry stands where in the blocks that a version changes.

    blocks: block numbers. lanes: of each. counts: entries in each. entries: 16-byte ids. slots: uint32 numbers
    ((lane * n + coefficient) * 5 + field), in the same order. away: member whose planes others encrypt, if any.
    """

    epoch: Number
    version: Number
    blocks: list[Number]
    lanes: list[Number]
    counts: list[Number]
    entries: memoryview
    slots: memoryview
    away: Number | None


class SlotMapDigest(Message, frozen=True):
    """A member's digest of the slot map that it was given."""

    version: Number
    digest: bytes


class PlaneShares(Message, frozen=True):
    """Encryptions of one share's planes [first, first + count) of a block, by one member."""

    version: Number
    block: Number
    share: Number
    first: Number
    count: Number
    planes: memoryview


class BlockDigest(Message, frozen=True):
    """What a member signs of a block: never two digests for one (epoch, version, block)."""

    epoch: Number
    version: Number
    block: Number
    lanes: Number
    digest: bytes


class SignedBlockDigest(Signed, frozen=True):
    """A BlockDigest, signed by one member."""


class BlockPlanes(Message, frozen=True):
    """Planes [first, first + count) of a published block."""

    version: Number
    block: Number
    first: Number
    count: Number
    planes: memoryview


class BlockSignatures(Message, frozen=True):
    """A published block's signed digests, one a member."""

    version: Number
    block: Number
    signatures: list[SignedBlockDigest]


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


class CaseWithdrawal(Message, frozen=True):
    """The case that its person withdraws."""

    case: str


class EntryWithdrawal(Message, frozen=True):
    """Entries that members shall stop matching and forget."""

    epoch: Number
    version: Number
    entries: list[bytes]


MESSAGES = (
    MessageKind(PublicKeys, "member", "exchange", "the member's public keys"),
    MessageKind(PublicKeys, "platform", "exchange", "the platform's public keys"),
    MessageKind(Manifest, "exchange", "member", "everybody's public keys, parameters, limits"),
    MessageKind(SignedManifestPart, "member", "exchange", "the manifest"),
    MessageKind(SignedManifest, "exchange", "client", "the manifest"),
    MessageKind(SignedManifest, "exchange", "member", "the manifest"),
    MessageKind(SignedManifest, "exchange", "platform", "the manifest"),
    MessageKind(KeyCommitment, "member", "member", "hash of the sender's part of the public key"),
    MessageKind(KeyContribution, "member", "member", "the sender's part of the public key; sealed key shares"),
    MessageKind(TestVector, "member", "member", "encryptions of random plaintexts"),
    MessageKind(TestShare, "member", "member", "share of a decrypted random plaintext"),
    MessageKind(TestPlaintext, "member", "member", "random plaintexts"),
    MessageKind(CommitteeKey, "member", "exchange", "the public key"),
    MessageKind(CommitteeKey, "exchange", "platform", "the public key"),
    MessageKind(Enrollment, "client", "exchange", "case numbers; shares of bits, sealed to the members"),
    MessageKind(EntryShares, "exchange", "member", "two of three random shares of each entry's bits, sealed"),
    MessageKind(CheckCommitment, "member", "member", "digest of what the client sent; hash of a random seed"),
    MessageKind(CheckToss, "member", "member", "a random seed"),
    MessageKind(CheckOpening, "member", "member", "masked sums that add up to 0 for well-formed entries"),
    MessageKind(SignedReceipt, "member", "exchange", "which entries were accepted, refused or withdrawn"),
    MessageKind(Receipts, "exchange", "client", "which entries were accepted, refused or withdrawn"),
    MessageKind(SlotMap, "exchange", "member", "random slots of the accepted entries"),
    MessageKind(SlotMapDigest, "member", "member", "digest of the slot map"),
    MessageKind(PlaneShares, "member", "exchange", "encryptions of a random share of the bits"),
    MessageKind(BlockDigest, "exchange", "member", "digest of the encrypted block"),
    MessageKind(SignedBlockDigest, "member", "exchange", "digest of the encrypted block"),
    MessageKind(BlockPlanes, "exchange", "platform", "encryptions of the bits"),
    MessageKind(BlockSignatures, "exchange", "platform", "digest of the encrypted block"),
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
    MessageKind(CaseWithdrawal, "client", "exchange", "the case number"),
    MessageKind(EntryWithdrawal, "exchange", "member", "random ids of the withdrawn entries"),
)

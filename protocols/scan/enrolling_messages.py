"""What crosses when entries are checked, blocks are built and cases are withdrawn; and the table that declares it.

Encoded as `founding_messages` says.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.ledger import Message, MessageKind, Number
from protocols.scan.sealing import Signed


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


class CaseWithdrawal(Message, frozen=True):
    """The case that its person withdraws."""

    case: str


class EntryWithdrawal(Message, frozen=True):
    """Entries that members shall stop matching and forget."""

    epoch: Number
    version: Number
    entries: list[bytes]


ENROLLING_MESSAGES = (
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
    MessageKind(CaseWithdrawal, "client", "exchange", "the case number"),
    MessageKind(EntryWithdrawal, "exchange", "member", "random ids of the withdrawn entries"),
)

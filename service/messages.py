"""What crosses between roles over HTTP beside the scan's own messages.

Case numbers are text as people write them, PINs the key that a device makes of one (`pins`); handles are 16 random
bytes that mean nothing to whoever holds them. `status` of a case:

    received    its entries wait for the members' check
    active      checked; matched from the next version of the bank on
    refused     the members refused every entry: not what an honest client sends
    withdrawn   matches no more; `awaiting` members have not confirmed yet that they forgot it
    deleted     every member has confirmed, and no block holds it; `erasure` is the receipt
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import Meta

from protocols.ledger import Message
from protocols.scan.enrolling_messages import BlockSignatures, PlaneShares, SealedEntry, SignedReceipt
from protocols.scan.founding_messages import SignedManifest
from protocols.scan.proof_messages import SignedRefusal
from protocols.scan.sealing import Signed

MOST_HANDLES = 10_000  # of one message
_BASE64 = r"^[A-Za-z0-9+/]{21}[AQgw]==$"  # of 16 bytes
_BASE64_KEY = r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"  # of 32 bytes

Code = Annotated[str, Meta(max_length=64)]  # a case number; `pins` says what is wrong with one
PinKey = Annotated[bytes, Meta(min_length=32, max_length=32, extra_json_schema={"pattern": _BASE64_KEY})]
Number = Annotated[int, Meta(ge=0, lt=2**31)]
MemberNumber = Annotated[int, Meta(ge=1, le=3)]
Handle = Annotated[bytes, Meta(min_length=16, max_length=16, extra_json_schema={"pattern": _BASE64})]
File = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]

CaseState = Literal["received", "active", "refused", "withdrawn", "deleted"]
MediaKind = Literal["photo", "video"]
Verdict = Literal["blocked", "not blocked", "pending review"]

ERASURE = (
    "The three members have deleted their shares of these entries and sign that no match of them will be answered. The"
    " blocks of the bank were built anew without them. Platforms may still hold old blocks: ciphertexts that nobody can"
    " match any more, and that nobody can decrypt once the members have deleted the key shares of this epoch."
)

HELP_FOR_MINORS = (
    "cases are for people of 18 and older, and nothing was stored. If you are younger, Take It Down helps you:"
    " https://takeitdown.ncmec.org, free, anonymous, in any country"
)


class OpenCase(Message, frozen=True):
    """A new case under a number and PIN that the client made. adult: the person said that they are 18 or older."""

    case: Code
    pin: PinKey
    adult: bool
    entries: Annotated[list[SealedEntry], Meta(max_length=10_000)]


class StatusRequest(Message, frozen=True):
    """Asks for a case's status."""

    case: Code
    pin: PinKey


class WithdrawalRequest(Message, frozen=True):
    """Asks to stop matching a case, for good."""

    case: Code
    pin: PinKey


class PlatformStatus(Message, frozen=True):
    """What a platform did for a case. searched_until: its last search of every block where the case stands; or None.

    matches: uploads that match. blocked, not_blocked, pending_review: what it told about how many of them.
    """

    platform: str
    searched_until: datetime | None
    matches: int
    blocked: int
    not_blocked: int
    pending_review: int


class Erasure(Message, frozen=True):
    """What the exchange signs when a case is deleted. case: SHA-256 of its number. receipts: the members'."""

    case: bytes
    deleted_on: date
    receipts: list[SignedReceipt]
    meaning: str


class SignedErasure(Signed, frozen=True):
    """An Erasure, signed by the exchange."""


class CaseStatus(Message, frozen=True):
    """A case as its person sees it. received, accepted, refused: how many of its entries.

    awaiting: members that are away, while it is `received`; those whose word is missing, while it is `withdrawn`.
    """

    status: CaseState
    opened_on: date
    received: int
    accepted: int
    refused: int
    platforms: list[PlatformStatus]
    receipts: list[SignedReceipt]
    awaiting: list[int]
    erasure: SignedErasure | None


class Bank(Message, frozen=True):
    """What is published: for each block its version and the members' signatures."""

    blocks: list[BlockSignatures]


class Manifests(Message, frozen=True):
    """Every manifest that was in force here, in order; the last one is."""

    chain: list[SignedManifest]


class PlanesFrom(Message, frozen=True):
    """The first plane that is wanted."""

    first: Number = 0


class NextPlanes(Message, frozen=True):
    """Asks a member for the next planes of a share of a block, `step` at once."""

    block: Number
    share: MemberNumber
    step: Annotated[int, Meta(ge=1, le=64)]


class Planes(Message, frozen=True):
    """The next planes; None when there are no more."""

    planes: PlaneShares | None


class MemberState(Message, frozen=True):
    """Where a member stands. has_key: the ceremony is done. refusals: its word on proofs that it refused.

    blocks: (block, version) that it answers batches about. entries, withdrawals: how many it holds, and was told.
    """

    has_key: bool
    version: int
    blocks: list[tuple[int, int]]
    entries: int
    withdrawals: int
    refusals: list[SignedRefusal]


class Answered(Message, frozen=True):
    """Both members' match lists of a session, as letters to the exchange, and the pair."""

    lists: Annotated[list[bytes], Meta(min_length=2, max_length=2)]
    pair: Annotated[list[MemberNumber], Meta(min_length=2, max_length=2)]


class Upload(Message, frozen=True):
    """An upload's matches: for each frame that has any, the handles that the scan answered. A photo is one frame.

    frames: how many were compared, with matches or without.
    """

    kind: MediaKind
    frames: Annotated[int, Meta(ge=1, lt=2**31)]
    matched: Annotated[list[Annotated[list[Handle], Meta(max_length=MOST_HANDLES)]], Meta(max_length=MOST_HANDLES)]


class Sighted(Message, frozen=True):
    """Which handles belong to which upload."""

    uploads: Annotated[list[Upload], Meta(max_length=MOST_HANDLES)]


class Sightings(Message, frozen=True):
    """For each upload, in order: a sighting handle for each case that it shows."""

    uploads: list[list[bytes]]


class CheckFiles(Message, frozen=True):
    """Files on the platform's own disk, to be compared with the bank."""

    paths: Annotated[list[File], Meta(max_length=100_000)]


class CheckUpload(Message, frozen=True):
    """An upload to be compared with the bank. name: what the platform calls it; media: a photo's or video's bytes."""

    name: str
    media: bytes


class Hit(Message, frozen=True):
    """A file, or an upload by its name, that shows cases: a sighting handle for each."""

    path: str
    kind: MediaKind
    sightings: list[bytes]


class Checked(Message, frozen=True):
    """What became of files. asked: how many were compared. blocks: of the bank, with which; an empty bank has none.
    refused: (file, why) of those that could not be.
    """

    asked: int
    blocks: int
    hits: list[Hit]
    refused: list[tuple[str, str]]


class Synced(Message, frozen=True):
    """fetched: how many blocks were new."""

    fetched: int


class Verdicts(Message, frozen=True):
    """What a platform did about sightings of its own: (sighting handle, verdict)."""

    sightings: Annotated[list[tuple[Handle, Verdict]], Meta(max_length=MOST_HANDLES)]

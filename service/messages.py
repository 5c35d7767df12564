"""What crosses between client, platform and exchange beside the scan's own messages.

Case numbers and PINs are text as people write them (`pins`); handles are 16 random bytes that mean nothing to whoever
holds them. `status` of a case:

    received    its entries wait for the members' check
    active      checked; matched from the next version of the bank on
    refused     the members refused every entry: not what an honest client sends
    withdrawn   matches no more; `awaiting` members have not confirmed yet that they forgot it
    deleted     every member has confirmed, and no block holds it; `erasure` is the receipt
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from protocols.ledger import Message
from protocols.scan.messages import SealedEntry, SignedReceipt
from protocols.scan.sealing import Signed

CaseState = Literal["received", "active", "refused", "withdrawn", "deleted"]
EntryState = Literal["received", "accepted", "refused", "withdrawn"]
MediaKind = Literal["photo", "video"]
Verdict = Literal["blocked", "not blocked", "pending review"]

ERASURE = (
    "The three members have deleted their shares of these entries and sign that no match of them will be answered. The"
    " blocks of the bank were built anew without them. Platforms may still hold old blocks: ciphertexts that nobody can"
    " match any more, and that nobody can decrypt once the members have deleted the key shares of this epoch."
)


class OpenCase(Message, frozen=True):
    """A new case under a number and PIN that the client made. adult: the person said that they are 18 or older."""

    case: str
    pin: str
    adult: bool
    entries: list[SealedEntry]


class StatusRequest(Message, frozen=True):
    """Asks for a case's status."""

    case: str
    pin: str


class WithdrawalRequest(Message, frozen=True):
    """Asks to stop matching a case, for good."""

    case: str
    pin: str


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
    """A case as its person sees it. received, accepted, refused: how many of its entries. awaiting: member numbers."""

    status: CaseState
    opened_on: date
    received: int
    accepted: int
    refused: int
    platforms: list[PlatformStatus]
    receipts: list[SignedReceipt]
    awaiting: list[int]
    erasure: SignedErasure | None


class Upload(Message, frozen=True):
    """An upload's matches: for each frame that has any, the handles that the scan answered. A photo is one frame.

    frames: how many were compared, with matches or without.
    """

    kind: MediaKind
    frames: int
    matched: list[list[bytes]]


class Sighted(Message, frozen=True):
    """Which handles belong to which upload."""

    uploads: list[Upload]


class Sightings(Message, frozen=True):
    """For each upload, in order: a sighting handle for each case that it shows."""

    uploads: list[list[bytes]]


class Verdicts(Message, frozen=True):
    """What a platform did about sightings of its own: (sighting handle, verdict)."""

    sightings: list[tuple[bytes, Verdict]]

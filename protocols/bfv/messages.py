"""What crosses between the roles. Ciphertexts and keys travel as SEAL writes them, see `seal`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from protocols.ledger import Message, MessageKind

HANDLE_BYTES = 16

Slot = Annotated[int, Meta(ge=0, lt=1 << 32)]
Count = Annotated[int, Meta(ge=1, le=1 << 20)]
Handle = Annotated[bytes, Meta(min_length=HANDLE_BYTES, max_length=HANDLE_BYTES)]


class EncryptionKey(Message, frozen=True):
    """The key holder's public key."""

    key: bytes


class Reservation(Message, frozen=True):
    """A client asks for slots for so many entries."""

    entries: Count


class Places(Message, frozen=True):
    """The slots given to a client: `entries` of them from number `first`."""

    first: Slot
    entries: Count


class Deposit(Message, frozen=True):
    """A client's entries: `cases` names one a slot from `first`; `bits` ciphertexts for each block they lie in."""

    first: Slot
    cases: list[str]
    ciphertexts: list[bytes]


class Opened(Message, frozen=True):
    """Slots that hold a live entry from now on."""

    first: Slot
    entries: Count


class Block(Message, frozen=True):
    """A block of the bank: `bits` ciphertexts, and one byte a slot, 1 where an entry is live."""

    block: Slot
    ciphertexts: list[bytes]
    live: bytes


class Withdrawal(Message, frozen=True):
    """A person withdraws a case."""

    case: str


class Closed(Message, frozen=True):
    """Slots that hold no live entry any more."""

    slots: list[Slot]


class Distances(Message, frozen=True):
    """Encrypted distances to one block, one ciphertext a query."""

    block: Slot
    ciphertexts: list[bytes]


class Answer(Message, frozen=True):
    """Matches: rows of the queries in the `Distances` that this answers, and an opaque handle each."""

    rows: list[Slot]
    handles: list[Handle]


class Notice(Message, frozen=True):
    """Which slot each handle stands for, so that the exchange can tell the person."""

    handles: list[Handle]
    slots: list[Slot]


TABLE = (
    MessageKind(EncryptionKey, "keyholder", "client", "the key holder's public key"),
    MessageKind(EncryptionKey, "keyholder", "platform", "the key holder's public key"),
    MessageKind(Reservation, "client", "exchange", "how many entries the person enrols"),
    MessageKind(Places, "exchange", "client", "how many slots were given out so far"),
    MessageKind(Deposit, "client", "exchange", "case numbers; entries under the key holder's public key"),
    MessageKind(Opened, "exchange", "keyholder", "how many entries were enrolled"),
    MessageKind(Block, "exchange", "platform", "entries under the key holder's public key; which slots are live"),
    MessageKind(Withdrawal, "client", "exchange", "the case number"),
    MessageKind(Closed, "exchange", "keyholder", "slots of the withdrawn case"),
    MessageKind(Closed, "exchange", "platform", "slots of the withdrawn case"),
    MessageKind(Distances, "platform", "keyholder", "every upload's distance to every live entry: it can decrypt this"),
    MessageKind(Answer, "keyholder", "platform", "which uploads match, and how many entries each"),
    MessageKind(Notice, "keyholder", "exchange", "which entries matched, and when"),
)

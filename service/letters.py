"""What one party tells another through a third that carries it: signed by the sender, sealed to the receiver.

Whoever drives a step of the protocol, the exchange or a platform, passes on what members tell each other and what they
tell the exchange. It can lose letters, but not read, change or redirect them. That none is used twice or out of turn is
the protocol's own affair: every message names its session, batch or version, and roles know what is due.

NOT protected: when letters pass, and how long they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocols.base import IntegrityError, MessageError
from protocols.ledger import Message, decode, encode
from protocols.scan.sealing import Identity, Signed, Verifier


class Letter(Message, frozen=True):
    """A message on its way. kind: the class of `body`."""

    sender: str
    receiver: str
    kind: str
    body: bytes


class SignedLetter(Signed, frozen=True):
    """A Letter, signed by its sender."""


def seal(me: Identity, receiver: Verifier, message: Message) -> bytes:
    """The message as a letter to `receiver`."""
    letter = Letter(me.name, receiver.name, type(message).__name__, encode(message))
    return receiver.seal(encode(me.sign(letter, SignedLetter)), _info(receiver.name))


def open_letter(
    me: Identity, parties: Mapping[str, Verifier], sealed: bytes, kinds: Sequence[type[Message]]
) -> tuple[str, Message]:
    """Who wrote a letter to `me`, and the message. Raises IntegrityError, MessageError."""
    signed = decode(me.open(sealed, _info(me.name)), SignedLetter)
    claimed = decode(signed.body, Letter)
    if claimed.sender not in parties:
        raise IntegrityError("letter: its sender is not in the manifest")
    letter = parties[claimed.sender].verify(signed, Letter)
    if letter.receiver != me.name or letter.sender == me.name:
        raise IntegrityError(f"letter of {letter.sender}: to another party than {me.name}")
    kind = next((kind for kind in kinds if kind.__name__ == letter.kind), None)
    if kind is None:
        raise MessageError(f"letter of {letter.sender}: {letter.kind[:40]!r} is not what is due here")
    return letter.sender, decode(letter.body, kind)


def _info(receiver: str) -> bytes:
    return b"hushmatch letter to " + receiver.encode()

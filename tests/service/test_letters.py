"""Letters: only the receiver reads them, only the sender could have written them, nothing else passes for one."""

import pytest

from protocols.base import IntegrityError, MessageError
from protocols.scan.enrolling_messages import CheckToss, SlotMapDigest
from protocols.scan.sealing import Identity, Verifier
from service.letters import Letter, SignedLetter, open_letter, seal

NAMES = ("member-1", "member-2", "member-3", "exchange")
IDENTITIES = {name: Identity(name).under(bytes(32)) for name in NAMES}
PARTIES = {name: Verifier(identity.public, bytes(32)) for name, identity in IDENTITIES.items()}
MESSAGE = CheckToss(b"batch", b"a seed")


def opened(name, sealed, kinds=(CheckToss,), parties=PARTIES):
    return open_letter(IDENTITIES[name], parties, sealed, kinds)


def test_a_letter_reaches_whom_it_is_for_and_nobody_else():
    sealed = seal(IDENTITIES["member-1"], PARTIES["member-2"], MESSAGE)
    assert opened("member-2", sealed) == ("member-1", MESSAGE)
    assert b"a seed" not in sealed
    for other in ("member-1", "member-3", "exchange"):
        with pytest.raises(IntegrityError, match="do not open"):
            opened(other, sealed)
    with pytest.raises(IntegrityError, match="do not open"):
        opened("member-2", sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_nobody_writes_in_another_name():
    letter = Letter("member-3", "member-2", "CheckToss", b"")
    forged = IDENTITIES["member-1"].sign(letter, SignedLetter)
    from protocols.ledger import encode

    with pytest.raises(IntegrityError, match="member-3 does not verify"):
        opened("member-2", PARTIES["member-2"].seal(encode(forged), b"hushmatch letter to member-2"))
    stranger = Identity("member-9").under(bytes(32))
    with pytest.raises(IntegrityError, match="not in the manifest"):
        opened("member-2", seal(stranger, PARTIES["member-2"], MESSAGE))
    old = Identity.load("member-1", IDENTITIES["member-1"].private_bytes()).under(b"another manifest".ljust(32))
    with pytest.raises(IntegrityError, match="does not verify"):
        opened("member-2", seal(old, PARTIES["member-2"], MESSAGE))


def test_a_letter_that_was_opened_cannot_be_sent_on():
    from protocols.ledger import decode, encode

    sealed = seal(IDENTITIES["member-1"], PARTIES["member-2"], MESSAGE)
    signed = decode(IDENTITIES["member-2"].open(sealed, b"hushmatch letter to member-2"), SignedLetter)
    on = PARTIES["member-3"].seal(encode(signed), b"hushmatch letter to member-3")
    with pytest.raises(IntegrityError, match="to another party than member-3"):
        opened("member-3", on)
    back = PARTIES["member-1"].seal(encode(signed), b"hushmatch letter to member-1")
    with pytest.raises(IntegrityError, match="to another party than member-1"):
        opened("member-1", back)


def test_a_letter_to_oneself_is_none():
    """What a member wrote does not come back to it as another's word."""
    with pytest.raises(IntegrityError, match="to another party"):
        opened("member-1", seal(IDENTITIES["member-1"], PARTIES["member-1"], MESSAGE))


def test_another_kind_of_message_is_refused():
    sealed = seal(IDENTITIES["member-1"], PARTIES["member-2"], MESSAGE)
    with pytest.raises(MessageError, match="'CheckToss' is not what is due"):
        opened("member-2", sealed, (SlotMapDigest,))

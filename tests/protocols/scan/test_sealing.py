"""Keys that are kept: an identity that was loaded again is the same one."""

import pytest

from protocols.base import IntegrityError, MessageError
from protocols.scan.enrolling_messages import EntryReceipt, SignedReceipt
from protocols.scan.sealing import PRIVATE_BYTES, Identity, Verifier

RECEIPT = EntryReceipt("member-1", 1, 2, "accepted", [], [])


def test_a_loaded_identity_opens_and_signs_like_the_first():
    first = Identity("member-1")
    again = Identity.load("member-1", first.private_bytes())
    assert again.public == first.public
    assert again.private_bytes() == first.private_bytes()
    assert len(first.private_bytes()) == PRIVATE_BYTES == 128
    others = Verifier(first.public, b"manifest")
    assert again.open(others.seal(b"share", b"context"), b"context") == b"share"
    assert others.verify(again.under(b"manifest").sign(RECEIPT, SignedReceipt), EntryReceipt) == RECEIPT
    with pytest.raises(IntegrityError):  # what it signs under no manifest counts under none
        others.verify(again.sign(RECEIPT, SignedReceipt), EntryReceipt)


def test_identities_differ_and_their_repr_tells_nothing():
    one, two = Identity("member-1"), Identity("member-1")
    private = one.private_bytes()
    for part in (private[:64], private[64:96], private[96:]):  # each key is its own randomness
        assert part not in two.private_bytes()
    assert repr(one) == "<Identity of member-1>"


@pytest.mark.parametrize("length", [0, PRIVATE_BYTES - 1, PRIVATE_BYTES + 1])
def test_keys_of_another_length_are_refused(length):
    with pytest.raises(MessageError, match=r"member-1: .*expected 128"):
        Identity.load("member-1", bytes(length))

"""The exchange: receipts that agree or nothing; random slots."""

import numpy as np
import pytest

from protocols.base import IntegrityError, ReplayError, UnknownCase
from protocols.ledger import decode
from protocols.scan.client import Client
from protocols.scan.enrolling_messages import EntryReceipt, Receipts, SignedReceipt
from tests.protocols.scan.answers import ZERO, with_entries
from tests.protocols.scan.parties import changed, scan, tampered, unharmed


@pytest.fixture
def bank():
    bank = with_entries(np.random.default_rng(50))
    return bank.protocol, bank.oracle, bank.queries, bank.rng


def once(change):
    """The change for the first message only: what follows, such as a failed enrolment's withdrawal, is honest."""
    left = [change]
    return lambda message: left.pop()(message) if left else message


def receipt_as(protocol, member, /, **fields):
    """A change that re-signs a member's receipts with other fields."""

    def change(message):
        told = changed(decode(message.body, EntryReceipt), **fields)
        return protocol._members[member].identity.sign(told, SignedReceipt)

    return change


RECEIPTS = [
    (lambda p: lambda m: changed(m, signature=bytes(64)), "does not verify"),
    (lambda p: receipt_as(p, 2, status="refused"), "differs from the others'"),
    (lambda p: receipt_as(p, 2, entries=[bytes(16)]), "differs from the others'"),
]


@pytest.mark.parametrize(("change", "word"), RECEIPTS)
def test_receipts_that_are_forged_or_differ_fail_the_enrolment_and_leave_nothing_behind(bank, change, word):
    protocol, oracle, queries, rng = bank
    with (
        tampered(protocol, SignedReceipt, once(change(protocol)), sender="member-2"),
        pytest.raises(IntegrityError, match=word),
    ):
        protocol.enroll(["x", "y"], rng.integers(0, 256, (2, 32), dtype=np.uint8))
    assert protocol.match(queries) == oracle.match(queries)
    unharmed(protocol, oracle, rng)
    held = [set(member.custody._shares) for member in protocol._members.values()]
    assert held[0] == held[1] == held[2] == set(protocol._exchange._case_of)
    for p in (protocol, oracle):
        p.enroll(["x"], ZERO)
        p.withdraw("x")


CLIENT = [
    (lambda r: Receipts(r.receipts[:2]), "2 came; every member's is needed"),
    (lambda r: Receipts([*r.receipts[:2], r.receipts[1]]), "does not verify"),
    (lambda r: Receipts([r.receipts[1], r.receipts[0], r.receipts[2]]), "does not verify"),
    (lambda r: Receipts([changed(one, signature=bytes(64)) for one in r.receipts]), "does not verify"),
]


@pytest.mark.parametrize(("change", "word"), CLIENT)
def test_the_client_notices_missing_and_forged_receipts(bank, change, word):
    protocol, oracle, queries, rng = bank

    with tampered(protocol, Receipts, once(change)), pytest.raises(IntegrityError, match=word):
        protocol.enroll(["x"], rng.integers(0, 256, (1, 32), dtype=np.uint8))
    assert protocol.match(queries) == oracle.match(queries)
    unharmed(protocol, oracle, rng)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"commitments": [bytes(96)]}, "not as they were sent"),
        ({"entries": [bytes(16)]}, "entries are missing"),
        ({"commitments": []}, "entries are missing"),
        ({"status": "received"}, "expected accepted"),
        ({"epoch": 2}, "another member or epoch"),
        ({"member": "member-1"}, "another member or epoch"),
    ],
)
def test_the_client_takes_receipts_for_exactly_what_it_sent(bank, fields, word, monkeypatch):
    protocol, oracle, _, rng = bank

    def third(message):
        return Receipts([*message.receipts[:2], receipt_as(protocol, 3, **fields)(message.receipts[2])])

    row = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    with tampered(protocol, Receipts, once(third)), pytest.raises(IntegrityError, match=word):
        protocol.enroll(["x"], row)
    unharmed(protocol, oracle, rng)
    monkeypatch.setattr(Client, "check_accepted", lambda self, receipts: None)
    with tampered(protocol, Receipts, lambda m, seen=[]: m):
        protocol.enroll(["x"], row)  # with the check off the client would not know


def test_a_withdrawal_that_a_member_does_not_confirm_is_noticed(bank):
    protocol, _, _, _ = bank
    with (
        tampered(
            protocol,
            Receipts,
            lambda m: Receipts([*m.receipts[:2], receipt_as(protocol, 3, entries=[])(m.receipts[2])]),
        ),
        pytest.raises(IntegrityError, match="not withdrawn"),
    ):
        protocol.withdraw("case-0")


def test_slots_are_random_and_not_reused_within_a_version(bank):
    protocol, *_ = bank
    first = protocol._exchange.blocks[0].slots.copy()
    assert len(set(first.tolist())) == len(first)
    again = scan()
    again.enroll([f"c{i}" for i in range(len(first))], np.repeat(ZERO, len(first), axis=0))
    assert not np.array_equal(np.sort(first), np.sort(again._exchange.blocks[0].slots))


def test_unknown_cases_and_batches_are_refused(bank):
    protocol, *_ = bank
    with pytest.raises(UnknownCase):
        protocol._exchange.withdraw("nobody")
    with pytest.raises(ReplayError, match="unknown, or settled already"):
        protocol._exchange.settle(bytes(16), {})

"""The exchange: two equal signed lists or nothing; receipts; what it sees."""

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion, UnknownCase
from protocols.ledger import decode
from protocols.scan.client import Client
from protocols.scan.exchange import Exchange
from protocols.scan.messages import (
    EntryReceipt,
    MatchList,
    PlaneShares,
    Receipts,
    SignedBlockDigest,
    SignedMatchList,
    SignedReceipt,
)
from protocols.scan.sealing import Identity
from tests.protocols.scan.parties import changed, planted, scan, tampered, twins, unharmed

ZERO = np.zeros((1, 32), np.uint8)


@pytest.fixture
def bank():
    rng = np.random.default_rng(50)
    protocol, oracle = twins()
    cases, entries, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, entries)
    return protocol, oracle, queries[:8], rng


def lists(protocol, queries):
    """The two signed lists of a session, and what the exchange made of them."""
    kept = []
    with tampered(protocol, SignedMatchList, lambda m: kept.append(m) or m):
        protocol.match(queries)
    return kept


def resigned(protocol, signed, member, /, **fields):
    told = changed(decode(signed.body, MatchList), **fields)
    return protocol._members[member].identity.sign(told, SignedMatchList)


def test_a_forged_match_list_is_refused_and_with_the_check_off_blames_a_case(bank, monkeypatch):
    protocol, oracle, queries, rng = bank
    forger = Identity("member-2")

    def forge(message):
        told = decode(message.body, MatchList)
        slot = int(protocol._exchange.blocks[0].slots[0])
        return forger.sign(changed(told, queries=[0], slots=[slot]), SignedMatchList)

    with (
        tampered(protocol, SignedMatchList, forge, sender="member-2"),
        pytest.raises(IntegrityError, match="signature of member-2 does not verify"),
    ):
        protocol.match(queries)
    unharmed(protocol, oracle, rng)
    one = lists(protocol, queries)[0]
    session = np.random.default_rng(0).bytes(16)
    made_up = resigned(
        protocol, one, 1, session=session, queries=[0], slots=[int(protocol._exchange.blocks[0].slots[0])]
    )
    with pytest.raises(IntegrityError):
        protocol._exchange.resolve((made_up, made_up), (1, 2))
    with pytest.raises(IntegrityError, match="no pair"):
        protocol._exchange.resolve((made_up, made_up), (1, 1))  # one member alone
    monkeypatch.setattr("protocols.scan.sealing.Verifier.verify", lambda self, signed, kind: decode(signed.body, kind))
    other = resigned(protocol, made_up, 2, member="member-2")
    assert len(protocol._exchange.resolve((made_up, other), (1, 2)).handles) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"queries": [0], "slots": [0]},
        {"queries": [], "slots": []},
        {"many": [3]},
        {"platform": "platform-2"},
        {"version": 9},
        {"block": 4},
        {"session": bytes(16)},
    ],
)
def test_lists_that_differ_are_refused(bank, fields):
    protocol, oracle, queries, rng = bank
    one, two = lists(protocol, queries)
    fresh = {"session": bytes(range(16))}
    one = resigned(protocol, one, 1, **fresh)
    with pytest.raises(IntegrityError, match="match lists of member-1 and member-2 differ"):
        protocol._exchange.resolve((one, resigned(protocol, two, 2, **(fresh | fields))), (1, 2))
    unharmed(protocol, oracle, rng)


def test_lists_of_another_signer_version_slot_or_seen_before_are_refused(bank):
    protocol, oracle, queries, rng = bank
    one, two = lists(protocol, queries)
    with pytest.raises(ReplayError, match="resolved before"):
        protocol._exchange.resolve((one, two), (1, 2))
    with pytest.raises(IntegrityError, match="does not verify"):
        protocol._exchange.resolve((two, one), (1, 2))

    def both(**fields):
        fields = {"session": bytes(range(16))} | fields
        return resigned(protocol, one, 1, **fields), resigned(protocol, two, 2, **fields)

    with pytest.raises(IntegrityError, match="signs for member-3"):
        protocol._exchange.resolve(both(member="member-3"), (1, 2))
    for stale in ({"version": 9}, {"block": 9}):
        with pytest.raises(StaleVersion, match="not served"):
            protocol._exchange.resolve(both(**stale), (1, 2))
    free = int(np.setdiff1d(np.arange(1280), protocol._exchange.blocks[0].slots)[0])
    for slot, word in ((free, "no live entry"), (10**6, "out of range"), (-1, "do not decode")):
        with pytest.raises(MessageError, match=word):
            protocol._exchange.resolve(both(queries=[0], slots=[slot]), (1, 2))
    unharmed(protocol, oracle, rng)


def test_handles_are_random_and_say_nothing(bank):
    protocol, _, queries, _ = bank
    before = set(protocol._exchange._handles)
    for _ in range(2):
        lists(protocol, queries)
    handles = [handle for handle in protocol._exchange._handles if handle not in before]
    assert len(set(handles)) == len(handles)
    assert all(len(handle) == 16 for handle in handles)


def once(change):
    """The change for the first message only: what follows, such as a failed enrolment's withdrawal, is honest."""
    left = [change]
    return lambda message: left.pop()(message) if left else message


# Receipts ------------------------------------------------------------------------------------------------------------


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


# Building ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"share": 1}, "planes are missing"),
        ({"version": 7}, "another version or place"),
        ({"block": 7}, "another version or place"),
        ({"first": 1}, "another version or place"),
        ({"planes": memoryview(b"12345678")}, "planes"),
    ],
)
def test_planes_that_are_not_due_are_refused(bank, fields, word):
    protocol, oracle, queries, _ = bank
    with (
        tampered(protocol, PlaneShares, lambda m: changed(m, **fields), sender="member-2"),
        pytest.raises(MessageError, match=word),
    ):
        protocol.rebuild() if protocol._exchange.tombstoned() else protocol._update(
            protocol._exchange.assign(None, frozenset({0}))
        )
    protocol._update(protocol._exchange.assign(None, frozenset({0})))
    assert protocol.match(queries) == oracle.match(queries)


def test_a_signature_of_another_digest_is_not_published(bank):
    protocol, oracle, queries, _ = bank
    before = {}

    def old(message):
        return before.setdefault(0, message)

    with tampered(protocol, SignedBlockDigest, old, sender="member-1"):
        protocol._update(protocol._exchange.assign(None, frozenset({0})))
        with pytest.raises(IntegrityError, match="member-1 signed another digest"):
            protocol._update(protocol._exchange.assign(None, frozenset({0})))
    protocol._update(protocol._exchange.assign(None, frozenset({0})))
    assert protocol.match(queries) == oracle.match(queries)


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
    assert isinstance(protocol._exchange, Exchange)

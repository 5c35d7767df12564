"""Match lists into handles: two equal signed lists or nothing."""

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import decode
from protocols.scan.matching_messages import MatchList, SignedMatchList
from protocols.scan.sealing import Identity
from tests.protocols.scan.answers import with_entries
from tests.protocols.scan.parties import changed, tampered, unharmed


@pytest.fixture
def bank():
    bank = with_entries(np.random.default_rng(50))
    return bank.protocol, bank.oracle, bank.queries, bank.rng


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
        protocol._exchange.resolver.resolve((made_up, made_up), (1, 2))
    with pytest.raises(IntegrityError, match="no pair"):
        protocol._exchange.resolver.resolve((made_up, made_up), (1, 1))  # one member alone
    monkeypatch.setattr("protocols.scan.sealing.Verifier.verify", lambda self, signed, kind: decode(signed.body, kind))
    other = resigned(protocol, made_up, 2, member="member-2")
    assert len(protocol._exchange.resolver.resolve((made_up, other), (1, 2)).handles) == 1


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
        protocol._exchange.resolver.resolve((one, resigned(protocol, two, 2, **(fresh | fields))), (1, 2))
    unharmed(protocol, oracle, rng)


def test_lists_of_another_signer_version_slot_or_seen_before_are_refused(bank):
    protocol, oracle, queries, rng = bank
    one, two = lists(protocol, queries)
    with pytest.raises(ReplayError, match="resolved before"):
        protocol._exchange.resolver.resolve((one, two), (1, 2))
    with pytest.raises(IntegrityError, match="does not verify"):
        protocol._exchange.resolver.resolve((two, one), (1, 2))

    def both(**fields):
        fields = {"session": bytes(range(16))} | fields
        return resigned(protocol, one, 1, **fields), resigned(protocol, two, 2, **fields)

    with pytest.raises(IntegrityError, match="signs for member-3"):
        protocol._exchange.resolver.resolve(both(member="member-3"), (1, 2))
    for stale in ({"version": 9}, {"block": 9}):
        with pytest.raises(StaleVersion, match="not served"):
            protocol._exchange.resolver.resolve(both(**stale), (1, 2))
    free = int(np.setdiff1d(np.arange(1280), protocol._exchange.blocks[0].slots)[0])
    for slot, word in ((free, "no live entry"), (10**6, "out of range"), (-1, "do not decode")):
        with pytest.raises(MessageError, match=word):
            protocol._exchange.resolver.resolve(both(queries=[0], slots=[slot]), (1, 2))
    unharmed(protocol, oracle, rng)


def test_handles_are_random_and_say_nothing(bank):
    protocol, _, queries, _ = bank
    before = set(protocol._exchange.resolver._handles)
    for _ in range(2):
        lists(protocol, queries)
    handles = [handle for handle in protocol._exchange.resolver._handles if handle not in before]
    assert len(set(handles)) == len(handles)
    assert all(len(handle) == 16 for handle in handles)

"""The exchange: what it takes from clients, members and platforms."""

import msgspec
import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.blind import entries
from protocols.blind.exchange import Exchange
from protocols.blind.messages import MatchReport, Removal, SealedEntries, Withdrawal
from protocols.blind.parameters import Parameters
from protocols.ledger import decode, encode

PARAMETERS = Parameters(bands=32, entry_tokens=4, query_tokens=4)


@pytest.fixture
def exchange(committee):
    made = Exchange(PARAMETERS)
    made.pin(committee().manifests)
    return made


def sealed(rng, *cases):
    tokens = rng.integers(0, 256, (len(cases) * 4, 64), dtype=np.uint8)
    parts = entries.seal(np.zeros((len(cases), 32), np.uint8), tokens, np.zeros((len(cases), 4), int), 1)
    return SealedEntries(list(cases), *(part.tobytes() for part in parts))


def test_slots_are_numbered_on_and_resolved_until_withdrawn(exchange, rng):
    assert exchange.add([sealed(rng, "a", "b"), sealed(rng, "a")]).first_slot == 0
    assert exchange.add([sealed(rng, "c")]).first_slot == 3
    assert exchange.resolve(MatchReport([3, 0, 2], [1])) == ["c", "a", "a"]
    assert exchange.broken == {1}
    assert exchange.withdraw(Withdrawal("a")).slots == [0, 2]
    assert exchange.resolve(MatchReport([3, 0, 2], [])) == ["c", None, None]


def test_an_entry_id_that_was_used_is_refused_and_nothing_is_added(exchange, rng):
    first = sealed(rng, "a")
    exchange.add([first])
    with pytest.raises(ReplayError, match="entry id"):
        exchange.add([sealed(rng, "b"), first])
    twice = sealed(rng, "c")
    with pytest.raises(ReplayError):
        exchange.add([twice, twice])
    assert exchange.add([sealed(rng, "d")]).first_slot == 1


def test_an_entry_whose_rows_are_all_in_one_place_is_refused(exchange, rng):
    good = sealed(rng, "a", "b")
    twice = good.ids[:-12] + good.ids[-24:-12]
    with pytest.raises(MessageError, match="one row id twice in entry 1"):
        exchange.add([msgspec.structs.replace(good, ids=twice)])
    near = good.ids[:48] * 2  # two entries with the same rows are near each other, which is no fault
    assert exchange.add([msgspec.structs.replace(good, ids=near)]).first_slot == 0


@pytest.mark.parametrize("field", ["entries", "ids", "labels"])
def test_lengths_that_do_not_fit_are_refused_by_name(exchange, rng, field):
    good = sealed(rng, "a", "b")
    for data in (getattr(good, field)[:-1], getattr(good, field) + b"x", b""):
        with pytest.raises(MessageError, match=field):
            exchange.add([msgspec.structs.replace(good, **{field: data})])


def test_slots_that_never_were_are_refused(exchange, rng):
    exchange.add([sealed(rng, "a")])
    for report in (MatchReport([1], []), MatchReport([], [7])):
        with pytest.raises(MessageError, match="slot"):
            exchange.resolve(report)


def test_numbers_below_zero_do_not_decode():
    for message in (MatchReport([-1], []), MatchReport([], [-1]), Removal([-1])):
        with pytest.raises(MessageError):
            decode(encode(message), type(message))


def test_members_that_were_dealt_different_keys_are_noticed(committee):
    one, other = committee().manifests, committee().manifests
    exchange = Exchange(PARAMETERS)
    with pytest.raises(IntegrityError, match="do not agree"):
        exchange.pin(one | {3: other[3]})
    with pytest.raises(IntegrityError, match="one from each"):
        exchange.pin({1: one[1], 2: one[2]})
    exchange.pin(one)
    with pytest.raises(ReplayError, match="pinned already"):
        exchange.pin(other)


def test_entries_before_there_is_a_key_are_refused(rng):
    with pytest.raises(StaleVersion, match="no manifest is pinned"):
        Exchange(PARAMETERS).add([sealed(rng, "a")])

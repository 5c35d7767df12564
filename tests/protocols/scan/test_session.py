"""A session: its steps are taken once and in turn; each check shown to be needed."""

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError
from protocols.ledger import decode
from protocols.scan import session as module
from protocols.scan.comparison import rounds
from protocols.scan.dealing import Stock, deal
from protocols.scan.keys import KeyShare
from protocols.scan.matching_messages import GateOpening, HeaderDigest, MatchBits, MatchList, PartialDecryption
from protocols.scan.packing import unpack
from protocols.scan.parameters import FIELDS, T_BITS, WIDTH
from protocols.scan.ring import ring_of
from tests.protocols.scan.answers import (
    ZERO,
    agree,
    compare,
    finish,
    sessions,
    share,
    start,
    stock,
    whole,
    with_entries,
)
from tests.protocols.scan.parties import changed, crossed, scan, tampered, twins, unharmed


@pytest.fixture
def bank():
    return with_entries(np.random.default_rng(20))


def test_the_steps_give_the_matches(bank):
    one, two = whole(bank.protocol, bank.queries)
    assert (one.queries, one.slots) == (two.queries, two.slots)
    assert set(one.queries) == {match.query for match in bank.oracle.match(bank.queries)}


def test_steps_out_of_turn_are_refused_and_the_session_goes_on(bank):
    protocol = bank.protocol
    session, to_a, to_b = start(protocol, bank.queries)
    a, b = sessions(protocol)
    for step in (a.partial, b.partial, a.match_bits, b.answer):
        with pytest.raises(ReplayError, match="unknown"):
            step(session)
    one, two = a.receive_results("platform-1", to_a), b.receive_results("platform-1", to_b)
    with pytest.raises(ReplayError, match="not compared headers"):
        b.partial(session)
    with pytest.raises(MessageError, match="not of the pair"):
        a.receive_header(3, two)
    a.receive_header(2, two)
    b.receive_header(1, one)
    for side, step in ((a, "partial"), (b, "receive_partial")):
        with pytest.raises(ReplayError, match="other one's step"):
            getattr(side, step)(*([session] if step == "partial" else [1, PartialDecryption(session, memoryview(b""))]))
    seed, _ = stock(protocol)
    with pytest.raises(ReplayError, match="shares are not ready"):
        a.start_comparison(session, seed.deal)
    partial = crossed(b.partial(session))
    with pytest.raises(ReplayError, match="none of member-3 is due"):
        a.receive_partial(3, partial)
    with pytest.raises(MessageError, match="partial decryption"):
        a.receive_partial(2, changed(partial, partial=memoryview(b"")))
    a.receive_partial(2, partial)
    with pytest.raises(ReplayError, match="none of member-2 is due"):
        a.receive_partial(2, partial)
    with pytest.raises(ReplayError, match="not started"):
        a.match_bits(session)
    with pytest.raises(ReplayError, match="not due"):
        a.gate_opening(session, 0, 0)
    for side in (a, b):
        side.start_comparison(session, seed.deal)
        with pytest.raises(ReplayError, match=r"started before|not ready"):
            side.start_comparison(session, seed.deal)
    with pytest.raises(ReplayError, match="none of member-2 is due"):
        a.receive_partial(2, partial)
    with pytest.raises(ReplayError, match="not ready"):
        a.match_bits(session)
    first, theirs = crossed(a.gate_opening(session, 0, 0)), crossed(b.gate_opening(session, 0, 0))
    with pytest.raises(ReplayError, match="no round is due"):
        a.gate_opening(session, 0, 0)
    with pytest.raises(MessageError, match="not of this session"):
        a.next_gates(3, theirs)
    with pytest.raises(MessageError, match="gate openings"):
        a.next_gates(2, changed(theirs, masked=memoryview(b"")))
    for wrong in ({"round": 1}, {"round": -1}, {"chunk": 1}, {"chunk": -1}):
        with pytest.raises(ReplayError, match="not due"):
            a.next_gates(2, changed(theirs, **wrong))
    mine, other = a.next_gates(2, theirs), b.next_gates(1, first)
    for _ in rounds(protocol.parameters)[1:]:
        with pytest.raises(ReplayError, match="not due"):
            a.next_gates(2, theirs)  # an opening of an earlier round
        mine, other = a.next_gates(2, crossed(other)), b.next_gates(1, crossed(mine))
    assert mine is other is None
    with pytest.raises(ReplayError, match="not decided"):
        a.answer(session)
    bits = [crossed(side.match_bits(session)) for side in (a, b)]
    with pytest.raises(ReplayError, match="not decided"):
        a.answer(session)
    with pytest.raises(ReplayError, match="match bits of member-3"):
        a.receive_match_bits(3, bits[1])
    with pytest.raises(MessageError, match="match bits"):
        a.receive_match_bits(2, changed(bits[1], bits=memoryview(b"")))
    a.receive_match_bits(2, bits[1])
    with pytest.raises(ReplayError, match="match bits of member-2"):
        a.receive_match_bits(2, bits[1])
    b.receive_match_bits(1, bits[0])
    lists = [decode(side.answer(session)[0].body, MatchList) for side in (a, b)]
    assert set(lists[0].queries) == {match.query for match in bank.oracle.match(bank.queries)}
    with pytest.raises(ReplayError, match="ended already"):
        a.answer(session)
    unharmed(protocol, bank.oracle, bank.rng)


def test_with_rounds_unchecked_a_replayed_opening_silently_loses_matches(bank, monkeypatch):
    """Every round of the borrow chain opens one gate: without the number, one passes for another."""
    protocol, original = bank.protocol, GateOpening
    truth = bank.oracle.match(bank.queries)
    first = []

    def replay(message):
        first.append(message)
        return changed(first[0], round=message.round) if message.round < 9 else message

    with tampered(protocol, original, replay, receiver="member-1"):
        assert protocol.match(bank.queries) != truth  # what a number that lies would do
    with (
        tampered(protocol, original, lambda m: changed(m, round=0), receiver="member-1"),
        pytest.raises(ReplayError, match="not due"),
    ):
        protocol.match(bank.queries)
    unharmed(protocol, bank.oracle, bank.rng)


def test_a_retry_gets_the_same_bytes_and_another_session_another_mask(bank):
    protocol = bank.protocol
    session, _, b = agree(protocol)
    assert bytes(b.partial(session).partial) == bytes(b.partial(session).partial)
    c1 = b._sessions[session].c1
    other, _, _ = agree(protocol)
    b._sessions[other].c1 = c1  # the very same results again
    one, two = (
        unpack(np.frombuffer(b.partial(s).partial, np.uint64).reshape(8, 2, 1, 45, 4)[0], "x") for s in (session, other)
    )
    assert (one != two).mean() > 0.99


def first_share(planes):
    """The share of the first result that is sliced into planes (WIDTH, batch, FIELDS, size/64), (1, size)."""
    bits = np.unpackbits(
        np.ascontiguousarray(planes[:, 0]).view(np.uint8).reshape(WIDTH, FIELDS, -1, 8), axis=-1, bitorder="little"
    )
    weights = np.uint64(1) << (WIDTH * np.arange(FIELDS) + np.arange(WIDTH)[:, None]).astype(np.uint64)
    return np.tensordot(weights, bits.astype(np.uint64), 2).T.reshape(1, -1)


def test_without_the_replay_check_and_with_one_mu_a_learns_the_difference_of_two_plaintexts(bank, monkeypatch):
    """A platform sends a second batch under the session's id; B's mask, drawn alike, cancels."""
    protocol = bank.protocol
    shares = []
    original = KeyShare.unmask_batch

    def watched(self, *arguments):
        original(self, *arguments)
        shares.append(first_share(arguments[-1]))

    monkeypatch.setattr(KeyShare, "unmask_batch", watched)
    queries = np.concatenate([ZERO, 255 - ZERO])

    def differences():
        shares.clear()
        session, a, b = share(protocol, queries[:1])
        _, to_a, to_b = start(protocol, queries[1:], session=session)
        for side, to in ((a, to_a), (b, to_b)):
            side.receive_results("platform-1", to)
        one, two = (
            HeaderDigest(session, a._sessions[session].digest, b""),
            HeaderDigest(session, b._sessions[session].digest, b""),
        )
        a.receive_header(2, two)
        b.receive_header(1, one)
        a.receive_partial(2, crossed(b.partial(session)))
        return (shares[0] - shares[1]) & np.uint64((1 << T_BITS) - 1)

    with pytest.raises(ReplayError, match="seen before"):
        differences()
    with monkeypatch.context() as patch:
        for side in sessions(protocol):
            patch.setattr(side, "_seen", NeverSeen())
        patch.setattr(module, "Stream", lambda: KeyStream(bytes(32)))
        seen = differences()
    slots = protocol._members[1].custody.blocks[0]
    where = {entry.tobytes(): int(slot) for entry, slot in zip(slots.entries, slots.slots, strict=True)}
    ids = [entry for entries in protocol._exchange._cases.values() for entry in entries]
    for entry, row in zip(ids, bank.entries, strict=True):
        coefficient, field = divmod(where[entry], FIELDS)
        told = int(seen[0, coefficient]) >> (WIDTH * field)
        weight = int(np.bitwise_count(row).sum())  # distances to the two queries: weight and 256 - weight
        assert (told - 2 * (2 * weight - 256) + 2) % (1 << WIDTH) <= 4


class NeverSeen(dict):
    def __contains__(self, item):
        return False


KeyStream = module.Stream


def test_a_deal_serves_once_and_reused_shows_the_other_sides_bits(bank, monkeypatch):
    """With the check off, A XORs what B opened in two sessions: masks cancel, B's bits of both remain."""
    protocol = bank.protocol
    a, b = sessions(protocol)
    seed, correction = stock(protocol)
    for side, message in ((a, seed), (b, correction)):
        with pytest.raises(ReplayError, match="came before"):
            side.stock.receive(3, message)
    openings, planes = [], []

    def run():
        session, *_ = share(protocol, bank.queries)
        planes.append(b._sessions[session].planes[0].copy())  # Y_B, lowest bit
        for side in (a, b):
            side.start_comparison(session, seed.deal)
        opened = []
        compare(protocol, session, a, b, opened)
        openings.append(opened[0].reshape(1, 2, -1)[0])
        return finish(protocol, session, a, b)

    run()
    with pytest.raises(ReplayError, match="not in stock"):
        run()
    planes.pop()
    for side, message in ((a, seed), (b, correction)):
        side.stock._deals[seed.deal] = 3, message  # what dropping `pop` would do
    run()
    # the first gate's second input is B's lowest bit, masked by b: the same b twice
    leaked = openings[0][1] ^ openings[1][1]
    assert np.array_equal(leaked, (planes[0] ^ planes[1]).reshape(-1))
    unharmed(protocol, bank.oracle, bank.rng)


@pytest.mark.parametrize("dealer", [1, 2])
def test_a_deal_of_one_of_the_pair_is_refused_as_it_would_unmask_the_other(bank, dealer):
    session, a, b = share(bank.protocol)
    seed, _ = stock(bank.protocol, dealer)
    for side in (a, b):
        with pytest.raises(ReplayError, match="dealt and takes part"):
            side.start_comparison(session, seed.deal)
    good, _ = stock(bank.protocol)
    for side in (a, b):
        side.start_comparison(session, good.deal)
    compare(bank.protocol, session, a, b)
    assert finish(bank.protocol, session, a, b)
    unharmed(bank.protocol, bank.oracle, bank.rng)


def test_malformed_deals_are_refused(bank):
    seed, correction = map(crossed, deal(bank.protocol.parameters, 1, 8, False))
    a, b = sessions(bank.protocol)
    for bad in ({"seed": b"short"}, {"words": 0}, {"words": -5}):
        with pytest.raises(ReplayError, match="malformed"):
            a.stock.receive(3, changed(seed, **bad))
    with pytest.raises(MessageError, match="corrections"):
        b.stock.receive(3, changed(correction, corrections=memoryview(b"12345678")))
    session, a, b = share(bank.protocol)
    small, _ = map(crossed, deal(bank.protocol.parameters, 1, 4, False))
    a.stock.receive(3, small)
    with pytest.raises(ReplayError, match="another batch"):
        a.start_comparison(session, small.deal)
    b.stock.receive(3, changed(seed, deal=bytes(16)))
    with pytest.raises(ReplayError, match="another batch"):
        b.start_comparison(session, bytes(16))  # A's part of a deal, given to B


def test_no_platform_pushes_anothers_deals_out_of_stock(bank):
    protocol = bank.protocol
    dealt = [deal(protocol.parameters, 1, protocol._batch, False)[0] for _ in range(9)]
    stock = Stock(protocol.parameters)
    stock.limit = 4
    for message in dealt[:2]:
        stock.receive(3, crossed(message), "platform-1")
    for message in dealt[2:]:
        stock.receive(3, crossed(message), "platform-2")
    assert stock.missing([message.deal for message in dealt]) == [message.deal for message in dealt[2:7]]
    stock.take(dealt[0].deal, dealt[0].words, True, [1, 2])
    stock.receive(3, crossed(deal(protocol.parameters, 1, protocol._batch, False)[0]), "platform-2")
    assert stock.missing([dealt[1].deal, dealt[7].deal]) == []


def test_a_query_over_the_cap_gets_that_many_and_many(bank):
    protocol = scan(match_cap=3)
    rows = np.concatenate([np.repeat(ZERO, 10, axis=0), 255 - np.repeat(ZERO, 2, axis=0)])
    protocol.enroll([f"c{i}" for i in range(12)], rows)
    queries = np.concatenate([ZERO, 255 - ZERO, bank.entries[4:5]])
    lists = whole(protocol, queries)
    assert lists[0].queries == lists[1].queries == [0, 0, 0, 1, 1]
    assert lists[0].slots == lists[1].slots
    assert lists[0].many == lists[1].many == [0]
    chosen = {tuple(whole(protocol, queries)[0].slots[:3]) for _ in range(12)}
    assert len(chosen) > 3  # random ones, another time others
    found = protocol.match(queries)
    assert [match.query for match in found] == [0, 0, 0, 1, 1]


def test_a_withdrawn_entry_stops_matching_at_once_and_its_neighbours_go_on():
    """The platform's bank is the old one: A's tombstones and both members' live slots do it, each by itself."""
    protocol, oracle = twins()
    rows = np.repeat(ZERO, 8, axis=0)
    for p in (protocol, oracle):
        p.enroll([f"c{i}" for i in range(8)], rows)
        p.withdraw("c3")
    assert protocol.match(ZERO) == oracle.match(ZERO)
    revived = protocol._members[1].custody.blocks[0]
    slots = type(revived)
    original = slots.live_mask
    try:
        slots.live_mask = lambda self: np.full_like(original(self), 2**64 - 1)
        for number in (1, 2):
            protocol._members[number].sessions._standings._kept.clear()
        assert protocol.match(ZERO) == oracle.match(ZERO)  # tombstones alone
    finally:
        slots.live_mask = original
    tombstones = slots.tombstones
    try:
        slots.tombstones = lambda self: np.zeros_like(tombstones(self))
        for number in (1, 2):
            protocol._members[number].sessions._standings._kept.clear()
        assert protocol.match(ZERO) == oracle.match(ZERO)  # live slots alone
    finally:
        slots.tombstones = tombstones


def test_forged_match_bits_end_as_lists_that_differ(bank):
    def flip(message):
        bits = np.frombuffer(message.bits, dtype=np.uint64) ^ np.uint64(2**64 - 1)
        return changed(message, bits=bits.data)

    with (
        tampered(bank.protocol, MatchBits, flip, receiver="member-1"),
        pytest.raises(IntegrityError, match="match lists of member-1 and member-2 differ"),
    ):
        bank.protocol.match(bank.queries)
    unharmed(bank.protocol, bank.oracle, bank.rng)


def test_extreme_masks_do_not_disturb_the_answer(bank, monkeypatch):
    """mu = 0, 1, q-1 and multiples of q/t: carries everywhere, and the same matches."""
    protocol, truth = bank.protocol, bank.oracle.match(bank.queries)
    ring = ring_of(protocol.parameters.n)
    extremes = [np.zeros((2, 1, 256)), np.ones((2, 1, 256)), -np.ones((2, 1, 256))]
    extremes += [ring.scale_up(np.full((1, 256), value, dtype=np.uint64)) for value in (1, (1 << T_BITS) - 1, 1 << 49)]
    for mu in extremes:
        with monkeypatch.context() as patch:
            patch.setattr(module.Stream, "uniform", lambda self, *shape, mu=mu: mu.copy())
            assert protocol.match(bank.queries) == truth

"""Sessions: members answer what a platform signed, once, in turn, within budgets; each check shown to be needed."""

from types import SimpleNamespace

import numpy as np
import pytest

from protocols.base import BudgetExceeded, IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import decode
from protocols.scan import budgets
from protocols.scan import session as module
from protocols.scan.comparison import rounds
from protocols.scan.dealing import Stock, chunks, deal
from protocols.scan.keys import KeyShare
from protocols.scan.messages import (
    GateOpening,
    HeaderDigest,
    MatchBits,
    MatchList,
    PartialDecryption,
    ScanHeader,
    ScanResults,
    SignedHeader,
)
from protocols.scan.packing import unpack
from protocols.scan.parameters import FIELDS, T_BITS, WIDTH
from protocols.scan.ring import ring_of
from protocols.scan.sealing import Identity, digest
from tests.protocols.scan.parties import changed, crossed, flipped, planted, scan, tampered, twins, unharmed

ZERO = np.zeros((1, 32), np.uint8)


@pytest.fixture
def bank():
    """A scan and its plaintext twin with entries, and queries for them."""
    rng = np.random.default_rng(20)
    protocol, oracle = twins()
    cases, entries, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, entries)
    return SimpleNamespace(protocol=protocol, oracle=oracle, entries=entries, queries=queries[:8], rng=rng)


def sessions(protocol):
    return [protocol._members[number].sessions for number in (1, 2)]


def start(protocol, hashes=ZERO, **fields):
    """A batch of results for members 1 and 2, its header signed with other fields if given."""
    scanned = protocol._checker.scan(hashes, 0, (1, 2))
    session, (to_a, to_b) = scanned.session, protocol._checker.results(scanned)
    if fields:
        header = changed(decode(to_a.header.body, ScanHeader), **fields)
        signed = protocol._checker._identity.sign(header, SignedHeader)
        to_a, to_b = changed(to_a, header=signed), changed(to_b, header=signed)
    return session, crossed(to_a), crossed(to_b)


def agree(protocol, hashes=ZERO):
    """A session that both members were given alike."""
    session, to_a, to_b = start(protocol, hashes)
    a, b = sessions(protocol)
    one, two = a.receive_results("platform-1", to_a), b.receive_results("platform-1", to_b)
    a.receive_header(2, two)
    b.receive_header(1, one)
    return session, a, b


def share(protocol, hashes=ZERO):
    """A session whose shares are ready."""
    session, a, b = agree(protocol, hashes)
    a.receive_partial(2, crossed(b.partial(session)))
    return session, a, b


def stock(protocol, dealer=3):
    seed, correction = map(crossed, deal(protocol.parameters, 1, protocol._batch, False))
    a, b = sessions(protocol)
    a.stock.receive(dealer, seed)
    b.stock.receive(dealer, correction)
    return seed, correction


def compare(protocol, session, a, b, watch=None):
    """The gates of a session whose comparison was started; `watch` is told what A receives."""
    for chunk in range(len(chunks(protocol.parameters, 1, protocol._batch))):
        for round_ in range(len(rounds(protocol.parameters))):
            mine, theirs = (crossed(side.gate_opening(session, chunk, round_)) for side in (a, b))
            if watch is not None:
                watch.append(np.frombuffer(theirs.masked, dtype=np.uint64))
            a.receive_gates(2, theirs)
            b.receive_gates(1, mine)


def finish(protocol, session, a, b):
    one, two = (crossed(side.match_bits(session)) for side in (a, b))
    a.receive_match_bits(2, two)
    b.receive_match_bits(1, one)
    return [decode(side.answer(session)[0].body, MatchList) for side in (a, b)]


def whole(protocol, hashes=ZERO, watch=None):
    """A session from start to end: what A and B list."""
    session, a, b = share(protocol, hashes)
    seed, _ = stock(protocol)
    for side in (a, b):
        side.start_comparison(session, seed.deal)
    compare(protocol, session, a, b, watch)
    return finish(protocol, session, a, b)


def test_the_steps_give_the_matches(bank):
    one, two = whole(bank.protocol, bank.queries)
    assert (one.queries, one.slots) == (two.queries, two.slots)
    assert set(one.queries) == {match.query for match in bank.oracle.match(bank.queries)}


# Headers -------------------------------------------------------------------------------------------------------------

HEADERS = [
    ({"pair": [1, 3]}, 2, MessageError, "not for member-2"),
    ({"pair": [2, 2]}, 2, MessageError, "no pair of members"),
    ({"pair": [1, 2, 1]}, 1, MessageError, "not for member"),
    ({"pair": [1, 2, 3]}, 2, MessageError, r"not for member|no pair"),
    ({"pair": [7, 2]}, 2, MessageError, "no pair"),
    ({"batch": 7}, 1, MessageError, "batch of another size"),
    ({"platform": "platform-2"}, 1, MessageError, "names another platform"),
    ({"epoch": 2}, 1, StaleVersion, "epoch 2"),
    ({"version": 0}, 1, StaleVersion, "version 0"),
    ({"version": 2}, 1, StaleVersion, "version 2"),
    ({"block": 9}, 1, StaleVersion, "block 9"),
    ({"block_digest": bytes(32)}, 1, StaleVersion, "not the one that was signed"),
    ({"session": b"short"}, 1, MessageError, "not for"),
    ({"c1_digest": bytes(32)}, 1, IntegrityError, "not the ones"),
    ({"c0_digest": bytes(32)}, 1, IntegrityError, "not the ones"),
]


@pytest.mark.parametrize(("fields", "member", "error", "word"), HEADERS)
def test_a_header_that_does_not_fit_is_refused(bank, fields, member, error, word):
    _, to_a, to_b = start(bank.protocol, **fields)
    with pytest.raises(error, match=word):
        bank.protocol._members[member].sessions.receive_results("platform-1", to_a if member == 1 else to_b)
    unharmed(bank.protocol, bank.oracle, bank.rng)


def test_a_header_for_another_order_of_the_pair_is_refused(bank):
    """A is told (1, 2) and B (2, 1), so that both would play A: they compare headers first."""
    session, to_a, _ = start(bank.protocol)
    a, b = sessions(bank.protocol)
    mine = a.receive_results("platform-1", to_a)
    header = changed(decode(to_a.header.body, ScanHeader), pair=[2, 1])
    theirs = b.receive_results(
        "platform-1", changed(to_a, header=bank.protocol._checker._identity.sign(header, SignedHeader))
    )
    with pytest.raises(IntegrityError, match="gave member-2 another header"):
        a.receive_header(2, theirs)
    with pytest.raises(IntegrityError, match="gave member-1 another header"):
        b.receive_header(1, mine)
    for side in (a, b):
        with pytest.raises(ReplayError, match="not compared headers"):
            side.partial(session)
    unharmed(bank.protocol, bank.oracle, bank.rng)


def test_members_given_different_c1_notice_and_without_comparing_share_garbage(bank, monkeypatch):
    protocol = bank.protocol

    def other_c1(message):
        c1 = np.frombuffer(message.c1, dtype=np.uint64).copy()
        c1.reshape(protocol._batch, -1)[:, 0] ^= 1  # in every result: some garbage happens to look right
        header = decode(message.header.body, ScanHeader)
        header = changed(header, c1_digest=digest("c1", c1.data.cast("B")))
        return changed(message, c1=c1.data, header=protocol._checker._identity.sign(header, SignedHeader))

    with (
        tampered(protocol, ScanResults, other_c1, receiver="member-2"),
        pytest.raises(IntegrityError, match="another header"),
    ):
        protocol.match(bank.queries)
    unharmed(protocol, bank.oracle, bank.rng)
    monkeypatch.setattr(module, "same", lambda left, right: True)
    with tampered(protocol, ScanResults, other_c1, receiver="member-2"):
        assert protocol.match(bank.queries) != bank.oracle.match(bank.queries)


def test_results_signed_by_somebody_else_are_refused(bank):
    _, to_a, _ = start(bank.protocol)
    a, _ = sessions(bank.protocol)
    header = decode(to_a.header.body, ScanHeader)
    with pytest.raises(IntegrityError, match="signature of platform-1 does not verify"):
        a.receive_results("platform-1", changed(to_a, header=Identity("platform-1").sign(header, SignedHeader)))
    with pytest.raises(IntegrityError, match="no platform of the manifest"):
        a.receive_results("platform-9", to_a)
    with pytest.raises(IntegrityError, match="does not verify"):
        a.receive_results("platform-1", changed(to_a, header=SignedHeader(to_a.header.body, bytes(64))))
    unharmed(bank.protocol, bank.oracle, bank.rng)


def test_a_replayed_header_is_refused(bank):
    session, a, b = share(bank.protocol)
    _, to_a, _ = start(bank.protocol, session=session)
    with pytest.raises(ReplayError, match="seen before"):
        a.receive_results("platform-1", to_a)
    seed, _ = stock(bank.protocol)
    for side in (a, b):
        side.start_comparison(session, seed.deal)
    compare(bank.protocol, session, a, b)
    finish(bank.protocol, session, a, b)
    with pytest.raises(ReplayError, match="seen before"):
        a.receive_results("platform-1", to_a)  # nor after the session has ended
    unharmed(bank.protocol, bank.oracle, bank.rng)


@pytest.mark.parametrize("part", ["c0", "c1"])
def test_tampered_results_are_refused_and_unnoticed_without_the_digest(bank, monkeypatch, part):
    protocol = bank.protocol

    def flip(message):
        return changed(message, **{part: memoryview(flipped(bytes(getattr(message, part)), 5))})

    with (
        tampered(protocol, ScanResults, flip, receiver="member-1"),
        pytest.raises(IntegrityError, match="not the ones"),
    ):
        protocol.match(bank.queries)
    unharmed(protocol, bank.oracle, bank.rng)
    monkeypatch.setattr(module, "same", lambda left, right: True)
    with tampered(protocol, ScanResults, flip, receiver="member-1"):
        protocol.match(bank.queries)  # goes through: nothing else looks at it


@pytest.mark.parametrize("part", ["c0", "c1"])
@pytest.mark.parametrize("change", [b"", b"12345678"])
def test_results_of_the_wrong_length_are_refused(bank, part, change):
    _, to_a, _ = start(bank.protocol)
    with pytest.raises(MessageError, match="wrong length"):
        sessions(bank.protocol)[0].receive_results("platform-1", changed(to_a, **{part: memoryview(change)}))
    unharmed(bank.protocol, bank.oracle, bank.rng)


@pytest.mark.parametrize(("part", "member"), [("c1", 2), ("c0", 1), ("partial", 1)])
def test_residues_not_below_their_prime_are_refused(bank, part, member):
    """All ones: 2^45 - 1, signed by the platform like any other result."""
    protocol = bank.protocol
    bad = memoryview(b"\xff" * (2 * protocol._batch * 45 * 256 // 8))
    if part == "partial":
        session, a, b = agree(protocol)
        message = changed(crossed(b.partial(session)), partial=bad)
        with pytest.raises(MessageError, match="partial decryption: a residue is not below its prime"):
            a.receive_partial(2, message)
    else:
        _, to_a, to_b = start(protocol, **{f"{part}_digest": digest(part, bad)})
        given = {1: to_a, 2: to_b}[member]
        with pytest.raises(MessageError, match=f"{part}: a residue is not below its prime"):
            sessions(protocol)[member - 1].receive_results("platform-1", changed(given, **{part: bad}))
    unharmed(protocol, bank.oracle, bank.rng)


def test_a_stale_bank_is_refused_and_says_what_to_do(bank):
    protocol = bank.protocol
    session, to_a, _ = start(protocol)
    during, a, b = agree(protocol)
    late, c, d = share(protocol)
    for p in (protocol, bank.oracle):
        p.withdraw("case-3")
    protocol.rebuild()
    with pytest.raises(StaleVersion, match="sync and scan again"):
        a.receive_results("platform-1", to_a)
    with pytest.raises(StaleVersion, match="rebuilt during the session"):
        a.receive_partial(2, crossed(b.partial(during)))
    seed, _ = stock(protocol)
    for side in (c, d):
        side.start_comparison(late, seed.deal)
    compare(protocol, late, c, d)
    with pytest.raises(StaleVersion, match="rebuilt during the session"):
        finish(protocol, late, c, d)
    unharmed(protocol, bank.oracle, bank.rng)
    assert session != during


# Steps ---------------------------------------------------------------------------------------------------------------


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
        a.receive_gates(3, theirs)
    with pytest.raises(MessageError, match="gate openings"):
        a.receive_gates(2, changed(theirs, masked=memoryview(b"")))
    for wrong in ({"round": 1}, {"round": -1}, {"chunk": 1}, {"chunk": -1}):
        with pytest.raises(ReplayError, match="not due"):
            a.receive_gates(2, changed(theirs, **wrong))
    a.receive_gates(2, theirs)
    b.receive_gates(1, first)
    for round_ in range(1, len(rounds(protocol.parameters))):
        mine, other = (crossed(side.gate_opening(session, 0, round_)) for side in (a, b))
        with pytest.raises(ReplayError, match="not due"):
            a.receive_gates(2, theirs)  # an opening of an earlier round
        a.receive_gates(2, other)
        b.receive_gates(1, mine)
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


# Single use ----------------------------------------------------------------------------------------------------------


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
    """The share of the first result that is sliced into planes (batch, WIDTH, FIELDS, size/64), (1, size)."""
    bits = np.unpackbits(planes[0].view(np.uint8).reshape(WIDTH, FIELDS, -1, 8), axis=-1, bitorder="little")
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
        planes.append(b._sessions[session].planes[:, 0].copy())  # Y_B, lowest bit
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


# Caps and budgets ----------------------------------------------------------------------------------------------------


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


def test_the_daily_budget_of_results_holds_and_comes_back(bank, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(budgets.time, "time", lambda: now[0])
    protocol = scan(daily_results=36)
    protocol.enroll(["a"], ZERO)
    for _ in range(3):
        assert len(protocol.match(ZERO)) == 1
        now[0] += 100
    with pytest.raises(BudgetExceeded, match="36 results") as error:
        protocol.match(ZERO)
    assert error.value.retry_after == pytest.approx(25 * 3600 - 1300)  # counted by the hour
    now[0] += error.value.retry_after - 1
    with pytest.raises(BudgetExceeded):
        protocol.match(ZERO)
    now[0] += 1
    for _ in range(3):
        assert len(protocol.match(ZERO)) == 1
    with pytest.raises(BudgetExceeded):
        protocol.match(ZERO)
    monkeypatch.setattr(budgets.Budgets, "spend", lambda self, platform, batch: None)
    for _ in range(5):
        assert len(protocol.match(ZERO)) == 1


def test_no_mix_of_pairs_gets_more_results_than_the_manifest_admits():
    protocol = scan(daily_results=100, batch=10)
    protocol.enroll(["a"], ZERO)
    got = 0
    for _ in range(3):
        for protocol.pair in ((1, 2), (1, 3), (2, 3), (2, 1)):
            for _ in range(2):
                try:
                    got += 10 * bool(protocol.match(ZERO))
                except BudgetExceeded:
                    continue
    assert 60 <= got <= 100  # 60 a member; what one admits and the other refuses is spent


def test_only_platforms_may_ask(bank):
    protocol = bank.protocol
    _, to_a, _ = start(protocol)
    for name in ("exchange", "member-2", "member-3", "nobody"):
        with pytest.raises(IntegrityError, match=f"{name} is no platform"):
            sessions(protocol)[0].receive_results(name, to_a)


def test_refused_results_cost_no_budget():
    protocol = scan(daily_results=12)
    protocol.enroll(["a"], ZERO)
    for _ in range(3):
        _, to_a, _ = start(protocol, batch=7)
        with pytest.raises(MessageError):
            sessions(protocol)[0].receive_results("platform-1", to_a)
    assert len(protocol.match(ZERO)) == 1


def test_a_platform_that_matches_too_often_is_stopped():
    protocol = scan(daily_match_share=0.5, batch=256)
    protocol.enroll(["a"], ZERO)
    rng = np.random.default_rng(0)
    for _ in range(2):
        protocol.match(np.repeat(ZERO, 256, axis=0))
    for _ in range(2):
        protocol.match(rng.integers(0, 256, (256, 32), dtype=np.uint8))
    protocol.match(ZERO)  # 512 of 1024: not more than half
    protocol.match(np.repeat(ZERO, 256, axis=0))
    with pytest.raises(BudgetExceeded, match=r"more than 50.0% of its day's queries match"):
        protocol.match(ZERO)


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
            protocol._members[number].sessions._kept.clear()
        assert protocol.match(ZERO) == oracle.match(ZERO)  # tombstones alone
    finally:
        slots.live_mask = original
    tombstones = slots.tombstones
    try:
        slots.tombstones = lambda self: np.zeros_like(tombstones(self))
        for number in (1, 2):
            protocol._members[number].sessions._kept.clear()
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


def test_nothing_is_shown(bank):
    a, _ = sessions(bank.protocol)
    assert repr(a) == "<Sessions of member-1>"
    session, a, _ = agree(bank.protocol)
    assert "c1=" not in repr(a._sessions[session])

"""The whole scan against plaintext: every pair of members, lanes, threshold, and everything that happens to a bank."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import create, ledger
from protocols.base import ConfigurationError, ProtocolError
from protocols.ledger import Ledger
from protocols.scan import dealing
from protocols.scan.comparison import rounds
from protocols.scan.exchange import Exchange
from protocols.scan.packing import unpack
from protocols.scan.parameters import Parameters, largest_threshold
from tests.protocols.scan.parties import PAIRS, changed, near, phase, planted, scan, twins

THRESHOLDS = [0, 1, 31, 32, 63, 64, 71, 72, 127]


def agree(protocol, oracle, queries):
    truth = oracle.match(queries)
    before = protocol.pair
    for protocol.pair in PAIRS:
        assert protocol.match(queries) == truth
    protocol.pair = before
    return truth


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_same_pairs_as_plaintext_whoever_decrypts(threshold):
    rng = np.random.default_rng(threshold)
    protocol, oracle = twins(threshold=threshold, batch=16)
    cases, bank, queries = planted(rng, 256, threshold)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    assert agree(protocol, oracle, queries)


@pytest.fixture
def spread(monkeypatch):
    """A small first block uses every lane, not the fewest that hold it."""
    assign, rng = Exchange.assign, np.random.default_rng(0)

    def spread_out(self, *arguments):
        slot_map, most = assign(self, *arguments), self._parameters.lanes
        if slot_map.blocks != [0] or 0 in self.blocks:
            return slot_map
        slots = rng.choice(most * self._parameters.slots_per_lane, slot_map.counts[0], replace=False).astype("<u4")
        return changed(slot_map, lanes=[most], slots=memoryview(slots.tobytes()))

    monkeypatch.setattr(Exchange, "assign", spread_out)


@pytest.mark.parametrize("threshold", [0, 31, 127])
def test_same_pairs_over_eight_lanes(threshold, spread):
    rng = np.random.default_rng(threshold)
    protocol, oracle = twins(threshold=threshold, batch=16, lanes=8)
    cases, bank, queries = planted(rng, 256, threshold)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    slots = protocol._exchange.blocks[0]
    assert slots.lanes == 8
    assert len(set(slots.slots // protocol.parameters.slots_per_lane)) > 4
    assert agree(protocol, oracle, queries)


@pytest.mark.parametrize("threshold", [0, 1, 5, 31, 32, 63, 64])
def test_64_bit_hashes_at_thresholds_of_every_kappa(threshold):
    same_at_64_bits(threshold)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", range(largest_threshold(64) + 1))
def test_64_bit_hashes_at_every_threshold(threshold):
    same_at_64_bits(threshold)


def same_at_64_bits(threshold):
    rng = np.random.default_rng(threshold)
    protocol, oracle = twins(bits=64, threshold=threshold, batch=16)
    cases, bank, queries = planted(rng, 64, threshold)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    agree(protocol, oracle, queries)


@pytest.fixture(scope="module")
def crowd():
    """300 entries around one centre, and their plaintext twin at T = 31."""
    rng = np.random.default_rng(30)
    protocol, oracle = twins(batch=32)
    centre = rng.integers(0, 256, 32, dtype=np.uint8)
    bank = np.array([near(rng, centre, int(d)) for d in rng.integers(14, 18, 300)])
    bank[0], bank[1] = 0, 255
    for p in (protocol, oracle):
        p.enroll([f"c{i}" for i in range(300)], bank)
    return protocol, oracle, bank


@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_random_queries_whose_distances_lie_around_t(crowd, seed):
    protocol, oracle, bank = crowd
    rng = np.random.default_rng(seed)
    queries = [
        near(rng, bank[rng.integers(300)], int(rng.choice([0, 14, 15, 16, 17, 30, 31, 32, 33]))) for _ in range(32)
    ]
    queries[0] = ~bank[rng.integers(300)]
    protocol.pair = PAIRS[seed % 6]
    assert protocol.match(np.array(queries)) == oracle.match(np.array(queries))


def test_a_batch_is_compared_in_chunks_of_about_as_many_words(crowd, monkeypatch):
    protocol, oracle, bank = crowd
    parameters = protocol.parameters
    assert dealing.chunks(Parameters(), 8, 80) == [(0, 32), (32, 64), (64, 80)]
    assert dealing.chunks(Parameters(), 1, 300) == [(0, 256), (256, 300)]
    assert dealing.chunks(Parameters(), 8, 3) == [(0, 3)]
    monkeypatch.setattr(dealing, "CHUNK_WORDS", 7 * dealing.words_of(parameters, protocol._checker.blocks[0].lanes))
    before = len(protocol.ledger.messages)
    assert protocol.match(bank[:32]) == oracle.match(bank[:32])
    openings = [m for m in protocol.ledger.messages[before:] if m.kind == "GateOpening"]
    assert len(openings) == 2 * 5 * len(rounds(parameters))
    monkeypatch.setattr(dealing, "CHUNK_WORDS", 1)
    assert protocol.match(bank[:32]) == oracle.match(bank[:32])


@pytest.mark.parametrize("proofs", [False, True])
def test_nobody_writes_to_what_was_sent(monkeypatch, proofs):
    """Large arrays are not copied to cross; here every array counts as large."""
    sent = []

    def watched(self, sender, receiver, message):
        for name in message.__struct_fields__:
            if isinstance(value := getattr(message, name), memoryview):
                sent.append((type(message).__name__, name, value, value.tobytes()))
        return send(self, sender, receiver, message)

    send = Ledger.send
    monkeypatch.setattr(ledger, "_LARGE", 1)
    monkeypatch.setattr(Ledger, "send", watched)
    cases, bank, queries = planted(np.random.default_rng(5), 256, 31)
    protocol, oracle = twins(lanes=2, batch=8, workers=2, proofs=proofs)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    assert protocol.match(queries) == oracle.match(queries)
    for p in (protocol, oracle):
        p.withdraw(cases[0])
        p.enroll(["again"], bank[:1])
    assert protocol.match(queries) == oracle.match(queries)
    assert {"ScanResults", "PartialDecryption", "TripleCorrection", "GateOpening", "MatchBits", "BlockPlanes"} <= {
        kind for kind, *_ in sent
    }
    assert [(kind, name) for kind, name, value, was in sent if value.tobytes() != was] == []


def test_after_withdrawals_additions_and_rebuilds(spread):
    """Tombstoned neighbours, reused slots, cases added to, a member away and back."""
    rng = np.random.default_rng(31)
    protocol, oracle = twins(lanes=2, batch=16)
    cases, bank, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    steps = [
        lambda p: p.withdraw("case-0"),
        lambda p: p.withdraw("case-5"),
        lambda p: p.enroll(["case-0", "new"], bank[:2]),
        lambda p: p.rebuild() if p is protocol else None,
        lambda p: p.withdraw("new"),
        lambda p: p.enroll(["case-1"], bank[5:6]),
        lambda p: p.withdraw("case-1"),
        lambda p: p.rebuild() if p is protocol else None,
    ]
    for step in steps:
        for p in (protocol, oracle):
            step(p)
        agree(protocol, oracle, queries)


@pytest.mark.parametrize("away", [1, 2, 3])
def test_withdrawal_and_rebuild_with_one_member_away_and_brought_back(away):
    rng = np.random.default_rng(away)
    protocol, oracle = twins(batch=16)
    cases, bank, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    here = tuple(member for member in (1, 2, 3) if member != away)
    protocol.pair = here
    protocol.deal_ahead(2)
    protocol.take_away(away)
    for p in (protocol, oracle):
        p.withdraw("case-0")
    truth = oracle.match(queries)
    assert protocol.match(queries) == truth
    protocol.rebuild()
    with pytest.raises(ProtocolError, match="new entries are checked by all three"):
        protocol.enroll(["x"], bank[:1])
    with pytest.raises(ConfigurationError, match="cannot be away"):
        protocol.take_away(here[0])
    protocol.bring_back()
    assert agree(protocol, oracle, queries) == truth
    for p in (protocol, oracle):
        p.enroll(["case-0", "more"], bank[:2])
        p.withdraw("case-1")
    agree(protocol, oracle, queries)
    for p in (protocol, oracle):
        p.withdraw("case-0")
    agree(protocol, oracle, queries)


def test_a_dealer_that_is_away_is_missed_once_the_stock_is_used_up():
    protocol = scan()
    zero = np.zeros((1, 32), np.uint8)
    protocol.enroll(["a"], zero)
    protocol.deal_ahead(2)
    protocol.take_away(3)
    for _ in range(2):
        assert len(protocol.match(zero)) == 1
    with pytest.raises(ProtocolError, match="member-3 is away and the triples dealt ahead are used up"):
        protocol.match(zero)
    protocol.bring_back()
    assert len(protocol.match(zero)) == 1


def test_a_block_grows_lanes_and_a_second_block_opens():
    """n = 256: 1,280 entries a lane; 2 lanes a block."""
    rng = np.random.default_rng(32)
    protocol, oracle = twins(bits=64, threshold=5, lanes=2, batch=16)
    bank = rng.integers(0, 256, (3000, 8), dtype=np.uint8)
    queries = np.array(
        [near(rng, bank[i], d) for i, d in [(0, 5), (1279, 6), (1281, 5), (2559, 4), (2561, 5), (2999, 6)]]
    )
    lanes = []
    for first, last in [(0, 1000), (1000, 2000), (2000, 3000)]:
        for p in (protocol, oracle):
            p.enroll([f"c{i}" for i in range(first, last)], bank[first:last])
        lanes.append([slots.lanes for slots in protocol._exchange.blocks.values()])
        agree(protocol, oracle, queries)
    assert lanes == [[1], [2], [2, 1]]
    for p in (protocol, oracle):
        p.withdraw("c0")
        p.withdraw("c2999")
    protocol.rebuild()
    agree(protocol, oracle, queries)


def test_two_workers_and_batches_give_the_same():
    rng = np.random.default_rng(33)
    protocol = scan(workers=2, batch=8, bits=64, threshold=5)
    oracle = create("plaintext", bits=64, threshold=5)
    bank = rng.integers(0, 256, (1300, 8), dtype=np.uint8)
    for p in (protocol, oracle):
        p.enroll([f"c{i}" for i in range(1300)], bank)
    queries = np.array([near(rng, bank[i], int(rng.integers(4, 8))) for i in range(0, 1300, 40)])
    assert len(protocol._checker.blocks) == 2
    assert protocol.match(queries) == oracle.match(queries)


def test_workers_hand_the_interpreters_lock_over_quickly_and_only_then():
    before, during = sys.getswitchinterval(), []
    protocol = scan(progress=lambda what, done, total: during.append((what, sys.getswitchinterval())))
    bank = np.random.default_rng(34).integers(0, 256, (2, 32), dtype=np.uint8)
    protocol.enroll(["a", "b"], bank)
    protocol.match(bank)
    scanning = [interval for what, interval in during if what == "scanning"]
    assert scanning == [pytest.approx(1e-4)]
    assert {interval for what, interval in during if what != "scanning"} == {before}
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"pair": (1, 1)}, "pair"),
        ({"pair": (0, 1)}, "pair"),
        ({"batch": 0}, "batch"),
        ({"memory": 1000}, "memory"),
        ({"lanes": 99}, "lanes"),
    ],
)
def test_bad_options_are_refused_by_name(options, word):
    with pytest.raises(ConfigurationError, match=word):
        scan(**options)


@pytest.mark.parametrize("lanes", [1, 4])
def test_noise_of_results_stays_below_the_bound(lanes, spread):
    """Measured with the key put together: the largest noise of real results, tombstones and constants included."""
    rng = np.random.default_rng(34)
    protocol = scan(lanes=lanes)
    rows = rng.integers(0, 256, (40, 32), dtype=np.uint8)
    rows[0], rows[1] = 0, 255
    protocol.enroll([f"c{i}" for i in range(40)], rows)
    p = protocol.parameters
    t, largest = 1 << 50, 0
    queries = np.concatenate([rows[:2], rows[5:7], 255 - rows[5:7], rng.integers(0, 256, (2, 32), dtype=np.uint8)])
    scanned = protocol._checker.scan(queries, 0, (1, 2))
    to_a, _ = protocol._checker.results(scanned)
    c1 = np.frombuffer(to_a.c1, np.uint64).reshape(8, 2, 45, p.n // 64)
    c0 = np.frombuffer(to_a.c0, np.uint64).reshape(8, 2, lanes, 45, p.n // 64)
    slots = protocol._exchange.blocks[0]
    unit = 2 * p.alignment * sum(1 << (10 * f) for f in range(5))
    for row, query in enumerate(queries):
        message = np.full(lanes * p.n, unit, dtype=object)
        ones = int(np.bitwise_count(query).sum())
        message += 2 * ones * sum(1 << (10 * f) for f in range(5))
        for entry, slot in zip(rows, slots.slots, strict=True):
            distance = int(np.bitwise_count(entry ^ query).sum())
            message[slot // 5] += 2 * (distance - ones) << (10 * int(slot % 5))
        x = phase(protocol, unpack(c1[row], "c1"), unpack(c0[row], "c0")).reshape(-1)
        noise = [
            (int(v) - (p.q * int(m) + t // 2) // t + p.q // 2) % p.q - p.q // 2 for v, m in zip(x, message, strict=True)
        ]
        largest = max(largest, *map(abs, noise))
    assert 1 << 8 < largest <= p.noise_bound() < p.q // (2 * t)
    assert largest < p.noise_bound() >> 4  # the bound is the worst case: real noise is far below


@pytest.mark.slow
def test_ten_million_comparisons_with_n_4096_none_differs():
    rng = np.random.default_rng(35)
    protocol, oracle = create("scan", lanes=1, workers=1), create("plaintext")
    centre = rng.integers(0, 256, 32, dtype=np.uint8)
    bank = rng.integers(0, 256, (2500, 32), dtype=np.uint8)
    for row in range(0, 2500, 2):
        bank[row] = near(rng, centre, int(rng.integers(14, 18)))
    for p in (protocol, oracle):
        p.enroll([f"c{i}" for i in range(2500)], bank)
    compared = near_t = 0
    for _ in range(63):
        queries = [near(rng, centre, int(rng.integers(14, 18))) for _ in range(32)]
        queries += [near(rng, bank[rng.integers(2500)], int(rng.integers(30, 33))) for _ in range(32)]
        batch = np.array(queries)
        distances = np.bitwise_count(batch[:, None] ^ bank[None]).sum(axis=2)
        near_t += int(((distances >= 30) & (distances <= 32)).sum())
        assert protocol.match(batch) == oracle.match(batch)
        compared += distances.size
    assert compared > 10_000_000
    assert near_t > 500_000

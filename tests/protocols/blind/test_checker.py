"""The platform: never a false pair, whatever clients and exchange put into the table.

Where only equality of tokens matters, a keyed hash stands in for the committee.
"""

import hashlib

import msgspec
import numpy as np
import pytest

from hashing import hamming
from protocols.base import MessageError, StaleVersion
from protocols.blind import bands, entries
from protocols.blind.checker import Checker, Query
from protocols.blind.messages import BankUpdate, MatchReport, Removal


def stand_in(texts):
    digests = b"".join(hashlib.blake2b(text, key=b"stand-in").digest() for text in texts)
    return np.frombuffer(digests, np.uint8).reshape(-1, 64)


class Table:
    """A checker whose tokens come from the stand-in, and ways to fill it."""

    def __init__(self, manifests, parameters):
        self.parameters = parameters
        self.checker = Checker(parameters, manifests)

    def seal(self, fingerprints, margins=None, claimed=None):
        """An update; `claimed`: what to seal under the fingerprints' tokens instead of them."""
        texts, chosen, _ = bands.inputs(fingerprints, margins, self.parameters.entry_tokens, self.parameters)
        sealed = entries.seal(fingerprints if claimed is None else claimed, stand_in(texts), chosen, 1)
        return BankUpdate(1, len(self.checker._entries), *(part.tobytes() for part in sealed))

    def match(self, hashes, margins=None):
        texts, chosen, values = bands.inputs(hashes, margins, self.parameters.query_tokens, self.parameters)
        return self.checker.search(Query(None, hashes, chosen, values), stand_in(texts))


@pytest.fixture
def table(committee):
    def build(**options):
        setup = committee(**({"bands": 64, "entry_tokens": 64, "query_tokens": 64} | options))
        return Table(setup.manifests, setup.parameters)

    return build


def near(rng, row, distance):
    bits = np.unpackbits(row)
    bits[rng.choice(256, distance, replace=False)] ^= 1
    return np.packbits(bits)


def test_finds_exact_copies_and_near_ones_and_nothing_beyond_the_threshold(table, rng):
    t = table()
    bank = rng.integers(0, 256, (30, 32), dtype=np.uint8)
    t.checker.update(t.seal(bank))
    assert t.match(bank)[1] == MatchReport(list(range(30)), [])
    for distance in (1, 2, 3):
        rows, report = t.match(np.array([near(rng, row, distance) for row in bank]))
        assert rows == report.matched == list(range(30))


@pytest.mark.parametrize("beyond", range(1, 21))
def test_pairs_just_beyond_the_threshold_are_opened_but_never_reported(table, beyond):
    rng = np.random.default_rng(beyond)
    t = table(threshold=5, k=8, allow_unsafe_k=True)  # bands so small that nearly every pair shares a token
    bank = rng.integers(0, 256, (20, 32), dtype=np.uint8)
    t.checker.update(t.seal(bank))
    queries = np.array([near(rng, row, 5 + beyond) for row in bank])
    rows, report = t.match(queries)
    truth = hamming(queries, bank) <= 5
    assert not truth.any()
    assert rows == []
    assert report == MatchReport([], [])
    rows, _ = t.match(np.array([near(rng, row, 5) for row in bank]))
    assert rows == list(range(20))


@pytest.mark.slow
def test_no_false_pair_in_ten_million_comparisons(table):
    rng = np.random.default_rng(31)
    t = table(bands=1024, entry_tokens=32, query_tokens=32, k=16, allow_unsafe_k=True)
    bank = rng.integers(0, 256, (3200, 32), dtype=np.uint8)
    t.checker.update(t.seal(bank))
    queries = rng.integers(0, 256, (3200, 32), dtype=np.uint8)
    for at in range(1600):
        queries[at] = near(rng, bank[at], 32 + at % 20)
    rows, report = t.match(queries)
    assert len(queries) * len(bank) > 10**7
    assert not (hamming(queries, bank) <= 31).any()
    assert (rows, report) == ([], MatchReport([], []))


def test_a_client_that_seals_another_fingerprint_under_the_tokens_is_dropped_and_reported(table, rng):
    t = table()
    bank = rng.integers(0, 256, (4, 32), dtype=np.uint8)
    t.checker.update(t.seal(bank, claimed=np.array([near(rng, row, 60) for row in bank])))
    t.checker.update(t.seal(bank[:1]))
    rows, report = t.match(bank[:2])
    assert rows == [0]
    assert report == MatchReport([4], [0, 1])
    assert t.match(bank) == ([0], MatchReport([4], [2, 3]))  # 0 and 1 are passed over by now
    t.checker.update(t.seal(rng.integers(0, 256, (2, 32), dtype=np.uint8)))
    assert t.match(bank) == ([0], MatchReport([4], []))


def test_a_token_may_differ_from_its_fingerprint_in_one_bit_and_not_in_two(table, rng):
    t = table(bands=1, entry_tokens=1, query_tokens=1)
    bank = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    claimed = np.unpackbits(bank, axis=1)
    for row, turned in enumerate((0, 1, 2)):
        claimed[row, bands.positions(t.parameters)[0, :turned]] ^= 1
    t.checker.update(t.seal(bank, claimed=np.packbits(claimed, axis=1)))
    assert t.match(bank) == ([0, 1], MatchReport([0, 1], [2]))


def test_broken_entries_cost_one_try_each(table, rng, monkeypatch):
    """Who enrols many entries that do not open under tokens that many uploads have slows one query, not all."""
    t = table(entry_tokens=8, query_tokens=8)
    common = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    update = t.seal(np.repeat(common, 40, axis=0))
    t.checker.update(msgspec.structs.replace(update, labels=bytes(len(update.labels))))
    tries = []
    unseal = entries.unseal
    monkeypatch.setattr(entries, "unseal", lambda *given: tries.append(given) or unseal(*given))
    assert t.match(common)[1].broken == list(range(40))
    assert len(tries) == 40
    assert t.match(common) == ([], MatchReport([], []))
    assert len(tries) == 40


def test_an_exchange_that_alters_or_swaps_entries_is_noticed(table, rng):
    t = table()
    bank = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    update = t.seal(bank)
    size = entries.entry_size(256)
    parts = [update.entries[at : at + size] for at in range(0, 3 * size, size)]
    flipped = bytearray(parts[2])
    flipped[20] ^= 4
    t.checker.update(msgspec.structs.replace(update, entries=parts[1] + parts[0] + bytes(flipped)))
    assert t.match(bank) == ([], MatchReport([], [0, 1, 2]))


def test_probing_opens_pairs_that_plain_bands_miss_and_they_are_true(table, rng):
    t = table(bands=256)
    signal = rng.standard_normal((60, 256))
    copy = signal + 0.13 * rng.standard_normal(signal.shape)
    bank, queries = (np.packbits(values > 0, axis=1) for values in (signal, copy))
    t.checker.update(t.seal(bank, signal))
    rows, report = t.match(queries, copy)
    assert len(rows) >= 40
    assert rows == report.matched
    assert report.broken == []  # most of these tokens have a turned bit, and none is held against its entry
    assert (hamming(queries, bank).diagonal()[rows] <= 31).all()
    plain = table(bands=256)
    plain.checker.update(plain.seal(bank))
    assert len(plain.match(queries)[0]) < len(rows)


def test_removed_slots_stop_matching_and_open_nothing(table, rng):
    t = table()
    bank = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    t.checker.update(t.seal(bank))
    t.checker.remove(Removal([1]))
    assert t.match(bank)[0] == [0, 2]
    assert not t.checker._entries[1].any()
    t.checker.remove(Removal([]))
    assert len(t.checker.table) == 2 * 64
    with pytest.raises(MessageError, match="slots"):
        t.checker.remove(Removal([3]))


def test_updates_that_do_not_fit_are_refused_and_change_nothing(table, rng):
    t = table()
    update = t.seal(rng.integers(0, 256, (2, 32), dtype=np.uint8))
    for changes, error, word in (
        ({"epoch": 2}, StaleVersion, "epoch"),
        ({"epoch": 0}, StaleVersion, "epoch"),
        ({"first_slot": 1}, MessageError, "slot"),
        ({"entries": update.entries[:-1]}, MessageError, "entries"),
        ({"ids": update.ids[:-1]}, MessageError, "ids"),
        ({"labels": b""}, MessageError, "labels"),
    ):
        with pytest.raises(error, match=word):
            t.checker.update(msgspec.structs.replace(update, **changes))
    assert len(t.checker.table) == 0
    t.checker.update(update)
    assert len(t.checker.table) == 2 * 64


def test_an_update_that_fails_half_way_changes_nothing(table, rng, monkeypatch):
    t = table()
    bank = rng.integers(0, 256, (2, 32), dtype=np.uint8)
    update = t.seal(bank)

    def full(*_):
        raise MemoryError

    with monkeypatch.context() as at_once:
        at_once.setattr(np, "append", full)
        with pytest.raises(MemoryError):
            t.checker.update(update)
    assert t.match(bank) == ([], MatchReport([], []))
    t.checker.update(update)
    assert t.match(bank)[0] == [0, 1]


def test_query_holds_nothing_that_a_log_would_show(table, rng):
    t = table()
    hashes = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    query, request = t.checker.request(hashes, None)
    assert repr(query).count("array") == 0
    assert repr(request) == "<BlindedElements>"

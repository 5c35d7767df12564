"""What each role sees: uniform where it should be, the same shape whatever the data, and never a piece of a hash.

False alarms: every statistic is compared with a bound that honest runs exceed with probability below 2^-40.
"""

import base64
import io
import logging
import traceback

import numpy as np
import pytest

from protocols.base import HushmatchError
from protocols.ledger import decode
from protocols.scan import entries as entries_module
from protocols.scan.enrolling_messages import CheckOpening, CheckToss, SealedEntry
from protocols.scan.entries import SHARES
from protocols.scan.matching_messages import GateOpening, MatchBits, PartialDecryption, ScanResults, TripleCorrection
from protocols.scan.packing import unpack
from protocols.scan.parameters import PRIMES
from protocols.scan.sessions import Sessions
from tests.protocols.scan.parties import flipped, near, scan, tampered

Z = 8.0  # standard deviations: exceeded with probability 2^-49


def monobit(data):
    """How many standard deviations the share of one bits is from a half."""
    words = np.frombuffer(data, dtype=np.uint8)
    return abs(np.bitwise_count(words).sum() / (8 * words.size) - 0.5) * 2 * np.sqrt(8 * words.size)


def bytes_even(data):
    """Chi-square of the 256 byte values, in standard deviations of its distribution (255 degrees of freedom)."""
    counts = np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256)
    expected = counts.sum() / 256
    return (((counts - expected) ** 2 / expected).sum() - 255) / np.sqrt(510)


def residues_even(words):
    """Chi-square of packed residues (count, 2, R, 45, n/64) in 64 equal parts of each prime, in standard deviations."""
    worst = 0.0
    for index, p in enumerate(PRIMES):
        values = np.concatenate([unpack(row, "x")[index].reshape(-1) for row in words])
        counts, _ = np.histogram(values, bins=64, range=(-p / 2, p / 2))
        expected = counts.sum() / 64
        worst = max(worst, (((counts - expected) ** 2 / expected).sum() - 63) / np.sqrt(126))
    return worst


@pytest.fixture(scope="module")
def run():
    """A recorded run whose data is as far from random as can be: all-zero entries and queries, all matching."""
    protocol = scan(record=True, batch=16)
    zero = np.zeros((40, 32), np.uint8)
    protocol.enroll([f"c{i}" for i in range(40)], zero)
    for _ in range(3):
        protocol.match(zero[:16])
    return protocol


def received(protocol, kind, receiver=None, sender=None):
    return [
        decode(m.payload, kind)
        for m in protocol.ledger.messages
        if m.kind == kind.__name__ and receiver in (None, m.receiver) and sender in (None, m.sender)
    ]


@pytest.mark.parametrize("member", [1, 2, 3])
def test_one_members_key_share_is_uniform(run, member):
    """sigma = s + r*j: the transform of a uniform polynomial times a constant is uniform too."""
    keys = run._members[member].sessions._key_share._keys
    for index, p in enumerate(PRIMES):
        values = np.concatenate([key[index].reshape(-1) for key in keys.values()])[:256]
        counts, _ = np.histogram(values, bins=16, range=(-p / 2, p / 2))
        assert (((counts - 16) ** 2 / 16).sum() - 15) / np.sqrt(30) < 2 * Z


@pytest.mark.parametrize("member", [1, 2, 3])
def test_one_members_entry_shares_are_uniform(run, member):
    """40 entries of the same bits: seeds and numbers, as far as this member has them."""
    custody = run._members[member].custody
    held = b"".join(shares[entries_module.DIGEST_BYTES * 3 :] for shares in custody._shares.values())
    assert len(held) >= 40 * 64
    assert monobit(held) < Z
    assert bytes_even(held) < 2 * Z
    assert len({shares[96:128] for shares in custody._shares.values()}) == 40


def test_two_members_shares_add_up_to_the_bits_so_the_test_can_fail(run):
    one, two = (run._members[m].custody for m in (1, 2))
    entry = next(iter(one._shares))
    x1, x2 = (entries_module.kept_share(1, s, one._shares[entry][96:], 256) for s in (1, 2))
    x3 = entries_module.kept_share(2, 3, two._shares[entry][96:], 256)
    total = (x1 + x2 + x3) & np.uint64((1 << entries_module.PLANE_BITS) - 1)
    assert not total.any()
    assert monobit(total.tobytes()) > Z


def test_partial_decryptions_are_uniform_mod_each_prime(run):
    words = [
        np.frombuffer(m.partial, np.uint64).reshape(-1, 2, 1, 45, 4)
        for m in received(run, PartialDecryption, "member-1")
        if len(m.partial) == 16 * 2 * 45 * 4 * 8
    ]
    assert len(words) == 3
    assert residues_even(np.concatenate(words)) < 2 * Z


def test_results_are_uniform_mod_each_prime(run):
    for half, lanes in (("c1", 1), ("c0", 1)):
        words = [
            np.frombuffer(getattr(m, half), np.uint64).reshape(-1, 2, lanes, 45, 4)
            for m in received(run, ScanResults, "member-1")
        ]
        assert residues_even(np.concatenate(words)) < 2 * Z


@pytest.mark.parametrize("receiver", ["member-1", "member-2"])
@pytest.mark.parametrize(("kind", "field"), [(GateOpening, "masked"), (MatchBits, "bits")])
def test_comparison_messages_are_uniform(run, kind, field, receiver):
    messages = received(run, kind, receiver)
    data = b"".join(bytes(getattr(m, field)) for m in messages)
    assert len(data) > 1000
    assert monobit(data) < Z
    assert bytes_even(data) < 2 * Z


def test_corrections_are_uniform(run):
    data = b"".join(bytes(m.corrections) for m in received(run, TripleCorrection, "member-2"))
    assert monobit(data) < Z
    assert bytes_even(data) < 2 * Z


def test_each_sides_plaintext_share_is_uniform(monkeypatch):
    """What A and B compare: 50-bit words whose difference is the aligned distance, each alone uniform."""
    seen = {1: [], 2: []}
    original = Sessions.start_comparison

    def watch(self, session, deal):
        seen[self._member].append(self._sessions[session].planes.tobytes())
        return original(self, session, deal)

    monkeypatch.setattr(Sessions, "start_comparison", watch)
    protocol = scan()
    zero = np.zeros((8, 32), np.uint8)
    protocol.enroll([f"c{i}" for i in range(8)], zero)
    for _ in range(3):
        protocol.match(zero)
    for member in (1, 2):
        assert monobit(b"".join(seen[member])) < Z
        assert bytes_even(b"".join(seen[member])) < 2 * Z
    planes = [np.frombuffer(b"".join(seen[m]), np.uint64) for m in (1, 2)]
    assert monobit((planes[0] ^ planes[1]).tobytes()) > Z  # together they are anything but: every slot is a tombstone


def test_check_messages_are_uniform_but_add_up_to_nothing(run):
    sums = {
        m: [np.frombuffer(x.sums, np.uint64) for x in received(run, CheckOpening, sender=f"member-{m}")] for m in SHARES
    }
    assert not (sums[1][0] + sums[2][0] + sums[3][0]).any()
    protocol = scan(record=True)
    for case in range(24):
        protocol.enroll([f"c{case}"], np.zeros((1, 32), np.uint8))
    for member in SHARES:
        messages = received(protocol, CheckOpening, sender=f"member-{member}")
        data = b"".join(m.sums for m in messages[::2])  # each goes to two
        assert monobit(data) < Z
    tosses = b"".join(m.seed for m in received(protocol, CheckToss))
    assert monobit(tosses) < Z


# Same leakage, same shape --------------------------------------------------------------------------------------------


def shape(protocol):
    return [(m.phase, m.sender, m.receiver, m.kind, m.size) for m in protocol.ledger.messages]


def with_data(seed, distance):
    """The same case names, counts and matches; other entries, queries and distances."""
    rng = np.random.default_rng(seed)
    protocol = scan(record=True, batch=8)
    bank = rng.integers(0, 256, (12, 32), dtype=np.uint8)
    protocol.enroll([f"case-{i % 5}" for i in range(12)], bank)
    queries = np.array([near(rng, bank[3], distance), 255 - bank[4], near(rng, bank[3], 32 + distance)])
    found = protocol.match(queries)
    protocol.withdraw("case-2")
    protocol.rebuild()
    protocol.match(queries)
    return found, protocol


def test_equal_leakage_gives_equal_messages():
    (found, one), (again, two) = with_data(1, 0), with_data(2, 31)
    assert found == again
    assert len(found) == 1
    first, second = shape(one), shape(two)
    # lists of slots are numbers in msgpack: 1, 2, 3 or 5 bytes each by their random size
    loose = {"SignedMatchList"}
    assert [row[:4] for row in first] == [row[:4] for row in second]
    for left, right in zip(first, second, strict=True):
        assert left[4] == right[4] or (left[3] in loose and abs(left[4] - right[4]) <= 4), left


# Canary --------------------------------------------------------------------------------------------------------------


def spellings(rows):
    """Every 8 consecutive bytes of the rows: raw, hex, and the part of base64 that does not depend on neighbours."""
    raw, hexes, b64 = set(), set(), set()
    for row in rows:
        data = row.tobytes()
        for start in range(len(data) - 7):
            piece = data[start : start + 8]
            raw.add(piece)
            hexes.add(piece.hex().encode())
            for offset in range(3):
                coded = base64.b64encode(bytes(offset) + piece)
                b64.add(coded[-(-8 * offset // 6) : (8 * (offset + 8)) // 6])
    return raw, hexes, b64


def leaks(blobs, rows):
    """Which spellings stand in a blob, at any byte."""
    raw, hexes, b64 = spellings(rows)
    by_size = {}
    for needle in b64:
        by_size.setdefault(len(needle), set()).add(needle)
    found = set()
    for blob in blobs:
        data = np.frombuffer(blob, dtype=np.uint8)
        if len(data) < 8:
            continue
        view = np.lib.stride_tricks.sliding_window_view(data, 8)
        keys = np.ascontiguousarray(view).view(np.uint64).reshape(-1)
        wanted = np.array([int.from_bytes(one, "little") for one in raw], dtype=np.uint64)
        heads = [hexes, *by_size.values()]
        found |= (
            {one for one in raw if np.isin(np.uint64(int.from_bytes(one, "little")), keys)}
            if np.isin(keys, wanted).any()
            else set()
        )
        for needles in heads:
            first = np.array([int.from_bytes(one[:8], "little") for one in needles], dtype=np.uint64)
            if np.isin(keys, first).any():
                found |= {needle for needle in needles if needle in blob}
    return found


CANARY = np.random.default_rng(77).integers(0, 256, (12, 32), dtype=np.uint8)
QUERIES = np.random.default_rng(78).integers(0, 256, (8, 32), dtype=np.uint8)


def test_the_canary_would_be_found():
    for blob in (
        b"xx" + CANARY[3].tobytes() + b"yy",
        CANARY[3, 5:14].tobytes().hex().encode(),
        base64.b64encode(b"a" + CANARY[3].tobytes()),
        base64.b64encode(b"ab" + CANARY[3, 2:11].tobytes() + b"c"),
        base64.b64encode(CANARY[3].tobytes()),
    ):
        assert leaks([b"padding padding", blob], CANARY)


def objects(root, depth=6):
    """Everything reachable from an object through attributes and containers."""
    seen, found, todo = set(), [], [(root, 0)]
    while todo:
        item, level = todo.pop()
        if id(item) in seen or level > depth:
            continue
        seen.add(id(item))
        found.append(item)
        if isinstance(item, dict):
            todo += [(value, level + 1) for value in item.values()]
        elif isinstance(item, list | tuple | set):
            todo += [(value, level + 1) for value in item]
        elif type(item).__module__.startswith("protocols"):
            todo += [(value, level + 1) for value in getattr(item, "__dict__", {}).values()]
    return [item for item in found if type(item).__module__.startswith("protocols")]


def test_no_piece_of_a_fingerprint_stands_in_a_message_log_repr_or_exception(caplog):
    caplog.set_level(logging.DEBUG)
    rows = np.concatenate([CANARY, QUERIES])
    protocol = scan(record=True)
    protocol.enroll([f"c{i}" for i in range(12)], CANARY)
    protocol.match(np.concatenate([QUERIES[:4], CANARY[:4]]))
    blobs = [m.payload for m in protocol.ledger.messages]
    reprs = [repr(item) for item in objects(protocol) if type(item).__repr__ is not object.__repr__]
    assert len(reprs) > 20
    blobs += ["\n".join(reprs).encode(), caplog.text.encode()]
    texts = io.StringIO()
    for kind, change in (
        (SealedEntry, lambda m: m),
        (ScanResults, lambda m: type(m)(m.header, memoryview(flipped(bytes(m.c1))), m.c0)),
        (CheckOpening, lambda m: type(m)(m.batch, m.bounds, flipped(m.sums))),
        (MatchBits, lambda m: type(m)(m.session, memoryview(bytes(len(m.bits))))),
    ):
        try:
            with tampered(protocol, kind, change):
                protocol.enroll(["again"], CANARY[:2])
                protocol.match(QUERIES)
        except HushmatchError as error:
            texts.write(repr(error) + "".join(traceback.format_exception(error)))
    for bad in (CANARY[:, :31], CANARY.astype(np.int64), CANARY[0]):
        with pytest.raises(HushmatchError) as caught:
            protocol.enroll([f"c{i}" for i in range(12)], bad)
        texts.write(repr(caught.value))
    assert texts.getvalue().count("Error") > 5
    blobs.append(texts.getvalue().encode())
    assert leaks(blobs, rows) == set()
    arrays = [str(row.tolist())[1:30] for row in rows]
    assert not [piece for piece in arrays if piece in texts.getvalue() or piece in "\n".join(reprs)]


def test_the_exchange_and_the_dealer_receive_no_decryption_of_anything(run):
    """Who receives what, by kind: the table that the threat model is made from."""
    seen = {(m.kind, m.receiver) for m in run.ledger.messages if m.phase == "match"}
    assert {kind for kind, receiver in seen if receiver == "member-3"} == set()
    assert {kind for kind, receiver in seen if receiver == "exchange"} == {"SignedMatchList"}
    assert {kind for kind, receiver in seen if receiver == "platform-1"} == {"SignedMatchCounts", "MatchHandles"}

"""The platform: takes signed blocks in order, spends each encryption of zero once, believes no answer alone."""

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import decode
from protocols.scan import blocks, checker
from protocols.scan.checker import Checker, ZeroPool
from protocols.scan.enrolling_messages import BlockDigest, BlockPlanes, BlockSignatures, SignedBlockDigest
from protocols.scan.matching_messages import MatchCounts, MatchHandles, SignedMatchCounts
from protocols.scan.packing import unpack
from protocols.scan.parameters import PRIMES
from tests.protocols.scan.parties import changed, crossed, flipped, planted, scan, tampered, twins, unharmed

ZERO = np.zeros((1, 32), np.uint8)


@pytest.fixture
def bank():
    rng = np.random.default_rng(40)
    protocol, oracle = twins()
    cases, entries, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, entries)
    return protocol, oracle, queries[:8], rng


def test_an_encryption_of_zero_serves_once(bank):
    protocol, *_ = bank
    pool = protocol._checker.zeros
    pool.prepare(1)
    taken = pool._stock[1][-1]
    assert pool.take(1) is taken
    pool._stock[1].append(taken)
    with pytest.raises(ReplayError, match="taken before"):
        pool.take(1)
    numbers = {pool.take(1).number for _ in range(5)}
    assert len(numbers) == 5
    assert repr(pool) == "<ZeroPool>"


def solve(matrix, right, p):
    """x of matrix @ x = right mod p, by elimination over Python's integers; more equations than unknowns."""
    rows = np.concatenate([matrix, right[:, None]], axis=1).astype(object) % p
    unknowns = matrix.shape[1]
    for column in range(unknowns):
        pivot = column + next(i for i, value in enumerate(rows[column:, column]) if value)
        rows[[column, pivot]] = rows[[pivot, column]]
        rows[column] = rows[column] * pow(int(rows[column, column]), -1, p) % p
        others = [i for i in range(len(rows)) if i != column]
        rows[others] = (rows[others] - rows[others, column][:, None] * rows[column]) % p
    return rows[:unknowns, -1]


def test_with_the_check_off_a_reused_encryption_of_zero_gives_the_difference_of_two_uploads(monkeypatch):
    """c1 - c1' is a known combination of the block's planes, which many have: its coefficients are the difference."""
    protocol = scan(bits=64, threshold=5, batch=1)
    rng = np.random.default_rng(41)
    protocol.enroll(["a"], rng.integers(0, 256, (1, 8), dtype=np.uint8))
    hashes = rng.integers(0, 256, (2, 8), dtype=np.uint8)
    pool = protocol._checker.zeros
    pool.prepare(1)
    pool._stock[1].append(pool._stock[1][-1])
    protocol._checker.scan(hashes[:1], 0, (1, 2))
    with pytest.raises(ReplayError, match="serves once"):
        protocol._checker.scan(hashes[1:], 0, (1, 2))
    monkeypatch.setattr(ZeroPool, "_spend", lambda self, number: None)
    pool.prepare(1)
    pool._stock[1].append(pool._stock[1][-1])
    results = [protocol._checker.scan(one[None], 0, (1, 2)) for one in hashes]
    c1 = [unpack(np.frombuffer(r.c1, np.uint64).reshape(2, 45, 4), "c1")[0].astype(np.int64) for r in results]
    planes = protocol._checker.blocks[0].planes
    known = np.stack([unpack(plane.reshape(2, 2, 45, 4), "plane")[0, 0] for plane in planes]).astype(np.int64)
    found = solve(known.T[:80], (c1[0] - c1[1])[:80], PRIMES[0])
    bits = np.unpackbits(hashes, axis=1).astype(int)
    assert ((found + 2) % PRIMES[0] - 2).tolist() == (2 * (bits[1] - bits[0])).tolist()


def test_two_results_of_one_upload_have_nothing_in_common(bank):
    protocol, *_ = bank
    results = [protocol._checker.scan(ZERO, 0, (1, 2)) for _ in range(2)]
    one, two = (unpack(np.frombuffer(r.c1, np.uint64).reshape(8, 2, 45, 4)[0], "c1") for r in results)
    assert (one != two).mean() > 0.99


@pytest.fixture
def published():
    protocol = scan(record=True)
    protocol.enroll(["a"], ZERO)
    planes = [decode(m.payload, BlockPlanes) for m in protocol.ledger.messages if m.kind == "BlockPlanes"]
    (signatures,) = [
        decode(m.payload, BlockSignatures) for m in protocol.ledger.messages if m.kind == "BlockSignatures"
    ]
    return protocol, planes, signatures


def fresh(protocol, tmp_path):
    old = protocol._checker
    return Checker(old._identity, old._pinned, old.parameters, old.zeros._public_key, Path(mkdtemp(dir=tmp_path)))


def test_a_block_is_installed_with_two_signatures_and_no_fewer(published, tmp_path):
    protocol, planes, signatures = published
    for count in (0, 1):
        checker = fresh(protocol, tmp_path)
        for message in planes:
            checker.receive_planes(message)
        few = changed(signatures, signatures=signatures.signatures[:1] * count)
        with pytest.raises(IntegrityError, match="two are needed"):
            checker.install(few)
        twice = changed(signatures, signatures=signatures.signatures[:1] * 2)
        with pytest.raises(IntegrityError, match="1 members' signatures verify"):
            checker.install(twice)
        assert checker.blocks == {}
        checker.install(changed(signatures, signatures=signatures.signatures[1:]))
        assert checker.blocks[0].version == 1


def test_what_members_did_not_sign_is_not_installed(published, tmp_path, monkeypatch):
    protocol, planes, signatures = published

    def arrive(last=lambda m: m):
        checker = fresh(protocol, tmp_path)
        for message in planes[:-1]:
            checker.receive_planes(message)
        checker.receive_planes(last(planes[-1]))
        return checker

    def alter(message):
        return changed(message, planes=memoryview(flipped(bytes(message.planes), 3)))

    with pytest.raises(IntegrityError, match="signed another block or version"):
        arrive(alter).install(signatures)
    forged = changed(signatures, signatures=[changed(s, signature=bytes(64)) for s in signatures.signatures])
    with pytest.raises(IntegrityError, match="no member's signature verifies"):
        arrive().install(forged)
    with pytest.raises(MessageError, match="no planes of version 2"):
        arrive().install(changed(signatures, version=2))
    told = decode(signatures.signatures[0].body, BlockDigest)
    member = protocol._members[1].identity
    for other in ({"epoch": 2}, {"version": 3}, {"block": 1}, {"lanes": 2}):
        signed = crossed(member.sign(changed(told, **other), SignedBlockDigest))
        with pytest.raises((IntegrityError, MessageError)):
            arrive().install(changed(signatures, signatures=[signed, *signatures.signatures[1:]]))
    checker = arrive()
    checker.install(signatures)
    monkeypatch.setattr(blocks, "same", lambda left, right: True)
    arrive(alter).install(signatures)  # with the check off, a block that nobody signed is used


def test_planes_out_of_order_or_of_an_old_version_are_refused(published, tmp_path):
    protocol, planes, signatures = published
    checker = fresh(protocol, tmp_path)
    with pytest.raises(MessageError, match="plane 16 is not due"):
        checker.receive_planes(planes[1])
    checker.receive_planes(planes[0])
    with pytest.raises(MessageError, match="plane 32 is not due"):
        checker.receive_planes(planes[2])
    for wrong in ({"count": 0}, {"count": 10_000}, {"planes": planes[1].planes[:-1]}):
        with pytest.raises(MessageError, match="wrong length"):
            checker.receive_planes(changed(planes[1], **wrong))
    with pytest.raises(StaleVersion, match="is not above"):
        protocol._checker.receive_planes(planes[0])
    with pytest.raises(IntegrityError):
        checker.install(signatures)  # only the first planes came
    for message in planes[1:]:
        checker.receive_planes(message)
    checker.install(signatures)
    assert protocol.match(ZERO)


def test_a_block_that_fails_leaves_the_one_before_in_use(bank):
    protocol, oracle, queries, rng = bank
    for p in (protocol, oracle):
        p.withdraw("case-0")
    with (
        tampered(protocol, BlockSignatures, lambda m: changed(m, signatures=m.signatures[:1])),
        pytest.raises(IntegrityError, match="two are needed"),
    ):
        protocol.rebuild()
    protocol._update(protocol._exchange.assign(None, frozenset({0})))
    assert protocol.match(queries) == oracle.match(queries)
    unharmed(protocol, oracle, rng)


def test_scanning_what_is_not_there_or_too_much_is_refused(bank):
    protocol, *_ = bank
    with pytest.raises(StaleVersion, match="block 7 is not installed"):
        protocol._checker.scan(ZERO, 7, (1, 2))
    with pytest.raises(MessageError, match="9 queries do not fit a batch of 8"):
        protocol._checker.scan(np.zeros((9, 32), np.uint8), 0, (1, 2))


def test_batches_are_padded_and_the_filler_is_not_reported():
    protocol = scan(record=True)
    protocol.enroll(["a"], ZERO)
    for count in (1, 3, 8):
        protocol.match(np.zeros((count, 32), np.uint8))
    sizes = {m.size for m in protocol.ledger.messages if m.kind == "ScanResults" and m.receiver == "member-1"}
    assert len(sizes) == 1


ANSWERS = [
    (MatchHandles, lambda m: changed(m, handles=m.handles[:-1]), ReplayError, "not about it"),
    (MatchHandles, lambda m: changed(m, session=bytes(16)), ReplayError, "not about it"),
    (MatchHandles, lambda m: changed(m, queries=m.queries[1:], handles=m.handles[1:]), IntegrityError, "other matches"),
    (
        MatchHandles,
        lambda m: changed(m, queries=[*m.queries, 7], handles=[*m.handles, b"x"]),
        IntegrityError,
        "other matches",
    ),
    (MatchHandles, lambda m: changed(m, queries=[99, *m.queries[1:]]), MessageError, "no query 99"),
    (MatchHandles, lambda m: changed(m, queries=[-1, *m.queries[1:]]), MessageError, "do not decode"),
    (SignedMatchCounts, lambda m: changed(m, signature=bytes(64)), IntegrityError, "does not verify"),
]


@pytest.mark.parametrize(("kind", "change", "error", "word"), ANSWERS)
def test_an_answer_that_disagrees_is_refused_and_the_scan_given_up(bank, kind, change, error, word):
    protocol, oracle, queries, rng = bank
    with tampered(protocol, kind, change), pytest.raises(error, match=word):
        protocol.match(queries)
    assert protocol._checker._open == {}
    unharmed(protocol, oracle, rng)


def test_counts_of_one_member_twice_or_of_none_are_refused_and_the_right_answer_still_taken(bank, monkeypatch):
    protocol, _, queries, _ = bank
    given = {}
    monkeypatch.setattr(protocol._checker, "abandon", lambda session: None)

    def keep(message):
        given.setdefault(type(message), []).append(message)
        return changed(message, session=bytes(16)) if isinstance(message, MatchHandles) else message

    with tampered(protocol, (SignedMatchCounts, MatchHandles), keep), pytest.raises(ReplayError):
        protocol.match(queries)
    (session,) = protocol._checker._open
    counts, (handles,) = given[SignedMatchCounts], given[MatchHandles]
    for bad in ([counts[0], counts[0]], counts[::-1], counts[:1], []):
        with pytest.raises(IntegrityError):
            protocol._checker.receive_answer(session, bad, handles)
    other = decode(counts[0].body, MatchCounts)
    signed = protocol._members[1].identity.sign(changed(other, block=3), SignedMatchCounts)
    with pytest.raises(IntegrityError, match="other matches"):
        protocol._checker.receive_answer(session, [signed, counts[1]], handles)
    assert protocol._checker.receive_answer(session, counts, handles)
    with pytest.raises(ReplayError, match="not open"):
        protocol._checker.receive_answer(session, counts, handles)


def test_with_counts_unchecked_the_exchange_hides_a_match(bank, monkeypatch):
    protocol, oracle, queries, _ = bank

    def drop(message):
        return changed(message, queries=message.queries[1:], handles=message.handles[1:])

    monkeypatch.setattr(
        checker.Checker, "receive_answer", lambda self, s, c, h: list(zip(h.queries, h.handles, strict=True))
    )
    with tampered(protocol, MatchHandles, drop):
        assert len(protocol.match(queries)) < len(oracle.match(queries))


def test_two_workers_that_meet_at_an_empty_pool_both_get_zeros(bank):
    """The first finds one in stock that the second takes."""
    protocol, *_ = bank
    pool = ZeroPool(protocol._checker.zeros._public_key, 1, protocol.parameters.n)
    taken, prepare = [], pool.prepare

    def meeting(lanes):
        prepare(lanes)
        if not taken:
            taken.append(None)
            taken[0] = pool.take(lanes)

    pool.prepare = meeting
    assert pool.take(1).number != taken[0].number

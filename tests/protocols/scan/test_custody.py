"""Custody: slot maps and digests are agreed on, what is withdrawn stays gone; each check shown to be needed."""

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import decode
from protocols.scan import custody as module
from protocols.scan import enrolling
from protocols.scan.enrolling_messages import BlockDigest, EntryReceipt, EntryWithdrawal, SlotMap
from protocols.scan.entries import SHARES, encryptor, held_by, seal_entry
from tests.protocols.scan.parties import changed, crossed, custodies, flipped, near, scan, tampered, twins, unharmed

# Slot maps -----------------------------------------------------------------------------------------------------------


def words(view, dtype):
    return np.frombuffer(view, dtype=dtype).copy()


def entry_twice(message):
    ids = words(message.entries, np.uint8).reshape(-1, 16)
    ids[1] = ids[0]
    return changed(message, entries=memoryview(ids.tobytes()))


def slot_twice(message):
    slots = words(message.slots, "<u4")
    slots[1] = slots[0]
    return changed(message, slots=memoryview(slots.tobytes()))


def unknown_entry(message):
    ids = words(message.entries, np.uint8)
    ids[:16] = 7
    return changed(message, entries=memoryview(ids.tobytes()))


def entry_missing(message):
    return changed(message, counts=[message.counts[0] - 1], entries=message.entries[16:], slots=message.slots[4:])


def slot_out_of_range(message):
    slots = words(message.slots, "<u4")
    slots[0] = 256 * 5
    return changed(message, slots=memoryview(slots.tobytes()))


BAD_MAPS = [
    (entry_twice, "bijection"),
    (slot_twice, "slot twice"),
    (unknown_entry, "bijection"),
    (entry_missing, "bijection"),
    (slot_out_of_range, "does not have"),
    (lambda m: changed(m, lanes=[2]), "lanes"),
    (lambda m: changed(m, lanes=[0]), "lanes"),
    (lambda m: changed(m, counts=[m.counts[0] - 1]), "slot map"),
    (lambda m: changed(m, counts=[-2]), "do not decode"),
    (lambda m: changed(m, blocks=m.blocks * 2), "block comes twice"),
    (lambda m: changed(m, blocks=m.blocks * 2, lanes=m.lanes * 2, counts=[*m.counts, 0]), "block comes twice"),
    (lambda m: changed(m, blocks=[2**63]), "do not decode"),
    (lambda m: changed(m, blocks=[-1]), "do not decode"),
    (lambda m: changed(m, away=9), "out of range"),
    (lambda m: changed(m, version=2**63), "do not decode"),
]


@pytest.mark.parametrize(("change", "word"), BAD_MAPS)
def test_a_slot_map_that_is_no_bijection_is_refused(change, word):
    rng = np.random.default_rng(10)
    protocol, oracle = twins()
    rows = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    with tampered(protocol, SlotMap, change), pytest.raises(MessageError, match=word):
        protocol.enroll(["a", "b", "c"], rows)
    assert protocol.match(rows) == []
    unharmed(protocol, oracle, rng)


@pytest.mark.parametrize("attack", ["revived", "at two slots"])
def test_without_the_bijection_check_a_withdrawn_entry_comes_back(monkeypatch, attack):
    """The exchange puts a withdrawn entry, or one entry twice, into the map. With the check off, members encrypt it."""
    rng = np.random.default_rng(11)
    protocol, oracle = twins()
    rows = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    for p in (protocol, oracle):
        p.enroll(["a", "b"], rows[:2])
    victim = protocol._exchange._cases["a"][0]
    kept = {m: c._shares[victim] for m, c in custodies(protocol).items()}
    for p in (protocol, oracle):
        p.withdraw("a") if attack == "revived" else None

    def revive(message):
        slots = words(message.slots, "<u4")
        free = np.setdiff1d(np.arange(256 * 5), slots)[0]
        return changed(
            message,
            counts=[message.counts[0] + 1],
            entries=memoryview(bytes(message.entries) + victim),
            slots=memoryview(np.append(slots, free).astype("<u4").tobytes()),
        )

    with tampered(protocol, SlotMap, revive), pytest.raises(MessageError, match="bijection"):
        protocol.enroll(["c"], rows[2:])
    assert protocol.match(rows) == oracle.match(rows)
    unharmed(protocol, oracle, rng)
    if attack == "revived":
        monkeypatch.setattr(module, "check_bijection", lambda blocks, live: None)
        for m, custody in custodies(protocol).items():
            custody._shares.setdefault(victim, kept[m])  # a member that kept what it should have deleted
        with tampered(protocol, SlotMap, revive):
            protocol._update(crossed(protocol._exchange.assign(None, frozenset({0}))))
        mask = custodies(protocol)[1].blocks[0]
        assert mask.live.sum() == len(mask.slots)  # the revived entry is live: it would match again


def test_a_slot_map_that_differs_between_members_is_refused(monkeypatch):
    rng = np.random.default_rng(12)
    protocol, oracle = twins()

    def swap(message):
        slots = words(message.slots, "<u4")
        return changed(message, slots=memoryview(np.roll(slots, 1).tobytes()))

    rows = rng.integers(0, 256, (2, 32), dtype=np.uint8)
    with (
        tampered(protocol, SlotMap, swap, receiver="member-3"),
        pytest.raises(IntegrityError, match="was given another one"),
    ):
        protocol.enroll(["a", "b"], rows)
    unharmed(protocol, oracle, rng)
    monkeypatch.setattr(module, "same", lambda left, right: True)
    with tampered(protocol, SlotMap, swap, receiver="member-3"):
        protocol.enroll(["a", "b"], rows)
    oracle.enroll(["a", "b"], rows)
    queries = np.concatenate([rows, rng.integers(0, 256, (62, 32), dtype=np.uint8)])
    assert protocol.match(queries) != oracle.match(queries)  # shares of different entries were added in one slot


def test_slot_maps_out_of_turn_are_refused():
    protocol = scan()
    protocol.enroll(["a"], np.zeros((1, 32), np.uint8))
    custody = custodies(protocol)[1]
    with pytest.raises(ReplayError, match="not compared"):
        custody.accept_map()
    slot_map = crossed(protocol._exchange.assign(None, frozenset({0})))
    for stale in (changed(slot_map, version=1), changed(slot_map, epoch=2), changed(slot_map, version=0)):
        with pytest.raises(StaleVersion, match="slot map"):
            custody.receive_map(stale)
    digest = custody.receive_map(slot_map)
    with pytest.raises(StaleVersion, match="not due"):
        custody.receive_map_digest(2, changed(digest, version=7))
    with pytest.raises(IntegrityError, match="another one"):
        custody.receive_map_digest(2, changed(digest, digest=bytes(32)))
    custody.receive_map_digest(2, digest)
    with pytest.raises(ReplayError, match="not compared"):
        custody.accept_map()
    custody.receive_map_digest(3, digest)
    custody.accept_map()
    assert custody.accepted_map(2).digest == digest.digest
    with pytest.raises(StaleVersion):
        custody.accepted_map(9)


def test_never_two_digests_for_one_block_and_version(monkeypatch):
    rng = np.random.default_rng(13)
    protocol, oracle = twins()
    for p in (protocol, oracle):
        p.enroll(["a"], np.zeros((1, 32), np.uint8))
    for custody in custodies(protocol).values():
        good = BlockDigest(1, 1, 0, 1, custody.block_digests[0])
        custody.sign_block(good)  # the same again is no harm
        with pytest.raises(ReplayError, match="another one was signed"):
            custody.sign_block(changed(good, digest=bytes(32)))
        for stale in ({"version": 2}, {"epoch": 2}, {"block": 1}, {"lanes": 2}):
            with pytest.raises(StaleVersion, match="not what members built"):
                custody.sign_block(changed(good, **stale))
    unharmed(protocol, oracle, rng)
    custody = custodies(protocol)[1]
    monkeypatch.setattr(module, "same", lambda left, right: True)
    forked = BlockDigest(1, custody.blocks[0].version, 0, 1, bytes(32))
    assert custody.sign_block(forked)  # with the check off, two platforms could be served different banks


def test_withdrawals_of_unknown_or_doubled_entries_are_refused_and_change_nothing():
    rng = np.random.default_rng(14)
    protocol, oracle = twins()
    for p in (protocol, oracle):
        p.enroll(["a"], np.zeros((1, 32), np.uint8))
    known = protocol._exchange._cases["a"][0]
    for custody in custodies(protocol).values():
        for entries, epoch in [([known, known], 1), ([known], 2)]:
            with pytest.raises(MessageError, match="withdrawal"):
                custody.withdraw(EntryWithdrawal(epoch, 1, entries))
    zero = np.zeros((1, 32), np.uint8)
    assert protocol.match(zero) == oracle.match(zero) != []
    unharmed(protocol, oracle, rng)
    for p in (protocol, oracle):
        p.withdraw("a")
    for custody in custodies(protocol).values():
        assert known not in custody._shares
        receipts = [custody.withdraw(EntryWithdrawal(1, version, [known])) for version in (1, 2)]
        assert receipts[0] == receipts[1]  # told again: the same receipt
        other = custody.withdraw(EntryWithdrawal(1, 1, [known, bytes(16)]))
        assert decode(other.body, EntryReceipt).entries == [known, bytes(16)]


def test_who_encrypts():
    for share in SHARES:
        assert encryptor(share, 0) == share
        for away in SHARES:
            who = encryptor(share, away)
            assert who != away
            assert share in held_by(who)


def test_nothing_is_shown():
    custody = custodies(scan())[1]
    assert repr(custody) == "<Custody of member-1>"


def test_flipped_planes_show_as_a_digest_that_platforms_refuse():
    """A plane altered between exchange and platform does not fit what members signed."""
    from protocols.scan.enrolling_messages import BlockPlanes

    rng = np.random.default_rng(15)
    protocol = scan()
    with (
        tampered(protocol, BlockPlanes, lambda m: changed(m, planes=memoryview(flipped(bytes(m.planes))))),
        pytest.raises(IntegrityError, match="signed another block or version"),
    ):
        protocol.enroll(["a"], rng.integers(0, 256, (1, 32), dtype=np.uint8))
    assert near(rng, np.zeros(32, np.uint8), 3).any()
    assert seal_entry(np.zeros(256, np.uint8), protocol.parameters, 1, protocol._client._pinned.members).entry


# Withdrawals while a block is built ----------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("proofs", [False, True])
def test_members_that_are_told_of_a_withdrawal_at_different_times_do_not_encrypt_in_part(monkeypatch, first, proofs):
    """Else the slot would hold some shares of the withdrawn entry, not their sum: it overflows into its neighbours."""
    rng = np.random.default_rng(16)
    protocol, oracle = twins(proofs=proofs)
    rows = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    honest = enrolling._planes

    def planes(wire, member, block, share):
        held = custodies(protocol)
        entry = protocol._exchange._cases["villain"][0]
        if share == first:
            held[share].withdraw(EntryWithdrawal(1, protocol._exchange.version, [entry]))
        yield from honest(wire, member, block, share)

    with monkeypatch.context() as patch:
        patch.setattr(enrolling, "_planes", planes)
        with pytest.raises(StaleVersion, match="withdrawn since its slot map"):
            protocol.enroll(["villain", "victim"], rows[:2])
    assert not protocol._checker.blocks
    for p in (protocol, oracle):
        p.enroll(["victim"], rows[1:2])
    assert protocol.match(rows) == oracle.match(rows)


def test_a_withdrawal_drops_the_slot_map_that_is_not_accepted_yet():
    """Else the withdrawn entry comes back with the map."""
    rng = np.random.default_rng(17)
    protocol, oracle = twins()
    rows = rng.integers(0, 256, (2, 32), dtype=np.uint8)
    for p in (protocol, oracle):
        p.enroll(["a", "b"], rows)
    slot_map = crossed(protocol._exchange.assign(None, frozenset({0})))
    held = custodies(protocol)
    digests = {m: c.receive_map(slot_map) for m, c in held.items()}
    for m, c in held.items():
        for other in SHARES:
            if other != m:
                c.receive_map_digest(other, digests[other])
    for p in (protocol, oracle):
        p.withdraw("a")
    for c in held.values():
        with pytest.raises(ReplayError, match="assign anew"):
            c.accept_map()
        with pytest.raises(MessageError, match="bijection"):
            c.receive_map(slot_map)
        assert not c.blocks[0].live.all()
    assert protocol.match(rows) == oracle.match(rows)
    protocol.rebuild()
    assert protocol.match(rows) == oracle.match(rows)


def test_every_member_that_is_there_must_have_told_its_slot_map():
    """A digest of the member that is said to be away does not stand for one that is there."""
    protocol = scan()
    protocol.enroll(["a"], np.zeros((1, 32), np.uint8))
    slot_map = crossed(protocol._exchange.assign(3, frozenset({0})))
    custody = custodies(protocol)[1]
    digest = custody.receive_map(slot_map)
    custody.receive_map_digest(3, digest)
    with pytest.raises(ReplayError, match="not compared"):
        custody.accept_map()
    custody.receive_map_digest(2, digest)
    assert custody.accept_map() == [(0, share) for share in SHARES if encryptor(share, 3) == 1]

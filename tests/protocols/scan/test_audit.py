"""The audit of a block: honest blocks pass, an exchange that publishes anything else is caught, once and for all."""

from itertools import product

import numpy as np
import pytest
from blake3 import blake3

from protocols.base import IntegrityError, ProtocolError, ReplayError, StaleVersion
from protocols.scan import enrolling
from protocols.scan.audit import Auditor, _Contribution
from protocols.scan.enrolling_messages import BlockDigest, BlockPlanes, PlaneShares, SlotMap
from protocols.scan.packing import pack, unpack
from protocols.scan.parameters import RESIDUE_BITS
from protocols.scan.proof_messages import AuditCommitment, AuditOpening, AuditToss
from tests.protocols.scan import cheats, parties


def bank(rng, entries=20):
    return [f"case-{i}" for i in range(entries)], rng.integers(0, 256, (entries, 32), dtype=np.uint8)


@pytest.mark.parametrize("change", cheats.BLOCK_CHEATS, ids=lambda change: change.__name__)
def test_an_exchange_that_publishes_anything_else_is_caught(change):
    for seed in range(1):
        rng = np.random.default_rng(seed)
        scan, oracle = parties.twins(proofs=True)
        for p in (scan, oracle):
            p.enroll(*bank(np.random.default_rng(10)))
        cases, hashes = bank(rng)
        before = scan._checker.blocks[0].digest
        with cheats.cheating_exchange(scan, change, rng), pytest.raises(IntegrityError, match=r"audit.*incident"):
            scan.enroll([f"new {case}" for case in cases], hashes)
        assert scan._checker.blocks[0].digest == before
        assert all(member.bank.blocks[0].digest == before for member in scan._members.values())
        with pytest.raises(StaleVersion):  # nothing is answered until the block is built anew
            scan.match(hashes)
        scan.rebuild()
        assert scan.match(np.concatenate([hashes, bank(np.random.default_rng(10))[1]])) == oracle.match(
            np.concatenate([hashes, bank(np.random.default_rng(10))[1]])
        )
        parties.unharmed(scan, oracle, rng)


@pytest.mark.parametrize("change", cheats.BLOCK_CHEATS, ids=lambda change: change.__name__)
def test_without_the_audit_the_same_block_is_signed(change, monkeypatch):
    rng = np.random.default_rng(3)
    scan = parties.scan(proofs=True)
    monkeypatch.setattr(Auditor, "_value", lambda *_: (0, 0))
    with cheats.cheating_exchange(scan, change, rng):
        scan.enroll(*bank(rng))
    assert scan._checker.blocks


def honest_then(alter, kind, match, **where):
    scan = parties.scan(proofs=True)
    with parties.tampered(scan, kind, alter, **where), pytest.raises(ProtocolError, match=match):
        scan.enroll(*bank(np.random.default_rng(4)))
    assert not scan._checker.blocks
    return scan


def test_members_that_get_different_blocks_notice():
    alter = partial_flip("planes")
    honest_then(alter, BlockPlanes, "another block 0 than it published", receiver="member-2")


def test_members_that_are_asked_to_sign_another_digest_notice():
    honest_then(lambda m: parties.changed(m, digest=bytes(32)), BlockDigest, "another block", receiver="member-3")


def test_members_that_get_different_slot_maps_notice():
    def moved(message):
        slots = np.frombuffer(message.slots, dtype="<u4").copy()
        slots[:2] = slots[1::-1]
        return parties.changed(message, slots=slots.data)

    honest_then(moved, SlotMap, "slot map", receiver="member-2")


def test_a_digest_that_the_others_do_not_have_is_refused():
    alter = lambda m: parties.changed(m, digest=bytes(32))  # noqa: E731
    honest_then(alter, AuditCommitment, "different blocks", sender="member-1")


def test_a_seed_that_was_not_committed_to_is_refused():
    honest_then(partial_flip("seed"), AuditToss, "committed", sender="member-1")


def test_a_wrong_value_fails_the_audit():
    honest_then(partial_flip("value", 0), AuditOpening, "incident", sender="member-1", receiver="member-2")


def partial_flip(field, byte=-1):
    return lambda m: parties.changed(m, **{field: type(getattr(m, field))(parties.flipped(getattr(m, field), byte))})


def test_a_failed_audit_is_never_repeated_and_an_unaudited_block_is_not_signed():
    rng = np.random.default_rng(5)
    scan = parties.scan(proofs=True)
    with cheats.cheating_exchange(scan, cheats.scale_plane, rng), pytest.raises(IntegrityError):
        scan.enroll(*bank(rng))
    member = scan._members[1]
    digest, _ = member.bank.arrived(0, 1, 1)
    asked = BlockDigest(1, 1, 0, 1, digest)
    with pytest.raises(ReplayError, match="audited before"):
        member.auditor.commit(asked)
    with pytest.raises(IntegrityError, match="has not passed its audit"):
        member.sign_block(asked)


def test_a_member_that_was_away_gets_the_blocks_that_two_others_signed():
    rng = np.random.default_rng(6)
    scan, oracle = parties.twins(proofs=True)
    cases, hashes = bank(rng)
    for p in (scan, oracle):
        p.enroll(cases, hashes)
    scan.deal_ahead(8)
    scan.take_away(3)
    for p in (scan, oracle):
        p.withdraw("case-3")
    scan.rebuild()
    assert scan.match(hashes) == oracle.match(hashes)
    scan.bring_back()
    scan.pair = (3, 1)
    assert scan.match(hashes) == oracle.match(hashes)


class Published:
    """A store that holds one published block."""

    def __init__(self, planes):
        self.planes = planes
        self.digest = blake3(planes.data.cast("B")).digest()

    def arrived(self, block, version, lanes):
        return self.digest, self.planes


@pytest.mark.slow
@pytest.mark.parametrize("change", cheats.BLOCK_CHEATS, ids=lambda change: change.__name__)
def test_every_cheat_of_the_exchange_is_caught_a_thousand_times(change, tmp_path, monkeypatch):
    rng = np.random.default_rng(7)
    kept = []
    monkeypatch.setattr(Auditor, "keep", lambda self, message: kept.append((self._member, message)))
    scan = parties.scan(proofs=True)
    with pytest.raises(IntegrityError):  # nothing was kept, so the audit of this block fails
        scan.enroll(*bank(rng))
    honest = np.array(scan._members[1].bank.arrived(0, 1, 1)[1])
    paths = {member: tmp_path / f"{member}.bin" for member in (1, 2, 3)}
    for member, path in paths.items():
        path.write_bytes(b"".join(bytes(message.planes) for who, message in kept if who == member))

    def audit(planes):
        store = Published(planes)
        custody = {number: member.custody for number, member in scan._members.items()}
        auditors = [Auditor(member, scan.parameters, store, tmp_path, custody[member]) for member in paths]
        for auditor in auditors:
            member = auditor._member
            auditor._contributed[0, 1] = {member: _Contribution(paths[member], scan.bits)}
        rounds = [
            (lambda a: a.commit(BlockDigest(1, 1, 0, 1, store.digest)), Auditor.receive_commitment),
            (lambda a: a.toss(0, 1), Auditor.receive_toss),
            (lambda a: a.opening(0, 1), Auditor.receive_opening),
        ]
        for make, take in rounds:
            made = [(sender._member, make(sender)) for sender in auditors]
            for (sender, message), receiver in product(made, auditors):
                if sender != receiver._member:
                    take(receiver, sender, message)
        auditors[0].conclude(0, 1)

    for _ in range(1000):
        first = 16 * int(rng.integers(16))
        residues = np.stack([unpack(one.reshape(2, -1, *one.shape[1:]), "p") for one in honest[first : first + 16]])
        change(residues, rng)
        planes = honest.copy()
        planes[first : first + 16] = np.stack([pack(one) for one in residues]).reshape(16, *honest.shape[1:])
        with pytest.raises(IntegrityError, match="incident"):
            audit(planes)
    audit(honest)


# What each member contributes ----------------------------------------------------------------------------------------


def asking(monkeypatch, planes):
    """From now on the exchange asks for shares as `planes(honest, block, share)` says."""
    honest = enrolling._planes

    def asked(wire, member, block, share):
        return planes(lambda block, share: honest(wire, member, block, share), block, share)

    monkeypatch.setattr(enrolling, "_planes", asked)


def nothing(scan, block, share):
    """Planes of zeros, made by the exchange."""
    version, p, lanes = scan._exchange.version, scan.parameters, scan._exchange.blocks[block].lanes
    size = 2 * (lanes + 1) * RESIDUE_BITS * p.n // 8
    for first in range(0, p.bits, 16):
        yield PlaneShares(version, block, share, first, 16, memoryview(bytes(16 * size)))


@pytest.mark.parametrize("left_out", [1, 2, 3])
def test_a_share_that_its_member_was_not_asked_for_is_noticed(left_out, monkeypatch):
    rng = np.random.default_rng(8)
    scan = parties.scan(proofs=True)
    with monkeypatch.context() as patch:
        asking(patch, lambda honest, b, share: nothing(scan, b, share) if share == left_out else honest(b, share))
        with pytest.raises(IntegrityError, match=f"did not take all of member-{left_out}'s"):
            scan.enroll(*bank(rng))
    assert not scan._checker.blocks


def test_a_share_that_is_asked_for_in_part_is_noticed(monkeypatch):
    scan = parties.scan(proofs=True)

    def half(honest, block, share):
        parts = zip(honest(block, share), nothing(scan, block, share), strict=True)
        return (zeros if first.first and share == 2 else first for first, zeros in parts)

    monkeypatch.setattr(Auditor, "keep", dropping(Auditor.keep))
    asking(monkeypatch, half)
    with pytest.raises(IntegrityError, match="did not take all of member-2's"):
        scan.enroll(*bank(np.random.default_rng(9)))


def dropping(keep):
    """A generator that the exchange stops reading after its first message is kept no further."""
    return lambda self, message: keep(self, message) if self._member != 2 or not message.first else None


def test_no_share_is_encrypted_twice_or_by_the_other_holder(monkeypatch):
    scan = parties.scan(proofs=True)
    scan.enroll(*bank(np.random.default_rng(11)))
    for number, member in scan._members.items():
        for share in (1, 2, 3):  # its own once only; another's never, though it holds it
            with pytest.raises(ReplayError, match=f"not due from member-{number}"):
                next(member.custody.planes(0, share, 16))

    def twice(honest, block, share):
        if share == 3:
            next(scan._members[1].custody.planes(block, 2, 16))
        return honest(block, share)

    asking(monkeypatch, twice)
    with pytest.raises(ReplayError, match="share 2 of block 0 is not due from member-1"):
        scan.enroll(["another"], bank(np.random.default_rng(12))[1][:1])


def test_members_compare_slot_maps_and_shares_in_the_audit():
    other_map = lambda m: parties.changed(m, map_digest=bytes(32))  # noqa: E731
    honest_then(other_map, AuditCommitment, "encrypted another slot map", sender="member-1")
    for shares in ([], [1, 2], [2]):
        alter = lambda m, shares=shares: parties.changed(m, shares=shares)  # noqa: E731
        honest_then(alter, AuditCommitment, "not the ones due", sender="member-1")


def test_planes_that_come_again_under_audit_are_refused_and_change_nothing():
    scan = parties.scan(proofs=True)
    came, again = [], []
    member = scan._members[2]

    def resend(message):
        for one in came:
            try:
                member.bank.receive_planes(parties.changed(one, planes=memoryview(bytes(len(one.planes)))))
            except ProtocolError as error:
                again.append(error)
        return message

    watch = lambda m: came.append(m) or m  # noqa: E731
    with (
        parties.tampered(scan, BlockPlanes, watch, receiver="member-2"),
        parties.tampered(scan, AuditCommitment, resend, sender="member-2", receiver="member-1"),
    ):
        scan.enroll(*bank(np.random.default_rng(13)))
    assert isinstance(again[0], ReplayError)
    assert "under audit" in str(again[0])
    assert len(again) == len(came)
    installed = member.bank.blocks[0]
    assert blake3(b"hushmatch-scan block\0" + installed.planes.tobytes()).digest() == installed.digest


def test_a_block_that_is_sent_anew_gets_a_file_of_its_own():
    scan = parties.scan(proofs=True)
    store = scan._members[1].bank
    size = scan.bits * 4 * RESIDUE_BITS * scan.parameters.n // 8
    store.receive_planes(BlockPlanes(1, 0, 0, scan.bits, memoryview(bytes(size))))
    before = store._arriving[0].path.open("rb")
    store.receive_planes(BlockPlanes(1, 0, 0, scan.bits, memoryview(b"\1" * size)))
    digest, mapped = store.arrived(0, 1, 1)
    assert before.read() == bytes(size)
    assert mapped.tobytes() == b"\1" * size
    with pytest.raises(ReplayError, match="under audit"):
        store.receive_planes(BlockPlanes(1, 0, 0, scan.bits, memoryview(bytes(size))))
    assert mapped.tobytes() == b"\1" * size
    assert digest == store.arrived(0, 1, 1)[0]
    before.close()

"""Roles that start again from their stores: they serve as before, and what serves once does not serve again."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from protocols.base import MessageError, ReplayError, StaleVersion
from protocols.ledger import decode
from protocols.scan import enrolling
from protocols.scan.checker import Checker
from protocols.scan.enrolling_messages import EntryWithdrawal, SlotMap
from protocols.scan.exchange import Exchange
from protocols.scan.matching_messages import ScanResults, TripleSeed
from protocols.scan.member import Member
from protocols.scan.store import Store, number_key, read_number
from protocols.scan.wellformedness import EntryCheck
from tests.protocols.scan.parties import PAIRS, flipped, planted, tampered, twins


def restart_members(protocol, *numbers):
    for number in numbers or (1, 2, 3):
        old = protocol._members[number]
        new = Member(number, old._folder, old._store, old.identity)
        assert new.restore(allow_insecure=True)
        protocol._members[number] = new


def restart(protocol):
    """Every role anew, from its store and folder."""
    restart_members(protocol)
    old = protocol._exchange
    protocol._exchange = Exchange(old._pinned, old._parameters, old.published._folder, old._store)
    old = protocol._checker
    protocol._checker = Checker(old._identity, old._pinned, old.parameters, old.zeros._public_key, old.bank._folder)


@pytest.mark.parametrize("proofs", [False, True])
def test_after_a_restart_everything_is_as_it_was(proofs):
    rng = np.random.default_rng(1)
    protocol, oracle = twins(proofs=proofs)
    cases, bank, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
        p.withdraw(cases[0])
    before = protocol._exchange.version, [m.custody.version for m in protocol._members.values()]
    restart(protocol)
    assert (protocol._exchange.version, [m.custody.version for m in protocol._members.values()]) == before
    for protocol.pair in PAIRS:
        assert protocol.match(queries) == oracle.match(queries)
    for p in (protocol, oracle):
        p.withdraw(cases[2])
        p.enroll(["later"], ~bank[:1])
    protocol.rebuild()
    restart(protocol)
    assert protocol.match(queries) == oracle.match(queries) != []


def test_what_serves_once_does_not_serve_again_after_a_restart():
    rng = np.random.default_rng(2)
    protocol, _ = twins(record=True)
    cases, bank, queries = planted(rng, 256, 31)
    protocol.enroll(cases, bank)
    protocol.match(queries[:1])
    results = [m for m in protocol.ledger.messages if m.kind == "ScanResults" and m.receiver == "member-1"]
    deals = [m for m in protocol.ledger.messages if m.kind == "TripleSeed"]
    protocol.deal_ahead(2)
    restart(protocol)
    member = protocol._members[1]
    assert not member.sessions.stock._deals
    with pytest.raises(ReplayError, match="seen before"):
        member.sessions.receive_results("platform-1", decode(results[0].payload, ScanResults))
    with pytest.raises(ReplayError, match="came before"):
        member.sessions.stock.receive(3, decode(deals[0].payload, TripleSeed))


@pytest.mark.parametrize("proofs", [False, True])
@pytest.mark.parametrize("stopped", [1, 3])
def test_a_version_that_a_member_did_not_get_to_is_built_anew_under_another_number(proofs, stopped, monkeypatch):
    """Members 1 and 2 may have accepted a slot map that member 3 has not, or may have encrypted and not signed."""
    rng = np.random.default_rng(3)
    protocol, oracle = twins(proofs=proofs)
    cases, bank, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    versions = [protocol._members[n].custody.version for n in (1, 2, 3)]

    class Crash(Exception):
        pass

    def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "_abandon", lambda: None)
        if stopped == 3:
            patch.setattr(protocol._members[3].custody, "accept_map", crash)
        else:
            patch.setattr(enrolling, "_planes", crash)
        with pytest.raises(Crash):
            protocol.enroll(["later"], ~bank[:1])
    oracle.enroll(["later"], ~bank[:1])
    after = [protocol._members[n].custody.version for n in (1, 2, 3)]
    assert after == ([versions[0] + 1] * 2 + [versions[0]] if stopped == 3 else [versions[0] + 1] * 3)
    restart(protocol)
    with pytest.raises(StaleVersion):
        protocol.match(queries)
    protocol._update(protocol._exchange.assign())
    protocol._cases.add("later")
    assert protocol.match(np.concatenate([queries, ~bank[:1]])) == oracle.match(np.concatenate([queries, ~bank[:1]]))
    restart(protocol)
    assert protocol.match(queries) == oracle.match(queries)


def test_an_enrolment_that_was_given_up_may_come_again_and_a_withdrawn_one_may_not():
    rng = np.random.default_rng(4)
    protocol, _ = twins(record=True)
    protocol.enroll(["a", "b"], rng.integers(0, 256, (2, 32), dtype=np.uint8))
    (kept,), (gone,) = protocol._exchange._cases["a"], protocol._exchange._cases["b"]
    protocol.withdraw("b")
    restart_members(protocol)
    custody = protocol._members[1].custody
    version = protocol._exchange.version
    custody.abandon(EntryWithdrawal(1, version, [kept, gone]))
    assert kept not in custody._seen
    assert gone in custody._seen
    assert kept not in custody._shares
    with pytest.raises(MessageError, match="epoch"):
        custody.abandon(EntryWithdrawal(2, version, [kept]))


def test_masks_of_a_check_differ_though_the_exchange_gives_the_batch_the_same_number(monkeypatch):
    """Else two openings of one batch would cancel their masks and tell sums of the shares."""
    rng = np.random.default_rng(5)
    protocol, _ = twins()
    monkeypatch.setattr("protocols.scan.exchange.secrets", SimpleNamespace(token_bytes=bytes))
    sealed = protocol._client.seal(["a"], rng.integers(0, 256, (1, 32), dtype=np.uint8))
    masks, honest = [], EntryCheck._cancelling
    monkeypatch.setattr(EntryCheck, "_cancelling", lambda *given: masks.append(honest(*given)) or masks[-1])
    for _ in range(2):
        parts = protocol._exchange.receive(sealed)
        enrolling.check(protocol.ledger, list(protocol._members.values()), parts)
        forget = protocol._exchange.abandon_batch(bytes(16))
        for member in protocol._members.values():
            member.custody.abandon(forget)
    assert len(masks) == 6
    assert not any(np.array_equal(first, again) for first, again in zip(masks[:3], masks[3:], strict=True))


def test_an_entry_withdrawn_while_its_version_is_made_does_not_come_back(monkeypatch):
    rng = np.random.default_rng(6)
    protocol, oracle = twins()
    rows = rng.integers(0, 256, (2, 32), dtype=np.uint8)
    for p in (protocol, oracle):
        p.enroll(["a"], rows[:1])
    pending = protocol._exchange.assign(None, frozenset({0}))
    for p in (protocol, oracle):
        p.withdraw("a")
    with pytest.raises(MessageError, match="bijection"):
        protocol._update(pending)
    protocol._exchange.adopt(pending)
    assert not protocol._exchange.blocks[0].live.any()
    protocol._update(protocol._exchange.assign())
    for p in (protocol, oracle):
        p.enroll(["b", "b"], rows)
    assert protocol.match(rows) == oracle.match(rows)


def test_a_block_that_was_interrupted_goes_on_where_it_stopped(tmp_path):
    protocol, _ = twins()
    protocol.enroll(["a"], np.zeros((1, 32), np.uint8))
    exchange, checker = protocol._exchange, protocol._checker
    *planes, signed = exchange.published.serve(0, 0)

    def fresh():
        return Checker(checker._identity, checker._pinned, checker.parameters, checker.zeros._public_key, tmp_path).bank

    bank = fresh()
    assert bank.resume(0, 1, 1) == 0
    for message in planes[:5]:
        bank.receive_planes(message)
    (part,) = tmp_path.glob("*.part")
    with part.open("ab") as file:
        file.write(b"half a plane")
    bank = fresh()
    assert bank.resume(0, 1, 1) == sum(message.count for message in planes[:5])
    for message in planes[5:]:
        bank.receive_planes(message)
    bank.install(signed)
    assert fresh().blocks[0].digest == checker.blocks[0].digest
    (whole,) = tmp_path.glob("*.bin")
    whole.write_bytes(flipped(whole.read_bytes()))
    assert not fresh().blocks  # does not verify any more: fetched anew
    assert not list(tmp_path.iterdir())


def test_a_tampered_map_is_not_kept():
    protocol, _ = twins()

    def doubled(message):
        return type(message)(
            message.epoch, message.version, message.blocks * 2, message.lanes * 2, message.counts * 2,
            message.entries, message.slots, message.away,
        )  # fmt: skip

    with tampered(protocol, SlotMap, doubled, receiver="member-1"), pytest.raises(MessageError, match="comes twice"):
        protocol.enroll(["a"], np.zeros((1, 32), np.uint8))
    assert not protocol._members[1]._store.table("maps 1")


def test_tables_and_counters():
    store = Store()
    store.table("a")[b"k"] = b"v"
    assert store.table("a") == {b"k": b"v"}
    assert not store.table("b")
    assert repr(store) == "<Store>"
    keys = [number_key(value) for value in (0, 1, 255, 256, 2**40)]
    assert all(low < high for low, high in pairwise(keys))
    assert read_number({}, b"n") == 0
    assert read_number({b"n": number_key(7)}, b"n") == 7
    with pytest.raises(MessageError, match="counter"):
        read_number({b"n": b"7"}, b"n")


def test_a_version_that_broke_off_is_made_again_by_the_same_exchange_with_each_entry_once(monkeypatch):
    rng = np.random.default_rng(7)
    protocol, oracle = twins()
    cases, bank, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, bank)

    def crash(*_):
        raise ReplayError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(protocol, "_abandon", lambda: None)
        patch.setattr(enrolling, "_planes", crash)
        with pytest.raises(ReplayError):
            protocol.enroll(["later"], ~bank[:1])
    oracle.enroll(["later"], ~bank[:1])
    protocol._update(protocol._exchange.assign())
    protocol._cases.add("later")
    asked = np.concatenate([queries, ~bank[:1]])
    assert protocol.match(asked) == oracle.match(asked)


def test_a_match_of_what_was_withdrawn_meanwhile_is_scanned_again_and_not_an_attack(monkeypatch):
    """One member of the pair, or none, knew of it when the lists were made."""
    rng = np.random.default_rng(8)
    protocol, _ = twins()
    rows = rng.integers(0, 256, (2, 32), dtype=np.uint8)
    protocol.enroll(["a", "b"], rows)
    kept, honest = [], protocol._exchange.resolver.resolve
    monkeypatch.setattr(protocol._exchange.resolver, "resolve", lambda *given: kept.append(given) or honest(*given))
    protocol.match(rows[:1])
    protocol.withdraw("a")
    protocol._exchange.resolver._resolved.clear()
    with pytest.raises(StaleVersion, match="withdrawn meanwhile"):
        honest(*kept[0])


def test_a_key_that_nothing_depends_on_can_be_made_anew():
    protocol, _ = twins()
    member = protocol._members[1]
    before = member.committee_key
    assert before is not None
    member.forget_unused_key()
    assert member.committee_key is None
    protocol, _ = twins()
    protocol.enroll(["a"], np.zeros((1, 32), np.uint8))
    with pytest.raises(ReplayError, match="in use"):
        protocol._members[1].forget_unused_key()
    assert protocol._members[1].served == {0: 1}

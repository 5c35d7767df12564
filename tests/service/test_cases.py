"""A case's life: each step, each repeat, each refusal, over both databases."""

import os
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from sqlalchemy import func, select, update

from protocols.base import InputError, IntegrityError, MessageError, ReplayError, UnknownCase
from protocols.scan.enrolling_messages import SealedEntry
from service.cases import Cases, CaseTaken
from service.errors import NotAdult, StorageFailed, WrongPin
from service.messages import ERASURE, Erasure, SignedErasure
from service.models import Base, Case, Entry, Receipt
from service.pins import new_number
from service.storage import transaction
from tests.service.lifecycle import DAY, MEMBERS, SEALER, Clock, activate, entry, ids, new_case, receipt, receipts

pytestmark = pytest.mark.usefixtures("cheap_scrypt")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cases(engine, clock):
    return Cases(engine, SEALER, max_entries=5, clock=clock)


def rows(engine):
    with transaction(engine) as session:
        return {t.name: session.scalar(select(func.count()).select_from(t)) for t in Base.metadata.sorted_tables}


def confirm_all(cases, case, message):
    for member in MEMBERS:
        cases.confirm(case, member, receipt(member, "withdrawn", ids(message)))


def test_a_case_from_opening_to_erasure(cases, engine):
    message = new_case(3)
    case = cases.open(message)
    assert cases.status(case).status == "received"
    assert cases.received(10) == [(case, sorted(message.entries, key=lambda each: each.entry))]
    first, *others = ids(message)
    assert cases.settle(case, others, [first], receipts(others, [first])) == sorted(others)
    status = cases.status(case)
    assert (status.status, status.received, status.accepted, status.refused) == ("active", 0, 2, 1)
    assert len(status.receipts) == 6
    assert status.opened_on.isoformat() == "2026-11-22"
    assert cases.received(10) == []
    assert cases.withdraw(case) == sorted(ids(message))
    assert cases.status(case).awaiting == [1, 2, 3]
    for member in MEMBERS:
        assert cases.unconfirmed(member) == [(case, sorted(ids(message)))]
        cases.confirm(case, member, receipt(member, "withdrawn", ids(message)))
        assert cases.unconfirmed(member) == []
    assert cases.confirmed() == [case]
    erasure = cases.erasure(case)
    assert erasure == Erasure(
        case, status.opened_on, [receipt(member, "withdrawn", ids(message)) for member in MEMBERS], ERASURE
    )
    cases.delete(case, SignedErasure(b"body", b"signature"))
    status = cases.status(case)
    assert (status.status, status.accepted, status.awaiting) == ("deleted", 0, [])
    assert status.erasure == SignedErasure(b"body", b"signature")
    assert cases.confirmed() == []
    assert rows(engine)["entries"] == 0
    assert cases.counts() == {"deleted": 1}


def test_a_settled_entry_leaves_its_sealed_shares_behind(cases, engine):
    message, waiting = new_case(2), new_case(1)
    activate(cases, message)
    cases.withdraw(cases.open(waiting))
    with transaction(engine) as session:
        assert set(session.scalars(select(Entry.sealed))) == {None}


# Opening -------------------------------------------------------------------------------------------------------------


def test_a_person_under_18_is_pointed_to_help_and_leaves_no_trace(cases, engine):
    before = rows(engine)
    with pytest.raises(NotAdult, match=r"https://takeitdown\.ncmec\.org"):
        cases.open(msgspec.structs.replace(new_case(), adult=False))
    assert rows(engine) == before


def test_opening_again_with_the_same_bytes_changes_nothing(cases, engine):
    message = new_case()
    case = activate(cases, message)
    before = rows(engine)
    assert cases.open(message) == case
    assert cases.open(msgspec.structs.replace(message, case=message.case.lower())) == case
    assert cases.status(case).status == "active"
    cases.withdraw(case)
    assert cases.open(message) == case
    assert cases.status(case).status == "withdrawn"
    assert {**rows(engine), "withdrawals": 0} == before


def test_a_number_in_use_takes_no_other_contents_and_tells_no_pin(cases, monkeypatch):
    message = new_case()
    cases.open(message)
    changed = [
        msgspec.structs.replace(message, pin=os.urandom(32)),
        msgspec.structs.replace(message, entries=message.entries[:1]),
        msgspec.structs.replace(message, entries=message.entries[::-1]),
        msgspec.structs.replace(message, entries=[entry()]),
    ]
    for other in changed:
        with pytest.raises(CaseTaken, match="fresh number"):
            cases.open(other)
    assert cases.status(cases.open(message)).received == 2
    hashed = []
    monkeypatch.setattr("service.cases.hash_key", lambda key: hashed.append(key) or bytes(32))
    with pytest.raises(CaseTaken):
        cases.open(changed[3])
    assert len(hashed) == 1  # for the new row only: other entries' PIN is never compared


def test_what_no_client_sends_is_refused_and_not_stored(cases, engine):
    good = new_case()
    cases.open(good)
    before = rows(engine)
    short = SealedEntry(b"short", bytes(96), [b"", b"", b""])
    lost = SealedEntry(bytes(16), bytes(96), [b"", b""])
    twice = new_case(1).entries * 2
    for entries, error in (
        ([], InputError),
        ([entry() for _ in range(6)], InputError),
        ([short], MessageError),
        ([lost], MessageError),
        (twice, ReplayError),
        ([entry(), good.entries[0]], ReplayError),
    ):
        with pytest.raises(error):
            cases.open(msgspec.structs.replace(new_case(), entries=entries))
    for field, short in (("case", "1234"), ("pin", bytes(31))):
        with pytest.raises(InputError, match="expected"):
            cases.open(msgspec.structs.replace(new_case(), **{field: short}))
    assert rows(engine) == before


def test_the_same_case_opened_at_once_is_one_case(cases, engine):
    message = new_case()
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(cases.open, [message] * 12))) == 1
    assert rows(engine)["cases"] == 1
    assert rows(engine)["entries"] == 2


# PINs ----------------------------------------------------------------------------------------------------------------


def test_the_right_pin_works_at_once_whatever_others_try(cases):
    message = new_case()
    case = cases.open(message)
    delays = []
    for _ in range(10):
        with pytest.raises(WrongPin, match="no case has this number and PIN") as caught:
            cases.check_pin(message.case, os.urandom(32), "attacker")
        delays.append(caught.value.delay)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    for address in ("person", "attacker"):  # also from the same address: an attacker may share it
        assert cases.check_pin(message.case, message.pin, address) == case


def test_an_unknown_number_looks_like_a_wrong_pin(cases):
    message = new_case()
    cases.open(message)
    answers = []
    for number in (message.case, new_number()):
        with pytest.raises(WrongPin) as caught:
            cases.check_pin(number, os.urandom(32), "here")
        answers.append((str(caught.value), caught.value.delay))
    assert answers[0] == answers[1]


# Settling, withdrawing, confirming -----------------------------------------------------------------------------------


def test_settling_again_gives_the_same_and_settling_otherwise_is_refused(cases, engine):
    message = new_case(3)
    case = cases.open(message)
    a, b, c = ids(message)
    assert cases.settle(case, [a], [b], receipts([a], [b])) == [a]
    assert cases.status(case).status == "received"  # one is open still
    assert [each.entry for each in cases.received(1)[0][1]] == [c]
    before = rows(engine)
    assert cases.settle(case, [a], [b], receipts([a], [b])) == [a]
    assert rows(engine) == before
    for accepted, refused in (([b], []), ([], [a]), ([c], [c]), ([bytes(16)], []), ([c, c], [])):
        with pytest.raises(IntegrityError):
            cases.settle(case, accepted, refused, receipts(accepted, refused))
    assert cases.status(case).received == 1
    assert cases.settle(case, [], [c], receipts([], [c])) == []
    assert cases.status(case).status == "active"


def test_a_case_with_every_entry_refused_is_refused_and_may_be_withdrawn(cases):
    message = new_case(1)
    case = cases.open(message)
    cases.settle(case, [], ids(message), receipts([], ids(message)))
    assert cases.status(case).status == "refused"
    cases.withdraw(case)
    confirm_all(cases, case, message)
    cases.delete(case, SignedErasure(b"", b""))
    assert cases.status(case).status == "deleted"


def test_what_is_settled_after_a_withdrawal_stays_withdrawn(cases):
    message = new_case()
    case = cases.open(message)
    cases.withdraw(case)
    assert cases.received(10) == []
    assert cases.settle(case, ids(message), [], receipts(ids(message))) == []
    status = cases.status(case)
    assert (status.status, status.accepted, status.receipts) == ("withdrawn", 0, [])


def test_withdrawing_again_owes_no_confirmation_again(cases):
    message = new_case()
    case = activate(cases, message)
    cases.withdraw(case)
    cases.confirm(case, 2, receipt(2, "withdrawn", ids(message)))
    assert cases.withdraw(case) == sorted(ids(message))
    assert cases.status(case).awaiting == [1, 3]
    cases.confirm(case, 2, receipt(2, "withdrawn", ids(message)))
    assert cases.status(case).awaiting == [1, 3]
    assert len(cases.status(case).receipts) == 4


def test_a_confirmation_that_does_not_fit_is_refused(cases):
    message = new_case(2)
    case = activate(cases, message)
    with pytest.raises(IntegrityError, match="the case is active"):
        cases.confirm(case, 1, receipt(1, "withdrawn", ids(message)))
    cases.withdraw(case)
    with pytest.raises(IntegrityError, match="says accepted"):
        cases.confirm(case, 1, receipt(1, "accepted", ids(message)))
    with pytest.raises(IntegrityError, match="member-1: an entry of the case is left out"):
        cases.confirm(case, 1, receipt(1, "withdrawn", ids(message)[:1]))
    assert cases.status(case).awaiting == [1, 2, 3]


def test_nothing_is_erased_before_every_member_has_confirmed(cases):
    message = new_case()
    case = activate(cases, message)
    for step in ("active", "withdrawn"):
        assert cases.confirmed() == []
        with pytest.raises(IntegrityError):
            cases.erasure(case)
        with pytest.raises(IntegrityError):
            cases.delete(case, SignedErasure(b"", b""))
        assert cases.status(case).status == step
        cases.withdraw(case)
        cases.confirm(case, 1, receipt(1, "withdrawn", ids(message))) if step == "withdrawn" else None
    assert cases.status(case).status == "withdrawn"


def test_cases_that_are_not_there_are_named_errors(cases):
    for step in (cases.status, cases.withdraw, cases.erasure):
        with pytest.raises(UnknownCase):
            step(bytes(32))
    with pytest.raises(UnknownCase):
        cases.settle(bytes(32), [], [], {})
    with pytest.raises(UnknownCase):
        cases.confirm(bytes(32), 1, receipt(1, "withdrawn", []))
    with pytest.raises(UnknownCase):
        cases.delete(bytes(32), SignedErasure(b"", b""))


def test_the_oldest_days_are_checked_first(cases, clock):
    late = {cases.open(new_case(1)) for _ in range(3)}
    clock.now -= DAY
    early = {cases.open(new_case(1)) for _ in range(3)}
    order = [case for case, _ in cases.received(10)]
    assert order == sorted(early) + sorted(late)
    assert [case for case, _ in cases.received(2)] == order[:2]


class Dying:
    """A store whose commit fails: the process is killed in the middle of a step."""

    def commit(self, session):
        raise StorageFailed("killed")


def test_a_step_that_is_cut_off_leaves_nothing_behind(cases, engine):
    message = new_case()
    case = cases.open(message)
    with pytest.raises(StorageFailed):
        cases.settle(case, ids(message), [], receipts(ids(message)), store=Dying())
    assert cases.status(case).received == 2
    cases.settle(case, ids(message), [], receipts(ids(message)))
    with pytest.raises(StorageFailed):
        cases.withdraw(case, store=Dying())
    assert cases.status(case).status == "active"
    assert cases.status(case).accepted == 2
    cases.withdraw(case)
    with pytest.raises(StorageFailed):
        cases.confirm(case, 1, receipt(1, "withdrawn", ids(message)), store=Dying())
    assert cases.status(case).awaiting == [1, 2, 3]
    confirm_all(cases, case, message)
    with pytest.raises(StorageFailed):
        cases.delete(case, SignedErasure(b"", b""), store=Dying())
    assert cases.status(case).status == "withdrawn"
    assert rows(engine)["entries"] == 2


def test_pins_are_hashes_and_receipts_sealed(cases, engine):
    message = new_case()
    case = activate(cases, message)
    with transaction(engine) as session:
        row = session.get(Case, case)
        assert len(row.pin_hash) == 32
        assert message.pin not in (row.pin_hash, row.contents)
        bodies = session.scalars(select(Receipt.body)).all()
    assert len(bodies) == 3
    assert not [body for body in bodies if b"member-" in body or message.entries[0].entry in body]
    with transaction(engine) as session:
        session.execute(update(Receipt).where(Receipt.member == 1).values(member=9))
        session.execute(update(Receipt).where(Receipt.member == 2).values(body=bodies[0]))
    with pytest.raises(IntegrityError, match="'receipts' does not open"):
        cases.status(case)

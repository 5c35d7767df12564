"""Any order of steps, repeated and cut off at will, keeps what was acknowledged and revives nothing withdrawn."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from protocols.base import IntegrityError
from service.cases import Cases
from service.errors import StorageFailed
from service.messages import Sighted, SignedErasure, Upload, Verdicts
from service.sightings import Finds, UnknownSighting
from tests.service.conftest import empty
from tests.service.lifecycle import MEMBERS, SEALER, ids, new_case, receipt, receipts

pytestmark = pytest.mark.usefixtures("cheap_scrypt")


class Dying:
    """A store whose commit fails: the process is killed before the step is on disk."""

    def commit(self, session):
        raise StorageFailed("killed")


class Model:
    """What has been acknowledged of a case."""

    def __init__(self, message):
        self.message = message
        self.status = "received"
        self.accepted, self.refused = set(), set()
        self.owing = set()
        self.sightings = {}

    @property
    def stopped(self):
        return self.status in ("withdrawn", "deleted")


class Lifecycle(RuleBasedStateMachine):
    """Steps against the database and the model; `killed` steps must leave no trace."""

    cases = Bundle("cases")

    def __init__(self, engine):
        super().__init__()
        empty(engine)
        self.exchange = Cases(engine, SEALER, max_entries=5)
        self.finds = Finds(engine, video_share=0.5)
        self.known = {}

    def step(self, killed, action):
        """Run a step. Whether it is done: a killed one raises and is not."""
        if not killed:
            return True, action(None)
        with pytest.raises(StorageFailed):
            action(Dying())
        return False, None

    @rule(target=cases, entries=st.integers(1, 3))
    def open(self, entries):
        message = new_case(entries)
        case = self.exchange.open(message)
        self.known[case] = Model(message)
        return case

    @rule(case=cases)
    def open_again(self, case):
        assert self.exchange.open(self.known[case].message) == case

    @rule(case=cases, good=st.sets(st.integers(0, 2)), bad=st.sets(st.integers(0, 2)), killed=st.booleans())
    def settle(self, case, good, bad, killed):
        model = self.known[case]
        entries = ids(model.message)
        accepted = {entries[i] for i in good if i < len(entries)}
        refused = {entries[i] for i in bad if i < len(entries)}
        told = receipts(sorted(accepted), sorted(refused))
        if not model.stopped and (accepted & (refused | model.refused) or refused & model.accepted):
            with pytest.raises(IntegrityError):
                self.exchange.settle(case, accepted, refused, told)
            return
        done, placeable = self.step(killed, lambda store: self.exchange.settle(case, accepted, refused, told, store))
        if not done:
            return
        assert placeable == ([] if model.stopped else sorted(accepted))
        if not model.stopped:
            model.accepted |= accepted
            model.refused |= refused
            if len(model.accepted | model.refused) == len(entries):
                model.status = "active" if model.accepted else "refused"

    @rule(case=cases, killed=st.booleans())
    def withdraw(self, case, killed):
        model = self.known[case]
        done, entries = self.step(killed, lambda store: self.exchange.withdraw(case, store))
        if done:
            assert entries == ([] if model.status == "deleted" else sorted(ids(model.message)))
            if not model.stopped:
                model.status, model.owing = "withdrawn", set(MEMBERS)

    @rule(case=cases, member=st.sampled_from(MEMBERS), whole=st.booleans(), killed=st.booleans())
    def confirm(self, case, member, whole, killed):
        model = self.known[case]
        entries = ids(model.message)[0 if whole else 1 :]
        signed = receipt(member, "withdrawn", entries)
        if model.status != "deleted" and (model.status != "withdrawn" or not whole):
            with pytest.raises(IntegrityError):
                self.exchange.confirm(case, member, signed)
            return
        done, _ = self.step(killed, lambda store: self.exchange.confirm(case, member, signed, store))
        if done:
            model.owing.discard(member)

    @rule(case=cases, killed=st.booleans())
    def delete(self, case, killed):
        model = self.known[case]
        signed = SignedErasure(b"body", b"signature")
        if model.status != "deleted" and (model.status != "withdrawn" or model.owing):
            with pytest.raises(IntegrityError):
                self.exchange.delete(case, signed)
            return
        done, _ = self.step(killed, lambda store: self.exchange.delete(case, signed, store))
        if done:
            model.status, model.sightings = "deleted", {}

    @rule(case=cases, found=st.integers(1, 2), verdict=st.sampled_from([None, "blocked", "pending review"]))
    def sight(self, case, found, verdict):
        model = self.known[case]
        handles = {os.urandom(16): case for _ in range(found)}
        kept = self.finds.matched("platform-1", handles)
        assert kept == (list(handles) if model.status == "active" else [])
        sighted = Sighted([Upload("photo", 1, [list(handles)])])
        told = self.finds.sighted("platform-1", sighted).uploads[0]
        assert len(told) == (model.status == "active")
        assert self.finds.sighted("platform-1", sighted).uploads[0] == told
        model.sightings |= dict.fromkeys(told)
        if told and verdict:
            self.finds.feedback("platform-1", Verdicts([(told[0], verdict)]))
            with pytest.raises(UnknownSighting):
                self.finds.feedback("platform-2", Verdicts([(told[0], verdict)]))
            model.sightings[told[0]] = verdict

    @invariant()
    def the_database_says_what_was_acknowledged(self):
        for case, model in self.known.items():
            status = self.exchange.status(case)
            assert status.status == model.status
            assert set(status.awaiting) == model.owing
            shown = status.platforms[0] if status.platforms else None
            verdicts = list(model.sightings.values())
            assert (shown.matches if shown else 0) == len(verdicts)
            assert (shown.blocked if shown else 0) == verdicts.count("blocked")
            waiting = 0 if model.stopped else len(model.message.entries) - len(model.accepted | model.refused)
            assert status.received == waiting
            assert status.accepted == (0 if model.stopped else len(model.accepted))  # none comes to life again
            assert (status.erasure is not None) == (model.status == "deleted")

    @invariant()
    def what_is_to_be_done_is_what_is_not_done(self):
        pending = {case for case, model in self.known.items() if model.status == "received"}
        assert {case for case, _ in self.exchange.received(1000)} == pending
        for case, entries in self.exchange.received(1000):
            model = self.known[case]
            assert {entry.entry for entry in entries} == set(ids(model.message)) - model.accepted - model.refused
        for member in MEMBERS:
            owed = {case: sorted(ids(model.message)) for case, model in self.known.items() if member in model.owing}
            assert dict(self.exchange.unconfirmed(member)) == owed
        done = {case for case, model in self.known.items() if model.status == "withdrawn" and not model.owing}
        assert set(self.exchange.confirmed()) == done


def run(engine, examples):
    run_state_machine_as_test(
        lambda: Lifecycle(engine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_order_of_steps_keeps_what_was_acknowledged(engine):
    run(engine, examples=4)


@pytest.mark.slow
def test_any_order_of_steps_keeps_what_was_acknowledged_at_length(engine):
    run(engine, examples=100)


def test_steps_at_once_wait_for_each_other_and_never_for_ever(engine):
    cases, finds = Cases(engine, SEALER, max_entries=5), Finds(engine, video_share=0.5)
    messages = [new_case(3) for _ in range(4)]
    known = [cases.open(message) for message in messages]
    everything = [entry for message in messages for entry in ids(message)]

    def steps(worker):
        choose = random.Random(worker)
        for _ in range(12):
            which = choose.randrange(4)
            case, entries = known[which], ids(messages[which])
            step = choose.randrange(7)
            if step == 0:
                cases.settle(case, entries, [], receipts(entries))
            elif step == 1:
                cases.placed(choose.randrange(2), choose.randrange(9), choose.sample(everything, 8))
            elif step == 2:
                found = {os.urandom(16): choose.choice(known) for _ in range(6)}
                kept = finds.matched("platform-1", found)
                upload = Upload("photo", 1, [choose.sample(kept, len(kept))])
                told = finds.sighted("platform-1", Sighted([upload, upload])).uploads
                if choose.random() < 0.5 and told[0]:
                    with suppress(UnknownSighting):  # the case may be gone by now
                        finds.feedback("platform-1", Verdicts([(told[0][0], "blocked")]))
            elif step == 3 and worker == 0:
                cases.withdraw(case)
            elif step == 4:
                with suppress(IntegrityError):
                    cases.confirm(case, 1 + choose.randrange(3), receipt(1, "withdrawn", entries))
                    cases.delete(case, SignedErasure(b"", b""))
            elif step == 5:
                finds.searched("platform-1", choose.randrange(2), choose.randrange(9))
                finds.tidy()
            else:
                cases.status(case)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(steps, range(6)))  # no StorageFailed: no deadlock, no wait that ran out
    for case in known:
        status = cases.status(case)
        if status.status in ("withdrawn", "deleted"):
            assert status.accepted == 0

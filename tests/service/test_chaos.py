"""kill -9 of every role at random moments of enrolment, scan and withdrawal.

HUSHMATCH_MOMENTS says how many a role; 30 of them take most of an hour.
"""

import os
import time

import pytest

from service import storage
from service.up import PARTIES
from tests.service.chaos import Town, alongside
from tests.service.conftest import SERVER, empty

MOMENTS = int(os.environ.get("HUSHMATCH_MOMENTS", "3"))

pytestmark = pytest.mark.timeout(3600)


def enrol(town):
    case = town.open(town.random.sample(range(len(town.files)), town.random.randint(1, 2)))
    town.wait_for(case, "active")


def scan(town):
    town.check(town.random.sample(range(len(town.files)), 4))


def withdraw(town):
    open_ones = [case for case in town.notes.cases if not case.withdrawing]
    if len(open_ones) < 2:
        enrol(town)
        open_ones = [case for case in town.notes.cases if not case.withdrawing]
    case = town.random.choice(open_ones)
    town.withdraw(case)
    town.check(case.photos)


WORK = (enrol, scan, withdraw)


def killed_at(town, name, work, before):
    """Do some work, and kill a role so many seconds after it began."""
    done = alongside(lambda: work(town))
    time.sleep(before)
    town.crash(name)
    done()


def run(folder, names, moments, seed, database=""):
    town, took = Town(folder / "town", seed, database=database), {}
    try:
        town.start()
        enrol(town)
        for work in WORK:
            begun = time.monotonic()
            work(town)
            took[work] = time.monotonic() - begun
        for name in names:
            for moment in range(moments):
                work = WORK[moment % len(WORK)]
                killed_at(town, name, work, town.random.uniform(0, took[work]))
        town.settled()
        assert town.used_once().keys() == {"session", "results", "deal", "zeros"}
        doubled = sum(count - 1 for count in town.hook_calls().values())
        assert doubled <= (moments if "platform-1" in names else 0)  # killed between a call and its being kept
    finally:
        town.stop()


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTIES)
def test_a_role_that_is_killed_at_random_moments_loses_and_doubles_nothing(name, tmp_path):
    run(tmp_path, [name], MOMENTS, seed=PARTIES.index(name))


@pytest.mark.slow
def test_an_exchange_over_postgresql_that_is_killed_loses_and_doubles_nothing(postgresql_url, tmp_path):
    if postgresql_url is None:
        pytest.skip(f"{SERVER} is not set: no PostgreSQL to test with (.ci/run starts one)")
    engine = storage.open(postgresql_url)
    empty(engine)
    engine.dispose()
    run(tmp_path, ["exchange"], max(MOMENTS, len(WORK) * 2), seed=9, database=postgresql_url)

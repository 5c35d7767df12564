"""A member's budgets by themselves: what counts, until when, and what is kept of it."""

import pytest

from protocols.base import BudgetExceeded
from protocols.scan import budgets as module
from protocols.scan.budgets import Budgets
from protocols.scan.founding_messages import Manifest
from protocols.scan.parameters import PROTOCOL_VERSION


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def manifest(daily_results=None, daily_match_share=None):
    return Manifest(PROTOCOL_VERSION, "INSECURE_TINY", 1, 256, 31, 1, [], 8, None, daily_results, daily_match_share)


def test_as_many_unfinished_batches_are_borne_as_allowed_and_one_more_is_not(clock):
    kept = {}
    budgets = Budgets(manifest(), kept, unfinished=2)
    assert [budgets.note_unfinished("platform-1") for _ in range(3)] == [True, True, False]
    assert budgets.note_unfinished("platform-2")
    assert not Budgets(manifest(), kept, unfinished=3).note_unfinished("platform-1")  # counted over a restart
    assert not Budgets(manifest(), {}).note_unfinished("platform-1")
    clock[0] += 26 * 3600
    assert budgets.note_unfinished("platform-1")


def test_hours_that_no_longer_count_are_forgotten_in_the_store_too(clock):
    kept = {}
    budgets = Budgets(manifest(daily_results=300), kept)
    for _ in range(100):
        budgets.spend("platform-1", 8)
        clock[0] += 3600
    assert len(kept) == 25  # the hour that runs, and the 24 before it
    again = Budgets(manifest(daily_results=300), dict(kept))
    again.spend("platform-1", 8)
    with pytest.raises(BudgetExceeded):
        again.spend("platform-1", 8)


def test_a_share_of_matches_counts_from_a_thousand_queries_on(clock):
    budgets = Budgets(manifest(daily_match_share=0.1), {})
    for _ in range(124):
        budgets.spend("platform-1", 8)
    budgets.note_matches("platform-1", 101)
    budgets.spend("platform-1", 8)
    with pytest.raises(BudgetExceeded, match="stopped: more than 10"):
        budgets.spend("platform-1", 8)
    budgets.spend("platform-2", 8)
    clock[0] += 26 * 3600
    budgets.spend("platform-1", 8)

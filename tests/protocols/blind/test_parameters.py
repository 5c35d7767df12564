"""Parameters that cannot be, or should not be."""

import pytest

from protocols import create
from protocols.base import ConfigurationError
from protocols.blind.parameters import Parameters


@pytest.mark.parametrize(
    "options",
    [
        {"k": 257},
        {"k": 7, "allow_unsafe_k": True},
        {"k": 64.0},
        {"bands": 0},
        {"bands": 1 << 17},
        {"entry_tokens": 0},
        {"query_tokens": 1025},
        {"budget": 0},
        {"budget": 1 << 41},
        {"window": 0},
        {"window": 5e-324},
        {"window": float("inf")},
        {"window": float("nan")},
        {"window": 10**400},
        {"window": "a day"},
        {"window": None},
        {"window": True},
        {"proofs": "no"},
        {"allow_unsafe_k": "no", "k": 8},
        {"record": 1},
        {"progress": 5},
        {"entry_tokens": 65_535, "bands": 65_536},
        {"query_tokens": 65_535, "bands": 65_536},
        {"budget": 192},
        {"threshold": 41},
        {"threads": 0},
    ],
)
def test_what_is_out_of_range_is_refused_by_name(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        create("blind", **options)


def test_a_small_k_is_for_research_only():
    with pytest.raises(ConfigurationError, match="allow_unsafe_k"):
        Parameters(k=63)
    assert Parameters(k=24, allow_unsafe_k=True).k == 24


def test_other_bands_are_another_domain():
    domains = {Parameters(k=k, bands=bands).domain for k in (64, 65) for bands in (128, 256)}
    assert len(domains) == 4


def test_a_budget_is_enough_for_one_fingerprint_and_requests_fit_it():
    """With proofs 129 answers: the smallest budget that a member makes as many of a window."""
    assert Parameters(budget=194).answers == 129
    assert Parameters(budget=194).rows_per_request == 1
    assert Parameters(budget=384).rows_per_request == 1  # 256 answers: two fingerprints, but not the check with them
    assert Parameters(budget=3 * 129).rows_per_request == 2
    assert Parameters().rows_per_request == 8

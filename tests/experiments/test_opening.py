"""The experiment on opening cases: what it counts, and that a quick run gives numbers and a figure."""

from collections import Counter

import pytest

from experiments import opening
from experiments.__main__ import conduct
from experiments.datasets import open_dataset
from experiments.lab import Lab


def test_a_crowd_is_told_in_numbers():
    crowd = opening.Crowd([0.1] * 99 + [1.0], [0.5] * 100, Counter({"LimitReached: full": 3}), 10.0)
    row = opening.summary(crowd)
    assert (row["opened"], row["opened_a_second"], row["sent_back"]) == (100, 10.0, 3)
    assert (row["answer_p50_s"], row["answer_longest_s"], row["wait_p99_s"]) == pytest.approx((0.1, 1.0, 0.5))
    nobody = opening.summary(opening.Crowd(seconds=1.0))
    assert (nobody["opened"], nobody["answer_p99_s"]) == (0, None)


@pytest.mark.slow
def test_a_quick_run(tmp_path):
    result = conduct("opening", Lab(open_dataset(None), quiet=True), quick=True, command="test")
    (row,) = result.tables["opening"]
    assert (row["people"], row["sent_back"]) == (4, 0)
    assert row["opened"] > 4
    assert 0 < row["answer_p50_s"] <= row["answer_p99_s"] <= row["wait_longest_s"]
    shares = {each["process"]: each["share"] for each in result.tables["processors"]}
    assert shares.keys() == {"exchange", "member-1", "member-2", "member-3", "people"}
    assert shares["exchange"] > 0
    assert len(opening.figures(result)["waits"].axes[0].lines) == 3

"""A small bank is enrolled and found, and the run's numbers hang together."""

from experiments import enrolling
from experiments.datasets import bundled
from experiments.lab import Lab
from experiments.results import make


def test_a_small_run():
    config = enrolling.Config(entries=300, batch=4, workers=1, memory=1 << 30, notes=3)
    result = make("enrolling", enrolling.QUESTION, "test", True, {}, enrolling.run(config, Lab(bundled(), quiet=True)))
    headline = result.headline
    assert headline["planted queries"] == headline["planted queries found"] == 2
    assert headline["other matches"] == 0
    assert 0 < headline["peak memory while enrolling, GiB"] <= headline["peak memory with scanning, GiB"]
    sealed = [row for row in result.rows("progress") if row["stage"] == "sealing and checking entries"]
    assert sealed[-1]["done"] == sealed[-1]["of"] == 300
    times = [row["seconds"] for row in result.rows("progress")]
    assert times == sorted(times)
    assert set(enrolling.figures(result)) == {"progress"}

"""README's reproduce table, row by row: each number is in a committed result file, and the deterministic ones come
out again."""

import re
from pathlib import Path

import pytest

import experiments
from experiments import accuracy
from experiments.datasets import open_dataset
from experiments.fingerprints import fingerprint
from experiments.lab import REPOSITORY_RESULTS, Lab
from experiments.results import load
from hashing.fingerprint import rule_for

README = (Path(experiments.__file__).parent.parent / "README.md").read_text()
ROWS = re.findall(r"^\| [^|]+ \| `(\w+): ([^`]+)` \| `([^`]+)` \| [^|]+ \| ([-\d.,e ]+) \| ([^|]+) \|$", README, re.M)


def test_the_table_is_there():
    assert len(ROWS) >= 8


@pytest.mark.parametrize(("name", "number", "command", "expected", "tolerance"), ROWS)
def test_a_claim_is_the_number_in_its_result_file(name, number, command, expected, tolerance):
    result = load(REPOSITORY_RESULTS / f"{name}.json")
    assert result.command == command
    assert result.headline[number] == pytest.approx(float(expected.replace(",", "")), rel=0.01, abs=1e-9)


@pytest.mark.parametrize("name", sorted(path.stem for path in REPOSITORY_RESULTS.glob("*.json")))
def test_committed_results_keep_the_schema_and_have_their_figures(name):
    result = load(REPOSITORY_RESULTS / f"{name}.json")
    assert not result.quick
    assert all((REPOSITORY_RESULTS / f"{name}.{table}.csv").is_file() for table in result.tables)
    assert list(REPOSITORY_RESULTS.glob(f"{name}-*.svg"))


@pytest.mark.slow
def test_recall_comes_out_again():
    config = accuracy.Config()
    expected = load(REPOSITORY_RESULTS / "accuracy.json").headline
    for name in ("pdq", "dhash"):
        copies = fingerprint(Lab(open_dataset(None), jobs=1, quiet=True), [name], config.edits, config.seed)[name]
        rule = rule_for(name)
        own, unrelated = accuracy.distances(copies, 1, rule.bits)
        assert (own <= rule.threshold).mean() == pytest.approx(
            expected[f"{name}_mean_recall_at_{rule.threshold}"], abs=0.01
        )
        assert unrelated.nonzero()[0][0] == pytest.approx(expected[f"{name}_unrelated_smallest"], abs=2)

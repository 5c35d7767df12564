"""Result files keep their schema, their provenance names no machine, and a half-written file is never seen."""

import csv
import os
import platform
import socket
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import results


def made(**changes):
    findings = results.Findings(
        headline={"disagreements": np.int64(0)},
        tables={"recall": [{"edit": "crop", "recall": 1 / 3}, {"edit": "JPEG", "recall": np.float64(1)}], "empty": []},
    )
    config = {"seed": 7, "repeats": 3, "thresholds": (31, 47), "photos": "scikit-image"}
    return results.make(**{"name": "x", "question": "?", "command": "python -m experiments x", "quick": True,
                           "config": config, "findings": findings} | changes)  # fmt: skip


def test_a_result_survives_the_file_and_its_tables_stand_in_csv(tmp_path):
    result = made(findings=results.Findings(made().headline, made().tables, ["uniform hashes stand in for photos"]))
    path = results.save(result, tmp_path)
    assert results.load(path) == result
    assert "uniform hashes" in path.read_text()
    assert (result.seed, result.repeats, result.parameters["thresholds"]) == (7, 3, [31, 47])
    with (tmp_path / "x.recall.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"edit": "crop", "recall": "0.333333"},
            {"edit": "JPEG", "recall": "1.0"},
        ]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.empty.csv", "x.json", "x.recall.csv"]


def test_one_table_row_is_one_line_so_that_runs_can_be_compared(tmp_path):
    lines = results.save(made(), tmp_path).read_text().splitlines()
    assert sum('"edit"' in line for line in lines) == 2


def test_provenance_names_the_machine_s_kind_and_not_the_machine(tmp_path):
    text = results.save(made(), tmp_path).read_text()
    assert made().machine.cpu in text
    assert made().versions["numpy"] == np.__version__
    for secret in (socket.gethostname(), platform.node(), str(Path.home()), str(Path.cwd()), str(tmp_path)):
        assert len(secret) < 3 or secret not in text


def test_a_row_with_other_columns_or_a_value_that_is_no_number_is_refused():
    with pytest.raises(results.ResultError, match="row 1"):
        made(findings=results.Findings(tables={"t": [{"a": 1}, {"b": 1}]}))
    with pytest.raises(results.ResultError, match="not a result"):
        made(findings=results.Findings(tables={"t": [{"a": [1, 2]}]}))


@pytest.mark.parametrize(
    "change", [{"schema": 2}, {"seed": "x"}, {"commit": None}, {"extra": 1}, {"tables": {"t": [{"a": []}]}}]
)
def test_a_file_of_another_schema_is_refused(tmp_path, change):
    path = results.save(made(), tmp_path)
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | change))
    with pytest.raises(results.ResultError, match=r"x\.json"):
        results.load(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    results.write_whole(path, b"old")

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fdopen", fail)
    with pytest.raises(OSError, match="disk full"):
        results.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_quartiles_are_in_order(samples):
    row = results.quartiles(samples, "ns")
    assert min(samples) <= row["ns_q1"] <= row["ns"] <= row["ns_q3"] <= max(samples)


def test_a_result_says_whether_the_code_was_changed_since_its_commit(tmp_path, monkeypatch):
    def git(*arguments):
        names = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        done = subprocess.run(["git", "-C", tmp_path, *names, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    code, number = tmp_path / "experiments" / "results.py", tmp_path / "number.csv"
    monkeypatch.setattr(results, "__file__", str(code))
    code.parent.mkdir()
    assert results._commit() == ("unknown", True)
    for path in (code, number):
        path.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "all")
    number.write_text("2")  # results do not count
    assert results._commit() == (git("rev-parse", "HEAD"), False)
    code.write_text("2")
    assert results._commit() == (git("rev-parse", "HEAD"), True)

"""The guide's made-up protocol, taken from the README as it stands, registers itself and runs in the experiments."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import experiments
from experiments.__main__ import conduct
from experiments.datasets import open_dataset
from experiments.lab import Lab
from protocols import available, create

README = (Path(experiments.__file__).parent / "README.md").read_text()


def block(language):
    (code,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return code


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The guide's package, as installing it would leave it."""
    (tmp_path / "hushmatch_tags.py").write_text(block("python"))
    info = tmp_path / "hushmatch_tags-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hushmatch-tags\nVersion: 1\n")
    group, entry = re.search(r'entry-points\."(.+?)"\]\n(.+)', block("toml")).groups()
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("hushmatch_tags", None)


def test_the_protocol_is_listed_and_keeps_the_contract(installed):
    assert available()["tags"].why_not is None
    rng = np.random.default_rng(1)
    bank = rng.integers(0, 256, (5, 32), dtype=np.uint8)
    queries = np.array([bank[2], bank[2] ^ np.eye(32, dtype=np.uint8)[0], bank[4]])
    found, truth = [], []
    for name, answers in (("tags", found), ("plaintext", truth)):
        protocol = create(name)
        protocol.enroll(["a", "b", "c", "d", "a"], bank)
        answers += protocol.match(queries)
        protocol.withdraw("a")
        answers += protocol.match(queries)
    assert set(found) < set(truth)
    assert [tuple(match) for match in found] == [(0, "c"), (2, "a"), (0, "c")]


@pytest.mark.slow
def test_experiments_include_it(installed):
    result = conduct("accuracy", Lab(open_dataset(None), jobs=1, quiet=True), True, "command")
    (row,) = result.rows("agreement", protocol="tags")
    assert row["false_pairs"] == 0
    assert 0 < row["recall_of_plaintext_pairs"] < 1
    result = conduct("leakage", Lab(open_dataset(None), jobs=1, quiet=True), True, "command")
    assert {row["kind"] for row in result.rows("messages", protocol="tags")} == {"Key", "Tags"}

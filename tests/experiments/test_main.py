"""The command writes its files, names no folder of the user's, says what is wrong, and works on a Dask cluster."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from experiments import EXPERIMENTS, ExperimentError, load_experiment, results
from experiments.__main__ import app, command_line
from experiments.datasets import open_dataset
from experiments.edits import EDITS
from experiments.fingerprints import fingerprint
from experiments.lab import Lab
from protocols import Match, create

run = CliRunner().invoke
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "private-holiday"
    folder.mkdir()
    for name, picture in (("a", data.astronaut()), ("b", data.coffee()), ("c", data.chelsea())):
        Image.fromarray(picture).resize((160, 160)).save(folder / f"{name}.png")
    return folder


def test_a_run_writes_result_tables_and_figures(tmp_path, photos):
    answer = run(app, ["accuracy", "--quick", "--photos", str(photos), "--out", str(tmp_path / "out"), "--jobs", "1"])
    assert answer.exit_code == 0, answer.output
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"accuracy.json", "accuracy.recall.csv", "accuracy-recall.svg", "accuracy-recall.png"} <= files
    result = results.load(tmp_path / "out" / "accuracy.json")
    assert result.command == "python -m experiments accuracy --photos DIR --quick"
    assert photos.name not in (tmp_path / "out" / "accuracy.json").read_text()
    assert result.parameters["photo_count"] == 3


def test_help_names_every_experiment_and_errors_say_what_to_do(tmp_path):
    text = run(app, ["--help"]).output
    assert all(name in text for name in EXPERIMENTS)
    wrong = run(app, ["nothing", "--out", str(tmp_path)])
    assert wrong.exit_code == 1
    assert run(app, ["accuracy", "--photos", str(tmp_path / "none")]).exit_code == 1


def test_an_unreadable_photo_and_a_folder_that_cannot_be_are_named(tmp_path, photos):
    (photos / "broken.jpg").write_bytes(b"no image")
    for name in ("accuracy", "blind", "variants"):
        answer = run(app, [name, "--quick", "--photos", str(photos), "--out", str(tmp_path / "out"), "--jobs", "1"])
        assert answer.exit_code == 1
        assert "DatasetError: 'broken.jpg': UnreadableImage" in answer.stderr.replace("\n", " ")
    answer = run(app, ["accuracy", "--out", str(photos / "a.png")])
    assert answer.exit_code == 1
    assert "cannot be made a folder" in answer.stderr.replace("\n", " ")


@pytest.mark.parametrize("package", ["matplotlib", "joblib"])
def test_without_the_extra_the_command_says_how_to_get_it(package):
    code = f"import runpy, sys; sys.modules[{package!r}] = None; runpy.run_module('experiments', run_name='__main__')"
    answer = subprocess.run([sys.executable, "-c", code, "cost"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == f"ExperimentError: {package} is missing; run `make .venv/.experiments`\n"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_keeps_the_shape_that_readers_rely_on(name):
    module = load_experiment(name)
    assert module.QUESTION.endswith("?")
    assert type(module.QUICK) is module.Config
    assert module.__doc__
    assert command_line(name, None, True) == f"python -m experiments {name} --quick"


@pytest.mark.slow
def test_two_dask_workers_give_the_same_fingerprints_as_this_process(photos):
    distributed = pytest.importorskip("dask.distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        edits = list(EDITS)[:6]
        here = fingerprint(Lab(open_dataset(photos), jobs=1, quiet=True), ["pdq"], edits, 1)["pdq"]
        lab = Lab(open_dataset(photos), scheduler=cluster.scheduler_address, quiet=True)
        there = fingerprint(lab, ["pdq"], edits, 1)["pdq"]
    assert (here.queries == there.queries).all()
    assert (here.originals == there.originals).all()


def test_a_scheduler_that_does_not_answer_is_named(photos):
    pytest.importorskip("dask.distributed")
    lab = Lab(open_dataset(photos), scheduler="tcp://127.0.0.1:1", quiet=True)
    with pytest.raises(ExperimentError, match=r"127\.0\.0\.1:1"):
        fingerprint(lab, ["pdq"], [], 1)


@pytest.mark.slow
def test_two_dask_workers_multiply_for_the_scan_and_it_stays_exact(tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    rng = np.random.default_rng(3)
    bank = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        lab = Lab(open_dataset(None), scheduler=cluster.scheduler_address, quiet=True)
        with lab.executor() as executor:
            scan = create("scan", batch=8, lanes=1, folder=tmp_path, executor=executor, workers=2)
            scan.enroll([f"case-{row}" for row in range(60)], bank)
            found = scan.match(bank[:20])
    assert found == [Match(row, f"case-{row}") for row in range(20)]
    assert scan.ledger.stage_seconds["platform-1", "match", "product"] > 0

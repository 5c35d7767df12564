"""The committed notebooks were executed as they stand, and read as they should: question first, next steps last."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def cells(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def test_there_are_six():
    assert [name[:2] for name in NAMES] == ["01", "02", "03", "04", "05", "06"]
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_with_a_question_and_ends_with_what_to_try(name):
    prose = ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "markdown"]
    assert "**Question: " in prose[0]
    assert "?**" in prose[0]
    assert "## Try next" in prose[-1]


@pytest.mark.parametrize("name", NAMES)
def test_it_was_executed_in_order_without_an_error(name):
    code = [cell for cell in cells(name) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs
    assert all(output["output_type"] not in ("error", "stream") for output in outputs)
    assert not any(word in json.dumps(outputs) for word in ("/home/", "/tmp/", "/root/"))


@pytest.mark.parametrize("name", NAMES)
def test_its_text_is_the_paired_script_s(name):
    jupytext = pytest.importorskip("jupytext")
    script = jupytext.read(FOLDER / f"{name}.py")
    assert [cell.source for cell in script.cells] == ["".join(cell["source"]) for cell in cells(name)]

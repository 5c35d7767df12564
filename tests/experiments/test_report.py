"""The report is one file that loads nothing, and holds every experiment's question, command and figures."""

import re

import pytest
import typer

from experiments import ExperimentError, report, results
from experiments.__main__ import conduct
from experiments.datasets import open_dataset
from experiments.lab import Lab


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    config = {"seed": 1}
    tables = {"harvest_rows": [{"a": "<b>", "value": 1.23456789}]}
    result = conduct("accuracy", Lab(open_dataset(None), jobs=1, quiet=True), True, "python -m experiments <accuracy>")
    results.save(result, folder)
    results.save(results.make("other", "?", "c", True, config, results.Findings(tables=tables)), folder)
    return folder


def test_the_page_loads_nothing_and_escapes_what_it_shows(folder):
    page = report.build(folder)
    assert "python -m experiments &lt;accuracy&gt;" in page
    assert page.count("<figure>") == 4
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<script" not in page


def test_long_tables_are_cut_and_numbers_short():
    html = report.table_html([{"a": "<b>", "value": 1.23456789, "none": None}])
    assert "&lt;b&gt;" in html
    assert "1.235" in html
    assert report.table_html([]) == ""


def test_the_command_says_so_in_one_line(tmp_path, capsys):
    with pytest.raises(typer.Exit):
        report.main(tmp_path / "nowhere")
    assert re.fullmatch(r"\w+Error: [^\n]+\n", capsys.readouterr().err)


def test_an_empty_folder_says_what_to_run(tmp_path):
    with pytest.raises(ExperimentError, match="python -m experiments all"):
        report.build(tmp_path)

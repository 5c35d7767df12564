"""What the notebooks import: recorded results, their figures and tables, as cells that can be read without running."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.display import HTML, Image

from experiments import load_experiment, plots
from experiments.lab import REPOSITORY_RESULTS
from experiments.report import table_html
from experiments.results import Result, Row, load


def recorded(name: str) -> Result:
    """The result of an experiment that is in the repository. Raises ResultError."""
    return load(REPOSITORY_RESULTS / f"{name}.json")


def figure(result: Result, name: str, width: int = 640) -> Image:
    """One of a result's figures, drawn from its numbers."""
    with plots.style():
        drawn = load_experiment(result.name).figures(result)[name]
    return Image(plots.as_bytes(drawn, "png"), width=width)


def table(rows: Sequence[Row], columns: Sequence[str] = ()) -> HTML:
    """Rows as a table, with the named columns only, if any are named."""
    return HTML(table_html([{key: row[key] for key in columns or row} for row in rows]))


def source(result: Result) -> HTML:
    """Where a result comes from: command, commit and machine."""
    machine = result.machine
    return HTML(
        f"<small>Numbers from <code>{result.command}</code>, commit {result.commit[:10]}, on {machine.cpu}, "
        f"{machine.cores} cores.</small>"
    )

"""Run one experiment: measure, write its result file, tables and figures. See `python -m experiments --help`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from experiments import EXPERIMENTS, ExperimentError, load_experiment, results
from experiments.datasets import open_dataset

try:
    from experiments import plots
    from experiments.lab import Lab
except ModuleNotFoundError as error:
    sys.exit(f"ExperimentError: {error.name} is missing; run `make .venv/.experiments`")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def conduct(name: str, lab: Lab, quick: bool, command: str) -> results.Result:
    """Run an experiment and return its result, provenance included. Raises ExperimentError."""
    module = load_experiment(name)
    config = module.QUICK if quick else module.Config()
    findings = module.run(config, lab)
    parameters = asdict(config) | {"photos": lab.photos.name, "photo_count": len(lab.photos.originals)}
    return results.make(name, module.QUESTION, command, quick, parameters, findings)


def write(result: results.Result, out: Path) -> list[Path]:
    """Write a result's JSON, CSV and figures; returns the paths of the JSON file and the figures."""
    path = results.save(result, out)
    with plots.style():
        figures = load_experiment(result.name).figures(result)
    return [path, *plots.save({f"{result.name}-{key}": figure for key, figure in figures.items()}, out)]


def command_line(name: str, photos: Path | None, quick: bool) -> str:
    """The command that makes the result again; a user's own folder is not named."""
    parts = ["python", "-m", "experiments", name]
    parts += ["--photos", "DIR"] if photos else []
    parts += ["--quick"] if quick else []
    return shlex.join(parts)


@app.command(
    help="Run an experiment and write DIR/NAME.json (parameters, seed, commit, machine, tables), DIR/NAME.TABLE.csv "
    f"and figures as SVG and PNG. NAME is one of: {', '.join(EXPERIMENTS)}, or `all`. Without --photos the photos "
    "inside scikit-image are used, and nothing is downloaded. Each result file in experiments/results/ names the "
    "command and the commit that made it."
)
def main(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which experiment.")],
    photos: Annotated[
        Path | None, typer.Option(help="A folder of images, Copydays or DISC21 as unpacked, or a manifest CSV.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where results go.")] = Path("out"),
    quick: Annotated[bool, typer.Option("--quick", help="A small run: minutes, not hours.")] = False,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler to work on, e.g. tcp://10.0.0.5:8786.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes on this machine; -1 is one a core.")] = -1,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep photos' fingerprints here between runs. They are NOT protected: delete them after."),
    ] = None,
) -> None:
    """Entry point; the help text stands in the decorator because it lists the experiments."""
    console = Console()
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)  # now, and not after an hour
        except OSError as error:
            raise ExperimentError(f"{str(out)!r} cannot be made a folder for results: {error.strerror}") from None
        lab = Lab(open_dataset(photos), cache=cache, jobs=jobs, scheduler=scheduler, results=out)
        for each in EXPERIMENTS if name == "all" else (name,):
            result = conduct(each, lab, quick, command_line(each, photos, quick))
            paths = write(result, out)
            table = Table("number", "value", title=result.question, title_justify="left")
            for key, value in result.headline.items():
                table.add_row(key, str(value))
            console.print(table, f"{paths[0]} and {len(paths) - 1} figure files")
    except ExperimentError as error:
        Console(stderr=True).print(f"[red]{type(error).__name__}[/]: {error}")
        sys.exit(1)


if __name__ == "__main__":
    app()

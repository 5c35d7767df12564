"""One self-contained HTML page: every experiment's question, numbers, figures, tables and command.

`python -m experiments.report DIR` reads DIR's result files and figures (they are drawn again from the files) and
writes DIR/report.html. Nothing is loaded from elsewhere: figures are inline SVG or PNG.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from experiments import EXPERIMENTS, ExperimentError, load_experiment, plots
from experiments.results import Result, Row, load, write_whole

LONGEST_TABLE = 40  # rows shown; the CSV file has all

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
figure { margin: 1.5rem 0; background: white; color: black; padding: .5rem; }
img { max-width: 100%; }
table { border-collapse: collapse; font-size: .85rem; display: block; overflow-x: auto; }
td, th { padding: .15rem .6rem; text-align: left; border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums; }
code { background: #8882; padding: .1rem .3rem; }
nav a { margin-right: 1rem; }
"""


def build(folder: Path) -> str:
    """The page of all result files in a folder. Raises ExperimentError if there are none."""
    found = [load(folder / f"{name}.json") for name in EXPERIMENTS if (folder / f"{name}.json").is_file()]
    if not found:
        raise ExperimentError("no result files there; make them with `python -m experiments all --out DIR`")
    machine = found[0].machine
    links = "".join(f'<a href="#{result.name}">{result.name}</a>' for result in found)
    intro = (
        "<p>Hushmatch matches perceptual hashes of intimate images without anyone holding them in the clear. This page "
        "shows what the hashes can do, what privacy costs, what each role sees and what breaks. Every number "
        "comes from a result file, and the command above each section makes it again.</p>"
    )
    about = f"<p>{escape(machine.cpu)}, {machine.cores} cores, {machine.memory_gib} GiB, Python {machine.python}.</p>"
    body = "".join(_section(result) for result in found)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<title>Hushmatch, measured</title></head><body>'
        f"<h1>Hushmatch, measured</h1>{intro}{about}<nav>{links}</nav>{body}</body></html>\n"
    )


def _section(result: Result) -> str:
    module = load_experiment(result.name)
    with plots.style():
        drawn = module.figures(result)
    figures = "".join(_figure(name, plots.as_bytes(figure, "png")) for name, figure in drawn.items())
    numbers = table_html([{"number": key, "value": value} for key, value in result.headline.items()])
    tables = "".join(
        f"<details><summary>{escape(name)}: {len(rows)} rows</summary>{table_html(rows[:LONGEST_TABLE])}</details>"
        for name, rows in result.tables.items() if rows and "grey_32x32" not in rows[0]
    )  # fmt: skip
    notes = "".join(f"<p>{escape(note)}</p>" for note in result.notes)
    dirty = ", changed since" if result.dirty else ""
    about = "\n\n".join(paragraph for paragraph in (module.__doc__ or "").split("\n\n")[1:] if "|" not in paragraph)
    return (
        f'<section id="{result.name}"><h2>{escape(result.question)}</h2>'
        f"<p><code>{escape(result.command)}</code> at commit {result.commit[:10]}{dirty}</p>"
        f"<p>{escape(about)}</p>{notes}{figures}{numbers}{tables}</section>"
    )


def _figure(name: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="{escape(name)}" src="data:image/png;base64,{data}"></figure>'


def table_html(rows: Sequence[Row]) -> str:
    """Rows as an HTML table; nothing if there are none."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(str(column)).replace('_', ' ')}</th>" for column in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else escape(str(value))


def main(folder: Annotated[Path, typer.Argument(help="Where the result files are.")]) -> None:
    """Write FOLDER/report.html from the result files in FOLDER."""
    path = folder / "report.html"
    try:
        write_whole(path, build(folder).encode())
    except ExperimentError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    typer.run(main)

"""Private matching of perceptual hashes, encrypted beside plaintext."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from experiments import ExperimentError, demo, demo_tables
from experiments.datasets import open_dataset
from hashing import ALGORITHMS, HashingError, hash_image
from hashing.variants import SETS
from protocols.base import Progress as Tell

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command("demo")
def demo_command(
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of images. Default: those inside scikit-image.")
    ] = None,
    variants: Annotated[
        str, typer.Option(help=f"What to enrol and ask for beside the photo: {', '.join(SETS)}.")
    ] = "none",
) -> None:
    """Run the whole job on real photos, in the clear and under every encrypted protocol available here.

    Exit code 1 if a protocol that claims to be exact disagrees with plaintext.
    """
    try:
        with _progress() as tell:
            report = demo.run(demo.prepare(open_dataset(photos), variants, tell), tell)
    except (ExperimentError, HashingError) as error:
        _complain(error)
        raise typer.Exit(1) from None
    demo_tables.show(report, Console())
    raise typer.Exit(1 if report.wrong else 0)


@app.command("hash")
def hash_command(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Image files.", show_default=False)],
    algorithm: Annotated[str, typer.Option(help=f"One of {', '.join(ALGORITHMS)}.")] = "pdq",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a line a photo.")] = False,
) -> None:
    """Print each photo's fingerprint, quality (0 to 100) and name. Treat a raw fingerprint like the photo itself.

    Exit code 1 if a photo cannot be hashed; the others are printed all the same.
    """
    if algorithm not in ALGORITHMS:
        raise typer.BadParameter(f"{algorithm!r} is not one of {', '.join(ALGORITHMS)}", param_hint="--algorithm")
    rows: list[dict[str, Any]] = []
    failed = False
    for photo in photos:
        try:
            fingerprint = hash_image(photo, algorithm)
        except HashingError as error:
            failed = True
            _complain(error)
            continue
        rows.append(
            {"photo": str(photo), "algorithm": algorithm, "hash": fingerprint.hex, "quality": fingerprint.quality}
        )
        if not as_json:
            typer.echo(f"{fingerprint.hex}  {fingerprint.quality:3d}  {photo}")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    raise typer.Exit(1 if failed else 0)


@contextmanager
def _progress() -> Iterator[Tell]:
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _complain(error: Exception) -> None:
    typer.secho(f"{type(error).__name__}: {error}", err=True, fg=typer.colors.RED)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()

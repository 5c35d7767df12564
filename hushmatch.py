"""Private matching of perceptual hashes, encrypted beside plaintext."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from experiments import ExperimentError, demo, demo_tables
from experiments.datasets import open_dataset
from hashing import ALGORITHMS, HashingError, hash_image, rule_for
from hashing.variants import SETS
from protocols.base import Progress as Tell

MIN_WIDTH = 110  # characters a line where no terminal says how many: the demo's tables need them

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"hushmatch {version('hushmatch')}")
        except PackageNotFoundError:
            _complain(ExperimentError("hushmatch is not installed, so it has no version; run `make .venv/.demo`"))
            raise typer.Exit(1) from None
        raise typer.Exit()


def _one_of(names: Collection[str]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in names:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(names)}")
        return value

    return check


@app.callback(help=__doc__)
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options without a command."""


@app.command("demo")
def demo_command(
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of images. Default: those inside scikit-image.")
    ] = None,
    variants: Annotated[
        str,
        typer.Option(callback=_one_of(SETS), help=f"What to enrol and ask for beside the photo: {', '.join(SETS)}."),
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
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, MIN_WIDTH)
    demo_tables.show(report, console)
    raise typer.Exit(1 if report.wrong else 0)


@app.command("hash")
def hash_command(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Image files.", show_default=False)],
    algorithm: Annotated[
        str, typer.Option(callback=_one_of(ALGORITHMS), help=f"One of {', '.join(ALGORITHMS)}.")
    ] = "pdq",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a line a photo.")] = False,
) -> None:
    """Print each photo's fingerprint, quality (0 to 100) and name. Treat a raw fingerprint like the photo itself.

    Only pdq measures quality; the others always say 100. A photo below its algorithm's least quality is marked: its
    fingerprint says too little to be matched. Exit code 1 if a photo cannot be hashed; the others are printed all the
    same.
    """
    rows: list[dict[str, Any]] = []
    failed = False
    for photo in photos:
        try:
            fingerprint = hash_image(photo, algorithm)
        except HashingError as error:
            failed = True
            rows.append({"photo": photo, "error": f"{type(error).__name__}: {error}"})
            _complain(error)
            continue
        row = {"photo": photo, "algorithm": algorithm, "hash": fingerprint.hex, "quality": fingerprint.quality}
        rows.append(row | {"usable": fingerprint.usable})
        if not as_json:
            typer.echo(f"{fingerprint.hex}  {fingerprint.quality:3d}  {photo}")
        if not fingerprint.usable:
            least = rule_for(algorithm).min_quality
            what = f"quality {fingerprint.quality} is below {least}: too little detail to be matched"
            typer.secho(f"warning: {photo!r}: {what}", err=True, fg=typer.colors.YELLOW)
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

"""Private matching of perceptual hashes, encrypted beside plaintext."""

from __future__ import annotations

import json
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console

from hashing import ALGORITHMS, FingerprintError, HashingError, hash_image, hash_video, is_video, rule_for
from hashing.variants import SETS
from protocols.base import ConfigurationError
from service import cli, cli_setup

MIN_WIDTH = 110  # characters a line where no terminal says how many: the demo's tables need them

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
for _name, _part in cli.PARTS.items():
    app.add_typer(_part, name=_name)
app.add_typer(cli_setup.app, name="setup")
app.command("up")(cli.up_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"hushmatch {version('hushmatch')}")
        except PackageNotFoundError:
            _complain(ConfigurationError("hushmatch is not installed, so it has no version; run `make .venv/.demo`"))
            raise typer.Exit(1) from None
        raise typer.Exit()


@app.callback(help=__doc__)
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options without a command."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # hashing has its own limit, and names it


@app.command("demo")
def demo_command(
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of images. Default: those inside scikit-image.")
    ] = None,
    variants: Annotated[
        str,
        typer.Option(callback=cli.one_of(SETS), help=f"What to enrol and ask for beside the photo: {', '.join(SETS)}."),
    ] = "none",
) -> None:
    """Run the whole job on real photos, in the clear and under every encrypted protocol available here.

    Exit code 1 if a protocol that claims to be exact disagrees with plaintext.
    """
    from experiments import ExperimentError, demo, demo_tables  # not for a role's process, which starts sooner without
    from experiments.datasets import open_dataset

    try:
        with cli.progress() as tell:
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
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Photos and videos.", show_default=False)],
    algorithm: Annotated[
        str, typer.Option(callback=cli.one_of(ALGORITHMS), help=f"For photos, one of {', '.join(ALGORITHMS)}.")
    ] = "pdq",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of a line a fingerprint.")] = False,
) -> None:
    """Print each photo's fingerprint, quality (0 to 100) and name. Treat a raw fingerprint like the photo itself.

    A video or an animation has one line for each frame that stands for it, with its time in seconds, pdq only. What
    is a video, the content says, not the name.

    Only pdq measures quality; the others always say 100. A photo below its algorithm's least quality is marked: its
    fingerprint says too little to be matched. Exit code 1 if a file cannot be hashed; the others are printed all the
    same.
    """
    rows: list[dict[str, Any]] = []
    failed = False
    for file in files:
        kind = "video" if is_video(file) else "photo"
        try:
            row = _photo_row(file, algorithm) if kind == "photo" else _video_row(file, algorithm)
        except HashingError as error:
            failed = True
            rows.append({kind: file, "error": f"{type(error).__name__}: {error}"})
            _complain(error)
            continue
        rows.append(row)
        if not as_json:
            for each in row.get("frames", [row]):
                time = f"{each['seconds']:8.3f}  " if kind == "video" else ""
                typer.echo(f"{each['hash']}  {each['quality']:3d}  {time}{cli.one_line(file)}")
        if not row["usable"] and kind == "photo":
            least = rule_for(algorithm).min_quality
            _warn(f"{file!r}: quality {row['quality']} is below {least}: too little detail to be matched")
        elif not row["usable"]:
            _warn(f"{file!r}: no frame of this video has enough detail to be matched")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    raise typer.Exit(1 if failed else 0)


def _photo_row(file: str, algorithm: str) -> dict[str, Any]:
    fingerprint = hash_image(file, algorithm)
    row = {"photo": file, "algorithm": algorithm, "hash": fingerprint.hex, "quality": fingerprint.quality}
    return row | {"usable": fingerprint.usable}


def _video_row(file: str, algorithm: str) -> dict[str, Any]:
    if algorithm != "pdq":
        raise FingerprintError(f"{file!r}: a video's frames are hashed with pdq only, not {algorithm}")
    with cli.progress() as tell:
        video = hash_video(file, tell=tell)
    frames = [
        {"seconds": round(frame.seconds, 3), "hash": frame.fingerprint.hex, "quality": frame.fingerprint.quality}
        for frame in video.frames
    ]
    row = {"video": file, "algorithm": "pdq", "seconds": round(video.seconds, 3)}
    return row | {"usable": bool(frames), "frames": frames}


def _warn(text: str) -> None:
    typer.secho(f"warning: {text}", err=True, fg=typer.colors.YELLOW)


def _complain(error: Exception) -> None:
    typer.secho(f"{type(error).__name__}: {error}", err=True, fg=typer.colors.RED)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()

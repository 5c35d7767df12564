"""The roles on the command line. What each command needs is imported when it runs, so that the core install has it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hashing import HashingError
from hashing.variants import SETS
from protocols.base import HushmatchError

FolderOption = Annotated[Path, typer.Option("--folder", metavar="DIR", help="The role's folder, with hushmatch.toml.")]
ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", envvar="HUSHMATCH_CLIENT", help="Exchange and manifest digest (TOML)."),
]
NumberOption = Annotated[str, typer.Option("--case", prompt="Case number", help="XXXX-XXXX-XXXX-XXXX")]
PinOption = Annotated[
    str | None,
    typer.Option(
        "--pin",
        envvar="HUSHMATCH_PIN",
        help="XXXX-XXXX. Leave it out and you are asked: while the command runs, other users of this device can read"
        " what stands on its command line.",
    ),
]
PinFileOption = Annotated[
    typer.FileText | None,
    typer.Option("--pin-file", metavar="FILE", help="The PIN is this file's first line; - for standard input."),
]


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """An option's callback that takes one of these and refuses others with the list."""

    def check(value: str) -> str:
        if value not in names:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(names)}")
        return value

    return check


exchange = typer.Typer(no_args_is_help=True, help="The organisation that keeps cases and the sealed bank.")
member = typer.Typer(no_args_is_help=True, help="A member of the committee that holds the key together.")
platform = typer.Typer(no_args_is_help=True, help="A company that checks uploads against the bank.")
case = typer.Typer(no_args_is_help=True, help="A person's case: open it, see its status, withdraw it.")
PARTS = {"exchange": exchange, "member": member, "platform": platform, "case": case}


@contextmanager
def named() -> Iterator[None]:
    """What is raised on purpose is one line on stderr and exit code 1."""
    try:
        yield
    except ModuleNotFoundError as missing:
        typer.echo(f"{missing.name} is not installed; in the checkout, `make .venv/.service` installs it", err=True)
        raise typer.Exit(1) from None
    except (HushmatchError, HashingError) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """What tells (what, done, total) on a terminal's last line, and nothing elsewhere."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)


def _serve(kind: Callable[..., Any], folder: Path) -> None:
    from service import config

    kind(folder, config.load(folder, config.Settings)).serve()


@exchange.command("serve")
def exchange_serve(folder: FolderOption = Path()) -> None:
    """Answer people and platforms, and drive the members' work, until Ctrl-C."""
    with named():
        from service.exchange import ExchangeRole

        _serve(ExchangeRole, folder)


@member.command("serve")
def member_serve(folder: FolderOption = Path()) -> None:
    """Answer the exchange and platforms, until Ctrl-C."""
    with named():
        from service.member import MemberRole

        _serve(MemberRole, folder)


@member.command("reinstate")
def member_reinstate(name: Annotated[str, typer.Argument(metavar="PLATFORM")], folder: FolderOption = Path()) -> None:
    """Serve a platform again whose proof was refused. The member must not be running."""
    with named():
        from service import config
        from service.member import MemberRole

        role = MemberRole(folder, config.load(folder, config.Settings))
        with role.step():
            role.member.sessions.reinstate(name)
        typer.echo(f"{name} is served again")


@platform.command("serve")
def platform_serve(folder: FolderOption = Path()) -> None:
    """Keep up with the bank, and check what the platform's other commands ask, until Ctrl-C."""
    with named():
        from service.checker import PlatformRole

        _serve(PlatformRole, folder)


@contextmanager
def _platform(folder: Path) -> Iterator[Any]:
    """The platform's running process, or this one."""
    with named():
        from service import config
        from service.running import platform_at

        yield platform_at(folder, config.load(folder, config.Settings))


@platform.command("sync")
def platform_sync(folder: FolderOption = Path()) -> None:
    """Fetch the blocks of the bank that are new."""
    with _platform(folder) as role, progress() as tell:
        fetched = role.sync(tell)
    typer.echo(f"{fetched} blocks fetched")


@platform.command("check")
def platform_check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE|DIR...", help="Photos, videos, or folders of them.")],
    lists: Annotated[bool, typer.Option("--list", help="The files hold paths, one a line or zero-terminated.")] = False,
    folder: FolderOption = Path(),
) -> None:
    """Compare files with the bank: a line for each sighting, with its handle.

    What cannot be checked is named and counted; that is no failure of the command, whose exit code stays 0.
    """
    with _platform(folder) as role, progress() as tell:
        from service.uploads import read_paths

        paths = [path for one in files for path in (read_paths(one) if lists else _below(one))]
        checked = role.check(paths, tell)
    _report(checked)
    typer.echo(f"{checked.asked} checked, {len(checked.hits)} match, {len(checked.refused)} refused", err=True)
    if checked.asked and not checked.blocks:
        typer.echo("the bank is empty: there was nothing to compare with", err=True)


@platform.command("watch")
def platform_watch(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where uploads arrive.")],
    folder: FolderOption = Path(),
) -> None:
    """Check files as they arrive in a folder, until Ctrl-C."""
    stop = _until_signal()
    with _platform(folder) as role:
        import msgspec

        from protocols.base import BudgetExceeded, StaleVersion
        from service.agreement import write_whole
        from service.errors import Unavailable
        from service.folder import Folder

        kept = folder / "watched"  # what was checked: neither this command nor the platform has to run all the time
        checked = msgspec.msgpack.decode(kept.read_bytes(), type=dict[bytes, bytes]) if kept.exists() else {}
        watched = Folder(directory, checked)
        for paths in watched.watch(stop):
            try:
                _report(role.check(paths))
            except (Unavailable, BudgetExceeded, StaleVersion) as error:
                typer.echo(f"{type(error).__name__}: {error}; trying again", err=True)
                stop.wait(5.0)
                continue
            watched.check_off(paths)
            write_whole(kept, msgspec.msgpack.encode(checked))


@platform.command("feedback")
def platform_feedback(
    sighting: Annotated[str, typer.Argument(metavar="HANDLE", help="As `check` printed it.")],
    verdict: Annotated[str, typer.Argument(help="blocked, 'not blocked' or 'pending review'.")],
    folder: FolderOption = Path(),
) -> None:
    """Tell the exchange what was done about a sighting; the person sees it in the case's status."""
    with _platform(folder) as role:
        import msgspec

        from protocols.base import InputError
        from service.messages import Verdicts

        try:
            message = msgspec.convert({"sightings": [(bytes.fromhex(sighting), verdict)]}, Verdicts)
        except (ValueError, msgspec.ValidationError):
            raise InputError("expected a handle in hex, and blocked, 'not blocked' or 'pending review'") from None
        role.feedback(message)
    typer.echo("told")


def _below(path: Path) -> list[str]:
    if path.is_dir():
        return sorted(str(file) for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return [str(path)]


def _report(checked: Any) -> None:
    for hit in checked.hits:
        for handle in hit.sightings:
            typer.echo(f"{handle.hex()}  {hit.kind}  {one_line(hit.path)}")
    for path, reason in checked.refused:
        typer.echo(f"refused  {one_line(path)}: {one_line(reason)}", err=True)


def one_line(text: str) -> str:
    """Uploaders choose names of files: none may look like a line of another file, or speak to the terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


@case.command("open")
def case_open(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Photos and videos.")],
    config_file: ConfigOption,
    adult: Annotated[
        bool | None, typer.Option("--adult/--not-adult", help="Whether you are 18 or older; asked if not given.")
    ] = None,
    variants: Annotated[
        str, typer.Option(callback=one_of(SETS), help=f"What to enrol beside each photo: {', '.join(SETS)}.")
    ] = "standard",
) -> None:
    """Open a case. Photos and videos are hashed on this device and do not leave it; only sealed fingerprints do."""
    with named():
        from service import config
        from service.client import Device
        from service.errors import NotAdult
        from service.messages import HELP_FOR_MINORS

        if adult is None:
            adult = typer.confirm("Are you 18 or older?")
        if not adult:
            raise NotAdult(HELP_FOR_MINORS)
        with progress() as tell:
            opened = Device(config.load(config_file, config.Client)).open_case(
                [str(file) for file in files], adult, variants, tell
            )
    typer.echo(f"Case number  {opened.number}")
    typer.echo(f"PIN          {opened.pin}")
    typer.echo("Keep both: nobody can recover them, and with them you see the status or withdraw at any time.")
    typer.echo(f"Status       {opened.status.status} ({opened.entries} fingerprints)")


@case.command("status")
def case_status(
    config_file: ConfigOption, number: NumberOption, pin: PinOption = None, pin_file: PinFileOption = None
) -> None:
    """See where a case stands, and what platforms found and did."""
    code = _pin(pin, pin_file)
    with named():
        from service import config
        from service.client import Device

        status = Device(config.load(config_file, config.Client)).status(number, code)
    _show(status)


@case.command("withdraw")
def case_withdraw(
    config_file: ConfigOption,
    number: NumberOption,
    pin: PinOption = None,
    pin_file: PinFileOption = None,
    receipt: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to keep the signed receipt.")] = None,
) -> None:
    """Withdraw a case for good. It stops matching at once, on every platform."""
    code = _pin(pin, pin_file)
    with named():
        from protocols.ledger import encode
        from service import config
        from service.client import Device

        status = Device(config.load(config_file, config.Client)).withdraw(number, code)
        if receipt is not None and status.erasure is not None:
            receipt.write_bytes(encode(status.erasure))
    _show(status)


def _pin(given: str | None, file: TextIO | None) -> str:
    if file is not None:
        return file.readline().strip()
    return given or typer.prompt("PIN", hide_input=True)


def _show(status: Any) -> None:
    typer.echo(f"Status       {status.status}, opened on {status.opened_on}")
    typer.echo(f"Fingerprints {status.accepted} matched, {status.received} waiting, {status.refused} refused")
    for row in status.platforms:
        until = "not yet" if row.searched_until is None else f"{row.searched_until:%Y-%m-%d %H:%M}"
        typer.echo(
            f"{row.platform:12} searched {until}; {row.matches} matches: {row.blocked} blocked,"
            f" {row.not_blocked} not blocked, {row.pending_review} pending review"
        )
    if status.awaiting and status.status == "received":
        typer.echo(f"Waiting for member {', '.join(map(str, status.awaiting))}, away now: all three check new entries")
    elif status.awaiting:
        typer.echo(f"Waiting for the word of member {', '.join(map(str, status.awaiting))}; it matches no more already")
    if status.erasure is not None:
        typer.echo("Receipt      signed by the exchange and all three members; it verifies")


def up_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where all data is kept.")] = Path("hushmatch-data"),
) -> None:
    """Start a whole deployment on this machine: exchange, three members, one platform. Ctrl-C stops it."""
    stop = _until_signal()
    with named():
        from service import up

        up.up(folder, typer.echo, stop.is_set)


def _until_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop

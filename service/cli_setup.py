"""Setting a deployment up on the command line: keys, agreement, signatures, settings (docs/deploying.md)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli import FolderOption, named

app = typer.Typer(no_args_is_help=True, help="Set a deployment up: keys, agreement, signatures (docs/deploying.md).")

ManifestArgument = Annotated[Path, typer.Argument(metavar="MANIFEST", help="As `setup join` wrote it.")]


@app.command("keys")
def setup_keys(
    name: Annotated[str, typer.Argument(help="exchange, member-1 to member-3, or platform-NAME.")],
    folder: FolderOption = Path(),
) -> None:
    """Make a party's keys. Hand NAME.public to the others, and read them the fingerprint that this prints."""
    with named():
        from service import agreement

        public = agreement.make_keys(folder, name, _passphrase())
        typer.echo(f"{folder / name}.public")
        typer.echo(agreement.fingerprint(public))


@app.command("sign")
def setup_sign(
    name: Annotated[str, typer.Argument(help="member-1, member-2 or member-3.")],
    parties: Annotated[list[Path], typer.Argument(metavar="NAME.public...", help="Everybody's, compared by people.")],
    folder: FolderOption = Path(),
    database: Annotated[
        str, typer.Option(envvar="HUSHMATCH_DATABASE", help="The member's database, if not NAME.db in its folder.")
    ] = "",
    epoch: Annotated[int, typer.Option(help="1, and a higher one for each new manifest.")] = 1,
    threshold: Annotated[int, typer.Option(help="Largest Hamming distance that matches.")] = 31,
    batch: Annotated[int, typer.Option(help="Queries scanned together; smaller ones are padded.")] = 64,
    match_cap: Annotated[int, typer.Option(help="Matches that a query is answered with, at most.")] = 64,
    daily_results: Annotated[int | None, typer.Option(help="Results a platform and day.")] = None,
    daily_match_share: Annotated[float | None, typer.Option(help="A platform's queries that may match.")] = None,
) -> None:
    """As a member: sign the manifest that follows from everybody's keys and these parameters, into NAME.part.

    All members give the same parameters. The member must not be running.
    """
    with named():
        from protocols.ledger import encode
        from service import agreement

        keys = agreement.read_parties(parties)
        agreed = agreement.agree(
            keys,
            epoch=epoch,
            threshold=threshold,
            batch=batch,
            match_cap=match_cap,
            daily_results=daily_results,
            daily_match_share=daily_match_share,
        )
        for one in keys:
            typer.echo(f"{one.name:12} {agreement.fingerprint(one)}")
        part = agreement.sign(folder, name, _passphrase(), agreed, database)
        agreement.write_whole(folder / f"{name}.part", encode(part))
    typer.echo(f"{folder / name}.part")


@app.command("join")
def setup_join(
    parts: Annotated[list[Path], typer.Argument(metavar="NAME.part...", help="All three members'.")],
    out: Annotated[Path, typer.Option(metavar="FILE")] = Path("manifest.signed"),
    before: Annotated[Path | None, typer.Option(metavar="FILE", help="The manifest that this one replaces.")] = None,
) -> None:
    """Join the members' signatures to the signed manifest; prints the digest that everybody pins."""
    with named():
        from protocols.ledger import encode
        from protocols.scan.founding_messages import SignedManifest, SignedManifestPart
        from service import agreement

        replaced = None if before is None else agreement.read(before, SignedManifest)
        signed, pin = agreement.join([agreement.read(part, SignedManifestPart) for part in parts], replaced)
        agreement.write_whole(out, encode(signed))
    typer.echo(pin.hex())


@app.command("settle")
def setup_settle(
    name: Annotated[str, typer.Argument(help="exchange, member-1 to member-3, or platform-NAME.")],
    manifest: ManifestArgument,
    digest: Annotated[str, typer.Option(help="As `setup join` printed it, compared by people.")],
    listen: Annotated[str, typer.Option(help="host:port to answer at.")] = "127.0.0.1:8000",
    urls: Annotated[
        list[str] | None, typer.Option("--url", metavar="NAME=URL", help="Where a party answers that this one calls.")
    ] = None,
    folder: FolderOption = Path(),
) -> None:
    """Put the manifest and hushmatch.toml into a party's folder; settings that it has already stay as they are.

    The exchange needs the URLs of the members, platforms those of the members and the exchange, members none.
    """
    with named():
        from protocols.scan.founding_messages import SignedManifest
        from service import agreement

        given = dict(url.partition("=")[::2] for url in urls or [])
        signed = agreement.read(manifest, SignedManifest)
        agreement.resettle(folder, signed, digest, listen, given, name)
    typer.echo(folder / "hushmatch.toml")


def _passphrase() -> str:
    given = os.environ.get("HUSHMATCH_PASSPHRASE")
    return given or typer.prompt(
        "Passphrase that locks the keys", hide_input=True, confirmation_prompt=sys.stdin.isatty()
    )

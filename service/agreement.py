"""Setting parties up: keys, the agreement that becomes the manifest, the members' signatures, each party's folder.

    every party      makes its keys; their public half is a file that people compare
    anybody          puts the public keys and the parameters into one agreement
    each member      signs the manifest that follows from the agreement that it has
    anybody          joins the three signatures; the manifest's digest is what clients and platforms pin

The same agreement gives the same manifest, so members sign what they made themselves and nobody's draft.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from protocols.base import ConfigurationError, IntegrityError
from protocols.ledger import Message, decode, encode, role_of
from protocols.scan.founding_messages import Manifest, SignedManifest, SignedManifestPart
from protocols.scan.keys import MEMBERS
from protocols.scan.manifest import Pinned, follow
from protocols.scan.member import Member
from protocols.scan.parameters import PROTOCOL_VERSION, Parameters
from protocols.scan.sealing import Identity, PublicKeys, digest
from service import config, storage
from service.atrest import load_identity, save_identity
from service.role import IDENTITY
from service.storage import SqlStore

ORDER = ("member-1", "member-2", "member-3", "exchange")
MANIFEST = "manifest.signed"
M = TypeVar("M", bound=Message)
_PARTY = re.compile("exchange|member-[123]|platform-[A-Za-z0-9][A-Za-z0-9._-]*")


def make_keys(folder: Path, name: str, passphrase: str) -> PublicKeys:
    """A party's keys, in its folder; the public half, also as the file NAME.public. Raises ConfigurationError."""
    if not _PARTY.fullmatch(name):
        raise ConfigurationError(f"name is {name!r}; expected exchange, member-1 to member-3, or platform-NAME")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity = Identity(name)
    try:
        save_identity(folder / IDENTITY, identity, passphrase)
    except FileExistsError:
        raise ConfigurationError(f"{folder / IDENTITY} is there already; keys are never replaced") from None
    write_whole(folder / f"{name}.public", encode(identity.public))
    return identity.public


def agree(
    parties: Sequence[PublicKeys],
    *,
    epoch: int = 1,
    parameter_set: str = "N4096",
    lanes: int = 8,
    threshold: int = 31,
    batch: int = 64,
    match_cap: int | None = 64,
    daily_results: int | None = None,
    daily_match_share: float | None = None,
) -> Manifest:
    """The manifest that follows from what people agreed on. Raises ConfigurationError if a party is missing."""
    by_name = {keys.name: keys for keys in parties}
    missing = [name for name in ORDER if name not in by_name]
    if missing or len(by_name) != len(parties):
        raise ConfigurationError(
            f"agreement: {', '.join(missing) or 'a name twice'}; each party once, these are needed"
        )
    order = [*ORDER, *sorted(name for name in by_name if name not in ORDER)]
    Parameters(parameter_set, lanes, 256, threshold)
    return Manifest(
        PROTOCOL_VERSION,
        parameter_set,
        lanes,
        256,
        threshold,
        epoch,
        [by_name[name] for name in order],
        batch,
        match_cap,
        daily_results,
        daily_match_share,
        True,
    )


def fingerprint(keys: PublicKeys) -> str:
    """What people read to each other to compare a party's public keys: 8 groups of 8 hex digits."""
    text = digest("public keys", encode(keys)).hex()
    return " ".join(text[first : first + 8] for first in range(0, len(text), 8))


def sign(folder: Path, name: str, passphrase: str, agreed: Manifest, database: str = "") -> SignedManifestPart:
    """As a member: sign what was agreed on, an epoch once. The member must not be running.

    Raises IntegrityError, ConfigurationError, WrongPassphrase.
    """
    number = next((number for number in MEMBERS if name == f"member-{number}"), None)
    if number is None:
        raise ConfigurationError(f"{name} is no member: members sign the manifest")
    identity = load_identity(folder / IDENTITY, name, passphrase)
    engine = storage.open(database or f"sqlite:///{(folder / name).absolute()}.db")
    store = SqlStore(engine, storage.unlock_facts(engine, passphrase))
    try:
        part = Member(number, folder, store, identity).sign_manifest(agreed, agreed)
        store.commit()
    finally:
        store.close()
        engine.dispose()
    return part


def join(
    parts: Sequence[SignedManifestPart], before: SignedManifest | None = None, *, allow_insecure: bool = False
) -> tuple[SignedManifest, bytes]:
    """The manifest with the members' signatures, and its digest. Raises IntegrityError if they signed others.

    before: the manifest that it replaces; two of its members must have signed, or nobody who pinned that one follows.
    """
    bodies = {part.body for part in parts}
    if len(bodies) != 1:
        raise IntegrityError("manifest: the members signed different ones; compare their agreements")
    signed = SignedManifest(bodies.pop(), [part.signature for part in parts])
    named = digest("manifest", signed.manifest)
    pinned = Pinned(signed, named, allow_insecure=allow_insecure)
    if before is not None:
        chain, first = [before, signed], digest("manifest", before.manifest)
        follow(chain, first, allow_insecure=pinned.parameters.insecure)
    return signed, named


def settle(
    folder: Path,
    signed: SignedManifest,
    pin: bytes,
    listen: str,
    urls: Mapping[str, str],
    name: str,
    **more: str | int | bool,
) -> None:
    """A party's manifest and settings file, in its folder."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(folder / MANIFEST, encode(signed))
    lines = [f'name = "{name}"', f'listen = "{listen}"', f'digest = "{pin.hex()}"']
    lines += [f"{key} = {_toml(value)}" for key, value in more.items()]
    lines += ["", "[parties]", *(f'{party} = "{url}"' for party, url in urls.items() if party != name)]
    write_whole(folder / config.FILE, ("\n".join(lines) + "\n").encode())


def resettle(
    folder: Path,
    signed: SignedManifest,
    pin: str,
    listen: str,
    urls: Mapping[str, str],
    name: str,
    *,
    allow_insecure: bool = False,
) -> None:
    """As `settle`, after checking the manifest; settings that are there keep everything but the digest.

    pin: in hex, as people compared it. Raises ConfigurationError, IntegrityError.
    """
    named = digest("manifest", signed.manifest)
    if pin.strip().lower() != named.hex():
        raise IntegrityError(f"manifest: its digest is {named.hex()}; expected {pin}")
    parties = Pinned(signed, named, allow_insecure=allow_insecure).parties
    if name not in parties:
        raise ConfigurationError(f"{name} is not in the manifest; it has {', '.join(parties)}")
    file = folder / config.FILE
    if file.exists():
        text, found = re.subn(r"(?m)^digest *=.*$", f'digest = "{named.hex()}"', file.read_text())
        if found != 1:
            raise ConfigurationError(f"{file} has {found} lines that begin with `digest`; expected one")
        write_whole(folder / MANIFEST, encode(signed))
        write_whole(file, text.encode())
        return
    called = {"exchange": ORDER[:3], "platform": ORDER}.get(role_of(name), ())
    missing = [party for party in called if party not in urls]
    if missing or not urls.keys() <= parties.keys():
        raise ConfigurationError(f"{name} calls {', '.join(called) or 'nobody'}; give --url NAME=URL for each")
    settle(folder, signed, named, listen, urls, name)


def read(path: Path, kind: type[M]) -> M:
    """A message from a file. Raises ConfigurationError, MessageError."""
    try:
        return decode(path.read_bytes(), kind)
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}") from None


def read_parties(files: Sequence[Path]) -> list[PublicKeys]:
    """Public keys from NAME.public files. Raises ConfigurationError, MessageError."""
    return [read(path, PublicKeys) for path in files]


def write_whole(path: Path, body: bytes) -> None:
    """The file, whole or not at all, for its owner only."""
    new = path.with_name(f".{path.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _toml(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f'"{value}"'

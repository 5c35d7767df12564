"""A role's settings: one TOML file in its folder, each of them also by environment variable.

`HUSHMATCH_LISTEN=0.0.0.0:8000` stands for `listen = "0.0.0.0:8000"`; tables are set in the file only. The passphrase
that locks keys at rest is not in there: it is in `HUSHMATCH_PASSPHRASE`, or in the file that `passphrase_file` names.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from protocols.base import ConfigurationError

FILE = "hushmatch.toml"
_PREFIX = "HUSHMATCH_"


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person's device needs. digest: of the manifest, in hex, from the committee and not from the exchange."""

    exchange: str
    digest: str
    allow_insecure: bool = False
    allow_unsafe_threshold: bool = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a role needs.

    name: "exchange", "member-1" to "member-3", or "platform-" and a name. listen: host:port. parties: the URL of each
    party that this one calls. digest: of the manifest, in hex. manifest: the file of the signed manifest. database:
    sqlite:///FILE or postgresql://...; default: NAME.db in the folder. proxies: addresses whose X-Forwarded-For counts.
    unfinished: challenged batches a day that a platform may leave (members). sessions: batches of a platform under way
    at once (members). max_entries: of a case (exchange). lost_shares: the member that was replaced without its shares
    of older entries (exchange). stock: batches that are dealt ahead for each pair (platforms). queries: the variants
    that are asked for each upload (platforms). hook: a command or URL that is called on a match (platforms).
    metrics_token: who sends it as a bearer token reads `GET /metrics`; without one nobody does.
    """

    name: str
    listen: str
    parties: dict[str, str]
    digest: str
    manifest: str = "manifest.signed"
    database: str = ""
    passphrase_file: str = ""
    proxies: str = ""
    allow_insecure: bool = False
    allow_unsafe_threshold: bool = False
    unfinished: int = 100
    sessions: int = 8
    max_entries: int = 500
    lost_shares: str = ""
    stock: int = 2
    queries: str = "none"
    hook: str = ""
    metrics_token: str = ""


C = TypeVar("C", Client, Settings)


def load(path: Path, kind: type[C], environment: Mapping[str, str] = os.environ) -> C:
    """The settings in a file, or in that of a folder. Raises ConfigurationError that says what is wrong."""
    file = path / FILE if path.is_dir() else path
    try:
        values: dict[str, Any] = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigurationError(
            f"settings: {file} cannot be read: {error.strerror}; `hushmatch up` shows one"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"settings: {file} is not TOML: {error}") from None
    for name in kind.__struct_fields__:
        given = environment.get(_PREFIX + name.upper())
        if given is not None and name not in ("name", "parties"):
            values[name] = given
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {file}: {error}") from None


def digest_of(settings: Client | Settings) -> bytes:
    """The manifest's digest. Raises ConfigurationError."""
    try:
        value = bytes.fromhex(settings.digest)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise ConfigurationError("settings: digest is not 64 hex digits; get it from the committee")
    return value


def passphrase(settings: Settings, folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """What locks this role's keys at rest. Raises ConfigurationError."""
    given = environment.get(_PREFIX + "PASSPHRASE")
    if given is None and settings.passphrase_file:
        try:
            given = (folder / settings.passphrase_file).read_text().strip()
        except OSError as error:
            raise ConfigurationError(f"passphrase_file cannot be read: {error.strerror}") from None
    if not given:
        raise ConfigurationError(f"no passphrase: set {_PREFIX}PASSPHRASE, or passphrase_file in {FILE}")
    return given


def address(settings: Settings) -> tuple[str, int]:
    """Host and port to listen at. Raises ConfigurationError."""
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"settings: listen is {settings.listen!r}; expected host:port")
    return host, int(port)

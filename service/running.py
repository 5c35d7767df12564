"""The platform's process, for its tools in other processes, which sign with the platform's own keys."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from protocols.base import Progress, quiet
from service.checker import PlatformRole
from service.config import Settings, address, passphrase
from service.errors import Unavailable
from service.messages import Checked, CheckFiles, CheckUpload, Synced, Verdicts
from service.peer import Peer
from service.role import open_folder
from service.web import Health

_FOREIGN = "its name is not UTF-8; rename it"


class Running:
    """The platform's process, for its tools in other processes."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Raises ConfigurationError; Unavailable if it does not run."""
        identity, _, pinned = open_folder(folder, settings, passphrase(settings, folder))
        me, host, port = identity.under(pinned.digest), *address(settings)
        self._peer = Peer(f"http://{host}:{port}", me.name, pinned.parties[me.name], me, timeout=3600.0)
        self._peer.call("GET", "/health", kind=Health)

    def check(self, paths: Sequence[str], tell: Progress = quiet) -> Checked:
        """As `PlatformRole.check`, of files on a disk that both see; one whose name is not UTF-8 is refused."""
        given = [os.path.abspath(path) for path in paths]
        foreign = [path for path in given if re.search("[\ud800-\udfff]", path)]  # what is not UTF-8, by `os.fsdecode`
        named = CheckFiles([path for path in given if path not in foreign])
        checked = self._peer.call("POST", "/check", named, kind=Checked)
        return msgspec.structs.replace(checked, refused=[*checked.refused, *((path, _FOREIGN) for path in foreign)])

    def upload(self, name: str, media: bytes) -> Checked:
        """As `PlatformRole.check`, of one upload."""
        return self._peer.call("POST", "/upload", CheckUpload(name, media), kind=Checked)

    def sync(self, tell: Progress = quiet) -> int:
        """As `PlatformRole.sync`."""
        return self._peer.call("POST", "/sync", kind=Synced).fetched

    def feedback(self, verdicts: Verdicts) -> None:
        """As `PlatformRole.feedback`."""
        self._peer.call("POST", "/verdicts", verdicts)


def platform_at(folder: Path, settings: Settings) -> Running | PlatformRole:
    """The platform's process, if it runs; else this process is it."""
    try:
        return Running(folder, settings)
    except Unavailable:
        return PlatformRole(folder, settings)

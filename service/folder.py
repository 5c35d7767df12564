"""A folder that uploads are put into: which files are complete, and which of those are still to be checked.

A file is complete when its size and times have not changed for a while. One that stops growing for longer, and goes on
afterwards, is looked at twice: whatever has changed since it was checked is checked again. Files that begin with a dot,
links, and what is no regular file are passed over.

What was checked is remembered in a mapping that the caller keeps, if wanted across restarts: SHA-256 of the path ->
the file's size, times and number.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from pathlib import Path

from protocols.base import InputError

SETTLED = 2.0  # seconds without a change


class Folder:
    """A watched folder with all below it."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        checked: MutableMapping[bytes, bytes] | None = None,
        settled: float = SETTLED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """checked: what was, see above. settled, clock: in seconds. Raises InputError if there is no such folder."""
        self.path = Path(os.path.abspath(path))
        if not self.path.is_dir():
            raise InputError(f"folder {os.fspath(path)!r} is not there, or no folder; make it first")
        self._checked: MutableMapping[bytes, bytes] = {} if checked is None else checked
        self._settled, self._clock = settled, clock
        self._seen: dict[str, tuple[bytes, float]] = {}  # path -> its state, and since when it is so
        self._ready: dict[str, bytes] = {}

    def ready(self) -> list[str]:
        """Files that are complete and not checked in this state, sorted. Call it again and again."""
        now = self._clock()
        states = dict(self._states())
        self._seen = {
            path: (state, self._seen[path][1] if path in self._seen and self._seen[path][0] == state else now)
            for path, state in states.items()
        }
        self._ready = {
            path: state
            for path, (state, since) in self._seen.items()
            if now - since >= self._settled and self._checked.get(_key(path)) != state
        }
        return sorted(self._ready)

    def check_off(self, paths: Iterable[str]) -> None:
        """Files that `ready` named last are checked, as they were then. Raises InputError for others."""
        for path in paths:
            if path not in self._ready:
                raise InputError(f"path {path!r} was not named as ready")
            self._checked[_key(path)] = self._ready[path]

    def watch(self, stop: threading.Event, every: float = 1.0) -> Iterator[list[str]]:
        """Batches of files that are ready, until `stop` is set; looks `every` so many seconds.

        The caller checks them off; what it does not comes again.
        """
        while not stop.is_set():
            if batch := self.ready():
                yield batch
            stop.wait(every)

    def _states(self) -> Iterator[tuple[str, bytes]]:
        for folder, folders, names in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.lstat(path)
                except FileNotFoundError:  # gone since it was listed
                    continue
                if not name.startswith(".") and stat.S_ISREG(status.st_mode):
                    numbers = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
                    yield path, struct.pack(">QqqQ", *numbers)


def _key(path: str) -> bytes:
    return hashlib.sha256(os.fsencode(path)).digest()

"""What went over the wire and what lies on disk, and a search of it for secrets in whatever way they may be written."""

import base64
import re
import socket
import sqlite3
import threading
from contextlib import closing, suppress
from urllib.parse import urlsplit

import numpy as np

WINDOW = 8
_PREFIX = 22  # bits of a window that are looked up first
_MASK = np.uint64((1 << _PREFIX) - 1)


class Recorder:
    """Forwarders on the way to parties, which keep all that passes them, a piece for each connection and direction."""

    def __init__(self):
        self._pieces, self._listeners = [], []

    def between(self, name, url):
        """A URL that leads to `url`, on record."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listeners.append(listener)
        target = urlsplit(url)
        threading.Thread(target=self._accept, args=(listener, (target.hostname, target.port)), daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def pieces(self):
        return {f"connection {number}": bytes(piece) for number, piece in enumerate(self._pieces)}

    def close(self):
        for listener in self._listeners:
            listener.close()

    def _accept(self, listener, target):
        with suppress(OSError):  # closed
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(target)
                for source, sink in ((here, there), (there, here)):
                    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._pieces.append(bytearray())
                    threading.Thread(target=_pump, args=(source, sink, self._pieces[-1]), daemon=True).start()


def _pump(source, sink, piece):
    with suppress(OSError):
        while chunk := source.recv(1 << 16):
            piece += chunk
            sink.sendall(chunk)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def on_disk(folder):
    """Every file below a folder, and of each SQLite database what a reader of it sees, write-ahead log included."""
    pieces = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        pieces[str(path.relative_to(folder))] = path.read_bytes()
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as database:
                database.text_factory = bytes
                tables = [
                    row[0].decode() for row in database.execute("select name from sqlite_master where type='table'")
                ]
                rows = [row for table in tables for row in database.execute(f'select * from "{table}"')]
            values = [value for row in rows for value in row if isinstance(value, bytes)]
            pieces[f"{path.relative_to(folder)}, dumped"] = b"\n".join(values)
    return pieces


class Search:
    """Finds any 8 bytes in a row of any secret: as they are, in hex and in base64 at every alignment."""

    def __init__(self, secrets, step=1):
        """step: between windows of a secret that are looked for."""
        windows = {secret[at : at + WINDOW] for secret in secrets for at in range(0, len(secret) - WINDOW + 1, step)}
        telling = [window for window in windows if len(set(window)) >= 5]  # runs of zeros are everywhere
        self._use(np.unique(np.frombuffer(b"".join(telling), dtype="<u8")))

    def _use(self, windows):
        self._windows = windows
        self._begins = np.zeros(1 << _PREFIX, dtype=bool)
        self._begins[self._windows & _MASK] = True

    def __or__(self, other):
        joined = Search([])
        joined._use(np.union1d(self._windows, other._windows))
        return joined

    def __len__(self):
        return len(self._windows)

    def found(self, pieces):
        """Names of the pieces that hold one."""
        return [name for name, piece in pieces.items() if any(self._in(form) for form in _forms(piece))]

    def _in(self, data):
        """In whichever of 8 alignments: what begins as a window does is compared whole."""
        for shift in range(min(WINDOW, max(0, len(data) - WINDOW + 1))):
            words = np.frombuffer(data, dtype="<u8", count=(len(data) - shift) // WINDOW, offset=shift)
            likely = words[self._begins[words & _MASK]]
            at = np.searchsorted(self._windows, likely) % max(1, len(self._windows))
            if len(likely) and (self._windows[at] == likely).any():
                return True
        return False


def _forms(data):
    """The bytes, and what runs of hex and base64 digits in them stand for, from each digit on that may be a first."""
    yield data
    decoded = []
    for run in re.findall(rb"[0-9a-fA-F]{16,}", data):
        for first in (0, 1):
            digits = run[first:]
            decoded.append(bytes.fromhex(digits[: len(digits) // 2 * 2].decode()))
    for run in re.findall(rb"[A-Za-z0-9+/_-]{11,}", data):
        digits = run.replace(b"-", b"+").replace(b"_", b"/")
        for first in range(4):
            decoded.append(base64.b64decode(digits[first:] + b"A" * (-len(digits[first:]) % 4)))
    yield bytes(WINDOW).join(decoded)

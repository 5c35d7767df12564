"""What uploads matched when they were checked before, so that checking one again makes no second sighting of it.

The handles of a scan are new each time, and the exchange knows no uploads. So the platform keeps what it found, by path
and fingerprints, on its own disk, and tells the exchange the earlier handles beside the new ones as one upload: for a
case that was sighted there, the exchange answers that sighting. It is told nothing else than that. Matches are kept two
days, as long as the exchange keeps them; an upload that is checked again later makes a new sighting.

    key      SHA-256 of the path, or of the name of an upload in memory
    value    `_Found`
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence

from protocols.ledger import Message, decode, encode
from service.messages import MOST_HANDLES, Upload
from service.uploads import Asked, Uploads

KEPT = 2 * 86_400.0  # seconds

Matches = Sequence[tuple[int, bytes]]


class _Found(Message, frozen=True):
    """What matched. prints: SHA-256 of the upload's fingerprints. at: unix seconds. handles: with the upload's row."""

    prints: bytes
    at: float
    handles: list[tuple[int, bytes]]


class Rechecks:
    """What a platform found lately."""

    def __init__(self, found: MutableMapping[bytes, bytes], clock: Callable[[], float] = time.time) -> None:
        """found: kept by the caller, on disk when it commits. clock: unix seconds."""
        self._found, self._clock = found, clock
        self._swept = 0.0

    def with_earlier(self, uploads: Uploads, matches: Matches) -> list[tuple[int, bytes]]:
        """Matches (row, handle), and those of an earlier check of each upload that matches now. Keeps them all."""
        self._sweep()
        joined: list[tuple[int, bytes]] = []
        for each, mine in _by_upload(uploads, matches):
            first, earlier = each.frames[0].start, self._earlier(uploads, each)
            together = [*mine, *((first + row, handle) for row, handle in earlier)]
            self._keep(uploads, each, together)
            joined += together
        return joined

    def told(self, uploads: Uploads, matches: Matches) -> None:
        """The exchange has grouped them: from now on the new handles stand for the earlier ones."""
        for each, mine in _by_upload(uploads, matches):
            self._keep(uploads, each, mine)

    def _earlier(self, uploads: Uploads, each: Asked) -> list[tuple[int, bytes]]:
        body = self._found.get(_key(each))
        found = None if body is None else decode(body, _Found)
        return [] if found is None or found.prints != _prints(uploads, each) else found.handles

    def _keep(self, uploads: Uploads, each: Asked, matches: Matches) -> None:
        first = each.frames[0].start
        handles = [(row - first, handle) for row, handle in matches]
        self._found[_key(each)] = encode(_Found(_prints(uploads, each), self._clock(), handles))

    def _sweep(self) -> None:
        now = self._clock()
        if now - self._swept > KEPT / 48:
            for key, body in list(self._found.items()):
                if now - decode(body, _Found).at > KEPT:
                    del self._found[key]
            self._swept = now


def in_messages(uploads: Sequence[Upload]) -> Iterator[list[Upload]]:
    """The uploads in order, as many at once as one message takes."""
    some: list[Upload] = []
    count = 0
    for upload in uploads:
        mine = sum(map(len, upload.matched))
        if some and count + mine > MOST_HANDLES:
            yield some
            some, count = [], 0
        some.append(upload)
        count += mine
    if some:
        yield some


def _by_upload(uploads: Uploads, matches: Matches) -> Iterator[tuple[Asked, list[tuple[int, bytes]]]]:
    """Uploads that match, with their matches."""
    owners = {row: each for each in uploads.asked for rows in each.frames for row in rows}
    by_first: dict[int, list[tuple[int, bytes]]] = {}
    for row, handle in matches:
        by_first.setdefault(owners[row].frames[0].start, []).append((row, handle))
    for each in uploads.asked:
        if each.frames[0].start in by_first:
            yield each, by_first[each.frames[0].start]


def _key(each: Asked) -> bytes:
    return hashlib.sha256(os.fsencode(each.path)).digest()


def _prints(uploads: Uploads, each: Asked) -> bytes:
    return hashlib.sha256(uploads.hashes[each.frames[0].start : each.frames[-1].stop].tobytes()).digest()

"""What a platform does with uploads: photos and videos to queries, and matches back to the uploads that they belong to.

A photo is asked for by one fingerprint or a few (`hashing.variants`), a video by those of the frames that stand for it
(`hashing.video`). All become rows of one array; `Uploads` remembers whose each row is. A file that cannot be
hashed is refused with the reason, and the others go on.

NOT protected: the platform holds its users' files, and their fingerprints, in the clear. That an upload was refused
or is too blank to be matched must not pass for having been checked: `refused` lists them.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hashing import (
    HashingError,
    Limits,
    Variants,
    VariantsError,
    fingerprints_to_query,
    is_video,
    pack,
    video_to_query,
)
from hashing.decoding import LIMITS
from hashing.variants import QUERIES
from protocols.base import InputError, Progress
from service.messages import CheckUpload, MediaKind, Upload

_BYTES = 32
_TOO_BLANK = "too little detail to be matched"


@dataclass(frozen=True, slots=True)
class Asked:
    """An upload that is asked for. frames: for each of its frames the rows of its fingerprints; a photo has one."""

    path: str
    kind: MediaKind
    frames: tuple[range, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not asked for, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """An upload with matches, and what the exchange is told of it."""

    path: str
    upload: Upload


@dataclass(frozen=True)
class Uploads:
    """Uploads as one batch of queries. hashes: (Q, 32) uint8. asked, refused: in the order in which they came."""

    asked: tuple[Asked, ...]
    refused: tuple[Refused, ...]
    hashes: NDArray[np.uint8] = field(repr=False)

    def group(self, matches: Iterable[tuple[int, bytes]]) -> list[Found]:
        """Matches (row, handle) by upload and frame, uploads in order; those without a match are left out.

        Raises InputError for a row that was not asked for.
        """
        handles: dict[int, set[bytes]] = defaultdict(set)
        for row, handle in matches:
            if not 0 <= row < len(self.hashes):
                raise InputError(f"matches: row {row} was not asked for; there are {len(self.hashes)}")
            handles[row].add(handle)
        found = []
        for each in self.asked:
            frames = [sorted(set().union(*(handles[row] for row in rows if row in handles))) for rows in each.frames]
            if matched := [frame for frame in frames if frame]:
                found.append(Found(each.path, Upload(each.kind, len(frames), matched)))
        return found


def prepare(
    paths: Iterable[str | os.PathLike[str] | CheckUpload],
    queries: str = "none",
    tell: Progress | None = None,
    limits: Limits = LIMITS,
) -> Uploads:
    """Fingerprints to ask for. paths: of files, or uploads that are in memory. queries: the set of variants, for photos
    and for each frame of a video.

    `tell` is called with the number of files done, and with the seconds of a video. Raises VariantsError for an unknown
    set; whatever is wrong with a file is its own reason to be refused.
    """
    if queries not in QUERIES:
        raise VariantsError(f"queries is {queries!r}; expected one of {', '.join(QUERIES)}")
    files = [(one.name, one.media) if isinstance(one, CheckUpload) else (os.fspath(one),) * 2 for one in paths]
    asked: list[Asked] = []
    refused: list[Refused] = []
    rows: list[NDArray[np.uint8]] = []
    count = 0
    for number, (path, source) in enumerate(files):
        if tell:
            tell("hashing uploads", number, len(files))
        try:
            kind, frames = _fingerprints(source, queries, limits, tell)
        except (HashingError, MemoryError) as error:
            refused.append(Refused(path, f"{type(error).__name__}: {error}"))
            continue
        if not frames:
            refused.append(Refused(path, _TOO_BLANK))
            continue
        places = []
        for variants in frames:
            hashes = pack(variants.fingerprints)
            places.append(range(count, count + len(hashes)))
            count += len(hashes)
            rows.append(hashes)
        asked.append(Asked(path, kind, tuple(places)))
    if tell:
        tell("hashing uploads", len(files), len(files))
    return Uploads(tuple(asked), tuple(refused), np.concatenate(rows) if rows else np.empty((0, _BYTES), np.uint8))


def _fingerprints(
    source: str | bytes, queries: str, limits: Limits, tell: Progress | None
) -> tuple[MediaKind, list[Variants]]:
    """Of each frame; none if all are too blank."""
    if is_video(source):
        return "video", [frame.variants for frame in video_to_query(source, queries, limits, tell).frames]
    found = fingerprints_to_query(source, queries)
    return "photo", [found] if len(found) else []


def read_paths(list_file: str | os.PathLike[str]) -> list[str]:
    """The paths in a file, one a line, or, as `find -print0` writes them, ended by zero bytes. Raises InputError."""
    try:
        body = Path(list_file).read_bytes()
    except OSError as error:
        raise InputError(f"list {os.fspath(list_file)!r}: {error.strerror or error}; give a file of paths") from None
    parts = body.split(b"\0") if b"\0" in body else body.splitlines()
    return [os.fsdecode(part) for part in parts if part.strip()]

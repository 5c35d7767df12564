"""Fingerprints of photos and of their edited copies, computed over the lab's workers and kept between runs.

A cache file holds one photo's fingerprints under the digest of the photo's bytes, the seed and the code that
makes them (hashing's and the edits' sources, the libraries' versions): a change of any of them misses.
Cached fingerprints are NOT protected; the cache is off unless asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import hashing
from experiments import edits
from experiments.datasets import Dataset, DatasetError
from experiments.lab import Lab
from experiments.results import write_whole
from hashing.fingerprint import Fingerprint, HashingError, pack_margins, rule_for
from hashing.image import hash_image, open_image

ORIGINAL = "as it is"
TURNED = {how.name.lower(): how for how in Image.Transpose}

# What was done to the photo -> algorithm -> (hex, quality, margins as float32 or nothing).
Prints = dict[str, dict[str, tuple[str, int, bytes]]]


@dataclass(frozen=True)
class Copies:
    """Hashes by one algorithm, of O originals and Q queries.

    originals: (O, 8, bits/8) uint8, the eight orientations, upright first. queries: (Q, bits/8) uint8. owner:
    (Q,) index of the original that query q is a copy of, or -1. label: (Q,) what was done to it. usable: (Q,)
    whether its quality is enough for the rule. margins, query_margins: (O, bits) of the upright originals and (Q, bits)
    float32, how reliable each bit is; None where the algorithm does not say.
    """

    originals: NDArray[np.uint8]
    queries: NDArray[np.uint8]
    owner: NDArray[np.int64]
    label: NDArray[np.str_]
    usable: NDArray[np.bool_]
    margins: NDArray[np.float32] | None = None
    query_margins: NDArray[np.float32] | None = None


def fingerprint(lab: Lab, algorithms: Sequence[str], names: Sequence[str], seed: int) -> dict[str, Copies]:
    """By algorithm: the lab's originals, and its queries if it has any, else edits `names` of every original."""
    photos: Dataset = lab.photos
    made = () if photos.queries else tuple(names)
    tasks = [(id_, path, made, tuple(algorithms), seed, lab.cache, True) for id_, path in photos.originals.items()]
    tasks += [(id_, path, (), tuple(algorithms), seed, lab.cache, False) for id_, path in photos.queries.items()]
    answers = lab.map(_prints, tasks, "hashing")
    originals, queries = answers[: len(photos.originals)], answers[len(photos.originals) :]
    index = {id_: number for number, id_ in enumerate(photos.originals)}
    owners = {query: index[original] for query, original in photos.pairs}
    rows = [(owner, name, prints[name]) for owner, prints in enumerate(originals) for name in made]
    rows += [
        (owners.get(id_, -1), Path(id_).parent.as_posix(), prints[ORIGINAL])
        for id_, prints in zip(photos.queries, queries, strict=True)
    ]
    return {algorithm: _copies(algorithm, originals, rows) for algorithm in algorithms}


def _copies(
    algorithm: str, originals: list[Prints], rows: list[tuple[int, str, dict[str, tuple[str, int, bytes]]]]
) -> Copies:
    def packed(hexes: list[str]) -> NDArray[np.uint8]:
        size = rule_for(algorithm).bits // 8
        return np.frombuffer(bytes.fromhex("".join(hexes)), dtype=np.uint8).reshape(-1, size)

    def known(margins: list[bytes]) -> NDArray[np.float32] | None:
        values = np.frombuffer(b"".join(margins), dtype=np.float32)
        return values.reshape(len(margins), -1) if margins and all(margins) else None

    turned = packed([prints[name][algorithm][0] for prints in originals for name in (ORIGINAL, *TURNED)])
    return Copies(
        originals=turned.reshape(len(originals), 1 + len(TURNED), -1),
        queries=packed([prints[algorithm][0] for _, _, prints in rows]),
        owner=np.array([owner for owner, _, _ in rows], dtype=np.int64),
        label=np.array([label for _, label, _ in rows]),
        usable=np.array([prints[algorithm][1] >= rule_for(algorithm).min_quality for _, _, prints in rows]),
        margins=known([prints[ORIGINAL][algorithm][2] for prints in originals]),
        query_margins=known([prints[algorithm][2] for _, _, prints in rows]),
    )


def _prints(task: tuple[str, Path, tuple[str, ...], tuple[str, ...], int, Path | None, bool]) -> Prints:
    """One photo's fingerprints: as it is, turned (where it is an original) and edited."""
    photo, path, names, algorithms, seed, cache_folder, turned = task
    data = path.read_bytes()
    wanted = (ORIGINAL, *(TURNED if turned else ()), *names)
    file = cache_folder / f"{_key(data, photo, seed)}.json" if cache_folder else None
    prints: Prints = msgspec.json.decode(file.read_bytes(), type=Prints) if file and file.is_file() else {}
    missing = [name for name in wanted if not set(algorithms) <= set(prints.get(name, {}))]
    if missing:
        image = open_photo(path, data)
        for name in missing:
            prints[name] = _hash_all(_changed(name, image, photo, seed), algorithms) | prints.get(name, {})
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, msgspec.json.encode(prints))
    return prints


def open_photo(path: Path, data: bytes | None = None) -> Image.Image:
    """A dataset's photo, upright, RGB; `data`: its bytes, if they are read already. Raises DatasetError, naming it."""
    try:
        return open_image(path if data is None else data).convert("RGB")
    except HashingError as error:
        raise DatasetError(f"{path.name!r}: {type(error).__name__}: {error}; take it out of the photos") from None


def _changed(name: str, image: Image.Image, photo: str, seed: int) -> Image.Image:
    if name == ORIGINAL:
        return image
    return image.transpose(TURNED[name]) if name in TURNED else edits.apply(name, image, photo, seed)


def _hash_all(image: Image.Image, algorithms: Sequence[str]) -> dict[str, tuple[str, int, bytes]]:
    return {algorithm: _plain(hash_image(image, algorithm)) for algorithm in algorithms}


def _plain(print_: Fingerprint) -> tuple[str, int, bytes]:
    margins = pack_margins([print_])
    return print_.hex, print_.quality, b"" if margins is None else margins.tobytes()


def _key(data: bytes, photo: str, seed: int) -> str:
    return hashlib.sha256(
        f"{_code()}/{seed}/{photo}/".encode(errors="surrogateescape") + hashlib.sha256(data).digest()
    ).hexdigest()


@cache
def _code() -> str:
    sources = sorted(Path(hashing.__file__).parent.glob("*.py"))
    digest = hashlib.sha256("/".join(version(name) for name in ("pillow", "numpy", "imagehash")).encode())
    for source in [*sources, Path(edits.__file__)]:
        digest.update(source.read_bytes())
    return digest.hexdigest()

"""What do sealed variants catch that one fingerprint misses, for how many entries a photo, and at what false alarms?

Candidate entries are chosen greedily on every second photo: each step takes the candidate that raises the mean recall
over nine edits at the rule's threshold the most (half as much counts recall at 47). Recall is reported on the other
photos, for growing numbers of entries and of fingerprints an upload, and beside it that of the sets that
`hashing.variants` ships. Unrelated distances are those of every photo's unedited upload to every other photo's entries.
A variant of too low quality is in no set and asked for by nobody: it counts as missed. Photos that are too blank as
they are match nothing, with variants or without; they are counted apart.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import ImageOps

from experiments import plots
from experiments.fingerprints import open_photo
from experiments.lab import Lab
from experiments.ranges import FURTHER, RANGES, draw, generator
from experiments.results import Findings, Result, Row
from hashing.fingerprint import Fingerprint, hamming
from hashing.variants import (
    MIRROR,
    PHOTO,
    QUERIES,
    SETS,
    Variants,
    crop,
    cut,
    fingerprints_of,
    fingerprints_to_enroll,
    fingerprints_to_query,
    no_caption,
    turn,
)

QUESTION = "What do sealed variants catch that one fingerprint misses, for how many entries, at what false alarms?"

EDITS = (*RANGES, *FURTHER)
SIDES = ("left", "top", "right", "bottom")
CANDIDATES = (
    PHOTO,
    MIRROR,
    no_caption("bottom"),
    no_caption("top"),
    *(crop(percent) for percent in range(1, 12)),
    *(cut(**{side: percent}) for side in SIDES for percent in range(2, 17, 2)),
    *(cut(**{one: 4, other: 4}) for i, one in enumerate(SIDES) for other in SIDES[i + 1 :]),
    *(cut(**{side: 6 if side == far else 2 for side in SIDES}) for far in SIDES),
    *(turn(degrees / 2) for degrees in range(-10, 11) if degrees),
    *(
        cut(**dict(zip(SIDES, cuts, strict=True)))
        for cuts in np.random.default_rng(0).integers(2, 16, (40, 4)) / 2
    ),
)  # fmt: skip
_FAR = 256  # the distance of what is not there


@dataclass(frozen=True)
class Config:
    """draws: of each edit, a photo. recall_photos: how many photos are edited, evenly taken; unrelated distances take
    all of them. entries: up to how many the greedy choice goes. side: of photos before they are edited, in pixels.
    """

    seed: int = 1
    draws: int = 6
    recall_photos: int = 80
    entries: int = 48
    thresholds: tuple[int, ...] = (31, 47, 63)
    side: int = 1024


QUICK = Config(draws=1, recall_photos=4, entries=8)


@dataclass(frozen=True)
class Photo:
    """What was computed of one photo. sets: by name, (n, 32) uint8. upload: as it is, by number of fingerprints.
    dropped: of the standard set. seconds: for each set. edited: (edits, draws, 4, 32), rows beyond what was asked
    repeat the first, usable says which have enough quality; candidates: (candidates, 32).
    """

    sets: dict[str, NDArray[np.uint8]]
    upload: dict[str, NDArray[np.uint8]]
    dropped: int
    seconds: dict[str, float]
    edited: NDArray[np.uint8] | None = None
    usable: NDArray[np.bool_] | None = None
    candidates: NDArray[np.uint8] | None = None
    candidates_usable: NDArray[np.bool_] | None = None


def run(config: Config, lab: Lab) -> Findings:
    """Hash, choose, compare."""
    paths = list(lab.photos.originals.values())
    edited = set(np.unique(np.linspace(0, len(paths) - 1, min(config.recall_photos, len(paths))).astype(int)).tolist())
    tasks = [(number, path, config, number in edited) for number, path in enumerate(paths)]
    photos = lab.map(_photo, tasks, "hashing")
    findings = Findings()
    measured = [photo for photo in photos if photo.edited is not None and len(photo.sets["none"])]
    _recall(findings, config, measured)
    _curve(findings, config, measured)
    _unrelated(findings, config, photos)
    for name in SETS:
        findings.headline[f"seconds_{name}"] = float(np.median([photo.seconds[name] for photo in photos]))
    findings.headline["photos_edited"] = len(measured)
    findings.headline["photos_too_blank_to_match"] = sum(not len(photo.sets["none"]) for photo in photos)
    findings.headline["photos_with_dropped_variants"] = sum(photo.dropped > 0 for photo in photos)
    return findings


def _photo(task: tuple[int, Path, Config, bool]) -> Photo:
    number, path, config, with_edits = task
    image = open_photo(path)
    sets, seconds, dropped = {}, {}, 0
    for name in SETS:
        start = time.perf_counter()
        found = fingerprints_to_enroll(image, name)
        seconds[name] = time.perf_counter() - start
        sets[name] = _rows(found)
        dropped = len(found.dropped) if name == "standard" else dropped
    upload = {name: _rows(fingerprints_to_query(image, name)) for name in SETS}
    if not with_edits:
        return Photo(sets, upload, dropped, seconds)
    small = ImageOps.contain(image, (config.side, config.side)) if max(image.size) > config.side else image
    most = max(QUERIES.values())
    edited = np.zeros((len(EDITS), config.draws, most, 32), dtype=np.uint8)
    usable = np.zeros(edited.shape[:3], dtype=bool)
    for e, edit in enumerate(EDITS):
        for k in range(config.draws):
            asked = fingerprints_to_query(draw(edit, small, generator(config.seed, number, e, k)), "thorough")
            usable[e, k, : len(asked)] = True
            edited[e, k, : len(asked)] = _rows(asked)
    candidates = [fingerprint for _, fingerprint in fingerprints_of(small, CANDIDATES)]
    good = np.array([fingerprint.usable for fingerprint in candidates])
    return Photo(sets, upload, dropped, seconds, edited, usable, _stack(candidates), good)


def _rows(found: Variants) -> NDArray[np.uint8]:
    return _stack(found.fingerprints)


def _stack(fingerprints: list[Fingerprint]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(each.data for each in fingerprints), dtype=np.uint8).reshape(-1, 32)


def _distances(photo: Photo, entries: NDArray[np.uint8], queries: int) -> NDArray[np.int64]:
    """Of each edited upload's first `queries` fingerprints to each entry, (edits, draws, entries), nearest counts."""
    if photo.edited is None or photo.usable is None:
        raise ValueError("the photo was not edited")
    asked = photo.edited[:, :, :queries]
    every = hamming(asked.reshape(-1, 32), entries).reshape(*asked.shape[:3], len(entries)).astype(np.int64)
    return np.where(photo.usable[:, :, :queries, None], every, _FAR).min(axis=2)


def _recall(findings: Findings, config: Config, photos: list[Photo]) -> None:
    """Recall of the shipped sets by edit, and its mean over the nine."""
    for name in SETS:
        nearest = np.array(
            [_distances(photo, photo.sets[name], QUERIES[name]).min(axis=2, initial=_FAR) for photo in photos]
        )
        for threshold in config.thresholds:
            caught = (nearest <= threshold).mean(axis=(0, 2))
            for edit, recall in zip(EDITS, caught, strict=True):
                row = {"variants": name, "edit": edit, "threshold": threshold, "recall": recall}
                findings.tables.setdefault("recall", []).append(row | {"copies": len(photos) * config.draws})
            findings.headline[f"{name}_mean_recall_at_{threshold}"] = float(caught[: len(RANGES)].mean())
        findings.headline[f"{name}_mirror_recall_at_31"] = float((nearest[:, EDITS.index("mirror")] <= 31).mean())


def _curve(findings: Findings, config: Config, photos: list[Photo]) -> None:
    """Greedy choice on every second photo, its recall on the others."""
    for queries in range(1, max(QUERIES.values()) + 1):
        distances = np.array([_all_candidates(photo, queries) for photo in photos])
        chosen = choose(distances[::2], min(config.entries, len(CANDIDATES)))
        for count in range(1, len(chosen) + 1):
            nearest = distances[1::2][..., chosen[:count]].min(axis=-1)
            for threshold in config.thresholds:
                recall = float((nearest[:, : len(RANGES)] <= threshold).mean())
                row: Row = {"queries": queries, "entries": count, "threshold": threshold, "recall": recall}
                row["added"] = CANDIDATES[chosen[count - 1]].name
                findings.tables.setdefault("curve", []).append(row)


def _all_candidates(photo: Photo, queries: int) -> NDArray[np.int64]:
    if photo.candidates is None or photo.candidates_usable is None:
        raise ValueError("the photo was not edited")
    return np.where(photo.candidates_usable, _distances(photo, photo.candidates, queries), _FAR)


def choose(distances: NDArray[np.int64], count: int) -> list[int]:
    """Candidates in the order in which they help the most: (photos, edits, draws, candidates) -> indices.

    The photo comes first, whatever it helps: recall must not fall below that of a single fingerprint.
    """
    hits = [distances[:, : len(RANGES)] <= threshold for threshold in (31, 47)]
    mirrors = distances[:, EDITS.index("mirror")] <= 31
    chosen = [0]
    while len(chosen) < count:
        gain = sum(
            weight * (hit & ~hit[..., chosen].any(axis=-1, keepdims=True)).mean(axis=(0, 1, 2))
            for weight, hit in zip((1.0, 0.5), hits, strict=True)
        )
        gain += 0.1 * (mirrors & ~mirrors[..., chosen].any(axis=-1, keepdims=True)).mean(axis=(0, 1))
        gain = np.asarray(gain)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
    return chosen


def _unrelated(findings: Findings, config: Config, photos: list[Photo]) -> None:
    """The distances of unedited uploads to other photos' entries."""
    for name in SETS:
        counts = np.zeros(257, dtype=np.int64)
        entries = np.concatenate([photo.sets[name] for photo in photos])
        owner = np.repeat(np.arange(len(photos)), [len(photo.sets[name]) for photo in photos])
        for number, photo in enumerate(photos):
            counts += np.bincount(hamming(photo.upload[name], entries[owner != number]).ravel(), minlength=257)
        for distance in np.flatnonzero(counts):
            row = {"variants": name, "distance": int(distance), "pairs": int(counts[distance])}
            findings.tables.setdefault("unrelated", []).append(row)
        findings.headline[f"{name}_unrelated_pairs"] = int(counts.sum())
        findings.headline[f"{name}_unrelated_smallest"] = int(np.flatnonzero(counts)[0]) if counts.any() else None
        for threshold in config.thresholds:
            findings.headline[f"{name}_false_pairs_at_{threshold}"] = int(counts[: threshold + 1].sum())


def figures(result: Result) -> dict[str, Figure]:
    """curve (recall against entries), edits (the sets side by side), unrelated (how near other photos come)."""
    return {"curve": _draw_curve(result), "edits": _draw_edits(result), "unrelated": _draw_unrelated(result)}


_COLOURS = dict(zip(SETS, (plots.BLACK, plots.BLUE, plots.ORANGE), strict=True))


def _draw_curve(result: Result) -> Figure:
    figure, axes = plots.new()
    for queries, colour in zip((1, 2, 3, 4), (plots.GREY, plots.SKY, plots.BLUE, plots.ORANGE), strict=True):
        rows = result.rows("curve", queries=queries, threshold=31)
        label = f"{queries} an upload"
        axes.plot([row["entries"] for row in rows], [row["recall"] for row in rows], color=colour, label=label)
    for name, views in SETS.items():
        recall = result.headline[f"{name}_mean_recall_at_31"]
        axes.plot(len(views), recall, "o", color=_COLOURS[name], clip_on=False)
        axes.annotate(name, (len(views), recall), (4, -10), textcoords="offset points")
    axes.set(ylim=(0, 1), xlabel="entries a photo", ylabel="mean recall over nine edits at 31")
    axes.legend(loc="lower right")
    return figure


def _draw_edits(result: Result) -> Figure:
    edits = result.values("recall", "edit")
    figure, axes = plots.new(size=(6.4, 0.3 * len(edits) + 1.2))
    for name, marker in zip(SETS, "osD", strict=True):
        rows = result.rows("recall", variants=name, threshold=31)
        places = [-edits.index(row["edit"]) for row in rows]
        axes.plot([row["recall"] for row in rows], places, marker, color=_COLOURS[name], label=name, clip_on=False)
    axes.set(xlim=(-0.02, 1.02), xlabel="share of copies found at 31")
    axes.set_yticks([-i for i in range(len(edits))], edits)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    return figure


def _draw_unrelated(result: Result) -> Figure:
    figure, axes = plots.new()
    for name in SETS:
        rows = result.rows("unrelated", variants=name)
        pairs = np.cumsum([row["pairs"] for row in rows])
        axes.step([row["distance"] for row in rows], pairs / pairs[-1], color=_COLOURS[name], label=name, where="post")
    axes.axvline(31, color=plots.BLACK, linestyle="--", linewidth=1)
    axes.set(yscale="log", xlim=(0, 140), xlabel="distance", ylabel="share of unrelated pairs as near or nearer")
    axes.legend(loc="upper left")
    return figure

"""Which share of a copy's frames matches a video's entries, which of an unrelated video's, and where to draw the line?

Videos are filmed from photos (`experiments.clips`), no photo in two of them; each is enrolled, copied with every edit,
and asked for. Frames are taken in two ways: by the clock, one a second from the beginning, and where the picture stands
still, as `hashing.video` takes them. Unrelated shares are those of every unedited video among the others' entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from experiments import plots
from experiments.clips import EDITS, encode, film
from experiments.fingerprints import open_photo
from experiments.lab import Lab
from experiments.results import Findings, Result
from hashing.decoding import Still, open_video
from hashing.fingerprint import hamming, rule_for
from hashing.variants import Variants, fingerprints_to_query
from hashing.video import APART_ENTRIES, APART_QUERY, REPEAT, VIDEO_RULE, chosen, frame_to_enroll

QUESTION = "Which share of a copy's frames matches a video's entries, which of an unrelated video's?"

WAYS = ("clock", "still")
SETS = (("none", "none"), ("none", "standard"), ("standard", "standard"))  # of variants: enrolled, asked for
AS_IT_IS = "as it is"
_FAR = 256

Found = list[list[bytes]]  # one list of fingerprints a frame, its own first


@dataclass(frozen=True)
class Config:
    """photos_a_video: also its number of shots. films: of each group of photos. seconds: of a shot on average.
    repeats_tried: distances up to which neighbouring frames may count as the same.
    """

    seed: int = 1
    photos_a_video: int = 3
    films: int = 2
    seconds: float = 5
    edits: tuple[str, ...] = tuple(EDITS)
    repeats_tried: tuple[int, ...] = (0, 4, 8, 12, 16, 24)
    shares_tried: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


QUICK = Config(films=1, seconds=3, edits=(AS_IT_IS, "without the first 1.77 s", "bars above and below"))


@dataclass(frozen=True)
class Filmed:
    """One video. photos: which group it shows. entries: by (way, set of variants). queries: by (way, set of variants,
    edit). seconds: its length.
    """

    photos: int
    seconds: float
    entries: dict[tuple[str, str], Found]
    queries: dict[tuple[str, str, str], Found]


def run(config: Config, lab: Lab) -> Findings:
    """Film, copy, take frames, compare."""
    paths = list(lab.photos.originals.values())
    size = config.photos_a_video
    groups = [paths[i : i + size] for i in range(0, len(paths) - size + 1, size)]
    tasks = [(number, group, take, config) for number, group in enumerate(groups) for take in range(config.films)]
    videos = lab.map(_filmed, tasks, "filming and hashing")
    findings = Findings()
    _copies(findings, config, videos)
    _rules(findings, config, videos)
    _repeats(findings, config, videos)
    findings.headline["videos"] = len(videos)
    findings.headline["entries_a_minute"] = 60 * float(
        np.mean([len(distinct(video.entries["still", "none"], REPEAT)) / video.seconds for video in videos])
    )
    findings.headline["queried_frames_a_minute"] = 60 * float(
        np.mean([len(distinct(video.queries["still", "none", AS_IT_IS], REPEAT)) / video.seconds for video in videos])
    )
    return findings


def _filmed(task: tuple[int, list[Path], int, Config]) -> Filmed:
    number, paths, take, config = task
    rng = np.random.default_rng([config.seed, number, take])
    original = encode(film([open_photo(path) for path in paths], rng, config.seconds))
    entries: dict[tuple[str, str], Found] = {}
    queries: dict[tuple[str, str, str], Found] = {}
    stills = _stills(original)
    for way in WAYS:
        taken = list(_ways(way, stills, APART_ENTRIES))
        for name in ("none", "standard"):
            entries[way, name] = _found(taken, partial(frame_to_enroll, variants=name))
    for edit in config.edits:
        copy = _stills(EDITS[edit](original))
        for way in WAYS:
            taken = list(_ways(way, copy, APART_QUERY))
            for name in ("none", "standard"):
                queries[way, name, edit] = _found(taken, partial(fingerprints_to_query, variants=name))
    return Filmed(number, stills[-1].seconds, entries, queries)


def _stills(body: bytes) -> list[Still]:
    with open_video(body) as clip:
        return list(clip.stills)


def _ways(way: str, stills: list[Still], apart: float) -> Iterator[Still]:
    if way == "still":
        yield from chosen(stills, apart)
        return
    due = 0.0
    for still in stills:
        if still.seconds >= due - 1e-6:
            yield still
            due += 1.0


def _found(stills: list[Still], views: Callable[[Image.Image], Variants]) -> Found:
    found = [[each.data for each in views(still.picture()).fingerprints] for still in stills]
    return [frame for frame in found if frame]


def distinct(frames: Found, repeat: int) -> Found:
    """Without frames that are nearly the same as the one kept before, as `hashing.video` leaves them out."""
    kept: Found = []
    for frame in frames:
        if not kept or _distances([frame[:1]], [kept[-1][:1]])[0] > repeat:
            kept.append(frame)
    return kept


def _distances(queries: Found, entries: Found) -> NDArray[np.int64]:
    """Of each queried frame to the nearest entry, (frames,)."""
    if not entries:
        return np.full(len(queries), _FAR)
    bank = _rows([data for frame in entries for data in frame])
    return np.array([hamming(_rows(frame), bank).min() for frame in queries], dtype=np.int64)


def _rows(hashes: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(len(hashes), -1)


def _share(queries: Found, entries: Found, repeat: int = REPEAT) -> float:
    """The share of the frames, repeats left out, that match."""
    queries, entries = distinct(queries, repeat), distinct(entries, repeat)
    return float((_distances(queries, entries) <= rule_for("pdq").threshold).mean()) if queries else 0.0


def _copies(findings: Findings, config: Config, videos: list[Filmed]) -> None:
    for edit in config.edits:
        for way in WAYS:
            for enrolled, asked in SETS:
                shares = np.array(
                    [_share(video.queries[way, asked, edit], video.entries[way, enrolled]) for video in videos]
                )
                row = {"edit": edit, "frames": way, "enrolled": enrolled, "asked": asked, "copies": len(shares)}
                row |= {"mean_share": shares.mean(), "least_share": shares.min()}
                row["found"] = float((shares >= VIDEO_RULE.share).mean())
                findings.tables.setdefault("copies", []).append(row)
    for way in WAYS:
        for names in SETS:
            rows = [
                row
                for row in findings.tables["copies"]
                if row["frames"] == way and (row["enrolled"], row["asked"]) == names
            ]
            findings.headline[f"{way}_{names[0]}_{names[1]}_found"] = float(np.mean([row["found"] for row in rows]))


def _rules(findings: Findings, config: Config, videos: list[Filmed]) -> None:
    """What each share would find, of copies by edit and of unrelated videos."""
    smallest = _FAR
    shares = []
    for video in videos:
        asked = video.queries["still", "standard", AS_IT_IS]
        for other in videos:
            if other.photos != video.photos:
                distances = _distances(distinct(asked, REPEAT), distinct(other.entries["still", "none"], REPEAT))
                smallest = min(smallest, int(distances.min(initial=_FAR)))
                shares.append(float((distances <= rule_for("pdq").threshold).mean()) if len(distances) else 0.0)
    copies = [
        _share(video.queries["still", "standard", edit], video.entries["still", "none"])
        for edit in config.edits
        for video in videos
    ]
    for share in config.shares_tried:
        row = {"share": share, "copies_found": float((np.array(copies) >= share).mean())}
        row["unrelated_found"] = float((np.array(shares) >= share).mean())
        findings.tables.setdefault("rules", []).append(row)
    findings.headline |= {"unrelated_pairs": len(shares), "unrelated_greatest_share": max(shares, default=0.0)}
    findings.headline["unrelated_smallest_distance"] = smallest


def _repeats(findings: Findings, config: Config, videos: list[Filmed]) -> None:
    """What leaving out near neighbours saves, and what it costs."""
    for repeat in config.repeats_tried:
        entries = [len(distinct(video.entries["still", "none"], repeat)) / video.seconds for video in videos]
        shares = [
            _share(video.queries["still", "none", edit], video.entries["still", "none"], repeat)
            for edit in config.edits
            for video in videos
        ]
        row = {"repeat": repeat, "entries_a_minute": 60 * float(np.mean(entries)), "mean_share": float(np.mean(shares))}
        findings.tables.setdefault("repeats", []).append(row)


def figures(result: Result) -> dict[str, Figure]:
    """copies (shares by edit, by the clock and where the picture stands still)."""
    edits = result.values("copies", "edit")
    figure, axes = plots.new(size=(6.4, 0.3 * len(edits) + 1.2))
    looks = {
        ("clock", "none", "none"): (plots.GREY, "x", "one a second, by the clock"),
        ("still", "none", "none"): (plots.BLUE, "o", "where it stands still"),
        ("still", "none", "standard"): (plots.ORANGE, "D", "asked for without bars too"),
        ("still", "standard", "standard"): (plots.GREEN, "^", "standard variants enrolled"),
    }
    for (way, enrolled, asked), (colour, marker, label) in looks.items():
        rows = result.rows("copies", frames=way, enrolled=enrolled, asked=asked)
        places = [-edits.index(row["edit"]) for row in rows]
        axes.plot([row["mean_share"] for row in rows], places, marker, color=colour, label=label, clip_on=False)
    axes.axvline(VIDEO_RULE.share, color=plots.BLACK, linestyle="--", linewidth=1)
    axes.set(xlim=(-0.02, 1.02), xlabel="share of a copy's frames that match, on average")
    axes.set_yticks([-i for i in range(len(edits))], edits)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return {"copies": figure}

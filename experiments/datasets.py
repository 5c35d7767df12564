"""Photos to experiment on: one contract, and a loader for each layout that researchers have on disk.

`open_dataset(None)` is the default everywhere: the photos that come inside scikit-image's wheel. Nothing is
downloaded. Other layouts are recognised by what is in the folder:

| layout | recognised by | ground truth |
|---|---|---|
| folder | images, at any depth | none: queries are edits of the originals |
| Copydays | `original/` beside `strong/`, `crops/N/` or `jpegqual/N/` | 2001**07**.jpg is a copy of 2001**00**.jpg |
| DISC21 | `references/` and `queries/` (or `*_images/`) | `*ground_truth*.csv`: query_id,reference_id |
| manifest | the path is a CSV file: role,id,path,original | the `original` column of rows with role "query" |
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from experiments import ExperimentError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

# Photographs (no diagrams, patterns or page scans) among what scikit-image's wheel carries.
BUNDLED = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip


class DatasetError(ExperimentError):
    """A dataset's files are not laid out as its loader expects; says what is missing."""


@dataclass(frozen=True)
class Dataset:
    """Photos and what is known about them.

    originals, queries: id -> file. A dataset without queries is queried with edits of its originals.
    pairs: (query id, original id) of every true match. licence: in words. may_show: whether figures may contain
    its pixels; otherwise only aggregate numbers leave a run.

    Raises DatasetError if a pair names an id that does not exist.
    """

    name: str
    originals: dict[str, Path]
    queries: dict[str, Path] = field(default_factory=dict)
    pairs: frozenset[tuple[str, str]] = frozenset()
    licence: str = "unknown: only aggregate numbers leave this machine"
    may_show: bool = False

    def __post_init__(self) -> None:
        if not self.originals:
            raise DatasetError(f"{self.name}: no images found; expected files ending in {', '.join(sorted(SUFFIXES))}")
        for query, original in self.pairs:
            if query not in self.queries or original not in self.originals:
                raise DatasetError(f"{self.name}: the pair ({query}, {original}) names an image that is not there")


def open_dataset(path: Path | None) -> Dataset:
    """The dataset at `path`, its layout recognised as in the module's table. Raises DatasetError."""
    if path is None:
        return bundled()
    if path.is_file() and path.suffix.lower() == ".csv":
        return manifest(path)
    if not path.is_dir():
        raise DatasetError(f"{str(path)!r} is neither a folder nor a CSV file; give --photos a folder of images")
    if (path / "original").is_dir() and any((path / name).is_dir() for name in ("strong", "crops", "jpegqual")):
        return copydays(path)
    if _subfolder(path, "references") and _subfolder(path, "queries"):
        return disc21(path)
    return folder(path)


def bundled() -> Dataset:
    """The photographs inside scikit-image's wheel."""
    import skimage

    home = Path(skimage.__file__).parent / "data"
    return Dataset(
        name="scikit-image",
        originals={Path(name).stem: home / name for name in BUNDLED if (home / name).is_file()},
        licence="CC0, public domain or no known restrictions; each photo's source is in skimage.data's documentation",
        may_show=True,
    )


def folder(path: Path) -> Dataset:
    """Every image under `path`, at any depth. Its name stays out of results."""
    return Dataset("a folder", {str(file.relative_to(path)): file for file in _images(path)})


def copydays(path: Path) -> Dataset:
    """INRIA Copydays: the last two digits of a file's number count the copies of one original, which has 00.

    Source: Douze et al., "Evaluation of GIST descriptors for web-scale image search", CIVR 2009.
    """
    originals = {file.stem: file for file in _images(path / "original")}
    queries = {
        str(file.relative_to(path)): file for file in _images(path) if file.relative_to(path).parts[0] != "original"
    }
    pairs = frozenset((query, f"{file.stem[:-2]}00") for query, file in queries.items())
    return Dataset("Copydays", originals, queries, pairs)


def disc21(path: Path) -> Dataset:
    """The Image Similarity Challenge's layout. Queries without a reference are distractors; the CSV files come
    with and without a header line.

    Source: Douze et al., "The 2021 Image Similarity Dataset and Challenge", 2021.
    """
    references, queries = _subfolder(path, "references"), _subfolder(path, "queries")
    truth = sorted(path.rglob("*ground*truth*.csv"))
    if not (references and queries and truth):
        raise DatasetError("DISC21 needs references/, queries/ and a *ground_truth*.csv with query_id,reference_id")
    pairs = {
        (row[0], row[1])
        for file in truth
        for row in csv.reader(file.read_text(encoding="utf-8-sig").splitlines())
        if len(row) == 2 and row[1] and row != ["query_id", "reference_id"]
    }
    return Dataset(
        "DISC21",
        {file.stem: file for file in _images(references)},
        {file.stem: file for file in _images(queries)},
        frozenset(pairs),
    )


def manifest(path: Path) -> Dataset:
    """A CSV file with the columns role ("original" or "query"), id, path (relative to the file) and original
    (the id that a query is a copy of, or empty).
    """
    originals: dict[str, Path] = {}
    queries: dict[str, Path] = {}
    pairs = set()
    for number, row in enumerate(_rows(path, ("role", "id", "path", "original")), start=2):
        roles = {"original": originals, "query": queries}
        if row["role"] not in roles:
            raise DatasetError(f"{path.name} line {number}: role is {row['role']!r}; expected original or query")
        if row["id"] in roles[row["role"]]:
            raise DatasetError(f"{path.name} line {number}: the {row['role']} {row['id']!r} is there twice")
        roles[row["role"]][row["id"]] = path.parent / row["path"]
        if row["role"] == "query" and row["original"]:
            pairs.add((row["id"], row["original"]))
    return Dataset("a manifest", originals, queries, frozenset(pairs))


def _images(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def _subfolder(path: Path, name: str) -> Path | None:
    singular = {"references": "reference", "queries": "query"}[name]
    return next((path / n for n in (name, f"{singular}_images", singular) if (path / n).is_dir()), None)


def _rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := set(columns) - set(reader.fieldnames or ()):
            raise DatasetError(f"{path.name} lacks the columns {', '.join(sorted(missing))}")
        return [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]

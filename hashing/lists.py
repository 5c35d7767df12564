"""Fingerprint lists in and out, streaming, in the three forms that ThreatExchange's tools write and read.

| form | a row |
|---|---|
| hex | `f8f8...9b22` or `f8f8...9b22,100,photo.jpg`: the hash, its quality, anything else, parted by commas or blanks \
(pdq-photo-hasher, hashtool256); `pdq f8f8...9b22` (threatexchange hash); `#` starts a comment |
| csv | a header line that names the columns: one of COLUMNS, and `quality` if there is one; a row is one line |
| jsonl | one JSON object a line, with the same names |

A row without quality has 100: exchanged lists carry none, being filtered before. Files are UTF-8, with or without a
byte-order mark. A malformed row is reported by line and reason, never by its content, and read past.

Not protected: a list holds raw fingerprints. What is written here is readable by its owner only.
"""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hashing.fingerprint import RULES, Fingerprint, FingerprintError, HashingError, rule_for

COLUMNS = ("hash", "pdq", "pdq_hash", "indicator", "value")
MAX_LINE = 1 << 16  # characters
_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

_Path = str | os.PathLike[str]


class ListError(HashingError, ValueError):
    """A list, or a row of it, is not as its form has it. line: counted from 1, or None for the file as a whole."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason if line is None else f"line {line}: {reason}")
        self.reason, self.line = reason, line


@dataclass(frozen=True, slots=True)
class Row:
    """A fingerprint and the line that it stood on."""

    line: int
    fingerprint: Fingerprint


def read_list(
    path: _Path, algorithm: str = "pdq", form: str | None = None, errors: list[ListError] | None = None
) -> Iterator[Fingerprint]:
    """Fingerprints of a list, one at a time; `form` is hex, csv or jsonl, by default as the file's name ends.

    Malformed rows go into `errors` if that is given; else the first one is raised. Raises ListError, also for a file
    that cannot be read or has no column to read, and FingerprintError for an unknown algorithm.
    """
    for row in read_rows(path, algorithm, form, errors):
        yield row.fingerprint


def read_rows(
    path: _Path, algorithm: str = "pdq", form: str | None = None, errors: list[ListError] | None = None
) -> Iterator[Row]:
    """As `read_list`, with each fingerprint's line."""
    rule_for(algorithm)
    rows = _READERS[_form(path, form)]
    try:
        # Bytes that are no UTF-8 become characters that no hash has: an error of their row, not of the file.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            for line, fields in rows(file, algorithm):
                try:
                    if isinstance(fields, ListError):
                        raise fields
                    yield Row(line, _fingerprint(*fields, algorithm, line))
                except ListError as error:
                    if errors is None:
                        raise
                    errors.append(error)
    except OSError as error:
        raise ListError(f"{path}: {error.strerror or error}") from error


def write_list(path: _Path, fingerprints: Iterable[Fingerprint], form: str | None = None) -> int:
    """Write a list, whole or not at all; returns the number of rows. Raises ListError, also for mixed algorithms."""
    kind, target, count = _form(path, form), Path(path), 0
    algorithm = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    except OSError as error:
        raise ListError(f"{path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write("hash,quality\n" if kind == "csv" else "")
            for count, fingerprint in enumerate(fingerprints, start=1):
                if fingerprint.algorithm != (algorithm := algorithm or fingerprint.algorithm):
                    raise ListError(f"a list is of one algorithm; row {count} is {fingerprint.algorithm}", count)
                file.write(_LINES[kind](fingerprint))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise ListError(f"{path}: {error.strerror or error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return count


_LINES: dict[str, Callable[[Fingerprint], str]] = {
    "hex": lambda fingerprint: f"{fingerprint.hex},{fingerprint.quality}\n",
    "csv": lambda fingerprint: f"{fingerprint.hex},{fingerprint.quality}\n",
    "jsonl": lambda fingerprint: json.dumps({"hash": fingerprint.hex, "quality": fingerprint.quality}) + "\n",
}

# What a reader finds in a row: the hash and the quality as they stand there, or what is wrong with the row.
_Fields = tuple[object, object] | ListError


def _fingerprint(text: object, quality: object, algorithm: str, line: int) -> Fingerprint:
    if quality is None or quality == "":
        quality = 100
    elif isinstance(quality, str):
        quality = int(quality) if quality.isascii() and quality.isdigit() and len(quality) <= 3 else -1
    if type(quality) is not int or not 0 <= quality <= 100:
        raise ListError("quality is not a whole number from 0 to 100", line)
    try:
        return Fingerprint.from_hex(text, algorithm, quality)  # type: ignore[arg-type]  # it checks the type itself
    except FingerprintError as error:
        raise ListError(str(error), line) from None


def _hex_rows(file: TextIO, algorithm: str) -> Iterator[tuple[int, _Fields]]:
    for number, line in _lines(file):
        if isinstance(line, ListError):
            yield number, line
            continue
        words = line.partition("#")[0].replace(",", " ").split()
        if words and words[0] in RULES:
            named = words.pop(0)
            if named != algorithm:
                yield number, ListError(f"the row is {named}; expected {algorithm}", number)
                continue
        if words:
            yield number, (words[0], words[1] if len(words) > 1 else None)


def _csv_rows(file: TextIO, algorithm: str) -> Iterator[tuple[int, _Fields]]:
    hash_column = quality_column = None
    for number, line in _lines(file):
        if isinstance(line, ListError):
            yield number, line
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], strict=True), [])]
        except csv.Error as error:
            yield number, ListError(f"not CSV: {error}", number)
            continue
        if not any(cells):
            continue
        if hash_column is None:
            names = [cell.lower() for cell in cells]
            hash_column = next((names.index(name) for name in COLUMNS if name in names), None)
            quality_column = names.index("quality") if "quality" in names else None
            if hash_column is None:
                raise ListError(f"the header names no column of {', '.join(COLUMNS)}", number)
        elif len(cells) <= max(hash_column, quality_column or 0):
            yield number, ListError("the row has fewer columns than the header", number)
        else:
            yield number, (cells[hash_column], None if quality_column is None else cells[quality_column])


def _json_rows(file: TextIO, algorithm: str) -> Iterator[tuple[int, _Fields]]:
    for number, line in _lines(file):
        if isinstance(line, ListError):
            yield number, line
            continue
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        name = next((name for name in COLUMNS if name in row), None) if isinstance(row, dict) else None
        if name is None:
            yield number, ListError(f"not a JSON object with one of {', '.join(COLUMNS)}", number)
        else:
            yield number, (row[name], row.get("quality"))


def _lines(file: TextIO) -> Iterator[tuple[int, str | ListError]]:
    """Numbered lines, of which none is held in memory beyond MAX_LINE."""
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) < MAX_LINE or line.endswith("\n"):
            yield number, line.rstrip("\r\n")
            continue
        while line and not line.endswith("\n"):
            line = file.readline(MAX_LINE)
        yield number, ListError(f"longer than {MAX_LINE} characters", number)


def _form(path: _Path, form: str | None) -> str:
    kind = form or _SUFFIXES.get(Path(path).suffix.lower(), "hex")
    if kind not in _READERS:
        raise ListError(f"form is {form!r}; expected one of {', '.join(_READERS)}")
    return kind


_READERS: dict[str, Callable[[TextIO, str], Iterator[tuple[int, _Fields]]]] = {
    "hex": _hex_rows,
    "csv": _csv_rows,
    "jsonl": _json_rows,
}

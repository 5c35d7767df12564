"""Result files: one versioned schema, validated when written and when read, with the provenance of every number.

`DIR/NAME.json` holds a `Result`; `DIR/NAME.TABLE.csv` holds each of its tables, for pandas, polars or a
spreadsheet. Provenance names the commit, the package versions and the machine's kind; never a host name, a
user or a path.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from experiments import ExperimentError

SCHEMA: Literal[1] = 1
PACKAGES = (
    "av", "cryptography", "faiss-cpu", "imagehash", "joblib", "numba", "numpy", "phe", "pillow", "rbcl", "scikit-image",
    "tenseal",
)  # fmt: skip

Scalar = str | int | float | bool | None
Row = dict[str, Any]  # of a table: column -> Scalar


class ResultError(ExperimentError):
    """A result file, or what is to become one, does not keep the schema."""


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The kind of machine. memory_gib: installed, rounded."""

    cpu: str
    cores: int
    memory_gib: int
    system: str
    python: str


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of one experiment.

    command: what makes this file again. dirty: the working tree differed from `commit`. repeats: how often each
    timed step ran. headline: the few numbers that documents quote. tables: tidy tables, each a list of rows with
    the same columns, named in the snake case of a data frame, units as a suffix. notes: where something stands in for
    the real thing, and what.
    """

    schema: Literal[1] = SCHEMA
    name: str
    question: str
    command: str
    quick: bool
    seed: int
    repeats: int
    parameters: dict[str, Scalar | list[Scalar]]
    commit: str
    dirty: bool
    versions: dict[str, str]
    machine: Machine
    headline: dict[str, Scalar]
    tables: dict[str, list[dict[str, Scalar]]]
    notes: list[str] = []

    def rows(self, table: str, **equal: Scalar) -> list[Row]:
        """The rows of a table whose columns have the given values."""
        return [row for row in self.tables[table] if all(row[key] == value for key, value in equal.items())]

    def values(self, table: str, column: str) -> list[Any]:
        """The different values of a column, in the order in which they come."""
        return list(dict.fromkeys(row[column] for row in self.tables[table]))


@dataclass
class Findings:
    """What an experiment's `run` returns: the parts of a `Result` that it measures."""

    headline: Row = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def quartiles(samples: Sequence[float] | NDArray, name: str) -> Row:
    """`name` (the median), `name_q1` and `name_q3`: columns for one row of a table."""
    q1, median, q3 = np.percentile(samples, (25, 50, 75))
    return {name: float(median), f"{name}_q1": float(q1), f"{name}_q3": float(q3)}


def make(
    name: str, question: str, command: str, quick: bool, config: Mapping[str, object], findings: Findings
) -> Result:
    """A validated `Result` with this machine's provenance. Raises ResultError."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
    commit, dirty = _commit()
    fields = {
        "name": name,
        "question": question,
        "command": command,
        "quick": quick,
        "seed": plain.pop("seed", 0),
        "repeats": plain.pop("repeats", 1),
        "parameters": plain,
        "commit": commit,
        "dirty": dirty,
        "versions": _versions(),
        "machine": machine(),
        "headline": _tidy(findings.headline),
        "tables": {table: [_tidy(row) for row in rows] for table, rows in findings.tables.items()},
        "notes": findings.notes,
    }
    try:
        return _checked(msgspec.convert(msgspec.to_builtins(fields), Result))
    except (msgspec.ValidationError, TypeError) as error:
        raise ResultError(f"{name}: what the experiment returned is not a result: {error}") from None


def save(result: Result, folder: Path) -> Path:
    """Write the JSON file and a CSV file a table, each whole or not at all; returns the JSON file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, rows in result.tables.items():
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(folder / f"{result.name}.{table}.csv", text.getvalue().encode())
    path = folder / f"{result.name}.json"
    write_whole(path, encode(result))
    return path


def encode(result: Result) -> bytes:
    """The result as JSON, one table row a line, so that two runs can be compared with diff."""
    fields = msgspec.to_builtins(result)
    tables = fields.pop("tables")
    head = msgspec.json.format(msgspec.json.encode(fields), indent=1).decode()
    blocks = []
    for name, rows in tables.items():
        lines = ",\n".join("   " + msgspec.json.encode(row).decode() for row in rows)
        blocks.append(f"  {msgspec.json.encode(name).decode()}: [\n{lines}\n  ]")
    return (head[:-2] + ',\n "tables": {\n' + ",\n".join(blocks) + "\n }\n}\n").encode()


def load(path: Path) -> Result:
    """The result in a file. Raises ResultError."""
    try:
        return _checked(msgspec.json.decode(path.read_bytes(), type=Result))
    except (OSError, msgspec.DecodeError) as error:
        raise ResultError(f"{path.name} is no result file of schema {SCHEMA}: {error}") from None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def machine() -> Machine:
    """The kind of machine that this process runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_gib=round(memory / 2**30),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )


def _checked(result: Result) -> Result:
    for name, rows in result.tables.items():
        for number, row in enumerate(rows):
            if row.keys() != rows[0].keys():
                raise ResultError(f"{result.name}: row {number} of table {name!r} has other columns than row 0")
    return result


def _tidy(row: Mapping[str, object]) -> dict[str, object]:
    """Plain Python values, floats to six significant digits: more is noise, and breaks comparisons of two runs."""
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()}
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in plain.items()}


def _cpu_model() -> str:
    try:
        lines: Iterable[str] = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _commit() -> tuple[str, bool]:
    """The commit of the code that runs, and whether it was changed since; result files don't count as a change."""
    home = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", home, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "*.py", "pyproject.toml")
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True

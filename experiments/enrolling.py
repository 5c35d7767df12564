"""How long does a bank take to enrol by the real path, and in how much memory is it enrolled and scanned?

Every role in one process, nothing left out: clients seal, members check every entry, blocks are encrypted, audited and
signed, the platform installs them. Half of the batch that is asked then are entries, half are not.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.attacks.common import random_hashes
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from protocols import create

QUESTION = "How long does a bank take to enrol, and in how much memory is it enrolled and scanned?"


@dataclass(frozen=True)
class Config:
    """memory: bytes that scanning may take beyond the blocks. notes: rows of progress to keep."""

    seed: int = 7
    entries: int = 1_000_000
    batch: int = 64
    workers: int = 2
    memory: int = 4 << 30
    notes: int = 50


QUICK = Config(entries=2_000, batch=8, memory=1 << 30)


def run(config: Config, lab: Lab) -> Findings:
    """Enrol, then match one batch. Memory is the most that the process ever held, so run it by itself."""
    rng = np.random.default_rng(config.seed)
    bank = random_hashes(rng, config.entries)
    queries = np.concatenate([bank[: config.batch // 2], random_hashes(rng, config.batch - config.batch // 2)])
    begun, rows = time.perf_counter(), []

    def note(stage: str, done: int, total: int) -> None:
        share = -(-total // config.notes)
        if done % share == 0 or done == total:
            row: Row = {"stage": stage, "done": done, "of": total}
            rows.append(row | {"seconds": time.perf_counter() - begun, "peak_memory_gib": _peak_gib()})

    scan = create("scan", batch=config.batch, workers=config.workers, memory=config.memory, progress=note)
    begun = time.perf_counter()
    scan.enroll([str(row) for row in range(config.entries)], bank)
    enrolled, enrolled_gib = time.perf_counter() - begun, _peak_gib()
    found = {(match.query, match.case) for match in scan.match(queries)}
    answered = time.perf_counter() - begun - enrolled
    planted = {(row, str(row)) for row in range(config.batch // 2)}
    headline: Row = {
        "entries": config.entries,
        "seconds from call to published bank": enrolled,
        "ms an entry": enrolled / config.entries * 1e3,
        "peak memory while enrolling, GiB": enrolled_gib,
        "seconds for a batch": answered,
        "peak memory with scanning, GiB": _peak_gib(),
        "planted queries": len(planted),
        "planted queries found": len(found & planted),
        "other matches": len(found - planted),
    }
    return Findings(headline=headline, tables={"progress": rows})


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def figures(result: Result) -> dict[str, Figure]:
    """progress: what is done, and the memory it took, against time."""
    figure, axes = plots.new(size=(6.4, 3.2))
    stages = list(dict.fromkeys(result.values("progress", "stage")))
    for stage, colour in zip(stages, (plots.BLUE, plots.ORANGE, plots.GREEN, plots.PINK, plots.SKY), strict=False):
        rows = result.rows("progress", stage=stage)
        axes.plot(
            [row["seconds"] for row in rows], [row["done"] / row["of"] for row in rows], color=colour, label=stage
        )
    axes.set_xlabel("seconds since the call")
    axes.set_ylabel("share that is done")
    axes.legend()
    return {"progress": figure}

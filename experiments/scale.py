"""What would a large platform need? A cost model fitted on the measured grid, checked on a point it has not seen.

CPU time of matching Q queries against N entries is a + b*N + c*Q + d*N*Q, all coefficients non-negative (N in whole
blocks), fitted to relative errors. A bank that is compared entry by entry is dominated by d, an index by c. Traffic
and memory follow from the measured bytes. The marked point is the public target of ThreatExchange's
hasher-matcher-actioner: 4,000 look-ups a second over 10^7 hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import nnls

from experiments import plots
from experiments.cost import INDEXES
from experiments.lab import REPOSITORY_RESULTS, Lab
from experiments.results import Findings, Result, Row, load

QUESTION = "What would a large platform need?"
TARGET_ENTRIES, TARGET_RATE = 10_000_000, 4_000

TERMS = 4  # of the model: a, b, c, d

# Slots that a protocol fills before it opens another block: a block costs the same however full it is.
BLOCK = {"bfv": 2048, "scan": 20_480}
BATCH = {"scan": 64}  # results that a protocol pads a batch to


@dataclass(frozen=True)
class Config:
    """entries: smallest bank that the fit looks at; below, overheads that no platform meets dominate. batch: queries
    that a platform gathers. held_back_batch: the batch of the point that the fit does not see.
    """

    smallest: int = 10_000
    batch: int = 256
    held_back_batch: int = 64
    rates: tuple[int, ...] = (1, 100, 4_000, 100_000)
    banks: tuple[int, ...] = (1_000_000, 10_000_000, 100_000_000)


QUICK = Config(smallest=1, batch=8, held_back_batch=8)


def run(config: Config, lab: Lab) -> Findings:
    """Fit every method of the cost experiment's result, the run's own if there is one, else the repository's."""
    own = (lab.results / "cost.json").is_file()
    cost = load((lab.results if own else REPOSITORY_RESULTS) / "cost.json")
    findings = Findings(tables={"models": [], "needs": []})
    # The result is stamped with the machine that fits; what counts is the one that measured.
    findings.headline |= {
        "costs come from": "cost.json beside this result" if own else "the repository's cost.json: none beside this",
        "costs were measured on": f"{cost.machine.cores} x {cost.machine.cpu}, {cost.machine.memory_gib} GiB",
        "costs were measured at commit": cost.commit,
    }
    for name in cost.values("costs", "method"):
        rows = [row for row in cost.rows("costs", method=name) if row["entries"] >= config.smallest]
        if not rows:
            rows = cost.rows("costs", method=name)
        model = fit(name, rows)
        held = [row for row in rows if row["batch"] == config.held_back_batch]
        entry: Row = dict(zip(("a_s", "b_s_an_entry", "c_s_a_query", "d_s_a_comparison"), model, strict=True))
        entry = {"method": name, "points": len(rows)} | entry
        entry |= {"held_back_entries": None, "held_back_batch": None, "held_back_error": None}
        if len(rows) > TERMS + 1 and held:
            point = held[len(held) // 2]
            others = [row for row in rows if row is not point]
            guess = predict(name, fit(name, others), point["entries"], point["batch"])
            entry |= {"held_back_entries": point["entries"], "held_back_batch": point["batch"]}
            entry |= {"held_back_error": guess / _seconds(point) - 1}
        findings.tables["models"].append(entry)
        largest = max(rows, key=lambda row: (row["entries"], row["batch"]))
        for entries in config.banks:
            for rate in config.rates:
                findings.tables["needs"].append(_need(config, name, model, largest, entries, rate))
    for row in findings.tables["needs"]:
        if (row["entries"], row["uploads_a_second"]) == (TARGET_ENTRIES, TARGET_RATE):
            findings.headline[f"cores at the target: {row['method']}"] = row["cores"]
    errors = {
        row["method"]: row["held_back_error"] for row in findings.tables["models"] if row["held_back_error"] is not None
    }
    findings.headline |= {f"held-back error: {name}": error for name, error in errors.items() if "," not in name}
    return findings


def fit(name: str, rows: Sequence[Row]) -> NDArray[np.float64]:
    """(a, b, c, d) seconds, the best relative fit of the rows' CPU times; for an index c only, from few rows d only."""
    if name in INDEXES:
        return np.array([0, 0, np.median([_seconds(row) / row["batch"] for row in rows]), 0])
    if len(rows) <= TERMS:
        return np.array([0, 0, 0, np.median([row["cpu_ns_a_comparison"] / 1e9 for row in rows])])
    terms = np.array([_terms(name, row["entries"], row["batch"]) for row in rows])
    seconds = np.array([_seconds(row) for row in rows])
    scale = np.abs(terms).max(axis=0)
    answer, _ = nnls(terms / scale / seconds[:, None], np.ones(len(rows)))
    return answer / scale


def predict(name: str, model: NDArray[np.float64], entries: float, batch: float) -> float:
    """CPU seconds of a batch, all roles."""
    return float(_terms(name, entries, batch) @ model)


def _terms(name: str, entries: float, batch: float) -> NDArray[np.float64]:
    block = BLOCK.get(name, 1)
    slots = ceil(entries / block) * block
    asked = ceil(batch / BATCH.get(name, 1)) * BATCH.get(name, 1)
    return np.array([1.0, slots, asked, slots * asked])


def _seconds(row: Row) -> float:
    return float(row["cpu_ns_a_comparison"] * row["entries"] * row["batch"] / 1e9)


def _need(config: Config, name: str, model: NDArray[np.float64], measured: Row, entries: int, rate: int) -> Row:
    cores = predict(name, model, entries, config.batch) / config.batch * rate
    sent = measured["bytes_a_comparison"] * (measured["entries"] if name in INDEXES else entries)
    return {
        "method": name,
        "entries": entries,
        "uploads_a_second": rate,
        "cores": cores,
        "bank_gib": measured["bank_bytes_an_entry"] * entries / 2**30,
        "network_gbit_a_second": sent * rate * 8 / 1e9,
    }


def figures(result: Result) -> dict[str, Figure]:
    """cores and network at the target's rate, against the bank's size."""
    figure, axes = plots.new(1, 2, (7.6, 3.6))
    for axis, key, text in (
        (axes[0], "cores", "cores of the measured kind, all roles"),
        (axes[1], "network_gbit_a_second", "network between roles (Gbit/s)"),
    ):
        for name in result.values("needs", "method"):
            rows = result.rows("needs", method=name, uploads_a_second=TARGET_RATE)
            colour, marker = plots.look(name)
            y = [max(row[key], 1e-3) for row in rows]
            axis.plot([row["entries"] for row in rows], y, marker=marker, color=colour, label=name)
        axis.axvline(TARGET_ENTRIES, color=plots.GREY, linestyle="--", linewidth=1)
        axis.set(xscale="log", yscale="log", xlabel="entries", ylabel=text)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3, title=f"at {TARGET_RATE:,} look-ups a second")
    return {"needs": figure}

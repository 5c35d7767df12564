"""What does the encrypted scan cost, stage by stage, beside plaintext in the same run?

One thread, every role; nanoseconds are CPU time a comparison, a query against an entry that is really there. The
machine's own limits stand beside: how fast it multiplies float64 matrices (square ones, and in the shape of the scan),
copies and reads memory, makes keystream and digests, and transforms a polynomial; and what single kernels take.

Enrolling is measured on a sample, by the real path (sealing, checking, receipts). The banks that are scanned are loaded
without sealing and without the check, which change nothing about scanning: members are handed random shares as a client
would have made them, and build the blocks out of those.
"""

from __future__ import annotations

import gc
import resource
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import product as product_of

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from experiments import plots
from experiments.attacks.common import random_hashes
from experiments.kernels import time_kernels
from experiments.lab import Lab
from experiments.machine import both_processors, measure_machine, rates
from experiments.results import Findings, Result, Row, quartiles
from protocols import Match, create
from protocols.scan import Scan
from protocols.scan.entries import ENTRY_BYTES, expand, held_by, keep
from protocols.scan.product import TILE_ROWS
from protocols.scan.sampling import fresh_seed
from protocols.scan.sums import places, signed_sums

QUESTION = "What does the encrypted scan cost, stage by stage?"


@dataclass(frozen=True)
class Config:
    """entries, batches: the grid; banks above `large` are measured at the batch that documents quote only. lanes: R.
    sample: entries enrolled by the real path. processors: for the speed-up.
    """

    seed: int = 1
    entries: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    batches: tuple[int, ...] = (1, 16, 64, 256)
    large: int = 100_000
    lanes: int = 8
    repeats: int = 5
    sample: int = 2048
    processors: int = 2


METHODS = {"scan": True, "scan, no proofs": False}  # whether results are proved and blocks audited
QUICK = Config(entries=(2_000, 30_000), batches=(1, 16), lanes=1, repeats=2, sample=64)


def run(config: Config, lab: Lab) -> Findings:
    """Go over the grid; the largest bank also says what workers and a single query cost."""
    rng = np.random.default_rng(config.seed)
    findings = Findings(
        tables={
            name: [] for name in ("stages", "totals", "agreement", "wire", "enrolling", "workers", "machine", "kernels")
        }
    )
    findings.tables["machine"].append(
        measure_machine()
        | _tile_rate(config, max(config.batches))
        | rates(config.repeats)
        | both_processors(config.repeats)
    )
    findings.tables["kernels"] = time_kernels(config.lanes, _middle(config.batches), config.repeats)
    findings.tables["enrolling"].append(_enrolling(config, rng))
    grid = [
        (entries, batch)
        for entries, batch in product_of(config.entries, config.batches)
        if entries <= config.large or batch == _middle(config.batches)
    ]
    with lab.executor() as executor:
        for entries, batch in lab.progress(grid, "scanning", len(grid)):
            bank = random_hashes(rng, entries)
            queries = _queries(rng, bank, batch)
            truth = _plaintext(findings, config, bank, queries)
            for method, proofs in METHODS.items():
                scan = Scan(
                    lanes=config.lanes, batch=batch, workers=1, memory=16 << 30, proofs=proofs, executor=executor
                )
                load(scan, bank)
                point: Row = {"method": method, "entries": entries, "batch": batch}
                found = _measure(findings, config, scan, queries, point)
                agreement = {"matches": len(found), "disagreements": len(set(found) ^ set(truth))}
                findings.tables["agreement"].append(point | agreement)
                if (entries, batch) == (max(config.entries), _middle(config.batches)):
                    findings.tables["workers"] += _workers(config, scan, queries, point)
                del scan
                gc.collect()
    findings.headline = _headline(findings, config)
    return findings


def load(scan: Scan, bank: NDArray[np.uint8]) -> None:
    """Put entries into a fresh scan without sealing and without the well-formedness check. Case i is row i."""
    entries = []
    for row in bank:
        entry, seeds = secrets.token_bytes(ENTRY_BYTES), (fresh_seed(), fresh_seed())
        third = np.unpackbits(row).astype(np.uint64) - expand(1, seeds[0], scan.bits) - expand(2, seeds[1], scan.bits)
        raw = {1: seeds[0], 2: seeds[1], 3: third.tobytes()}
        for number, member in scan._members.items():
            held = b"".join(raw[share] for share in held_by(number))
            member.custody._shares[entry] = bytes(96) + keep(number, held, scan.bits)
        entries.append(entry)
    exchange = scan._exchange
    exchange._case_of |= {entry: str(row) for row, entry in enumerate(entries)}
    exchange._entries.update({entry: str(row).encode() for row, entry in enumerate(entries)})
    exchange._cases |= {str(row): [entry] for row, entry in enumerate(entries)}
    exchange._waiting += entries
    with threadpool_limits(1, user_api="blas"):
        scan._update(exchange.assign())


def _queries(rng: np.random.Generator, bank: NDArray[np.uint8], batch: int) -> NDArray[np.uint8]:
    """Random queries; one in eight is a copy of an entry."""
    queries = random_hashes(rng, batch)
    queries[::8] = bank[: len(queries[::8])]
    return queries


def _measure(findings: Findings, config: Config, scan: Scan, queries: NDArray[np.uint8], point: Row) -> list[Match]:
    """Stages, total and wire of one point; what matched."""
    entries = point["entries"]
    pairs = entries * len(queries)
    scan.match(queries)
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    totals, wall = [], []
    for _ in range(config.repeats):
        before, messages, start = dict(scan.ledger.stage_seconds), len(scan.ledger.messages), time.perf_counter()
        found = scan.match(queries)
        wall.append((time.perf_counter() - start) / pairs * 1e9)
        now = scan.ledger.stage_seconds
        parts = {key: (now[key] - before.get(key, 0.0)) / pairs * 1e9 for key in now if key[1] == "match"}
        for (role, _, stage), value in parts.items():
            spent[role, stage].append(value)
        totals.append(sum(parts.values()))
    wire: dict[str, int] = defaultdict(int)
    for message in scan.ledger.messages[messages:]:
        wire[message.kind] += message.size
    findings.tables["stages"] += [
        point | {"role": role, "stage": stage} | quartiles(values, "cpu_ns_a_comparison")
        for (role, stage), values in spent.items()
    ]
    findings.tables["wire"] += [point | {"kind": k, "bytes_a_comparison": v / pairs} for k, v in wire.items()]
    on_disk = sum(block.planes.nbytes for block in scan._checker.blocks.values())
    findings.tables["totals"].append(
        point
        | quartiles(totals, "cpu_ns_a_comparison")
        | quartiles(wall, "wall_ns_a_comparison")
        | {
            "bytes_a_comparison": sum(wire.values()) / pairs,
            "bank_bytes_an_entry": on_disk / entries,
            "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
    )
    return found


def _plaintext(findings: Findings, config: Config, bank: NDArray[np.uint8], queries: NDArray[np.uint8]) -> list[Match]:
    """The same point in the clear, by the plaintext protocol (faiss where it is installed); what matched."""
    plain = create("plaintext")
    plain.enroll([str(row) for row in range(len(bank))], bank)
    plain.match(queries)
    times, wall, pairs = [], [], len(bank) * len(queries)
    for _ in range(config.repeats):
        before, start = sum(plain.ledger.cpu_seconds.values()), time.perf_counter()
        found = plain.match(queries)
        wall.append((time.perf_counter() - start) / pairs * 1e9)
        times.append((sum(plain.ledger.cpu_seconds.values()) - before) / pairs * 1e9)
    findings.tables["totals"].append(
        {"method": "plaintext", "entries": len(bank), "batch": len(queries)}
        | quartiles(times, "cpu_ns_a_comparison")
        | quartiles(wall, "wall_ns_a_comparison")
        | {"bytes_a_comparison": 0.0, "bank_bytes_an_entry": float(bank.shape[1])}
        | {"peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    )
    return found


def _workers(config: Config, scan: Scan, queries: NDArray[np.uint8], point: Row) -> list[Row]:
    """Seconds from call to answer, by workers: for two batches, for one, and for one query, padded to a batch.

    With one batch a worker has nothing to do while the last block is scanned. Workers take turns, so that other work
    on the machine slows both down; and twice as many as other points, as what others do moves these most.
    """
    twice = np.concatenate([queries, queries])
    wall: dict[tuple[int, int], list[float]] = defaultdict(list)
    for _ in range(2 * config.repeats + 1):
        for workers, asked in product_of((1, config.processors), (len(twice), len(queries), 1)):
            scan.workers = workers
            start = time.perf_counter()
            scan.match(twice[:asked])
            wall[workers, asked].append(time.perf_counter() - start)
    return [
        point | {"workers": workers, "queries": asked} | quartiles(seconds, "wall_seconds")
        for (workers, asked), seconds in wall.items()
    ]


def _enrolling(config: Config, rng: np.random.Generator) -> Row:
    """A sample through the real path."""
    scan = Scan(lanes=config.lanes, workers=1)
    bank = random_hashes(rng, config.sample + 1)
    scan.enroll(["first"], bank[:1])
    before, messages = sum(scan.ledger.cpu_seconds.values()), len(scan.ledger.messages)
    scan.enroll([str(row) for row in range(config.sample)], bank[1:])
    spent = sum(scan.ledger.cpu_seconds.values()) - before
    sent = [message for message in scan.ledger.messages[messages:] if message.kind == "Enrollment"]
    return {
        "entries": config.sample,
        "cpu_ms_an_entry": spent / config.sample * 1e3,
        "upload_bytes_an_entry": sum(message.size for message in sent) / config.sample,
    }


def _tile_rate(config: Config, batch: int) -> Row:
    """The product alone, in the shape that the scan gives it, counted as the flops that a matrix product would take."""
    where = places(random_hashes(np.random.default_rng(config.seed), batch))
    tile, out = np.ones((256, TILE_ROWS * 64)), np.empty((batch, TILE_ROWS * 64))
    rates = []
    for _ in range(20 * config.repeats):
        start = time.perf_counter()
        for _ in range(10):
            signed_sums(tile, where, out)
        rates.append(2 * batch * 256 * tile.shape[1] * 10 / (time.perf_counter() - start) / 1e9)
    return quartiles(rates, "scan_product_gflops")


def _middle(batches: tuple[int, ...]) -> int:
    """The batch that documents quote: 64, or the largest below."""
    return max(batch for batch in batches if batch <= 64)


def _headline(findings: Findings, config: Config) -> Row:
    machine = findings.tables["machine"][0]
    headline: Row = {"product_share_of_matmul_rate": machine["scan_product_gflops"] / machine["float64_matmul_gflops"]}
    totals = {(row["method"], row["entries"], row["batch"]): row for row in findings.tables["totals"]}
    middle, largest = _middle(config.batches), max(config.entries)
    for method in METHODS:
        for entries, batch in ((largest, middle), (min(largest, config.large), max(config.batches))):
            row, plain = totals[method, entries, batch], totals["plaintext", entries, batch]
            point = f"{method}, {entries} entries, batch {batch}"
            headline[f"ns a comparison: {point}"] = row["cpu_ns_a_comparison"]
            headline[f"times plaintext: {point}"] = row["cpu_ns_a_comparison"] / plain["cpu_ns_a_comparison"]
            headline[f"bytes a comparison: {point}"] = row["bytes_a_comparison"]
        seconds = {
            (row["workers"], row["queries"]): row["wall_seconds"]
            for row in findings.tables["workers"]
            if row["method"] == method
        }
        headline[f"seconds for one query, {config.processors} workers: {method}"] = seconds[config.processors, 1]
        for batches, asked in (("one batch", middle), ("two batches", 2 * middle)):
            speedup = seconds[1, asked] / seconds[config.processors, asked]
            headline[f"speed-up by {config.processors} workers, {batches}: {method}"] = speedup
    headline["two processes over one, multiplying"] = machine["two_multiplying_over_one"]
    headline["two processes over one, reading memory"] = machine["two_reading_over_one"]
    for key in ("bank_bytes_an_entry", "peak_memory_gib"):
        headline[key] = totals["scan", largest, middle][key]
    headline["disagreements with plaintext"] = sum(row["disagreements"] for row in findings.tables["agreement"])
    return headline | {key: value for key, value in findings.tables["enrolling"][0].items() if key != "entries"}


def figures(result: Result) -> dict[str, Figure]:
    """stages (where the time goes), grid (scan and plaintext by bank and batch)."""
    return {"stages": _draw_stages(result), "grid": _draw_grid(result)}


def _draw_stages(result: Result) -> Figure:
    most = max(row["entries"] for row in result.rows("stages", batch=max(result.values("stages", "batch"))))
    batches = result.values("stages", "batch")
    stages = sorted(set(result.values("stages", "stage")))
    colours = (
        plots.BLUE,
        plots.ORANGE,
        plots.GREEN,
        plots.PINK,
        plots.SKY,
        plots.YELLOW,
        plots.RED,
        plots.GREY,
        plots.BLACK,
    )
    figure, axes = plots.new(size=(6.4, 0.6 * len(batches) + 1.6))
    for y, batch in enumerate(batches):
        left = 0.0
        for stage, colour in zip(stages, colours, strict=False):
            rows = result.rows("stages", method="scan", entries=most, batch=batch, stage=stage)
            value = sum(row["cpu_ns_a_comparison"] for row in rows)
            axes.barh(y, value, left=left, color=colour, label=stage if y == 0 else None)
            left += value
        axes.text(left, y, f" {left:.1f}", va="center")
    axes.set_yticks(range(len(batches)), [f"batch {batch}" for batch in batches])
    axes.set_xlabel(f"CPU ns a comparison, all roles, {most:,} entries, with proofs")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=4)
    axes.margins(x=0.1)
    return figure


def _draw_grid(result: Result) -> Figure:
    batches = result.values("totals", "batch")
    figure, axes = plots.new(1, len(batches), (2.1 * len(batches) + 1, 3.2), sharey=True, squeeze=False)
    for axis, batch in zip(axes[0], batches, strict=True):
        for method in ("plaintext", *METHODS):
            rows = result.rows("totals", method=method, batch=batch)
            colour, marker = plots.look(method)
            x, y = [row["entries"] for row in rows], [row["cpu_ns_a_comparison"] for row in rows]
            axis.plot(x, y, marker=marker, color=colour, label=method)
        axis.set(xscale="log", yscale="log", xlabel="entries", title=f"batch {batch}")
    axes[0, 0].set_ylabel("CPU ns a comparison, all roles")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure

"""What does privacy cost? Every protocol and the methods it replaces, in one run on one machine, one thread each.

A comparison is one query against one entry. Nanoseconds are CPU time summed over roles, read from the ledger; bytes
are all messages of matching. The bank's bytes are what is sent to platforms when entries are enrolled. A point that
would take longer than the budget, going by the method's last one, is left out. Two numbers of the machine stand
beside: how fast it multiplies float64 matrices and how fast it copies memory, on one thread.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from experiments import plots
from experiments.attacks.common import random_hashes, runnable
from experiments.lab import Lab
from experiments.machine import measure_machine
from experiments.results import Findings, Result, Row, quartiles
from protocols import create
from protocols.ledger import Ledger, role_of
from protocols.plaintext import within

QUESTION = "What does privacy cost, in time, traffic and storage?"

_REAL_ENROLLING = 1_000  # larger banks of the scan are loaded without sealing, which changes nothing about matching
ONE_THREAD = {"scan": {"workers": 1}, "blind": {"threads": 1}}
INDEXES = ("blind",)  # protocols that look up: a query costs the same whatever the size of the bank


@dataclass(frozen=True)
class Config:
    """entries, batches: the grid. seconds: budget of a point's matching, all repeats; enroll_seconds: of its bank.
    paillier_bits: its modulus; 2048 is 112-bit security."""

    seed: int = 1
    entries: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    batches: tuple[int, ...] = (1, 16, 64, 256)
    repeats: int = 3
    seconds: float = 8
    enroll_seconds: float = 60
    paillier_bits: int = 2048


QUICK = Config(entries=(200, 800), batches=(1, 8), repeats=2, seconds=1, enroll_seconds=4, paillier_bits=512)


@dataclass
class Bill:
    """One bank's cost. cpu: role -> seconds a repeat. bank_bytes: sent to platforms. Filled by `Method.match`."""

    enroll_seconds: float = 0.0
    enrolled_really: bool = True
    bank_bytes: float = 0.0
    message_bytes: int = 0
    wall: list[float] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    stages: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def forget(self) -> None:
        """Start measuring anew."""
        self.wall, self.cpu, self.stages = [], defaultdict(list), defaultdict(list)


# A method enrols a bank and returns (bill, match); match(queries) adds one repeat to the bill.
Match = Callable[[NDArray[np.uint8]], None]
Method = Callable[[NDArray[np.uint8]], tuple[Bill, Match]]


def methods(config: Config) -> dict[str, Method]:
    """Every method that can run here, slowest first where known."""
    found: dict[str, Method] = {}
    if _importable("phe"):
        found["Paillier, one pair"] = partial(_paillier, config.paillier_bits)
    if "bfv" in runnable():
        found["TenSEAL, one pair"] = _one_pair
    found |= {name: _contract(name) for name in reversed(runnable()) if name != "plaintext"}
    found["numpy, in the clear"] = _numpy
    found["plaintext"] = _contract("plaintext")
    return found


def run(config: Config, lab: Lab) -> Findings:
    """Go over the grid, method by method."""
    findings = Findings(tables={"costs": [], "roles": [], "stages": [], "machine": [measure_machine()]})
    rng = np.random.default_rng(config.seed)
    banks = {entries: random_hashes(rng, entries) for entries in config.entries}
    queries = random_hashes(rng, max(config.batches))
    with threadpool_limits(1):
        chosen = methods(config)
        for name, method in lab.progress(chosen.items(), "measuring", len(chosen)):
            for entries, batch, bill in _points(config, method, banks, queries):
                _note(findings, name, entries, batch, bill)
    findings.headline = _headline(findings)
    return findings


def _points(
    config: Config, method: Method, banks: dict[int, NDArray[np.uint8]], queries: NDArray[np.uint8]
) -> Iterator[tuple[int, int, Bill]]:
    """(entries, batch, bill) of every point within the budgets."""
    enroll_a_row = match_a_pair = 0.0
    for entries, bank in banks.items():
        if enroll_a_row * entries > config.enroll_seconds:
            return
        bill, match = method(bank)
        enroll_a_row = bill.enroll_seconds / entries
        for batch in config.batches:
            if match_a_pair * entries * batch > config.seconds:
                break
            bill.forget()
            # The first repeat warms caches and compilers; it counts only where there is no time for another.
            match_a_pair = _timed(bill, match, queries[:batch]) / (entries * batch)
            if match_a_pair * entries * batch * config.repeats <= config.seconds:
                bill.forget()
                for _ in range(config.repeats):
                    _timed(bill, match, queries[:batch])
            yield entries, batch, bill


def _timed(bill: Bill, match: Match, queries: NDArray[np.uint8]) -> float:
    start = time.perf_counter()
    match(queries)
    bill.wall.append(time.perf_counter() - start)
    return bill.wall[-1]


def _note(findings: Findings, name: str, entries: int, batch: int, bill: Bill) -> None:
    pairs = entries * batch
    total = np.sum(list(bill.cpu.values()), axis=0)
    row: Row = {"method": name, "entries": entries, "batch": batch, "repeats": len(total)}
    row |= quartiles(total / pairs * 1e9, "cpu_ns_a_comparison")
    row |= quartiles(np.array(bill.wall) / pairs * 1e9, "wall_ns_a_comparison")
    row |= {"bytes_a_comparison": bill.message_bytes / pairs, "bank_bytes_an_entry": bill.bank_bytes / entries}
    row |= {"enroll_ms_an_entry": bill.enroll_seconds / entries * 1e3 if bill.enrolled_really else None}
    findings.tables["costs"].append(row)
    for role, seconds in bill.cpu.items():
        part: Row = {"method": name, "entries": entries, "batch": batch, "role": role}
        findings.tables["roles"].append(part | quartiles(np.array(seconds) / pairs * 1e9, "cpu_ns_a_comparison"))
    for (role, stage), seconds in bill.stages.items():
        step: Row = {"method": name, "entries": entries, "batch": batch, "role": role, "stage": stage}
        findings.tables["stages"].append(step | quartiles(np.array(seconds) / pairs * 1e9, "cpu_ns_a_comparison"))


def _headline(findings: Findings) -> Row:
    """The cheapest point of every method, and the ladder's span."""
    best: dict[str, float] = {}
    for row in findings.tables["costs"]:
        best[row["method"]] = min(row["cpu_ns_a_comparison"], best.get(row["method"], np.inf))
    headline: Row = {f"ns: {name}": value for name, value in best.items()}
    headline["ladder_orders_of_magnitude"] = float(np.log10(max(best.values()) / min(best.values())))
    if "scan" in best and "plaintext" in best:
        headline["scan_times_plaintext"] = best["scan"] / best["plaintext"]
    return headline


def _contract(name: str) -> Method:
    def method(bank: NDArray[np.uint8]) -> tuple[Bill, Match]:
        protocol, bill = create(name, **ONE_THREAD.get(name, {})), Bill()
        keys = _sent_to_platforms(protocol.ledger)
        start = time.perf_counter()
        if name == "scan" and len(bank) > _REAL_ENROLLING:
            from experiments.scan import load

            load(protocol, bank)  # type: ignore[arg-type]
            bill.enrolled_really = False
        else:
            protocol.enroll([f"case-{number}" for number in range(len(bank))], bank)
        protocol.match(bank[:1] ^ 0x55)  # what is prepared at the first query belongs to enrolling
        bill.enroll_seconds = time.perf_counter() - start
        bill.bank_bytes = _sent_to_platforms(protocol.ledger) - keys

        def match(queries: NDArray[np.uint8]) -> None:
            _charge(bill, protocol.ledger, lambda: protocol.match(queries))

        return bill, match

    return method


def _sent_to_platforms(ledger: Ledger) -> int:
    """Bytes of all messages to platforms but those of matching."""
    return sum(m.size for m in ledger.messages if m.phase != "match" and role_of(m.receiver) == "platform")


def _charge(bill: Bill, ledger: Ledger, work: Callable[[], object]) -> None:
    """Run `work` and add what the ledger counted meanwhile."""
    before, messages = dict(ledger.stage_seconds), len(ledger.messages)
    work()
    roles: dict[str, float] = defaultdict(float)
    stages: dict[tuple[str, str], float] = defaultdict(float)
    for (party, phase, stage), seconds in ledger.stage_seconds.items():
        if phase == "match":
            spent = seconds - before.get((party, phase, stage), 0.0)
            roles[role_of(party)] += spent
            stages[role_of(party), stage] += spent
    for role, spent in roles.items():
        _append(bill.cpu[role], spent, len(bill.wall))
    for key, spent in stages.items():
        _append(bill.stages[key], spent, len(bill.wall))
    bill.message_bytes = sum(message.size for message in ledger.messages[messages:])


def _append(repeats: list[float], seconds: float, earlier: int) -> None:
    """Add one repeat's seconds after `earlier` others, in some of which there was nothing to do."""
    repeats += [0.0] * (earlier - len(repeats)) + [seconds]


def _numpy(bank: NDArray[np.uint8]) -> tuple[Bill, Match]:
    bill = Bill(bank_bytes=bank.nbytes)

    def match(queries: NDArray[np.uint8]) -> None:
        start = time.thread_time()
        list(within(queries, bank, 31))
        bill.cpu["platform"].append(time.thread_time() - start)

    return bill, match


def _one_pair(bank: NDArray[np.uint8]) -> tuple[Bill, Match]:
    """TenSEAL on the first two entries, scaled to the bank: the cost of a pair does not depend on the others."""
    from protocols.bfv.naive import one_pair_at_a_time

    bill, few = Bill(), bank[:2]

    def match(queries: NDArray[np.uint8]) -> None:
        _, ledger = one_pair_at_a_time(queries[:2], few)
        scale = len(bank) * len(queries) / (len(few) * len(queries[:2]))
        for (role, phase), seconds in ledger.cpu_seconds.items():
            if phase == "match":
                bill.cpu[role].append(seconds * scale)
        bill.message_bytes = round(scale * sum(m.size for m in ledger.messages if m.phase == "match"))
        entry = sum(m.size for m in ledger.messages if m.kind == "SealedEntry") / len(few)
        bill.bank_bytes = entry * len(bank)

    return bill, match


def _paillier(key_bits: int, bank: NDArray[np.uint8]) -> tuple[Bill, Match]:
    """Paillier on one pair, scaled: an entry is a ciphertext a bit, a comparison `bits` additions and a decryption."""
    from phe import paillier

    public, private = paillier.generate_paillier_keypair(n_length=key_bits)
    start = time.perf_counter()
    sealed = [public.encrypt(int(bit)) for bit in np.unpackbits(bank[0])]
    size = 2 * key_bits // 8
    bill = Bill((time.perf_counter() - start) * len(bank), bank_bytes=len(sealed) * size * len(bank))

    def match(queries: NDArray[np.uint8]) -> None:
        scale = len(bank) * len(queries)
        bits = np.unpackbits(queries[0])
        start = time.thread_time()
        ones = sum((c for c, bit in zip(sealed, bits, strict=True) if bit), public.encrypt(0))
        zeros = sum((c for c, bit in zip(sealed, bits, strict=True) if not bit), public.encrypt(int(bits.sum())))
        distance = zeros - ones
        between = time.thread_time()
        private.decrypt(distance)
        bill.cpu["platform"].append((between - start) * scale)
        bill.cpu["keyholder"].append((time.thread_time() - between) * scale)
        bill.message_bytes = size * scale

    return bill, match


def _importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def figures(result: Result) -> dict[str, Figure]:
    """ladder (every method at its best), grid (time by bank and batch), roles, wire (traffic and storage)."""
    return {
        "ladder": _draw_ladder(result),
        "grid": _draw_grid(result),
        "roles": _draw_roles(result),
        "wire": _draw_wire(result),
    }


def _best(result: Result) -> list[Row]:
    """Every method's cheapest point, slowest method first."""
    rows = [
        min(result.rows("costs", method=name), key=lambda row: row["cpu_ns_a_comparison"])
        for name in result.values("costs", "method")
    ]
    return sorted(rows, key=lambda row: -row["cpu_ns_a_comparison"])


def _draw_ladder(result: Result) -> Figure:
    rows = [row for row in _best(result) if row["method"] not in INDEXES]
    base = next(row["cpu_ns_a_comparison"] for row in rows if row["method"] == "plaintext")
    figure, axes = plots.new(size=(6.8, 0.48 * len(rows) + 1.0))
    values = [row["cpu_ns_a_comparison"] for row in rows]
    names = [f"{row['method']}\n{row['entries']:,} entries, batch {row['batch']}" for row in rows]
    bars = axes.barh(names, values, color=[plots.look(row["method"])[0] for row in rows])
    axes.tick_params(axis="y", labelsize=8)
    axes.bar_label(bars, [f" {_time(v)}, {_times(v / base)}" if v > base else f" {_time(v)}" for v in values])
    axes.set(xscale="log", xlim=(min(values) / 3, max(values) * 300))
    axes.set_xlabel("CPU time a comparison, all roles (ns, log scale); x: times plaintext (faiss)")
    axes.invert_yaxis()
    return figure


def _draw_grid(result: Result) -> Figure:
    batches = result.values("costs", "batch")
    figure, axes = plots.new(1, len(batches), (2.1 * len(batches) + 1, 3.4), sharey=True, squeeze=False)
    for axis, batch in zip(axes[0], batches, strict=True):
        for name in result.values("costs", "method"):
            rows = result.rows("costs", method=name, batch=batch)
            colour, marker = plots.look(name)
            x, y = [row["entries"] for row in rows], [row["cpu_ns_a_comparison"] for row in rows]
            axis.plot(x, y, marker=marker, color=colour, label=name)
        axis.set(xscale="log", yscale="log", xlabel="entries", title=f"batch {batch}")
    axes[0, 0].set_ylabel("CPU ns a comparison, all roles")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _draw_roles(result: Result) -> Figure:
    best = [row for row in _best(result) if row["method"] in runnable_in(result)]
    roles = result.values("roles", "role")
    colours = dict(zip(roles, (plots.BLUE, plots.ORANGE, plots.GREEN, plots.PINK, plots.SKY, plots.RED), strict=False))
    figure, axes = plots.new(size=(6.4, 0.5 * len(best) + 1.4))
    for y, point in enumerate(best):
        left = 0.0
        parts = result.rows("roles", method=point["method"], entries=point["entries"], batch=point["batch"])
        whole = sum(part["cpu_ns_a_comparison"] for part in parts)
        for part in parts:
            share = part["cpu_ns_a_comparison"] / whole
            axes.barh(y, share, left=left, color=colours.get(part["role"], plots.GREY), label=part["role"])
            left += share
    axes.set_yticks(range(len(best)), [f"{row['method']}\n{_time(row['cpu_ns_a_comparison'])}" for row in best])
    axes.set(xlim=(0, 1), xlabel="share of the CPU time of matching, by role")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5)
    return figure


def runnable_in(result: Result) -> set[str]:
    """The methods of a result that are protocols: their ledgers tell roles apart."""
    return {name for name in result.values("costs", "method") if "," not in name}


def _draw_wire(result: Result) -> Figure:
    rows = _best(result)
    figure, axes = plots.new(1, 2, (7.6, 0.4 * len(rows) + 1.1), sharey=True)
    for axis, key, text in (
        (axes[0], "bytes_a_comparison", "bytes sent a comparison"),
        (axes[1], "bank_bytes_an_entry", "bytes of bank an entry"),
    ):
        values = [max(row[key], 1e-3) for row in rows]
        bars = axis.barh([r["method"] for r in rows], values, color=[plots.look(row["method"])[0] for row in rows])
        axis.bar_label(bars, [f" {row[key]:,.3g}" for row in rows])
        axis.set(xscale="log", xlabel=text, xlim=(1e-3, max(values) * 100))
    axes[0].invert_yaxis()
    return figure


def _times(ratio: float) -> str:
    """The ratio to one or two significant figures, as many as two machines would agree on."""
    if ratio < 1e4:
        return f"{float(f'{ratio:.2g}'):,g} x"
    mantissa, exponent = f"{ratio:.0e}".split("e")
    return rf"${mantissa} \times 10^{{{int(exponent)}}}$ x"


def _time(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"

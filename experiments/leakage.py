"""What does each role see? Every message that crosses, its size, and what it is a function of.

A small run of every protocol is recorded and searched: does any message hold eight consecutive bytes of a
fingerprint, and do two runs over different photos differ in the number or length of messages? Beside it stand the
two leaks that can be drawn: the distances that the key holder of `bfv` decrypts, and how fast a blinded index gives
fingerprints to a platform that asks and asks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from experiments import plots
from experiments.attacks.common import random_hashes, remember, runnable
from experiments.attacks.harvest import BANDS, BANK, expected_share
from experiments.fingerprints import fingerprint
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from protocols import Protocol, create
from protocols.ledger import role_of

QUESTION = "What does each role see, message by message?"
RUN = 8  # consecutive bytes of a fingerprint that count as seeing it
_COLOURS = (plots.RED, plots.ORANGE, plots.GREEN, plots.BLUE)


@dataclass(frozen=True)
class Config:
    """entries, queries: of the recorded run. matching: queries that are near copies of entries. edits: of the photos
    whose distances the key holder of bfv decrypts. band_bits: of the blinded index's curve.
    """

    seed: int = 1
    entries: int = 40
    queries: int = 24
    matching: int = 6
    edits: tuple[str, ...] = ("JPEG 50", "resize 50 %", "crop 1 % a side", "rotate 2°", "caption bar", "screenshot")
    band_bits: tuple[int, ...] = (24, 32, 48, 64)


QUICK = Config(entries=4, queries=3, matching=1, edits=("JPEG 50", "screenshot"))


def run(config: Config, lab: Lab) -> Findings:
    """Record every protocol twice, over different data with the same matches."""
    findings = Findings(tables={"messages": [], "distances_seen": [], "blind_curve": []})
    seen_raw = set()
    for name in lab.progress(runnable(), "recording every protocol"):
        first, second = (_record(name, config, seed) for seed in (config.seed, config.seed + 1))
        rows = _messages(name, first, second)
        findings.tables["messages"] += rows
        seen_raw |= {name for row in rows if row["shows_fingerprint"]}
    if "bfv" in runnable():
        findings.tables["distances_seen"] = _distances_seen(config, lab)
    for width in config.band_bits:
        for asked in np.logspace(3, 13, 41):
            share = expected_share(float(asked), BANK, width)
            row: Row = {"band_bits": width, "bands": BANDS, "uploads": float(asked), "bits_learnt": share * BANK * 256}
            findings.tables["blind_curve"].append(row)
    findings.headline = {
        "protocols_whose_messages_show_a_fingerprint": ", ".join(sorted(seen_raw)),
        "messages_of_encrypted_protocols_that_show_a_fingerprint": sum(
            bool(row["shows_fingerprint"]) for row in findings.tables["messages"] if row["protocol"] != "plaintext"
        ),
    }
    return findings


@dataclass(frozen=True)
class Recording:
    """A protocol after enrolling, matching and withdrawing, and every fingerprint that it was given."""

    protocol: Protocol
    hashes: NDArray[np.uint8]


def _record(name: str, config: Config, seed: int) -> Recording:
    rng = np.random.default_rng(seed)
    bank, queries = random_hashes(rng, config.entries), random_hashes(rng, config.queries)
    queries[: config.matching] = bank[: config.matching]
    queries[: config.matching, -1] ^= 1
    protocol = create(name, record=True)
    protocol.enroll([f"case-{number:04}" for number in range(len(bank))], bank)
    protocol.match(queries)
    protocol.withdraw("case-0000")
    return Recording(protocol, np.concatenate([bank, queries]))


def _messages(name: str, first: Recording, second: Recording) -> list[Row]:
    """One row for each kind, phase, sender and receiver."""
    tables = [_by_kind(each.protocol) for each in (first, second)]
    words = runs(first.hashes)
    function_of = {(m.kind.__name__, m.sender, m.receiver): m.function_of for m in first.protocol.messages}
    rows: list[Row] = []
    for key, payloads in tables[0].items():
        phase, kind, sender, receiver = key
        sizes = sorted(len(payload) for payload in payloads)
        row: Row = {"protocol": name, "phase": phase, "kind": kind, "sender": sender, "receiver": receiver}
        row |= {"messages": len(payloads), "bytes": sum(sizes), "smallest": sizes[0], "largest": sizes[-1]}
        row |= {"function_of": function_of[kind, sender, receiver]}
        row |= {"shows_fingerprint": any(holds(payload, words) for payload in payloads)}
        row |= {"length_depends_on_data": sizes != sorted(map(len, tables[1].get(key, [])))}
        rows.append(row)
    return rows


def _by_kind(protocol: Protocol) -> dict[tuple[str, str, str, str], list[bytes]]:
    table: dict[tuple[str, str, str, str], list[bytes]] = defaultdict(list)
    for message in protocol.ledger.messages:
        key = message.phase, message.kind, role_of(message.sender), role_of(message.receiver)
        table[key].append(message.payload or b"")
    return table


def runs(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Every eight consecutive bytes of every hash, as words."""
    windows = np.lib.stride_tricks.sliding_window_view(hashes, RUN, axis=1)
    return np.unique(np.ascontiguousarray(windows).view(np.uint64))


def holds(payload: bytes, words: NDArray[np.uint64]) -> bool:
    """Whether any of the words stands in the bytes, wherever it starts. A table of their first two bytes sorts out
    what need not be looked at: messages are long.
    """
    likely = np.zeros(1 << 16, dtype=bool)
    likely[words.view(np.uint16)[::4]] = True
    for start in range(min(RUN, len(payload) - RUN + 1)):
        here = np.frombuffer(payload, dtype=np.uint64, offset=start, count=(len(payload) - start) // RUN)
        if np.isin(here[likely[here.view(np.uint16)[::4]]], words).any():
            return True
    return False


def _distances_seen(config: Config, lab: Lab) -> list[Row]:
    """How often the key holder of bfv decrypts each distance, when real photos' copies are looked up."""
    copies = fingerprint(lab, ["pdq"], config.edits, config.seed)["pdq"]
    bank = np.ascontiguousarray(copies.originals[:, 0])
    protocol = create("bfv")
    protocol.enroll([f"case-{number}" for number in range(len(bank))], bank)
    seen = remember(protocol._keyholder, "decrypt")  # type: ignore[attr-defined]
    protocol.match(copies.queries)
    slots = min(len(bank), seen[0].shape[1])
    counts = np.bincount(np.concatenate([values[:, :slots].ravel() for values in seen]).astype(np.int64), minlength=257)
    return [{"distance": distance, "pairs": int(counts[distance])} for distance in np.flatnonzero(counts).tolist()]


def figures(result: Result) -> dict[str, Figure]:
    """messages (bytes that each role receives), distances (the key holder's view), blind (bits against uploads)."""
    drawn = {"messages": _draw_messages(result), "blind": _draw_blind(result)}
    return drawn | ({"distances": _draw_distances(result)} if result.tables["distances_seen"] else {})


def _draw_messages(result: Result) -> Figure:
    protocols = result.values("messages", "protocol")
    figure, axes = plots.new(1, len(protocols), (2.4 * len(protocols) + 2, 3.4), squeeze=False, sharey=True)
    receivers = sorted(set(result.values("messages", "receiver")))
    for axis, name in zip(axes[0], protocols, strict=True):
        for shows, colour in ((False, plots.BLUE), (True, plots.RED)):
            rows = [row for row in result.rows("messages", protocol=name) if row["shows_fingerprint"] == shows]
            kib = [sum(row["bytes"] for row in rows if row["receiver"] == receiver) / 1024 for receiver in receivers]
            label = "a fingerprint in the clear" if shows else "sealed, or no fingerprint"
            axis.barh(receivers, kib, color=colour, label=label, height=0.6 if shows else 0.8)
        axis.set(xscale="log", xlim=(0.01, None), xlabel="KiB received", title=name)
        axis.xaxis.set_major_locator(LogLocator(numticks=4))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _draw_distances(result: Result) -> Figure:
    figure, axes = plots.new(size=(6.4, 3.2))
    rows = result.rows("distances_seen")
    axes.bar([row["distance"] for row in rows], [row["pairs"] for row in rows], color=plots.look("bfv")[0], width=1)
    axes.axvline(31.5, color=plots.BLACK, linestyle="--", linewidth=1)
    axes.text(33, 0.95, "the rule's threshold", transform=axes.get_xaxis_transform(), va="top")
    axes.set(yscale="log", xlim=(0, 256), xlabel="distance that the key holder of bfv decrypts (bits)", ylabel="pairs")
    return figure


def _draw_blind(result: Result) -> Figure:
    figure, axes = plots.new(size=(6.4, 3.4))
    for width, colour in zip(result.values("blind_curve", "band_bits"), _COLOURS, strict=False):
        rows = result.rows("blind_curve", band_bits=width)
        learnt = [row["bits_learnt"] for row in rows]
        axes.plot([row["uploads"] for row in rows], learnt, color=colour, label=f"k = {width}")
    axes.axhline(BANK * 256, color=plots.BLACK, linestyle="--", linewidth=1)
    axes.text(1.2e3, BANK * 256 * 1.6, "the whole bank: what plaintext shows at once")
    axes.set(xscale="log", yscale="log", ylim=(1, 1e10), xlabel="unrelated uploads asked")
    axes.set_title(f"bank of 10⁶, {result.rows('blind_curve')[0]['bands']} bands", fontsize=10)
    axes.set_ylabel("bits of the bank that the platform learns")
    axes.legend()
    return figure

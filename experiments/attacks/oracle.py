"""Attack 2: whoever sees distances, or only yes and no, walks to an entry's exact fingerprint.

Distances: one query of zeros gives the entry's weight, and each of the 256 unit vectors then one bit. Yes and no:
from a near-duplicate (distance <= T) flip bits until the answer is just still yes, at distance T; from there a
flipped bit keeps the yes exactly where it corrects a difference. Some 280 queries, and any protocol that computes
the matching function answers them, this project's too: only budgets slow it. `blind` needs no walk: its platform
opens the entry with the near-duplicate itself, in one query.

Who starts from a near-duplicate has all but START of the bits already: that is what the walk is measured against.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import plots
from experiments.attacks.common import Config, random_hashes, remember, runnable, verdict
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from protocols import Protocol, available, create

START = 9  # distance of the near-duplicate that the walk starts from
HELD = 1 - START / 256  # share of the entry's bits that it has
STEPS = 96  # flips tried to reach the threshold

Asked = Callable[[NDArray[np.uint8]], NDArray[np.int64]]


def run(config: Config, lab: Lab) -> Findings:
    """Both walks, against every protocol; the distance walk where somebody sees distances."""
    rng = np.random.default_rng(config.seed)
    entry = random_hashes(rng, 1)
    truth = np.unpackbits(entry[0])
    findings = Findings(tables={"oracle": [], "verdicts": []})
    if "bfv" in runnable():
        found, asked = walk_distances(_bfv_distances(entry))
        _note(findings, "bfv", "distances", "none: the key holder sees distances", found, truth, asked, 0.5)
    for name in runnable():
        if available()[name].max_threshold < 31:
            continue
        protocol = create(name)
        protocol.enroll(["case"], entry)
        near = truth.copy()
        near[rng.choice(256, START, replace=False)] ^= 1
        if name == "blind":
            defence = "none: one query opens it"
            _note(findings, name, "what it opens", defence, read_opened(protocol, near), truth, 1, HELD)
            continue
        found, asked = walk_threshold(partial(_yes_or_no, protocol), near, rng)
        defence = "budgets on queries only" if available()[name].exact else "inexact, and budgets on queries"
        _note(findings, name, "yes or no", defence, found, truth, asked, HELD)
    threshold = [row for row in findings.tables["oracle"] if row["sees"] == "yes or no"]
    findings.headline = {"oracle_queries": max(row["queries"] for row in threshold)}
    return findings


def walk_distances(distance: Asked) -> tuple[NDArray[np.uint8], int]:
    """An entry's 256 bits from the distances of 257 queries, and how many were asked."""
    answers = distance(np.packbits(np.vstack([np.zeros(256, np.uint8), np.eye(256, dtype=np.uint8)]), axis=1))
    return (answers[1:] < answers[0]).astype(np.uint8), len(answers)


def walk_threshold(matches: Asked, near: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], int]:
    """An entry's 256 bits from yes and no, starting at `near`, 256 bits that match; and how many were asked."""
    order = rng.permutation(256)[:STEPS]
    chain = np.array([near] * (STEPS + 1))
    for step, bit in enumerate(order):
        chain[step + 1 :, bit] ^= 1
    answers = matches(np.packbits(chain, axis=1))
    last = int(np.argmin(answers)) - 1 if not answers.all() else STEPS
    border = chain[max(last, 0)]
    answers = matches(np.packbits(border ^ np.eye(256, dtype=np.uint8), axis=1))
    return border ^ answers.astype(np.uint8), max(last, 0) + 2 + 256


def read_opened(protocol: Any, near: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a platform of `blind` knows of an entry after asking for `near`, 256 bits, once: the entry, if they share a
    band.
    """
    opened = remember(protocol._platform, "_open")
    protocol.match(np.packbits(near)[None])
    return np.unpackbits(opened[0]) if opened else near


def _yes_or_no(protocol: Protocol, queries: NDArray[np.uint8]) -> NDArray[np.int64]:
    hits = np.zeros(len(queries), dtype=np.int64)
    hits[[match.query for match in protocol.match(queries)]] = 1
    return hits


def _bfv_distances(entry: NDArray[np.uint8]) -> Asked:
    """What a curious key holder decrypts while it follows the protocol."""
    protocol = create("bfv", threshold=0)
    protocol.enroll(["case"], entry)
    seen = remember(protocol._keyholder, "decrypt")  # type: ignore[attr-defined]

    def distance(queries: NDArray[np.uint8]) -> NDArray[np.int64]:
        protocol.match(queries)
        return np.concatenate(seen)[:, 0].astype(np.int64)

    return distance


def _note(
    findings: Findings,
    name: str,
    sees: str,
    defence: str,
    found: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    asked: int,
    chance: float,
) -> None:
    right = float(np.mean(found == truth))
    row: Row = {"protocol": name, "sees": sees, "queries": asked, "bits_right": right, "bits_held": chance}
    findings.tables["oracle"].append(row)
    findings.tables["verdicts"].append(
        verdict(f"2 oracle ({sees})", name, defence, "bits right", right, right == 1, chance)
    )


def figure(result: Result) -> Figure:
    """Bits right against queries asked, by what the attacker sees; ticks mark what it has without asking."""
    figure, axes = plots.new(size=(6.4, 3.0))
    rows = result.rows("oracle")
    names = [f"{row['protocol']}: {row['sees']}" for row in rows]
    colours = [plots.look(row["protocol"])[0] for row in rows]
    axes.barh(names, [row["bits_right"] for row in rows], height=0.55, color=colours)
    asked = [f"{row['queries']} quer{'y' if row['queries'] == 1 else 'ies'}" for row in rows]
    for place, text in enumerate(asked):
        axes.text(0.02, place, text, color="white", weight="bold", va="center")
    axes.plot([row["bits_held"] for row in rows], range(len(rows)), "|", color=plots.YELLOW, markersize=16, mew=2)
    axes.set(xlim=(0, 1), xlabel="share of an entry's bits that the attacker gets right (ticks: before it asks)")
    axes.invert_yaxis()
    return figure

"""Attack 3: from the distances between uploads and slots alone, every fingerprint up to one symmetry.

bits - 2 * distance is the inner product of vectors of +1 and -1, so a (uploads x slots) matrix of distances has rank
`bits`, and the slots' vectors are its one factorisation into signs, up to order and sign of the bits. Independent
component analysis finds it: whiten, then maximise non-Gaussianity (FastICA, Hyvärinen 1999), and signs separate
exactly. A few known uploads then fix order and signs. A key holder of `bfv` sees that matrix; in `scan` what one
member sees is a one-time pad, and the same analysis finds nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import plots
from experiments.attacks.common import (
    Config,
    case_at,
    random_hashes,
    remember,
    remember_shares,
    runnable,
    shares_at,
    verdict,
)
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from hashing.fingerprint import hamming
from protocols import create

BITS = 64
Matrix = NDArray[Any]  # float64


def run(config: Config, lab: Lab) -> Findings:
    """Separate the distances that the key holder of `bfv` sees; then the same from what a member of `scan` sees."""
    rng = np.random.default_rng(config.seed)
    bank, uploads = random_hashes(rng, config.slots, BITS), random_hashes(rng, config.uploads, BITS)
    truth = 2.0 * np.unpackbits(bank, axis=1) - 1
    views = {"distances computed in the clear": hamming(uploads, bank).astype(np.float64)}
    if "bfv" in runnable(BITS):
        views["bfv"] = _bfv_view(bank, uploads)
    if "scan" in runnable(BITS):
        views["scan"] = _scan_view(bank, uploads)
    findings = Findings(tables={"geometry": [], "verdicts": []})
    for name, view in views.items():
        found = separate(view, BITS, rng)
        for known in (0, 4, 8, 12, 16, 24):
            right = best_symmetry(found, truth) if known == 0 else with_known(found, truth, known)
            row: Row = {"view": name, "uploads": config.uploads, "slots": config.slots, "known_entries": known}
            findings.tables["geometry"].append(row | {"bits_right": right})
            if known in (0, 24) and name in ("bfv", "scan"):
                defence = "none: the key holder sees distances" if name == "bfv" else "a member sees one-time pads"
                what = "bits right, up to symmetry" if known == 0 else "bits right"
                findings.tables["verdicts"].append(
                    verdict("3 geometry", name, defence, f"{what}, {known} entries known", right, right > 0.99, 0.5)
                )
    return findings


def separate(view: Matrix, bits: int, rng: np.random.Generator, rounds: int = 60) -> Matrix:
    """(slots, bits) of +1 and -1 from a (uploads, slots) matrix of distances, up to order and sign of the columns."""
    centred = view - view.mean(axis=1, keepdims=True)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    white = right[:bits] * np.sqrt(view.shape[1])
    turn = np.linalg.qr(rng.normal(size=(bits, bits)))[0]
    for _ in range(rounds):
        sources = turn @ white
        turn = sources**3 @ white.T / white.shape[1] - 3 * turn
        u, _, v = np.linalg.svd(turn)
        turn = u @ v
    return np.sign(turn @ white).T


def best_symmetry(found: Matrix, truth: Matrix) -> float:
    """The share of bits right after the best order and signs: each true bit's closest found column."""
    return float(np.mean(1 + np.abs(truth.T @ found / len(truth)).max(axis=1)) / 2)


def with_known(found: Matrix, truth: Matrix, known: int) -> float:
    """The share of all other entries' bits right when the first `known` entries' fingerprints fix order and signs."""
    agree = truth[:known].T @ found[:known]
    column = np.abs(agree).argmax(axis=1)
    guess = found[known:, column] * np.sign(agree[np.arange(len(column)), column])
    return float(np.mean(guess == truth[known:]))


def _bfv_view(bank: NDArray[np.uint8], uploads: NDArray[np.uint8]) -> Matrix:
    protocol = create("bfv", bits=BITS, threshold=0)
    protocol.enroll([f"case-{number}" for number in range(len(bank))], bank)
    seen = remember(protocol._keyholder, "decrypt")  # type: ignore[attr-defined]
    for query in np.array_split(uploads, -(-len(uploads) // 50)):
        protocol.match(query)
    slots = seen[0].shape[1]
    blocks = -(-len(bank) // slots)
    rows = [np.concatenate(seen[first : first + blocks], axis=1) for first in range(0, len(seen), blocks)]
    return np.concatenate(rows)[:, : len(bank)].astype(np.float64)


def _scan_view(bank: NDArray[np.uint8], uploads: NDArray[np.uint8]) -> Matrix:
    """The values that member 1, as A, holds after decryption, slot by slot: its shares of the distances."""
    protocol: Any = create("scan", bits=BITS, threshold=0, lanes=1, workers=1)
    protocol.enroll([f"case-{number}" for number in range(len(bank))], bank)
    seen = remember_shares(protocol._members[1])
    protocol.match(uploads)
    slots = protocol._members[1].custody.blocks[0].slots
    order = case_at(protocol, slots.tolist())
    column = np.empty(len(bank), dtype=np.int64)
    column[[int(case.removeprefix("case-")) for case in order]] = slots
    return shares_at(seen, column)[: len(uploads)].astype(np.float64)


def figure(result: Result) -> Figure:
    """Bits right against how many entries the attacker knows."""
    figure, axes = plots.new(size=(6.4, 3.4))
    for view in result.values("geometry", "view"):
        rows = [row for row in result.rows("geometry", view=view) if row["known_entries"]]
        colour, marker = plots.look({"distances computed in the clear": "plaintext"}.get(view, view))
        axes.plot(
            [r["known_entries"] for r in rows], [r["bits_right"] for r in rows], marker=marker, color=colour, label=view
        )
    axes.axhline(0.5, color=plots.GREY, linestyle="--", linewidth=1)
    axes.set(ylim=(0.45, 1.03), xlabel="entries whose fingerprint the attacker knows already")
    axes.set_ylabel("share of all other entries' bits right")
    axes.legend(loc="center right")
    return figure

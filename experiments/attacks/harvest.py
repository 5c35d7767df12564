"""Attack 6: a platform harvests a blinded index by uploading unrelated pictures.

In `blind` a platform that hits one band of an entry learns that entry's fingerprint. For unrelated hashes, band bits
agree by accident: an upload hits about N * T * 2^-k of N entries with T tokens each, of bands of k bits. Narrow bands
find more copies and give the bank away; wide ones don't. Measured on uniform hashes where it can be measured, beside
the formula, which then says what a bank of a million loses to a platform with a hundred million uploads a day.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import plots
from experiments.attacks.common import Config, random_hashes, remember, runnable, verdict
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from protocols import create

WIDTHS = (16, 24, 32, 48, 64)  # k
BANDS = 128  # T: the tokens that `blind` makes of a fingerprint by default
SMALL = 150  # entries, and uploads, of the run through the protocol
BANK, UPLOADS_A_DAY = 1_000_000, 100_000_000
_COLOURS = (plots.RED, plots.ORANGE, plots.PINK, plots.SKY, plots.BLUE)


def run(config: Config, lab: Lab) -> Findings:
    """Count accidental band hits, then extrapolate to a platform's uploads."""
    rng = np.random.default_rng(config.seed)
    bank, uploads = (np.unpackbits(random_hashes(rng, config.harvest), axis=1) for _ in range(2))
    findings = Findings(tables={"harvest": [], "harvest_curve": [], "verdicts": []})
    for width in WIDTHS:
        hits, opened = collisions(bank, uploads, width, rng)
        expected = config.harvest**2 * BANDS * 2.0**-width
        share = expected_share(UPLOADS_A_DAY, BANK, width)
        row: Row = {"band_bits": width, "bands": BANDS, "entries": config.harvest, "uploads": config.harvest}
        row |= {"hits": hits, "hits_expected": expected, "entries_opened": opened}
        findings.tables["harvest"].append(row | {"million_entries_opened_in_a_day": share})
        for uploads_asked in np.logspace(3, 13, 41):
            point: Row = {"band_bits": width, "uploads": float(uploads_asked)}
            share = expected_share(uploads_asked, BANK, width)
            findings.tables["harvest_curve"].append(point | {"share_opened": share, "bits_learnt": share * BANK * 256})
        share = expected_share(UPLOADS_A_DAY, BANK, width)
        findings.tables["verdicts"].append(
            verdict("6 harvesting", f"blind, k = {width}", f"bands of {width} bits",
                    "share of 10^6 entries opened by 10^8 uploads", share, share > 0.01, 0.0)
        )  # fmt: skip
    if "blind" in runnable():
        for width in (12, 64):
            share = _opened_by_a_platform(rng, width)
            findings.tables["verdicts"].append(
                verdict(f"6 harvesting, the protocol itself, {SMALL} uploads", f"blind, k = {width}",
                        f"bands of {width} bits", f"share of {SMALL} entries opened", share, share > 0.01, 0.0)
            )  # fmt: skip
    return findings


def _opened_by_a_platform(rng: np.random.Generator, width: int) -> float:
    """The share of a small bank that a platform of `blind` opens with as many unrelated uploads."""
    tokens = {"bands": 16, "entry_tokens": 16, "query_tokens": 16}
    protocol: Any = create("blind", k=width, allow_unsafe_k=True, threads=1, **tokens)
    protocol.enroll([f"case-{number}" for number in range(SMALL)], random_hashes(rng, SMALL))
    opened = remember(protocol._platform, "_open")
    protocol.match(random_hashes(rng, SMALL))
    return len({fingerprint.tobytes() for fingerprint in opened}) / SMALL


def collisions(
    bank: NDArray[np.uint8], uploads: NDArray[np.uint8], width: int, rng: np.random.Generator
) -> tuple[int, int]:
    """(pairs that agree in a band, summed over bands; different entries that some upload hits)."""
    hits, opened = 0, np.zeros(len(bank), dtype=bool)
    for _ in range(BANDS):
        band = rng.choice(bank.shape[1], width, replace=False)
        mine, theirs = (np.packbits(bits[:, band], axis=1) for bits in (bank, uploads))
        keys = [np.ascontiguousarray(each).view(f"V{each.shape[1]}").ravel() for each in (mine, theirs)]
        _, index = np.unique(np.concatenate(keys), return_inverse=True)
        asked = np.bincount(index[len(bank) :], minlength=index.max() + 1)[index[: len(bank)]]
        hits += int(asked.sum())
        opened |= asked > 0
    return hits, int(opened.sum())


def expected_share(uploads: float, entries: int, width: int) -> float:
    """The share of a bank that so many unrelated uploads are expected to open; `entries` does not change it."""
    return float(-np.expm1(-uploads * BANDS * 2.0**-width))


def figure(result: Result) -> Figure:
    """Share of the bank opened against uploads, by band width."""
    figure, axes = plots.new()
    for width, colour in zip(WIDTHS, _COLOURS, strict=True):
        rows = result.rows("harvest_curve", band_bits=width)
        axes.plot([r["uploads"] for r in rows], [r["share_opened"] for r in rows], color=colour, label=f"k = {width}")
    measured = [row for row in result.rows("harvest") if row["entries_opened"]]
    axes.plot(
        [row["uploads"] for row in measured],
        [row["entries_opened"] / row["entries"] for row in measured],
        "o", color=plots.BLACK, label="measured",
    )  # fmt: skip
    axes.axvline(UPLOADS_A_DAY, color=plots.GREY, linestyle="--", linewidth=1)
    axes.text(UPLOADS_A_DAY * 0.7, 3e-9, "a large platform's day", ha="right")
    axes.set(xscale="log", yscale="log", ylim=(1e-9, 2), xlabel="unrelated uploads asked")
    axes.set_ylabel("share of the bank's fingerprints opened")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure

"""The blinded index: what it finds at what price, what it gives away by accident, and what a query costs.

Recall counts copies within the rule's threshold that share a token with their original. Two fingerprints share a
token exactly when they share an OPRF input, so inputs are compared and the OPRF is left out (`NOTES`, in the result
file). A platform need not ask as the protocol would: see guessing.py for one that asks as well as it can. Costs are
measured with the OPRF, on one thread, and beside them the four multiplications an evaluation that no implementation
can do without: their ratio travels between machines, and does not move when other programs slow both.

No photo that is measured here had a part in choosing the parameters, unless a user gives photos that had. The
intervals resample photos: copies of one photo are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import blind_costs, edits, guessing, plots
from experiments.accuracy import mean_by_photo
from experiments.attacks.common import random_hashes
from experiments.fingerprints import open_photo
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from hashing.image import pdq_of
from protocols.blind import bands
from protocols.blind.parameters import SAFE_BAND_BITS, Parameters
from protocols.blind.table import ROW_SIZE

QUESTION = "What does the blinded index find, at how many OPRF evaluations, and what does it give away?"
NOTES = [
    "Recall, guessing and accidents compare OPRF inputs, which are equal exactly when tokens are: the OPRF is not run.",
    "Accidents are of uniformly random hashes. Look-ups are in tables of random ids. Costs run the protocol.",
]
BIN = 8  # of distances, where what opens is counted
FARTHEST = 63  # distances up to here are looked at: beyond the rule a shared token opens an entry but is no match
_COLOURS = {16: plots.RED, 24: plots.ORANGE, 32: plots.PINK, 48: plots.SKY, 56: plots.GREEN, 64: plots.BLUE}


@dataclass(frozen=True)
class Config:
    """band_bits, tokens: the frontier's k and T, tokens of an entry and evaluations of a query. guesses: evaluations
    that a platform spends on one image; the last is the default budget of a day. unrelated: entries, and queries
    against them. cost_tokens, repeats: timed queries. banks: entries of tables that are looked up in.
    """

    seed: int = 1
    edits: tuple[str, ...] = tuple(edits.EDITS)
    band_bits: tuple[int, ...] = (48, 56, 64)
    tokens: tuple[int, ...] = (32, 64, 128, 256, 512)
    guesses: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000, Parameters().budget)
    bootstraps: int = 1000
    accident_bits: tuple[int, ...] = (16, 24, 32, 48, 64)
    unrelated: int = 100_000
    cost_tokens: tuple[int, ...] = (64, 128, 256, 512)
    repeats: int = 15
    banks: tuple[int, ...] = (10_000, 1_000_000)


QUICK = Config(
    edits=("JPEG 50", "resize 50 %", "resize 25 %", "blur 2 px"),
    band_bits=(64,),
    tokens=(32, 128),
    bootstraps=50,
    accident_bits=(16, 64),
    unrelated=2_000,
    cost_tokens=(64,),
    repeats=3,
    banks=(100, 1_000),
)


def run(config: Config, lab: Lab) -> Findings:
    """Recall by evaluations and by distance, what guessing and accidents open, cost of a query."""
    findings = Findings(notes=NOTES)
    _measure_recall(findings, config, lab)
    for k in lab.progress(config.accident_bits, "looking for accidents"):
        findings.tables.setdefault("accidents", []).extend(_accidents(k, config))
    for k in config.accident_bits:
        last = [row for row in findings.tables["accidents"] if row["band_bits"] == k][-1]
        findings.headline[f"entries_opened_by_accident_k{k}"] = last["entries_opened"]
    for tokens in lab.progress(config.cost_tokens, "timing queries"):
        findings.tables.setdefault("cost", []).extend(blind_costs.of_query(tokens, config.seed, config.repeats))
    for row in findings.tables["cost"]:
        mode = "voprf" if row["proofs"] else "oprf"
        findings.headline[f"cpu_ms_{mode}_{row['tokens']}"] = row["all_ms"]
        findings.headline[f"cpu_over_multiplications_{mode}_{row['tokens']}"] = row["all_over_multiplications"]
    findings.tables["lookup"] = blind_costs.of_lookups(config.banks, config.seed, config.repeats)
    times = [row["query_ms"] for row in findings.tables["lookup"]]
    findings.headline["query_ms_largest_bank_over_smallest"] = times[-1] / times[0]
    findings.headline["table_bytes_a_token"] = ROW_SIZE
    return findings


def _measure_recall(findings: Findings, config: Config, lab: Lab) -> None:
    tasks = [(name, path, config) for name, path in lab.photos.originals.items()]
    rows = [(owner, *row) for owner, found in enumerate(lab.map(shared, tasks, "choosing tokens")) for row in found]
    owner, distance = (np.array([row[at] for row in rows], dtype=np.int64) for at in (0, 1))
    hits = {key: np.array([row[2][key] for row in rows]) for key in _settings(config)}
    rng = np.random.default_rng(config.seed)
    near = distance <= Parameters().threshold
    findings.headline["pairs_within_threshold"] = int(near.sum())
    for (k, tokens, known), hit in hits.items():
        mean, low, high = mean_by_photo(hit[near], owner[near], rng, config.bootstraps)
        name: Row = {"band_bits": k, "tokens": tokens, "margins": known}
        measured: Row = {"recall": mean, "recall_low": low, "recall_high": high, "pairs": int(near.sum())}
        findings.tables.setdefault("frontier", []).append(name | measured)
        if known and k == SAFE_BAND_BITS:
            findings.headline |= {f"recall_{tokens}": mean, f"recall_{tokens}_low": low, f"recall_{tokens}_high": high}
            for at in range(FARTHEST + 1):
                here = distance == at
                mean, low, high = mean_by_photo(hit[here], owner[here], rng, config.bootstraps)
                row: Row = {"tokens": tokens, "distance": at, "pairs": int(here.sum())}
                row |= {"shared": mean, "shared_low": low, "shared_high": high}
                findings.tables.setdefault("by_distance", []).append(row)
    tries = np.array([row[3] for row in rows])
    findings.tables["guessing"] = [
        row
        for evaluations in (Parameters().query_tokens, *config.guesses)
        for row in _opened(tries <= evaluations, evaluations, owner, distance, rng, config)
    ]


def _opened(
    opened: NDArray[np.bool_],
    evaluations: int,
    owner: NDArray[np.int64],
    distance: NDArray[np.int64],
    rng: np.random.Generator,
    config: Config,
) -> list[Row]:
    """The share of copies that a platform opens with so many evaluations each, by distance."""
    rows: list[Row] = []
    for first in range(0, FARTHEST + 1, BIN):
        here = distance // BIN == first // BIN
        mean, low, high = mean_by_photo(opened[here], owner[here], rng, config.bootstraps)
        row: Row = {"evaluations": evaluations, "distance_from": first, "distance_to": first + BIN - 1}
        rows.append(row | {"pairs": int(here.sum()), "opened": mean, "opened_low": low, "opened_high": high})
    return rows


def _settings(config: Config) -> list[tuple[int, int, bool]]:
    return [(k, tokens, known) for k in config.band_bits for tokens in config.tokens for known in (True, False)]


def shared(task: tuple[str, Path, Config]) -> list[tuple[int, dict[tuple[int, int, bool], bool], float]]:
    """For each edited copy of one photo, at distance <= FARTHEST: the distance, whether a token is shared, by
    (k, tokens, whether margins are known), and how many tokens must be tried to open the photo's entry.
    """
    name, path, config = task
    photo = open_photo(path)
    original = pdq_of(photo)
    copies = [pdq_of(edits.apply(edit, photo, name, config.seed)) for edit in config.edits]
    distances = [original.fingerprint.distance(copy.fingerprint) for copy in copies]
    copies = [copy for copy, distance in zip(copies, distances, strict=True) if distance <= FARTHEST]
    found = {}
    for k, tokens, known in _settings(config):
        parameters = Parameters(k=k, entry_tokens=tokens, query_tokens=tokens, allow_unsafe_k=True)
        entry, *queries = (_inputs(each, known, tokens, parameters) for each in (original, *copies))
        found[k, tokens, known] = [bool(entry & query) for query in queries]
    near = [distance for distance in distances if distance <= FARTHEST]
    tries = [guessing.tries(original, copy, Parameters()) for copy in copies]
    return [(distance, {key: hit[at] for key, hit in found.items()}, tries[at]) for at, distance in enumerate(near)]


def _inputs(pdq: Any, known: bool, tokens: int, parameters: Parameters) -> set[bytes]:
    return set(bands.inputs(guessing.packed(pdq), pdq.margins[None] if known else None, tokens, parameters)[0])


def _accidents(k: int, config: Config) -> list[Row]:
    """How many of N entries N unrelated queries open, as the queries come in; uniform hashes, first T bands."""
    parameters = Parameters(k=k, allow_unsafe_k=True)
    tokens, count = parameters.query_tokens, config.unrelated
    rng = np.random.default_rng(config.seed)
    entries, queries = (np.unpackbits(random_hashes(rng, count), axis=1) for _ in range(2))
    opened_by = np.full(count, count)  # the first query that opens each entry
    for band in bands.positions(parameters)[:tokens]:
        asked, first = np.unique(_words(queries[:, band]), return_index=True)
        held = _words(entries[:, band])
        at = np.minimum(np.searchsorted(asked, held), len(asked) - 1)
        np.minimum(opened_by, np.where(asked[at] == held, first[at], count), out=opened_by)
    rows: list[Row] = []
    for asked_so_far in np.unique(np.logspace(0, np.log10(count), 26).astype(int)).tolist():
        row: Row = {"band_bits": k, "tokens": tokens, "entries": count, "queries": asked_so_far}
        row |= {"entries_opened": int((opened_by < asked_so_far).sum())}
        rows.append(row | {"expected": count * -np.expm1(-float(asked_so_far) * tokens * 2.0**-k)})
    return rows


def _words(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    packed = np.zeros((len(bits), 8), dtype=np.uint8)
    body = np.packbits(bits, axis=1)
    packed[:, : body.shape[1]] = body
    return packed.view(np.uint64).ravel()


def figures(result: Result) -> dict[str, Figure]:
    """frontier (recall against evaluations), distance (where recall is lost), accidents (what chance opens)."""
    return {
        "frontier": _draw_frontier(result),
        "distance": _draw_distance(result),
        "accidents": _draw_accidents(result),
    }


def _draw_frontier(result: Result) -> Figure:
    figure, axes = plots.new()
    for k in result.values("frontier", "band_bits"):
        for known, line in ((True, "-"), (False, "--")):
            rows = result.rows("frontier", band_bits=k, margins=known)
            x = [row["tokens"] for row in rows]
            label = f"k = {k}" if known else f"k = {k}, margins unknown"
            axes.plot(x, [row["recall"] for row in rows], f"o{line}", color=_COLOURS[k], label=label)
            if known:
                low, high = ([row[key] for row in rows] for key in ("recall_low", "recall_high"))
                axes.fill_between(x, low, high, color=_COLOURS[k], alpha=0.12)
    axes.set_xscale("log", base=2)
    axes.set(
        xlabel="OPRF evaluations a query, and tokens an entry", ylabel="copies within the threshold that are found"
    )
    axes.set_xticks(result.values("frontier", "tokens"), [str(t) for t in result.values("frontier", "tokens")])
    axes.legend()
    return figure


def _draw_distance(result: Result) -> Figure:
    figure, axes = plots.new()
    tokens = result.values("by_distance", "tokens")
    shown = {tokens[0]: plots.SKY, tokens[len(tokens) // 2]: plots.ORANGE, tokens[-1]: plots.BLUE}
    for count, colour in shown.items():
        rows = [row for row in result.rows("by_distance", tokens=count) if row["pairs"]]
        x = [row["distance"] for row in rows]
        axes.plot(x, [row["shared"] for row in rows], ".-", color=colour, label=f"{count} tokens")
        low, high = ([row[key] for row in rows] for key in ("shared_low", "shared_high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.1)
    axes.axvline(31.5, color=plots.BLACK, linestyle="--", linewidth=1)
    axes.text(32.5, 0.97, "beyond the rule: opened, not reported", va="top", fontsize=9)
    axes.set(xlabel="Hamming distance of copy and original (bits)", ylabel="copies that share a token (k = 64)")
    axes.set(title="bands: 95 % intervals, photos resampled")
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.88))
    return figure


def _draw_accidents(result: Result) -> Figure:
    figure, axes = plots.new()
    for k in result.values("accidents", "band_bits"):
        rows = result.rows("accidents", band_bits=k)
        x = [row["queries"] for row in rows]
        axes.plot(x, [row["expected"] / row["entries"] for row in rows], "-", color=_COLOURS[k], linewidth=1)
        seen = [row for row in rows if row["entries_opened"]]
        label = f"k = {k}: {rows[-1]['entries_opened']} opened"
        y = [row["entries_opened"] / row["entries"] for row in seen]
        axes.plot([row["queries"] for row in seen], y, "o", color=_COLOURS[k], label=label)
    axes.set(
        xscale="log", yscale="log", ylim=(1e-18, 3), xlabel="unrelated queries asked", ylabel="share of bank opened"
    )
    axes.legend(title="markers: counted\nlines: expected", loc="upper left", bbox_to_anchor=(1, 1))
    return figure

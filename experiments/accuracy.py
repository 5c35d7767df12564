"""Which edits does each hash survive, at what false-positive rate, and does encryption change any answer?

Recall by edit counts photos: the share of originals whose edited copy lies within the threshold. Its interval is
Wilson's, and the mean over edits is bootstrapped over photos: edits of one photo are not independent. Unrelated
pairs are every query against every original that it is not a copy of. Quality is not counted against recall;
the share of copies below the rule's quality stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import plots
from experiments.edits import EDITS
from experiments.fingerprints import Copies, fingerprint
from experiments.lab import Lab
from experiments.results import Findings, Result, Row
from hashing.fingerprint import hamming, rule_for
from protocols import Protocol, available, create
from protocols.base import Hashes, Margins

QUESTION = "Which edits does each hash survive, at what false-positive rate, and does encryption change any answer?"

Asked = tuple[Hashes, Margins | None]


@dataclass(frozen=True)
class Config:
    """thresholds: as multiples of the rule's own are too few to see the shape, the 256-bit and 64-bit lists.
    agreement_queries: how many of the copies every protocol is asked about. bootstraps: resamplings of photos.
    """

    seed: int = 1
    algorithms: tuple[str, ...] = ("pdq", "phash", "dhash", "ahash", "whash")
    edits: tuple[str, ...] = tuple(EDITS)
    thresholds_256: tuple[int, ...] = (15, 23, 31, 39, 47, 55, 63, 71)
    thresholds_64: tuple[int, ...] = (2, 5, 8, 10, 12, 15, 18)
    agreement_thresholds: tuple[int, ...] = (31, 63)
    agreement_queries: int = 500
    bootstraps: int = 400


QUICK = Config(
    algorithms=("pdq", "phash"),
    edits=("JPEG 90", "resize 50 %", "greyscale", "crop 2 % a side", "mirror"),
    agreement_thresholds=(31,),
    agreement_queries=40,
    bootstraps=50,
)


def run(config: Config, lab: Lab) -> Findings:
    """Hash, compare, and ask every protocol the same questions."""
    copies = fingerprint(lab, config.algorithms, config.edits, config.seed)
    findings = Findings()
    for algorithm in config.algorithms:
        for enrolled in (1, 8):
            _measure(findings, config, algorithm, enrolled, copies[algorithm])
    if "pdq" in copies:
        findings.tables["agreement"] = _agreement(config, copies["pdq"], lab)
        exact = [row for row in findings.tables["agreement"] if row["exact"]]
        findings.headline["exact_protocols"] = ", ".join(sorted({str(row["protocol"]) for row in exact}))
        findings.headline["disagreements_of_exact_protocols"] = sum(row["disagreements"] for row in exact)
        findings.headline["comparisons_of_exact_protocols"] = sum(row["comparisons"] for row in exact)
        findings.headline["false_pairs"] = sum(row["false_pairs"] for row in findings.tables["agreement"])
    return findings


def _measure(findings: Findings, config: Config, algorithm: str, enrolled: int, copies: Copies) -> None:
    """Add one algorithm's rows: recall by edit, ROC, distances; `enrolled` orientations stand for each original."""
    rule = rule_for(algorithm)
    thresholds = config.thresholds_256 if rule.bits == 256 else config.thresholds_64
    own, unrelated = distances(copies, enrolled, rule.bits)
    tables, name = findings.tables, {"algorithm": algorithm, "enrolled": enrolled}
    for label in dict.fromkeys(copies.label.tolist()):
        mine = (copies.label == label) & (copies.owner >= 0)
        group = EDITS[label].group if label in EDITS else "dataset"
        for threshold in thresholds:
            hits, photos = int((own[mine] <= threshold).sum()), int(mine.sum())
            low, high = wilson(hits, photos)
            row: Row = {"edit": label, "group": group, "threshold": threshold, "photos": photos}
            row |= {"recall": hits / photos if photos else None, "recall_low": low, "recall_high": high}
            row |= {"low_quality": float(1 - copies.usable[mine].mean()) if photos else None}
            tables.setdefault("recall", []).append(name | row)
    pairs = int(unrelated.sum())
    rng = np.random.default_rng(config.seed)
    for threshold in range(0, rule.bits // 2, 1 if rule.bits == 64 else 2):
        mean, low, high = mean_by_photo(own <= threshold, copies.owner, rng, config.bootstraps)
        false = int(unrelated[: threshold + 1].sum())
        roc: Row = {"threshold": threshold, "recall": mean, "recall_low": low, "recall_high": high}
        roc |= {"false_pairs": false, "unrelated_pairs": pairs, "false_positive_rate": false / pairs if pairs else None}
        tables.setdefault("roc", []).append(name | roc)
    same = np.bincount(own[copies.owner >= 0], minlength=rule.bits + 1)
    for distance in np.flatnonzero(same + unrelated):
        counts: Row = {"distance": distance, "same_photo": same[distance], "unrelated": unrelated[distance]}
        tables.setdefault("distances", []).append(name | counts)
    if enrolled == 1:
        values = np.arange(rule.bits + 1)
        centre = float(np.average(values, weights=unrelated))
        spread = float(np.sqrt(np.average((values - centre) ** 2, weights=unrelated)))
        at_rule = (own <= rule.threshold)[copies.owner >= 0].mean()
        findings.headline |= {
            f"{algorithm}_mean_recall_at_{rule.threshold}": float(at_rule),
            f"{algorithm}_unrelated_pairs": pairs,
            f"{algorithm}_unrelated_mean": centre,
            f"{algorithm}_unrelated_sd": spread,
            f"{algorithm}_unrelated_smallest": int(np.flatnonzero(unrelated)[0]),
        }


def distances(copies: Copies, enrolled: int, bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each query's distance to its original, (Q,) (bits where it has none), and how many unrelated pairs lie at
    each distance, (bits + 1,). With several orientations enrolled the nearest counts.
    """
    own = np.full(len(copies.queries), bits, dtype=np.int64)
    unrelated = np.zeros(bits + 1, dtype=np.int64)
    bank = copies.originals[:, :enrolled]
    for start in range(0, len(own), 256):
        part = slice(start, start + 256)
        every = hamming(copies.queries[part], bank.reshape(-1, bank.shape[2]))
        nearest = every.reshape(len(every), -1, enrolled).min(axis=2)
        owner = copies.owner[part]
        has = np.flatnonzero(owner >= 0)
        own[part][has] = nearest[has, owner[has]]
        other = np.ones(nearest.shape, dtype=bool)
        other[has, owner[has]] = False
        unrelated += np.bincount(nearest[other], minlength=bits + 1)
    return own, unrelated


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float | None, float | None]:
    """Wilson's 95 % interval for a proportion; (None, None) without trials."""
    if not trials:
        return None, None
    p, n = hits / trials, trials
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = np.clip(np.array([centre - half, centre + half]) / (1 + z * z / n), 0.0, 1.0)
    return float(low), float(high)


def mean_by_photo(
    hit: NDArray[np.bool_], owner: NDArray[np.int64], rng: np.random.Generator, bootstraps: int
) -> tuple[float | None, float | None, float | None]:
    """Mean of `hit` over queries that have an owner, with a 95 % interval that resamples owners, not queries.

    Owners without a query are not drawn: they say nothing.
    """
    has = owner >= 0
    if not has.any():
        return None, None, None
    trials = np.bincount(owner[has])
    hits = np.bincount(owner[has], weights=hit[has])[trials > 0]
    trials = trials[trials > 0]
    drawn = rng.multinomial(len(trials), np.full(len(trials), 1 / len(trials)), size=bootstraps)
    means = (drawn @ hits) / (drawn @ trials)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(hits.sum() / trials.sum()), float(low), float(high)


def _agreement(config: Config, copies: Copies, lab: Lab) -> list[Row]:
    """Every protocol's pairs against plaintext's, on the same bank and queries."""
    rows: list[Row] = []
    pick = np.random.default_rng(config.seed).permutation(len(copies.queries))[: config.agreement_queries]
    pick.sort()
    queries, bank = copies.queries[pick], copies.originals[:, 0]
    known = copies.query_margins[pick] if copies.query_margins is not None else None
    cases = [f"case-{number}" for number in range(len(bank))]
    names = [name for name, can in available().items() if can.why_not is None and 256 in can.bits]
    questions = [
        (name, t) for t in config.agreement_thresholds for name in names if t <= available()[name].max_threshold
    ]
    for name, threshold in lab.progress(questions, "asking every protocol", len(questions)):
        truth, found = (
            _pairs(create(each, threshold=threshold), cases, (bank, copies.margins), (queries, known))
            for each in ("plaintext", name)
        )
        row: Row = {"protocol": name, "exact": available()[name].exact, "threshold": threshold}
        row |= {"comparisons": len(bank) * len(queries), "plaintext_pairs": len(truth), "pairs": len(found)}
        row |= {"disagreements": len(truth ^ found), "false_pairs": len(found - truth)}
        row |= {"recall_of_plaintext_pairs": len(truth & found) / len(truth) if truth else None}
        rows.append(row)
    return rows


def _pairs(protocol: Protocol, cases: list[str], bank: Asked, queries: Asked) -> set[tuple[int, str]]:
    """`bank` and `queries`: hashes with their margins."""
    hashes, margins = bank
    protocol.enroll(cases, np.ascontiguousarray(hashes), margins)
    return set(protocol.match(*queries))


def figures(result: Result) -> dict[str, Figure]:
    """recall (what a higher threshold buys), hashes (the algorithms side by side), distances, roc."""
    return {
        "recall": _draw_recall(result),
        "hashes": _draw_hashes(result),
        "distances": _draw_distances(result),
        "roc": _draw_roc(result),
    }


def _draw_recall(result: Result) -> Figure:
    labels = result.values("recall", "edit")
    position = {label: -number for number, label in enumerate(labels)}
    figure, axes = plots.new(size=(6.4, 0.22 * len(labels) + 1.2))
    series = (
        (63, 1, labels, "≤ 63", plots.SKY, "D", 9),
        (47, 1, labels, "≤ 47", plots.ORANGE, "s", 6.5),
        (31, 1, labels, "≤ 31, the rule", plots.BLACK, "o", 4),
        (31, 8, [e for e in labels if e in EDITS and EDITS[e].turns], "≤ 31, 8 orientations", plots.GREEN, "^", 7),
    )
    for threshold, enrolled, wanted, text, colour, marker, size in series:
        rows = result.rows("recall", algorithm="pdq", threshold=threshold, enrolled=enrolled)
        chosen = [row for row in rows if row["edit"] in wanted]
        y = [position[row["edit"]] for row in chosen]
        axes.plot(
            [row["recall"] for row in chosen], y, marker, color=colour, markersize=size, label=text, clip_on=False
        )
        if (threshold, enrolled) == (31, 1):
            low, high = ([row[key] for row in chosen] for key in ("recall_low", "recall_high"))
            axes.hlines(y, low, high, color=plots.BLACK, linewidth=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-len(labels) + 0.4, 0.6))
    axes.set_xlabel("share of photos found by PDQ (bar: 95 % interval at 31)")
    axes.set_yticks(list(position.values()), labels)
    axes.legend(loc="lower right", bbox_to_anchor=(1.02, 1), ncols=4, columnspacing=1, handletextpad=0.2)
    return figure


def _draw_hashes(result: Result) -> Figure:
    algorithms, labels = result.values("recall", "algorithm"), result.values("recall", "edit")
    grid = np.full((len(labels), len(algorithms)), np.nan)
    for column, algorithm in enumerate(algorithms):
        for row in result.rows("recall", algorithm=algorithm, enrolled=1, threshold=rule_for(algorithm).threshold):
            grid[labels.index(row["edit"]), column] = row["recall"]
    figure, axes = plots.new(size=(5.2, 0.23 * len(labels) + 1.2))
    axes.imshow(grid, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(grid):
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color="black" if value > 0.5 else "white")
    axes.set_yticks(range(len(labels)), labels)
    names = [f"{name}\n≤ {rule_for(name).threshold} of {rule_for(name).bits}" for name in algorithms]
    axes.set_xticks(range(len(algorithms)), names)
    axes.grid(visible=False)
    axes.set_title("Share of photos found, each hash at its rule")
    return figure


def _draw_distances(result: Result) -> Figure:
    rows = result.rows("distances", algorithm="pdq", enrolled=1)
    figure, axes = plots.new()
    for kind, label, colour in (
        ("unrelated", "unrelated photos", plots.ORANGE),
        ("same_photo", "a photo and its edited copy", plots.BLUE),
    ):
        counts = np.zeros(257)
        for row in rows:
            counts[row["distance"]] = row[kind]
        share = counts.reshape(-1)[:256].reshape(-1, 4).sum(axis=1) / max(1, counts.sum())
        axes.stairs(share, np.arange(0, 257, 4), fill=True, alpha=0.55, color=colour, label=label)
    for threshold, text in ((31, "rule: 31"), (63, "63")):
        axes.axvline(threshold, color=plots.BLACK, linestyle="--", linewidth=1)
        axes.text(threshold + 1.5, 0.97, text, transform=axes.get_xaxis_transform(), va="top")
    axes.set(yscale="log", xlabel="Hamming distance of two PDQ hashes (bits)", ylabel="share of pairs (log scale)")
    axes.legend(loc="upper right")
    return figure


def _draw_roc(result: Result) -> Figure:
    figure, axes = plots.new()
    floor = 1.0
    for algorithm in result.values("roc", "algorithm"):
        rows = result.rows("roc", algorithm=algorithm, enrolled=1)
        floor = min(floor, 0.5 / max(1, rows[0]["unrelated_pairs"]))
        x = [max(row["false_positive_rate"] or 0, floor) for row in rows]
        colour, marker = plots.look(algorithm)
        axes.fill_between(
            x, [r["recall_low"] for r in rows], [r["recall_high"] for r in rows], color=colour, alpha=0.12
        )
        axes.plot(x, [row["recall"] for row in rows], color=colour, label=algorithm)
        rule = next((n for n, row in enumerate(rows) if row["threshold"] >= rule_for(algorithm).threshold), 0)
        axes.plot(x[rule], rows[rule]["recall"], marker, color=colour, markersize=8)
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="unrelated pairs that match (share, log scale; left edge: none)")
    axes.set_ylabel("copies found, mean over edits")
    axes.legend(title="marker: the rule's threshold")
    return figure

"""Attack 4: an enrolled vector that is not bits, against `scan`.

The scan adds up what was enrolled. Entries far from 0 and 1 make a field of a result as good as random: nine
bits of value, of which 2^kappa count as a match, so that 2^kappa/512 of all uploads match (6 % at threshold 31). Values
beyond the field carry into the next entry's, and whoever stands there is not found any more. The members' check that
every value is 0 or 1, on shares, before an entry is used, refuses both by name. Here it runs, and is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import plots
from experiments.attacks.common import Config, random_hashes, runnable, verdict
from experiments.lab import Lab
from experiments.results import Findings, Result
from protocols import create
from protocols.base import IntegrityError

HONEST, BAD = 600, 60  # of 1,280 slots, so that many entries have neighbours
UPLOADS = 640
SMALL: dict[str, Any] = {"parameter_set": "INSECURE_TINY", "lanes": 1, "allow_insecure": True, "workers": 1}


def run(config: Config, lab: Lab) -> Findings:
    """Enrol malformed entries with and without the check, then look up strangers and honest copies."""
    findings = Findings(tables={"malformed": [], "verdicts": []})
    if "scan" not in runnable():
        return findings
    for checked in (False, True):
        for kind, largest in (("matches many", 1 << 9), ("silences neighbours", 1 << 40)):
            rng = np.random.default_rng(config.seed)
            refused, false, silenced = _try(rng, largest, checked)
            findings.tables["malformed"].append(
                {"check": checked, "values_below": largest, "refused": refused,
                 "strangers_matched_an_entry": false, "honest_entries_silenced": silenced}
            )  # fmt: skip
            defence = "well-formedness check" if checked else "none: check switched off"
            value = false if kind == "matches many" else silenced
            what = "share of strangers that match it" if kind == "matches many" else "share of other entries not found"
            findings.tables["verdicts"].append(
                verdict(f"4 malformed entry ({kind})", "scan", defence, what, value, value > 0.01, 0.0)
            )
    return findings


def _try(rng: np.random.Generator, largest: int, checked: bool) -> tuple[bool, float, float]:
    """(refused, share of strangers that one bad entry matches, share of honest entries whose copy is not found)."""
    protocol: Any = create("scan", **SMALL)
    honest, strangers = random_hashes(rng, HONEST), random_hashes(rng, UPLOADS)
    protocol.enroll([f"case-{number}" for number in range(HONEST)], honest)
    if not checked:
        for member in protocol._members.values():
            _switch_check_off(member.custody)
    values = rng.integers(0, largest, (BAD, 256), dtype=np.uint64)
    with _client_that_seals(values):
        try:
            protocol.enroll([f"bad-{number}" for number in range(BAD)], random_hashes(rng, BAD))
            refused = False
        except IntegrityError:
            refused = True
    matched = [match for match in protocol.match(strangers) if match.case.startswith("bad-")]
    found = {match.query for match in protocol.match(honest) if match.case == f"case-{match.query}"}
    return refused, len(matched) / (UPLOADS * BAD), 1 - len(found) / HONEST


@contextmanager
def _client_that_seals(values: NDArray[np.uint64]) -> Iterator[None]:
    """While inside, clients share and seal these rows where an entry's bits belong."""
    from protocols.scan import client

    honest, rows = client.seal_entry, iter(values)
    client.seal_entry = lambda bits, *rest: honest(next(rows), *rest)
    try:
        yield
    finally:
        client.seal_entry = honest


def _switch_check_off(custody: Any) -> None:
    def settle(batch_id: bytes) -> bool:
        custody._batch(batch_id).open = []
        return True

    custody.settle = settle


def figure(result: Result) -> Figure:
    """What bad entries reach, with the check and without."""
    figure, axes = plots.new(size=(6.4, 2.8))
    rows = [row for row in result.rows("verdicts") if str(row["attack"]).startswith("4 ")]
    names = [f"{str(row['attack']).partition('(')[2][:-1]}\n{row['defence']}" for row in rows]
    colours = [plots.RED if row["succeeds"] else plots.BLUE for row in rows]
    bars = axes.barh(names, [row["value"] for row in rows], color=colours)
    axes.bar_label(bars, [f" {row['value']:.3f}" for row in rows])
    axes.set(xlabel="share of strangers matched, or of honest entries lost")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    return figure

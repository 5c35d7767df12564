"""What breaks, and what stops it: each attack is a module here and a row in `ATTACKS`.

An attack has `run(config, lab) -> Findings` with a table "verdicts" (one row a target: what was reached, what
guessing reaches, whether that is a success, what the defence is) and `figure(result)`.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from matplotlib.figure import Figure

from experiments.attacks.common import QUICK, Config
from experiments.lab import Lab
from experiments.results import Findings, Result

__all__ = ["ATTACKS", "QUESTION", "QUICK", "Config", "figures", "run"]

QUESTION = "What breaks, and what stops it?"
ATTACKS = ("inversion", "oracle", "geometry", "malformed", "chosen", "harvest", "noise")


def run(config: Config, lab: Lab) -> Findings:
    """Every attack, its verdicts gathered in one table."""
    together = Findings(tables={"verdicts": []})
    for name in lab.progress(ATTACKS, "attacks", len(ATTACKS)):
        found = _module(name).run(config, lab)
        together.tables["verdicts"] += found.tables.pop("verdicts")
        together.tables |= found.tables
        together.headline |= found.headline
    return together


def figures(result: Result) -> dict[str, Figure]:
    """One figure an attack, by its name."""
    return {name: _module(name).figure(result) for name in ATTACKS}


def _module(name: str) -> ModuleType:
    return import_module(f"experiments.attacks.{name}")

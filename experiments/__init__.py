"""Accuracy, cost, leakage and attacks, measured: one module an experiment, one result file a run.

An experiment is a module with a frozen dataclass `Config` (its defaults are the full run), `QUICK` (what CI
runs), `QUESTION`, `run(config, lab) -> Findings` and `figures(result) -> {name: Figure}`. Its row here makes
it a command, a part of the report and a subject of the tests.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

EXPERIMENTS = (
    "accuracy",
    "leakage",
    "attacks",
    "cost",
    "scan",
    "enrolling",
    "blind",
    "scale",
    "variants",
    "video",
    "opening",
)


class ExperimentError(Exception):
    """Root of what this package raises on purpose; says what to do about it."""


def load_experiment(name: str) -> ModuleType:
    """The module of an experiment. Raises ExperimentError for a name that is not in `EXPERIMENTS`."""
    if name not in EXPERIMENTS:
        raise ExperimentError(f"no experiment is called {name!r}; there are {', '.join(EXPERIMENTS)}")
    return import_module(f"experiments.{name}")

"""What a run has at hand: photos, workers, a progress display.

`Lab.map` is the one way to run something over many items: over processes by joblib, or, with the address of a
Dask scheduler, over a cluster's workers. The work must not depend on order or on which worker does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import joblib
from rich.console import Console
from rich.progress import track

from experiments import ExperimentError
from experiments.datasets import Dataset

REPOSITORY_RESULTS = Path(__file__).parent / "results"

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Lab:
    """photos: what to hash. cache: where fingerprints are kept between runs, or None. jobs: processes (-1: one a
    core). scheduler: a Dask scheduler's address instead. results: where an experiment that builds on another one finds
    its file. quiet: no progress display.
    """

    photos: Dataset
    cache: Path | None = None
    jobs: int = -1
    scheduler: str | None = None
    results: Path = REPOSITORY_RESULTS
    quiet: bool = False

    def map(self, function: Callable[[Item], Answer], items: Sequence[Item], what: str) -> list[Answer]:
        """[function(item) for item in items], in order, over the workers."""
        if not items:
            return []
        with self._workers() as options:
            answers = joblib.Parallel(return_as="generator", **options)(
                joblib.delayed(function)(item) for item in items
            )
            return list(self.progress(answers, what, len(items)))

    def progress(self, items: Any, what: str, total: int | None = None) -> Iterator[Any]:
        """Go through `items`, showing how far it is."""
        return iter(track(items, what, total=total, console=Console(stderr=True), disable=self.quiet, transient=True))

    @contextmanager
    def _workers(self) -> Iterator[dict[str, Any]]:
        if self.scheduler is None:
            yield {"n_jobs": self.jobs}
            return
        with self._client(), joblib.parallel_config(backend="dask", wait_for_workers_timeout=30):
            yield {}

    @contextmanager
    def executor(self) -> Iterator[Executor | None]:
        """The Dask cluster as an executor, for the scan's products over blocks; None where there is no cluster.

        Its workers must see the same files.
        """
        if self.scheduler is None:
            yield None
            return
        with self._client() as client:
            yield client.get_executor()

    def _client(self) -> Any:
        """Raises ExperimentError if no scheduler answers."""
        try:
            from dask.distributed import Client
        except ImportError as error:
            raise ExperimentError("a scheduler needs Dask: install the extra 'cluster'") from error
        try:
            return Client(self.scheduler, timeout=5)
        except (OSError, ValueError) as error:
            raise ExperimentError(f"no Dask scheduler answers at {self.scheduler!r}: {error}") from None

"""What this machine can do at best, one thread: the limits beside which the experiments' times are read."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from blake3 import blake3
from threadpoolctl import threadpool_limits

from experiments.results import Row, quartiles
from protocols.scan.parameters import Parameters
from protocols.scan.ring import ring_of
from protocols.scan.sampling import Stream


def measure_machine(size: int = 1024, repeats: int = 7) -> Row:
    """One thread's float64 matrix product and memory copy."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, size, size))
    source = np.ones(1 << 24)
    target = np.empty_like(source)
    products, copies = [], []
    with threadpool_limits(1):
        for _ in range(repeats):
            start = time.perf_counter()
            left @ right
            products.append(2 * size**3 / (time.perf_counter() - start) / 1e9)
            start = time.perf_counter()
            np.copyto(target, source)
            copies.append(2 * source.nbytes / (time.perf_counter() - start) / 1e9)
    return quartiles(products, "float64_matmul_gflops") | quartiles(copies, "memory_copy_gb_a_second")


def rates(repeats: int) -> Row:
    """Rates of what a scan is made of beside products: reading memory and a cache, keystream, digests, transforms."""
    n = Parameters().n
    field, polynomial = ring_of(n).fields[0], Stream().uniform(n)[0].reshape(1, n)
    large, small, words = np.ones(1 << 24), np.ones(1 << 14), np.zeros(1 << 21, dtype="<u8")
    reads: dict[str, tuple[int, Callable[[], object]]] = {
        "memory_read": (large.nbytes, lambda: large @ large),
        "cache_read": (small.nbytes, lambda: small @ small),
        "keystream": (words.nbytes, lambda: Stream().fill(words)),
        "digest": (words.nbytes, lambda: blake3(words.view(np.uint8).data).digest()),
    }
    row: Row = {}
    with threadpool_limits(1):
        for name, (size, work) in reads.items():
            row |= quartiles([size / each / 1e9 for each in _seconds(work, repeats)], f"{name}_gb_a_second")
    forward = _seconds(lambda: field.forward(polynomial), repeats)
    inverse = _seconds(lambda: field.inverse(polynomial), repeats)
    row |= quartiles([each * 1e6 for each in forward], "forward_transform_us")
    return row | quartiles([each * 1e6 for each in inverse], "inverse_transform_us")


def both_processors(repeats: int, seconds: float = 0.5) -> Row:
    """How much faster two processes are than one at what needs no memory, and at reading memory: 2 where nothing is
    shared. No program gains more by a second worker.
    """
    gains: dict[str, list[float]] = {"multiplying": [], "reading": []}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as two:
        list(two.map(_calls, gains, [0.0, 0.0]))  # both have started
        for _ in range(repeats):
            for what, gain in gains.items():
                alone = two.submit(_calls, what, seconds).result()
                gain.append(sum(two.map(_calls, [what, what], [seconds, seconds])) / alone)
    return quartiles(gains["multiplying"], "two_multiplying_over_one") | quartiles(
        gains["reading"], "two_reading_over_one"
    )


def _calls(what: str, seconds: float) -> float:
    """How often a second this process multiplies matrices of 0.5 MB, or reads 128 MB."""
    matrix, large = np.ones((256, 256)), np.ones(1 << 24)
    work: Callable[[], object] = (lambda: matrix @ matrix) if what == "multiplying" else (lambda: large @ large)
    with threadpool_limits(1):
        work()
        calls, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            work()
            calls += 1
    return calls / spent if spent else 0.0


def _seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Of one call, `repeats` times over as many calls as take 20 ms."""
    work()
    start = time.perf_counter()
    work()
    calls = max(1, int(0.02 / (time.perf_counter() - start)))
    spent = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        spent.append((time.perf_counter() - start) / calls)
    return spent

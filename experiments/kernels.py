"""What single pieces of compiled code of the scan take, on a full block of made-up residues, one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from experiments.attacks.common import random_hashes
from experiments.results import Row, quartiles
from protocols.scan.functional import functional
from protocols.scan.packing import pack, unpack_rows
from protocols.scan.parameters import FIELDS, PRIMES, RESIDUE_BITS, Parameters
from protocols.scan.product import AHEAD, TILE_ROWS, scan_block
from protocols.scan.sampling import Stream
from protocols.scan.sums import places, signed_sums


def time_kernels(lanes: int, batch: int, repeats: int) -> list[Row]:
    """Nanoseconds a comparison of each kernel, for a block of `lanes` lanes and a batch of `batch` queries.

    A block of 8 lanes has 100 MB: what reads it reads memory.
    """
    parameters, stream = Parameters(lanes=lanes), Stream()
    bits, n, parts = parameters.bits, parameters.n, lanes + 1
    planes = np.stack([pack(stream.uniform(parts, n)).reshape(2 * parts, RESIDUE_BITS, n // 64) for _ in range(bits)])
    zeros = np.stack([stream.uniform(parts, n) for _ in range(batch)])
    hashes = random_hashes(np.random.default_rng(1), batch)
    where, rho = places(hashes), stream.uniform(parts, n)
    tile, out = np.empty((bits, TILE_ROWS * n // 64)), np.empty((batch, TILE_ROWS * n // 64))
    tiles = [(part, first) for part in range(2 * parts) for first in range(0, 64, TILE_ROWS)]

    def unpack_all() -> None:
        for part, first in tiles:
            unpack_rows(planes, tile, part, first, PRIMES[part >= parts], AHEAD * planes[0].size)

    def sum_all() -> None:
        for _ in tiles:
            signed_sums(tile, where, out)

    kernels: dict[str, Callable[[], object]] = {
        "product, all of it": lambda: scan_block(planes, hashes, zeros, parameters),
        "signed sums of planes": sum_all,
        "unpacking planes, from memory": unpack_all,
        "functional of a block": lambda: functional(planes, rho, "planes"),
    }
    spent: dict[str, list[float]] = {name: [] for name in kernels}
    with threadpool_limits(1):
        for _ in range(repeats):
            for name, work in kernels.items():
                start = time.perf_counter()
                work()
                spent[name].append((time.perf_counter() - start) / (batch * lanes * n * FIELDS) * 1e9)
    return [
        {"kernel": name, "batch": batch, "lanes": lanes} | quartiles(v, "ns_a_comparison") for name, v in spent.items()
    ]

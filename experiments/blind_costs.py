"""What a query of the blinded index costs: CPU by role beside its bare multiplications, and in tables of any size."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.results import Row
from protocols import create
from protocols.blind import group
from protocols.blind.table import COLUMNS, TokenTable
from protocols.ledger import role_of


def of_query(tokens: int, seed: int, repeats: int) -> list[Row]:
    """CPU milliseconds of one query by role, with and without proofs, 2 of 3 members, and of 4 * tokens bare
    multiplications; the three take turns.
    """
    rng = np.random.default_rng(seed)
    protocols = {proofs: create("blind", query_tokens=tokens, proofs=proofs, threads=1) for proofs in (False, True)}
    spent: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    bare: list[float] = []
    elements = group.multiply_base(group.random_scalars(tokens))
    for _ in range(repeats + 1):  # the first warms up
        query, margins = rng.integers(0, 256, (1, 32), dtype=np.uint8), rng.standard_normal((1, 256))
        bare.append(_multiplications_ms(elements))
        for proofs, protocol in protocols.items():
            spent[proofs].append(_cpu_ms(protocol, query, margins))
    rows: list[Row] = []
    for proofs, samples in spent.items():
        row: Row = {"tokens": tokens, "proofs": proofs}
        for role in ("platform", "member"):
            row[f"{role}_ms"] = median(sample[role] for sample in samples[1:])
        totals = [sum(sample.values()) for sample in samples[1:]]
        row |= {"all_ms": median(totals), "all_ms_smallest": min(totals)}
        row |= {"multiplications_ms": median(bare[1:]), "multiplications_ms_smallest": min(bare[1:])}
        row |= {"all_over_multiplications": median(np.divide(totals, bare[1:]).tolist())}
        size = sum(m.size for m in protocols[proofs].ledger.messages if m.phase == "match")
        rows.append(row | {"bytes_a_query": size // (repeats + 1)})
    return rows


def _multiplications_ms(elements: group.Rows) -> float:
    """Of an evaluation of each element: to blind, for either member, to unblind."""
    scalars = [group.random_scalars(len(elements)) for _ in range(4)]
    start = time.thread_time()
    for each in scalars:
        group.multiply(each, elements)
    return 1000 * (time.thread_time() - start)


def _cpu_ms(protocol: Any, query: NDArray[np.uint8], margins: NDArray[np.float64]) -> dict[str, float]:
    before = dict(protocol.ledger.cpu_seconds)
    protocol.match(query, margins)
    spent: dict[str, float] = defaultdict(float)
    for (role, phase), seconds in protocol.ledger.cpu_seconds.items():
        spent[role_of(role)] += 1000 * (seconds - before.get((role, phase), 0.0))
    return spent


def of_lookups(banks: Sequence[int], seed: int, repeats: int) -> list[Row]:
    """A query against tables of different sizes, made up directly: sorted random ids, everything else zero."""
    rng = np.random.default_rng(seed)
    protocol: Any = create("blind", threads=1)
    tokens = protocol.parameters.entry_tokens
    tables = {entries: _made_up(rng, entries * tokens) for entries in banks}
    samples: dict[int, list[tuple[float, float]]] = {entries: [] for entries in banks}
    for _ in range(2 * repeats):
        query, margins = rng.integers(0, 256, (1, 32), dtype=np.uint8), rng.standard_normal((1, 256))
        ids = rng.integers(0, 256, (tokens, 12), dtype=np.uint8)
        for entries, table in tables.items():
            protocol._platform.table = table
            start = time.perf_counter()
            table.find(ids)
            lookup = 1000 * (time.perf_counter() - start)
            samples[entries].append((lookup, sum(_cpu_ms(protocol, query, margins).values())))
    rows: list[Row] = []
    for entries, values in samples.items():
        row: Row = {"entries": entries, "rows": len(tables[entries]), "bytes": tables[entries].nbytes}
        row |= {"lookup_ms": median(value[0] for value in values), "query_ms": median(value[1] for value in values)}
        rows.append(row)
    return rows


def _made_up(rng: np.random.Generator, rows: int) -> TokenTable:
    gaps = rng.integers(1, 2**64 // rows, rows, dtype=np.uint64, endpoint=True)
    head = np.cumsum(gaps)  # ascending, and below 2^64
    others = [np.zeros((rows, *shape), dtype) for name, (dtype, shape) in COLUMNS.items() if name != "head"]
    return TokenTable(head, *others)

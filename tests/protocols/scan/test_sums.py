"""Signed sums by tables: equal to integer arithmetic, at the extremes, for every shape that the scan uses."""

import numpy as np
import pytest

from protocols.scan.parameters import PRIMES
from protocols.scan.product import product, signs
from protocols.scan.sums import STRIP, places, signed_sums

TOP = max(PRIMES) // 2


@pytest.mark.parametrize(("bits", "queries", "columns"), [(256, 13, 48), (64, 1, STRIP), (256, 64, 256), (64, 70, 80)])
def test_sums_are_those_of_the_integers(bits, queries, columns):
    rng = np.random.default_rng(bits + queries)
    hashes = rng.integers(0, 256, (queries, bits // 8), dtype=np.uint8)
    hashes[0] = 0
    rows = rng.integers(-TOP, TOP + 1, (bits, columns))
    rows[:, 0], rows[:, 1], rows[:, 2] = TOP, -TOP, np.where(np.arange(bits) % 2, TOP, -TOP)
    rows[:, 3] = np.where(np.unpackbits(hashes[-1]), -TOP, TOP)  # the largest sum that there is, for one query
    out = np.empty((queries, columns))
    signed_sums(rows.astype(np.float64), places(hashes), out)
    exact = signs(hashes).astype(np.int64) @ rows
    assert np.array_equal(out.astype(np.int64), exact)
    assert exact[-1, 3] == bits * TOP
    assert np.array_equal(out, product(signs(hashes), rows.astype(np.float64)))


def test_every_sign_of_every_row_counts():
    hashes = np.packbits(np.eye(256, dtype=np.uint8), axis=1)
    rows = np.arange(1, 257, dtype=np.float64)[:, None] ** 2 * np.ones(STRIP)
    out = np.empty((256, STRIP))
    signed_sums(rows, places(hashes), out)
    assert np.array_equal(out, rows[:, :1].sum() - 2 * rows)

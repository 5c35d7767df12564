"""Tries are counted as a list of all inputs would have them."""

from itertools import combinations

import numpy as np
import pytest

from experiments import guessing
from hashing.pdq import Pdq
from protocols.blind import bands
from protocols.blind.parameters import Parameters

SMALL = Parameters(k=8, bands=5, entry_tokens=3, query_tokens=3, allow_unsafe_k=True)


def pdq(coefficients):
    return Pdq(coefficients.astype(np.float32), 100)


def losses(image):
    """Of every band and set of turned bits."""
    odds, where = bands.log_odds(image.margins).astype(float), bands.positions(SMALL)
    found = {}
    for band in range(SMALL.bands):
        unturned = np.log1p(np.exp(-odds[where[band]])).sum()
        for turned in range(SMALL.k + 1):
            for bits in combinations(range(SMALL.k), turned):
                found[band, bits] = unturned + odds[where[band, list(bits)]].sum()
    return found


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 0.5])
def test_as_many_tries_as_inputs_that_are_no_less_probable(noise):
    rng = np.random.default_rng(8)
    for _ in range(5):
        signal = rng.standard_normal((16, 16))
        entry, image = pdq(signal), pdq(signal + noise * rng.standard_normal((16, 16)))
        _, chosen, values = bands.inputs(guessing.packed(entry), entry.margins[None], 3, SMALL)
        differ = np.unpackbits(guessing.packed(image))[bands.positions(SMALL)[chosen[0]]] != values[0]
        every = losses(image)
        needed = min(
            every[band, tuple(np.flatnonzero(bits).tolist())]
            for band, bits in zip(chosen[0].tolist(), differ, strict=True)
        )
        fewest = sum(loss <= needed for loss in every.values())
        most = sum(loss <= needed + SMALL.k * guessing.STEP for loss in every.values())
        assert 1 <= fewest <= guessing.tries(entry, image, SMALL) <= most


def test_what_is_out_of_reach_takes_forever():
    rng = np.random.default_rng(1)
    entry, other = (pdq(rng.standard_normal((16, 16))) for _ in range(2))
    assert guessing.tries(entry, other, Parameters()) > 1e12

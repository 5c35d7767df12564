"""Bands: public and fixed; tokens: the most promising ones, always as many."""

import hashlib
from itertools import product

import numpy as np
import pytest

from protocols.blind import bands
from protocols.blind.parameters import Parameters

SMALL = Parameters(bands=40, entry_tokens=12, query_tokens=12)


def test_positions_are_distinct_ascending_and_the_same_for_everybody():
    where = bands.positions(Parameters())
    assert where.shape == (1024, 64)
    assert (np.diff(where, axis=1) > 0).all()
    assert where.min() == 0
    assert where.max() == 255
    # A change here changes every token: a new domain string is due.
    assert hashlib.sha256(where.astype("<u2").tobytes()).hexdigest().startswith("9d26974f635e3e4f")


def test_without_margins_the_first_bands_as_they_are(rng):
    hashes = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    texts, chosen, values = bands.inputs(hashes, None, 12, SMALL)
    assert len(texts) == 36
    assert (chosen == np.arange(12)).all()
    assert (values == np.unpackbits(hashes, axis=1)[:, bands.positions(SMALL)[:12]]).all()
    assert texts[13] == SMALL.domain + b"\x00\x01" + np.packbits(values[1, 1]).tobytes()


def test_with_margins_exactly_the_most_probable_inputs(rng):
    for _ in range(20):
        margins = rng.standard_normal(256).astype(np.float32)
        odds = bands.SHARPNESS * np.abs(margins) / np.median(np.abs(margins))
        flips = 1 / (1 + np.exp(odds))
        survival = {}
        for band, where in enumerate(bands.positions(SMALL)):
            survives = np.log1p(-flips[where]).sum()
            survival[band, -1] = survives
            for position in where:
                survival[band, position] = survives + np.log(flips[position]) - np.log1p(-flips[position])
        best = sorted(survival, key=survival.get, reverse=True)[:12]
        found = set(zip(*(part.tolist() for part in bands.choose(margins, 12, SMALL)), strict=True))
        assert found == set(best)


def test_a_turned_bit_is_turned_and_inputs_are_distinct(rng):
    hashes, margins = rng.integers(0, 256, (4, 32), dtype=np.uint8), rng.standard_normal((4, 256))
    margins[:, 7] = 1e-9
    texts, chosen, values = bands.inputs(hashes, margins, 12, SMALL)
    plain = np.take_along_axis(np.unpackbits(hashes, axis=1)[:, None], bands.positions(SMALL)[chosen], axis=2)
    turned = (plain != values).sum(axis=2)
    assert set(turned.ravel().tolist()) == {0, 1}
    assert all(len(set(texts[row * 12 : row * 12 + 12])) == 12 for row in range(4))


@pytest.mark.parametrize(
    ("kind", "scale"),
    [
        ("f8", 1e-300),
        ("f8", 1e4),
        ("f8", 1e39),
        ("f8", 1e300),
        ("f4", 1e-37),
        ("f4", 1e37),
        ("f2", 16),
        ("f8", 2.0**-1070),
    ],
)
def test_the_scale_of_margins_does_not_matter(rng, kind, scale):
    margins = rng.standard_normal(256).astype(kind)
    if scale < 1e-300:
        margins = np.round(margins * 8) / 8  # digits that numbers so small still have
    one, other = (set(zip(*map(tuple, bands.choose(m, 12, SMALL)), strict=True)) for m in (margins, margins * scale))
    assert one == other


def test_one_margin_far_above_the_others_changes_nothing_else(rng):
    def chosen(margins):
        return set(zip(*(part.tolist() for part in bands.choose(margins, 12, SMALL)), strict=True))

    margins = rng.standard_normal(256)
    margins[3] = 1e6
    expected = chosen(margins)
    margins[3] = 1e60
    assert chosen(margins) == expected
    half = margins.clip(max=60_000).astype("f2")
    assert chosen(half) == chosen(half.astype("f8"))


def test_flat_margins_are_taken():
    assert len(bands.choose(np.zeros(256), 12, SMALL)[0]) == 12
    assert len(bands.choose(np.full(256, np.finfo(np.float64).max), 12, SMALL)[0]) == 12


def test_copies_share_tokens_more_often_with_margins_than_without(rng):
    signal = rng.standard_normal((40, 256))
    copy = signal + 0.2 * rng.standard_normal(signal.shape)
    hashes, copies = (np.packbits(values > 0, axis=1) for values in (signal, copy))
    shared = {}
    for known, parameters in product((False, True), [Parameters(entry_tokens=64, query_tokens=64)]):
        margins = (signal, copy) if known else (None, None)
        ours, theirs = (
            np.array(bands.inputs(h, m, 64, parameters)[0], dtype=object).reshape(40, 64)
            for h, m in zip((hashes, copies), margins, strict=True)
        )
        shared[known] = sum(bool(set(a) & set(b)) for a, b in zip(ours, theirs, strict=True))
    assert shared[True] >= 35
    assert shared[False] < shared[True] - 5

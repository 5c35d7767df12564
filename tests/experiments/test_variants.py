"""The greedy choice is greedy, the photo stays first, edits are reproducible, and a run's numbers hang together."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from experiments import variants
from experiments.__main__ import conduct
from experiments.datasets import Dataset, bundled
from experiments.lab import Lab
from experiments.ranges import FURTHER, RANGES, draw, generator


def made_up(hits):
    """Distances (photos 2, edits, draws 1, candidates): 20 where `hits` says so, else 100."""
    distances = np.full((2, len(variants.EDITS), 1, 4), 100)
    for candidate, edits in hits.items():
        distances[:, list(edits), :, candidate] = 20
    return distances


def test_choice_takes_what_helps_most_and_the_photo_first():
    assert variants.choose(made_up({0: [8], 1: [0, 1], 2: [0, 1, 2, 3], 3: [4]}), 4) == [0, 2, 3, 1]


def test_choice_counts_only_what_is_new():
    assert variants.choose(made_up({0: [0, 1, 2], 1: [0, 1, 2], 2: [3]}), 2) == [0, 2]


@pytest.mark.parametrize("name", [*RANGES, *FURTHER])
def test_edits_are_reproducible_and_change_the_photo(name):
    photo = Image.fromarray(data.chelsea())
    first, again, other = (np.asarray(draw(name, photo, generator(*keys))) for keys in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_a_quick_run():
    photos = {name: path for name, path in bundled().originals.items() if name in ("astronaut", "chelsea", "rocket")}
    lab = Lab(Dataset("three", photos), jobs=1, quiet=True)
    result = conduct("variants", lab, quick=True, command="test")
    none, standard, thorough = (result.headline[f"{name}_mean_recall_at_31"] for name in variants.SETS)
    assert none < 0.6 < standard <= thorough
    assert result.headline["standard_mirror_recall_at_31"] == 1
    assert result.headline["thorough_unrelated_smallest"] > 63
    assert result.headline["none_unrelated_pairs"] == 3 * 2
    assert result.headline["standard_unrelated_pairs"] == 3 * 3 * 2 * 16
    for edit in variants.EDITS:
        row = {each["variants"]: each["recall"] for each in result.rows("recall", edit=edit, threshold=31)}
        assert row["none"] <= row["standard"]
    assert set(variants.figures(result)) == {"curve", "edits", "unrelated"}

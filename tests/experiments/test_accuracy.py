"""Recall, intervals and false pairs equal what a reader would count by hand; every protocol is asked."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from experiments import accuracy, plots
from experiments.__main__ import conduct
from experiments.datasets import open_dataset
from experiments.edits import apply
from experiments.fingerprints import ORIGINAL, Copies, fingerprint
from experiments.lab import Lab
from hashing.image import hash_image
from protocols import available


def flipped(row, count):
    bits = np.unpackbits(row)
    bits[:count] ^= 1
    return np.packbits(bits)


def made_up():
    """Two originals; copies of the first at distances 0, 31 and 32, of the second at 40; one distractor."""
    rng = np.random.default_rng(5)
    originals = rng.integers(0, 256, (2, 8, 32), dtype=np.uint8)
    a, b = originals[:, 0]
    return Copies(
        originals=originals,
        queries=np.array([a, flipped(a, 31), flipped(a, 32), flipped(b, 40), flipped(originals[1, 5], 3)]),
        owner=np.array([0, 0, 0, 1, -1]),
        label=np.array(["x", "x", "y", "y", "z"]),
        usable=np.ones(5, dtype=bool),
    )


def test_distances_to_the_own_original_and_to_all_others():
    own, unrelated = accuracy.distances(made_up(), 1, 256)
    assert own.tolist() == [0, 31, 32, 40, 256]
    assert unrelated.sum() == 4 * 1 + 2
    assert unrelated[:41].sum() == 0


def test_with_eight_orientations_the_nearest_counts():
    _, unrelated = accuracy.distances(made_up(), 8, 256)
    assert unrelated[3] == 1


def test_intervals_contain_the_proportion_and_resample_photos():
    low, high = accuracy.wilson(8, 10)
    assert low == pytest.approx(0.4902, abs=1e-4)
    assert high == pytest.approx(0.9433, abs=1e-4)
    assert accuracy.wilson(0, 0) == (None, None)
    for n in range(1, 40):
        low, high = accuracy.wilson(0, n)[0], accuracy.wilson(n, n)[1]
        assert 0 <= low < 1e-12
        assert 1 - 1e-12 < high <= 1
    owner = np.repeat(np.arange(4), 50)
    hit = owner < 2  # all copies of a photo hit or miss together, so four photos are four samples
    mean, low, high = accuracy.mean_by_photo(hit, owner, np.random.default_rng(1), 500)
    assert mean == 0.5
    assert low <= 0.01
    assert high >= 0.99
    apart = np.array([0, 0, 900, 900])  # of the photos between, no query is here
    assert accuracy.mean_by_photo(np.ones(4, bool), apart, np.random.default_rng(1), 500) == (1.0, 1.0, 1.0)
    assert accuracy.mean_by_photo(hit[:3], np.full(3, -1), np.random.default_rng(1), 5) == (None, None, None)


def test_fingerprints_are_those_of_the_edited_photo_and_come_back_from_the_cache(tmp_path):
    Image.fromarray(data.astronaut()).resize((200, 200)).save(tmp_path / "a.png")
    lab = Lab(open_dataset(tmp_path), cache=tmp_path / "cache", jobs=1, quiet=True)
    first = fingerprint(lab, ["pdq", "phash"], ["JPEG 50", "mirror"], seed=3)
    image = Image.open(tmp_path / "a.png").convert("RGB")
    assert first["pdq"].originals[0, 0].tobytes() == hash_image(image, "pdq").data
    assert first["phash"].queries[0].tobytes() == hash_image(apply("JPEG 50", image, "a.png", 3), "phash").data
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes().replace(hash_image(image, "pdq").hex.encode(), b"00" * 32))
    assert not fingerprint(lab, ["pdq"], ["JPEG 50"], seed=3)["pdq"].originals[0, 0].any()
    fingerprint(lab, ["pdq"], [], seed=4)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_dataset_s_own_queries_are_used_instead_of_edits(tmp_path):
    for name in ("original/200000.png", "original/200100.png", "strong/200001.png", "crops/10/200100.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.astronaut()[: 300 + 10 * len(name)]).save(tmp_path / name)
    copies = fingerprint(Lab(open_dataset(tmp_path), jobs=1, quiet=True), ["pdq"], ["mirror"], seed=1)["pdq"]
    assert sorted(zip(copies.label.tolist(), copies.owner.tolist(), strict=True)) == [("crops/10", 1), ("strong", 0)]
    assert ORIGINAL not in copies.label
    assert np.array_equal(copies.query_margins > 0, np.unpackbits(copies.queries, axis=1) == 1)
    assert np.array_equal(copies.margins > 0, np.unpackbits(copies.originals[:, 0], axis=1) == 1)


def test_the_quick_run_asks_every_protocol_and_exact_ones_never_disagree():
    result = conduct("accuracy", Lab(open_dataset(None), jobs=1, quiet=True), True, "command")
    asked = {row["protocol"] for row in result.tables["agreement"]}
    assert asked == {name for name, can in available().items() if can.why_not is None and 256 in can.bits}
    assert result.headline["disagreements_of_exact_protocols"] == 0
    assert result.headline["false_pairs"] == 0
    for row in result.tables["recall"]:
        if row["algorithm"] == "pdq" and row["edit"] in ("JPEG 90", "greyscale"):
            assert row["threshold"] < 31 or row["recall"] == 1
        if (row["edit"], row["threshold"], row["enrolled"], row["algorithm"]) == ("mirror", 31, 8, "pdq"):
            assert row["recall"] == 1
    with plots.style():
        assert set(accuracy.figures(result)) == {"recall", "hashes", "distances", "roc"}

"""Every edit gives a photo, the same one every time, and does what its name says."""

import os

import numpy as np
import pytest
from PIL import Image
from skimage import data

from experiments import fingerprints
from experiments.edits import EDITS, apply


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(data.astronaut()).resize((300, 200))


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_deterministic_and_changes_the_photo(image, name):
    before = np.asarray(image).copy()
    first, again = (apply(name, image, "photo", 1) for _ in range(2))
    assert first.mode == "RGB"
    assert np.array_equal(np.asarray(first), np.asarray(again))
    assert first.size != image.size or not np.array_equal(np.asarray(first), before)
    assert np.array_equal(np.asarray(image), before)


@pytest.mark.parametrize("name", ["noise 10", "emoji", "perspective"])
def test_randomness_depends_on_seed_and_photo(image, name):
    pictures = [np.asarray(apply(name, image, *key)).tobytes() for key in (("a", 1), ("a", 2), ("b", 1))]
    assert len(set(pictures)) == 3


@pytest.mark.parametrize(
    ("name", "size"),
    [("crop 10 % a side", (240, 160)), ("crop 10 % one side", (270, 200)), ("resize 50 %", (150, 100)),
     ("rotate 90°", (200, 300)), ("thumbnail 128", (128, 85)), ("border 5 %", (330, 230)), ("caption bar", (300, 200))],
)  # fmt: skip
def test_sizes_are_what_the_names_say(image, name, size):
    assert apply(name, image, "photo", 1).size == size


def test_turns_keep_every_pixel(image):
    for name in (name for name, edit in EDITS.items() if edit.turns):
        turned = np.asarray(apply(name, image, "photo", 1)).reshape(-1, 3)
        assert np.array_equal(np.sort(turned, axis=0), np.sort(np.asarray(image).reshape(-1, 3), axis=0))


def test_a_photo_whose_name_is_not_utf_8_is_edited_and_kept_too(image):
    name = os.fsdecode(b"\xff.jpg")
    assert apply("noise 10", image, name, 1) == apply("noise 10", image, name, 1)
    assert fingerprints._key(b"", name, 1) != fingerprints._key(b"", "other.jpg", 1)

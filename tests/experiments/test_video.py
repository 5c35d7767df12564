"""Filming is reproducible, retiming is right, and a run's numbers hang together."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from experiments import video
from experiments.clips import EDITS, decode, encode, film, retime
from experiments.datasets import Dataset, bundled
from experiments.lab import Lab
from experiments.results import make


def test_films_are_reproducible():
    photos = [Image.fromarray(data.coffee())]
    first, again, other = (encode(film(photos, np.random.default_rng(seed), 0.5)) for seed in (1, 1, 2))
    assert first == again != other


def test_retimed_frames_are_those_that_a_player_shows():
    frames = [(number / 10, Image.new("L", (1, 1), number)) for number in range(20)]
    shown = [picture.getpixel((0, 0)) for picture in retime(frames, 5, speed=2, start=0.35)]
    assert shown == [3, 7, 11, 15]


@pytest.mark.slow
def test_every_edit_gives_a_video():
    original = encode(film([Image.fromarray(data.coffee())], np.random.default_rng(1), 2.5, ["hand"]))
    sizes = {name: decode(edit(original))[0][1].size for name, edit in EDITS.items()}
    assert sizes["half the size"] == (160, 120)
    assert sizes["bars above and below"] == (320, 300)
    assert set(sizes.values()) == {(320, 240), (160, 120), (320, 300), (240, 180)}


def test_a_small_run():
    photos = {
        name: path for name, path in bundled().originals.items() if name in ("astronaut", "chelsea", "rocket", "coffee")
    }
    edits = ("as it is", "without the first 1.77 s", "bars above and below")
    config = video.Config(
        photos_a_video=2, films=1, seconds=3, edits=edits, repeats_tried=(0, 8), shares_tried=(0.3, 0.9)
    )
    findings = video.run(config, Lab(Dataset("four", photos), jobs=1, quiet=True))
    result = make("video", video.QUESTION, "test", True, {"seed": 1}, findings)
    (trimmed,) = result.rows("copies", edit=edits[1], frames="still", enrolled="none", asked="none")
    assert trimmed["mean_share"] >= 0.6
    (barred,) = result.rows("copies", edit=edits[2], frames="still", enrolled="none", asked="none")
    (seen_through,) = result.rows("copies", edit=edits[2], frames="still", enrolled="none", asked="standard")
    assert barred["mean_share"] == 0 < seen_through["least_share"]
    assert result.headline["videos"] == result.headline["unrelated_pairs"] == 2
    assert result.headline["unrelated_greatest_share"] == 0
    few, many = (row["copies_found"] for row in result.rows("rules"))
    assert few >= many
    all_frames, fewer = (row["entries_a_minute"] for row in result.rows("repeats"))
    assert all_frames >= fewer
    assert set(video.figures(result)) == {"copies"}

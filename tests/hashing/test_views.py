import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data

from hashing.image import pdq_of
from hashing.views import Picture, View

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def photos() -> list[Image.Image]:
    return [Image.fromarray(getattr(data, name)()) for name in PHOTOS]


def cropped(image: Image.Image, view: View) -> Image.Image:
    w, h = image.size
    box = (view.left * w, view.top * h, w - view.right * w, h - view.bottom * h)
    return image.crop(tuple(round(x) for x in box))


def turned(image: Image.Image, degrees: float) -> Image.Image:
    """Turned, and the largest rectangle of the same shape cut out."""
    view, (w, h) = View("", turn=degrees), image.size
    a, b, _ = view.matrix(w / h)[0]
    scale = np.hypot(a, b * h / w)
    box = (w / 2 * (1 - scale), h / 2 * (1 - scale), w / 2 * (1 + scale), h / 2 * (1 + scale))
    return image.rotate(degrees, Image.Resampling.BICUBIC).crop(tuple(round(x) for x in box))


@pytest.mark.parametrize(
    "view",
    [
        View("whole"),
        View("all sides", 0.05, 0.05, 0.05, 0.05),
        View("one side", right=0.12),
        View("each side", 0.01, 0.03, 0.06, 0.08),
    ],
)
def test_cuts_equal_pixels_cut_for_real(view: View) -> None:
    for image in photos():
        assert Picture(image).fingerprint(view).distance(pdq_of(cropped(image, view)).fingerprint) <= 16


def test_mirror_and_turns_equal_pixels_turned_for_real() -> None:
    for image in photos():
        picture = Picture(image)
        mirrored = pdq_of(ImageOps.mirror(image)).fingerprint
        assert picture.fingerprint(View("mirror", mirror=True)).distance(mirrored) <= 16
        for degrees in (-4, 3):
            expected = pdq_of(turned(image, degrees)).fingerprint
            assert picture.fingerprint(View("turn", turn=degrees)).distance(expected) <= 20
            assert picture.fingerprint(View("turn", turn=-degrees)).distance(expected) > 31


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("degrees", [-5, 5])
def test_turned_views_stay_within_the_photo_and_touch_its_edge(aspect: float, degrees: float) -> None:
    corners = View("", turn=degrees).matrix(aspect) @ np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]).T
    assert corners.min() == pytest.approx(0, abs=1e-9)
    assert corners.max() == pytest.approx(1, abs=1e-9)


def test_a_spread_fingerprint_lies_nearer_to_its_neighbourhood() -> None:
    plain, spread = View("", 0.05, 0.05, 0.05, 0.05), View("", 0.05, 0.05, 0.05, 0.05, spread=0.012)
    assert len(spread.neighbours()) == 5
    assert not any(view.spread for view in spread.neighbours())
    sums = np.zeros(2)
    for image in photos():
        picture = Picture(image)
        for cut in (0.035, 0.065):
            copy = pdq_of(cropped(image, View("", cut, cut, cut, cut))).fingerprint
            sums += [picture.fingerprint(view).distance(copy) for view in (plain, spread)]
    assert sums[1] < sums[0]

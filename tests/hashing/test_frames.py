import io
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from skimage import data

from hashing import frames


def photo() -> Image.Image:
    return Image.fromarray(data.chelsea()).resize((360, 480))


def jpeg(image: Image.Image, quality: int = 50) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out)


@pytest.mark.parametrize("colour", ["white", "black", "#3060a0"])
@pytest.mark.parametrize("width", [10, 40])
def test_borders_are_found_to_the_pixel(colour: str, width: int) -> None:
    framed = jpeg(ImageOps.expand(photo(), width, colour))
    bars = frames.find_bars(frames.grey(framed))
    across, down = width / framed.width, width / framed.height
    assert bars == pytest.approx((down, down, across, across), abs=0.006)


def test_text_does_not_end_a_bar() -> None:
    framed = Image.new("RGB", (360, 600), "white")
    framed.paste(photo(), (0, 0))
    ImageDraw.Draw(framed).text((10, 520), "look who I met today", fill="black", font_size=36)
    grey = frames.grey(jpeg(framed))
    bars = frames.find_bars(grey)
    assert bars == pytest.approx((0, 0.2, 0, 0), abs=0.005)
    assert frames.caption_side(grey, bars) == "bottom"
    assert frames.caption_side(grey[::-1], frames.find_bars(grey[::-1])) == "top"


def test_a_frame_is_no_caption() -> None:
    grey = frames.grey(ImageOps.expand(photo(), 40, "white"))
    assert frames.caption_side(grey, frames.find_bars(grey)) is None


def test_a_sky_inside_a_border_stays() -> None:
    pixels = np.asarray(photo()).copy()
    pixels[:100] = (150, 170, 200)
    framed = ImageOps.expand(Image.fromarray(pixels), 30, "white")
    assert frames.find_bars(frames.grey(framed)).top == pytest.approx(30 / framed.height, abs=0.005)


def test_a_dark_photo_high_on_a_tall_white_screen_keeps_its_sides() -> None:
    screen = Image.new("RGB", (400, 900), "white")
    pixels = np.random.default_rng(1).integers(0, 256, (300, 400), dtype=np.uint8)
    pixels[:, :150] = 12
    screen.paste(Image.fromarray(pixels), (0, 60))
    assert frames.find_bars(frames.grey(screen)) == pytest.approx((60 / 900, 540 / 900, 0, 0), abs=0.005)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_blank_and_tiny_images_have_no_frame(shade: int) -> None:
    for size in ((400, 300), (8, 8), (8, 700)):
        grey = frames.grey(Image.new("L", size, shade))
        assert frames.find_bars(grey) == frames.Bars()
        assert frames.find_tilt(grey) is None


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("degrees", [-4.5, -1.5, 2, 4])
def test_tilts_are_measured(degrees: float, expand: bool) -> None:
    upright = photo()
    turned = jpeg(upright.rotate(degrees, Image.Resampling.BICUBIC, expand=expand))
    tilt = frames.find_tilt(frames.grey(turned))
    assert tilt is not None
    assert math.degrees(tilt.angle) == pytest.approx(-degrees, abs=0.2)
    assert (tilt.x, tilt.y) == pytest.approx((0.5, 0.5), abs=0.01)
    assert tilt.width * turned.width == pytest.approx(upright.width, rel=0.02)
    assert tilt.height * turned.height == pytest.approx(upright.height, rel=0.02)


def test_upright_photos_have_no_tilt() -> None:
    for name in ("astronaut", "chelsea", "coffee", "rocket", "camera", "moon"):
        assert frames.find_tilt(frames.grey(Image.fromarray(getattr(data, name)()))) is None, name

"""Edits drawn at random from ranges, for variants: a grid of fixed edits would flatter a grid of variants.

Each takes an RGB photo and a random generator and gives an RGB photo, recompressed as JPEG at 40 to 90.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from experiments.edits import Rng, compress, crop

Draw = Callable[[Image.Image, Rng], Image.Image]

_WORDS = ("look who I met today", "lol", "when you see it", "send this to everyone you know")


def _crop(image: Image.Image, rng: Rng) -> Image.Image:
    part = rng.uniform(0, 0.10)
    return crop(part, part, part, part)(image, rng)


def _crop_one(image: Image.Image, rng: Rng) -> Image.Image:
    parts = [0.0, 0.0, 0.0, 0.0]
    parts[rng.integers(4)] = rng.uniform(0, 0.15)
    return crop(*parts)(image, rng)


def _turn(image: Image.Image, rng: Rng) -> Image.Image:
    ground = "black" if rng.random() < 0.5 else "white"
    return image.rotate(rng.uniform(-5, 5), Image.Resampling.BICUBIC, fillcolor=ground)


def _turn_to_fill(image: Image.Image, rng: Rng) -> Image.Image:
    degrees, (w, h) = rng.uniform(-5, 5), image.size
    cos, sin = math.cos(math.radians(degrees)), abs(math.sin(math.radians(degrees)))
    left = (1 - min(w / (w * cos + h * sin), h / (w * sin + h * cos))) / 2
    return crop(left, left, left, left)(image.rotate(degrees, Image.Resampling.BICUBIC), rng)


def _border(image: Image.Image, rng: Rng) -> Image.Image:
    part = rng.uniform(0.02, 0.10)
    colour = tuple(rng.integers(0, 256, 3).tolist()) if rng.random() < 0.4 else ("black", "white")[rng.integers(2)]
    across, down = (image.width, image.height) if rng.random() < 0.5 else (max(image.size), max(image.size))
    return ImageOps.expand(image, (round(part * across), round(part * down)), colour)


def _bar(image: Image.Image, rng: Rng) -> Image.Image:
    height = round(rng.uniform(0.10, 0.20) * image.height)
    ground, ink = ("white", "black") if rng.random() < 0.6 else ("black", "white")
    bar = Image.new("RGB", (image.width, height), ground)
    text = _WORDS[rng.integers(len(_WORDS))]
    ImageDraw.Draw(bar).text((0.05 * image.width, 0.2 * height), text, ink, font_size=max(4, 0.45 * height))
    return bar


def _caption_over(image: Image.Image, rng: Rng) -> Image.Image:
    out, bar = image.copy(), _bar(image, rng)
    out.paste(bar, (0, out.height - bar.height if rng.random() < 0.75 else 0))
    return out


def _caption_beside(image: Image.Image, rng: Rng) -> Image.Image:
    bar, below = _bar(image, rng), rng.random() < 0.75
    out = Image.new("RGB", (image.width, image.height + bar.height))
    out.paste(image, (0, 0 if below else bar.height))
    out.paste(bar, (0, image.height if below else 0))
    return out


def _screenshot(image: Image.Image, rng: Rng) -> Image.Image:
    w, h = image.size
    ground, ink = (("#101014", "white"), ("black", "white"), ("white", "black"))[rng.integers(3)]
    out = Image.new("RGB", (w, max(round(w * rng.uniform(1.6, 2.2)), round(1.2 * h))), ground)
    lowest = out.height - h - round(0.04 * out.height)
    top = (out.height - h) // 2 if rng.random() < 0.6 else round(rng.uniform(0.06 * out.height, lowest))
    out.paste(image, (0, top))
    draw, size = ImageDraw.Draw(out), 0.035 * w
    draw.text((0.05 * w, 0.6 * size), "21:47", fill=ink, font_size=size)
    draw.rectangle((0.88 * w, 0.7 * size, 0.95 * w, 1.5 * size), fill=ink)
    return out


def _resize(image: Image.Image, rng: Rng) -> Image.Image:
    factor = rng.uniform(0.3, 1)
    return image.resize((max(64, round(image.width * factor)), max(64, round(image.height * factor))))


# The nine that the mean is taken over.
RANGES: dict[str, Draw] = {
    "crop 0..10 %": _crop,
    "crop each side 0..8 %": lambda image, rng: crop(*rng.uniform(0, 0.08, 4))(image, rng),
    "crop one side 0..15 %": _crop_one,
    "rotate -5..5°": _turn,
    "rotate and crop to fill": _turn_to_fill,
    "border 2..10 %": _border,
    "caption over 10..20 %": _caption_over,
    "screenshot": _screenshot,
    "resize 30..100 %": _resize,
}
FURTHER: dict[str, Draw] = {
    "mirror": lambda image, rng: ImageOps.mirror(image),
    "caption beside 10..20 %": _caption_beside,
}


def draw(name: str, image: Image.Image, rng: Rng) -> Image.Image:
    """One edit of that name on an RGB photo, recompressed. Raises KeyError."""
    change = (RANGES | FURTHER)[name]
    return compress("JPEG", int(rng.integers(40, 91)))(change(image, rng), rng)


def generator(seed: int, *keys: int) -> np.random.Generator:
    """A generator of its own for each photo, edit and draw: adding one changes no other."""
    return np.random.default_rng([seed, *keys])

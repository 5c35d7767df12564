"""What people and apps do to a photo before they post it: one line an edit.

An edit takes an RGB photo and a random generator and gives an RGB photo. Randomness is seeded by (seed, photo,
edit), so that adding an edit or a photo changes no other one's result.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Rng = np.random.Generator
Change = Callable[[Image.Image, Rng], Image.Image]


class Edit(NamedTuple):
    """group: the heading it stands under in figures. turns: whether it maps the photo onto one of the eight
    orientations, which dihedral hashes are for.
    """

    group: str
    change: Change
    turns: bool = False


def compress(kind: str, quality: int) -> Change:
    """Encode lossily and decode again."""

    def change(image: Image.Image, rng: Rng) -> Image.Image:
        out = io.BytesIO()
        image.save(out, format=kind, quality=quality)
        return Image.open(out).convert("RGB")

    return change


def scale(factor: float) -> Change:
    """Resize both sides."""
    return lambda image, rng: image.resize(_times(image, factor, factor), Image.Resampling.BICUBIC)


def thumbnail(side: int) -> Change:
    """Shrink to fit a square."""
    return lambda image, rng: ImageOps.contain(image, (side, side))


def crop(left: float, top: float, right: float, bottom: float) -> Change:
    """Cut the given fractions of width and height off each side."""

    def change(image: Image.Image, rng: Rng) -> Image.Image:
        w, h = image.size
        return image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))

    return change


def rotate(degrees: float) -> Change:
    """Turn by a few degrees, the corners black."""
    return lambda image, rng: image.rotate(degrees, Image.Resampling.BICUBIC)


def turn(how: Image.Transpose) -> Change:
    """One of the eight orientations."""
    return lambda image, rng: image.transpose(how)


def enhance(what: type, factor: float) -> Change:
    """Pillow's brightness, contrast or colour."""
    return lambda image, rng: what(image).enhance(factor)


def gamma(exponent: float) -> Change:
    """A gamma curve on every channel."""
    curve = [round(255 * (value / 255) ** exponent) for value in range(256)]
    return lambda image, rng: image.point(curve * 3)


def noise(sigma: float) -> Change:
    """Gaussian noise, in grey levels."""

    def change(image: Image.Image, rng: Rng) -> Image.Image:
        pixels = np.asarray(image, dtype=np.float64)
        return Image.fromarray((pixels + rng.normal(0, sigma, pixels.shape)).clip(0, 255).astype(np.uint8))

    return change


def border(fraction: float, colour: str) -> Change:
    """A uniform frame, in fractions of the longer side."""
    return lambda image, rng: ImageOps.expand(image, round(fraction * max(image.size)), colour)


def caption(fraction: float) -> Change:
    """A white bar with text over the bottom of the photo."""

    def change(image: Image.Image, rng: Rng) -> Image.Image:
        out, (w, h) = image.copy(), image.size
        draw, top = ImageDraw.Draw(out), round((1 - fraction) * h)
        draw.rectangle((0, top, w, h), fill="white")
        draw.text(
            (w * 0.05, top + fraction * h * 0.2), "look who I met today", fill="black", font_size=fraction * h * 0.5
        )
        return out

    return change


def emoji(fraction: float) -> Change:
    """A smiling face, as wide as a fraction of the shorter side, somewhere on the photo."""

    def change(image: Image.Image, rng: Rng) -> Image.Image:
        out, side = image.copy(), fraction * min(image.size)
        x, y = (rng.uniform(0, size - side) for size in image.size)
        draw = ImageDraw.Draw(out)
        draw.ellipse((x, y, x + side, y + side), fill="#ffcc22", outline="#aa7700", width=max(1, round(side / 40)))
        for eye in (0.3, 0.6):
            draw.ellipse((x + eye * side, y + 0.3 * side, x + (eye + 0.1) * side, y + 0.42 * side), fill="black")
        draw.arc(
            (x + 0.25 * side, y + 0.35 * side, x + 0.75 * side, y + 0.78 * side),
            20,
            160,
            "black",
            max(1, round(side / 20)),
        )
        return out

    return change


def screenshot(image: Image.Image, rng: Rng) -> Image.Image:
    """The photo as a phone shows it: full width, a status bar above, dark bars above and below."""
    w = image.width
    out = Image.new("RGB", (w, max(round(w * 16 / 9), round(image.height * 1.25))), "#101014")
    out.paste(image, (0, (out.height - image.height) // 2))
    draw, size = ImageDraw.Draw(out), w * 0.035
    draw.text((w * 0.05, size * 0.6), "21:47", fill="white", font_size=size)
    draw.rectangle((w * 0.88, size * 0.7, w * 0.95, size * 1.5), fill="white")
    return out


def perspective(strength: float) -> Change:
    """A photo of the photo: every corner moved inwards by up to a fraction of the sides."""

    def change(image: Image.Image, rng: Rng) -> Image.Image:
        w, h = image.size
        inwards = rng.uniform(0, strength, (4, 2)) * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
        corners = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + inwards) * [w, h]
        rows, target = [], []
        for (x, y), (u, v) in zip([(0, 0), (w, 0), (w, h), (0, h)], corners, strict=True):
            rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
            target += [u, v]
        return image.transform(
            image.size, Image.Transform.PERSPECTIVE, np.linalg.solve(rows, target).tolist(), Image.Resampling.BICUBIC
        )

    return change


def chat_app(image: Image.Image, rng: Rng) -> Image.Image:
    """What a messenger sends on: 1600 pixels at most, no less than 320, JPEG at 65."""
    fit = ImageOps.contain(image, (min(1600, max(320, image.width // 2)), min(1600, max(320, image.height // 2))))
    return compress("JPEG", 65)(fit, rng)


def _times(image: Image.Image, across: float, down: float) -> tuple[int, int]:
    return max(1, round(image.width * across)), max(1, round(image.height * down))


_T = Image.Transpose

EDITS: dict[str, Edit] = {
    "JPEG 90": Edit("compress", compress("JPEG", 90)),
    "JPEG 75": Edit("compress", compress("JPEG", 75)),
    "JPEG 50": Edit("compress", compress("JPEG", 50)),
    "JPEG 20": Edit("compress", compress("JPEG", 20)),
    "WebP 50": Edit("compress", compress("WEBP", 50)),
    "chat app": Edit("compress", chat_app),
    "resize 75 %": Edit("resize", scale(0.75)),
    "resize 50 %": Edit("resize", scale(0.5)),
    "resize 25 %": Edit("resize", scale(0.25)),
    "thumbnail 128": Edit("resize", thumbnail(128)),
    "brightness +30 %": Edit("colour", enhance(ImageEnhance.Brightness, 1.3)),
    "contrast +30 %": Edit("colour", enhance(ImageEnhance.Contrast, 1.3)),
    "saturation +50 %": Edit("colour", enhance(ImageEnhance.Color, 1.5)),
    "gamma 0.7": Edit("colour", gamma(0.7)),
    "greyscale": Edit("colour", lambda image, rng: image.convert("L").convert("RGB")),
    "blur 2 px": Edit("colour", lambda image, rng: image.filter(ImageFilter.GaussianBlur(2))),
    "noise 10": Edit("colour", noise(10)),
    "crop 1 % a side": Edit("crop", crop(0.01, 0.01, 0.01, 0.01)),
    "crop 2 % a side": Edit("crop", crop(0.02, 0.02, 0.02, 0.02)),
    "crop 5 % a side": Edit("crop", crop(0.05, 0.05, 0.05, 0.05)),
    "crop 10 % a side": Edit("crop", crop(0.10, 0.10, 0.10, 0.10)),
    "crop 10 % one side": Edit("crop", crop(0, 0, 0.10, 0)),
    "rotate 1°": Edit("rotate", rotate(1)),
    "rotate 2°": Edit("rotate", rotate(2)),
    "rotate 5°": Edit("rotate", rotate(5)),
    "rotate 90°": Edit("turn", turn(_T.ROTATE_90), turns=True),
    "rotate 180°": Edit("turn", turn(_T.ROTATE_180), turns=True),
    "rotate 270°": Edit("turn", turn(_T.ROTATE_270), turns=True),
    "mirror": Edit("turn", turn(_T.FLIP_LEFT_RIGHT), turns=True),
    "border 5 %": Edit("overlay", border(0.05, "white")),
    "caption bar": Edit("overlay", caption(0.15)),
    "emoji": Edit("overlay", emoji(0.25)),
    "screenshot": Edit("overlay", screenshot),
    "perspective": Edit("overlay", perspective(0.05)),
}


def apply(name: str, image: Image.Image, photo: str, seed: int) -> Image.Image:
    """The edit of that name on an RGB photo; `photo` is its id, which seeds the randomness. Raises KeyError."""
    digest = hashlib.sha256(f"{seed}/{photo}/{name}".encode(errors="surrogateescape")).digest()
    return EDITS[name].change(image, np.random.default_rng(int.from_bytes(digest[:8])))

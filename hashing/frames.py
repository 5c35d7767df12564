"""What people and apps put around a photo, found so that it can be taken off: bars, borders, a turned photo's ground.

Bars: from each side inwards, a line of pixels belongs to a bar while most of it has the colour of the outermost line;
the bar ends at the last line that is of that colour almost throughout, so that text in a caption or a status bar does
not end it. Bars at the left and right have a colour of those above and below, if there are any, and further rounds find
no new colours: a sky or a wall inside a white border stays.

Tilt: a photo turned by a few degrees on a uniform ground shows four triangles. Along each side the ground's depth is a
straight line; its slope is the angle, and where the four lines run gives the photo's centre and size.

A photo with uniform edges of its own may lose them here. That is why what is found is tried beside the upload as it
is, never in its place.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.int16]

_SIDE = 800  # pixels of the longer side at which frames are looked for
_COLOUR = 10  # grey levels within which two pixels have one colour, after JPEG at its worst


class Bars(NamedTuple):
    """Uniform bars, as fractions of the height or the width."""

    top: float = 0
    bottom: float = 0
    left: float = 0
    right: float = 0


class Tilt(NamedTuple):
    """A photo within the image: angle in radians, centre and size in fractions of the image's width and height,
    aspect: the image's width / height.
    """

    angle: float
    x: float
    y: float
    width: float
    height: float
    aspect: float


def grey(image: Image.Image) -> Grey:
    """The image as grey levels, (h, w) int16, no side longer than 800."""
    small = image.convert("L")
    if max(image.size) > _SIDE:
        scale = _SIDE / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        small = small.resize(size, Image.Resampling.BOX)
    return np.asarray(small).astype(np.int16)


def find_bars(picture: Grey) -> Bars:
    """The uniform bars around a picture (h, w); none if they would leave less than 15 % of a side."""
    height, width = picture.shape
    top, bottom, left, right = 0, height, 0, width
    colours: list[float] = []
    for _ in range(3):
        found: list[float] = []
        before = top, bottom, left, right
        for side in range(4):
            inner = picture[top:bottom, left:right]
            lines = (inner, inner[::-1], inner.T, inner.T[::-1])[side]
            colour = float(np.median(lines[0]))
            known = colours or (found if side > 1 else [])
            if known and not any(abs(colour - other) <= 6 for other in known):
                continue
            depth = _bar(lines[: int(0.75 * (height, width)[side // 2])], colour)
            if not depth:
                continue
            found.append(colour)
            top, bottom, left, right = (
                top + depth * (side == 0),
                bottom - depth * (side == 1),
                left + depth * (side == 2),
                right - depth * (side == 3),
            )
            if bottom - top < 0.15 * height or right - left < 0.15 * width:
                return Bars()
        colours = colours or found
        if (top, bottom, left, right) == before:
            break
    return Bars(top / height, 1 - bottom / height, left / width, 1 - right / width)


def _bar(lines: Grey, colour: float) -> int:
    """How many of the first lines are a bar of that colour; none if it does not end within these lines."""
    share = (np.abs(lines - colour) <= _COLOUR).mean(axis=1)
    if not len(share) or share[0] < 0.95:
        return 0
    mostly = np.cumsum(share >= 0.3) >= 0.9 * np.arange(1, len(share) + 1)
    depth = int(np.nonzero(mostly & (share >= 0.95))[0][-1]) + 1
    return depth if depth < len(share) else 0


def caption_side(picture: Grey, bars: Bars) -> str | None:
    """ "top" or "bottom" where one bar may be a caption; of two the flatter one, None where there is a frame."""
    flatness = {}
    for side, depth, lines in (("bottom", bars.bottom, picture[::-1]), ("top", bars.top, picture)):
        if depth >= 0.04:
            first = lines[: max(2, int(0.04 * len(lines)))]
            flatness[side] = round(float(np.abs(first - np.median(first)).mean()), 1)
    framed = len(flatness) == 2 and min(bars.left, bars.right) > 0.03
    return None if framed or not flatness else min(flatness, key=flatness.__getitem__)


def find_tilt(picture: Grey) -> Tilt | None:
    """How a photo lies on a uniform ground, if it is turned by 0.5 to 9 degrees and at least three sides agree."""
    height, width = picture.shape
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
    ground = np.median(corners)
    if (np.abs(corners - ground) > _COLOUR).any():
        return None
    photo = np.abs(picture - ground) > _COLOUR
    # Where each side of the photo runs, as (slope, value at the middle) of its distance to the image's side.
    sides = [_edge(lines) for lines in (photo, photo[::-1], photo.T, photo.T[::-1])]
    slopes = [sign * side[0] if side else None for sign, side in zip((1, -1, -1, 1), sides, strict=True)]
    found = [slope for slope in slopes if slope is not None]
    if len(found) < 3:
        return None
    angle = math.atan(float(np.median(found)))
    agreeing = [slope is not None and abs(math.atan(slope) - angle) < math.radians(0.6) for slope in slopes]
    if sum(agreeing) < 3 or not math.radians(0.5) <= abs(angle) <= math.radians(9):
        return None
    top, bottom, left, right = (
        side[1] if side and agrees else None for side, agrees in zip(sides, agreeing, strict=True)
    )
    y0, y1 = _ends(top, bottom, height)
    x0, x1 = _ends(left, right, width)
    shrink = math.cos(angle)
    return Tilt(
        angle,
        (x0 + x1) / 2 / width,
        (y0 + y1) / 2 / height,
        (x1 - x0) * shrink / width,
        (y1 - y0) * shrink / height,
        width / height,
    )


def _edge(photo: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Slope and middle of the straight line that the first photo pixel of each column follows, (h, w) bool."""
    depth = np.where(photo.any(axis=0), photo.argmax(axis=0), len(photo))
    at = np.nonzero((depth >= 2) & (depth <= 0.15 * len(photo)))[0]
    size = len(depth)
    if len(at) < max(8, 0.12 * size):
        return None
    x, y = at.astype(np.float64), depth[at].astype(np.float64)
    share = 1.0
    for _ in range(3):
        slope, start = np.polyfit(x, y, 1)
        distance = np.abs(y - (slope * x + start))
        near = distance <= max(1.0, 2 * float(np.median(distance)))
        share = float(near.mean())
        x, y = x[near], y[near]
        if len(x) < max(8, 0.1 * size):
            return None
    if np.median(distance) > 1 or share < 0.6:
        return None
    return float(slope), float(slope * size / 2 + start)


def _ends(first: float | None, last: float | None, size: int) -> tuple[float, float]:
    """Where a side starts and ends; one that was not found lies as its opposite does."""
    first = last if first is None else first
    last = first if last is None else last
    return (0.0, float(size)) if first is None or last is None else (first, size - last)

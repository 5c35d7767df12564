"""Views of a photo, cut, turned or mirrored, and their PDQ fingerprints, all from one small picture of it.

A view is an affine map from its own unit square into the photo's. Its 64 x 64 picture A (see `hashing.pdq`) is sampled
from the photo's blurred working picture of 640 x 640. A few bits differ from the PDQ of pixels cut and resized for
real: no more than between two copies of different size.

A view with a spread is hashed five times around its place, and each bit is what most of the five say: such a
fingerprint lies nearer to all of the neighbourhood than that of its centre does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numba import njit, types
from numpy.typing import NDArray
from PIL import Image

from hashing import frames, pdq
from hashing.fingerprint import Fingerprint

Matrix = NDArray[np.float64]  # (2, 3): (u, v, 1) of the view to (x, y) of the picture, both in 0..1

_WORKING_SIDE = 640  # five blocks of 128: an odd window, so that the blur does not shift the picture
_SHIFT = 0.001  # of the side; where PDQ samples lies off the block centres by as much, over usual photo sizes
_STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class View:
    """One line of a table. left, top, right, bottom: fractions cut off (below 0: added, as the edge goes on);
    turn: degrees counter-clockwise, cut to fill; mirror: left and right swapped.

    spread: how far around its place the view is hashed, in fractions for every side that is cut, or in degrees.
    """

    name: str
    left: float = 0
    top: float = 0
    right: float = 0
    bottom: float = 0
    turn: float = 0
    mirror: bool = False
    spread: float = 0

    def neighbours(self) -> list[View]:
        """The views whose majority this one's fingerprint is, itself in the middle."""
        if not self.spread:
            return [self]
        views = []
        for step in _STEPS:
            by = step * self.spread
            if self.turn:
                moved = replace(self, turn=self.turn + by, spread=0)
            else:
                cuts = {side: getattr(self, side) for side in ("left", "top", "right", "bottom")}
                moved = replace(self, **{side: cut + by for side, cut in cuts.items() if cut}, spread=0)
            views.append(moved)
        return views

    def matrix(self, aspect: float) -> Matrix:
        """The view of a photo with that width / height."""
        cos, sin = math.cos(math.radians(self.turn)), math.sin(math.radians(self.turn))
        fill = min(aspect / (aspect * cos + abs(sin)), 1 / (aspect * abs(sin) + cos)) if self.turn else 1
        turned = fill * np.array([[cos, -sin / aspect], [sin * aspect, cos]])
        kept = np.diag([1 - self.left - self.right, 1 - self.top - self.bottom])
        start = turned @ (np.array([self.left, self.top]) - 0.5) + 0.5
        if self.mirror:
            kept, start = kept @ np.diag([-1, 1]), start + turned @ kept @ np.array([1, 0])
        return np.column_stack([turned @ kept, start])


class Picture:
    """A photo's blurred working picture, of which any view can be hashed. With a tilt, of the photo that lies there."""

    def __init__(self, image: Image.Image, tilt: frames.Tilt | None = None) -> None:
        shrinks = min(image.size) > _WORKING_SIDE
        how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
        luma = image.convert("L").resize((_WORKING_SIDE, _WORKING_SIDE), how)
        self.blurred = np.array(luma, dtype=np.float32)
        pdq.blur(self.blurred)
        self.aspect = image.width / image.height
        self.base = np.eye(3)
        if tilt:
            cos, sin = math.cos(tilt.angle), math.sin(tilt.angle)
            turn = np.array([[cos, -sin / tilt.aspect], [sin * tilt.aspect, cos]]) @ np.diag([tilt.width, tilt.height])
            self.base[:2, :2] = turn
            self.base[:2, 2] = np.array([tilt.x, tilt.y]) - turn @ np.array([0.5, 0.5])
            self.aspect = tilt.aspect * tilt.width / tilt.height

    def fingerprint(self, view: View) -> Fingerprint:
        """The view's fingerprint: the majority of its neighbours' bits and the mean of their margins, with the quality
        of the view itself.
        """
        hashes = [self._hash(view.matrix(self.aspect)) for view in view.neighbours()]
        centre = hashes[len(hashes) // 2]
        bits = np.sum([each.fingerprint.bits for each in hashes], axis=0) * 2 > len(hashes)
        margins = np.mean([each.margins for each in hashes], axis=0)
        return replace(Fingerprint.from_bits(bits, quality=centre.quality), margins=margins)

    def _hash(self, matrix: Matrix) -> pdq.Pdq:
        full = self.base @ np.vstack([matrix, [0, 0, 1]])
        full[:2, 2] += full[:2, :2] @ np.array([_SHIFT, _SHIFT])
        return pdq.compute(_sample(self.blurred, np.ascontiguousarray(full[:2])))


@njit(types.float32[:, ::1](types.float32[:, ::1], types.float64[:, ::1]), cache=True, nogil=True)
def _sample(blurred: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
    """A, (64, 64): the blurred picture (n, n) at the view's block centres, bilinear; beyond the edge it goes on."""
    n, side = blurred.shape[0], pdq.SIDE
    out = np.empty((side, side), np.float32)
    for i in range(side):
        for j in range(side):
            u, v = (j + 0.5) / side, (i + 0.5) / side
            x = (matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]) * n - 0.5
            y = (matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]) * n - 0.5
            x, y = min(max(x, 0.0), n - 1.001), min(max(y, 0.0), n - 1.001)
            a, b = int(x), int(y)
            right, down = np.float32(x - a), np.float32(y - b)
            above = blurred[b, a] * (1 - right) + blurred[b, a + 1] * right
            below = blurred[b + 1, a] * (1 - right) + blurred[b + 1, a + 1] * right
            out[i, j] = above * (1 - down) + below * down
    return out

"""PDQ, the 256-bit perceptual hash, with how reliable each of its bits is.

Luma Y = 0.299 R + 0.587 G + 0.114 B; two passes of a box filter along rows and columns (Jarosz: together a tent) of
1/128 of the side; a 64 x 64 picture A of samples at block centres; B = D A Dᵀ, where D holds rows 1 to 16 of the
64-point DCT-II; the bit of coefficient (i, j) says whether B[i, j] is greater than the median of B. Bits are read
from (15, 15) down to (0, 0), which is the order of ThreatExchange's hex. The quality counts significant gradients of A.

Source: Meta, "PDQ & TMK+PDQF", 2019, and the reference implementation of it in ThreatExchange (pdq/cpp), whose order of
float32 operations is kept so that the bits come out the same; pdqhash is that code for Python. Like it, and unlike
pdq-photo-hasher, nothing is resized first.

The margin of a bit is B[i, j] - median: bits with a small one are the first to flip when a copy is recompressed or
resized.

Not protected: a fingerprint gives away a coarse likeness of the photo. Treat it, and the margins, as the photo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from hashing.fingerprint import Fingerprint, HashingError

SIDE = 64  # of the downsampled picture A
MIN_SIDE = 5  # the reference's smallest hashable side
DIHEDRAL = ("original", "rotate90", "rotate180", "rotate270", "flip_x", "flip_y", "flip_plus", "flip_minus")

# D: rows 1..16 of the 64-point DCT-II, (16, 64) float32.
_COSINES = [[math.cos(math.pi / 2 / SIDE * (i + 1) * (2 * j + 1)) for j in range(SIDE)] for i in range(16)]
_DCT = (float(np.float32(math.sqrt(2 / SIDE))) * np.array(_COSINES)).astype(np.float32)


class ImageTooSmall(HashingError, ValueError):
    """The image has too few pixels for a fingerprint to say anything about it."""


@dataclass(frozen=True, slots=True)
class Pdq:
    """coefficients: B, (16, 16) float32; quality: 0..100."""

    coefficients: NDArray[np.float32] = field(repr=False)
    quality: int

    @property
    def margins(self) -> NDArray[np.float32]:
        """How far each coefficient lies above (> 0: the bit is 1) the median, (256,) float32 in hash bit order."""
        values = self.coefficients.ravel()
        return (values - np.partition(values, 127)[127])[::-1]

    @property
    def fingerprint(self) -> Fingerprint:
        """The hash."""
        # Compared, not by the sign of a margin: a difference of tiny numbers may round to zero.
        values = self.coefficients.ravel()
        bits = values > np.partition(values, 127)[127]
        return Fingerprint("pdq", np.packbits(bits[::-1]).tobytes(), self.quality, self.margins)

    def dihedral(self) -> dict[str, Pdq]:
        """What the image's eight rotations and mirrors have, from these coefficients, by the names in DIHEDRAL.

        rotate90 is counter-clockwise, flip_x swaps top and bottom, flip_y left and right, flip_plus and flip_minus
        mirror on the diagonals. A dozen or so bits from the hash of the turned pixels: the
        windows are not symmetric, so turn the pixels where bits count.
        """
        b = self.coefficients
        odd_row = np.where(np.arange(16) % 2 == 0, np.float32(-1), np.float32(1))[:, None]
        odd_column = odd_row.T
        turned = {
            "original": b,
            "rotate90": (b * odd_column).T,
            "rotate180": b * odd_row * odd_column,
            "rotate270": (b * odd_row).T,
            "flip_x": b * odd_row,
            "flip_y": b * odd_column,
            "flip_plus": b.T,
            "flip_minus": (b * odd_row * odd_column).T,
        }
        return {name: Pdq(np.ascontiguousarray(turned[name]), self.quality) for name in DIHEDRAL}


def compute(pixels: NDArray, overwrite: bool = False) -> Pdq:
    """PDQ of an image: uint8 (H, W, 3) RGB, uint8 (H, W) grey, or float32 (H, W) luma in 0..255.

    Takes 4 bytes a pixel beside the pixels, or none for luma that it may overwrite. Raises ImageTooSmall
    below 5 pixels a side, HashingError for other shapes or dtypes.
    """
    if not isinstance(pixels, np.ndarray):
        raise HashingError(f"pixels is a {type(pixels).__name__}; expected an array")
    rgb = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    if not rgb and (pixels.dtype not in (np.uint8, np.float32) or pixels.ndim != 2):
        expected = "uint8 (H, W, 3) or (H, W), or float32 luma (H, W)"
        raise HashingError(f"pixels is {pixels.dtype} {pixels.shape}; expected {expected}")
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise ImageTooSmall(f"the image is {pixels.shape[1]} x {pixels.shape[0]} pixels; PDQ needs {MIN_SIDE} a side")
    picture = luma(np.ascontiguousarray(pixels)) if rgb else np.ascontiguousarray(pixels, dtype=np.float32)
    if picture.shape != (SIDE, SIDE):
        picture = _downsample(picture.copy() if picture is pixels and not overwrite else picture)
    return Pdq(_dct(picture, _DCT), int(_quality(picture)))


@njit(types.float32[:, ::1](types.Array(types.uint8, 3, "C", readonly=True)), cache=True, nogil=True)
def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma of RGB: uint8 (H, W, 3) to float32 (H, W). Summed in float64 and rounded once, as pdqhash does."""
    rows, columns, _ = rgb.shape
    out = np.empty((rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            out[i, j] = rgb[i, j, 0] * 0.299 + rgb[i, j, 1] * 0.587 + rgb[i, j, 2] * 0.114
    return out


@njit("void(float32[:, ::1])", cache=True, nogil=True)
def _box_along_rows(x: NDArray[np.float32]) -> None:
    """Mean of the window around each pixel, along each row, in place; smaller windows at the ends."""
    rows, columns = x.shape
    window = (columns + 2 * SIDE - 1) // (2 * SIDE)
    ahead = (window + 2) // 2  # pixels from this one on
    row = np.empty(columns, np.float32)
    for i in range(rows):
        row[:] = x[i]
        # A running sum, each step adding before it subtracts: the reference's rounding is part of its bits.
        total = np.float32(0)
        for j in range(ahead - 1):
            total += row[j]
        for j in range(window - ahead + 1):
            total += row[j + ahead - 1]
            x[i, j] = total / np.float32(j + ahead)
        for j in range(window - ahead + 1, columns - ahead + 1):
            total += row[j + ahead - 1]
            total -= row[j + ahead - 1 - window]
            x[i, j] = total / np.float32(window)
        for j in range(columns - ahead + 1, columns):
            total -= row[j + ahead - 1 - window]
            x[i, j] = total / np.float32(columns - j + window - ahead)


@njit("void(float32[:, ::1])", cache=True, nogil=True)
def _box_along_columns(x: NDArray[np.float32]) -> None:
    """The same along each column, in place, all columns at once."""
    rows, columns = x.shape
    window = (rows + 2 * SIDE - 1) // (2 * SIDE)
    ahead = (window + 2) // 2
    behind = np.empty((window, columns), np.float32)  # rows that are overwritten, but not yet subtracted
    total = np.zeros(columns, np.float32)
    for i in range(ahead - 1):
        for j in range(columns):
            total[j] += x[i, j]
    for i in range(rows):
        add, subtract = i + ahead - 1, i + ahead - 1 - window
        size = np.float32(min(add, rows - 1) - max(subtract, -1))
        if add < rows:
            for j in range(columns):
                total[j] += x[add, j]
        if subtract >= 0:
            old = behind[subtract % window]
            for j in range(columns):
                total[j] -= old[j]
        kept = behind[i % window]
        for j in range(columns):
            kept[j] = x[i, j]
            x[i, j] = total[j] / size


@njit("void(float32[:, ::1])", cache=True, nogil=True)
def blur(x: NDArray[np.float32]) -> None:
    """The tent filter over luma (H, W), in place: what is left of it is sampled at block centres."""
    for _ in range(2):
        _box_along_rows(x)
        _box_along_columns(x)


@njit("float32[:, ::1](float32[:, ::1])", cache=True, nogil=True)
def _downsample(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """A, (64, 64), from luma (H, W), which is overwritten."""
    blur(x)
    rows, columns = x.shape
    small = np.empty((SIDE, SIDE), np.float32)
    for i in range(SIDE):
        for j in range(SIDE):
            small[i, j] = x[int((i + 0.5) * rows / SIDE), int((j + 0.5) * columns / SIDE)]
    return small


@njit("int64(float32[:, ::1])", cache=True, nogil=True)
def _quality(small: NDArray[np.float32]) -> int:
    """Sum of the gradients of A in whole percent of the range, scaled and capped at 100."""
    total = 0
    for i in range(SIDE):
        for j in range(SIDE):
            if i + 1 < SIDE:
                total += abs(int((small[i, j] - small[i + 1, j]) * np.float32(100) / np.float32(255)))
            if j + 1 < SIDE:
                total += abs(int((small[i, j] - small[i, j + 1]) * np.float32(100) / np.float32(255)))
    return min(total // 90, 100)


@njit("float32[:, ::1](float32[:, ::1], float32[:, ::1])", cache=True, nogil=True)
def _dct(small: NDArray[np.float32], d: NDArray[np.float32]) -> NDArray[np.float32]:
    """B = D A Dᵀ, each sum from k = 0 up in float32: BLAS would round differently."""
    half = np.zeros((16, SIDE), np.float32)
    for i in range(16):
        for k in range(SIDE):
            for j in range(SIDE):
                half[i, j] += d[i, k] * small[k, j]
    out = np.zeros((16, 16), np.float32)
    for i in range(16):
        for j in range(16):
            for k in range(SIDE):
                out[i, j] += half[i, k] * d[j, k]
    return out

"""Photos in, fingerprints out: opening images that anyone may have sent, and the hash algorithms behind one registry.

An image is read as a person sees it: turned upright by its EXIF orientation, palettes resolved, transparency laid on
white, CMYK as RGB, 16 bits a channel cut to 8, 32-bit grey stretched from its darkest to its lightest value, of an
animation the first frame. Colour profiles are not applied. A file that ends early is refused rather than hashed
in part. Nothing is resized before hashing, as in pdqhash and imagehash.

What a file claims to be is checked before memory is set aside for it, and Pillow is let at a few formats only: its
rarer readers start other programs or have seen little testing. What remains is decoded in this process, by C code
that has had security bugs: a service that takes files from strangers should run it in a sandbox.

Errors, all below HashingError: UnreadableImage (not an image, broken, or of a kind that is not read), ImageTooLarge,
ImageTooSmall, FingerprintError (no such algorithm).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import BinaryIO

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hashing import pdq
from hashing.fingerprint import Fingerprint, HashingError, rule_for
from hashing.pdq import ImageTooSmall

Source = str | os.PathLike[str] | bytes | Image.Image

MIN_SIDE = 8  # pixels; imagehash's wavelet hash needs as many
MAX_FILE_BYTES = 256 << 20
MAX_DECODED_BYTES = 720 << 20

# Bytes a pixel that reading and hashing take at the most, measured, decoder included: a progressive JPEG keeps its
# coefficients, WebP and AVIF several copies of the canvas. Only these formats are read.
_BYTES_PER_PIXEL = {"JPEG": 10, "PNG": 12, "GIF": 9, "BMP": 9, "PPM": 9, "TIFF": 16, "WEBP": 20, "AVIF": 22}
_BYTES_PER_OTHER_PIXEL = 12  # Pillow images from elsewhere, and multi-picture JPEG

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112
_STRIP_PIXELS = 1 << 20


class UnreadableImage(HashingError, ValueError):
    """Not an image, a broken one, or one of a kind that is not read."""


class ImageTooLarge(HashingError, ValueError):
    """The image, or its file, would take more memory than is allowed."""


def hash_image(source: Source, algorithm: str = "pdq") -> Fingerprint:
    """The fingerprint of a photo: a path, a file's bytes, or a Pillow image.

    Raises UnreadableImage, ImageTooLarge, ImageTooSmall, FingerprintError.
    """
    rule_for(algorithm)
    return ALGORITHMS[algorithm](open_image(source))


def dihedral_fingerprints(source: Source, algorithm: str = "pdq") -> dict[str, Fingerprint]:
    """Fingerprints of the photo's eight rotations and mirrors, by the names in `pdq.DIHEDRAL`.

    For pdq from the DCT, as the reference does; for the others from the turned pixels. Raises as `hash_image`.
    """
    rule_for(algorithm)
    image = open_image(source)
    if algorithm == "pdq":
        return {name: turned.fingerprint for name, turned in pdq_of(image).dihedral().items()}
    methods = (
        Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_180,
        Image.Transpose.ROTATE_270,
        Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.FLIP_LEFT_RIGHT,
        Image.Transpose.TRANSPOSE,
        Image.Transpose.TRANSVERSE,
    )
    turned = (image, *(image.transpose(method) for method in methods))
    return dict(zip(pdq.DIHEDRAL, map(ALGORITHMS[algorithm], turned), strict=True))


def open_image(source: Source) -> Image.Image:
    """The image, upright, in mode RGB, fully decoded. A Pillow image that is so already is returned itself; one that is
    turned loses its metadata.

    Raises UnreadableImage, ImageTooLarge, ImageTooSmall.
    """
    if isinstance(source, Image.Image):
        return _decode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        _check_file_size(len(source))
        return _open(BytesIO(source))
    if not isinstance(source, str | os.PathLike):
        raise UnreadableImage(f"source is a {type(source).__name__}; expected a path, bytes or a Pillow image")
    name = repr(os.fspath(source))  # quoted: a name may be empty, or write to the terminal
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("not a file")
        _check_file_size(status.st_size)
        with open(source, "rb") as file:
            return _open(file)
    except HashingError as error:
        raise type(error)(f"{name}: {error}") from error.__cause__
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def pdq_of(image: Image.Image) -> pdq.Pdq:
    """PDQ of an opened (RGB) image, with coefficients and margins. Raises ImageTooSmall."""
    luma = np.empty((image.height, image.width), dtype=np.float32)
    for top, strip in _strips(image):
        luma[top : top + strip.height] = pdq.luma(np.asarray(strip))
    return pdq.compute(luma, overwrite=True)


def _open(file: BinaryIO) -> Image.Image:
    try:
        image = Image.open(file, formats=list(_BYTES_PER_PIXEL))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"the header claims too many pixels; reduce the image first ({error})") from None
    except UnidentifiedImageError:
        raise UnreadableImage(f"not an image of a kind that is read: {', '.join(_BYTES_PER_PIXEL)}") from None
    except Exception as error:  # Pillow's readers raise whatever a malformed file leads them to
        raise UnreadableImage(f"the image's header is broken ({type(error).__name__}: {error})") from error
    return _decode(image)


def _decode(image: Image.Image) -> Image.Image:
    """Checks the size that the header claims, then decodes: nothing is allocated for what is refused."""
    width, height = image.size
    limit = MAX_DECODED_BYTES // _BYTES_PER_PIXEL.get(image.format or "", _BYTES_PER_OTHER_PIXEL)
    if width * height > limit:
        raise ImageTooLarge(
            f"the image is {width} x {height} pixels; at most {limit:,} are read of {image.format or 'an image'}"
            "; reduce it first"
        )
    if min(width, height) < MIN_SIDE:
        raise ImageTooSmall(f"the image is {width} x {height} pixels; at least {MIN_SIDE} a side are needed")
    try:
        image.load()
        rgb = _to_rgb(image)
        turn = _UPRIGHT.get(_orientation(image))
        if turn is None:
            return rgb
        upright = rgb.transpose(turn)
        upright.info = {}  # the orientation is in there, and would turn it again when it is opened again
        return upright
    except HashingError:
        raise
    except MemoryError:
        raise ImageTooLarge(f"not enough memory for {width} x {height} pixels; reduce the image first") from None
    except Exception as error:  # as above
        raise UnreadableImage(f"the image is broken or cut short ({type(error).__name__}: {error})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB, 8 bits a channel, converted in strips to keep the peak of memory down."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    out = Image.new("RGB", image.size)
    to_rgb = _strip_converter(image)
    for top, strip in _strips(image):
        out.paste(to_rgb(strip), (0, top))
    return out


def _strip_converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    if image.mode.startswith("I;16"):
        return lambda strip: _grey(np.asarray(strip) >> 8)
    if image.mode in ("I", "F"):
        ranges = [(values.min(), values.max()) for values in (np.asarray(strip) for _, strip in _strips(image))]
        low, high = float(min(r[0] for r in ranges)), float(max(r[1] for r in ranges))
        if not np.isfinite([low, high]).all():
            raise UnreadableImage("the image has values that are not finite numbers")
        return lambda strip: _grey((np.asarray(strip, dtype=np.float64) - low) * (255 / max(high - low, 1e-30)))
    if image.has_transparency_data:
        return _on_white
    return lambda strip: strip.convert("RGB")


def _grey(values: NDArray) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _on_white(strip: Image.Image) -> Image.Image:
    white = Image.new("RGBA", strip.size, "white")
    return Image.alpha_composite(white, strip.convert("RGBA")).convert("RGB")


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(top, image) of full-width pieces of about a megapixel."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1..8. Metadata that cannot be read says nothing: viewers show such a photo as it is stored."""
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow's EXIF reader raises whatever malformed metadata leads it to
        return 1


def _check_file_size(size: int) -> None:
    if size == 0:
        raise UnreadableImage("the file is empty")
    if size > MAX_FILE_BYTES:
        raise ImageTooLarge(f"the file has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")


def _from_imagehash(algorithm: str, compute: Callable[[Image.Image], imagehash.ImageHash]) -> Callable:
    return lambda image: Fingerprint.from_bits(compute(image).hash, algorithm)


def _whash(image: Image.Image) -> imagehash.ImageHash:
    # imagehash resizes to the largest power of two; above 2048 that takes gigabytes and changes nothing in 8 x 8.
    return imagehash.whash(image, image_scale=min(2048, 1 << (min(image.size).bit_length() - 1)))


ALGORITHMS: dict[str, Callable[[Image.Image], Fingerprint]] = {
    "pdq": lambda image: pdq_of(image).fingerprint,
    "phash": _from_imagehash("phash", imagehash.phash),
    "dhash": _from_imagehash("dhash", imagehash.dhash),
    "ahash": _from_imagehash("ahash", imagehash.average_hash),
    "whash": _from_imagehash("whash", _whash),
}

"""Image files as anyone may send them: odd, broken and malicious ones, each with what must come of it."""

from __future__ import annotations

import functools
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

FINE, UNREADABLE, LARGE, SMALL = "Fingerprint", "UnreadableImage", "ImageTooLarge", "ImageTooSmall"


def photo(width: int = 160, height: int = 120) -> Image.Image:
    return Image.fromarray(data.coffee()).resize((width, height))


def frames() -> list[Image.Image]:
    return [photo().rotate(turn) for turn in (90, 180)]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.copy().save(out, format=kind, **options)  # Pillow leaves encoder settings on what it saves
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int = 8, colour: int = 2, body: bytes = b"", extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    )


def with_orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(photo(), "JPEG", exif=exif)


def patched(body: bytes, at: int, fmt: str, *values: int) -> bytes:
    out = bytearray(body)
    struct.pack_into(fmt, out, at, *values)
    return bytes(out)


@functools.cache
def files() -> dict[str, tuple[bytes, str]]:
    """name -> (file's bytes, expected outcome)."""
    image = photo()
    grey = image.convert("L")
    alpha = image.copy()
    alpha.putalpha(grey)
    palette = image.quantize(16)

    jpeg, progressive = encoded(image, "JPEG"), encoded(image, "JPEG", progressive=True)
    images = {
        "rgb.jpg": jpeg,
        "progressive.jpg": progressive,
        "grey.jpg": encoded(grey, "JPEG"),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(image.convert("CMYK"), "TIFF"),
        "multi-picture.jpg": encoded(image, "MPO", save_all=True, append_images=frames()),
        "rgb.png": encoded(image, "PNG"),
        "grey.png": encoded(grey, "PNG"),
        "bilevel.png": encoded(image.convert("1"), "PNG"),
        "la.png": encoded(image.convert("LA"), "PNG"),
        "rgba.png": encoded(alpha, "PNG"),
        "invisible.png": encoded(Image.new("RGBA", (90, 90), (200, 10, 10, 0)), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette-transparent.png": encoded(palette, "PNG", transparency=3),
        "palette-alpha.png": encoded(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        "rgb-colour-key.png": encoded(image, "PNG", transparency=(1, 2, 3)),
        "grey-colour-key.png": encoded(grey, "PNG", transparency=7),
        "grey16.png": encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG"),
        "rgb16.png": png(40, 40, depth=16, body=(b"\0" + bytes(range(240))) * 40),
        "rgba16.png": png(30, 30, depth=16, colour=6, body=(b"\0" + bytes(range(240))) * 30),
        "grey2.png": png(40, 40, depth=2, colour=0, body=(b"\0" + bytes(range(10))) * 40),
        "animated.png": encoded(photo(), "PNG", save_all=True, append_images=frames()),
        "int32.tif": encoded(Image.fromarray(np.asarray(grey).astype(np.int32) * 70000), "TIFF"),
        "float.tif": encoded(Image.fromarray(np.asarray(grey).astype(np.float32) / 255), "TIFF"),
        "float-flat.tif": encoded(Image.new("F", (50, 50), 0.5), "TIFF"),
        "grey16.tif": encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "TIFF"),
        "lzw.tif": encoded(image, "TIFF", compression="tiff_lzw"),
        "multipage.tif": encoded(image, "TIFF", save_all=True, append_images=frames()),
        "ycbcr.tif": encoded(image.convert("YCbCr"), "TIFF"),
        "lab.tif": encoded(image.convert("LAB"), "TIFF"),
        "palette.gif": encoded(palette, "GIF"),
        "animated.gif": encoded(photo(), "GIF", save_all=True, append_images=frames(), duration=40),
        "transparent.gif": encoded(palette, "GIF", transparency=2),
        "animated.webp": encoded(photo(), "WEBP", save_all=True, append_images=frames(), duration=40),
        "alpha.webp": encoded(alpha, "WEBP"),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "rgb.bmp": encoded(image, "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "rgb.ppm": encoded(image, "PPM"),
        "wide.png": encoded(photo(3000, 8), "PNG"),
        "tall.png": encoded(photo(8, 3000), "PNG"),
        "jpeg-named.png": jpeg,
        "trailing-garbage.jpg": jpeg + os.urandom(5000),
        "broken-exif.jpg": encoded(image, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 40),
        "orientation-99.jpg": with_orientation(99),
        **{f"orientation-{value}.jpg": with_orientation(value) for value in range(1, 9)},
    }
    broken = {
        "empty.jpg": b"",
        "one-byte.png": b"\x89",
        "text.jpg": b"This is no photo, whatever its name says.\n" * 100,
        "html.gif": b"<!doctype html><img src=x onerror=alert(1)>",
        "zeros.jpg": bytes(10_000),
        "random.png": np.random.Generator(np.random.PCG64(1)).bytes(10_000),
        "signature.png": b"\x89PNG\r\n\x1a\n",
        "signature.jpg": b"\xff\xd8\xff",
        "signature.gif": b"GIF89a",
        "signature.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated-progressive.jpg": progressive[: len(progressive) // 2],
        "header-only.jpg": jpeg[:200],
        "truncated.png": images["rgb.png"][: len(images["rgb.png"]) // 2],
        "truncated.webp": images["lossless.webp"][: len(images["lossless.webp"]) // 2],
        "truncated.tif": images["lzw.tif"][: len(images["lzw.tif"]) // 2],
        "truncated.bmp": images["rgb.bmp"][: len(images["rgb.bmp"]) // 2],
        "truncated.ppm": images["rgb.ppm"][: len(images["rgb.ppm"]) // 2],
        "truncated.gif": images["animated.gif"][:900],
        "bad-checksum.png": images["rgb.png"][:60] + b"\0\0\0\0" + images["rgb.png"][64:],
        "no-pixels.png": png(500, 500),
        "nan.tif": encoded(Image.fromarray(np.full((50, 50), np.nan, dtype=np.float32)), "TIFF"),
        "postscript.eps": encoded(image, "EPS"),
        "pdf.jpg": encoded(image, "PDF"),
        "icon.ico": encoded(image, "ICO"),
        "svg.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "self-reference.tif": b"II*\0\x08\0\0\0\x01\0\0\x01\x04\0\x01\0\0\0\x40\0\0\0\x08\0\0\0",
        "text-bomb.png": png(
            64, 64, body=b"\0" * 64 * 193, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(90 << 20)))
        ),
    }
    huge = {
        "header-65535.png": png(65535, 65535),
        "header-2-31.png": png(2**31 - 1, 2**31 - 1),
        "header-9500.png": png(9500, 9500),
        "bomb.png": png(40_000, 20_000, depth=1, colour=0, body=bytes(5001 * 20_000)),
        "wide-bomb.png": png(2**31 - 1, 9, depth=1, colour=0),
        "header-65500.jpg": patched(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH", 65500, 65500),
        "header-65535.gif": patched(images["palette.gif"], 6, "<HH", 65535, 65535),
        "header-16383.webp": encoded(Image.new("RGB", (16383, 2500)), "WEBP", quality=1, method=0),
        "header-100000.bmp": patched(images["rgb.bmp"], 18, "<ii", 100_000, 100_000),
        "header-100000.ppm": b"P6 100000 100000 255\n" + bytes(1000),
        "header-60000.tif": encoded(image, "TIFF")
        .replace(struct.pack("<HHII", 256, 4, 1, 160), struct.pack("<HHII", 256, 4, 1, 60_000))
        .replace(struct.pack("<HHII", 257, 4, 1, 120), struct.pack("<HHII", 257, 4, 1, 60_000)),
    }
    tiny = {
        "1x1.png": encoded(photo(1, 1), "PNG"),
        "1x1.gif": encoded(photo(1, 1).quantize(2), "GIF"),
        "7x300.jpg": encoded(photo(7, 300), "JPEG"),
        "300x7.webp": encoded(photo(300, 7), "WEBP"),
        "3x3.bmp": encoded(photo(3, 3), "BMP"),
    }
    groups = ((images, FINE), (broken, UNREADABLE), (huge, LARGE), (tiny, SMALL))
    return {name: (body, outcome) for group, outcome in groups for name, body in group.items()}


def write(folder: Path) -> dict[str, str]:
    """Write every file; returns name -> expected outcome. Adds what is no regular file."""
    made = files()
    for name, (body, _) in made.items():
        (folder / name).write_bytes(body)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(3 << 30)
    odd = {"pipe.jpg": UNREADABLE, "folder.jpg": UNREADABLE, "dangling.jpg": UNREADABLE, "sparse.jpg": LARGE}
    return {name: outcome for name, (_, outcome) in made.items()} | odd

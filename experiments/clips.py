"""Videos made from photos, and copies of them as people would make them: in memory, by PyAV.

A video is a few shots, parted by hard cuts; each is a walk of a camera over one photo: held in the hand, panning, or on
a tripod. What moves by itself in front of a camera is not modelled.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, cast

import numpy as np
from PIL import Image

from experiments.edits import Rng
from hashing.decoding import open_video

Picture = Image.Image
Copy = Callable[[bytes], bytes]

FPS = 30
SIZE = (320, 240)
CAMERAS = ("hand", "pan", "tripod")


def film(
    photos: Sequence[Picture], rng: Rng, seconds: float = 4, cameras: Sequence[str] = CAMERAS
) -> Iterator[Picture]:
    """Frames of one shot a photo, `seconds` long on average, by a camera drawn from `cameras`."""
    for photo in photos:
        yield from _shot(
            photo, rng, round(FPS * rng.uniform(0.6, 1.4) * seconds), cameras[int(rng.integers(len(cameras)))]
        )


def _shot(photo: Picture, rng: Rng, count: int, camera: str) -> Iterator[Picture]:
    scale = 2 * SIZE[1] / min(photo.size)
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.BICUBIC)
    wanted = np.array([SIZE[0], SIZE[1]]) * rng.uniform(1.1, 1.3)
    free = np.array(photo.size) - wanted - 8
    centre = np.array(photo.size) / 2
    start, end = (rng.uniform(-0.3, 0.3, 2) * free for _ in range(2))
    # Three waves a direction: a hand sways slowly and far, and trembles fast and little.
    hertz, phase = (
        np.array([0.15, 0.5, 1.6])[:, None] * rng.uniform(0.7, 1.4, (3, 3)),
        rng.uniform(0, 2 * np.pi, (3, 3)),
    )
    reach = np.array([0.12, 0.03, 0.004])[:, None] * np.array([free[0], free[1], 60])
    for number in range(count):
        sway = (reach * np.sin(2 * np.pi * hertz * number / FPS + phase)).sum(axis=0)
        part = number / max(1, count - 1)
        at, turn = {
            "hand": (start + sway[:2], sway[2]),
            "pan": (start * (1 - part) + end * part, 0.0),
            "tripod": (start, 0.0),
        }[camera]
        yield _view(photo, centre + at, wanted, math.radians(turn))


def _view(photo: Picture, centre: np.ndarray, wanted: np.ndarray, turn: float) -> Picture:
    """The part of the photo around a centre, (width, height) pixels of it, turned."""
    cos, sin = math.cos(turn), math.sin(turn)
    across, down = wanted[0] / SIZE[0], wanted[1] / SIZE[1]
    a, b, d, e = across * cos, -down * sin, across * sin, down * cos
    x = centre[0] - a * SIZE[0] / 2 - b * SIZE[1] / 2
    y = centre[1] - d * SIZE[0] / 2 - e * SIZE[1] / 2
    return photo.transform(SIZE, Image.Transform.AFFINE, (a, b, x, d, e, y), Image.Resampling.BILINEAR)


def encode(
    frames: Iterable[Picture],
    fps: float = FPS,
    crf: int = 23,
    codec: str = "libx264",
    container: str = "mp4",
    turned: float = 0,
) -> bytes:
    """A video file of frames of one size. turned: degrees counter-clockwise by which players are told to turn it."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=container) as opened:
        opened.flags |= cast(int, av.container.Flags.bitexact.value)  # no random numbers of the container's own
        stream: Any = None
        for number, frame in enumerate(frames):
            if stream is None:
                stream = opened.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
                stream.width, stream.height = frame.size
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                stream.thread_count = 1
                if codec == "libx264":
                    # Without these two x264 gives other bits from one run to the next.
                    steady = {"x264-params": "mbtree=0:rc-lookahead=0"}
                    stream.options = {"crf": str(crf), "preset": "veryfast"} | steady
                if turned:
                    stream.set_display_rotation(turned)
            picture = av.VideoFrame.from_image(frame)
            picture.pts = number
            opened.mux(stream.encode(picture))
        if stream is not None:
            opened.mux(stream.encode(None))
    return out.getvalue()


def decode(body: bytes) -> list[tuple[float, Picture]]:
    """(seconds, picture) of every frame."""
    with open_video(body) as clip:
        return [(still.seconds, still.picture()) for still in clip.stills]


def retime(frames: Sequence[tuple[float, Picture]], fps: float, speed: float = 1, start: float = 0) -> list[Picture]:
    """What a player shows at `fps` times a second, from `start` seconds on."""
    at = np.arange(start, frames[-1][0] + 1e-6, speed / fps)
    index = np.searchsorted([seconds for seconds, _ in frames], at + 1e-6, side="right") - 1
    return [frames[max(0, i)][1] for i in index]


def _on(change: Callable[[Picture], Picture], crf: int = 28) -> Copy:
    return lambda body: encode([change(picture) for _, picture in decode(body)], crf=crf)


def _retimed(fps: float = FPS, speed: float = 1, start: float = 0, crf: int = 28) -> Copy:
    return lambda body: encode(retime(decode(body), fps, speed, start), fps, crf)


def _boxed(picture: Picture) -> Picture:
    out = Image.new("RGB", (picture.width, picture.height + 2 * (picture.height // 8)))
    out.paste(picture, (0, picture.height // 8))
    return out


def _cropped(picture: Picture) -> Picture:
    w, h = picture.size
    return picture.crop((round(0.05 * w), round(0.05 * h), round(0.95 * w), round(0.95 * h))).resize((w, h))


def _marked(picture: Picture) -> Picture:
    out = picture.copy()
    out.paste("white", (picture.width * 7 // 8, picture.height * 7 // 8, picture.width - 8, picture.height - 8))
    return out


def _all_at_once(body: bytes) -> bytes:
    frames = [picture.resize((240, 180)) for picture in retime(decode(body), 24, start=1.37)]
    return encode(frames, 24, 32)


EDITS: dict[str, Copy] = {
    "as it is": lambda body: body,
    "coded again, low bitrate": _on(lambda picture: picture, crf=36),
    "half the size": _on(lambda picture: picture.resize((160, 120))),
    "24 frames a second": _retimed(24),
    "15 frames a second": _retimed(15),
    "60 frames a second": _retimed(60),
    "without the first 2.3 s": _retimed(start=2.3),
    "without the first 1.77 s": _retimed(start=1.77),
    "1.25 times as fast": _retimed(speed=1.25),
    "0.8 times as fast": _retimed(speed=0.8),
    "trimmed, small, 24 a second, low bitrate": _all_at_once,
    "mark in a corner": _on(_marked),
    "bars above and below": _on(_boxed),
    "cropped by 5 %": _on(_cropped),
    "mirrored": _on(lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}

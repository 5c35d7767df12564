"""Videos opened: what is one, what is refused before it is decoded, and its frames, upright, with their times.

What a file is, its first bytes say, never its name. A few containers and codecs are let at, each by its own demuxer: no
playlist that names other files, no device, no picture format. Animations (GIF, WebP, PNG, AVIF) are videos too;
Pillow decodes them as `hashing.image` does photos.

A frame is taken as a player shows it: turned and mirrored as the container says, of several video streams the default
one, no cover pictures. Packets that do not decode are passed over and counted, and so are frames that the decoder marks
as damaged; what remains of a video that was cut short is still that video.

Claimed size, length and frame size are checked before anything is decoded, and the true ones while it is. What remains
is decoded in this process, by C code that has had security bugs: a service that takes files from strangers should run
it in a sandbox.

Errors, all below HashingError: UnreadableVideo, VideoTooLarge, VideoUnavailable, ImageTooSmall.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashing.fingerprint import HashingError
from hashing.image import ImageTooLarge, open_image
from hashing.pdq import ImageTooSmall

VideoSource = str | os.PathLike[str] | bytes | BinaryIO

MIN_SIDE = 8  # pixels, as of photos
GREY_SIDE = 32  # of the small grey picture that goes with every frame

CODECS = (
    "av1", "flv", "h261", "h263", "h264", "hevc", "libdav1d", "libvpx", "libvpx-vp9", "mjpeg", "mpeg1video",
    "mpeg2video", "mpeg4", "msmpeg4", "msmpeg4v2", "prores", "theora", "vc1", "vp6", "vp6f", "vp8", "vp9", "wmv1",
    "wmv2", "wmv3",
)  # fmt: skip
KINDS = "MP4, QuickTime, Matroska, WebM, AVI, FLV, ASF, Ogg, MPEG; animated GIF, WebP, PNG, AVIF"
_ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1")
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_HEAD = 4 * 192  # bytes that tell a container

# Display matrix (a, b, c, d): a pixel at (x, y) is shown at (a x + c y, b x + d y).
_UPRIGHT = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


class UnreadableVideo(HashingError, ValueError):
    """Not a video, a broken one, one without pictures, or one of a kind that is not read."""


class VideoTooLarge(HashingError, ValueError):
    """The video is longer or larger than is allowed, or takes too long to decode."""


class VideoUnavailable(HashingError):
    """The library that decodes videos is not installed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is read at the most. pixels: of a frame. seconds: of the video. frames: decoded. work_seconds: decoding and
    hashing, by the clock.
    """

    file_bytes: int = 8 << 30
    pixels: int = 4096 * 2304
    seconds: float = 4 * 3600
    frames: int = 4 * 3600 * 60
    work_seconds: float = 3600


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Still:
    """A frame. grey: (32, 32) int16, as stored, not turned; picture: makes the image, upright, in mode RGB."""

    seconds: float
    grey: NDArray[np.int16] = field(repr=False)
    picture: Callable[[], Image.Image] = field(repr=False)


@dataclass
class Clip:
    """An opened video. stills: its frames, once through. claimed: its length in
    seconds if the file says it. damaged: packets and frames passed over so far.
    """

    stills: Iterator[Still] = field(repr=False, default_factory=lambda: iter(()))
    claimed: float | None = None
    damaged: int = 0


def is_video(source: VideoSource) -> bool:
    """Whether it begins as a video does, or is an animation; what cannot be read is none."""
    try:
        with _opened(source, LIMITS.file_bytes) as file:
            return _container(file) is not None or _animation(file) is not None
    except HashingError:
        return False


@contextmanager
def open_video(source: VideoSource, limits: Limits = LIMITS) -> Iterator[Clip]:
    """The video of a path, of a file's bytes, or of a binary file that can seek.

    Raises UnreadableVideo, VideoTooLarge, VideoUnavailable and ImageTooSmall, here and from the clip's stills.
    """
    with _opened(source, limits.file_bytes) as file:
        if container := _container(file):
            with _decoder(file, container, limits) as clip:
                yield clip
        elif image := _animation(file):
            clip = Clip()
            clip.stills = _within(limits, _animated(image, limits, clip))
            yield clip
        else:
            raise UnreadableVideo(f"not a video of a kind that is read: {KINDS}")


@contextmanager
def _opened(source: VideoSource, file_bytes: int) -> Iterator[BinaryIO]:
    if isinstance(source, bytes | bytearray | memoryview):
        _check_file_size(len(source), file_bytes)
        yield BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        name = repr(os.fspath(source))
        try:
            with _file(source, file_bytes) as file:
                yield file
        except HashingError as error:
            raise type(error)(f"{name}: {error}") from error.__cause__
        except OSError as error:
            raise UnreadableVideo(f"{name}: {error.strerror or error}") from error
    elif hasattr(source, "read") and hasattr(source, "seek"):
        _check_file_size(source.seek(0, os.SEEK_END), file_bytes)
        yield source
    else:
        raise UnreadableVideo(f"source is a {type(source).__name__}; expected a path, bytes or a binary file")


def _file(path: str | os.PathLike[str], file_bytes: int) -> BinaryIO:
    try:
        status = os.stat(path)
    except ValueError as error:  # a name that no file can have
        raise UnreadableVideo(str(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableVideo("not a file")
    _check_file_size(status.st_size, file_bytes)
    return open(path, "rb")


def _check_file_size(size: int, most: int) -> None:
    if size > most:
        raise VideoTooLarge(f"the file has {size:,} bytes; at most {most:,} are read")


def _container(file: BinaryIO) -> str | None:
    """FFmpeg's name for the demuxer that takes this file, or None."""
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    if head[4:8] in _BOXES:
        return None if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS else "mov"
    starts = {
        b"\x1aE\xdf\xa3": "matroska",
        b"FLV\x01": "flv",
        b"OggS": "ogg",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
        b"\x00\x00\x01\xba": "mpeg",
    }
    for magic, name in starts.items():
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    for first, size in ((0, 188), (4, 192)):  # transport streams: a sync byte a packet
        if len(head) > first + size and all(byte == 0x47 for byte in head[first::size]):
            return "mpegts"
    return None


def _animation(file: BinaryIO) -> Image.Image | None:
    file.seek(0)
    try:
        image = Image.open(file, formats=_ANIMATIONS)
        return image if getattr(image, "is_animated", False) else None
    except Exception:  # Pillow's readers raise whatever a malformed file leads them to; such a file is no animation
        return None


@contextmanager
def _decoder(file: BinaryIO, container: str, limits: Limits) -> Iterator[Clip]:
    try:
        import av
    except ImportError as error:
        raise VideoUnavailable(
            "decoding videos needs PyAV; in the checkout, `make .venv/.video` installs it"
        ) from error
    clip, options = Clip(), {"max_pixels": str(limits.pixels)}
    with _named():
        opened = av.open(file, "r", format=container, options=options, metadata_errors="ignore", buffer_size=1 << 18)
    with opened:
        with _named():
            stream = _video_stream(opened)
            _check_frame_size(stream.codec_context.width, stream.codec_context.height, limits)
            if opened.duration:
                clip.claimed = opened.duration / av.time_base
                if clip.claimed > limits.seconds:
                    claim = f"the video says that it is {clip.claimed / 3600:,.1f} hours long"
                    raise VideoTooLarge(f"{claim}; at most {limits.seconds / 3600:g} are read")
            stream.codec_context.options = options
            stream.thread_type = "AUTO"
            stream.thread_count = min(4, os.cpu_count() or 1)
        clip.stills = _within(limits, _decoded(opened, stream, limits, clip))
        yield clip


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except HashingError:
        raise
    except MemoryError:
        raise VideoTooLarge("there is not enough memory to decode it") from None
    except Exception as error:  # FFmpeg and its wrapper raise whatever a malformed file leads them to
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UnreadableVideo(f"the video is broken or cut short ({reason})") from error


def _video_stream(opened: Any) -> Any:
    from av.stream import Disposition

    pictures = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    streams = [stream for stream in opened.streams.video if not stream.disposition & pictures]
    if not streams:
        raise UnreadableVideo("there is no video in the file, only sound, text or cover pictures")
    default = [stream for stream in streams if stream.disposition & Disposition.default]
    stream = (default or streams)[0]
    name = stream.codec_context.name if stream.codec_context else "unknown"
    if name not in CODECS:
        raise UnreadableVideo(f"the video is coded in {name}, which is not read")
    return stream


def _check_frame_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise VideoTooLarge(
            f"the frames are {width} x {height} pixels; at most {limits.pixels:,} are read; reduce it first"
        )


def _decoded(opened: Any, stream: Any, limits: Limits, clip: Clip) -> Iterator[Still]:
    """Every frame that decodes. The clock goes on by a frame's length where a timestamp is missing or goes back."""
    import av
    from av.video.reformatter import VideoReformatter

    small, large = VideoReformatter(), VideoReformatter()
    step = 1 / min(max(float(stream.average_rate or 25), 1), 240)
    start, now = None, 0.0

    def picture(frame: Any) -> Image.Image:
        with _named():
            rgb = large.reformat(frame, format="rgb24").to_ndarray()
            image, turn = Image.fromarray(rgb), _turn(frame)
            return image.transpose(turn) if turn is not None else image

    for packet in _packets(opened, stream, clip):
        try:
            frames = stream.codec_context.decode(packet)
        except av.MemoryError:
            raise
        except av.FFmpegError:
            clip.damaged += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                clip.damaged += 1
                continue
            _check_frame_size(frame.width, frame.height, limits)
            if min(frame.width, frame.height) < MIN_SIDE:
                raise ImageTooSmall(
                    f"the frames are {frame.width} x {frame.height} pixels; {MIN_SIDE} a side are needed"
                )
            at = frame.time
            if start is None:
                start = at if at is not None else 0.0
            elif at is not None and at - start > now:
                now = at - start
            else:
                now += step
            grey = small.reformat(frame, GREY_SIDE, GREY_SIDE, "gray", interpolation="AREA").to_ndarray()
            yield Still(now, grey.astype(np.int16), partial(picture, frame))


def _packets(opened: Any, stream: Any, clip: Clip) -> Iterator[Any]:
    """The stream's packets; the last is empty and fetches what the decoder holds back."""
    import av

    try:
        yield from opened.demux(stream)
    except av.MemoryError:
        raise
    except av.FFmpegError:
        clip.damaged += 1
        yield None


def _turn(frame: Any) -> Image.Transpose | None:
    """How a frame is turned to be shown; angles between the right ones are shown as stored."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5] / 65536
    return _UPRIGHT.get((round(a), round(b), round(c), round(d)))


def _animated(image: Image.Image, limits: Limits, clip: Clip) -> Iterator[Still]:
    """Frames of an animation as Pillow composes them. As in browsers, a frame of under 20 ms is shown for 100 ms."""
    now, index = 0.0, 0
    _check_frame_size(*image.size, limits)
    while True:
        try:
            image.seek(index)
            image.load()
        except EOFError:
            return
        except Exception:  # as in `_animation`; what came before is shown all the same
            clip.damaged += 1
            return
        try:
            picture = open_image(image.copy())
        except ImageTooLarge as error:
            raise VideoTooLarge(str(error)) from None
        grey = np.asarray(picture.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX))
        yield Still(now, grey.astype(np.int16), picture.copy)
        length = image.info.get("duration", 100) / 1000
        now += length if length >= 0.02 else 0.1
        index += 1


def _within(limits: Limits, stills: Iterator[Still]) -> Iterator[Still]:
    """The stills, as long as length, number and time spent are within the limits; raises if there are none."""
    begun, count = time.monotonic(), 0
    most = "which is the most that is read"
    with _named():
        for count, still in enumerate(stills, 1):
            if still.seconds > limits.seconds:
                raise VideoTooLarge(f"the video is longer than {limits.seconds / 3600:g} hours, {most}")
            if count > limits.frames:
                raise VideoTooLarge(f"the video has more than {limits.frames:,} frames, {most}")
            if time.monotonic() - begun > limits.work_seconds:
                raise VideoTooLarge(f"decoding took more than {limits.work_seconds:g} s, which is the most")
            yield still
    if not count:
        raise UnreadableVideo("no frame of the video could be decoded")

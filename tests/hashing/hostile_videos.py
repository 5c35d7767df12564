"""Videos as anyone may send them: odd, broken and malicious ones, each with what must come of it."""

from __future__ import annotations

import functools
import io
import os
import struct
from pathlib import Path

import av
import numpy as np
from PIL import Image
from skimage import data

from experiments.clips import encode, film
from tests.hashing import hostile

FINE, UNREADABLE, LARGE, SMALL = "Video", "UnreadableVideo", "VideoTooLarge", "ImageTooSmall"


@functools.cache
def clip(seconds: float = 1.2) -> list[Image.Image]:
    photos = [Image.fromarray(picture) for picture in (data.coffee(), data.chelsea())]
    return list(film(photos, np.random.default_rng(3), seconds, cameras=("hand",)))


def small(container: str, codec: str) -> bytes:
    return encode([frame.resize((96, 72)) for frame in clip(0.7)[:25]], codec=codec, container=container)


def sound(container: str = "mp4", picture: bool = False) -> bytes:
    """A tone, with a cover picture if wanted."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as opened:
        stream = opened.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        if picture:
            cover = opened.add_stream("mjpeg")
            cover.width, cover.height, cover.pix_fmt = 96, 72, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
        opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))
        if picture:
            still = av.VideoFrame.from_image(clip(0.7)[0].resize((96, 72))).reformat(format="yuvj420p")
            opened.mux(cover.encode(still))
            opened.mux(cover.encode(None))
    return out.getvalue()


def without_frames() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as opened:
        stream = opened.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        opened.start_encoding()
    return out.getvalue()


def overwritten(body: bytes, share: float, start: float = 0.3) -> bytes:
    """Random bytes over a share of the file, in runs of 40, from `start` on."""
    out = bytearray(body)
    rng = np.random.default_rng(5)
    end = out.find(b"moov")  # the index at the end stays whole
    end = end - 8 if end > len(out) // 2 else len(out)
    for at in rng.integers(int(start * end), end - 40, int(share * end / 40)):
        out[at : at + 40] = rng.bytes(40)
    return bytes(out)


def nonsense(body: bytes) -> bytes:
    """The same in Matroska, in order but for its packets, which are random bytes."""
    out, rng = io.BytesIO(), np.random.default_rng(6)
    with av.open(io.BytesIO(body)) as source, av.open(out, "w", format="matroska") as opened:
        stream = opened.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                other = av.Packet(rng.bytes(packet.size))
                other.stream, other.time_base = stream, packet.time_base
                other.pts, other.dts = packet.pts, packet.dts
                opened.mux(other)
    return out.getvalue()


def claiming(body: bytes, hours: float) -> bytes:
    """The Matroska file whose header says that it is so long."""
    at = body.index(b"\x44\x89\x88") + 3
    return body[:at] + struct.pack(">d", hours * 3.6e6) + body[at + 8 :]


def lasting(hours: float) -> bytes:
    """A Matroska stream without a length in its header, the second of its frames so late."""
    out = io.BytesIO()
    with av.open(out, "w", format="matroska", options={"live": "1"}) as opened:
        stream = opened.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for number in (0, round(hours * 3600 * 30)):
            frame = av.VideoFrame.from_image(clip()[0].resize((96, 72)))
            frame.pts = number
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))
    return out.getvalue()


def sized(body: bytes, width: int, height: int) -> bytes:
    """The MP4 whose sample description claims another size of frames."""
    out = bytearray(body)
    struct.pack_into(">HH", out, body.index(b"avc1", body.index(b"stsd")) + 28, width, height)
    return bytes(out)


def jpegs(width: int, height: int) -> bytes:
    """Motion JPEG whose container and frames claim that size."""
    out = bytearray(small("avi", "mjpeg"))
    at = -1
    while (at := out.find(b"\xff\xc0\x00\x11", at + 1)) > 0:
        struct.pack_into(">HH", out, at + 5, height, width)
    head = out.index(b"strf") + 8
    struct.pack_into("<ii", out, head + 4, width, height)
    return bytes(out)


def animation(kind: str) -> bytes:
    """Twelve frames of a sixth of a second, some of each shot."""
    frames = [frame.resize((160, 120)).quantize(32) for frame in clip()[:: len(clip()) // 12][:12]]
    frames = frames if kind == "GIF" else [frame.convert("RGB") for frame in frames]
    return hostile.encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=170)


@functools.cache
def files() -> dict[str, tuple[bytes, str]]:
    """name -> (file's bytes, expected outcome)."""
    mp4 = encode(clip())
    mkv = encode(clip(), container="matroska")
    fine = {
        "h264.mp4": mp4,
        "named-wrong.jpg": mp4,
        "h264.mov": small("mov", "libx264"),
        "h264.mkv": mkv,
        "vp9.webm": small("webm", "libvpx-vp9"),
        "mpeg4.avi": small("avi", "mpeg4"),
        "mpeg2.mpg": small("mpeg", "mpeg2video"),
        "h264.ts": small("mpegts", "libx264"),
        "flv1.flv": small("flv", "flv"),
        "wmv2.asf": small("asf", "wmv2"),
        "one-frame.mp4": encode(clip()[:1]),
        "two-frames.mp4": encode(clip()[:2]),
        "blank.mp4": encode([Image.new("RGB", (96, 72), "grey")] * 30),
        "cut-short.mkv": mkv[: len(mkv) // 2],
        "damaged.mkv": overwritten(mkv, 0.05),
        "damaged.mp4": overwritten(mp4, 0.05),
        "growing.ts": small("mpegts", "libx264") + encode([Image.new("RGB", (4200, 2400))], container="mpegts"),
        "garbage-after.mp4": mp4 + os.urandom(5000),
        "animated.gif": animation("GIF"),
        "animated.webp": animation("WEBP"),
        "animated.png": animation("PNG"),
        "cut-short.gif": animation("GIF")[:-30_000],
        "claims-1-square.mp4": sized(mp4, 1, 1),  # what the coded frames say is true
        "claims-65535-square.mp4": sized(mp4, 65535, 65535),
    }
    broken = {
        "empty.mp4": b"",
        "text.mp4": b"This is no video, whatever its name says.\n" * 100,
        "playlist.m3u8": b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "concat.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "zeros.mp4": bytes(100_000),
        "random.mp4": np.random.Generator(np.random.PCG64(1)).bytes(100_000),
        "photo.mp4": hostile.encoded(hostile.photo(), "PNG"),
        "photo.gif": hostile.encoded(hostile.photo().quantize(16), "GIF"),
        "photo.avif": hostile.encoded(hostile.photo(), "AVIF"),
        "sound.m4a": sound(),
        "sound-with-cover.m4a": sound(picture=True),
        "no-frames.mp4": without_frames(),
        "no-index.mp4": mp4[: len(mp4) // 2],
        "only-ftyp.mp4": mp4[:32],
        "only-ebml.mkv": mkv[:60],
        "only-signature.avi": b"RIFF\x10\0\0\0AVI LIST",
        "all-damaged.mkv": nonsense(mkv),
        "65500-square.avi": jpegs(65500, 65500),
        "10000-square.avi": jpegs(10_000, 10_000),
        "raw.ts": (b"G" + bytes(187)) * 200,
    }
    large = {
        "ten-hours.mkv": claiming(mkv, 10),
        "lasting-five-hours.mkv": lasting(5),
        "large-frames.gif": hostile.encoded(
            Image.new("L", (4200, 2400)), "GIF", save_all=True, append_images=[Image.new("L", (4200, 2400), 9)]
        ),
    }
    tiny = {"tiny.mkv": encode([frame.resize((6, 6)) for frame in clip(0.7)], container="matroska")}
    groups = ((fine, FINE), (broken, UNREADABLE), (large, LARGE), (tiny, SMALL))
    return {name: (body, outcome) for group, outcome in groups for name, body in group.items()}


def write(folder: Path) -> dict[str, str]:
    """Write every file; returns name -> expected outcome. Adds what is no regular file."""
    made = files()
    for name, (body, _) in made.items():
        (folder / name).write_bytes(body)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "folder.mp4").mkdir()
    (folder / "dangling.mp4").symlink_to(folder / "nowhere.mp4")
    with (folder / "sparse.mp4").open("wb") as file:
        file.truncate(9 << 30)
    odd = {"pipe.mp4": UNREADABLE, "folder.mp4": UNREADABLE, "dangling.mp4": UNREADABLE, "sparse.mp4": LARGE}
    return {name: outcome for name, (_, outcome) in made.items()} | odd

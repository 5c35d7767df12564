"""What is a video, what is refused, and that frames come out upright, in time and whole."""

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

from experiments.clips import decode, encode
from hashing import UnreadableVideo, VideoTooLarge, VideoUnavailable, decoding, hash_video, is_video
from hashing.decoding import LIMITS, Clip, Limits, open_video
from tests.hashing import hostile, hostile_videos

# Hashes every file in the folder given; prints name -> (outcome, message, seconds), and the peak of memory in MiB.
CHILD = """
import json, os, sys, time
from pathlib import Path
import hashing
outcomes = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.perf_counter()
    try:
        outcome, message = type(hashing.hash_video(path)).__name__, ""
    except hashing.HashingError as error:
        outcome, message = type(error).__name__, str(error)
    outcomes[path.name] = outcome, message, time.perf_counter() - start
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps({"outcomes": outcomes, "peak": peak}))
"""


def test_hostile_files_give_fingerprints_or_a_named_error(tmp_path: Path) -> None:
    expected = hostile_videos.write(tmp_path)
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, tmp_path], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    assert child.stderr == ""
    result = json.loads(child.stdout)
    assert len(expected) >= 45
    assert {name: outcome for name, (outcome, _, _) in result["outcomes"].items()} == expected
    for name, (outcome, message, seconds) in result["outcomes"].items():
        assert (name in message) == (outcome != "Video"), message
        assert seconds < 10, name
    assert result["peak"] < 512


def test_content_tells_videos_and_photos_apart(tmp_path: Path) -> None:
    made = hostile_videos.files()
    videos = {name for name, (_, outcome) in made.items() if outcome == hostile_videos.FINE}
    assert {name for name in videos if not is_video(made[name][0])} == set()
    photos = [hostile.encoded(hostile.photo(), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP")]
    photos.append(hostile.encoded(hostile.photo(), "MPO", save_all=True, append_images=hostile.frames()))
    assert not any(is_video(photo) for photo in photos)
    assert not is_video(made["text.mp4"][0])
    assert not is_video(tmp_path / "absent.mp4")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    assert not is_video(heic)
    with pytest.raises(UnreadableVideo, match="not a video of a kind that is read"):
        hash_video(heic)


@pytest.mark.parametrize("turned", [90, 180, -90])
def test_frames_stand_upright(turned: int) -> None:
    upright = Image.fromarray(data.astronaut()).resize((128, 96))
    stored = upright.rotate(-turned, expand=True)
    (_, shown), *_ = decode(encode([stored] * 5, turned=turned))
    assert shown.size == upright.size
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(upright)).mean() < 8


def test_a_path_bytes_and_a_file_give_the_same(tmp_path: Path) -> None:
    body = hostile_videos.files()["h264.mp4"][0]
    path = tmp_path / "a.mp4"
    path.write_bytes(body)
    with path.open("rb") as file:
        assert hash_video(path) == hash_video(os.fspath(path)) == hash_video(body) == hash_video(file)
    assert hash_video(BytesIO(body)).frames


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(UnreadableVideo, match="expected a path, bytes or a binary file"):
        hash_video(7)  # type: ignore[arg-type]
    with pytest.raises(UnreadableVideo, match="null"):
        hash_video("a\0b")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(file_bytes=1000), "bytes; at most 1,000"),
        (Limits(pixels=320 * 239), "320 x 240 pixels; at most 76,480"),
        (Limits(seconds=1), "hours"),
        (Limits(frames=20), "more than 20 frames"),
        (Limits(work_seconds=0), "took more than 0 s"),
    ],
)
@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "animated.gif"])
def test_limits_are_kept_and_named(limits: Limits, said: str, name: str) -> None:
    if name == "animated.gif":
        limits, said = {
            "320 x 240 pixels; at most 76,480": (Limits(pixels=160 * 119), "160 x 120 pixels"),
            "more than 20 frames": (Limits(frames=5), "more than 5 frames"),
        }.get(said, (limits, said))
    with pytest.raises(VideoTooLarge, match=said):
        hash_video(hostile_videos.files()[name][0], limits)


def test_frames_come_with_their_times() -> None:
    frames = decode(encode(hostile_videos.clip()[:45], fps=15))
    assert [seconds for seconds, _ in frames] == pytest.approx([number / 15 for number in range(45)], abs=1e-3)
    animated = decode(hostile_videos.files()["animated.gif"][0])
    assert [seconds for seconds, _ in animated] == pytest.approx([0.17 * number for number in range(12)])


def test_damage_is_counted_and_the_rest_is_used() -> None:
    body = hostile_videos.files()["damaged.mp4"][0]
    with open_video(body, Limits()) as clip:
        frames = sum(1 for _ in clip.stills)
    assert clip.damaged > 0
    assert frames > 0
    assert hash_video(body).damaged > 0  # not the same number: decoding threads meet damage in any order


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoUnavailable, match=r"`make .venv/.video` installs it"):
        hash_video(hostile_videos.files()["h264.mp4"][0])
    assert hash_video(hostile_videos.files()["animated.gif"][0]).frames  # Pillow suffices


def test_frames_are_checked_as_they_come_out_whatever_the_file_and_the_decoder_say() -> None:
    def decoded(*frames: object, limits: Limits = LIMITS) -> tuple[int, Clip]:
        clip = Clip()
        stream = SimpleNamespace(average_rate=25, codec_context=SimpleNamespace(decode=lambda packet: frames))
        stills = decoding._decoded(SimpleNamespace(demux=lambda _: iter([None])), stream, limits, clip)
        return len(list(stills)), clip

    whole = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), dtype=np.uint8))
    count, clip = decoded(SimpleNamespace(is_corrupt=True), whole)
    assert (count, clip.damaged) == (1, 1)  # what the decoder marks as damaged is passed over, and counted
    with pytest.raises(VideoTooLarge, match="16 x 16"):
        decoded(whole, limits=Limits(pixels=255))


def test_a_codec_that_is_not_on_the_list_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    source = next(data for data, outcome in hostile_videos.files().values() if outcome == hostile_videos.FINE)
    with open_video(source):
        pass
    monkeypatch.setattr(decoding, "CODECS", ("another",))
    with pytest.raises(UnreadableVideo, match="coded in"), open_video(source):
        pass

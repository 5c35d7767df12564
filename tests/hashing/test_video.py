"""Which frames stand for a video, and that copies match by their share where unrelated videos do not."""

import numpy as np
import pytest
from PIL import Image
from skimage import data

from experiments.clips import EDITS, encode, film
from hashing import VIDEO_RULE, FingerprintError, VariantsError, hamming, hash_video, pack, video_to_enroll
from hashing.decoding import Still
from hashing.video import APART_ENTRIES, APART_QUERY, LONGEST, REPEAT, Video, VideoRule, chosen, video_to_query


def filmed(*photos: np.ndarray, seed: int, camera: str = "hand", seconds: float = 3) -> bytes:
    return encode(film([Image.fromarray(each) for each in photos], np.random.default_rng(seed), seconds, [camera]))


@pytest.fixture(scope="module")
def original() -> bytes:
    return filmed(data.coffee(), data.chelsea(), seed=1)


@pytest.fixture(scope="module")
def entries(original: bytes) -> Video:
    return video_to_enroll(original)


def matching(query: Video, entries: Video) -> int:
    bank = pack(entries.fingerprints)
    return sum(int(hamming(pack(frame.variants.fingerprints), bank).min()) <= 31 for frame in query.frames)


@pytest.mark.parametrize(
    "edit",
    ["as it is", "without the first 1.77 s", "1.25 times as fast", "trimmed, small, 24 a second, low bitrate"],
)
def test_copies_match(edit: str, original: bytes, entries: Video) -> None:
    query = hash_video(EDITS[edit](original))
    assert len(query.frames) >= 3
    assert matching(query, entries) / len(query.frames) >= 0.6
    assert VIDEO_RULE.matches(len(query.frames), matching(query, entries))


def test_bars_are_seen_through_when_the_upload_is_asked_for_without_them(original: bytes, entries: Video) -> None:
    copy = EDITS["bars above and below"](original)
    assert matching(hash_video(copy), entries) == 0
    query = video_to_query(copy, "standard")
    assert VIDEO_RULE.matches(len(query.frames), matching(query, entries))


def test_a_video_with_bars_is_enrolled_without_them_too(original: bytes) -> None:
    barred = video_to_enroll(EDITS["bars above and below"](original))
    assert {"photo", "trimmed"} == {name for frame in barred.frames for name, _ in frame.variants}
    query = hash_video(original)
    assert VIDEO_RULE.matches(len(query.frames), matching(query, barred))


def test_unrelated_videos_do_not_match(entries: Video) -> None:
    for photos, seed in (((data.astronaut(), data.rocket()), 2), ((data.camera(), data.coins()), 3)):
        query = video_to_query(filmed(*(_rgb(each) for each in photos), seed=seed), "standard")
        assert len(query.frames) >= 3
        assert matching(query, entries) == 0


def _rgb(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)


def test_each_shot_gives_a_frame_and_a_still_one_only_one() -> None:
    shots = [np.asarray(Image.fromarray(each).resize((320, 240))) for each in (data.coffee(), data.chelsea())]
    video = hash_video(encode([Image.fromarray(shot) for shot in shots for _ in range(150)]))
    assert len(video.frames) == 2
    assert video.repeats >= 2  # one every two seconds is looked at
    assert video.frames[0].seconds < 5 <= video.frames[1].seconds
    quick = hash_video(encode([Image.fromarray(shot) for shot in shots * 3 for _ in range(3)]))
    assert len(quick.frames) == 6


def test_blank_frames_are_left_out() -> None:
    grey, coffee = Image.new("RGB", (320, 240), "grey"), Image.fromarray(data.coffee()).resize((320, 240))
    video = hash_video(encode([grey] * 30 + [coffee] * 30))
    assert video.poor == 1
    assert [frame.fingerprint.usable for frame in video.frames] == [True]
    assert hash_video(encode([grey] * 30)).frames == ()


def test_neighbours_differ_and_times_rise(entries: Video) -> None:
    distances = [
        a.fingerprint.distance(b.fingerprint) for a, b in zip(entries.frames, entries.frames[1:], strict=False)
    ]
    assert min(distances) > REPEAT
    times = [frame.seconds for frame in entries.frames]
    assert times == sorted(times)
    assert times[-1] <= entries.seconds


def moving(speeds: np.ndarray, fps: int = 30) -> list[Still]:
    """Frames whose picture, a wave, moves on by that much each."""
    places = np.cumsum(speeds)
    wave = np.arange(32)[None, :].repeat(32, axis=0) / 5
    return [
        Still(number / fps, (100 + 80 * np.sin(wave + place)).astype(np.int16), Image.Image)
        for number, place in enumerate(places)
    ]


def test_frames_are_taken_where_the_picture_stands_stillest_wherever_it_begins() -> None:
    t = np.arange(300) / 30
    stills = moving(0.3 * (1.02 - np.cos(2 * np.pi * t / 1.25)))
    times = [still.seconds for still in chosen(stills, APART_QUERY)]
    # The first and the last are the stillest before the first and after the last slow moment.
    assert times[1:-1] == pytest.approx([1.25 * number for number in range(1, 8)], abs=0.05)
    later = [still.seconds for still in chosen(stills[17:], APART_QUERY)]
    assert later[1:] == times[1:]


def test_what_is_asked_for_is_among_what_is_enrolled() -> None:
    speeds = np.random.default_rng(1).uniform(0.05, 0.4, 60).repeat(5)
    enrolled, asked = (
        {still.seconds for still in chosen(moving(speeds), apart)} for apart in (APART_ENTRIES, APART_QUERY)
    )
    assert asked < enrolled


def test_no_frame_is_further_than_two_seconds_from_the_next() -> None:
    stills = moving(np.linspace(0.1, 0.5, 400))
    times = [still.seconds for still in chosen(stills, APART_QUERY)]
    assert max(np.diff(times)) <= LONGEST + 0.1


def test_progress_counts_seconds(original: bytes) -> None:
    told: list[tuple[str, int, int]] = []
    video = hash_video(original, tell=lambda *args: told.append(args))
    assert [done for _, done, _ in told] == list(range(1, int(video.seconds) + 1))
    assert {total for _, _, total in told} == {round(video.seconds)}


def test_the_rule_counts_frames() -> None:
    rule = VideoRule(share=0.3)
    assert [rule.matches(10, matching) for matching in (0, 2, 3, 10)] == [False, False, True, True]
    assert not rule.matches(0, 0)
    for frames, matching in ((3, 4), (3, -1)):
        with pytest.raises(FingerprintError, match="expected 0 to 3"):
            rule.matches(frames, matching)


def test_an_unknown_set_of_variants_is_refused(original: bytes) -> None:
    with pytest.raises(VariantsError):
        video_to_query(original, "all")

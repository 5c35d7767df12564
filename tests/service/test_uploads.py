"""Photos and videos become queries, and matches come back to the uploads and frames that they belong to."""

import os
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from skimage import data

from experiments.clips import encode, film
from hashing import (
    VIDEO_RULE,
    VariantsError,
    fingerprints_to_enroll,
    fingerprints_to_query,
    hamming,
    pack,
    video_to_enroll,
    video_to_query,
)
from protocols.base import InputError
from service.messages import Upload
from service.uploads import prepare, read_paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photos, one as an edited copy, a video, and what cannot be asked for."""
    folder = tmp_path_factory.mktemp("uploads")
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    Image.fromarray(data.astronaut()).resize((200, 200)).save(folder / "copy.jpg", quality=50)
    Image.fromarray(data.rocket()).save(folder / "rocket.png")
    photos = [Image.fromarray(each) for each in (data.coffee(), data.chelsea())]
    (folder / "clip.png").write_bytes(encode(film(photos, np.random.default_rng(1), 1.5, ["hand"])))
    Image.new("RGB", (64, 64), "grey").save(folder / "blank.png")
    (folder / "blank.mp4").write_bytes(encode([Image.new("RGB", (64, 64), "grey")] * 10))
    (folder / "text.jpg").write_text("no photo")
    return folder


def names(folder, *wanted):
    return [str(folder / name) for name in wanted]


def test_rows_belong_to_uploads_and_frames(folder):
    paths = names(folder, "rocket.png", "clip.png", "copy.jpg")
    uploads = prepare(paths, "standard")
    assert [(each.path, each.kind) for each in uploads.asked] == list(
        zip(paths, ("photo", "video", "photo"), strict=True)
    )
    frames = [rows for each in uploads.asked for rows in each.frames]
    assert frames[0].start == 0
    assert frames[-1].stop == len(uploads.hashes)
    assert all(a.stop == b.start for a, b in pairwise(frames))
    _, video, copy = uploads.asked
    assert len(video.frames) == len(video_to_query(paths[1]).frames) >= 3
    expected = pack(fingerprints_to_query(paths[2], "standard").fingerprints)
    assert np.array_equal(uploads.hashes[copy.frames[0].start :], expected)
    assert prepare(paths).hashes.shape == (2 + len(video.frames), 32)


def test_what_cannot_be_asked_for_is_refused_with_the_reason_and_the_rest_goes_on(folder):
    wanted = ("text.jpg", "rocket.png", "blank.png", "absent.mp4", "blank.mp4", "copy.jpg")
    uploads = prepare(names(folder, *wanted))
    assert [os.path.basename(each.path) for each in uploads.asked] == ["rocket.png", "copy.jpg"]
    reasons = {os.path.basename(each.path): each.reason.split(":")[0] for each in uploads.refused}
    blank = "too little detail to be matched"
    assert reasons == {
        "text.jpg": "UnreadableImage", "blank.png": blank, "absent.mp4": "UnreadableImage", "blank.mp4": blank,
    }  # fmt: skip
    nothing = prepare(names(folder, "text.jpg"))
    assert nothing.hashes.shape == (0, 32)
    assert nothing.group([]) == []


def test_matches_come_back_by_upload_and_frame(folder):
    uploads = prepare(names(folder, "rocket.png", "clip.png", "copy.jpg"), "standard")
    video = uploads.asked[1]
    first, second = video.frames[0], video.frames[-1]
    matches = [(second.start, b"c"), (first.start, b"b"), (first.stop - 1, b"a"), (first.start, b"b"), (0, b"x")]
    assert [(os.path.basename(found.path), found.upload) for found in uploads.group(matches)] == [
        ("rocket.png", Upload("photo", 1, [[b"x"]])),
        ("clip.png", Upload("video", len(video.frames), [[b"a", b"b"], [b"c"]])),
    ]
    assert uploads.group([]) == []
    for row in (-1, len(uploads.hashes)):
        with pytest.raises(InputError, match="was not asked for"):
            uploads.group([(row, b"x")])


def test_copies_are_found_as_the_rules_say(folder):
    uploads = prepare(names(folder, "copy.jpg", "rocket.png", "clip.png"))
    enrolled = {
        b"photo": fingerprints_to_enroll(folder / "astronaut.png").fingerprints,
        b"video": video_to_enroll(folder / "clip.png").fingerprints,
    }
    matches = [
        (int(row), handle)
        for handle, entries in enrolled.items()
        for row in np.flatnonzero((hamming(uploads.hashes, pack(entries)) <= 31).any(axis=1))
    ]
    photo, video = uploads.group(matches)
    assert (os.path.basename(photo.path), photo.upload) == ("copy.jpg", Upload("photo", 1, [[b"photo"]]))
    assert os.path.basename(video.path) == "clip.png"
    assert VIDEO_RULE.matches(video.upload.frames, len(video.upload.matched))


def test_an_unknown_set_of_variants_is_no_files_fault(folder):
    with pytest.raises(VariantsError, match="queries"):
        prepare(names(folder, "rocket.png"), "all")


def test_progress_counts_files(folder):
    told = []
    prepare(names(folder, "rocket.png", "text.jpg"), tell=lambda *args: told.append(args))
    assert told == [("hashing uploads", number, 2) for number in range(3)]


def test_a_list_of_files_is_read_by_lines_or_zero_bytes(tmp_path):
    listed = tmp_path / "list"
    listed.write_bytes(b"a.jpg\n\n/b c.mp4\r\n\xff.png\n")
    assert read_paths(listed) == ["a.jpg", "/b c.mp4", os.fsdecode(b"\xff.png")]
    listed.write_bytes(b"a\nb.jpg\0c.mp4\0")
    assert read_paths(listed) == ["a\nb.jpg", "c.mp4"]
    with pytest.raises(InputError, match="give a file of paths"):
        read_paths(tmp_path / "absent")

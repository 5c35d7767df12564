"""The command line: what it prints, and its exit codes."""

import json
import shutil

import numpy as np
import pytest
import skimage
import skimage.data
from PIL import Image
from typer.testing import CliRunner

import hushmatch
from experiments import demo
from experiments.clips import encode, film
from hashing import hash_image, hash_video
from protocols import available
from protocols.bfv.keyholder import KeyHolder

PHOTO = f"{skimage.__path__[0]}/data/chelsea.png"


def call(*arguments):
    return CliRunner(env={"COLUMNS": "140"}).invoke(hushmatch.app, arguments)


@pytest.fixture
def only_bfv(monkeypatch):
    kept = {name: capabilities for name, capabilities in available().items() if name in ("plaintext", "bfv")}
    monkeypatch.setattr(demo, "available", lambda: kept)


def test_demo_says_what_happened_and_succeeds(only_bfv):
    result = call("demo")
    assert result.exit_code == 0, result.output
    for text in ("bfv", "case-1", "no match", "What each role saw", "After case-1 was withdrawn", "agrees"):
        assert text in result.output


def test_demo_fails_where_an_exact_protocol_disagrees(only_bfv, monkeypatch):
    monkeypatch.setattr(KeyHolder, "decrypt", lambda self, distances: 0 * _decrypt(self, distances) + 40)
    result = call("demo")
    assert result.exit_code == 1
    assert "bfv broke its promise" in result.output


_decrypt = KeyHolder.decrypt


def test_demo_without_photos_names_the_error(tmp_path):
    result = call("demo", "--photos", str(tmp_path))
    assert result.exit_code == 1
    assert "DatasetError" in result.stderr


def test_demo_with_unknown_variants_is_refused_with_the_list():
    result = call("demo", "--variants", "all")
    assert result.exit_code == 2
    assert "standard" in result.stderr


@pytest.mark.parametrize("algorithm", ["pdq", "phash"])
def test_hash_prints_hex_quality_and_name(algorithm):
    result = call("hash", PHOTO, PHOTO, "--algorithm", algorithm)
    fingerprint = hash_image(PHOTO, algorithm)
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        [fingerprint.hex, str(fingerprint.quality), PHOTO]
    ] * 2


def test_hash_as_json():
    fingerprint = hash_image(PHOTO)
    row = {"photo": PHOTO, "algorithm": "pdq", "hash": fingerprint.hex, "quality": fingerprint.quality, "usable": True}
    assert json.loads(call("hash", "--json", PHOTO).stdout) == [row]


def test_hash_warns_of_a_photo_with_too_little_detail(tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("RGB", (64, 64), "grey").save(blank)
    result = call("hash", "--json", str(blank))
    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["usable"] is False
    assert "quality 0 is below 50" in result.stderr
    assert call("hash", PHOTO).stderr == ""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A video under the name of a photo."""
    path = tmp_path_factory.mktemp("clip") / "clip.jpg"
    photos = [Image.fromarray(picture) for picture in (skimage.data.coffee(), skimage.data.chelsea())]
    path.write_bytes(encode(film(photos, np.random.default_rng(1), 1, ["hand"])))
    return str(path)


def test_hash_lists_a_videos_frames_with_their_times(clip):
    result = call("hash", PHOTO, clip)
    assert result.exit_code == 0, result.output
    expected = [
        [frame.fingerprint.hex, str(frame.fingerprint.quality), f"{frame.seconds:.3f}", clip]
        for frame in hash_video(clip).frames
    ]
    assert len(expected) >= 2
    assert [line.split() for line in result.stdout.splitlines()][1:] == expected


def test_hash_of_a_video_as_json(clip):
    (row,) = json.loads(call("hash", "--json", clip).stdout)
    video = hash_video(clip)
    assert (row["video"], row["algorithm"], row["seconds"]) == (clip, "pdq", round(video.seconds, 3))
    assert [frame["hash"] for frame in row["frames"]] == [frame.fingerprint.hex for frame in video.frames]
    assert set(row["frames"][0]) == {"seconds", "hash", "quality"}


def test_hash_of_a_video_with_another_algorithm_is_refused(clip):
    result = call("hash", clip, "--algorithm", "phash", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0]["error"].startswith("FingerprintError")


def test_hash_warns_of_a_video_without_detail_and_names_a_broken_one(tmp_path):
    blank, broken = tmp_path / "blank.mp4", tmp_path / "broken.mp4"
    blank.write_bytes(encode([Image.new("RGB", (64, 64), "grey")] * 10))
    broken.write_bytes(blank.read_bytes()[:300])
    result = call("hash", "--json", str(blank), str(broken))
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert (rows[0]["frames"], rows[0]["usable"]) == ([], False)
    assert rows[1]["video"] == str(broken)
    assert rows[1]["error"].startswith("UnreadableVideo")
    assert "no frame of this video has enough detail" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["", "http://example.org/a.png"])
def test_hash_names_the_photo_as_it_was_typed_and_once(name):
    result = call("hash", "--json", name)
    (row,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert row["photo"] == name
    assert row["error"].startswith(f"UnreadableImage: {name!r}: ")
    assert result.stderr.count(repr(name)) == 1


def test_a_name_cannot_pass_for_a_line_of_another_photo(tmp_path):
    evil = tmp_path / "a\nb\x1b[2J.png"
    shutil.copy(PHOTO, evil)
    result = call("hash", str(evil))
    assert result.stdout.count("\n") == 1
    assert result.stdout.endswith("a\\nb\\x1b[2J.png\n")


def test_hash_of_a_folder_names_it_once(tmp_path):
    assert call("hash", str(tmp_path)).stderr.strip() == f"UnreadableImage: {str(tmp_path)!r}: not a file"


def test_version_is_the_installed_one(monkeypatch):
    monkeypatch.setattr(hushmatch, "version", lambda package: f"{package} 1.2")
    result = call("--version")
    assert (result.exit_code, result.stdout.split()[-1]) == (0, "1.2")


def test_hash_goes_on_after_a_bad_file_and_fails_in_the_end(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    result = call("hash", str(bad), str(tmp_path / "absent.png"), PHOTO, "--json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [row["photo"] for row in rows if "hash" in row] == [PHOTO]
    assert [row["error"].split(":")[0] for row in rows if "hash" not in row] == ["UnreadableImage"] * 2
    assert "bad.png" in result.stderr
    assert "absent.png" in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_algorithm_is_refused_with_the_list():
    result = call("hash", PHOTO, "--algorithm", "md5")
    assert result.exit_code == 2
    assert "pdq" in result.output

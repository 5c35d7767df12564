import json
import subprocess
import sys
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image
from skimage import data

from hashing import (
    ALGORITHMS,
    RULES,
    FingerprintError,
    HashingError,
    ImageTooLarge,
    ImageTooSmall,
    UnreadableImage,
    dihedral_fingerprints,
    hash_image,
    image,
    open_image,
    pdq,
)
from tests.hashing import hostile

REFERENCE = {
    "phash": imagehash.phash,
    "dhash": imagehash.dhash,
    "ahash": imagehash.average_hash,
    "whash": imagehash.whash,
}

# Hashes every file in the folder given; prints name -> (outcome, message, seconds), and the peak of memory in MiB.
CHILD = """
import json, os, sys, time
from pathlib import Path
import hashing
outcomes = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.perf_counter()
    try:
        outcome, message = type(hashing.hash_image(path)).__name__, ""
    except hashing.HashingError as error:
        outcome, message = type(error).__name__, str(error)
    outcomes[path.name] = outcome, message, time.perf_counter() - start
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps({"outcomes": outcomes, "peak": peak}))
"""


def test_hostile_files_give_a_fingerprint_or_a_named_error(tmp_path: Path) -> None:
    expected = hostile.write(tmp_path)
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, tmp_path], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    result = json.loads(child.stdout)
    assert len(expected) >= 60
    assert {name: outcome for name, (outcome, _, _) in result["outcomes"].items()} == expected
    for name, (outcome, message, seconds) in result["outcomes"].items():
        assert (name in message) == (outcome != "Fingerprint"), message
        assert seconds < 10, name
    assert result["peak"] < 1024


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_largest_images_that_are_read_stay_below_a_gibibyte(kind: str, tmp_path: Path) -> None:
    limit = image.MAX_DECODED_BYTES // image._BYTES_PER_PIXEL[kind]
    side = int(limit**0.5)
    picture = Image.fromarray(data.coffee()).convert("RGBA" if kind in ("PNG", "WEBP", "AVIF") else "RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict = {
        "JPEG": {"progressive": True, "subsampling": 0},
        "PNG": {"compress_level": 1},
        "WEBP": {"method": 0},
        "AVIF": {"speed": 10, "subsampling": "4:4:4"},
        "TIFF": {},
    }[kind]
    picture.resize((side, side)).save(tmp_path / "largest", format=kind, exif=exif, **options)
    child = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path], capture_output=True, text=True, timeout=250, check=True
    )
    result = json.loads(child.stdout)
    assert result["outcomes"]["largest"][0] == "Fingerprint"
    assert result["peak"] < 1024


def test_every_algorithm_equals_its_reference() -> None:
    photo = Image.fromarray(data.chelsea())
    assert set(ALGORITHMS) == set(RULES)
    assert hash_image(photo).hex == pdq.compute(data.chelsea()).fingerprint.hex
    for algorithm, reference in REFERENCE.items():
        assert hash_image(photo, algorithm).hex == str(reference(photo)), algorithm
    with pytest.raises(FingerprintError, match="algorithm"):
        hash_image(photo, "md5")


def test_path_bytes_and_image_agree(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(data.chelsea()).save(path)
    expected = hash_image(Image.fromarray(data.chelsea()))
    assert hash_image(path) == hash_image(str(path)) == hash_image(path.read_bytes()) == expected
    with Image.open(path) as lazy:
        assert hash_image(lazy) == expected


def test_photos_are_read_upright() -> None:
    made = hostile.files()
    upright = np.asarray(open_image(made["orientation-1.jpg"][0]), dtype=int)
    turns = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, -1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright),
    }
    for value, expected in turns.items():
        got = np.asarray(open_image(made[f"orientation-{value}.jpg"][0]), dtype=int)
        assert got.shape == expected.shape, value
        assert np.abs(got - expected).mean() < 1, value
        assert hash_image(open_image(made[f"orientation-{value}.jpg"][0])) == hash_image(
            made[f"orientation-{value}.jpg"][0]
        )
    assert np.array_equal(np.asarray(open_image(made["orientation-99.jpg"][0])), upright)


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "nothing.jpg").touch()
    for source in (tmp_path / "nothing.jpg", b""):
        with pytest.raises(UnreadableImage, match="the file is empty"):
            open_image(source)


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    clear.paste((0, 0, 255, 255), (0, 0, 10, 20))
    pixels = np.asarray(open_image(clear))
    assert (pixels[:, :10] == (0, 0, 255)).all()
    assert (pixels[:, 10:] == 255).all()


def test_deep_grey_keeps_its_picture() -> None:
    grey = np.asarray(Image.fromarray(data.camera()).resize((200, 200)))
    for deep in (grey.astype(np.uint16) * 257, grey.astype(np.int32) * 1000 - 50, grey.astype(np.float32) / 255):
        pixels = np.asarray(open_image(Image.fromarray(deep)), dtype=int)[..., 0]
        if deep.dtype != np.uint16:  # stretched to the full range
            pixels = pixels * (int(grey.max()) - int(grey.min())) // 255 + int(grey.min())
        assert np.abs(pixels - grey).max() <= 2, deep.dtype


def test_animations_show_their_first_frame() -> None:
    made = hostile.files()
    still = hash_image(made["lossless.webp"][0])
    for name in ("animated.png", "animated.webp", "animated.gif", "multi-picture.jpg", "multipage.tif"):
        assert hash_image(made[name][0]).distance(still) <= 20, name


def test_what_is_given_is_not_changed() -> None:
    given = Image.new("P", (50, 50))
    open_image(given)
    assert given.mode == "P"


def test_dihedral_fingerprints() -> None:
    photo = Image.fromarray(data.chelsea())
    got = dihedral_fingerprints(photo)
    assert list(got) == list(pdq.DIHEDRAL)
    assert got == {name: p.fingerprint for name, p in pdq.compute(data.chelsea()).dihedral().items()}
    assert len(set(got.values())) == 8
    turned = dihedral_fingerprints(photo, "dhash")
    assert turned["rotate90"] == hash_image(photo.transpose(Image.Transpose.ROTATE_90), "dhash")
    assert turned["flip_y"] == hash_image(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "dhash")


def test_errors_say_what_to_do() -> None:
    with pytest.raises(UnreadableImage, match="JPEG"):
        hash_image(b"no image")
    with pytest.raises(UnreadableImage, match="expected a path"):
        hash_image(3)  # type: ignore[arg-type]
    with pytest.raises(UnreadableImage, match=r"nowhere\.jpg.*No such file"):
        hash_image("nowhere.jpg")
    with pytest.raises(UnreadableImage, match="null"):
        hash_image("a\0b")
    with pytest.raises(ImageTooLarge, match="reduce"):
        hash_image(hostile.png(9500, 9500))
    with pytest.raises(ImageTooSmall, match="8 a side"):
        hash_image(Image.new("RGB", (7, 100)))
    assert all(issubclass(e, HashingError) for e in (UnreadableImage, ImageTooLarge, ImageTooSmall))

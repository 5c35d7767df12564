import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from hashing import Fingerprint, HashingError, ImageTooSmall, hamming, pack, pdq

VECTORS = Path(__file__).parents[1] / "vectors" / "pdq"
PHOTOS = ("astronaut", "cat", "coffee", "immunohistochemistry", "camera", "coins", "moon", "page", "brick", "grass")
SIZES = ((5, 5), (5, 700), (63, 64), (64, 64), (128, 129), (300, 257), (77, 1100))


def rgb(name: str) -> np.ndarray:
    pixels = getattr(data, name)()
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))


def cases() -> dict[str, np.ndarray]:
    noise = np.random.Generator(np.random.PCG64(1))
    made = {f"noise {h} x {w}": noise.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in SIZES}
    flat = {f"flat {v}": np.full((333, 777, 3), v, dtype=np.uint8) for v in (0, 77, 255)}
    return {name: rgb(name) for name in PHOTOS} | made | flat


def reference_vectors() -> list[dict]:
    pdqhash = pytest.importorskip("pdqhash")
    vectors = []
    for name, pixels in cases().items():
        bits, quality = pdqhash.compute(pixels)
        vectors.append({"image": name, "hex": np.packbits(bits).tobytes().hex(), "quality": quality})
        if pixels.shape[:2] != (64, 64):  # where pdqhash's dihedral entry point downsamples once more
            turned, _ = pdqhash.compute_dihedral(pixels)
            vectors[-1]["dihedral"] = [np.packbits(bits).tobytes().hex() for bits in turned]
    return vectors


def stored_vectors() -> list[dict]:
    return json.loads((VECTORS / "pdqhash.json").read_text())["vectors"]


def test_equals_the_reference() -> None:
    pixels = cases()
    assert [vector["image"] for vector in stored_vectors()] == list(pixels)
    for vector in stored_vectors():
        got = pdq.compute(pixels[vector["image"]])
        assert got.fingerprint.hex == vector["hex"], vector["image"]
        assert got.quality == vector["quality"], vector["image"]
        if "dihedral" in vector:
            assert [turned.fingerprint.hex for turned in got.dihedral().values()] == vector["dihedral"]


def test_stored_vectors_are_what_pdqhash_says() -> None:
    assert reference_vectors() == stored_vectors()


def test_coefficients_equal_the_reference() -> None:
    pdqhash = pytest.importorskip("pdqhash")
    for name, pixels in cases().items():
        coefficients, _ = pdqhash.compute_float(pixels)
        assert np.array_equal(pdq.compute(pixels).coefficients.ravel()[::-1], coefficients), name


def test_published_examples() -> None:
    groups = json.loads((VECTORS / "published.json").read_text())["groups"]
    hashes = [[Fingerprint.from_hex(text) for text in group["hex"]] for group in groups]
    assert [[f.hex for f in group] for group in hashes] == [group["hex"] for group in groups]
    edits, *others = hashes
    assert hamming(pack(edits), pack(edits)).max() <= 31
    everything = pack([edits[0], *(photo for group in others for photo in group)])
    assert (hamming(everything, everything) + 256 * np.eye(len(everything), dtype=int)).min() > 63


def test_margins_stand_in_hash_bit_order_and_say_which_bits_flip() -> None:
    picture = Image.fromarray(data.astronaut())
    first = pdq.compute(np.asarray(picture))
    assert first.margins.shape == (256,)
    assert np.array_equal(first.margins > 0, first.fingerprint.bits == 1)
    edited = pdq.compute(np.asarray(picture.resize((200, 200))))
    flipped = first.fingerprint.bits != edited.fingerprint.bits
    assert 0 < flipped.sum() < 32
    assert np.abs(first.margins[flipped]).max() < np.median(np.abs(first.margins))


def test_dihedral_names_say_what_is_turned() -> None:
    pixels = data.coffee()
    turned = {
        "original": pixels,
        "rotate90": np.rot90(pixels),
        "rotate180": np.rot90(pixels, 2),
        "rotate270": np.rot90(pixels, 3),
        "flip_x": pixels[::-1],
        "flip_y": pixels[:, ::-1],
        "flip_plus": pixels.transpose(1, 0, 2),
        "flip_minus": np.rot90(pixels, 2).transpose(1, 0, 2),
    }
    got = pdq.compute(pixels).dihedral()
    assert tuple(got) == pdq.DIHEDRAL == tuple(turned)
    for name, expected in turned.items():
        distances = {other: pdq.compute(expected).fingerprint.distance(it.fingerprint) for other, it in got.items()}
        assert min(distances, key=distances.__getitem__) == name
        assert distances[name] <= 24


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 200), st.integers(5, 200), st.integers(0, 2**32))
def test_grey_rgb_and_luma_agree_and_input_stays_as_it_was(height: int, width: int, seed: int) -> None:
    grey = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (height, width), dtype=np.uint8)
    luma = grey.astype(np.float32)
    hashes = {pdq.compute(p).fingerprint.hex for p in (grey, np.repeat(grey[..., None], 3, axis=2), luma)}
    assert len(hashes) == 1
    assert np.array_equal(luma, grey)


@pytest.mark.parametrize(
    "pixels",
    [
        [[1, 2], [3, 4]],
        np.zeros((10, 10), dtype=np.float64),
        np.zeros((10, 10, 4), dtype=np.uint8),
        np.zeros(100, dtype=np.uint8),
    ],
)
def test_other_pixels_are_refused(pixels: object) -> None:
    with pytest.raises(HashingError, match="expected"):
        pdq.compute(pixels)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(4, 100, 3), (100, 4, 3), (0, 0, 3)])
def test_too_small(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageTooSmall, match="5 a side"):
        pdq.compute(np.zeros(shape, dtype=np.uint8))

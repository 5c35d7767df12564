import io
import time

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from skimage import data

from hashing import (
    Fingerprint,
    HashingError,
    UnreadableImage,
    fingerprints_to_enroll,
    fingerprints_to_query,
    hamming,
    hash_image,
    pack,
)
from hashing.variants import PHOTO, QUERIES, SETS, VariantsError

PHOTOS = ("astronaut", "chelsea", "rocket", "immunohistochemistry")


def photo(name: str = "chelsea") -> Image.Image:
    return Image.fromarray(getattr(data, name)())


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=60)
    return out.getvalue()


def distance(edited: Image.Image, original: Image.Image, variants: str = "standard") -> int:
    asked = fingerprints_to_query(jpeg(edited), variants).fingerprints
    return int(hamming(pack(asked), pack(fingerprints_to_enroll(original, variants).fingerprints)).min())


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))


def captioned(image: Image.Image, part: float) -> Image.Image:
    out, (w, h) = image.copy(), image.size
    draw = ImageDraw.Draw(out)
    draw.rectangle((0, (1 - part) * h, w, h), fill="white")
    draw.text((0.05 * w, (1 - 0.8 * part) * h), "look who I met", fill="black", font_size=0.5 * part * h)
    return out


def screenshot(image: Image.Image) -> Image.Image:
    out = Image.new("RGB", (image.width, max(image.width * 2, round(image.height * 1.25))), "#101014")
    out.paste(image, (0, (out.height - image.height) // 2))
    ImageDraw.Draw(out).text((20, 10), "21:47", fill="white", font_size=18)
    return out


CAUGHT = {
    "as it is": lambda image: image,
    "mirror": ImageOps.mirror,
    "border": lambda image: ImageOps.expand(image, 30, "white"),
    "caption over": lambda image: captioned(image, 0.15),
    "screenshot": screenshot,
    "rotate": lambda image: image.rotate(4, Image.Resampling.BICUBIC),
    "crop 4 %": lambda image: crop(image, 0.04, 0.04, 0.04, 0.04),
    "crop 8 %": lambda image: crop(image, 0.08, 0.08, 0.08, 0.08),
}


@pytest.mark.parametrize("edit", CAUGHT)
def test_standard_catches_what_one_fingerprint_misses(edit: str) -> None:
    for name in PHOTOS:
        assert distance(CAUGHT[edit](photo(name)), photo(name)) <= 31, name
    missed = [distance(CAUGHT[edit](photo(name)), photo(name), "none") > 31 for name in PHOTOS]
    assert sum(missed) == 0 if edit == "as it is" else sum(missed) >= 2


def test_thorough_catches_uneven_crops() -> None:
    cuts = np.random.default_rng(5).uniform(0, 0.08, (10, 4))
    caught = [[distance(crop(photo(name), *c), photo(name), "thorough") <= 31 for c in cuts] for name in PHOTOS]
    assert np.mean(caught) >= 0.6


def test_other_photos_stay_far() -> None:
    for one in PHOTOS:
        for other in PHOTOS:
            if one != other:
                assert distance(photo(one), photo(other), "thorough") > 63


def test_sets_are_as_promised() -> None:
    assert {name: len(views) for name, views in SETS.items()} == {"none": 1, "standard": 16, "thorough": 48}
    assert QUERIES == {"none": 1, "standard": 3, "thorough": 4}
    for views in SETS.values():
        assert views[0] == PHOTO
        assert len({view.name for view in views}) == len(views)


@pytest.mark.parametrize("variants", SETS)
def test_the_photo_itself_comes_first(variants: str) -> None:
    for edit in CAUGHT.values():
        upload = jpeg(edit(photo()))
        enrolled, asked = fingerprints_to_enroll(upload, variants), fingerprints_to_query(upload, variants)
        assert enrolled.entries[0] == ("photo", hash_image(upload))
        assert asked.entries[0] == ("upload", hash_image(upload))
        assert len(enrolled) == len(SETS[variants])
        assert len(asked) <= QUERIES[variants]
        assert enrolled.padded() == enrolled.fingerprints
        assert [name for name, _ in enrolled] == [view.name for view in SETS[variants]]


def test_the_same_photo_gives_the_same_fingerprints() -> None:
    assert fingerprints_to_enroll(photo()) == fingerprints_to_enroll(photo())
    assert fingerprints_to_query(photo()) == fingerprints_to_query(photo())


def test_blank_variants_are_dropped_and_said() -> None:
    # Content along the border only: the crops of it are blank.
    pixels = np.full((400, 400, 3), 127, dtype=np.uint8)
    ring = np.ones((400, 400), dtype=bool)
    ring[24:-24, 24:-24] = False
    pixels[ring] = np.random.default_rng(1).integers(0, 2, (ring.sum(), 1), dtype=np.uint8) * 255
    found = fingerprints_to_enroll(Image.fromarray(pixels).resize((200, 200), Image.Resampling.NEAREST))
    assert "photo" not in found.dropped
    assert "crop 9 %" in found.dropped
    assert all(fingerprint.usable for _, fingerprint in found)
    assert len(found) + len(found.dropped) == len(found.padded()) == len(SETS["standard"])
    assert set(found.padded()) == set(found.fingerprints)

    nothing = fingerprints_to_enroll(Image.new("RGB", (300, 300), "navy"))
    assert (len(nothing), len(nothing.dropped), nothing.padded()) == (0, len(SETS["standard"]), [])
    assert fingerprints_to_query(Image.new("RGB", (300, 300), "navy")).dropped[0] == "upload"


def test_errors_and_repr() -> None:
    for function in (fingerprints_to_enroll, fingerprints_to_query):
        with pytest.raises(VariantsError, match="none, standard, thorough"):
            function(photo(), "everything")
        with pytest.raises(UnreadableImage):
            function(b"no image")
    assert issubclass(VariantsError, HashingError)
    found = fingerprints_to_enroll(photo())
    assert isinstance(found.fingerprints[0], Fingerprint)
    assert found.fingerprints[0].hex[:8] not in repr(found)


@pytest.mark.slow
def test_a_twelve_megapixel_photo_takes_less_than_a_second() -> None:
    upload = jpeg(photo().resize((4000, 3000)))
    fingerprints_to_enroll(photo(), "thorough")
    times = []
    for _ in range(3):
        start = time.thread_time()
        fingerprints_to_enroll(upload, "thorough")
        times.append(time.thread_time() - start)
    assert min(times) < 1

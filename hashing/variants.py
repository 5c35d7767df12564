"""What to enrol for a photo, and what to ask for an upload, so that crops, frames, turns and mirrors match too.

PDQ at distance 31 finds recompressed and resized copies and little else. Entries are sealed, so more of them tell
nobody more: a photo is enrolled together with copies of it as people would cut, turn and mirror it, one line of a
table each, and an upload is asked for as it is and once or twice more, with what frames it taken off. Every variant
asked for meets every variant enrolled, so that few of the one double the reach of the other.

The sets were chosen by measurement: `python -m experiments variants`, docs/variants.md.

Not protected: the number of entries of a case. `Variants.padded` brings each case to the size of its set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from PIL import Image

from hashing import frames
from hashing.fingerprint import Fingerprint, HashingError
from hashing.image import MIN_SIDE, Source, open_image, pdq_of
from hashing.views import Picture, View

CAPTION = 0.21  # of the height; captions of up to a fifth are cut together with what they hide

Value = TypeVar("Value")


class VariantsError(HashingError, ValueError):
    """There is no set of variants of that name."""


def crop(percent: float) -> View:
    """Cut on all sides alike, in percent."""
    part = percent / 100
    return View(f"crop {percent:g} %", part, part, part, part, spread=0.012)


def cut(**percents: float) -> View:
    """Cut on some sides, e.g. `cut(left=6, top=2)`, in percent."""
    sides: dict[str, Any] = {side: percent / 100 for side, percent in percents.items()}
    return View(
        "cut " + ", ".join(f"{side} {percent:g} %" for side, percent in percents.items()), **sides, spread=0.012
    )


def turn(degrees: float, percent: float = 0) -> View:
    """Turned counter-clockwise and cut to fill, then cut on all sides alike."""
    name, part = f"turn {degrees:g}°" + (f", crop {percent:g} %" if percent else ""), percent / 100
    return View(name, part, part, part, part, turn=degrees, spread=0.5)


def no_caption(side: str) -> View:
    """Without the part where a caption may be, at the "top" or the "bottom"."""
    return replace(View(f"no caption at the {side}"), **{side: CAPTION})  # type: ignore[arg-type]  # a float


PHOTO = View("photo")
MIRROR = View("mirror", mirror=True)
TRIMMED = View("trimmed")  # of the bars that the photo itself has

SETS: dict[str, tuple[View, ...]] = {
    "none": (PHOTO,),
    "standard": (
        PHOTO,
        MIRROR,
        no_caption("bottom"),
        crop(5),
        crop(9),
        turn(-3.5),
        turn(4),
        cut(top=12),
        crop(2),
        cut(left=2.5, top=2.5, right=7, bottom=2.5),
        no_caption("top"),
        cut(left=6.5, top=4.5, right=3, bottom=3.5),
        cut(bottom=6),
        cut(left=10),
        cut(left=3, top=7, right=3, bottom=3),
        cut(bottom=12),
    ),
    "thorough": (
        PHOTO,
        MIRROR,
        no_caption("bottom"),
        crop(6),
        turn(3),
        turn(-3.5),
        cut(top=12),
        cut(left=2, top=6, right=2, bottom=2),
        cut(left=2, top=2, right=6, bottom=2),
        cut(left=2, top=2, right=2, bottom=6),
        crop(9),
        cut(left=6, top=2, right=2, bottom=2),
        no_caption("top"),
        cut(left=12),
        cut(bottom=12),
        cut(right=12),
        turn(-0.5, 2),
        cut(left=8),
        cut(right=8),
        cut(left=5, top=5, bottom=5),
        cut(left=4.5, top=5, right=6.5, bottom=2),
        turn(4.5),
        TRIMMED,
        cut(top=5, right=5, bottom=5),
        turn(1),
        cut(bottom=8),
        cut(left=4, top=4),
        cut(left=6.5, top=7, right=5, bottom=5.5),
        cut(left=4, top=2.5, right=6, bottom=7),
        cut(left=3.5, top=7, right=1.5, bottom=6.5),
        cut(top=8),
        cut(left=5, top=5, right=5),
        cut(left=1.5, top=6.5, right=6, bottom=2.5),
        turn(-4.5),
        turn(-2),
        cut(left=5.5, top=5, right=5.5, bottom=3.5),
        cut(left=3.5, top=6, right=5.5, bottom=7),
        cut(left=1.5, top=5.5, right=7, bottom=7.5),
        cut(right=14),
        cut(left=4.5, top=7, right=6.5, bottom=1),
        cut(top=4),
        cut(left=6.5, top=4.5, right=3, bottom=3.5),
        cut(bottom=14),
        cut(top=14),
        cut(left=5, top=5),
        cut(left=6, bottom=6),
        cut(left=7, top=2, right=6.5, bottom=1.5),
        crop(7),
    ),
}

# Asked for beside the upload as far as a set's number of fingerprints goes, after what takes frames off.
EXTRAS = (
    View("crop 2 %", 0.02, 0.02, 0.02, 0.02),
    View("cut top 4 %", top=0.04),
    View("widen 2.5 %", -0.025, -0.025, -0.025, -0.025),
)
QUERIES = {"none": 1, "standard": 3, "thorough": 4}


@dataclass(frozen=True, slots=True)
class Variants:
    """entries: (the variant's name, its fingerprint); dropped: names of those whose quality is too low to match on."""

    entries: tuple[tuple[str, Fingerprint], ...] = field(repr=False)
    dropped: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[tuple[str, Fingerprint]]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def fingerprints(self) -> list[Fingerprint]:
        """The fingerprints without names."""
        return [fingerprint for _, fingerprint in self.entries]

    def padded(self) -> list[Fingerprint]:
        """The fingerprints, repeated in turn to the number that the whole set has: the size of a case then says
        nothing of the photo. Empty if every variant was dropped.
        """
        size = len(self.entries) + len(self.dropped)
        return [self.entries[i % len(self.entries)][1] for i in range(size)] if self.entries else []


def fingerprints_to_enroll(source: Source, variants: str = "standard") -> Variants:
    """PDQ fingerprints to enrol for a photo, its own first. Raises VariantsError, and as `hash_image`."""
    return _usable(fingerprints_of(open_image(source), _named(SETS, variants)))


def fingerprints_to_query(source: Source, variants: str = "standard") -> Variants:
    """PDQ fingerprints to ask for an upload, its own first: at most QUERIES[variants]. Raises as for enrolling."""
    count = _named(QUERIES, variants)
    image = open_image(source)
    found = [("upload", pdq_of(image).fingerprint)]
    if count > 1:
        grey = frames.grey(image)
        bars = frames.find_bars(grey)
        inner = _without(image, bars)
        tilt = frames.find_tilt(frames.grey(inner))
        picture = Picture(inner, tilt)
        if tilt:
            found.append(("straightened", picture.fingerprint(PHOTO)))
        elif inner is not image:
            found.append(("trimmed", pdq_of(inner).fingerprint))
        if side := frames.caption_side(grey, bars):
            rest = _without(image, frames.Bars()._replace(**{side: CAPTION}))
            found.append((f"no caption at the {side}", pdq_of(rest).fingerprint))
        found += [(view.name, picture.fingerprint(view)) for view in EXTRAS[: count - len(found)]]
    return _usable(found)


def fingerprints_of(image: Image.Image, views: Iterable[View]) -> list[tuple[str, Fingerprint]]:
    """(name, fingerprint) of each view of an opened image, whatever its quality; the photo's own is its exact PDQ."""
    picture: Picture | None = None
    found = []
    for view in views:
        if view == PHOTO:
            fingerprint = pdq_of(image).fingerprint
        elif view == TRIMMED:
            fingerprint = pdq_of(_without(image, frames.find_bars(frames.grey(image)))).fingerprint
        else:
            picture = picture or Picture(image)
            fingerprint = picture.fingerprint(view)
        found.append((view.name, fingerprint))
    return found


def _usable(found: list[tuple[str, Fingerprint]]) -> Variants:
    good = tuple((name, fingerprint) for name, fingerprint in found if fingerprint.usable)
    return Variants(good, tuple(name for name, fingerprint in found if not fingerprint.usable))


def _named(table: Mapping[str, Value], name: str) -> Value:
    try:
        return table[name]
    except (KeyError, TypeError):
        raise VariantsError(f"variants is {name!r}; expected one of {', '.join(table)}") from None


def _without(image: Image.Image, bars: frames.Bars) -> Image.Image:
    """The image without its bars and, where there is one, a pixel more: JPEG blends the two."""
    width, height = image.size
    box = (
        round(bars.left * width) + (bars.left > 0),
        round(bars.top * height) + (bars.top > 0),
        width - round(bars.right * width) - (bars.right > 0),
        height - round(bars.bottom * height) - (bars.bottom > 0),
    )
    if box == (0, 0, width, height) or min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
        return image
    return image.crop(box)

"""Videos in, fingerprints out: which frames stand for a video, and when two videos match.

A video is the set of its frames' fingerprints. PDQ changes from frame to frame where the camera moves, so a copy that
begins half a second later would show other frames if they were taken by the clock. Frames are taken by what they show:
in each shot, those where the picture stands stillest, at most about one a second (two for entries), and one every two
seconds where nothing else is taken. A copy that is trimmed, slowed or coded again stands still at the same moments.

A frame without a fingerprint of enough quality is left out, and so is one that is nearly the same as the one before.
Two videos match when a share of the query's frames match entries of one case (`VIDEO_RULE`); order and times do not
count, so that rearranged copies match too. How the numbers were chosen: docs/video.md.

Stillness of a frame: the mean absolute difference of 32 x 32 grey pictures 0.07 s before and after it. A cut is
FFmpeg's (filter scdet): with m the mean absolute difference of two neighbouring frames in percent of the full range,
and m' that of the two before, it is where min(m, |m - m'|) >= 10.

Not protected: frames' fingerprints, with their times, give away a coarse likeness of the video.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from hashing.decoding import LIMITS, Limits, Still, VideoSource, open_video
from hashing.fingerprint import Fingerprint, FingerprintError
from hashing.variants import TRIMMED, Variants, fingerprints_of, fingerprints_to_enroll, fingerprints_to_query

CUT = 10.0  # percent; scdet's default
SPAN = 0.14  # seconds over which movement is measured: at 15 frames a second still two frames
APART_ENTRIES = 0.25  # seconds around a frame within which none stands stiller; whatever is so for 0.5 s is for 0.25
APART_QUERY = 0.5
LONGEST = 2.0  # seconds without a frame
REPEAT = 8  # distance up to which a frame is nearly the same as the one before
_CLOSE = 0.012  # seconds; of more than about 80 frames a second some are passed over

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class VideoRule:
    """What counts as a match of videos: `share` of the query's frames match entries of one case."""

    share: float

    def matches(self, frames: int, matching: int) -> bool:
        """Whether `matching` of the query's `frames` are enough. Raises FingerprintError for impossible numbers."""
        if not 0 <= matching <= frames:
            raise FingerprintError(f"matching is {matching}; expected 0 to {frames}, the number of frames")
        return frames > 0 and matching >= self.share * frames


VIDEO_RULE = VideoRule(share=0.3)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame that stands for the video. seconds: from its beginning. variants: its fingerprints."""

    seconds: float
    variants: Variants = field(repr=False)

    @property
    def fingerprint(self) -> Fingerprint:
        """The frame's own fingerprint; if its quality is too low, the first variant's whose is not."""
        return self.variants.fingerprints[0]


@dataclass(frozen=True, slots=True)
class Video:
    """What was taken of a video. seconds: up to its last frame. poor: frames left out for low quality. repeats: left
    out as nearly the same. damaged: packets and frames that did not decode.
    """

    frames: tuple[Frame, ...]
    seconds: float
    poor: int
    repeats: int
    damaged: int

    @property
    def fingerprints(self) -> list[Fingerprint]:
        """All fingerprints of all frames."""
        return [fingerprint for frame in self.frames for fingerprint in frame.variants.fingerprints]


def hash_video(source: VideoSource, limits: Limits = LIMITS, tell: Progress | None = None) -> Video:
    """PDQ fingerprints of the frames that stand for a video: a path, a file's bytes, or a binary file that can seek.

    `tell(what, done, total)` is called with seconds; total is 0 if the file does not say its length. There may be no
    frames, where all are too blank. Raises UnreadableVideo, VideoTooLarge, VideoUnavailable, ImageTooSmall.
    """
    return video_to_query(source, "none", limits, tell)


def video_to_query(
    source: VideoSource, variants: str = "none", limits: Limits = LIMITS, tell: Progress | None = None
) -> Video:
    """The same with what to ask for beside each frame (`hashing.variants`). A frame matches when one of its variants
    does. Raises VariantsError too.
    """
    return _hash(source, lambda image: fingerprints_to_query(image, variants), APART_QUERY, limits, tell)


def video_to_enroll(
    source: VideoSource, variants: str = "none", limits: Limits = LIMITS, tell: Progress | None = None
) -> Video:
    """What to enrol for a video: more frames than are asked for, each with its variants and, if the video has bars,
    without them: a copy that is framed anew loses them together with the new ones. Raises as above.
    """
    return _hash(source, lambda image: frame_to_enroll(image, variants), APART_ENTRIES, limits, tell)


def frame_to_enroll(image: Image.Image, variants: str = "none") -> Variants:
    """The entries of one frame: the photo's, and without bars if that makes a difference. Raises as for photos."""
    found = fingerprints_to_enroll(image, variants)
    known = found.fingerprints
    trimmed = [
        (name, fingerprint)
        for name, fingerprint in fingerprints_of(image, (TRIMMED,))
        if fingerprint.usable and not any(fingerprint.distance(other) <= REPEAT for other in known)
    ]
    return Variants((*found.entries, *trimmed), found.dropped)


def _hash(
    source: VideoSource,
    views: Callable[[Image.Image], Variants],
    apart: float,
    limits: Limits,
    tell: Progress | None,
) -> Video:
    frames: list[Frame] = []
    seconds, poor, repeats = 0.0, 0, 0
    with open_video(source, limits) as clip:

        def watched() -> Iterator[Still]:
            nonlocal seconds
            for still in clip.stills:
                if tell and int(still.seconds) > int(seconds):
                    tell("reading the video", int(still.seconds), int(clip.claimed or 0))
                seconds = still.seconds
                yield still

        for still in chosen(watched(), apart):
            variants = views(still.picture())
            if not len(variants):
                poor += 1
                continue
            frame = Frame(still.seconds, variants)
            if frames and frame.fingerprint.distance(frames[-1].fingerprint) <= REPEAT:
                repeats += 1
            else:
                frames.append(frame)
        return Video(tuple(frames), seconds, poor, repeats, clip.damaged)


def chosen(stills: Iterable[Still], apart: float) -> Iterator[Still]:
    """The frames that stand for their shots: those that no other within `apart` seconds stands stiller than.

    Holds the frames of about a seventh of a second at a time.
    """
    shot, last, before = _Shot(apart), None, 0.0
    for still in stills:
        if last is not None and still.seconds - last.seconds < _CLOSE:
            continue
        change = _difference(last, still) if last is not None else 0.0
        if min(change, abs(change - before)) >= CUT:
            yield from shot.end()
            shot = _Shot(apart)
        yield from shot.add(still)
        last, before = still, change
    yield from shot.end()


def _difference(one: Still, other: Still) -> float:
    """Mean absolute difference in percent of the full range."""
    return float(np.abs(one.grey - other.grey).mean()) * 100 / 255


class _Shot:
    """Finds the still frames of one shot while its frames come in."""

    def __init__(self, apart: float) -> None:
        self.apart = apart
        self.window: deque[Still] = deque()  # the frames of the last SPAN; the one in the middle is being judged
        self.movement: deque[tuple[float, float]] = deque()  # (seconds, difference) of what was judged in `apart`
        self.best: Still | None = None  # nothing stiller within `apart` so far
        self.taken: float | None = None  # when a frame was last taken

    def add(self, still: Still) -> Iterator[Still]:
        """The frame that is now sure to be taken, if there is one."""
        self.window.append(still)
        while len(self.window) > 2 and self.window[1].seconds <= still.seconds - SPAN:
            self.window.popleft()
        if still.seconds - self.window[0].seconds < SPAN:
            return
        judged, difference = self.window[len(self.window) // 2], _difference(self.window[0], still)
        if self.best is not None and judged.seconds - self.best.seconds > self.apart:
            yield self._take(self.best)
            self.best = None
        elif self.best is None and self.taken is not None and judged.seconds - self.taken > LONGEST:
            yield self._take(judged)
        while self.movement and judged.seconds - self.movement[0][0] > self.apart:
            self.movement.popleft()
        if all(difference < other for _, other in self.movement):
            self.best = judged
        self.movement.append((judged.seconds, difference))

    def end(self) -> Iterator[Still]:
        """The last frame of the shot to be taken; the middle one of a shot that is too short to judge."""
        if self.best is not None:
            yield self._take(self.best)
        elif self.taken is None and self.window:
            yield self.window[len(self.window) // 2]

    def _take(self, still: Still) -> Still:
        self.taken = still.seconds
        return still

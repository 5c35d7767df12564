"""An upload that is checked again makes no second sighting, wherever its platform was killed in between."""

import os

import numpy as np
import pytest

from service import rechecks
from service.cases import Cases
from service.messages import Sighted, Upload
from service.rechecks import KEPT, Rechecks, in_messages
from service.sightings import Finds
from service.uploads import Asked, Uploads
from tests.service.lifecycle import NOON, SEALER, Clock, activate, new_case

pytestmark = pytest.mark.usefixtures("cheap_scrypt")
PRINTS = np.random.default_rng(5).integers(0, 256, (10, 32), dtype=np.uint8)


class Platform:
    """Checks uploads against cases of an exchange's database; `found` is what is on its disk."""

    def __init__(self, engine):
        self.clock = Clock(NOON)
        self.cases = Cases(engine, SEALER, max_entries=100, clock=self.clock)
        self.finds = Finds(engine, video_share=0.8, clock=self.clock)
        self.found = {}
        self.start()

    def start(self):
        self.rechecks = Rechecks(self.found, self.clock)

    def case(self):
        return activate(self.cases, new_case())

    def check(self, matching, path="a.jpg", prints=PRINTS[:2], killed=""):
        """The sightings of an upload. matching: row -> case. killed: before the exchange is told, or after."""
        rows = range(len(prints))
        frames = tuple(range(row, row + 1) for row in rows)
        asked = Asked(path, "video", frames) if path.endswith("mp4") else Asked(path, "photo", (rows,))
        uploads = Uploads((asked,), (), prints)
        matches = [(row, os.urandom(16)) for row in matching]
        self.finds.matched("platform-1", {handle: matching[row] for row, handle in matches})
        found = uploads.group(self.rechecks.with_earlier(uploads, matches))
        if killed == "before":
            return self.start()
        told = self.finds.sighted("platform-1", Sighted([one.upload for one in found])).uploads
        if killed == "after":
            return self.start()
        self.rechecks.told(uploads, matches)
        return told[0] if told else []

    def sightings(self, case):
        return sum(row.matches for row in self.cases.status(case).platforms)


@pytest.fixture
def platform(engine):
    return Platform(engine)


def test_the_same_upload_again_is_the_same_sighting(platform):
    first, second = platform.case(), platform.case()
    once = platform.check({0: first, 1: second})
    assert len(once) == 2
    for _ in range(3):
        assert sorted(platform.check({0: first, 1: second})) == sorted(once)
    assert (platform.sightings(first), platform.sightings(second)) == (1, 1)


@pytest.mark.parametrize("killed", ["before", "after"])
def test_a_platform_that_was_killed_in_between_asks_for_the_same_sighting(platform, killed):
    case = platform.case()
    for _ in range(3):
        platform.check({0: case}, killed=killed)
    (once,) = platform.check({0: case})
    assert platform.check({0: case}) == [once]
    assert platform.sightings(case) == 1


def test_another_upload_and_another_content_are_other_sightings(platform):
    case = platform.case()
    told = [
        platform.check({0: case}),
        platform.check({0: case}, path="b.jpg"),
        platform.check({0: case}, prints=PRINTS[2:4]),
    ]
    assert len({handle for handles in told for handle in handles}) == platform.sightings(case) == 3


def test_what_matches_no_more_is_not_sighted_and_what_came_later_is_sighted_anew(platform):
    gone, later = platform.case(), platform.case()
    (once,) = platform.check({0: gone})
    platform.cases.withdraw(gone)
    assert platform.check({}) == []
    (again,) = platform.check({0: later})
    assert again != once
    assert platform.sightings(later) == 1


def test_frames_of_two_checks_of_a_video_do_not_add_up(platform):
    case = platform.case()
    for _ in range(3):
        assert platform.check(dict.fromkeys(range(7), case), "clip.mp4", PRINTS) == []
    (once,) = platform.check(dict.fromkeys(range(8), case), "clip.mp4", PRINTS)
    assert platform.check(dict.fromkeys(range(2, 10), case), "clip.mp4", PRINTS) == [once]


def test_what_was_found_is_forgotten_after_two_days_and_does_not_grow(platform):
    case = platform.case()
    platform.check({0: case})
    size = len(next(iter(platform.found.values())))
    for _ in range(20):
        platform.check({0: case})
    assert len(next(iter(platform.found.values()))) == size
    platform.clock.now += KEPT + 1
    platform.check({})
    assert platform.found == {}


def test_a_message_takes_only_so_many_handles(monkeypatch):
    monkeypatch.setattr(rechecks, "MOST_HANDLES", 4)
    uploads = [Upload("photo", 1, [[bytes(16)] * count]) for count in (3, 1, 1, 4, 2, 9, 1)]
    sizes = [[len(upload.matched[0]) for upload in some] for some in in_messages(uploads)]
    assert sizes == [[3, 1], [1], [4], [2], [9], [1]]
    assert list(in_messages([])) == []

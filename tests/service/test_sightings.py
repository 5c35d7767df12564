"""Matches become sightings by upload, and platforms speak of their own only."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from protocols.base import InputError
from service import sightings
from service.cases import Cases
from service.messages import PlatformStatus, Sighted, SignedErasure, Upload, Verdicts
from service.models import Entry, Match, Searched, Sighting
from service.sightings import Finds, UnknownSighting
from service.storage import transaction
from tests.service.lifecycle import DAY, MEMBERS, NOON, SEALER, Clock, activate, ids, new_case, receipt

pytestmark = pytest.mark.usefixtures("cheap_scrypt")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cases(engine, clock):
    return Cases(engine, SEALER, max_entries=100, clock=clock)


@pytest.fixture
def finds(engine, clock):
    return Finds(engine, video_share=0.8, clock=clock)


def handles(finds, case, count=1, platform="platform-1"):
    fresh = {os.urandom(16): case for _ in range(count)}
    assert finds.matched(platform, fresh) == list(fresh)
    return list(fresh)


def seen(finds, *uploads, platform="platform-1"):
    return finds.sighted(platform, Sighted(list(uploads))).uploads


def photo(*found):
    return Upload("photo", 1, [list(found)] if found else [])


def count(engine, kind):
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(kind))


def test_a_photo_is_sighted_once_for_each_case_that_it_matches(finds, cases, engine):
    one, two = activate(cases, new_case(5)), activate(cases, new_case(1))
    first = handles(finds, one, 3)
    both = handles(finds, one, 2) + handles(finds, two)
    answer = seen(finds, photo(*first), photo(), photo(*both))
    assert [len(upload) for upload in answer] == [1, 0, 2]
    assert len({handle for upload in answer for handle in upload}) == 3
    assert not {handle for upload in answer for handle in upload} & {*first, *both}
    assert [row.matches for row in cases.status(one).platforms] == [2]
    assert [row.matches for row in cases.status(two).platforms] == [1]


def test_asking_again_gives_the_same_sightings(finds, cases, engine):
    case = activate(cases, new_case())
    found = handles(finds, case, 3)
    first = seen(finds, photo(*found))
    assert seen(finds, photo(*found)) == first
    assert seen(finds, photo(*found[1:]), photo(found[0])) == [*first, *first]
    assert count(engine, Sighting) == 1


@pytest.mark.parametrize(("matching", "frames", "shown"), [(8, 10, 1), (7, 10, 0), (4, 5, 1), (1, 1, 1), (0, 3, 0)])
def test_a_video_is_sighted_by_the_share_of_its_frames_that_match_one_case(finds, cases, matching, frames, shown):
    case, other = activate(cases, new_case()), activate(cases, new_case())
    matched = [handles(finds, case, 3) for _ in range(matching)]  # three entries match a frame: still one frame
    if matched:
        matched[0] += handles(finds, other)
    answer = seen(finds, Upload("video", frames, matched))
    assert len(answer[0]) == shown + (frames == 1)
    assert [row.matches for row in cases.status(case).platforms] == [1] * shown


def test_frames_of_different_cases_do_not_add_up(finds, cases):
    one, two = activate(cases, new_case()), activate(cases, new_case())
    matched = [handles(finds, case) for case in (one, two, one, two, one)]
    assert seen(finds, Upload("video", 5, matched)) == [[]]


def test_handles_count_for_the_platform_that_got_them_only(finds, cases):
    case = activate(cases, new_case())
    found = handles(finds, case)
    assert seen(finds, photo(*found), photo(os.urandom(16)), platform="platform-2") == [[], []]
    assert len(seen(finds, photo(*found))[0]) == 1


def test_uploads_that_cannot_be_are_refused(finds, cases, monkeypatch):
    monkeypatch.setattr(sightings, "MOST_HANDLES", 3)
    for upload in (Upload("photo", 0, []), Upload("video", 1, [[b"a"], [b"b"]]), Upload("video", -1, [])):
        with pytest.raises(InputError, match="frames match"):
            seen(finds, upload)
    with pytest.raises(InputError, match="at most 3"):
        seen(finds, photo(b"a", b"b"), photo(b"c", b"d"))
    with pytest.raises(InputError, match="at most 3"):
        finds.feedback("platform-1", Verdicts([(bytes([n]), "blocked") for n in range(4)]))


def test_a_withdrawn_case_has_no_new_matches_and_no_new_sightings(finds, cases, engine):
    kept, gone = activate(cases, new_case()), activate(cases, new_case())
    early = handles(finds, gone)
    sighting = seen(finds, photo(*handles(finds, gone)))[0][0]
    cases.withdraw(gone)
    late = {os.urandom(16): gone, os.urandom(16): kept}
    assert finds.matched("platform-1", late) == [handle for handle, case in late.items() if case == kept]
    assert seen(finds, photo(*early)) == [[]]
    assert len(seen(finds, photo(*late))[0]) == 1
    finds.feedback("platform-1", Verdicts([(sighting, "blocked")]))  # what was seen before may still be told
    assert cases.status(gone).platforms[0].blocked == 1


def test_a_case_that_waits_or_was_refused_has_no_matches(finds, cases):
    assert finds.matched("platform-1", {os.urandom(16): cases.open(new_case())}) == []
    assert finds.matched("platform-1", {os.urandom(16): bytes(32)}) == []


def test_deleting_a_case_forgets_its_matches_and_sightings(finds, cases, engine):
    message = new_case()
    case = activate(cases, message)
    seen(finds, photo(*handles(finds, case, 2)))
    cases.withdraw(case)
    for member in MEMBERS:
        cases.confirm(case, member, receipt(member, "withdrawn", ids(message)))
    cases.delete(case, SignedErasure(b"", b""))
    assert count(engine, Match) == count(engine, Sighting) == 0
    assert cases.status(case).platforms == []


def test_noting_a_match_again_changes_nothing(finds, cases, engine):
    case = activate(cases, new_case())
    found = handles(finds, case, 2)
    sighting = seen(finds, photo(*found))
    assert finds.matched("platform-1", dict.fromkeys(found, case)) == found
    assert count(engine, Match) == 2
    assert seen(finds, photo(*found)) == sighting


def test_feedback_is_counted_and_the_last_word_counts(finds, cases):
    case = activate(cases, new_case())
    a, b, c = (seen(finds, photo(*handles(finds, case)))[0][0] for _ in range(3))
    finds.feedback("platform-1", Verdicts([(a, "pending review"), (b, "not blocked")]))
    finds.feedback("platform-1", Verdicts([(a, "blocked"), (b, "not blocked")]))
    elsewhere = seen(finds, photo(*handles(finds, case, platform="platform-2")), platform="platform-2")[0][0]
    assert cases.status(case).platforms == [
        PlatformStatus("platform-1", None, 3, 1, 1, 0),
        PlatformStatus("platform-2", None, 1, 0, 0, 0),
    ]
    for platform, handle in (("platform-2", c), ("platform-1", elsewhere), ("platform-1", os.urandom(16))):
        with pytest.raises(UnknownSighting, match=f"1 of these handles are none of {platform}'s"):
            finds.feedback(platform, Verdicts([(handle, "blocked")]))
    with pytest.raises(UnknownSighting):  # all or nothing
        finds.feedback("platform-1", Verdicts([(c, "blocked"), (elsewhere, "blocked")]))
    assert cases.status(case).platforms[0].blocked == 1


def test_unclaimed_matches_go_after_a_day_or_two(finds, cases, engine, clock):
    case = activate(cases, new_case())
    claimed, unclaimed = handles(finds, case), handles(finds, case)
    sighting = seen(finds, photo(*claimed))
    clock.now += DAY
    finds.tidy()
    assert seen(finds, photo(*claimed)) == sighting
    clock.now += DAY
    finds.tidy()
    assert count(engine, Match) == 0
    assert seen(finds, photo(*unclaimed), photo(*claimed)) == [[], []]
    assert cases.status(case).platforms[0].matches == 1


def test_searched_until_is_the_oldest_search_of_all_blocks_where_the_case_stands(finds, cases, clock):
    message = new_case(3)
    case = activate(cases, message)
    finds.searched("platform-1", 0, 1)

    def until():
        return {row.platform: row.searched_until for row in cases.status(case).platforms}

    assert until() == {"platform-1": None}  # the case stands nowhere yet
    a, b, c = ids(message)
    cases.placed(0, 2, [a, b])
    cases.placed(1, 3, [c])
    assert until() == {"platform-1": None}  # version 1 did not have it
    clock.now += 60
    finds.searched("platform-1", 0, 2)
    assert until() == {"platform-1": None}  # block 1 was not searched
    clock.now += 60
    finds.searched("platform-1", 1, 3)
    finds.searched("platform-2", 1, 3)
    assert until() == {"platform-1": datetime.fromtimestamp(NOON + 60, UTC), "platform-2": None}
    clock.now += 60
    finds.searched("platform-1", 0, 3)
    cases.placed(0, 4, [a, b])  # built anew: they have stood there all along
    assert until()["platform-1"] == datetime.fromtimestamp(NOON + 120, UTC)
    cases.placed(1, 5, [a])  # moved: block 1 was not searched since
    assert until()["platform-1"] is None
    cases.withdraw(case)
    assert until()["platform-1"] is None


def test_since_when_entries_stand_is_rounded_to_the_last_version_of_their_day(finds, cases, engine, clock):
    message = new_case(4)
    activate(cases, message)
    a, b, c, d = ids(message)
    cases.placed(0, 5, [a])
    cases.placed(0, 7, [b])
    cases.placed(1, 6, [c])
    clock.now += DAY
    cases.placed(0, 9, [d])

    def versions():
        with transaction(engine) as session:
            return {entry: session.get(Entry, entry).version for entry in (a, b, c, d)}

    clock.now -= DAY
    finds.tidy()
    assert versions() == {a: 5, b: 7, c: 6, d: 9}  # today is told apart still
    clock.now += DAY
    for _ in range(2):
        finds.tidy()
        assert versions() == {a: 7, b: 7, c: 6, d: 9}


def test_the_same_news_at_once_is_one_row(finds, cases, engine):
    case = activate(cases, new_case())
    found = {os.urandom(16): case for _ in range(3)}
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda version: finds.searched("platform-1", 0, version), [*range(6)] * 4))
        assert list(pool.map(lambda _: finds.matched("platform-1", found), range(12))) == [list(found)] * 12
    assert count(engine, Match) == 3
    with transaction(engine) as session:
        row = session.scalars(select(Searched)).one()
        assert (row.version, row.at) == (5, NOON)


def test_who_says_that_two_uploads_are_one_can_tell_whether_they_show_one_case(finds, cases):
    one, two = activate(cases, new_case()), activate(cases, new_case(1))
    first, again, other = handles(finds, one) + handles(finds, one) + handles(finds, two)
    assert [len(upload) for upload in seen(finds, photo(first), photo(again), photo(other))] == [1, 1, 1]
    assert [len(upload) for upload in seen(finds, photo(first, again), photo(first, other))] == [1, 2]

"""A platform's process: uploads by HTTP, checks that are repeated, a sync that broke off, which members it asks."""

import io
import shutil
from collections import defaultdict
from types import SimpleNamespace

import pytest
from PIL import Image
from skimage import data

from hashing import fingerprints_to_query, pack
from protocols.base import InputError, ReplayError, StaleVersion
from service import atrest, checker, pins, up
from service.checker import PAIRS, PlatformRole
from service.endpoints import Call
from service.errors import Forbidden, LimitReached, Unavailable
from service.messages import Checked, CheckUpload
from tests.service.roles import sealed_case, wait_for
from tests.service.village import Village


def picture(image, quality=60):
    file = io.BytesIO()
    Image.fromarray(image).resize((300, 300)).save(file, "jpeg", quality=quality)
    return file.getvalue()


MINE, OTHER = picture(data.astronaut()), picture(data.coffee())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A deployment with one case of one photo, which is in the bank; `calls`: of the hook."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pins, "PIN_LOG_N", 1)
    patch.setattr(atrest, "PASSPHRASE_LOG_N", 1)
    patch.setattr(checker, "_PAUSE", 0.05)
    calls = []
    patch.setattr(checker.Hook, "_run", lambda hook, call: calls.append((call.file.decode(), call.sighting)))
    folder = tmp_path_factory.mktemp("village") / "all"
    up.create(folder, first_port=0, parameter_set="INSECURE_TINY", batch=8)
    settings = folder / up.PLATFORM / "hushmatch.toml"
    settings.write_text('hook = "called"\n' + settings.read_text())
    place = Village(folder)
    place.calls = calls
    try:
        hashes = pack(fingerprints_to_query(MINE, "none").fingerprints)
        place.case = sealed_case(place.roles, hashes)
        place.send(place.case)
        place.becomes(place.case, "active")
        wait_for(lambda: not place.roles["exchange"].exchange.stale())
        yield place
    finally:
        place.stop_all()
        patch.undo()


def sighted(place):
    rows = place.status(place.case).platforms
    return sum(row.matches for row in rows)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.slow
def test_a_check_that_is_repeated_after_a_kill_is_one_sighting_and_one_call(place, monkeypatch):
    role, before = place.roles[up.PLATFORM], sighted(place)
    call, upload = role._exchange.call, CheckUpload("post 20", MINE)

    def killed(method, path, *given, **more):
        answer = call(method, path, *given, **more)
        if path == "/sightings":
            raise Killed
        return answer

    monkeypatch.setattr(role._exchange, "call", killed)
    with pytest.raises(Killed):
        role.check([upload])
    assert sighted(place) == before + 1
    place.stop(up.PLATFORM)
    role = place.start(up.PLATFORM)
    once, again = (role.check([upload]) for _ in range(2))
    assert once == again
    assert sighted(place) == before + 1
    assert place.calls.count(("post 20", once.hits[0].sightings[0])) == 1
    assert [name for name, _ in place.calls].count("post 20") == 1


@pytest.mark.slow
def test_a_sync_that_broke_off_goes_on_where_it_was_in_another_process_too(place, monkeypatch):
    place.stop(up.PLATFORM)
    blocks = place.folder / up.PLATFORM / "blocks"
    shutil.rmtree(blocks)

    def asking(role, until):
        asked, call = [], role._exchange.call

        def spy(method, path, *given, query=None, **more):
            if query is not None:
                if len(asked) == until:
                    raise Unavailable("exchange broke off the connection")
                asked.append(query["first"])
                more["query"] = query
            return call(method, path, *given, **more)

        role._exchange.call = spy
        return asked

    role = place.start(up.PLATFORM)
    asked = asking(role, 3)
    for _ in range(2):  # the second time none comes
        with pytest.raises(Unavailable, match="broke off"):
            role.sync()
    assert asked == [0, 16, 32]
    assert role.connect().blocks == {}
    place.stop(up.PLATFORM)
    (part,) = blocks.glob("*.part")
    with part.open("ab") as file:
        file.write(bytes(100))  # of a plane that was being written

    role = place.start(up.PLATFORM)
    asked = asking(role, None)
    assert role.sync() == 1
    assert asked == list(range(48, 256, 16))
    assert role.sync() == 0
    assert len(role.check([CheckUpload("post 21", MINE)]).hits) == 1


# Which members are asked -----------------------------------------------------------------------------------------


class Scans(PlatformRole):
    """Only the choice of members: `answers` is what each pair does next, again and again at its end."""

    def __init__(self, **answers):
        self.name = "platform-1"
        self._first_pair, self._stock, self.asked, self.synced = 0, defaultdict(list), [], 0
        self._answers = {pair: answers.get(f"pair_{pair[0]}{pair[1]}", [[]]) for pair in PAIRS}

    def _answer(self, hashes, block, pair):
        self.asked.append(pair)
        answers = self._answers[pair]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sync(self, tell=None):
        self.synced += 1
        return 0


AWAY = {number: Unavailable(f"member-{number} cannot be reached: no connection") for number in (1, 2, 3)}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(checker, "_PAUSE", 0.0)


@pytest.mark.parametrize("name", ["", "-rf", "two\nlines", "x" * 1001])
def test_a_name_that_could_mislead_the_hook_is_refused(name):
    role = Scans()
    role.check = lambda given: Checked(len(given), 1, [], [])
    with pytest.raises(InputError, match="printable characters, the first not a dash"):
        role._upload(Call("platform-1", "", {}, None, CheckUpload(name, MINE)))
    fits = Call("platform-1", "", {}, None, CheckUpload("post 17/photo 2", MINE))
    assert role._upload(fits) == Checked(1, 1, [], [])


def test_uploads_are_for_the_platforms_own_tools():
    role = Scans()
    for step in (role._check, role._upload, role._sync, role._feedback):
        with pytest.raises(Forbidden, match="only platform-1 itself"):
            step(Call("platform-2", "", {}, None, CheckUpload("a", MINE)))


def test_with_one_of_the_pair_away_the_next_pair_takes_over_and_stays():
    role = Scans(pair_12=[AWAY[1]], pair_23=[[(0, b"x")]])
    assert role._scan(None, 0) == [(0, b"x")]
    assert role._scan(None, 0) == [(0, b"x")]
    assert role.asked == [(1, 2), (2, 3), (2, 3)]


def test_with_two_away_everything_waits_a_while_and_says_for_whom():
    role = Scans(pair_12=[AWAY[1]], pair_23=[AWAY[2]], pair_31=[AWAY[1]])
    with pytest.raises(Unavailable) as refused:
        role._scan(None, 0)
    assert refused.value.reason == (
        "no two members answer: member-1 cannot be reached: no connection; member-2 cannot be reached: no connection"
    )
    assert role.asked == list(PAIRS) * checker._TRIES
    role._answers[2, 3] = [[(1, b"y")]]  # until they are back
    assert role._scan(None, 0) == [(1, b"y")]


def test_stock_goes_on_without_the_third_and_its_end_is_said(monkeypatch):
    def deal(*given):
        raise AWAY[3]

    role = Scans()
    role._wire, role._members = None, {n: SimpleNamespace(name=f"member-{n}") for n in AWAY}
    role._stock[(1, 2), 8] = [b"first", b"second"]
    monkeypatch.setattr(checker.matching, "deal", deal)
    assert [role._next_deal((1, 2), 8) for _ in range(2)] == [b"second", b"first"]
    with pytest.raises(Unavailable) as ended:
        role._next_deal((1, 2), 8)
    assert ended.value.reason == f"{AWAY[3].reason}; what member-3 dealt ahead for members 1 and 2 is used up"


def test_a_pair_that_started_anew_has_lost_its_stock_and_no_other_has():
    role = Scans(pair_12=[ReplayError("deal: unknown")])
    role._stock |= {((1, 2), 8): [b"gone"], ((2, 3), 8): [b"kept"]}
    assert role._scan(None, 0) == []
    assert role._stock == {((2, 3), 8): [b"kept"]}


def test_a_bank_that_changes_is_fetched_anew_and_tried_again_for_a_while(monkeypatch):
    stale = StaleVersion("block 0: version 4 is served")
    role = Scans(pair_12=[stale, stale, [(0, b"x")]], pair_23=[stale], pair_31=[LimitReached("busy", 5.0)])
    assert role._scan(None, 0) == [(0, b"x")]
    assert role.synced == 2
    monkeypatch.setattr(checker, "_PATIENCE", -1.0)
    for last in (stale, LimitReached("busy", 5.0)):
        with pytest.raises(type(last), match=str(last)):
            Scans(pair_12=[stale], pair_23=[stale], pair_31=[last])._scan(None, 0)

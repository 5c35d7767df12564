"""A case from its opening to its erasure, over HTTP between all roles, and with all that passes between them on record.

The story is told once, with two cases and two platforms; each test looks at a part of it.
"""

import shlex
import time
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from PIL import Image
from skimage import data

from experiments import edits
from experiments.clips import encode, film
from hashing import VIDEO_RULE, fingerprints_to_enroll, is_video, pack, video_to_enroll
from protocols.base import HushmatchError, IntegrityError, StaleVersion
from protocols.plaintext import Plaintext
from service import atrest, checker, pins
from service.messages import Checked, Verdicts
from service.running import Running
from service.uploads import prepare
from tests.service.capture import Recorder, Search, on_disk
from tests.service.deployment import Deployment

VARIANTS = "standard"
COPIES = {
    "copy-1.jpg": ("astronaut", "JPEG 50"),
    "copy-2.png": ("astronaut", "mirror"),
    "copy-3.png": ("coffee", "crop 2 % a side"),
    "copy-4.png": ("rocket", "resize 50 %"),
    "copy-5.png": ("rocket", "border 5 %"),
    "copy-6.png": ("cat", "JPEG 20"),
}
UNRELATED = ("camera", "coins", "moon", "page", "brick", "grass", "immunohistochemistry")
PHOTOS = {"astronaut": data.astronaut, "coffee": data.coffee, "rocket": data.rocket, "cat": data.chelsea}


def photo(name):
    return Image.fromarray(PHOTOS[name]()).convert("RGB")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """The persons' files, and a folder of uploads with edited copies among others."""
    own, uploads = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("uploads")
    for name in PHOTOS:
        photo(name).save(own / f"{name}.png")
    frames = list(film([photo("cat"), Image.fromarray(data.retina())], np.random.default_rng(3), 1.5, ["hand"]))
    (own / "clip.mp4").write_bytes(encode(frames))
    for name, (source, edit) in COPIES.items():
        edits.apply(edit, photo(source), source, 0).save(uploads / name)
    (uploads / "clip-copy.mp4").write_bytes(encode([frame.resize((240, 180)) for frame in frames], crf=30))
    other = film([Image.fromarray(data.hubble_deep_field())], np.random.default_rng(4), 1.5, ["pan"])
    (uploads / "clip-other.mp4").write_bytes(encode(other))
    for name in UNRELATED:
        Image.fromarray(getattr(data, name)()).convert("RGB").save(uploads / f"{name}.jpg")
    (uploads / "broken.jpg").write_bytes(b"no photo")
    cases = {
        "first": [own / name for name in ("astronaut.png", "coffee.png", "rocket.png", "clip.mp4")],
        "second": [own / name for name in ("rocket.png", "cat.png")],
    }
    by_name = {path.name: path.read_bytes() for path in uploads.iterdir()}
    return SimpleNamespace(own=own, uploads=sorted(map(str, uploads.iterdir())), cases=cases, by_name=by_name)


def fingerprints(path):
    if is_video(path):
        return video_to_enroll(path).fingerprints
    return fingerprints_to_enroll(path, VARIANTS).fingerprints


class Oracle:
    """What the plaintext matcher and the rule for videos say of the same files."""

    def __init__(self, media):
        self._plaintext = Plaintext()
        for case, paths in media.cases.items():
            hashes = pack([each for path in paths for each in fingerprints(path)])
            self._plaintext.enroll([case] * len(hashes), hashes)
        self._asked = prepare(media.uploads)

    def withdraw(self, case):
        self._plaintext.withdraw(case)

    def hits(self):
        """Path -> number of cases that it shows."""
        found = self._plaintext.match(self._asked.hashes)
        shown = {}
        for upload in self._asked.asked:
            frames = {}
            for number, rows in enumerate(upload.frames):
                for case in {match.case for match in found if match.query in rows}:
                    frames.setdefault(case, set()).add(number)
            least = 1 if upload.kind == "photo" else None
            cases = [
                case
                for case, matching in frames.items()
                if least or VIDEO_RULE.matches(len(upload.frames), len(matching))
            ]
            if cases:
                shown[upload.path] = len(cases)
        return shown


def hits(checked):
    return {hit.path: len(hit.sightings) for hit in checked.hits}


@pytest.fixture(scope="module")
def story(tmp_path_factory, media):
    """Everything that happens, in order; what came of it."""
    patch, recorder, told = pytest.MonkeyPatch(), Recorder(), SimpleNamespace()
    patch.setattr(pins, "PIN_LOG_N", 1)
    patch.setattr(atrest, "PASSPHRASE_LOG_N", 1)
    patch.setattr(checker, "_PAUSE", 0.01)
    patch.setattr(checker, "_PATIENCE", 0.5)
    folder = tmp_path_factory.mktemp("deployment")
    script, told.calls = folder / "hook.sh", folder / "calls"
    script.write_text(f'printf "%s\\t%s\\t%s\\n" "$1" "$2" "$HUSHMATCH_KIND" >> {shlex.quote(str(told.calls))}\n')
    told.folder = folder / "roles"
    told.deployment = deployment = Deployment(
        told.folder, platforms=2, between=recorder.between, hook=f"sh {shlex.quote(str(script))}"
    )
    try:
        _tell(told, deployment, media)
        deployment.close()
        recorder.close()
        told.wire, told.disk = recorder.pieces(), on_disk(told.folder)
        yield told
    finally:
        patch.undo()
        deployment.close()
        recorder.close()


def _tell(told, deployment, media):
    oracle = Oracle(media)
    told.device = device = deployment.device()
    here, there = deployment.platforms
    told.opened = {
        case: device.open_case([str(path) for path in paths], True, VARIANTS) for case, paths in media.cases.items()
    }
    first, second = (told.opened[case] for case in ("first", "second"))
    _wait(lambda: deployment.exchange.exchange.stale() is False)
    told.expected, told.checked = oracle.hits(), here.check(media.uploads)
    told.again = here.check(media.uploads)
    told.elsewhere = there.check(media.uploads)
    listen = deployment.direct["platform-1"].removeprefix("http://")  # its own tools talk to it on its own machine
    tool = Running(here.folder, msgspec.structs.replace(here.settings, listen=listen))
    told.uploaded = {name: tool.upload(name, media.by_name[name]) for name in ("copy-4.png", "coins.jpg", "broken.jpg")}
    by_path = {hit.path: hit.sightings for hit in told.checked.hits}
    told.handles = [handle for handles in by_path.values() for handle in handles]
    told.searched = device.status(first.number, first.pin)
    (one, *others) = [handle for path, handles in sorted(by_path.items()) for handle in handles]
    here.feedback(Verdicts([(one, "pending review"), *((handle, "blocked") for handle in others)]))
    here.feedback(Verdicts([(one, "not blocked")]))
    told.feedback = [device.status(each.number, each.pin) for each in (first, second)]

    deployment.exchange.steward._update = lambda *states: None  # no new version: tombstones alone have to do
    there.sync = lambda tell=None: 0
    oracle.withdraw("first")
    told.withdrawing = device.withdraw(first.number, first.pin, wait=0)
    told.expected_after = oracle.hits()
    told.tombstoned = [platform.check(media.uploads) for platform in (here, there)]
    del deployment.exchange.steward._update
    told.withdrawn = device.withdraw(first.number, first.pin)
    told.after = here.check(media.uploads)
    try:
        told.behind = there.check(media.uploads)
    except HushmatchError as error:
        told.behind = error
    told.gone = device.withdraw(second.number, second.pin)
    told.none = here.check(media.uploads)
    del there.sync
    told.none_there = there.check(media.uploads)


def _wait(until, seconds=30.0):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


def test_a_case_with_photos_and_a_video_becomes_active_and_every_member_signed_for_it(story, media):
    for case, opened in story.opened.items():
        sent = sum(
            len(
                video_to_enroll(path).fingerprints
                if is_video(path)
                else fingerprints_to_enroll(path, VARIANTS).padded()
            )
            for path in media.cases[case]
        )
        assert opened.status.status == "active"
        assert (opened.status.accepted, opened.entries) == (sent, sent)
        assert len(opened.status.receipts) == 3  # `open_case` verified them


def test_the_platform_finds_exactly_what_the_plaintext_matcher_finds(story, media):
    names = {path.rsplit("/", 1)[1]: count for path, count in story.expected.items()}
    assert names.keys() >= {"copy-1.jpg", "copy-2.png", "copy-3.png", "copy-4.png", "copy-6.png", "clip-copy.mp4"}
    assert names["copy-4.png"] == 2  # both persons have that photo
    assert not names.keys() & {f"{name}.jpg" for name in UNRELATED} | names.keys() & {"clip-other.mp4"}
    assert hits(story.checked) == hits(story.again) == hits(story.elsewhere) == story.expected
    assert story.checked.asked == len(media.uploads) - 1
    ((refused, why),) = story.checked.refused
    assert refused.endswith("broken.jpg")
    assert why.startswith("UnreadableImage: ")


def test_what_is_checked_again_is_the_same_sighting(story):
    assert story.again == story.checked
    assert {hit.path: hit.sightings for hit in story.after.hits}.items() <= {
        hit.path: hit.sightings for hit in story.tombstoned[0].hits
    }.items()


def test_an_upload_is_compared_under_the_name_that_it_is_given(story):
    (hit,) = story.uploaded["copy-4.png"].hits
    assert (hit.path, hit.kind, len(hit.sightings)) == ("copy-4.png", "photo", 2)
    assert not set(hit.sightings) & set(story.handles)  # an upload of its own, not the file of that name
    assert story.uploaded["coins.jpg"] == Checked(1, 1, [], [])
    ((name, why),) = story.uploaded["broken.jpg"].refused
    assert (name, why.split(":")[0]) == ("broken.jpg", "UnreadableImage")


def test_the_hook_is_called_once_for_each_sighting(story):
    calls = [line.split("\t") for line in story.calls.read_text().splitlines()]
    checks = [story.checked, story.elsewhere, *story.uploaded.values(), *story.tombstoned, story.after]
    expected = {
        (hit.path, handle.hex(), hit.kind) for checked in checks for hit in checked.hits for handle in hit.sightings
    }
    assert sorted(map(tuple, calls)) == sorted(expected)
    assert {kind for *_, kind in calls} == {"photo", "video"}


def test_the_person_sees_how_far_platforms_searched_what_they_found_and_did(story):
    cases, row = sum(story.expected.values()), story.searched.platforms[0]
    assert row.platform == "platform-1"
    assert row.searched_until is not None
    assert (row.blocked, row.not_blocked, row.pending_review) == (0, 0, 0)
    rows = [status.platforms[0] for status in story.feedback]
    assert sum(row.matches for row in rows) == cases + 2  # the upload shows both
    assert sum(row.blocked for row in rows) == cases - 1
    assert sum(row.not_blocked for row in rows) == 1
    assert sum(row.pending_review for row in rows) == 0
    assert [status.platforms[1].blocked for status in story.feedback] == [0, 0]


def test_a_withdrawn_case_matches_nowhere_before_any_platform_hears_of_it(story):
    assert story.withdrawing.status == "withdrawn"
    assert story.withdrawing.awaiting == []
    assert [hits(checked) for checked in story.tombstoned] == [story.expected_after] * 2
    assert 0 < sum(story.expected_after.values()) < sum(story.expected.values())


def test_it_matches_nowhere_afterwards_and_a_platform_that_never_syncs_gets_no_answer(story):
    assert hits(story.after) == story.expected_after
    assert isinstance(story.behind, StaleVersion)
    assert (story.none.hits, story.none_there.hits) == ([], [])
    assert story.none.asked == story.checked.asked


def test_the_receipt_verifies_and_an_altered_one_does_not(story):
    device, status = story.device, story.withdrawn
    assert status.status == story.gone.status == "deleted"
    erasure = device.check_erasure(status)
    assert len(erasure.receipts) == 3
    assert "deleted their shares" in erasure.meaning
    signed = status.erasure
    altered = [
        msgspec.structs.replace(signed, body=signed.body[:-1] + bytes([signed.body[-1] ^ 1])),
        msgspec.structs.replace(signed, signature=story.gone.erasure.signature),
    ]
    for wrong in [*altered, None]:
        with pytest.raises(IntegrityError):
            device.check_erasure(msgspec.structs.replace(status, erasure=wrong))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda receipts: receipts[:2], "a member's word is missing"),
        (lambda receipts: [receipts[0], receipts[0], receipts[2]], "a member's word is missing"),
        (lambda receipts: receipts, None),
    ],
)
def test_the_exchange_alone_cannot_make_a_receipt(story, change, complaint):
    from service.messages import SignedErasure

    erasure = story.device.check_erasure(story.withdrawn)
    forged = msgspec.structs.replace(erasure, receipts=change(erasure.receipts))
    signed = story.deployment.exchange.identity.sign(forged, SignedErasure)
    status = msgspec.structs.replace(story.withdrawn, erasure=signed)
    if complaint is None:
        assert story.device.check_erasure(status) == erasure
        return
    with pytest.raises(IntegrityError, match=complaint):
        story.device.check_erasure(status)


def test_receipts_of_an_opening_are_for_the_entries_that_were_sent(story):
    for case, other in (("first", "second"), ("second", "first")):
        status = story.opened[case].status
        with pytest.raises(IntegrityError, match="says something else than was sent"):
            story.device._check_receipts(msgspec.structs.replace(status, receipts=status.receipts[:2]), [])
        with pytest.raises(IntegrityError, match="says something else than was sent"):
            story.device._check_receipts(story.opened[other].status, [])


# What was recorded -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prints(media):
    """Every fingerprint of the run: of entries with their variants, of uploads."""
    entries = [print_ for paths in media.cases.values() for path in paths for print_ in fingerprints(path)]
    return {row.tobytes() for row in (*pack(entries), *prepare(media.uploads).hashes)}


@pytest.fixture(scope="module")
def pictures(media):
    """The bytes of every file, and the pixels of every photo."""
    paths = [*map(str, media.own.iterdir()), *media.uploads]
    photos = [
        Image.open(path).convert("RGB").tobytes()
        for path in paths
        if path.endswith(("png", "jpg")) and "broken" not in path
    ]
    return [*(open(path, "rb").read() for path in paths), *photos]


def test_no_fingerprint_and_no_photo_passed_the_wire_or_lies_on_disk(story, prints, pictures):
    of_prints, of_pictures = Search(prints), Search(pictures, step=499)
    assert len(of_prints) > 20 * len(prints) > 600
    assert len(of_pictures) > 5000
    search = of_prints | of_pictures
    hash_, picture = next(iter(prints)), pictures[0][100:1100]
    planted = {
        "a print": b"x" * 11 + hash_[5:13] + b"x" * 20,
        "a photo": b"x" * 11 + picture,
        "in hex": hash_.hex().encode(),
    }
    assert search.found(planted) == list(planted)
    assert sum(map(len, story.wire.values())) > 10_000_000
    assert {name.split("/")[0] for name in story.disk} >= story.deployment.roles.keys()
    assert any("dumped" in name for name in story.disk)
    assert search.found(story.wire) == []
    assert search.found(story.disk) == []

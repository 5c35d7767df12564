"""The search finds what it is for, wherever and however it is written; and says nothing of noise."""

import base64
import secrets
import sqlite3

import httpx
import numpy as np
import pytest

from tests.service.capture import Recorder, Search, on_disk
from tests.service.serving import build, party, serving, verifiers

SECRET = bytes(np.random.default_rng(7).permutation(256)[:32].astype(np.uint8))
WRITTEN = {
    "raw": bytes,
    "hex": lambda body: body.hex().encode(),
    "HEX": lambda body: body.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64, one byte before": lambda body: base64.b64encode(b"x" + body),
    "base64, two bytes before": lambda body: base64.b64encode(b"xy" + body),
    "base64, in a URL": base64.urlsafe_b64encode,
    "base64, in a longer word": lambda body: b"word" + base64.b64encode(body),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("first", [0, 3, 24])
def test_any_window_is_found_however_it_is_written(written, first):
    search = Search([SECRET])
    for noise in (0, 1001, 1002):
        planted = secrets.token_bytes(noise) + WRITTEN[written](SECRET[first : first + 8]) + secrets.token_bytes(77)
        assert search.found({"noise": secrets.token_bytes(20_000), "planted": planted}) == ["planted"]


def test_windows_are_as_many_as_there_are():
    assert len(Search([SECRET, bytes(100)])) == 25
    assert not Search([SECRET]).found({"seven bytes": SECRET[:7], "other": SECRET[::-1], "none": b""})


def test_a_row_is_found_in_a_database_and_in_its_write_ahead_log(tmp_path):
    database = sqlite3.connect(tmp_path / "role.db")
    database.execute("pragma journal_mode = wal")
    database.execute("create table facts (value blob)")
    database.commit()
    assert not Search([SECRET]).found(on_disk(tmp_path))
    database.execute("insert into facts values (?)", [SECRET])
    database.commit()
    assert set(Search([SECRET]).found(on_disk(tmp_path))) == {"role.db-wal", "role.db, dumped"}
    database.close()


def test_what_passes_a_forwarder_is_kept_and_reaches_the_other_side():
    me, recorder = party("member-1"), Recorder()
    with serving(build([], me, verifiers(me))) as url:
        answer = httpx.get(recorder.between("member-1", url) + "/health", headers={"X": SECRET.hex()})
        assert answer.json()["party"] == "member-1"
    recorder.close()
    pieces = recorder.pieces()
    assert Search([SECRET]).found(pieces) == ["connection 0"]
    assert Search([b'"party":"member-1"']).found(pieces) == ["connection 1"]

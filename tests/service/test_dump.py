"""What a reader of the exchange's disk learns after real cases: nothing of photos, and not which are one person's."""

import sqlite3

import numpy as np
import pytest

from service import pins
from service.messages import CaseStatus, Sighted, StatusRequest, Upload, Verdicts, WithdrawalRequest
from tests.service.roles import deployed, person, sealed_case, wait_for
from tests.service.test_models import spellings

PERSONS = "abab"  # who opens each case; every case has as many entries


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """(folder of the exchange, cases, hashes): four cases of two persons, checked, matched, one withdrawn."""
    folder = tmp_path_factory.mktemp("dump") / "up"
    with pytest.MonkeyPatch.context() as patch, deployed(folder) as roles:
        patch.setattr(pins, "PIN_LOG_N", 1)
        exchange, platform, people = roles["exchange"], roles["platform-1"], person(roles)
        wait_for(lambda: exchange.committee_key is not None)
        hashes = np.random.default_rng(9).integers(0, 256, (len(PERSONS), 2, 32), dtype=np.uint8)
        cases = [sealed_case(roles, each) for each in hashes]
        for case in cases:
            people.call("POST", "/cases", case, kind=CaseStatus)
        wait_for(lambda: len(exchange.exchange.published.all()) and exchange.exchange.waiting == 0)
        wait_for(lambda: exchange.cases.counts() == {"active": len(cases)} and not exchange.exchange.stale())
        handles = [handle for _, handle in platform.scan(hashes[:, 0])]
        assert len(handles) == len(cases)
        told = exchange.finds.sighted("platform-1", Sighted([Upload("photo", 1, [[handle]]) for handle in handles]))
        exchange.finds.feedback("platform-1", Verdicts([(one[0], "blocked") for one in told.uploads]))
        people.call("POST", "/cases/withdraw", WithdrawalRequest(cases[3].case, cases[3].pin), kind=CaseStatus)
        asked = StatusRequest(cases[3].case, cases[3].pin)
        wait_for(lambda: people.call("POST", "/cases/status", asked, kind=CaseStatus).status == "deleted")
    return folder / "exchange", cases, hashes


def tables(folder):
    """{table: rows as dicts}, in the order in which a dump has them."""
    with sqlite3.connect(folder / "exchange.db") as plain:
        plain.row_factory = sqlite3.Row
        names = [row[0] for row in plain.execute("select name from sqlite_master where type = 'table'")]
        return {name: [dict(row) for row in plain.execute(f'select * from "{name}"')] for name in names}


def test_no_hash_number_or_pin_is_on_the_exchanges_disk(lived):
    folder, cases, hashes = lived
    held = b"\0".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert pins.case_id(cases[0].case) in held  # what is looked for would be found
    for row in hashes.reshape(-1, 32):
        for start in range(25):
            windows = [
                one for one in spellings(row[start : start + 8].tobytes()) if len(one) >= 8
            ]  # shorter: by chance
            assert not [spelling for spelling in windows if spelling in held]
    for case in cases:
        assert case.case.encode() not in held
        assert case.case.replace("-", "").encode() not in held
        assert not [spelling for spelling in spellings(case.pin) if spelling in held]


def test_rows_and_facts_stand_in_the_order_of_random_keys(lived):
    folder, cases, _ = lived
    found = tables(folder)
    arrived = [pins.case_id(case.case) for case in cases]
    assert [row["id"] for row in found["cases"]] == sorted(arrived)
    for name in ("entries", "seen"):
        keys = [row["key"] for row in found["facts"] if row["name"] == name]
        assert len(keys) >= 6
        assert keys == sorted(keys)  # and ids are random: which belong together, and which came first, does not show
    with sqlite3.connect(folder / "exchange.db") as plain, pytest.raises(sqlite3.OperationalError, match="rowid"):
        plain.execute("select rowid from facts")


def test_what_the_facts_say_is_sealed_and_of_one_length_a_table(lived):
    folder, cases, _ = lived
    facts = tables(folder)["facts"]
    ids = [pins.case_id(case.case) for case in cases]
    for row in facts:
        for case in ids:
            assert case not in row["value"]
            assert case.hex().encode() not in row["value"]
            assert case not in row["key"]
    for name in ("entries", "seen", "resolved"):
        assert len({len(row["value"]) for row in facts if row["name"] == name}) == 1, name
    entry = cases[0].entries[0].entry
    assert {row["name"] for row in facts if entry in row["key"] or entry in row["value"]} == {"entries", "seen"}


def test_no_value_is_shared_by_two_cases_but_what_all_share(lived):
    folder, cases, _ = lived
    found, values = tables(folder), {}
    for name, rows in found.items():
        for row in rows:
            case = row["id"] if name == "cases" else row.get("case")
            if case is not None:
                values.setdefault(case, set()).update(value for value in row.values() if isinstance(value, bytes))
    assert values.keys() == {pins.case_id(case.case) for case in cases}
    for one in values:
        for other in values.keys() - {one}:
            assert not values[one] & values[other]


def test_blocks_hold_no_case_and_no_entry(lived):
    folder, cases, _ = lived
    blocks = list((folder / "blocks").iterdir())
    assert blocks
    held = b"\0".join(file.read_bytes() for file in blocks)
    for case in cases:
        assert pins.case_id(case.case) not in held
        assert not [entry for entry in case.entries if entry.entry in held]
    assert all(file.name.startswith("block-") for file in blocks)

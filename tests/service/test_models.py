"""What a reader of the exchange's database learns: no number, no PIN, no hash, and not whose cases belong together."""

import base64
import random
import sqlite3
from datetime import date

import numpy as np
import pytest
from sqlalchemy import select, text

from protocols.scan.entries import seal_entry
from protocols.scan.parameters import Parameters
from protocols.scan.sealing import Identity, Verifier
from service import storage
from service.atrest import Sealer
from service.cases import Cases
from service.messages import OpenCase, Sighted, SignedErasure, Upload, Verdicts
from service.models import Base, Case
from service.nonces import SqlNonces
from service.pins import new_number, new_pin, pin_key
from service.sightings import Finds
from service.storage import SqlStore, tidy, transaction
from tests.service.lifecycle import MEMBERS, SEALER, Clock, activate, ids, new_case, receipt, receipts

PARAMETERS = Parameters("INSECURE_TINY")


@pytest.fixture(scope="module")
def members():
    return [Verifier(Identity(f"member-{member}").public) for member in MEMBERS]


def life(engine, members, persons):
    """Cases, opened in turn and brought to different steps: (person, message, case id, packed hashes) of each."""
    rng = np.random.default_rng(8)
    cases, finds = Cases(engine, SEALER, max_entries=9, clock=Clock()), Finds(engine, video_share=0.5, clock=Clock())
    store, lived = SqlStore(engine, Sealer(bytes(32))), []
    for turn, person in enumerate(persons):
        hashes = rng.integers(0, 256, (2, PARAMETERS.bits // 8), dtype=np.uint8)
        entries = [seal_entry(np.unpackbits(row), PARAMETERS, 1, members) for row in hashes]
        number, pin = new_number(), new_pin()
        message = OpenCase(number, pin_key(number, pin), True, entries)
        case = cases.open(message)
        lived.append((person, message, case, hashes, pin))
        cases.check_pin(message.case, message.pin, "192.0.2.7")
        if turn % 5 == 0:
            continue
        store.table("waiting")[entries[0].entry] = hashes.tobytes()
        cases.settle(case, ids(message), [], receipts(ids(message)), store)
        cases.placed(turn % 2, turn, ids(message))
        found = {bytes([turn, n]) * 8: case for n in range(2)}
        finds.matched("platform-1", found)
        seen = finds.sighted("platform-1", Sighted([Upload("photo", 1, [list(found)])])).uploads[0]
        finds.feedback("platform-1", Verdicts([(seen[0], "blocked")]))
        finds.searched("platform-1", turn % 2, turn)
        SqlNonces(engine).use("platform-1", bytes([turn]) * 16, 2**40)
        if turn % 5 < 3:
            continue
        cases.withdraw(case)
        for member in MEMBERS[: 1 if turn % 5 == 3 else 3]:
            cases.confirm(case, member, receipt(member, "withdrawn", ids(message)))
        if turn % 5 == 4:
            cases.delete(case, SignedErasure(b"erasure of " + case, b"signature"))
    store.close()
    return lived


def spellings(secret):
    """Bytes as they may stand in a dump or file: raw, hex, and base64 at any alignment, at least 8 bytes of them."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for shift in range(3):
        found.add(base64.b64encode(bytes(shift) + secret)[4:-4])
    return found


def contents(folder):
    """A dump of the database as SQL, and every byte of its files."""
    with sqlite3.connect(folder / "role.db") as plain:
        dump = "\n".join(plain.iterdump()).encode()
    return b"\0".join([dump, *(file.read_bytes() for file in folder.iterdir())])


@pytest.mark.usefixtures("cheap_scrypt")
def test_a_dump_holds_no_number_no_pin_and_no_hash(tmp_path, members):
    engine = storage.open(f"sqlite:///{tmp_path}/role.db")
    lived = life(engine, members, "abcde")
    held = contents(tmp_path)
    assert lived[1][2] in held  # what is looked for would be found
    assert lived[1][2].hex().upper().encode() in held
    for _, message, _, hashes, pin in lived:
        for code in (message.case, pin):
            bare = code.replace("-", "")
            for text_ in (code, bare, code.lower(), bare.lower()):
                assert text_.encode() not in held
        raw = int(
            "".join(f"{'0123456789ABCDEFGHJKMNPQRSTVWXYZ'.index(c):05b}" for c in message.case.replace("-", "")), 2
        )
        secrets_ = [raw.to_bytes(10, "big"), message.pin]
        secrets_ += [row.tobytes()[start : start + 8] for row in hashes for start in range(len(row) - 7)]
        for secret in secrets_:
            assert not [spelling for spelling in spellings(secret) if spelling in held]
    assert b"192.0.2.7" not in held
    assert b"12:00" not in held
    engine.dispose()


@pytest.mark.usefixtures("cheap_scrypt")
def test_nothing_links_two_cases_of_one_person(engine, members):
    lived = life(engine, members, "abcabcabcabc")
    common = {date(2026, 11, 22), "received", "active", "withdrawn", "deleted", "accepted"}
    common |= {"platform-1", "photo", "blocked", None, 0, *MEMBERS, *range(12)}
    values = {}
    with transaction(engine) as session:
        for table in Base.metadata.sorted_tables:
            if "case" not in table.c and table.name != "cases":
                continue
            for row in session.execute(select(table)).mappings():
                case = row["id"] if table.name == "cases" else row["case"]
                values.setdefault(case, set()).update(row.values())
    assert values.keys() == {case for _, _, case, _, _ in lived}
    shared = [one & other for a, one in values.items() for b, other in values.items() if a < b]
    assert len(shared) == 66
    assert set().union(*shared) <= common  # nothing but what a great many cases share


@pytest.mark.usefixtures("cheap_scrypt")
def test_rows_stand_in_the_order_of_random_keys_not_of_arrival(engine):
    cases = Cases(engine, SEALER, max_entries=9, clock=Clock())
    arrived = [activate(cases, new_case()) for _ in range(12)]
    assert arrived != sorted(arrived)
    for case in random.sample(arrived, 12):
        cases.withdraw(case)
    tidy(engine)
    with transaction(engine) as session:
        assert list(session.scalars(text("select id from cases"))) == sorted(arrived)  # as a dump reads them
        for table in Base.metadata.sorted_tables:
            rows = [tuple(row) for row in session.execute(text(f'select * from "{table.name}"'))]
            keys = [list(table.c).index(column) for column in table.primary_key.columns]
            order = [tuple(row[key] for key in keys) for row in rows]
            assert order == sorted(order), table.name
    assert cases.counts() == {"withdrawn": 12}


@pytest.mark.usefixtures("cheap_scrypt")
def test_what_is_deleted_leaves_the_files_of_sqlite(tmp_path):
    engine = storage.open(f"sqlite:///{tmp_path}/role.db")
    cases = Cases(engine, SEALER, max_entries=9)
    message = new_case(4)
    case = cases.open(message)
    sealed = [each for entry in message.entries for each in entry.sealed]
    held = contents(tmp_path)
    assert all(each in held for each in sealed)
    cases.withdraw(case)
    tidy(engine)
    held = contents(tmp_path)
    assert not [each for each in sealed if each in held]
    assert (tmp_path / "role.db-wal").stat().st_size == 0
    engine.dispose()


def test_no_key_counts_upward_and_no_time_is_kept_with_a_case():
    for table in Base.metadata.sorted_tables:
        assert not any(column.autoincrement is True or column.server_default for column in table.columns), table.name
        if "case" in table.c or table is Case.__table__:
            kinds = {column.type.python_type for column in table.columns}
            assert kinds <= {bytes, str, int, date}
            assert not {"at", "time", "created", "address", "name"} & set(table.c.keys())

"""Tables on disk: what was committed is there after a kill, nothing else is, and nothing of it is readable."""

import multiprocessing
import os
import sqlite3
import time

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select, text, update

from protocols.base import ConfigurationError, IntegrityError
from service import storage
from service.atrest import Sealer
from service.errors import StorageFailed, WrongPassphrase
from service.migrations import migrate
from service.models import Base, Fact, Nonce
from service.storage import SqlStore, transaction, unlock_facts

FORK = multiprocessing.get_context("fork")
SEALER = Sealer(bytes(range(32)))


pytestmark = pytest.mark.usefixtures("cheap_scrypt")


@pytest.fixture
def store(engine):
    store = SqlStore(engine, SEALER)
    yield store
    store.close()


def reopened(engine, store):
    store.close()
    return SqlStore(engine, SEALER)


def test_migrations_give_the_tables_of_the_models(engine):
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_migrations_give_sqlite_what_the_models_would(tmp_path):
    migrated = storage.open(f"sqlite:///{tmp_path}/role.db")
    made = create_engine(f"sqlite:///{tmp_path}/plain.db")
    Base.metadata.create_all(made)
    told = []
    for engine in (migrated, made):
        with engine.connect() as connection:
            rows = connection.execute(text("select name, sql from sqlite_master where tbl_name not like 'alembic%'"))
            told.append({name: " ".join((sql or "").split()) for name, sql in rows})
        engine.dispose()
    assert told[0] == told[1]


def test_cases_whose_pins_are_kept_as_before_are_not_locked_out(tmp_path, monkeypatch):
    """A database of before `pin_keys`: with a case it is refused and left as it is, without one it is brought up."""
    url = f"sqlite:///{tmp_path}/role.db"
    with monkeypatch.context() as before:
        before.setattr(storage, "migrate", lambda connection: migrate(connection, "tables"))
        old = storage.open(url)
    with old.begin() as connection:
        row = "insert into cases values (x'01', :status, x'02', x'03', x'04', '2026-11-22')"
        connection.exec_driver_sql(row.replace(":status", "'active'"))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="PINs an earlier version kept"):
            storage.open(url)
    with old.begin() as connection:
        connection.exec_driver_sql("update cases set status = 'deleted'")
    old.dispose()
    new = storage.open(url)
    with new.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    new.dispose()


def test_opening_again_migrates_nothing_and_loses_nothing(engine, database_url):
    with transaction(engine) as session:
        session.add(Nonce(party="member-1", nonce=b"n", expires=1))
    again = storage.open(database_url)
    with transaction(again) as session:
        assert session.scalars(select(Nonce.nonce)).all() == [b"n"]
    again.dispose()


def test_sqlite_is_set_to_lose_nothing(tmp_path):
    engine = storage.open(f"sqlite:///{tmp_path}/role.db")
    with engine.connect() as connection:
        values = {name: connection.scalar(text(f"pragma {name}")) for name in ("journal_mode", "synchronous")}
        values |= {name: connection.scalar(text(f"pragma {name}")) for name in ("foreign_keys", "secure_delete")}
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.glob("role.db*")} == {"0o600"}
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "does not parse"),
        ("mysql://host/db", "is of mysql"),
        ("sqlite://", "expected sqlite:///FILE"),
        ("sqlite:///:memory:", "expected sqlite:///FILE"),
        ("sqlite:////no/such/folder/role.db", "no folder"),
    ],
)
def test_urls_that_do_not_fit_are_refused(url, reason):
    with pytest.raises(ConfigurationError, match=reason):
        storage.open(url)


def test_a_server_that_is_away_is_a_named_error_without_the_password():
    with pytest.raises(StorageFailed) as caught:
        storage.open("postgresql://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)


def test_what_is_committed_is_there_again(engine, store):
    shares, seen = store.table("shares"), store.table("seen")
    shares[b"a"], shares[b"b"], seen[b"a"] = b"one", b"two", b""
    store.commit()
    shares[b"a"] = b"three"
    del shares[b"b"]
    shares.update({b"c": b"four"})
    assert shares.pop(b"c") == b"four"
    assert shares.setdefault(b"d", b"five") == b"five"
    store.commit()
    shares[b"lost"] = b"not committed"
    seen.clear()
    store = reopened(engine, store)
    assert dict(store.table("shares")) == {b"a": b"three", b"d": b"five"}
    assert dict(store.table("seen")) == {b"a": b""}
    assert store.table("shares") is store.table("shares")
    store.close()


def test_a_commit_writes_only_what_has_changed(engine, store):
    table = store.table("t")
    table[b"a"], table[b"b"] = b"one", b"two"
    store.commit()
    with transaction(engine) as session:
        before = dict(session.execute(select(Fact.key, Fact.value)).all())
    table[b"b"] = b"three"
    store.commit()
    store.commit()
    with transaction(engine) as session:
        after = dict(session.execute(select(Fact.key, Fact.value)).all())
    assert after[b"a"] == before[b"a"]  # sealed anew it would differ
    assert after[b"b"] != before[b"b"]


KEYS = st.sampled_from([b"", b"a", b"b", b"\x00\xff"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.binary(max_size=8)),
        st.tuples(st.sampled_from(["del", "clear", "commit", "reopen"]), KEYS, st.just(b"")),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_a_table_is_a_dict_that_falls_back_to_its_last_commit(engine, steps):
    with transaction(engine) as session:
        session.execute(text("delete from facts"))
    store = SqlStore(engine, SEALER)
    now, committed = {}, {}
    try:
        for step, key, value in steps:
            table = store.table("t")
            if step == "set":
                table[key] = now[key] = value
            elif step == "del":
                assert table.pop(key, None) == now.pop(key, None)
            elif step == "clear":
                table.clear()
                now = {}
            elif step == "commit":
                store.commit()
                committed = dict(now)
            else:
                store, now = reopened(engine, store), dict(committed)
            assert dict(store.table("t")) == now
    finally:
        store.close()


def test_rows_go_with_the_session_or_not_at_all(engine, store):
    table = store.table("t")
    table[b"a"] = b"one"
    with transaction(engine, store) as session:
        session.add(Nonce(party="p", nonce=b"n", expires=1))
    table[b"b"] = b"two"
    with pytest.raises(ZeroDivisionError), transaction(engine, store) as session:  # noqa: PT012
        session.add(Nonce(party="p", nonce=b"m", expires=1))
        session.flush()
        raise ZeroDivisionError
    with transaction(engine) as session:
        assert session.scalars(select(Nonce.nonce)).all() == [b"n"]
    store = reopened(engine, store)
    assert dict(store.table("t")) == {b"a": b"one"}
    store.close()


def test_after_a_failed_commit_nothing_is_committed_any_more(engine, store):
    table = store.table("t")
    table[b"a"] = b"one"
    with pytest.raises(StorageFailed), transaction(engine, store) as session:
        session.add_all([Nonce(party="p", nonce=b"n", expires=1), Nonce(party="p", nonce=b"n", expires=2)])
    with pytest.raises(StorageFailed, match="failed before"):
        store.commit()
    store = reopened(engine, store)
    assert not store.table("t")
    store.close()


def test_a_database_without_its_tables_is_a_named_error(tmp_path):
    engine = storage.open(f"sqlite:///{tmp_path}/role.db")
    with engine.begin() as connection:
        connection.execute(text("drop table facts"))
    with pytest.raises(StorageFailed, match="facts"):
        SqlStore(engine, SEALER).table("t")
    engine.dispose()


def test_one_process_at_a_time(engine, store, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(storage, "HANDOVER", 0.1)
        with pytest.raises(ConfigurationError, match="in use"):
            SqlStore(engine, SEALER)
    reopened(engine, store).close()


def test_values_are_sealed_and_bound_to_their_place(engine, store):
    store.table("t")[b"key-1"] = b"a secret value"
    store.table("t")[b"key-2"] = b"another"
    store.commit()
    with transaction(engine) as session:
        sealed = dict(session.execute(select(Fact.key, Fact.value)).all())
        assert all(b"secret" not in value for value in sealed.values())
        session.execute(update(Fact).where(Fact.key == b"key-2").values(value=sealed[b"key-1"]))
    with pytest.raises(IntegrityError, match="'t' does not open"):
        reopened(engine, store).table("t")


def test_the_passphrase_unlocks_the_same_key_again(engine):
    first = unlock_facts(engine, "passphrase")
    assert unlock_facts(engine, "passphrase").open(first.seal(b"x", "t", b"k"), "t", b"k") == b"x"
    with pytest.raises(WrongPassphrase):
        unlock_facts(engine, "Passphrase")


def write_until_killed(url, told):
    store = SqlStore(storage.open(url), SEALER)
    for step in range(len(store.table("t")), 10**6):
        for name in ("t", "u"):
            store.table(name)[step.to_bytes(4, "big")] = bytes(1000)
        store.commit()
        told.send_bytes(step.to_bytes(4, "big"))


def test_what_a_killed_process_acknowledged_is_there(database_url, engine):
    acknowledged = -1
    for pause in (0.0, 0.04, 0.11):
        receiver, sender = FORK.Pipe(duplex=False)
        child = FORK.Process(target=write_until_killed, args=(database_url, sender))
        child.start()
        sender.close()
        acknowledged = int.from_bytes(receiver.recv_bytes(), "big")
        time.sleep(pause)
        child.kill()
        child.join()
        while receiver.poll():
            try:
                acknowledged = int.from_bytes(receiver.recv_bytes(), "big")
            except EOFError:
                break
        receiver.close()
        store = SqlStore(engine, SEALER)  # waits for PostgreSQL to see that its client is gone
        steps = [int.from_bytes(key, "big") for key in store.table("t")]
        assert sorted(steps) == list(range(len(steps)))
        assert acknowledged + 1 <= len(steps) <= acknowledged + 2  # the last may be done and not yet told
        assert set(store.table("u")) == set(store.table("t"))  # whole transactions only
        store.close()


@pytest.mark.slow
def test_a_hundred_thousand_shares_load_and_write_in_seconds(engine, store):
    value = os.urandom(2200)
    table = store.table("shares")
    start = time.monotonic()
    for _ in range(100_000):
        table[os.urandom(16)] = value
    store.commit()
    written = time.monotonic() - start
    store = reopened(engine, store)
    start = time.monotonic()
    assert len(store.table("shares")) == 100_000
    loaded = time.monotonic() - start
    store.close()
    print(f"{engine.dialect.name}: written in {written:.1f} s, loaded in {loaded:.1f} s")
    assert written < 60
    assert loaded < 20


def test_a_dump_is_in_the_order_of_random_keys(tmp_path):
    engine = storage.open(f"sqlite:///{tmp_path}/role.db")
    with transaction(engine) as session:
        for nonce in (b"c", b"a", b"b"):
            session.add(Nonce(party="p", nonce=nonce, expires=1))
            session.flush()
    engine.dispose()
    with sqlite3.connect(tmp_path / "role.db") as plain:
        dump = "\n".join(plain.iterdump())
        tables = plain.execute("select sql from sqlite_master where type = 'table'").fetchall()
    rows = [line for line in dump.splitlines() if line.startswith('INSERT INTO "nonces"')]
    assert rows == sorted(rows)
    assert all("WITHOUT ROWID" in sql for (sql,) in tables if "alembic_version" not in sql)


def test_nobody_else_can_hold_the_lock_of_a_database(tmp_path):
    engine = storage.open(f"sqlite:///{tmp_path}/role.db")
    SqlStore(engine, Sealer(bytes(32))).close()
    assert (tmp_path / "role.db.lock").stat().st_mode & 0o777 == 0o600
    engine.dispose()

"""A role's database: SQLite or PostgreSQL by URL, brought up to date at start, and the tables that roles keep in it.

Roles work on tables in memory and put them on disk between a step and its answer: what was answered survives a kill.
Every table is in memory as a whole, so one process at a time may use it. A commit that fails leaves memory ahead of the
disk; then the process has to end (`StorageFailed`).

NOT protected: names of tables, keys of rows, lengths of values (see `atrest`).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

from sqlalchemy import Connection, Engine, Executable, bindparam, create_engine, delete, event, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from protocols.base import ConfigurationError
from service.atrest import KEY_BYTES, Sealer, lock, unlock
from service.errors import StorageFailed
from service.migrations import migrate
from service.models import Base, Case, Fact, LockedKey

T = TypeVar("T")

_ROWS = 1000  # a statement
HANDOVER = 5.0  # seconds until the lock of a process that was killed is free
_WAIT = 30  # seconds that a transaction waits for another one
_FACTS_KEY = "key of the facts table"
_ONE_PROCESS = 0x68757368  # PostgreSQL's advisory lock of whoever has the tables in memory


def open(url: str) -> Engine:
    """The database at `url` (sqlite:///FILE or postgresql://...), with every table as this version has it.

    Raises ConfigurationError for a URL that does not fit, StorageFailed if the database does not answer.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError("database URL does not parse; expected sqlite:///FILE or postgresql://...") from None
    backend = parsed.get_backend_name()
    options: dict[str, Any] = {"hide_parameters": True, "max_overflow": 0, "pool_timeout": _WAIT}
    if backend == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        options |= {"pool_pre_ping": True, "pool_size": 16}
    elif backend != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise ConfigurationError(f"database URL is of {backend}; expected sqlite:///FILE or postgresql://...")
    else:
        _create(Path(str(parsed.database)))
        # SQLite has one transaction at a time, and lets those that wait try at random: these queue for a connection
        options |= {"pool_size": 1, "connect_args": {"timeout": _WAIT}}
    try:
        engine = create_engine(parsed, **options)
    except (NoSuchModuleError, ModuleNotFoundError) as missing:
        raise ConfigurationError(
            f"database URL: {missing}; in the checkout, `make .venv/.postgresql` installs it"
        ) from None
    if backend == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    with _failures(), engine.begin() as connection:
        migrate(connection)
    return engine


def _create(path: Path) -> None:
    """An empty file that only its owner can read; SQLite gives its log the same rights."""
    if not path.parent.is_dir():
        raise ConfigurationError(f"database URL: there is no folder {path.parent}; make it first")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _set_up_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # the driver begins no transactions by itself: `_begin_sqlite` does
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # one that reads first and then writes could not wait for another


@contextmanager
def _failures() -> Iterator[None]:
    """The database's errors as StorageFailed; a key that is there already stays what it is."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise StorageFailed(f"database: {type(error.orig).__name__}: {error.orig}") from None
    except SQLAlchemyError as error:
        raise StorageFailed(f"database: {type(error).__name__}") from None


@contextmanager
def transaction(engine: Engine, store: SqlStore | None = None) -> Iterator[Session]:
    """A session, committed at the end or rolled back; with `store`, together with everything that it has queued.

    Raises StorageFailed; sqlalchemy's IntegrityError for a row that is there already.
    """
    with _failures(), Session(engine, expire_on_commit=False) as session:
        yield session
        if store is None:
            session.commit()
        else:
            store.commit(session)


def in_chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items, as many at once as a statement takes."""
    for first in range(0, len(items), _ROWS):
        yield items[first : first + _ROWS]


def lock_cases(session: Session, ids: Collection[bytes]) -> list[Case]:
    """The cases of these ids, locked until the transaction ends; whoever locks several does it here, in one order."""
    chunks = in_chunks(sorted(ids))
    rows = (select(Case).where(Case.id.in_(some)).order_by(Case.id).with_for_update() for some in chunks)
    return [case for some in rows for case in session.scalars(some)]


def tidy(engine: Engine) -> None:
    """Once a day: make what was deleted leave the files, and sort PostgreSQL's tables by their random keys.

    SQLite empties its log. PostgreSQL keeps rows, and dumps them, in the order in which they came; each table is
    written anew in the order of its key, and is locked meanwhile. Raises StorageFailed.
    """
    if engine.dialect.name == "sqlite":
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            raw.close()
        return
    for table in Base.metadata.sorted_tables:
        with transaction(engine) as session:
            session.execute(text(f'CLUSTER "{table.name}" USING "{table.name}_pkey"'))


def unlock_facts(engine: Engine, passphrase: str) -> Sealer:
    """What seals a role's tables; a random key at first use, locked under the passphrase. Raises WrongPassphrase."""
    with transaction(engine) as session:
        row = session.get(LockedKey, "facts")
        if row is None:
            row = LockedKey(name="facts", locked=lock(secrets.token_bytes(KEY_BYTES), passphrase, _FACTS_KEY))
            session.add(row)
    return Sealer(unlock(row.locked, passphrase, _FACTS_KEY))


class SqlStore:
    """A role's tables, name -> key -> value, in memory and on disk: `protocols.scan.store.Store` over a database.

    Changes reach the disk by `commit` only, all that were made since the last one in a single transaction. Safe to use
    from several threads; close it before another one opens the same database.
    """

    def __init__(self, engine: Engine, sealer: Sealer) -> None:
        """Raises ConfigurationError while another process, or another store of this one, has the database open."""
        self._engine, self._sealer = engine, sealer
        self._lock = threading.RLock()
        self._tables: dict[str, _Table] = {}
        self._queue: dict[tuple[str, bytes], bytes | None] = {}
        self._failed = False
        self._upsert = _upsert(engine.dialect.name)
        self._held = _hold(engine)

    def table(self, name: str) -> MutableMapping[bytes, bytes]:
        """The table of this name, loaded at first use. Raises IntegrityError for a value that was altered."""
        with self._lock:
            if name not in self._tables:
                self._tables[name] = _Table(name, self._load(name), self._queue, self._lock)
            return self._tables[name]

    def _load(self, name: str) -> dict[bytes, bytes]:
        rows = select(Fact.key, Fact.value).where(Fact.name == name).execution_options(yield_per=_ROWS)
        with transaction(self._engine) as session:
            return {key: self._sealer.open(value, name, key) for key, value in session.execute(rows)}

    def commit(self, session: Session | None = None) -> None:
        """Put every change on disk, in one transaction; with `session`, in its own, which is committed.

        Raises StorageFailed, and from then on at every call: nothing may be answered any more.
        """
        with self._lock:
            if self._failed:
                raise StorageFailed("database: a commit failed before; start again from the disk")
            if session is None and not self._queue:
                return
            try:
                with _failures():
                    if session is None:
                        with Session(self._engine) as own:
                            self._write(own)
                    else:
                        self._write(session)
            except (StorageFailed, IntegrityError) as error:
                self._failed = True
                raise StorageFailed(str(error)) from None
            self._queue.clear()

    def _write(self, session: Session) -> None:
        changed = list(self._queue.items())
        for first in range(0, len(changed), _ROWS):
            some = changed[first : first + _ROWS]
            rows = [
                {"name": name, "key": key, "value": self._sealer.seal(value, name, key)}
                for (name, key), value in some
                if value is not None
            ]
            if rows:
                session.connection().execute(self._upsert, rows)
            gone = [{"old_name": name, "old_key": key} for (name, key), value in some if value is None]
            if gone:
                session.connection().execute(_DELETE, gone)
        session.commit()

    def close(self) -> None:
        """Let another one open the database. What was not committed is lost, as by a kill."""
        self._held.close()


class _Table(MutableMapping[bytes, bytes]):
    """A table in memory that notes what changes."""

    def __init__(
        self,
        name: str,
        rows: dict[bytes, bytes],
        queue: dict[tuple[str, bytes], bytes | None],
        lock: threading.RLock,
    ) -> None:
        self._name, self._rows, self._queue, self._lock = name, rows, queue, lock

    def __repr__(self) -> str:
        return f"<table {self._name!r}, {len(self._rows)} rows>"

    def __getitem__(self, key: bytes) -> bytes:
        return self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __setitem__(self, key: bytes, value: bytes) -> None:
        with self._lock:
            self._rows[key] = self._queue[self._name, key] = value

    def __delitem__(self, key: bytes) -> None:
        with self._lock:
            del self._rows[key]
            self._queue[self._name, key] = None


_DELETE = delete(Fact).where(Fact.name == bindparam("old_name"), Fact.key == bindparam("old_key"))


def _insert(dialect: str, kind: type[Base]) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(kind) if dialect == "postgresql" else sqlite.insert(kind)


def _upsert(dialect: str) -> Executable:
    facts = _insert(dialect, Fact)
    return facts.on_conflict_do_update(index_elements=[Fact.name, Fact.key], set_={"value": facts.excluded.value})


def insert_if_new(session: Session, kind: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Add those rows whose primary keys are not there yet, whoever else adds them now."""
    if rows:
        new = _insert(session.get_bind().dialect.name, kind).on_conflict_do_nothing()
        session.connection().execute(new, rows)


def _hold(engine: Engine) -> Connection | TextIO:
    """What keeps others out until it is closed, or this process is gone. Waits a little for one that was killed."""
    deadline = time.monotonic() + HANDOVER
    while True:
        held = _try_to_hold(engine)
        if held is not None:
            return held
        if time.monotonic() > deadline:
            raise ConfigurationError("database is in use by another process of this role; stop that one first")
        time.sleep(0.02)


def _try_to_hold(engine: Engine) -> Connection | TextIO | None:
    held: Connection | TextIO
    if engine.dialect.name == "postgresql":
        with _failures():
            held = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            held.detach()  # the lock is the connection's: closed, it must not go back to the pool
            mine = bool(held.scalar(select(func.pg_try_advisory_lock(_ONE_PROCESS))))
    else:
        path = f"{engine.url.database}.lock"  # the owner's only: whoever can open it could hold it
        held = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "w")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
    if mine:
        return held
    held.close()
    return None

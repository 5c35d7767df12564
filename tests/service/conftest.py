"""Databases that the tests run over: SQLite always, PostgreSQL where HUSHMATCH_TEST_POSTGRESQL names a server."""

import os
import secrets

import pytest
from sqlalchemy import create_engine, make_url, text

from service import atrest, pins, storage
from service.models import Base

SERVER = "HUSHMATCH_TEST_POSTGRESQL"


@pytest.fixture(scope="session")
def postgresql_url():
    """A database of its own for this run; None without a server."""
    if SERVER not in os.environ:
        yield None
        return
    server = make_url(os.environ[SERVER]).set(drivername="postgresql+psycopg")
    name = f"hushmatch_{secrets.token_hex(6)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"create database {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """A database's URL; what tests before it left, connections that hold its lock included, is gone."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/role.db"
    url = request.getfixturevalue("postgresql_url")
    if url is None:
        pytest.skip(f"{SERVER} is not set: no PostgreSQL to test with (.ci/run starts one)")
    engine = storage.open(url)
    with engine.begin() as connection:
        others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        connection.execute(text(f"select pg_terminate_backend(pid, 5000) {others}"))
    empty(engine)
    engine.dispose()
    return url


def empty(engine):
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


@pytest.fixture
def engine(database_url):
    """A role's database, up to date and empty."""
    engine = storage.open(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def cheap_scrypt(monkeypatch):
    """PINs and passphrases at a cost of next to nothing."""
    monkeypatch.setattr(pins, "PIN_LOG_N", 1)
    monkeypatch.setattr(atrest, "PASSPHRASE_LOG_N", 1)

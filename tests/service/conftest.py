"""Databases that the tests run over: SQLite always, PostgreSQL where HUSHMATCH_TEST_POSTGRESQL names a server."""

import os
import secrets

import pytest
from sqlalchemy import create_engine, make_url, text

from service import storage

SERVER = "HUSHMATCH_TEST_POSTGRESQL"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """An empty database's URL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/role.db"
        return
    if SERVER not in os.environ:
        pytest.skip(f"{SERVER} is not set: no PostgreSQL to test with (.ci/run starts one)")
    server = make_url(os.environ[SERVER]).set(drivername="postgresql+psycopg")
    name = f"hushmatch_{secrets.token_hex(6)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"create database {name}"))
    yield server.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))
    admin.dispose()


@pytest.fixture
def engine(database_url):
    """A role's database, up to date."""
    engine = storage.open(database_url)
    yield engine
    engine.dispose()

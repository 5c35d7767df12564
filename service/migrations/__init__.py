"""Alembic migrations: what brings a database from any earlier version of the tables to this one, at start.

A new one is a file in `versions` that names the last as its `down_revision`; a test compares the outcome with `models`.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def migrate(connection: Connection, version: str = "head") -> None:
    """Bring the database to a version, the newest by default, in the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, version)

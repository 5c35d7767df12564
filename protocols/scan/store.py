"""Where a role keeps what must outlive its process: named tables of bytes.

Here they are dictionaries in memory. A deployment gives roles a store of the same shape that writes to a database, and
commits it before anything that depends on a step leaves the process: so what serves once is marked on disk before it
is used, and what was acknowledged is there after a crash. What is in no table (encryptions of zero, triples, open
sessions) is gone with the process, on purpose: a node that comes back from an old copy of its disk must not use it
twice.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Protocol

from protocols.base import MessageError

Table = MutableMapping[bytes, bytes]


class Tables(Protocol):
    """What gives a role its tables."""

    def table(self, name: str) -> Table:
        """The table of that name; made empty when first asked for."""


class Store:
    """Tables in memory."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    def __repr__(self) -> str:
        return "<Store>"

    def table(self, name: str) -> Table:
        """The table of that name; made empty when first asked for."""
        return self._tables.setdefault(name, {})


def number_key(value: int) -> bytes:
    """A key for a number, 8 bytes."""
    return value.to_bytes(8)


def read_number(table: Table, key: bytes) -> int:
    """A counter kept in a table, 0 at first."""
    kept = table.get(key, bytes(8))
    if len(kept) != 8:
        raise MessageError("store: a counter has the wrong length")
    return int.from_bytes(kept)

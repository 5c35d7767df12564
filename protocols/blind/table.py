"""The token table: rows sorted by id, found by binary search, 32 bytes a row, in memory or mapped from files.

A row is an id (12 bytes), a slot (4) and a label (16), in four columns. Ids come out of a hash, so their first
eight bytes almost always tell them apart; the column of those, as numbers, is what the search runs on. Several rows
may have one id.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.base import InputError, MessageError
from protocols.blind.entries import KEY, ROW_ID

COLUMNS = {"head": ("<u8", ()), "tail": ("<u4", ()), "slot": ("<u4", ()), "label": ("u1", (KEY,))}
ROW_SIZE = ROW_ID + 4 + KEY
MAX_SLOTS = 1 << 32


class TokenTable:
    """Columns of equal length: head uint64 (ascending), tail uint32, slot uint32, label uint8 (rows, 16)."""

    def __init__(self, head: NDArray, tail: NDArray, slot: NDArray, label: NDArray) -> None:
        self._columns = {"head": head, "tail": tail, "slot": slot, "label": label}
        self._head = head

    @classmethod
    def empty(cls) -> TokenTable:
        """No rows."""
        return cls(*(np.empty((0, *shape), dtype) for dtype, shape in COLUMNS.values()))

    def __len__(self) -> int:
        return len(self._head)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * ROW_SIZE

    def with_rows(self, ids: NDArray[np.uint8], slots: NDArray, labels: NDArray[np.uint8]) -> TokenTable:
        """A table, in memory, that has m rows more: ids (m, 12), slots (m,), labels (m, 16).

        Raises MessageError for a slot that does not fit.
        """
        if len(slots) and slots.max() >= MAX_SLOTS:
            raise MessageError(f"slots goes up to {slots.max()}; a table has {MAX_SLOTS}")
        head, tail = _split(ids)
        order = np.argsort(head, kind="stable")
        at = np.searchsorted(self._head, head[order])
        new = {"head": head, "tail": tail, "slot": slots.astype("<u4"), "label": labels}
        return TokenTable(*(np.insert(self._columns[name], at, new[name][order], axis=0) for name in COLUMNS))

    def without_slots(self, slots: NDArray) -> TokenTable:
        """A table without the rows of these slots."""
        kept = ~np.isin(self._columns["slot"], slots)
        return TokenTable(*(column[kept] for column in self._columns.values()))

    def find(self, ids: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.uint32], NDArray[np.uint8]]:
        """All rows whose id is one of ids (m, 12): which of them (h,), the slots (h,) and the labels (h, 16)."""
        head, tail = _split(ids)
        first, last = np.searchsorted(self._head, head), np.searchsorted(self._head, head, side="right")
        asked = np.repeat(np.arange(len(ids)), last - first)
        rows = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True) if a < b] or [first[:0]])
        same = self._columns["tail"][rows] == tail[asked]
        return asked[same], self._columns["slot"][rows[same]], self._columns["label"][rows[same]]

    def save(self, folder: Path) -> None:
        """Write the columns into a new folder, which appears whole or not at all. Raises InputError if it exists."""
        if folder.exists():
            raise InputError(f"the folder {folder.name} exists already; save each version of the table to a new one")
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            part = Path(temporary) / "table"
            part.mkdir()
            for name, column in self._columns.items():
                np.save(part / f"{name}.npy", column, allow_pickle=False)
            os.replace(part, folder)

    @classmethod
    def load(cls, folder: Path) -> TokenTable:
        """The table in a folder, mapped into memory; ids are read once, to see that they are in order.

        Raises MessageError for what is no table.
        """
        columns = []
        for name, (dtype, shape) in COLUMNS.items():
            try:
                column = np.lib.format.open_memmap(folder / f"{name}.npy", mode="r")
            except Exception as error:  # a malformed header leads numpy to whatever it may be
                raise MessageError(f"{name}.npy is no column of a token table: {type(error).__name__}") from None
            if column.dtype != np.dtype(dtype) or column.ndim == 0 or column.shape[1:] != shape:
                raise MessageError(f"{name}.npy holds {column.dtype} {column.shape}; expected {dtype} rows of {shape}")
            columns.append(column)
        if len({len(column) for column in columns}) != 1:
            raise MessageError("the table's columns have different lengths")
        if (columns[0][1:] < columns[0][:-1]).any():
            raise MessageError("the table's rows are not in ascending order of their ids")
        return cls(*columns)


def _split(ids: NDArray[np.uint8]) -> tuple[NDArray, NDArray]:
    """First eight bytes and last four, as numbers."""
    ids = np.ascontiguousarray(ids)
    head = np.ascontiguousarray(ids[:, :8]).view("<u8").ravel()
    return head, np.ascontiguousarray(ids[:, 8:]).view("<u4").ravel()

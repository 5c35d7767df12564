"""The token table against a plain dictionary, in memory and mapped."""

from collections import defaultdict

import numpy as np
import pytest

from protocols.base import InputError, MessageError
from protocols.blind.table import ROW_SIZE, TokenTable


def random_rows(rng, count, slots=50):
    ids = rng.integers(0, 256, (count, 12), dtype=np.uint8)
    ids[: count // 4] = ids[count // 2 : count // 2 + count // 4]  # ids that occur twice
    ids[count // 4 : count // 3, :8] = ids[0, :8]  # ids that differ in the last bytes only
    return ids, rng.integers(0, slots, count), rng.integers(0, 256, (count, 16), dtype=np.uint8)


def compare(table, truth, asked):
    at, slots, labels = table.find(asked)
    found = sorted((int(a), int(s), label.tobytes()) for a, s, label in zip(at, slots, labels, strict=True))
    expected = sorted((a, *row) for a, name in enumerate(asked) for row in truth[name.tobytes()])
    assert found == expected


def test_finds_what_a_dictionary_finds_after_adding_and_removing(rng, tmp_path):
    table, truth = TokenTable.empty(), defaultdict(list)
    assert len(table.find(np.zeros((2, 12), np.uint8))[0]) == 0
    for count in (40, 1, 300):
        ids, slots, labels = random_rows(rng, count)
        table = table.with_rows(ids, slots, labels)
        for name, slot, label in zip(ids, slots, labels, strict=True):
            truth[name.tobytes()].append((int(slot), label.tobytes()))
        asked = np.concatenate([ids, rng.integers(0, 256, (5, 12), dtype=np.uint8)])
        compare(table, truth, asked)
    gone = np.array([3, 7, 11])
    table = table.without_slots(gone)
    for name in truth:
        truth[name] = [row for row in truth[name] if row[0] not in gone]
    compare(table, truth, asked)
    table.save(tmp_path / "v1")
    compare(TokenTable.load(tmp_path / "v1"), truth, asked)
    assert len(table) == sum(map(len, truth.values()))


def test_a_row_takes_at_most_36_bytes_in_memory_and_on_disk(rng, tmp_path):
    table = TokenTable.empty().with_rows(*random_rows(rng, 5000))
    assert table.nbytes == 5000 * ROW_SIZE
    assert ROW_SIZE <= 36
    table.save(tmp_path / "v1")
    assert sum(file.stat().st_size for file in (tmp_path / "v1").iterdir()) <= 5000 * 36


def test_a_mapped_table_is_mapped_and_takes_more_rows(rng, tmp_path):
    ids, slots, labels = random_rows(rng, 100)
    TokenTable.empty().with_rows(ids, slots, labels).save(tmp_path / "v1")
    mapped = TokenTable.load(tmp_path / "v1")
    assert all(isinstance(column, np.memmap) for column in mapped._columns.values())
    assert len(mapped.with_rows(*random_rows(rng, 10))) == 110
    with pytest.raises(InputError, match="exists already"):
        mapped.save(tmp_path / "v1")


def header(text):
    body = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


def test_slots_have_32_bits(rng):
    ids, _, labels = random_rows(rng, 2)
    TokenTable.empty().with_rows(ids, np.array([0, 2**32 - 1]), labels)
    with pytest.raises(MessageError, match="slots goes up to 4294967296"):
        TokenTable.empty().with_rows(ids, np.array([0, 2**32]), labels)


def test_files_that_are_no_table_are_refused_by_name(rng, tmp_path):
    with pytest.raises(MessageError, match=r"head\.npy"):
        TokenTable.load(tmp_path / "nowhere")
    TokenTable.empty().with_rows(*random_rows(rng, 100)).save(tmp_path / "v1")
    column = np.load(tmp_path / "v1" / "slot.npy")
    for bad in (column[:-1], column.astype("<u8"), np.zeros((100, 2), "<u4")):
        np.save(tmp_path / "v1" / "slot.npy", bad)
        with pytest.raises(MessageError):
            TokenTable.load(tmp_path / "v1")
    np.save(tmp_path / "v1" / "slot.npy", np.array([object()] * 100), allow_pickle=True)
    with pytest.raises(MessageError, match=r"slot\.npy"):
        TokenTable.load(tmp_path / "v1")
    for name, data in (
        ("slot", b""),
        ("head", b"\x93NUMPY"),
        ("head", None),
        ("head", np.uint64(5)),
        ("tail", column),
        ("head", b"PK\x03\x04garbage"),
        ("head", header("{'descr': (")),
        ("head", header("{1: 2, 'a': 3}")),
        ("head", header(f"{{'descr': '<u8', 'fortran_order': False, 'shape': ({10**40},), }}")),
        ("head", header("{'descr': '<u8', 'fortran_order': False, 'shape': (True,), }")),
        ("head", header(f"{{'descr': '<u8', 'fortran_order': False, 'shape': ({2**63 - 1},), }}")),
    ):
        TokenTable.empty().with_rows(*random_rows(rng, 100)).save(tmp_path / (folder := f"{name}-{rng.random()}"))
        path = tmp_path / folder / f"{name}.npy"
        if data is None:
            with path.open("wb") as file:
                np.savez(file, column)
        elif isinstance(data, bytes):
            path.write_bytes(data)
        else:
            np.save(path, data[:50] if data.ndim else data)
        with pytest.raises(MessageError):
            TokenTable.load(tmp_path / folder)


def test_a_table_that_is_not_in_order_is_refused(rng, tmp_path):
    """A binary search would miss rows of it, and say nothing."""
    TokenTable.empty().with_rows(*random_rows(rng, 100)).save(tmp_path / "v1")
    head = np.load(tmp_path / "v1" / "head.npy")
    np.save(tmp_path / "v1" / "head.npy", head[::-1])
    with pytest.raises(MessageError, match="ascending order"):
        TokenTable.load(tmp_path / "v1")

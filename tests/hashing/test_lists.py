import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashing import Fingerprint, FingerprintError, HashingError
from hashing.lists import COLUMNS, MAX_LINE, ListError, read_list, read_rows, write_list

FORMS = ("hex", "csv", "jsonl")
A, B = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22", "0" * 64
fingerprints = st.builds(Fingerprint, st.just("pdq"), st.binary(min_size=32, max_size=32), st.integers(0, 100))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30, deadline=None)
@given(rows=st.lists(fingerprints, max_size=20))
def test_round_trip(form: str, rows: list[Fingerprint]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"list.{form}"
        assert write_list(path, rows) == len(rows)
        assert list(read_list(path)) == rows
        assert [row.line for row in read_rows(path)] == list(
            range(1 + (form == "csv"), len(rows) + 1 + (form == "csv"))
        )


@pytest.mark.parametrize("algorithm", ["phash", "whash"])
def test_round_trip_of_other_algorithms(algorithm: str, tmp_path: Path) -> None:
    rows = [Fingerprint(algorithm, bytes(range(8)))]
    for form in FORMS:
        write_list(tmp_path / "list", rows, form)
        assert list(read_list(tmp_path / "list", algorithm, form)) == rows


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_give_rows_or_named_errors(form: str, body: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list"
        path.write_bytes((b"hash,quality\n" if form == "csv" else b"") + body)
        errors: list[ListError] = []
        rows = list(read_list(path, form=form, errors=errors))
        assert all(isinstance(row, Fingerprint) for row in rows)
        assert all(error.line is not None and error.reason for error in errors)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", f"# a comment\n\n{A},100,photos/a.jpg\r\n{B} 49\n"),
        ("a.hex", f"pdq {A} # with its algorithm\n  {B.upper()}\t49\n"),
        ("a.csv", f"\ufeffid,Hash,QUALITY\n1,{A},\n2,{B},49\n"),
        ("a.csv", f'quality,indicator,tags\n100,"{A}","a, b"\n\n49,{B},\n'),
        ("a.jsonl", f'{{"hash": "{A}", "note": [1]}}\n\n{{"quality": 49, "pdq_hash": "{B}"}}'),
        ("a.ndjson", f'{{"value": "{A}", "quality": null}}\r\n{{"pdq": "{B}", "quality": "49"}}\n'),
    ],
)
def test_what_tools_write(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, newline="")
    assert list(read_list(tmp_path / name)) == [Fingerprint.from_hex(A), Fingerprint.from_hex(B, quality=49)]


BAD_ROWS = {
    "hex": [
        A[:-1], A + "0", "g" + A[1:], f"{A},101", f"{A},-1", f"{A},good", f"phash {A}", "x" * (2 * MAX_LINE),
        "\udcff" + A,
    ],
    "csv": [A, f"{A},101", f'"{A},5', "x" * (MAX_LINE + 5) + ",5", f"{A},²"],
    "jsonl": [
        "{", "[1]", "3", '{"quality": 5}', f'{{"hash": "{A}", "quality": 50.5}}', '{"hash": null}', '{"hash": 7}',
        f'{{"hash": "{A}", "quality": true}}', "[" * 60_000, f'{{"hash": "{A}", "quality": {"9" * 5000}}}',
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_malformed_rows_are_named_and_read_past(form: str, tmp_path: Path) -> None:
    good = {"hex": B, "csv": f"{B},7", "jsonl": f'{{"hash": "{B}"}}'}[form]
    first = ["hash,quality"] if form == "csv" else []
    lines = [*first, *(line for bad in BAD_ROWS[form] for line in (good, bad)), good]
    path = tmp_path / "list"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    errors: list[ListError] = []
    assert len(list(read_list(path, form=form, errors=errors))) == len(BAD_ROWS[form]) + 1
    assert [error.line for error in errors] == [
        number for number, line in enumerate(lines, 1) if line in BAD_ROWS[form]
    ]
    for error in errors:
        assert str(error) == f"line {error.line}: {error.reason}"
        assert len(str(error)) < 120
        assert A[:16] not in str(error)
    with pytest.raises(ListError, match=f"line {len(first) + 2}:"):
        list(read_list(path, form=form))


def test_whole_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,size\nx,1\n")
    with pytest.raises(ListError, match=COLUMNS[0]):
        list(read_list(tmp_path / "a.csv", errors=[]))
    with pytest.raises(ListError, match="No such file"):
        list(read_list(tmp_path / "nowhere"))
    with pytest.raises(ListError, match="form"):
        list(read_list(tmp_path / "a.csv", form="xml"))
    with pytest.raises(FingerprintError, match="algorithm"):
        list(read_list(tmp_path / "a.csv", algorithm="md5"))
    assert issubclass(ListError, HashingError)


def test_reading_streams(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{A}\n{B}\nbroken\n")
    rows = read_list(tmp_path / "list")
    assert [next(rows).hex, next(rows).hex] == [A, B]
    with pytest.raises(ListError):
        next(rows)


def test_a_failed_write_leaves_the_old_list(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    write_list(path, [Fingerprint.from_hex(A)])
    before = path.read_bytes()

    def failing() -> Iterator[Fingerprint]:
        yield Fingerprint.from_hex(B)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_list(path, failing())
    with pytest.raises(ListError, match="one algorithm"):
        write_list(path, [Fingerprint.from_hex(A), Fingerprint("phash", bytes(8))])
    with pytest.raises(ListError, match="No such file"):
        write_list(tmp_path / "nowhere" / "list", [])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["list.csv"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

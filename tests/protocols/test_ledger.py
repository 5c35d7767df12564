"""What crosses is declared, counted and decoded again; large arrays are counted as encoded, and not copied."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocols
from protocols.ledger import Ledger, Message, MessageError, MessageKind, UndeclaredMessage, decode, encode


class Results(Message, frozen=True):
    number: int
    header: bytes
    c0: memoryview
    slots: list[int]
    c1: memoryview


TABLE = [MessageKind(Results, "platform", "member", "uploads")]
LARGE = 1 << 17


@given(
    number=st.integers(-(2**63), 2**64 - 1),
    header=st.binary(max_size=300),
    slots=st.lists(st.integers(0, 2**32), max_size=40),
    sizes=st.tuples(*[st.sampled_from([0, 8, LARGE - 8, LARGE, LARGE + 8, 3 * LARGE])] * 2),
)
def test_large_arrays_arrive_where_they_lie_and_count_as_encoded(number, header, slots, sizes):
    c0, c1 = (np.arange(size // 8, dtype=np.uint64) for size in sizes)
    message = Results(number, header, c0.data, slots, c1.data)
    ledger = Ledger(TABLE)
    got = ledger.send("platform-1", "member-2", message)
    assert encode(got) == encode(message)
    assert [record.size for record in ledger.messages] == [len(encode(message))]
    for sent, came in ((c0, got.c0), (c1, got.c1)):
        assert came.readonly
        assert np.shares_memory(sent, np.frombuffer(came, dtype=np.uint64)) == (sent.nbytes >= LARGE)


@pytest.mark.parametrize("size", [64, LARGE])
def test_what_crosses_is_written_down(size):
    ledger = Ledger(TABLE, record=True)
    c0 = np.arange(size // 8, dtype=np.uint64)
    message = Results(1, b"header", c0.data, [], memoryview(b""))
    got = ledger.send("platform-1", "member-2", message)
    assert bytes(got.c0) == c0.tobytes()
    (record,) = ledger.messages
    assert (record.sender, record.receiver, record.kind) == ("platform-1", "member-2", "Results")
    assert record.size == len(record.payload)
    assert record.payload == encode(message)
    assert {role for role, _ in ledger.cpu_seconds} == {"platform-1", "member-2"}


def test_a_field_of_bytes_arrives_as_bytes_whatever_it_was_given():
    large = memoryview(bytes(range(256)) * 1024)
    received = Ledger(TABLE).send("platform", "member-1", Results(1, large, memoryview(b""), [], memoryview(b"")))
    assert isinstance(received.header, bytes)
    assert received.header == large


def test_what_is_not_declared_does_not_cross():
    ledger = Ledger(TABLE)
    message = Results(1, b"", memoryview(b""), [], memoryview(b""))
    with pytest.raises(UndeclaredMessage, match="Results from member-1 to exchange"):
        ledger.send("member-1", "exchange", message)
    assert ledger.messages == []


def test_a_broken_message_is_refused_without_its_bytes():
    payload = encode(Results(1, b"secret", np.zeros(LARGE // 8).data, [], memoryview(b"")))
    with pytest.raises(MessageError) as refused:
        decode(payload[:-1], Results)
    assert "secret" not in str(refused.value)


RACE = """
import sys, threading
from typing import Annotated
import msgspec
{imports}
sys.setswitchinterval(1e-5)
def bounded(j):
    return Annotated[int, msgspec.Meta(ge=0, le=2**62 + j)] | None
kinds = [
    msgspec.defstruct(f"S{{i}}", [(f"f{{j}}", bounded(j)) for j in range(8)])
    for i in range(1500)
]
fields = {{f"f{{j}}": j for j in range(8)}}
together = threading.Barrier(2)
seen = []
def work():
    for kind in kinds:
        together.wait()
        seen.append({use})
threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(seen) == 3000 and all(message.f7 == 7 for message in seen)
"""
LEDGER = "from protocols.ledger import decode", "decode(msgspec.msgpack.encode(fields), kind)"
BODY = "from service.bodies import decode", "decode(msgspec.json.encode(fields), kind, 'application/json')"
QUERY = "from service.bodies import query", "query('&'.join(f'{k}={v}' for k, v in fields.items()).encode(), kind)"


@pytest.mark.parametrize(("imports", "use"), [LEDGER, BODY, QUERY], ids=["message", "body", "query"])
def test_threads_may_decode_a_kind_for_the_first_time_together(imports, use):
    """msgspec itself crashes the process at this, so the test has one of its own."""
    script = RACE.format(imports=imports, use=use)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_nothing_decodes_structs_but_by_what_prepares_them():
    """The race is seldom: a place that decodes by itself would crash where nobody looks."""
    root = Path(protocols.__file__).parents[1]
    files = [file for folder in ("protocols", "service", "hashing") for file in (root / folder).rglob("*.py")]
    own = [
        (file.name, line.strip())
        for file in files
        for line in file.read_text().splitlines()
        if "msgpack.decode(" in line
    ]
    assert [name for name, line in own if "type=dict[bytes, bytes]" not in line] == []  # plain types need no preparing
    assert len(files) > 80

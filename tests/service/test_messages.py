"""Messages of the lifecycle cross as msgpack and as JSON, and bad ones are refused by field."""

from datetime import UTC, date, datetime

import msgspec
import pytest

from protocols.base import MessageError
from protocols.ledger import decode, encode
from protocols.scan.enrolling_messages import SealedEntry, SignedReceipt
from service.messages import (
    Answered,
    CaseStatus,
    CheckFiles,
    NextPlanes,
    OpenCase,
    PlanesFrom,
    PlatformStatus,
    SignedErasure,
    StatusRequest,
    Upload,
    Verdicts,
)

STATUS = CaseStatus(
    "withdrawn",
    date(2026, 11, 22),
    0,
    4,
    1,
    [PlatformStatus("platform-1", datetime(2026, 11, 22, 18, 5, tzinfo=UTC), 3, 1, 0, 1)],
    [SignedReceipt(b"body", b"signature")],
    [2],
    SignedErasure(b"body", b"signature"),
)
OPEN = OpenCase("0123-4567-89AB-CDEF", bytes(range(32)), True, [SealedEntry(bytes(16), bytes(96), [b"a", b"b", b"c"])])


@pytest.mark.parametrize("message", [STATUS, OPEN, Upload("video", 9, [[bytes(16)]])])
def test_a_message_crosses_both_ways(message):
    assert decode(encode(message), type(message)) == message
    assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message


def test_people_read_days_and_times():
    text = msgspec.json.encode(STATUS).decode()
    assert '"opened_on":"2026-11-22"' in text
    assert '"searched_until":"2026-11-22T18:05:00Z"' in text


def test_a_repr_shows_neither_number_nor_pin():
    assert repr(OPEN) == "<OpenCase>"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Upload, {"kind": "audio", "frames": 1, "matched": []}),
        (Verdicts, {"sightings": [[bytes(16), "deleted"]]}),
        (Verdicts, {"sightings": [[bytes(17), "blocked"]]}),
        (Verdicts, {"sightings": [[bytes(16), "blocked"]] * 10_001}),
        (Upload, {"kind": "photo", "frames": 2**63, "matched": []}),
        (Upload, {"kind": "photo", "frames": 0, "matched": []}),
        (Upload, {"kind": "photo", "frames": 1, "matched": [[b"handle"]]}),
        (Answered, {"lists": [b"", b""], "pair": [1, 2**63]}),
        (Answered, {"lists": [b""], "pair": [1, 2]}),
        (NextPlanes, {"block": -1, "share": 1, "step": 1}),
        (NextPlanes, {"block": 0, "share": 4, "step": 1}),
        (NextPlanes, {"block": 0, "share": 1, "step": 2**62}),
        (PlanesFrom, {"first": 2**31}),
        (CheckFiles, {"paths": ["a\0b"]}),
        (CheckFiles, {"paths": [""]}),
        (StatusRequest, {"case": "a" * 65, "pin": bytes(32)}),
        (StatusRequest, {"case": "a", "pin": bytes(31)}),
        (SealedEntry, {"entry": bytes(17), "commitments": b"", "sealed": []}),
        (SealedEntry, {"entry": b"", "commitments": b"", "sealed": [b""] * 4}),
        (OpenCase, {"case": "a", "pin": bytes(32), "adult": "yes", "entries": []}),
        (OpenCase, {"case": "a", "pin": bytes(32), "entries": []}),
        (OpenCase, {"case": "a", "pin": bytes(32), "adult": True, "entries": [], "name": "me"}),
    ],
)
def test_what_does_not_fit_is_refused(kind, fields):
    with pytest.raises(MessageError):
        decode(msgspec.msgpack.encode(fields), kind)

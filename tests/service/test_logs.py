"""Whatever is logged, by whomever: only fields of the list come out, with values of their shape."""

import io
import json
import logging

import pytest

from service.logs import Event, JsonFormatter, log, set_up

SECRETS = [
    "7F3K-9QXM",  # a PIN
    "X7Q2-M4KP-9WZT-3HVB",  # a case number
    "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22",  # a fingerprint
    "c2VhbGVkIHNoYXJl",  # base64
    "203.0.113.7",
]


@pytest.fixture
def lines():
    """The lines that this process logs, as role member-2."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level, own = root.level, logging.getLogger("hushmatch").level
    stream = io.StringIO()
    set_up("member-2", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("hushmatch").setLevel(own)


def test_an_event_is_a_line_with_its_fields(lines):
    log(Event.REQUEST, endpoint="POST /cases/{case:token}", status=200, seconds=0.25, bytes=17)
    (line,) = lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "hushmatch",
        "role": "member-2",
        "event": "request",
        "endpoint": "POST /cases/{case:token}",
        "status": 200,
        "seconds": 0.25,
        "bytes": 17,
    }


@pytest.mark.parametrize("secret", SECRETS)
def test_no_value_gets_in_through_a_field(lines, secret):
    fields = ("event", "endpoint", "status", "seconds", "bytes", "incident", "pin", "body", "address", "fault", "role")
    for name in fields:
        logging.getLogger("hushmatch").info("x", extra={name: secret})
        logging.getLogger("hushmatch").info("x", extra={name: [secret]})
        logging.getLogger("hushmatch").info("x", extra={name: secret.encode()})
    log(Event.REQUEST, endpoint=f"GET /cases/{secret}", status=secret, extra_field=secret)
    assert len(lines()) == 3 * len(fields) + 1
    assert secret not in json.dumps(lines())


@pytest.mark.parametrize("secret", SECRETS)
def test_no_text_of_anybody_gets_in(lines, secret):
    for name in ("hushmatch", "uvicorn.error", "sqlalchemy.engine", "httpx"):
        logging.getLogger(name).error("failed for %s", secret)
        logging.getLogger(name).warning(f"failed for {secret}", stack_info=True)
        try:
            try:
                raise ValueError(secret)
            except ValueError as error:
                raise KeyError(secret) from error
        except KeyError:
            logging.getLogger(name).exception(secret)
    assert len(lines()) == 12
    assert secret not in json.dumps(lines())


def test_libraries_are_silent_below_warnings(lines):
    logging.getLogger("httpx").info("HTTP Request: POST http://127.0.0.1/cases")
    assert lines() == []


def _inner(value):
    raise ValueError(value)


def _outer(value):
    try:
        _inner(value)
    except ValueError as error:
        raise RuntimeError(value) from error


def test_of_an_exception_its_class_and_place_are_written(lines):
    try:
        _outer("secret")
    except RuntimeError as error:
        log(Event.INCIDENT, level=logging.ERROR, error=error, incident="00112233aabbccdd")
    (line,) = lines()
    assert line["incident"] == "00112233aabbccdd"
    assert line["level"] == "ERROR"
    first, second = line["fault"]
    assert first.startswith("RuntimeError: test_logs.py:")
    assert "_outer < test_logs.py:" in first
    assert second.startswith("ValueError: test_logs.py:")
    assert "_inner" in second


def test_a_loop_of_causes_ends():
    error = ValueError()
    error.__cause__ = KeyError()
    error.__cause__.__cause__ = error
    record = logging.LogRecord("hushmatch", logging.ERROR, "", 0, "", (), (ValueError, error, None))
    assert len(json.loads(JsonFormatter("x").format(record))["fault"]) == 4

"""A person's device: who says that they are under 18 is told where help is, and leaves no trace."""

import io
import json
import logging

import numpy as np
import pytest
from typer.testing import CliRunner

from service import cli, config, up
from service.client import Device
from service.errors import NotAdult
from service.exchange import ExchangeRole
from service.logs import JsonFormatter
from service.messages import CaseStatus, OpenCase
from tests.service.roles import _served, person, sealed_case, state

HELP = "https://takeitdown.ncmec.org"


@pytest.fixture
def exchange(tmp_path, cheap_scrypt):
    """An exchange behind its URL, and what it logs; no member is needed."""
    up.create(tmp_path / "all", first_port=0, parameter_set="INSECURE_TINY", batch=8)
    role = ExchangeRole(tmp_path / "all" / "exchange", config.load(tmp_path / "all" / "exchange", config.Settings))
    stream, logger = io.StringIO(), logging.getLogger("hushmatch")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("exchange"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with _served(role):
            yield role, stream
    finally:
        logger.removeHandler(handler)
        role.store.close()
        role.engine.dispose()


def on_disk(role):
    """What a dump of the exchange's database and every file of its folder hold."""
    with role.engine.connect() as connection:
        dump = "\n".join(connection.connection.driver_connection.iterdump()).encode()
    return dump + b"".join(path.read_bytes() for path in role.folder.rglob("*") if path.is_file())


def traces(case: OpenCase):
    """What of a case could have been kept, in the forms that a database or a log would hold."""
    sealed = [body for entry in case.entries for body in (entry.entry, entry.commitments, *entry.sealed)]
    secret = [*sealed, case.pin]
    return [*secret, *(body.hex().encode() for body in secret), case.case.encode(), case.case.replace("-", "").encode()]


def test_who_is_under_18_is_told_where_help_is_and_nothing_is_stored(exchange):
    role, log = exchange
    adult = sealed_case({"exchange": role}, np.random.default_rng(3).integers(0, 256, (2, 32), dtype=np.uint8))
    minor = OpenCase(adult.case, adult.pin, False, adult.entries)
    before, tables = state(role), on_disk(role)
    with pytest.raises(NotAdult, match=HELP):
        person({"exchange": role}).call("POST", "/cases", minor, kind=CaseStatus)
    assert state(role) == before
    assert role.cases.counts() == {}
    kept, logged = on_disk(role), log.getvalue()
    assert [trace for trace in traces(minor) if trace in kept or trace in logged.encode()] == []
    (line,) = map(json.loads, logged.splitlines())
    assert line.keys() == {"time", "level", "logger", "role", "event", "endpoint", "status", "seconds", "bytes"}
    assert (line["endpoint"], line["status"]) == ("POST /cases", 403)
    # The same search finds an adult's case, and the number is free.
    person({"exchange": role}).call("POST", "/cases", adult, kind=CaseStatus)
    assert any(trace in on_disk(role) for trace in traces(adult))
    assert not any(trace in tables for trace in traces(adult))


@pytest.mark.parametrize(("arguments", "typed"), [(["--not-adult"], ""), ([], "n\n")])
def test_the_device_asks_before_it_reads_a_file_or_calls_anybody(exchange, tmp_path, arguments, typed):
    role, log = exchange
    files = [str(tmp_path / "not-there.jpg")]
    client = ["--config", str(tmp_path / "all" / up.CLIENT)]
    done = CliRunner().invoke(cli.case, ["open", *arguments, *client, *files], input=typed)
    assert done.exit_code == 1
    assert HELP in done.output
    assert "Case number" not in done.output
    assert log.getvalue() == ""
    device = Device(config.load(tmp_path / "all" / up.CLIENT, config.Client))
    asked = log.getvalue()
    with pytest.raises(NotAdult, match=HELP):
        device.open_case(files, False)
    assert log.getvalue() == asked
    assert role.cases.counts() == {}

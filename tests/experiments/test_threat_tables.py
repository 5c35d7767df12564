"""THREAT_MODEL.md lists every message that a protocol declares, and every endpoint of the service."""

import pytest

from experiments import service_tables
from experiments.service_tables import ROLES, service_table
from experiments.threat_tables import THREAT_MODEL, with_tables
from protocols import available, create
from protocols.base import ConfigurationError
from service.endpoints import Endpoint

TEXT = THREAT_MODEL.read_text(encoding="utf-8")
HELP = "THREAT_MODEL.md does not show the protocols' messages as they are; run `make tables`"


def test_the_threat_model_is_up_to_date():
    assert with_tables(TEXT) == TEXT, HELP


def test_an_outdated_table_is_replaced_and_the_prose_kept():
    row = type(create("bfv")).messages[-1].function_of
    assert row in TEXT
    outdated = TEXT.replace(row, "something else")
    assert with_tables(outdated) == TEXT


def test_a_protocol_without_a_section_gets_one():
    text = with_tables("# Nothing yet\n")
    for name, capabilities in available().items():
        if capabilities.why_not is None:
            assert f"\n## {name}\n" in text
            assert capabilities.reveals in text


def test_every_endpoint_of_every_role_is_in_the_threat_model():
    table = service_table()
    assert table in TEXT
    for role in ROLES.values():
        for endpoint in role.endpoints(object.__new__(role)):
            assert f"| `{endpoint.method} {endpoint.template}` |" in table


def test_an_endpoint_that_is_told_nothing_of_fails_the_table(monkeypatch):
    member = ROLES["member"]
    more = [Endpoint("GET", "/shares", lambda call: None)]
    declared = member.endpoints
    monkeypatch.setattr(member, "endpoints", lambda self: [*declared(self), *more])
    with pytest.raises(ConfigurationError, match="GET /shares"):
        service_table()


def test_an_endpoint_that_is_gone_fails_the_table(monkeypatch):
    monkeypatch.setitem(service_tables.TOLD, ("member", "GET /gone"), ("nothing", "nothing"))
    with pytest.raises(ConfigurationError, match="GET /gone"):
        service_table()

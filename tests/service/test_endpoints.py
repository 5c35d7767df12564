"""Rows of the table that could not work are refused where they are written."""

import pytest

from protocols.base import ConfigurationError
from protocols.ledger import Message
from service.endpoints import Call, Endpoint


class Body(Message, frozen=True):
    pin: str


def _nothing(call):
    return None


@pytest.mark.parametrize(
    ("method", "path", "more", "says"),
    [
        ("PATCH", "/a", {}, "PATCH"),
        ("GET", "/a", {"request": Body}, "no body for GET"),
        ("GET", "a", {}, "lower-case"),
        ("GET", "/A", {}, "lower-case"),
        ("GET", "/{case}", {}, "lower-case"),
        ("GET", "/{case:int}", {}, "int"),
        ("GET", "/{case:path}", {}, "path"),
        ("GET", "/a", {"callers": "member"}, "callers"),
        ("GET", "/a", {"callers": {"members"}}, "members"),
    ],
)
def test_a_row_that_cannot_work_is_refused(method, path, more, says):
    with pytest.raises(ConfigurationError, match=says):
        Endpoint(method, path, _nothing, **more)


def test_a_row_names_itself_and_its_parameters():
    row = Endpoint("GET", "/blocks/{block:number}/{name:token}", _nothing)
    assert str(row) == "GET /blocks/{block:number}/{name:token}"
    assert row.parameters == [("block", "number"), ("name", "token")]
    assert row.template == "/blocks/{block}/{name}"


def test_a_call_does_not_show_what_it_carries():
    call = Call("client", "address", {"case": "secret"}, None, Body("secret"))
    assert repr(call) == "<Call of client>"

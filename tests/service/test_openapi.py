"""The document says what the table says."""

from typing import Annotated

import msgspec
import pytest

from protocols.ledger import Message
from service.endpoints import Endpoint
from service.errors import STATUS
from service.openapi import document


class Part(Message, frozen=True):
    """A part."""

    data: bytes


class Whole(Message, frozen=True):
    parts: list[Part]
    view: memoryview | None = None


class Page(Message, frozen=True):
    block: int
    first: Annotated[int, msgspec.Meta(ge=0)] = 0


ROWS = [
    Endpoint("POST", "/wholes", lambda call: None, Whole, summary="Keep it"),
    Endpoint("GET", "/wholes/{name:token}/{number:number}", lambda call: None, None, Whole, query=Page),
    Endpoint("PUT", "/wholes", lambda call: None, bytes, bytes, {"member", "exchange"}),
]


@pytest.fixture
def made():
    return document(ROWS, "Test", "1")


def test_a_body_is_declared_in_both_forms(made):
    post = made["paths"]["/wholes"]["post"]
    reference = {"schema": {"$ref": "#/components/schemas/Whole"}}
    assert post["requestBody"] == {
        "required": True,
        "content": {"application/json": reference, "application/msgpack": reference},
    }
    assert post["summary"] == "Keep it"
    assert "security" not in post
    assert set(post["responses"]) == {"204", "500"} | {str(status) for status in STATUS.values()}


def test_bytes_are_base64(made):
    schemas = made["components"]["schemas"]
    assert schemas["Part"]["properties"]["data"] == {"type": "string", "contentEncoding": "base64", "format": "byte"}
    assert schemas["Whole"]["properties"]["view"]["anyOf"][0]["format"] == "byte"
    assert schemas["Part"]["additionalProperties"] is False
    assert {"Part", "Whole", "Failure"} == set(schemas)


def test_parameters_are_declared_with_their_bounds(made):
    get = made["paths"]["/wholes/{name}/{number}"]["get"]
    by_name = {each["name"]: each for each in get["parameters"]}
    assert by_name["number"]["schema"]["maximum"] == 10**18 - 1
    assert by_name["name"]["schema"]["pattern"] == "^[A-Za-z0-9_-]{1,100}$"
    assert (by_name["block"]["in"], by_name["block"]["required"]) == ("query", True)
    assert (by_name["first"]["schema"]["minimum"], by_name["first"]["required"]) == (0, False)


def test_who_has_to_sign_is_said(made):
    put = made["paths"]["/wholes"]["put"]
    assert put["security"] == [{"signature": []}]
    assert "exchange, member" in put["description"]
    assert list(put["requestBody"]["content"]) == ["application/msgpack"]


def test_every_refusal_is_declared(made):
    responses = made["components"]["responses"]
    for kind, status in STATUS.items():
        assert kind.__name__ in responses[str(status)]["description"]
    assert responses["500"]["description"] == "Refused: ServerFault"

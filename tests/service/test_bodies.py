"""Bodies are decoded strictly, in both forms, and a refusal never quotes them."""

from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.base import MessageError
from protocols.ledger import Message
from service.bodies import JSON, MEDIA_TYPES, MSGPACK, accepted, decode, encode, media_type, query
from service.errors import NotAcceptable


class Inner(Message, frozen=True):
    data: bytes
    name: Annotated[str, msgspec.Meta(max_length=5)]


class Outer(Message, frozen=True):
    inner: list[Inner]
    number: int | None = None


@pytest.mark.parametrize("media", MEDIA_TYPES)
@given(data=st.binary(), name=st.text(max_size=5), number=st.none() | st.integers(-(2**63), 2**63 - 1))
def test_a_message_survives(media, data, name, number):
    message = Outer([Inner(data, name)], number)
    assert decode(encode(message, media), Outer, media) == message


@pytest.mark.parametrize("media", MEDIA_TYPES)
@given(payload=st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused_by_name(media, payload):
    try:
        decode(payload, Outer, media)
    except MessageError as error:
        assert str(error).startswith("Outer: ")  # noqa: PT017


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b'{"inner":[{"data":"AA==","name":5}]}', "Expected `str`, got `int` at $.inner[0].name"),
        (b'{"inner":[{"data":"AA==","name":"toolong"}]}', "Expected `str` of length <= 5 at $.inner[0].name"),
        (b'{"inner":[{"data":"AA=="}]}', "Object missing required field `name` at $.inner[0]"),
        (b'{"inner":[{"data":"tops3cret","name":"a"}]}', "do not decode to this message at $.inner[0].data"),
        (b'{"inner":[],"tops3cret":1}', "the bytes do not decode to this message"),
        (b'{"inner":[] tops3cret', "the bytes do not decode to this message"),
        (b'{"inner":"\xff\xfe"}', ""),
        (b"[" * 100_000, ""),
        (b'{"inner":' + b"[" * 100_000, ""),
    ],
)
def test_a_refusal_says_what_was_expected_and_where_and_never_quotes(payload, says):
    with pytest.raises(MessageError) as refused:
        decode(payload, Outer, JSON)
    assert says in str(refused.value)
    assert "tops3cret" not in str(refused.value)
    assert "toolong" not in str(refused.value)


class Query(Message, frozen=True):
    first: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    kind: str | None = None


def test_a_query_is_text_made_into_its_types():
    assert query(b"first=7&kind=a%20b", Query) == Query(7, "a b")
    assert query(b"", Query) == Query()
    assert query(b"", None) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"first=x",
        b"first=101",
        b"second=1",
        b"first=" + b"9" * 5000,
        b"first=1&first=2",
        b"first",
        b"&",
        b"=",
        b"kind=%ff",
        b"kind=\xff",
        b"&".join(b"kind=1" for _ in range(1000)),
    ],
)
def test_a_query_that_is_not_the_declared_one_is_refused(raw):
    with pytest.raises(MessageError):
        query(raw, Query)


def test_a_path_without_query_takes_none():
    with pytest.raises(MessageError, match="no query"):
        query(b"a=1", None)


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/msgpack", MSGPACK),
        ("text/html, application/msgpack;q=0.9, */*;q=0.1", MSGPACK),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/*", JSON),
    ],
)
def test_the_answer_has_a_type_that_the_caller_takes(accept, answer):
    assert accepted(accept, JSON) == answer


def test_a_caller_that_takes_neither_is_told():
    with pytest.raises(NotAcceptable, match=MSGPACK):
        accepted("text/html, image/png", JSON)


def test_parameters_of_a_content_type_do_not_matter():
    assert media_type("Application/JSON; charset=utf-8") == JSON
    assert media_type(None) == ""

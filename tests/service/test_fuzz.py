"""The hunters hunt: sample endpoints stand what they send, and faults that are put in are found."""

from typing import Annotated, Literal

import msgspec
import pytest

from protocols.base import StaleVersion
from protocols.ledger import Message, encode
from service.errors import WrongPin
from service.web import Endpoint
from tests.service import fuzz
from tests.service.keys import party, verifiers
from tests.service.serving import build

EXCHANGE, MEMBER = party("exchange"), party("member-1")
PARTIES = verifiers(EXCHANGE, MEMBER)


class Part(Message, frozen=True):
    data: bytes
    kind: Literal["photo", "video"]


class Case(Message, frozen=True):
    number: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{4}$")]
    parts: Annotated[list[Part], msgspec.Meta(max_length=4)]
    day: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] | None = None


class Page(Message, frozen=True):
    first: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    kind: Literal["photo", "video"] = "photo"


def _application(**handlers):
    kept = {}

    def keep(call):
        kept[call.message.number] = call.message
        return call.message

    def find(call):
        if call.query.first > 50:
            raise StaleVersion("the version is over")
        return Case("ABCD", [Part(b"\x00", call.query.kind)], call.path["day"] % 100)

    def refuse(call):
        raise WrongPin("no case has this number and this PIN")

    def step(call):
        return call.message

    defaults = {"keep": keep, "find": find, "refuse": refuse, "step": step}
    does = defaults | handlers
    rows = [
        Endpoint("POST", "/cases", does["keep"], Case, Case),
        Endpoint("GET", "/cases/{name:token}/{day:number}", does["find"], None, Case, query=Page),
        Endpoint("DELETE", "/cases", does["refuse"], Case),
        Endpoint("POST", "/steps", does["step"], bytes, bytes, {"member"}),
    ]
    return build(rows, EXCHANGE, PARTIES), lambda: dict(kept)


@pytest.mark.slow
@pytest.mark.parametrize("me", [None, MEMBER], ids=["client", "member"])
def test_sample_endpoints_stand_it(me):
    app, snapshot = _application()
    seen = fuzz.hunt(app, me=me, examples=100, snapshot=snapshot)
    statuses = {status for _, status in seen}
    assert statuses <= {200, 204, 400, 401, 403, 404, 405, 406, 409, 413, 414, 415}
    assert seen["POST /cases", 200] > 20
    assert seen["POST /cases", 400] > 20
    assert seen["GET /cases/{name}/{day}", 200] > 20
    assert seen["DELETE /cases", 403] > 20
    assert seen["POST /steps", 200 if me else 401] > 20
    assert ("POST /steps", 401 if me else 200) not in seen


def test_a_changed_body_is_taken_or_refused():
    app, _ = _application()
    body = encode(Case("ABCD", [Part(b"data" * 50, "photo")], 17))
    seen = fuzz.mutate(app, "POST", "/cases", body, examples=100)
    assert set(seen) == {200, 400}
    assert set(fuzz.mutate(app, "POST", "/steps", b"0123456789", me=MEMBER, examples=5)) == {200}


def _crash(call):
    raise KeyError(call.message.number)


def test_a_crash_is_found():
    app, _ = _application(keep=_crash)
    with pytest.raises(AssertionError, match="500"):
        fuzz.hunt(app, examples=5)
    with pytest.raises(AssertionError, match="500"):
        fuzz.mutate(app, "POST", "/cases", encode(Case("ABCD", [Part(bytes(200), "photo")])))


def test_a_refused_request_that_changes_something_is_found():
    calls = []

    def refuse(call):
        calls.append(call)
        raise WrongPin("no")

    app, _ = _application(refuse=refuse)
    skip = ("POST /cases", "GET /cases/{name}/{day}", "POST /steps")
    with pytest.raises(AssertionError, match="changed something"):
        fuzz.hunt(app, examples=5, snapshot=lambda: len(calls), skip=skip)

"""How many bytes one caller may have in a role's memory at once: bodies that are under way, and answers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import msgspec
import pytest

from service import web
from service.bodies import MSGPACK
from service.errors import Failure
from service.requests import outgoing
from service.web import Endpoint
from tests.service.keys import party, verifiers
from tests.service.serving import build, serving

EXCHANGE, MEMBER, PLATFORM = party("exchange"), party("member-2"), party("platform-a")
PARTIES = verifiers(EXCHANGE, MEMBER, PLATFORM)
BODY = bytes(5000)


class Stage:
    """Steps that wait until they may go on."""

    def __init__(self):
        self.begun, self.go, self.url = threading.Semaphore(0), threading.Event(), ""

    def step(self, call):
        self.begun.release()
        assert self.go.wait(20)
        return b"done"

    def send(self, me, body=BODY, path="/steps", chunked=False):
        _, signed = outgoing(me, "exchange", "POST", path, MSGPACK, body)
        sent = iter([body]) if chunked else body
        return httpx.post(self.url + path, content=sent, headers=signed | {"Accept": MSGPACK}, timeout=30)


@pytest.fixture
def stage(monkeypatch):
    monkeypatch.setattr(web, "CALLER_BYTES", 12_000)
    monkeypatch.setattr(web, "ADDRESS_BYTES", 7_000)
    stage = Stage()
    rows = [
        Endpoint("POST", "/steps", stage.step, bytes, bytes, max_bytes=5000),
        Endpoint("POST", "/large", lambda call: bytes(10_000), bytes, bytes, max_bytes=5000),
        Endpoint("POST", "/huge", lambda call: bytes(12_001), bytes, bytes, max_bytes=5000),
    ]
    with serving(build(rows, EXCHANGE, PARTIES)) as stage.url:
        yield stage
        stage.go.set()


def refused(answer):
    assert answer.status_code == 429
    failure = msgspec.msgpack.decode(answer.content, type=Failure)
    assert failure.error == "LimitReached"
    assert failure.retry_after == float(answer.headers["Retry-After"]) == 5
    return failure.detail


@pytest.mark.parametrize(("me", "fitting"), [(PLATFORM, 2), (None, 1)])
def test_who_has_too_much_under_way_is_told_to_come_again_and_others_are_served(stage, me, fitting):
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(stage.send, me) for _ in range(fitting)]
        for _ in waiting:
            assert stage.begun.acquire(timeout=20)
        detail = f"hold {5000 * fitting} bytes, and 5000 more came"
        assert detail in refused(stage.send(me))
        assert detail in refused(stage.send(me, b"small", chunked=True))  # who does not say how much, may send all
        waiting += [pool.submit(stage.send, MEMBER), pool.submit(stage.send, me, b"small")]
        for _ in range(2):
            assert stage.begun.acquire(timeout=20)
        stage.go.set()
        assert [one.result().status_code for one in waiting] == [200] * (fitting + 2)
    for _ in range(5):  # what is answered does not count any more
        assert stage.send(me).status_code == 200


def test_an_answer_counts_too(stage):
    assert len(stage.send(PLATFORM, b"x", "/large").content) == 10_000
    assert "12001 more came; 12000 at once are taken" in refused(stage.send(PLATFORM, b"x", "/huge"))
    assert refused(stage.send(PLATFORM, BODY, "/large"))


def test_a_broken_off_body_counts_no_more(stage):
    stage.go.set()
    for _ in range(5):
        _, signed = outgoing(PLATFORM, "exchange", "POST", "/steps", MSGPACK, BODY)
        with pytest.raises(httpx.WriteError):
            httpx.post(stage.url + "/steps", content=_breaking(), headers=signed | {"Content-Length": "5000"})
    assert stage.send(PLATFORM).status_code == 200


def _breaking():
    yield BODY[:100]
    raise httpx.WriteError("gone")

"""Fuzz an application by its own OpenAPI document: whatever comes, it answers as declared and by name.

`hunt(app)` is for any role: schemathesis makes requests that fit the document and requests that don't, as a client or
signed by a party; `mutate(app, ...)` sends valid bodies with bytes changed. Both raise AssertionError.
"""

import json
from collections import Counter

import msgspec
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.transport import Response
from schemathesis.python import asgi
from schemathesis.specs.openapi import checks

from service.bodies import JSON, MSGPACK, media_type
from service.errors import STATUS, Failure
from service.requests import SIGNATURE, outgoing

NAMES = {kind.__name__ for kind in STATUS}
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.allow_header_conformance,
    checks.negative_data_rejection,
]
SETTINGS = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@schemathesis.serializer(MSGPACK)
def _msgpack(context, value):
    """Whatever schemathesis made of the schema, as msgpack; what msgpack can't hold goes as JSON and is refused."""
    if isinstance(value, bytes):
        return value
    if hasattr(value, "data"):
        return bytes(value.data)
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, OverflowError, UnicodeEncodeError, msgspec.MsgspecError):
        return json.dumps(value, default=str).encode()


def signing(app, me, receiver):
    """`app` as `me` calls it: every request gets a signature that is right for what it is."""

    async def signed(scope, receive, send):
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        query = scope["query_string"]
        target = (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")
        sent = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        _, headers = outgoing(me, receiver, scope["method"], target, sent.get("content-type", ""), body)
        sent |= {name.lower(): value for name, value in headers.items()}
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent.items()]

        async def again():
            return {"type": "http.request", "body": body, "more_body": False}

        await app(scope | {"headers": pairs}, again, send)

    return signed


def check_refusal(status, headers, content, away=()):
    """An answer of 400 and more is a named refusal; one of 500 and more only if its status is in `away`."""
    assert status < 500 or status in away, f"{status}: {content[:300]!r}"
    assert b"Traceback" not in content
    if status >= 400:
        decode = msgspec.json.decode if media_type(headers["content-type"]) == JSON else msgspec.msgpack.decode
        failure = decode(content, type=Failure)
        assert failure.error in NAMES
        assert failure.detail


def hunt(app, *, me=None, receiver="exchange", examples=50, snapshot=None, away=(), skip=(), start=None):
    """Counter of (endpoint, status) over `examples` fitting and as many unfitting requests an endpoint.

    me: the party that signs; None for a client. snapshot: state that no refused request may change. away: statuses from
    500 on that are fine, as 503 where no member runs. skip: labels of endpoints, "GET /health", to leave out.
    start: another number for other requests.
    """
    document = _document(app, me, receiver)
    seen = Counter()
    for result in document.get_all_operations():
        operation = result.ok()
        if operation.label in skip:
            continue
        for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
            try:
                one = _hunter(operation.as_strategy(generation_mode=mode), operation.label, snapshot, away, seen)
                _settled(one, examples, start)()
            except Unsatisfiable:
                if mode is GenerationMode.POSITIVE:
                    raise  # else: there is nothing about this endpoint that could be wrong
    return seen


def _document(app, me, receiver):
    if me is None:
        return schemathesis.openapi.from_asgi("/openapi.json", app)
    with asgi.get_client(app) as client:
        raw = client.get("/openapi.json").json()
    for path in raw["paths"].values():
        for operation in path.values():
            operation.pop("security", None)  # `signing` sees to it
    document = schemathesis.openapi.from_dict(raw)
    document.app = signing(app, me, receiver)
    return document


def _settled(test, examples, start):
    """The test with so many examples: always the same, or those of `start`."""
    return settings(SETTINGS, max_examples=examples, derandomize=start is None)(
        test if start is None else seed(start)(test)
    )


def _hunter(requests, label, snapshot, away, seen):
    @given(case=requests)
    def one(case):
        before = snapshot() if snapshot else None
        response = case.call()
        seen[label, response.status_code] += 1
        _check(response, away)
        refused = response.status_code in (413, 414)  # too long: to that check, no refusal
        known = [check for check in CHECKS if not (refused and check is checks.negative_data_rejection)]
        case.validate_response(response, checks=known)
        if snapshot and response.status_code >= 400:
            assert snapshot() == before, f"{label}: a refused request changed something"

    return one


def _check(response: Response, away):
    headers = {name.lower(): values[0] for name, values in response.headers.items()}
    check_refusal(response.status_code, headers, response.content, away)
    assert SIGNATURE.lower() in headers


def mutate(app, method, path, body, *, me=None, receiver="exchange", examples=100, snapshot=None, away=(), start=None):
    """Counter of statuses for a valid msgpack body of which bytes are flipped, dropped, doubled or cut off."""
    client = asgi.get_client(app if me is None else signing(app, me, receiver))
    seen = Counter()

    @given(st.integers(0, len(body) - 1), st.integers(0, 255), st.sampled_from(["set", "drop", "double", "cut"]))
    def one(place, value, how):
        changed = {
            "set": body[:place] + bytes([value]) + body[place + 1 :],
            "drop": body[:place] + body[place + 1 :],
            "double": body[:place] + body[place : place + 1 + value] + body[place:],
            "cut": body[:place],
        }[how]
        before = snapshot() if snapshot else None
        answer = client.request(method, path, data=changed, headers={"Content-Type": MSGPACK})
        seen[answer.status_code] += 1
        check_refusal(answer.status_code, answer.headers, answer.content, away)
        if snapshot and answer.status_code >= 400:
            assert snapshot() == before, f"{path}: a refused request changed something"

    with client:
        _settled(one, examples, start)()
    return seen

"""Whatever comes over HTTP, real roles answer it by name, and what they refuse changes nothing."""

import asyncio
import base64
import os
import random
import time
from collections import Counter, OrderedDict

import httpx
import msgspec
import numpy as np
import pytest

from protocols.base import ReplayError
from protocols.ledger import encode
from service import pins, steps
from service.bodies import MSGPACK
from service.cases import Cases
from service.errors import LimitReached, WrongPin
from service.messages import CaseStatus, OpenCase, Sighted, StatusRequest, Upload, Verdicts, WithdrawalRequest
from service.pins import case_id, new_number
from service.requests import outgoing
from service.role import RATES
from tests.service import fuzz
from tests.service.roles import deployed, person, sealed_case, state, wait_for

AWAY = (503,)  # a key that is not made yet, a member that is away
ROLES = ("exchange", "member-1", "platform-1")
SECONDS = float(os.environ.get("HUSHMATCH_FUZZ_SECONDS", "600"))  # .ci/run takes fewer
CALLERS = (None, "exchange", "member-2", "platform-1")


@pytest.fixture(scope="module", autouse=True)
def cheap_pins():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pins, "PIN_LOG_N", 1)
        yield


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    """Roles that nobody drives, with a case that waits and a key that is not made."""
    with deployed(tmp_path_factory.mktemp("idle") / "up", served=False) as roles:
        rng = np.random.default_rng(5)
        roles["exchange"].cases.open(sealed_case(roles, rng.integers(0, 256, (2, 32), dtype=np.uint8)))
        yield roles


class Recorder:
    """Notes every honest step on its way to the members, per step the first few."""

    def __init__(self):
        self.bodies = {}

    def note(self, member, caller, step, body):
        self.bodies.setdefault((step, caller), []).append((member, body))


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """(roles, recorder, message): a deployment after key, a case, its block and a scan; every step was recorded."""
    recorder, call = Recorder(), steps.call

    def recorded(member, parties, me, step, caller, body):
        recorder.note(me.name, caller, step.name, body)
        return call(member, parties, me, step, caller, body)

    with pytest.MonkeyPatch.context() as patch, deployed(tmp_path_factory.mktemp("lived") / "up") as roles:
        patch.setattr("service.member.call", recorded)
        exchange = roles["exchange"]
        hashes = np.random.default_rng(6).integers(0, 256, (3, 32), dtype=np.uint8)
        message = sealed_case(roles, hashes)
        wait_for(lambda: exchange.committee_key is not None)
        people = person(roles)
        people.call("POST", "/cases", message, kind=CaseStatus)
        wait_for(lambda: exchange.exchange.published.all() and not exchange.exchange.stale())
        platform = roles["platform-1"]
        handles = [handle for _, handle in platform.scan(hashes[:2])]
        assert len(handles) == 2
        found = exchange.finds.sighted("platform-1", Sighted([Upload("photo", 1, [handles])]))
        exchange.finds.feedback("platform-1", Verdicts([(found.uploads[0][0], "blocked")]))
        exchange._stop.set()  # from here on the steward changes nothing
        yield roles, recorder, message


def me(roles, caller):
    return None if caller is None else roles[caller].identity


@pytest.mark.parametrize(
    ("name", "caller"),
    [
        ("exchange", None),
        ("exchange", "platform-1"),
        ("member-1", "exchange"),
        ("member-1", None),
        ("platform-1", "platform-1"),
    ],
)
def test_requests_of_any_kind_to_a_fresh_role(idle, name, caller):
    role = idle[name]
    seen = fuzz.hunt(
        role.app(), me=me(idle, caller), receiver=name, examples=2, snapshot=lambda: state(role), away=AWAY
    )
    assert {status for _, status in seen} <= {200, 204, 400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 422, 503}


@pytest.mark.slow
@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", ROLES)
def test_requests_of_any_kind_at_length(lived, name, caller):
    """SECONDS in all, over the roles and callers."""
    roles, _, _ = lived
    role, until, seen = roles[name], time.monotonic() + SECONDS / len(ROLES) / len(CALLERS), Counter()
    while time.monotonic() < until:
        seen += fuzz.hunt(
            role.app(),
            me=me(roles, caller),
            receiver=name,
            examples=40,
            snapshot=lambda: state(role),
            away=AWAY,
            start=random.getrandbits(32),
        )
    print(name, caller, sorted(seen.items()))
    assert seen.total() > 500


def _mutants(lived, examples, start=None):
    roles, recorder, _ = lived
    seen = Counter()
    for (step, caller), calls in sorted(recorder.bodies.items()):
        for member, body in calls[:1]:
            role = roles[member]
            got = fuzz.mutate(
                role.app(),
                "POST",
                f"/steps/{step}",
                body,
                me=roles[caller].identity,
                receiver=member,
                examples=examples,
                snapshot=lambda role=role: state(role),
                away=AWAY,
                start=start,
            )
            seen += Counter({(step, status): count for status, count in got.items()})
    return seen


@pytest.mark.slow
def test_honest_steps_with_bytes_changed(lived):
    seen = _mutants(lived, 30)
    assert len({step for step, _ in seen}) > 25
    print(sorted(seen.items()))


def test_a_case_of_used_entries_is_refused_and_one_that_fails_holds_up_no_other(lived):
    roles, _, _ = lived
    exchange, people = roles["exchange"], person(roles)
    rng = np.random.default_rng(7)

    def fresh():
        return sealed_case(roles, rng.integers(0, 256, (1, 32), dtype=np.uint8))

    def status(message):
        return people.call("POST", "/cases/status", StatusRequest(message.case, message.pin), kind=CaseStatus).status

    first = fresh()
    people.call("POST", "/cases", first, kind=CaseStatus)
    people.call("POST", "/cases/withdraw", WithdrawalRequest(first.case, first.pin), kind=CaseStatus)
    exchange.steward.once()
    assert status(first) == "deleted"
    before = state(exchange)
    with pytest.raises(ReplayError, match="enrolled before"):
        people.call("POST", "/cases", OpenCase(new_number(), os.urandom(32), True, first.entries), kind=CaseStatus)
    assert state(exchange) == before

    stuck = fresh()  # by an id that members know and the exchange does not, as after a restore
    roles["member-2"].member.custody._seen[stuck.entries[0].entry] = b""
    garbage = fresh()
    garbage = msgspec.structs.replace(
        garbage, entries=[msgspec.structs.replace(garbage.entries[0], sealed=[b"", b"x" * 1200, bytes(1 << 14)])]
    )
    good = fresh()
    for message in (stuck, garbage, good):
        people.call("POST", "/cases", message, kind=CaseStatus)
    exchange.steward._fresh = False
    exchange.steward.once()
    assert (status(stuck), status(garbage), status(good)) == ("received", "refused", "active")
    people.call("POST", "/cases/withdraw", WithdrawalRequest(stuck.case, stuck.pin), kind=CaseStatus)
    exchange.steward.once()
    assert status(stuck) == "deleted"


def _opened(roles, seed):
    message = sealed_case(roles, np.random.default_rng(seed).integers(0, 256, (1, 32), dtype=np.uint8))
    person(roles).call("POST", "/cases", message, kind=CaseStatus)
    return message


def _wrong(message, count):
    return [{"case": message.case, "pin": base64.b64encode(os.urandom(32)).decode()} for _ in range(count)]


async def _flood(url, bodies, meanwhile):
    """(statuses of all, what `meanwhile` gave): it runs in a thread while the requests are on their way."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60.0, trust_env=False) as client:
        sent = [asyncio.ensure_future(client.post(f"{url}/cases/withdraw", json=body)) for body in bodies]
        await asyncio.sleep(1.0)
        done = await asyncio.to_thread(meanwhile)
        pending = sum(not each.done() for each in sent)
        answers = await asyncio.gather(*sent)
    return Counter((answer.status_code, answer.json()["error"]) for answer in answers), done, pending


def test_who_knows_a_number_cannot_keep_its_person_from_withdrawing(lived, monkeypatch):
    """Ten wrong PINs, then 100 that wait at once, then far more than an address may send; all from one address."""
    roles, _, _ = lived
    exchange, people = roles["exchange"], person(roles)
    url = f"http://{exchange.settings.listen}"
    monkeypatch.setattr(pins, "LONGEST_DELAY", 0.05)
    message = _opened(roles, 11)
    before = state(exchange)
    for _ in range(10):
        with pytest.raises(WrongPin):
            people.call("POST", "/cases/withdraw", WithdrawalRequest(message.case, os.urandom(32)), kind=CaseStatus)
    assert state(exchange) == before
    monkeypatch.setattr(pins, "LONGEST_DELAY", 5.0)
    asked = StatusRequest(message.case, message.pin)

    def timed(path, asked):
        started = time.perf_counter()
        return people.call("POST", path, asked, kind=CaseStatus), time.perf_counter() - started

    answers, (status, seconds), pending = asyncio.run(
        _flood(url, _wrong(message, 100), lambda: timed("/cases/status", asked))
    )
    assert answers == {(403, "WrongPin"): 100}
    assert status.status == "received"
    assert pending > 80
    assert seconds < 5
    assert state(exchange) == before

    monkeypatch.setattr(pins, "LONGEST_DELAY", 1.0)
    monkeypatch.setattr(exchange.limits, "rates", RATES)
    monkeypatch.setattr(exchange.limits, "_full", OrderedDict())
    withdrawal = WithdrawalRequest(message.case, message.pin)
    answers, (status, _), _ = asyncio.run(
        _flood(url, _wrong(message, 200), lambda: timed("/cases/withdraw", withdrawal))
    )
    assert answers.keys() == {(403, "WrongPin"), (429, "LimitReached")}
    assert status.status in ("withdrawn", "deleted")


def test_a_right_pin_counts_for_no_limit_and_a_wrong_one_does(lived):
    roles, _, _ = lived
    message = _opened(roles, 12)
    cases = Cases(roles["exchange"].engine, roles["exchange"].sealer, max_entries=9)  # as after a restart

    def full():
        raise LimitReached("too many", 1.0)

    assert cases.check_pin(message.case.lower(), message.pin, "here", full) == case_id(message.case)
    with pytest.raises(LimitReached):
        cases.check_pin(message.case, os.urandom(32), "here", full)


def test_replayed_unsigned_expired_oversized_and_malformed_requests_are_refused_by_name(lived, monkeypatch):
    roles, _, _ = lived
    exchange = roles["exchange"]
    url = f"http://{exchange.settings.listen}"
    platform = roles["platform-1"].identity
    body = encode(Verdicts([]))
    before = state(exchange)

    def ask(path, body, headers, error, status):
        answer = httpx.post(url + path, content=body, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]) == (status, error)
        fuzz.check_refusal(answer.status_code, answer.headers, answer.content)
        assert state(exchange) == before

    json_ = {"Accept": "application/json", "Content-Type": MSGPACK}
    ask("/verdicts", body, json_, "Unauthenticated", 401)
    ask("/cases/status", b"x" * 1025, json_, "TooLarge", 413)
    ask("/cases/status", b"\xc1", json_, "MessageError", 400)
    ask("/cases/status", encode(StatusRequest("a", bytes(32))), json_, "InputError", 422)
    ask("/cases/status", b"{}", {"Content-Type": "text/plain"}, "UnsupportedMediaType", 415)

    def signed(path="/verdicts", me=platform, body=body):
        return outgoing(me, "exchange", "POST", path, MSGPACK, body)[1] | {"Accept": "application/json"}

    once = signed()
    assert httpx.post(f"{url}/verdicts", content=body, headers=once, trust_env=False).status_code == 204
    ask("/verdicts", body, once, "ReplayError", 409)
    ask("/verdicts", encode(Verdicts([(bytes(16), "blocked")])), signed(), "IntegrityError", 409)  # another body
    ask("/sightings", body, signed(), "Unauthenticated", 401)  # another path
    ask("/verdicts", body, signed(me=roles["member-1"].identity), "Forbidden", 403)
    with monkeypatch.context() as past:
        then = time.time() - 500
        past.setattr("service.requests.time.time", lambda: then)
        old = signed()
    ask("/verdicts", body, old, "Unauthenticated", 401)
    ask("/verdicts", body, {**signed(), "Hushmatch-Signature": "AAAA"}, "Unauthenticated", 401)

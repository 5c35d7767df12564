"""The blinded index as a whole: what crosses, what it costs, what happens when somebody cheats."""

import numpy as np
import pytest

from protocols import create
from protocols.base import BudgetExceeded, InputError, IntegrityError
from protocols.blind.checker import Checker
from protocols.blind.client import Client
from protocols.blind.exchange import Exchange
from protocols.blind.group import ElementError
from protocols.blind.keys import NUMBERS
from protocols.blind.member import Member
from protocols.blind.messages import EvaluatedElements, MatchReport
from protocols.blind.parameters import Parameters
from protocols.ledger import role_of

SMALL = {"bands": 64, "entry_tokens": 16, "query_tokens": 16}


def photos(rng, count, noise=0.1):
    signal = rng.standard_normal((count, 256))
    copy = signal + noise * rng.standard_normal(signal.shape)
    return (np.packbits(signal > 0, axis=1), signal), (np.packbits(copy > 0, axis=1), copy)


@pytest.mark.parametrize("proofs", [True, False])
def test_copies_match_with_margins_and_any_pair_of_members(rng, proofs):
    p = create("blind", proofs=proofs, bands=256, entry_tokens=64, query_tokens=64, threads=2)
    (bank, margins), (queries, copies) = photos(rng, 24)
    cases = [f"case-{n // 2}" for n in range(24)]
    p.enroll(cases, bank, margins)
    oracle = create("plaintext")
    oracle.enroll(cases, bank)
    found = p.match(queries, copies)
    assert set(found) <= set(oracle.match(queries))
    assert len(found) >= 15
    members = {message.receiver for message in p.ledger.messages if message.kind == "BlindedElements"}
    assert members == {"member-1", "member-2", "member-3"}


def test_the_number_of_evaluations_says_nothing_about_the_query(rng):
    p = create("blind", **SMALL)
    (bank, margins), _ = photos(rng, 3)
    p.enroll(["a", "b", "c"], bank, margins)
    sizes = set()
    for query, known in (
        (bank[:1], margins[:1]),
        (bank[:1], None),
        (np.zeros((1, 32), np.uint8), np.zeros((1, 256))),
        (rng.integers(0, 256, (1, 32), dtype=np.uint8), rng.standard_normal((1, 256)) ** 9),
    ):
        start = len(p.ledger.messages)
        p.match(query, known)
        sizes.add(tuple(sorted(m.size for m in p.ledger.messages[start:] if m.kind.endswith("Elements"))))
    assert len(sizes) == 1


def test_members_and_exchange_see_no_bits(rng):
    p = create("blind", record=True, **SMALL)
    (bank, margins), _ = photos(rng, 4)
    p.enroll(list("abcd"), bank, margins)
    p.match(bank, margins)
    seen = b"".join(m.payload for m in p.ledger.messages)
    for row in bank:
        assert row.tobytes() not in seen
        assert row.tobytes()[:8] not in seen
    blinded = [m.payload for m in p.ledger.received_by("member") if m.kind == "BlindedElements"]
    elements = [payload[-32 * n : len(payload) - 32 * (n - 1)] for payload in set(blinded) for n in range(1, 17)]
    assert len(set(elements)) == len(elements)  # nothing repeats between enrolment and query of one fingerprint


def test_the_platform_learns_slots_and_not_cases(rng):
    p = create("blind", record=True, **SMALL)
    (bank, margins), _ = photos(rng, 2)
    p.enroll(["a secret case number", "another"], bank, margins)
    p.match(bank, margins)
    assert not any(b"secret" in m.payload for m in p.ledger.received_by("platform"))


def test_a_lying_member_spoils_enrolment_without_leaving_anything(rng, monkeypatch):
    p = create("blind", **SMALL)
    (bank, margins), _ = photos(rng, 4)
    honest = p._members[2].evaluate

    def lie(requester, request):
        answer = honest(requester, request)
        return EvaluatedElements(answer.elements[32:64] * 2 + answer.elements[64:], answer.proof)

    monkeypatch.setattr(p._members[2], "evaluate", lie)
    with pytest.raises(IntegrityError, match="member-2"):
        p.enroll(list("abcd"), bank, margins)
    monkeypatch.undo()
    before = len(p._platform.table)
    p.enroll(list("abcd"), bank, margins)
    assert len(p._platform.table) == before + 4 * 16


def test_a_member_that_answers_garbage_is_named(rng, monkeypatch):
    p = create("blind", proofs=False, **SMALL)
    monkeypatch.setattr(p._members[1], "evaluate", lambda *_: EvaluatedElements(b"\xff" * 32 * 16, b""))
    with pytest.raises(ElementError, match="member-1"):
        p.match(rng.integers(0, 256, (1, 32), dtype=np.uint8))


def test_the_budget_stops_match_with_the_time_to_wait(rng):
    p = create("blind", budget=200, window=3600.0, **SMALL)
    hashes = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    with pytest.raises(BudgetExceeded) as error:
        p.match(hashes for _ in range(100))
    assert 0 < error.value.retry_after <= 3600


def test_progress_counts_up_to_the_number_of_entries(rng):
    calls = []
    p = create("blind", progress=lambda *call: calls.append(call), bands=64, entry_tokens=64, query_tokens=16)
    p.enroll(["a"] * 40, rng.integers(0, 256, (40, 32), dtype=np.uint8))
    done = [call[1] for call in calls if call[0] == "enroll"]
    assert done == sorted(done)
    assert len(done) == 3
    assert calls[-1] == ("enroll", 40, 40)


def test_withdrawal_reaches_exchange_and_platform(rng):
    """Either alone would stop the matches."""
    p = create("blind", **SMALL)
    (bank, margins), _ = photos(rng, 3)
    p.enroll(["a", "b", "a"], bank, margins)
    p.withdraw("a")
    assert p._exchange._cases == {1: "b"}
    assert len(p._platform.table) == 16
    assert p._platform._entries.any(axis=1).tolist() == [False, True, False]
    assert [pair.case for pair in p.match(bank, margins)] == ["b"]


def test_what_crosses_is_the_table_and_all_of_it(rng):
    p = create("blind", **SMALL)
    (bank, margins), _ = photos(rng, 1)
    p.enroll(["a"], bank, margins)
    p.match(bank, margins)
    p.withdraw("a")
    crossed = {(m.kind, role_of(m.sender), role_of(m.receiver)) for m in p.ledger.messages}
    assert crossed == {(row.kind.__name__, row.sender, row.receiver) for row in p.messages}


def test_entries_are_of_the_epoch_of_the_members_key(rng):
    parameters = Parameters(**SMALL, proofs=False)
    ceremonies = {number: Member(number, parameters, epoch=7) for number in NUMBERS}
    digests = {n: m.ceremony.digest for n, m in ceremonies.items()}
    others = {n: set(NUMBERS) - {n} for n in NUMBERS}
    public = {n: m.ceremony.commitments({o: digests[o] for o in others[n]}) for n, m in ceremonies.items()}
    manifests = {
        n: m.finish_ceremony(
            {o: public[o] for o in others[n]}, {o: ceremonies[o].ceremony.share_for(n) for o in others[n]}
        )
        for n, m in ceremonies.items()
    }
    client, platform, exchange = Client(parameters, manifests), Checker(parameters, manifests), Exchange(parameters)
    exchange.pin(manifests)
    hashes = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    kept, request = client.request(hashes, None)
    answers = {n: ceremonies[n].evaluate("client", request) for n in request.members}
    update = exchange.add([client.seal(kept, answers, ["a"])])
    assert update.epoch == 7
    platform.update(update)
    query, request = platform.request(hashes, None)
    answers = {n: ceremonies[n].evaluate("platform", request) for n in request.members}
    assert platform.finish(query, answers) == ([0], MatchReport([0], []))


def test_names_may_be_numpys(rng):
    p = create("blind", **SMALL)
    (bank, margins), _ = photos(rng, 2)
    p.enroll(np.array(["a", "b"]), bank, margins)
    p.withdraw(np.array(["a"])[0])
    assert [pair.case for pair in p.match(bank, margins)] == ["b"]


def test_threads_change_nothing_but_the_time(rng):
    (bank, margins), (queries, copies) = photos(rng, 20)
    found = []
    for threads in (1, 4):
        p = create("blind", bands=256, entry_tokens=64, query_tokens=64, threads=threads)
        p.enroll([str(n) for n in range(20)], bank, margins)
        found.append(p.match(queries, copies))
    assert found[0] == found[1] != []


def test_margins_must_fit_and_come_with_one_array(rng):
    p = create("blind", **SMALL)
    (bank, margins), _ = photos(rng, 2)
    with pytest.raises(InputError, match="margins"):
        p.enroll(["a", "b"], bank, margins[:1])
    with pytest.raises(InputError, match="margins"):
        p.match(bank, margins[:, :64])
    with pytest.raises(InputError, match="one array"):
        p.match(iter([bank]), margins)
    assert p.match(bank) == []


def test_entries_reported_as_broken_are_known_to_the_exchange(rng):
    p = create("blind", **SMALL)
    (bank, margins), _ = photos(rng, 2)
    p.enroll(["a", "b"], bank, margins)
    p._platform._entries[0, 20] ^= 1
    assert [pair.case for pair in p.match(bank, margins)] == ["b"]
    assert p._exchange.broken == {0}

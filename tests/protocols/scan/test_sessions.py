"""Sessions: members take what a platform signed, once, within budgets; each check shown to be needed."""

import numpy as np
import pytest

from protocols.base import BudgetExceeded, IntegrityError, MessageError, ReplayError, StaleVersion
from protocols.ledger import decode
from protocols.scan import budgets
from protocols.scan import sessions as module
from protocols.scan.matching_messages import ScanHeader, ScanResults, SignedHeader
from protocols.scan.sealing import Identity, digest
from tests.protocols.scan.answers import (
    ZERO,
    agree,
    compare,
    finish,
    sessions,
    share,
    start,
    stock,
    with_entries,
)
from tests.protocols.scan.parties import changed, crossed, flipped, scan, tampered, unharmed


@pytest.fixture
def bank():
    return with_entries(np.random.default_rng(20))


HEADERS = [
    ({"pair": [1, 3]}, 2, MessageError, "not for member-2"),
    ({"pair": [2, 2]}, 2, MessageError, "no pair of members"),
    ({"pair": [1, 2, 1]}, 1, MessageError, "not for member"),
    ({"pair": [1, 2, 3]}, 2, MessageError, r"not for member|no pair"),
    ({"pair": [7, 2]}, 2, MessageError, "no pair"),
    ({"batch": 7}, 1, MessageError, "batch of another size"),
    ({"platform": "platform-2"}, 1, MessageError, "names another platform"),
    ({"epoch": 2}, 1, StaleVersion, "epoch 2"),
    ({"version": 0}, 1, StaleVersion, "version 0"),
    ({"version": 2}, 1, StaleVersion, "version 2"),
    ({"block": 9}, 1, StaleVersion, "block 9"),
    ({"block_digest": bytes(32)}, 1, StaleVersion, "not the one that was signed"),
    ({"session": b"short"}, 1, MessageError, "not for"),
    ({"c1_digest": bytes(32)}, 1, IntegrityError, "not the ones"),
    ({"c0_digest": bytes(32)}, 1, IntegrityError, "not the ones"),
]


@pytest.mark.parametrize(("fields", "member", "error", "word"), HEADERS)
def test_a_header_that_does_not_fit_is_refused(bank, fields, member, error, word):
    _, to_a, to_b = start(bank.protocol, **fields)
    with pytest.raises(error, match=word):
        bank.protocol._members[member].sessions.receive_results("platform-1", to_a if member == 1 else to_b)
    unharmed(bank.protocol, bank.oracle, bank.rng)


def test_a_header_for_another_order_of_the_pair_is_refused(bank):
    """A is told (1, 2) and B (2, 1), so that both would play A: they compare headers first."""
    session, to_a, _ = start(bank.protocol)
    a, b = sessions(bank.protocol)
    mine = a.receive_results("platform-1", to_a)
    header = changed(decode(to_a.header.body, ScanHeader), pair=[2, 1])
    theirs = b.receive_results(
        "platform-1", changed(to_a, header=bank.protocol._checker._identity.sign(header, SignedHeader))
    )
    with pytest.raises(IntegrityError, match="gave member-2 another header"):
        a.receive_header(2, theirs)
    with pytest.raises(IntegrityError, match="gave member-1 another header"):
        b.receive_header(1, mine)
    for side in (a, b):
        with pytest.raises(ReplayError, match="not compared headers"):
            side.partial(session)
    unharmed(bank.protocol, bank.oracle, bank.rng)


def test_members_given_different_c1_notice_and_without_comparing_share_garbage(bank, monkeypatch):
    protocol = bank.protocol

    def other_c1(message):
        c1 = np.frombuffer(message.c1, dtype=np.uint64).copy()
        c1.reshape(protocol._batch, -1)[:, 0] ^= 1  # in every result: some garbage happens to look right
        header = decode(message.header.body, ScanHeader)
        header = changed(header, c1_digest=digest("c1", c1.data.cast("B")))
        return changed(message, c1=c1.data, header=protocol._checker._identity.sign(header, SignedHeader))

    with (
        tampered(protocol, ScanResults, other_c1, receiver="member-2"),
        pytest.raises(IntegrityError, match="another header"),
    ):
        protocol.match(bank.queries)
    unharmed(protocol, bank.oracle, bank.rng)
    monkeypatch.setattr("protocols.scan.session.same", lambda left, right: True)
    with tampered(protocol, ScanResults, other_c1, receiver="member-2"):
        assert protocol.match(bank.queries) != bank.oracle.match(bank.queries)


def test_results_signed_by_somebody_else_are_refused(bank):
    _, to_a, _ = start(bank.protocol)
    a, _ = sessions(bank.protocol)
    header = decode(to_a.header.body, ScanHeader)
    with pytest.raises(IntegrityError, match="signature of platform-1 does not verify"):
        a.receive_results("platform-1", changed(to_a, header=Identity("platform-1").sign(header, SignedHeader)))
    with pytest.raises(IntegrityError, match="no platform of the manifest"):
        a.receive_results("platform-9", to_a)
    with pytest.raises(IntegrityError, match="does not verify"):
        a.receive_results("platform-1", changed(to_a, header=SignedHeader(to_a.header.body, bytes(64))))
    unharmed(bank.protocol, bank.oracle, bank.rng)


def test_a_replayed_header_is_refused(bank):
    session, a, b = share(bank.protocol)
    _, to_a, _ = start(bank.protocol, session=session)
    with pytest.raises(ReplayError, match="seen before"):
        a.receive_results("platform-1", to_a)
    seed, _ = stock(bank.protocol)
    for side in (a, b):
        side.start_comparison(session, seed.deal)
    compare(bank.protocol, session, a, b)
    finish(bank.protocol, session, a, b)
    with pytest.raises(ReplayError, match="seen before"):
        a.receive_results("platform-1", to_a)  # nor after the session has ended
    unharmed(bank.protocol, bank.oracle, bank.rng)


@pytest.mark.parametrize("part", ["c0", "c1"])
def test_tampered_results_are_refused_and_unnoticed_without_the_digest(bank, monkeypatch, part):
    protocol = bank.protocol

    def flip(message):
        return changed(message, **{part: memoryview(flipped(bytes(getattr(message, part)), 5))})

    with (
        tampered(protocol, ScanResults, flip, receiver="member-1"),
        pytest.raises(IntegrityError, match="not the ones"),
    ):
        protocol.match(bank.queries)
    unharmed(protocol, bank.oracle, bank.rng)
    monkeypatch.setattr(module, "same", lambda left, right: True)
    with tampered(protocol, ScanResults, flip, receiver="member-1"):
        protocol.match(bank.queries)  # goes through: nothing else looks at it


@pytest.mark.parametrize("part", ["c0", "c1"])
@pytest.mark.parametrize("change", [b"", b"12345678"])
def test_results_of_the_wrong_length_are_refused(bank, part, change):
    _, to_a, _ = start(bank.protocol)
    with pytest.raises(MessageError, match="wrong length"):
        sessions(bank.protocol)[0].receive_results("platform-1", changed(to_a, **{part: memoryview(change)}))
    unharmed(bank.protocol, bank.oracle, bank.rng)


@pytest.mark.parametrize(("part", "member"), [("c1", 2), ("c0", 1), ("partial", 1)])
def test_residues_not_below_their_prime_are_refused(bank, part, member):
    """All ones: 2^45 - 1, signed by the platform like any other result."""
    protocol = bank.protocol
    bad = memoryview(b"\xff" * (2 * protocol._batch * 45 * 256 // 8))
    if part == "partial":
        session, a, b = agree(protocol)
        message = changed(crossed(b.partial(session)), partial=bad)
        with pytest.raises(MessageError, match="partial decryption: a residue is not below its prime"):
            a.receive_partial(2, message)
    else:
        _, to_a, to_b = start(protocol, **{f"{part}_digest": digest(part, bad)})
        given = {1: to_a, 2: to_b}[member]
        with pytest.raises(MessageError, match=f"{part}: a residue is not below its prime"):
            sessions(protocol)[member - 1].receive_results("platform-1", changed(given, **{part: bad}))
    unharmed(protocol, bank.oracle, bank.rng)


def test_a_stale_bank_is_refused_and_says_what_to_do(bank):
    protocol = bank.protocol
    session, to_a, _ = start(protocol)
    during, a, b = agree(protocol)
    late, c, d = share(protocol)
    for p in (protocol, bank.oracle):
        p.withdraw("case-3")
    protocol.rebuild()
    with pytest.raises(StaleVersion, match="sync and scan again"):
        a.receive_results("platform-1", to_a)
    with pytest.raises(StaleVersion, match="rebuilt during the session"):
        a.receive_partial(2, crossed(b.partial(during)))
    seed, _ = stock(protocol)
    for side in (c, d):
        side.start_comparison(late, seed.deal)
    compare(protocol, late, c, d)
    with pytest.raises(StaleVersion, match="rebuilt during the session"):
        finish(protocol, late, c, d)
    unharmed(protocol, bank.oracle, bank.rng)
    assert session != during


def test_the_daily_budget_of_results_holds_and_comes_back(bank, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(budgets.time, "time", lambda: now[0])
    protocol = scan(daily_results=36)
    protocol.enroll(["a"], ZERO)
    for _ in range(3):
        assert len(protocol.match(ZERO)) == 1
        now[0] += 100
    with pytest.raises(BudgetExceeded, match="36 results") as error:
        protocol.match(ZERO)
    assert error.value.retry_after == pytest.approx(25 * 3600 - 1300)  # counted by the hour
    now[0] += error.value.retry_after - 1
    with pytest.raises(BudgetExceeded):
        protocol.match(ZERO)
    now[0] += 1
    for _ in range(3):
        assert len(protocol.match(ZERO)) == 1
    with pytest.raises(BudgetExceeded):
        protocol.match(ZERO)
    monkeypatch.setattr(budgets.Budgets, "spend", lambda self, platform, batch: None)
    for _ in range(5):
        assert len(protocol.match(ZERO)) == 1


def test_no_mix_of_pairs_gets_more_results_than_the_manifest_admits():
    protocol = scan(daily_results=100, batch=10)
    protocol.enroll(["a"], ZERO)
    got = 0
    for _ in range(3):
        for protocol.pair in ((1, 2), (1, 3), (2, 3), (2, 1)):
            for _ in range(2):
                try:
                    got += 10 * bool(protocol.match(ZERO))
                except BudgetExceeded:
                    continue
    assert 60 <= got <= 100  # 60 a member; what one admits and the other refuses is spent


def test_only_platforms_may_ask(bank):
    protocol = bank.protocol
    _, to_a, _ = start(protocol)
    for name in ("exchange", "member-2", "member-3", "nobody"):
        with pytest.raises(IntegrityError, match=f"{name} is no platform"):
            sessions(protocol)[0].receive_results(name, to_a)


def test_refused_results_cost_no_budget():
    protocol = scan(daily_results=12)
    protocol.enroll(["a"], ZERO)
    for _ in range(3):
        _, to_a, _ = start(protocol, batch=7)
        with pytest.raises(MessageError):
            sessions(protocol)[0].receive_results("platform-1", to_a)
    assert len(protocol.match(ZERO)) == 1


def test_a_platform_that_matches_too_often_is_stopped():
    protocol = scan(daily_match_share=0.5, batch=256)
    protocol.enroll(["a"], ZERO)
    rng = np.random.default_rng(0)
    for _ in range(2):
        protocol.match(np.repeat(ZERO, 256, axis=0))
    for _ in range(2):
        protocol.match(rng.integers(0, 256, (256, 32), dtype=np.uint8))
    protocol.match(ZERO)  # 512 of 1024: not more than half
    protocol.match(np.repeat(ZERO, 256, axis=0))
    with pytest.raises(BudgetExceeded, match=r"more than 50.0% of its day's queries match"):
        protocol.match(ZERO)


def test_nothing_is_shown(bank):
    a, _ = sessions(bank.protocol)
    assert repr(a) == "<Sessions of member-1>"
    session, a, _ = agree(bank.protocol)
    assert "c1=" not in repr(a._sessions[session])

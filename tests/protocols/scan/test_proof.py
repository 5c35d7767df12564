"""The proof of a scan: exact, honest batches always accepted, and every cheat refused by the check that is named."""

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ProofRefused, ReplayError, StaleVersion
from protocols.ledger import decode
from protocols.scan import checker, proof, sampling
from protocols.scan.matching_messages import ScanHeader, ScanResults, SignedHeader
from protocols.scan.parameters import PRIMES, Parameters
from protocols.scan.proof_messages import ProofOpening, SignedRefusal
from protocols.scan.sealing import Identity, Verifier
from protocols.scan.sessions import Sessions
from tests.protocols.scan import cheats, parties


@pytest.fixture(scope="module")
def protocol():
    rng = np.random.default_rng(1)
    scan = parties.scan(proofs=True, batch=4, lanes=2)
    entries = 257 * 5
    scan.enroll([f"case-{i}" for i in range(entries)], rng.integers(0, 256, (entries, 32), dtype=np.uint8))
    return scan


def reinstate(protocol):
    for member in protocol._members.values():
        member.sessions._refused.clear()


def queries(rng, rows=2):
    return rng.integers(0, 256, (rows, 32), dtype=np.uint8)


@pytest.mark.parametrize("cheat", cheats.RESULT_CHEATS, ids=lambda cheat: cheat.__name__)
def test_every_cheat_is_refused_by_name_and_passes_without_the_check(protocol, cheat, monkeypatch):
    reinstate(protocol)
    checks = cheats.RESULT_CHEATS[cheat]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        sent = len(protocol.ledger.messages)
        with cheats.cheating(protocol, cheat, rng), pytest.raises(ProofRefused) as refused:
            protocol.match(queries(rng))
        assert refused.value.check in checks
        assert refused.value.party == "platform-1"
        assert not any(m.kind == "PartialDecryption" for m in protocol.ledger.messages[sent:])
        with pytest.raises(IntegrityError, match="not served"):
            protocol.match(queries(rng))
        reinstate(protocol)
    assert protocol._exchange.resolver.refusals[-1].check in checks
    if len(checks) == 1:
        cheats.switch_off(monkeypatch, checks[0])
        with cheats.cheating(protocol, cheat, rng):
            protocol.match(queries(rng))


def relayed(protocol, rng, alter, kind=ScanResults, **where):
    with parties.tampered(protocol, kind, alter, **where):
        protocol.match(queries(rng))


def test_headers_that_differ_are_refused_before_anything_is_evaluated(protocol):
    reinstate(protocol)
    rng = np.random.default_rng(1)
    sent = len(protocol.ledger.messages)
    with pytest.raises(IntegrityError, match="another header"):
        relayed(protocol, rng, lambda m: cheats.resigned(protocol, m, c0_digest=bytes(32)), receiver="member-2")
    kinds = {m.kind for m in protocol.ledger.messages[sent:]}
    assert kinds.isdisjoint({"ProofToss", "ProofOpening", "PartialDecryption"})


def test_another_version_of_the_bank_is_refused(protocol):
    rng = np.random.default_rng(2)
    with pytest.raises(StaleVersion, match="version"):
        relayed(protocol, rng, lambda m: cheats.resigned(protocol, m, version=2))


def test_a_replayed_proof_is_refused_under_its_session_and_under_another(protocol):
    reinstate(protocol)
    rng, kept = np.random.default_rng(3), {}

    def keep(message):
        kept.setdefault("first", []).append(message)
        return message

    def replay(message):
        return next(m for m in kept["first"] if bool(len(m.c0)) == bool(len(message.c0)))

    relayed(protocol, rng, keep)
    with pytest.raises(ReplayError, match="seen before"):
        relayed(protocol, rng, replay)
    session = {"session": rng.bytes(16)}
    with pytest.raises(ReplayError, match="unknown"):  # the session that the members know is another than this one's
        relayed(protocol, rng, lambda m: cheats.resigned(protocol, replay(m), **session))

    def spliced(message):
        header = cheats.header_of(message)
        return cheats.resigned(protocol, replay(message), session=header.session)

    with pytest.raises(ProofRefused, match="does not open") as refused:
        relayed(protocol, rng, spliced)
    assert refused.value.check == "shares"


def test_a_proof_that_another_platform_relays_does_not_open(protocol, monkeypatch):
    reinstate(protocol)
    rng = np.random.default_rng(4)
    identity = cheats.second_platform(protocol)
    a, b = protocol._members[1], protocol._members[2]
    stolen, headers = {}, {}

    def relay():
        for member in (a, b):
            message = cheats.resigned(protocol, stolen[member is a], identity, platform="platform-2")
            headers[member.number] = member.sessions.receive_results("platform-2", message)
        session = headers[1].session
        a.sessions.receive_header(2, headers[2])
        b.sessions.receive_header(1, headers[1])
        cheats.verify(protocol, a, b, session)
        return a.sessions._session(session).verification().accepted

    for number in range(2):
        stolen[True], stolen[False] = cheats.sent(protocol, protocol._checker.scan(queries(rng), 0, (1, 2)))
        if number == 0:
            with pytest.raises(ProofRefused, match="does not open") as refused:
                relay()
            assert (refused.value.party, refused.value.check) == ("platform-2", "shares")
            with pytest.raises(IntegrityError, match="platform-2 is not served"):
                a.sessions.receive_results("platform-2", stolen[True])
            reinstate(protocol)
            cheats.switch_off(monkeypatch, "shares")
        else:
            assert relay()


@pytest.mark.parametrize("field", ["c1", "c0", "masked", "sealed"])
def test_tampering_in_transit_is_refused_and_frames_nobody(protocol, field):
    reinstate(protocol)
    rng = np.random.default_rng(5)
    with pytest.raises(IntegrityError, match="header is about") as refused:
        relayed(
            protocol,
            rng,
            lambda m: parties.changed(m, **{field: type(getattr(m, field))(parties.flipped(getattr(m, field)))}),
            receiver="member-1",
        )
    assert not isinstance(refused.value, ProofRefused)
    assert protocol.match(queries(rng)) == []


def test_nothing_is_decrypted_out_of_turn_and_a_challenge_is_answered_once(protocol):
    reinstate(protocol)
    rng = np.random.default_rng(6)
    a, b = protocol._members[1], protocol._members[2]
    scanned = protocol._checker.scan(queries(rng), 0, (1, 2))
    headers = {
        m.number: m.sessions.receive_results("platform-1", results)
        for m, results in zip((a, b), cheats.sent(protocol, scanned), strict=True)
    }
    session = scanned.session
    with pytest.raises(ReplayError):
        b.sessions._session(session).verification()
    a.sessions.receive_header(2, headers[2])
    b.sessions.receive_header(1, headers[1])
    with pytest.raises(ReplayError, match="accepted"):
        b.sessions.partial(session)
    with pytest.raises(ReplayError, match="no deal yet"):
        b.sessions._session(session).open_proof(b.sessions._bank, b.sessions._public_key)
    with pytest.raises(ReplayError, match="not compared yet"):
        a.sessions._session(session).verification().toss()
    deal = protocol._next_deal(2)
    told = {m.number: m.sessions.use_deal(session, deal) for m in (a, b)}
    with pytest.raises(ReplayError, match="has its deal"):
        a.sessions.use_deal(session, protocol._next_deal(2))
    with pytest.raises(ReplayError, match="no deal of member-3"):
        a.sessions.receive_deal(3, told[2])
    a.sessions.receive_deal(2, told[2])
    b.sessions.receive_deal(1, told[1])
    with pytest.raises(ReplayError, match="tossed"):
        b.sessions._session(session).open_proof(b.sessions._bank, b.sessions._public_key)
    tosses = {m.number: m.sessions._session(session).verification().toss() for m in (a, b)}
    with pytest.raises(ReplayError, match="told before"):
        a.sessions._session(session).verification().toss()
    with pytest.raises(IntegrityError, match="committed"):
        a.sessions._session(session).verification().receive_toss(2, parties.changed(tosses[2], seed=bytes(32)))
    a.sessions._session(session).verification().receive_toss(2, tosses[2])
    b.sessions._session(session).verification().receive_toss(1, tosses[1])
    a.sessions._session(session).open_proof(a.sessions._bank, a.sessions._public_key)
    with pytest.raises(ReplayError):
        a.sessions._session(session).open_proof(a.sessions._bank, a.sessions._public_key)
    with pytest.raises(ReplayError, match="accepted"):
        b.sessions.partial(session)


def test_members_that_are_told_of_different_deals_notice_before_the_toss_and_frame_nobody(protocol, monkeypatch):
    reinstate(protocol)
    rng, other = np.random.default_rng(8), protocol._deal(2)
    told, refusals, sent = Sessions.use_deal, len(protocol._exchange.resolver.refusals), len(protocol.ledger.messages)
    with monkeypatch.context() as patch:
        patch.setattr(
            Sessions, "use_deal", lambda self, sid, deal: told(self, sid, deal if self._member == 1 else other)
        )
        with pytest.raises(IntegrityError, match="another deal") as error:
            protocol.match(queries(rng))
    assert not isinstance(error.value, ProofRefused)
    assert not any(m.kind == "ProofToss" for m in protocol.ledger.messages[sent:])
    assert len(protocol._exchange.resolver.refusals) == refusals
    assert protocol.match(queries(rng)) == []


def test_the_evidence_is_what_the_platform_signed_and_anybody_can_verify(protocol):
    reinstate(protocol)
    rng = np.random.default_rng(9)
    cheat = next(iter(cheats.RESULT_CHEATS))
    with cheats.cheating(protocol, cheat, rng), pytest.raises(ProofRefused) as refused:
        protocol.match(queries(rng))
    public = Verifier(protocol._checker._identity.public, protocol._client._pinned.digest)
    header = public.verify(decode(refused.value.evidence, SignedHeader), ScanHeader)
    told = protocol._exchange.resolver.refusals[-1]
    assert public.verify(told.header, ScanHeader) == header
    assert (header.platform, header.session) == (told.platform, told.session)
    member = protocol._members[1]
    forged = Identity("platform-1").sign(header, SignedHeader)
    for fields in ({"header": forged}, {"session": bytes(16)}, {"platform": "exchange"}, {"platform": "platform-9"}):
        bad = parties.changed(told, member="member-1", **fields)
        with pytest.raises(IntegrityError):
            protocol._exchange.resolver.receive_refusal(member.identity.sign(bad, SignedRefusal))


def test_residues_out_of_range_are_refused_before_the_toss_and_cost_the_platform_nothing(protocol, monkeypatch):
    reinstate(protocol)
    rng, honest = np.random.default_rng(10), checker.scan_block

    def bad(*arguments):
        c1, c0 = honest(*arguments)
        c1[0] |= np.uint64(2**64 - 1)
        return c1, c0

    sent = len(protocol.ledger.messages)
    with monkeypatch.context() as patch:
        patch.setattr(checker, "scan_block", bad)
        with pytest.raises(MessageError, match="not below its prime"):
            protocol.match(queries(rng))
    assert not any(m.kind == "ProofToss" for m in protocol.ledger.messages[sent:])
    assert protocol.match(queries(rng)) == []


def test_a_challenged_batch_that_is_not_finished_counts_as_failed(protocol):
    reinstate(protocol)
    rng, refusals = np.random.default_rng(11), len(protocol._exchange.resolver.refusals)
    with pytest.raises(MessageError):
        relayed(protocol, rng, lambda m: parties.changed(m, linear=memoryview(b"")), ProofOpening)
    with pytest.raises(IntegrityError, match="not finished: reinstate"):
        protocol.match(queries(rng))
    assert len(protocol._exchange.resolver.refusals) == refusals  # nobody signs that it was the platform
    for member in (1, 2):
        protocol._members[member].sessions.reinstate("platform-1")
    assert protocol.match(queries(rng)) == []


def test_numbers_beyond_every_prime_are_refused():
    for value in (-(2**63), 2**63 - 1, PRIMES[0], -PRIMES[0]):
        with pytest.raises(MessageError, match="not below its prime"):
            proof.read_values(np.full((2, 1), value, dtype=np.int64).data.cast("B"), 1, "sums")


def test_shares_add_up_over_the_integers_and_each_looks_uniform():
    rng = np.random.default_rng(7)
    z = np.concatenate([rng.choice([-1, 1], 256), rng.integers(-21, 22, 4096 * 2)]).astype(np.int64)
    masked = np.empty((3, len(z)), dtype=np.uint64)
    seeds = sampling.fresh_seed(), sampling.fresh_seed()
    proof.split(iter([z, z, z]), *seeds, masked)
    a = [row.copy() for row in proof.shares(seeds[0], masked.data.cast("B"), 3, len(z))]
    b = [row.copy() for row in proof.shares(seeds[1], None, 3, len(z))]
    for left, right in zip(a, b, strict=True):
        assert np.array_equal(left + right, z)
        assert (np.abs(right) <= 1 << 61).all()
        assert abs(np.mean(right > 0) - 0.5) < 0.05
        assert abs(np.mean(left > 0) - 0.5) < 0.05
    assert not np.array_equal(b[0], b[1])


def test_honest_projections_stay_within_seven_sigma_and_bounds_decrypt():
    for name in ("N4096", "INSECURE_TINY"):
        for lanes in (1, 8, 16):
            parameters = Parameters(name, lanes)
            proof.check_parameters(parameters)
            for short, variance, size in zip(proof.SHORT, (2 / 3, 10.5, 10.5), (1, 1, lanes), strict=True):
                sigma = (size * parameters.n * variance / 3) ** 0.5 * 2**short.c
                assert short.bound > 7 * sigma
    assert proof.mixed_sign() > 1 << 65
    mixed = [value for value in (proof.mixed_sign(), -proof.mixed_sign()) if value % PRIMES[0] == 1]
    assert any(value % PRIMES[1] == PRIMES[1] - 1 for value in mixed) or not mixed


def test_the_challenge_is_linear_in_z_with_the_published_coefficients(protocol):
    """<l, z> + constant = <rho, c> for an honest result, computed with Python integers."""
    rng = np.random.default_rng(8)
    block = protocol._checker.blocks[0]
    key = protocol._members[1].sessions._public_key
    challenge = proof.Challenge(bytes(32), protocol.parameters, key, block.planes)
    scanned = protocol._checker.scan(queries(rng, 4), 0, (1, 2))
    asked = protocol._checker._open[scanned.session]
    value = challenge.of_results(scanned.c1, scanned.c0)
    for row, z in enumerate(proof.statements(asked.hashes, asked.randomness)):
        projections = [
            sum(int(x) * int(y) for x, y in zip(weights, z[challenge.parts[short.part]], strict=True))
            for short in proof.SHORT
            for weights in challenge.weights[short.part]
        ]
        for index, p in enumerate(PRIMES):
            total = sum(int(x) * int(y) for x, y in zip(challenge.linear[index], z, strict=True))
            folded = sum(int(g) * y for g, y in zip(challenge.gamma[index], projections, strict=True))
            assert (total + int(value[index, row]) - folded) % p == 0


@pytest.mark.slow
@pytest.mark.parametrize("cheat", cheats.RESULT_CHEATS, ids=lambda cheat: cheat.__name__)
def test_every_cheat_is_refused_a_thousand_times(cheat):
    scan = parties.scan(proofs=True, batch=1, lanes=1)
    rng = np.random.default_rng(11)
    scan.enroll(["case"], queries(rng, 1))
    for _ in range(1000):
        with cheats.cheating(scan, cheat, rng), pytest.raises(ProofRefused) as refused:
            scan.match(queries(rng, 1))
        assert refused.value.check in cheats.RESULT_CHEATS[cheat]
        reinstate(scan)


@pytest.mark.slow
@pytest.mark.parametrize("cheat", [cheats.own_c1, cheats.scaled_weight, cheats.large_error, cheats.least_change])
def test_cheats_are_refused_on_the_real_ring(cheat):
    scan = parties.scan(proofs=True, parameter_set="N4096", batch=2, lanes=2)
    rng = np.random.default_rng(12)
    scan.enroll(["case"], queries(rng, 1))
    for _ in range(10):
        with cheats.cheating(scan, cheat, rng), pytest.raises(ProofRefused) as refused:
            scan.match(queries(rng, 1))
        assert refused.value.check in cheats.RESULT_CHEATS[cheat]
        reinstate(scan)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "results"),
    [
        ({"batch": 256}, 60_000),
        ({"batch": 256, "lanes": 2, "threshold": 0}, 20_000),
        ({"batch": 256, "threshold": 71}, 10_000),
        ({"batch": 256, "bits": 64, "threshold": 5}, 8_000),
        ({"batch": 64, "parameter_set": "N4096"}, 1_500),
        ({"batch": 64, "parameter_set": "N4096", "lanes": 8}, 500),
    ],
    ids=str,
)
def test_honest_results_are_never_refused(options, results):
    """10^5 in all: all-zero and all-one queries and entries, tombstones, random ones; exact beside plaintext."""
    scan, oracle = parties.twins(proofs=True, **options)
    rng = np.random.default_rng(13)
    cases, bank, asked = parties.planted(rng, scan.bits, scan.threshold)
    many = rng.integers(0, 256, ((scan.parameters.lanes - 1) * scan.parameters.slots_per_lane, scan.bits // 8))
    if scan.parameters.insecure:
        cases, bank = cases + [f"more {i}" for i in range(len(many))], np.concatenate([bank, many.astype(np.uint8)])
    for p in (scan, oracle):
        p.enroll(cases, bank)
        p.withdraw(cases[5])
    for first in range(0, results, options["batch"]):
        row = np.concatenate([asked, rng.integers(0, 256, (options["batch"] - len(asked), scan.bits // 8), np.uint8)])
        found = scan.match(row)
        if first % (16 * options["batch"]) == 0:
            assert found == oracle.match(row)

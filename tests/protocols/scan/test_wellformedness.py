"""Well-formedness: what is not bits is refused by name before it can harm, and the check is seen to be needed."""

import secrets

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError, ReplayError
from protocols.ledger import decode
from protocols.scan import client as client_module
from protocols.scan import wellformedness as module
from protocols.scan.custody import Custody
from protocols.scan.enrolling_messages import CheckCommitment, CheckOpening, CheckToss, EntryReceipt, EntryShares
from protocols.scan.entries import SHARES, expand, seal_shares
from tests.protocols.scan.parties import changed, crossed, custodies, planted, scan, tampered, twins, unharmed

GOOD = np.random.default_rng(3).integers(0, 2, 256).astype(np.uint64)


def shares_of(values):
    seeds = secrets.token_bytes(32), secrets.token_bytes(32)
    third = values - expand(1, seeds[0], len(values)) - expand(2, seeds[1], len(values))
    return {1: seeds[0], 2: seeds[1], 3: third.tobytes()}


def client_seals(monkeypatch, values, rows=(0,)):
    """From now on the client seals `values` (bits,) instead of the entries number `rows` of those to come."""
    honest, count = client_module.seal_entry, iter(range(10**6))

    def seal(bits, parameters, epoch, members):
        if next(count) in rows:
            return seal_shares(shares_of(values), secrets.token_bytes(16), parameters, epoch, members)
        return honest(bits, parameters, epoch, members)

    monkeypatch.setattr(client_module, "seal_entry", seal)


def no_check(monkeypatch):
    """Switch the well-formedness check off: every sum comes out as 0."""
    monkeypatch.setattr(Custody, "settle", lambda self, batch: self._batch(batch).open.clear() is None)


def matches_many():
    """Distances to this entry: popcount(q) + sum (1-2q_i) v_i; with v_0 = -64 mod 2^49 half of all queries match."""
    values = np.zeros(256, dtype=np.uint64)
    values[:] = np.random.default_rng(5).integers(0, 2, 256)
    values[0] = np.uint64(2**64 - 105)
    return values


def silences():
    """Pushes a carry: a value of 2^9 in one field is 1 in the next."""
    values = np.zeros(256, dtype=np.uint64)
    values[0] = np.uint64(100 << 9)
    return values


@pytest.mark.parametrize("values", [matches_many(), silences()], ids=["matches many", "pushes a carry"])
def test_a_non_bit_entry_is_refused_by_name_and_nothing_else_suffers(monkeypatch, values):
    rng = np.random.default_rng(1)
    protocol, oracle = twins()
    cases, bank, queries = planted(rng, 256, 31)
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    with monkeypatch.context() as patch:
        client_seals(patch, values, rows=(2,))
        with pytest.raises(IntegrityError, match="refuse entries of villain:"):
            protocol.enroll(["good", "other", "villain", "good"], bank[:4])
    assert protocol.match(queries) == oracle.match(queries)
    unharmed(protocol, oracle, rng)
    for p in (protocol, oracle):
        p.enroll(["good"], bank[:1])
        p.withdraw("good")
    assert protocol.match(queries) == oracle.match(queries)


def test_without_the_check_a_non_bit_entry_matches_many(monkeypatch):
    protocol = scan()
    no_check(monkeypatch)
    client_seals(monkeypatch, matches_many())
    protocol.enroll(["villain"], np.zeros((1, 32), np.uint8))
    queries = np.random.default_rng(2).integers(0, 256, (64, 32), dtype=np.uint8)
    assert len(protocol.match(queries)) > 16  # an honest entry matches a random query with probability 2^-120


def test_without_the_check_a_non_bit_entry_silences_its_neighbour(monkeypatch):
    """In one coefficient, the villain in the field below: its 2^9 and more is added to the neighbour's distance."""
    protocol = scan()
    no_check(monkeypatch)
    rng = np.random.default_rng(4)
    row = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    row[0, 0] &= 0x7F  # the first query bit is 0: the villain's number counts with weight +1
    client_seals(monkeypatch, silences())
    monkeypatch.setattr("protocols.scan.exchange._random_choice", lambda items, count: items[:count])
    protocol.enroll(["villain", "victim"], np.concatenate([row, row]))
    assert protocol.match(row) == []
    protocol.withdraw("villain")
    protocol.rebuild()
    assert [match.case for match in protocol.match(row)] == ["victim"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_bisection_names_exactly_the_bad_ones(monkeypatch, count):
    rng = np.random.default_rng(count)
    bad = sorted(rng.choice(23, count, replace=False).tolist())
    protocol = scan(record=True)
    client_seals(monkeypatch, matches_many(), rows=tuple(bad))
    names = [f"case {row:02}" for row in range(23)]
    with pytest.raises(IntegrityError) as error:
        protocol.enroll(names, rng.integers(0, 256, (23, 32), dtype=np.uint8))
    assert [name for name in names if name in str(error.value)] == [names[row] for row in bad]


def test_masks_are_fresh_at_every_bisection(monkeypatch):
    protocol = scan(record=True)
    client_seals(monkeypatch, matches_many(), rows=(3,))
    with pytest.raises(IntegrityError):
        protocol.enroll([f"c{row}" for row in range(8)], np.zeros((8, 32), np.uint8))
    records = [m for m in protocol.ledger.messages if m.kind == "CheckOpening" and m.sender == "member-1"]
    sums = [decode(m.payload, CheckOpening).sums for m in records if m.receiver == "member-2"]
    words = np.concatenate([np.frombuffer(one, dtype=np.uint64) for one in sums])
    assert len(np.unique(words)) == len(words)


def batch_of(protocol, entries):
    """What the exchange would pass on of sealed entries, {member: EntryShares}."""
    ids, commitments = [e.entry for e in entries], [e.commitments for e in entries]
    batch = secrets.token_bytes(16)
    return {m: EntryShares(batch, ids, commitments, [e.sealed[m - 1] for e in entries]) for m in SHARES}


def sealed(protocol, values=GOOD):
    pinned = protocol._client._pinned
    return seal_shares(shares_of(values), secrets.token_bytes(16), protocol.parameters, 1, pinned.members)


def commit(protocol, parts):
    held = custodies(protocol)
    made = {m: crossed(c.receive(parts[m])) for m, c in held.items()}
    for m, c in held.items():
        for other in SHARES:
            if other != m:
                c.receive_commitment(other, made[other])
    return held, parts[1].batch


@pytest.mark.parametrize("case", ["another member", "another entry", "wrong length", "inconsistent", "garbage"])
def test_what_does_not_open_is_refused_while_the_rest_of_the_batch_goes_on(monkeypatch, case):
    rng = np.random.default_rng(6)
    protocol, oracle = twins()
    honest = client_module.seal_entry
    made = []

    def seal(bits, parameters, epoch, members):
        entry = honest(bits, parameters, epoch, members)
        made.append(entry)
        if len(made) != 2:
            return entry
        bad = list(entry.sealed)
        if case == "another member":
            bad[0], bad[1] = bad[1], bad[0]
        elif case == "another entry":
            bad[1] = made[0].sealed[1]
        elif case == "garbage":
            bad[2] = b"x"
        else:
            raw = shares_of(bits.astype(np.uint64))
            if case == "wrong length":
                raw[3] += bytes(8)
                return seal_shares(raw, entry.entry, parameters, epoch, members)
            bad[1] = seal_shares(raw, entry.entry, parameters, epoch, members).sealed[1]
        return changed(entry, sealed=bad)

    with monkeypatch.context() as patch:
        patch.setattr(client_module, "seal_entry", seal)
        with pytest.raises(IntegrityError, match="refuse entries of villain:"):
            protocol.enroll(["good", "villain", "good"], rng.integers(0, 256, (3, 32), dtype=np.uint8))
    unharmed(protocol, oracle, rng)


def test_a_replayed_enrolment_is_refused_even_after_withdrawal():
    rng = np.random.default_rng(7)
    protocol, oracle = twins()
    seen = []
    row = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    with tampered(protocol, client_module.Enrollment, lambda m: seen.append(m) or m):
        protocol.enroll(["mine"], row)
    protocol.withdraw("mine")
    with (
        tampered(protocol, client_module.Enrollment, lambda m: seen[0]),
        pytest.raises(ReplayError, match="entry id comes twice, or was enrolled before"),
    ):
        protocol.enroll(["again"], row)
    unharmed(protocol, oracle, rng)
    entry = seen[0].cases[0].entries[0]
    for m, custody in custodies(protocol).items():
        with pytest.raises(ReplayError, match="enrolled before"):
            custody.receive(crossed(batch_of(protocol, [entry])[m]))
        with pytest.raises(ReplayError, match="comes twice"):
            custody.receive(crossed(batch_of(protocol, [sealed(protocol)] * 2)[m]))


def test_check_steps_out_of_turn_are_refused_and_the_check_goes_on():
    protocol = scan()
    parts = batch_of(protocol, [sealed(protocol)])
    held = custodies(protocol)
    batch = parts[1].batch
    with pytest.raises(ReplayError, match="unknown"):
        held[1].toss(batch)
    made = {m: crossed(c.receive(crossed(parts[m]))) for m, c in held.items()}
    with pytest.raises(ReplayError, match="seen before"):
        held[1].receive(crossed(parts[1]))
    with pytest.raises(ReplayError, match="after all have committed"):
        held[1].toss(batch)
    with pytest.raises(ReplayError, match="after all have committed"):
        held[1].receive_toss(2, CheckToss(batch, bytes(32)))
    for m, c in held.items():
        for other in SHARES:
            if other != m:
                c.receive_commitment(other, made[other])
    with pytest.raises(ReplayError, match="has committed already"):
        held[1].receive_commitment(2, made[2])
    with pytest.raises(ReplayError, match="after all seeds"):
        held[1].opening(batch)
    tosses = {m: c.toss(batch) for m, c in held.items()}
    with pytest.raises(IntegrityError, match="another seed than it committed to"):
        held[1].receive_toss(2, CheckToss(batch, bytes(32)))
    for m, c in held.items():
        for other in SHARES:
            if other != m:
                c.receive_toss(other, tosses[other])
    with pytest.raises(ReplayError, match="not settled"):
        held[1].conclude(batch)
    two = crossed(held[2].opening(batch))
    with pytest.raises(ReplayError, match="not due"):
        held[1].receive_opening(2, two)
    held[1].opening(batch)
    held[1].receive_opening(2, two)
    with pytest.raises(ReplayError, match="not due"):
        held[1].receive_opening(2, two)
    with pytest.raises(ReplayError, match="opening is missing"):
        held[1].settle(batch)
    with pytest.raises(MessageError, match="check sums"):
        held[1].receive_opening(3, changed(crossed(held[3].opening(batch)), sums=b""))
    held[1].receive_opening(3, crossed(held[3].opening(batch)))
    assert held[1].settle(batch)
    receipt = decode(held[1].conclude(batch)[0].body, EntryReceipt)
    assert (receipt.status, receipt.entries) == ("accepted", parts[1].entries)


def passes(protocol, values, batch):
    """Whether the three members accept one entry of these numbers in a batch of this id."""
    parts = {m: changed(part, batch=batch) for m, part in batch_of(protocol, [sealed(protocol, values)]).items()}
    held, _ = commit(protocol, parts)
    tosses = {m: c.toss(batch) for m, c in held.items()}
    for m, c in held.items():
        for other in SHARES:
            if other != m:
                c.receive_toss(other, tosses[other])
    openings = {m: crossed(c.opening(batch)) for m, c in held.items()}
    for m, c in held.items():
        for other in SHARES:
            if other != m:
                c.receive_opening(other, openings[other])
        c.settle(batch)
    return not any(c._batches[batch].bad for c in held.values())


def determinant(rows):
    if not rows:
        return 1
    minors = ([row[:i] + row[i + 1 :] for row in rows[1:]] for i in range(len(rows)))
    return sum((-1) ** i * rows[0][i] * determinant(minor) for i, minor in enumerate(minors))


def test_who_knows_the_toss_before_the_batch_is_fixed_makes_a_bad_entry_pass(monkeypatch):
    """Why seeds are committed to and told late: six numbers whose v(v-1) a known rho cancels in all five checks."""
    batch, known = bytes(16), bytes(32)
    seed = module.derive(known * 3, "check", batch)
    rho = [
        module.Stream(module.derive(seed, "rho", bytes([check]))).words(1, 256)[0, :6].tolist() for check in range(5)
    ]
    kernel = [(-1) ** k * determinant([row[:k] + row[k + 1 :] for row in rho]) for k in range(6)]
    values = np.zeros(256, dtype=np.uint64)
    for k, w in enumerate(kernel):
        v, w = 0, 2 * w  # solve v(v-1) = 2w mod 2^64 by Newton's method: the derivative 2v-1 is odd
        for _ in range(7):
            v = (v - (v * v - v - w) * pow(2 * v - 1, -1, 1 << 64)) % (1 << 64)
        values[k] = v
    assert (values[:6] % (1 << 49) > 1).any()
    assert not passes(scan(), values, batch)
    monkeypatch.setattr(module, "fresh_seed", lambda: known)
    assert passes(scan(), values, batch)


def test_members_that_were_given_other_entries_notice_by_name():
    rng = np.random.default_rng(8)
    protocol, oracle = twins()
    other = sealed(protocol)

    def swap(message):
        entries = [other.entry, *message.entries[1:]]
        return changed(message, entries=entries, commitments=[other.commitments, *message.commitments[1:]])

    with (
        tampered(protocol, EntryShares, swap, receiver="member-2"),
        pytest.raises(IntegrityError, match="was given other entries or commitments"),
    ):
        protocol.enroll(["a", "b"], rng.integers(0, 256, (2, 32), dtype=np.uint8))
    unharmed(protocol, oracle, rng)


@pytest.mark.parametrize(
    ("kind", "fields", "word"),
    [
        (CheckCommitment, {"toss": bytes(32)}, "another seed"),
        (CheckCommitment, {"bad": [99]}, "not in the batch"),
        (CheckToss, {"seed": bytes(32)}, "another seed"),
        (CheckOpening, {"bounds": [(0, 1)]}, "not due"),
        (CheckOpening, {"sums": b"12345678"}, "check sums"),
    ],
)
def test_altered_check_messages_are_refused_and_leave_nothing_behind(kind, fields, word):
    rng = np.random.default_rng(9)
    protocol, oracle = twins()
    with (
        tampered(protocol, kind, lambda m: changed(m, **fields), sender="member-3", receiver="member-1"),
        pytest.raises((IntegrityError, MessageError, ReplayError), match=word),
    ):
        protocol.enroll(["a", "b"], rng.integers(0, 256, (2, 32), dtype=np.uint8))
    unharmed(protocol, oracle, rng)

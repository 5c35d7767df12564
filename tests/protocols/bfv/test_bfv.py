"""Against the plaintext oracle at the size that the README states, what withdrawal does, and what crosses."""

import numpy as np
import pytest

from protocols import create
from protocols.bfv.messages import Answer, Distances, Notice
from protocols.bfv.parameters import STANDARD
from protocols.ledger import decode

THRESHOLDS = [0, 30, 31, 32, 63]


def flip(rng, row, distance):
    bits = np.unpackbits(row)
    bits[rng.choice(len(bits), distance, replace=False)] ^= 1
    return np.packbits(bits)


def data(rng, entries, queries, bits=256):
    """Entries with all zeros, all ones and duplicates; queries at chosen distances from them, and random ones."""
    bank = rng.integers(0, 256, (entries, bits // 8), dtype=np.uint8)
    bank[0], bank[1], bank[-1], bank[10:14] = 0, 255, 0, bank[10]
    asked = rng.integers(0, 256, (queries, bits // 8), dtype=np.uint8)
    near = [0, 1, 29, 30, 31, 32, 33, 62, 63, 64]
    for row in range(0, queries, 2):
        asked[row] = flip(rng, bank[rng.integers(entries)], near[row // 2 % len(near)])
    asked[:4] = bank[0], bank[1], bank[10], ~bank[10]
    return [f"case-{entry % (entries // 2)}" for entry in range(entries)], bank, asked


def pair(name, threshold, cases, bank, **options):
    protocol, oracle = (create(which, threshold=threshold, **options) for which in (name, "plaintext"))
    for p in (protocol, oracle):
        p.enroll(cases, bank)
    return protocol, oracle


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_1350_entries_and_100_queries_also_after_withdrawing_half_the_cases(threshold):
    rng = np.random.default_rng(threshold)
    cases, bank, queries = data(rng, 1350, 100)
    protocol, oracle = pair("bfv", threshold, cases, bank)
    before = oracle.match(queries)
    assert before
    assert protocol.match(queries) == before
    for case in sorted(set(cases))[::2]:
        protocol.withdraw(case)
        oracle.withdraw(case)
    after = oracle.match(queries)
    assert len(after) < len(before)
    assert protocol.match(queries) == after


def test_entries_of_one_client_span_blocks():
    rng = np.random.default_rng(1)
    cases, bank, queries = data(rng, STANDARD.n + 700, 12)
    protocol, oracle = pair("bfv", 63, cases, bank)
    for p in (protocol, oracle):
        p.enroll(["late", "late"], queries[-2:])
    found = protocol.match(queries)
    assert found == oracle.match(queries)
    assert {case for _, case in found} >= {"late"}


def test_many_clients_share_a_ciphertext():
    rng = np.random.default_rng(2)
    cases, bank, queries = data(rng, 12, 16)
    protocol, oracle = create("bfv"), create("plaintext")
    for p in (protocol, oracle):
        for case, row in zip(cases, bank, strict=True):
            p.enroll([case], row[None])
    assert protocol.match(queries) == oracle.match(queries)
    counts = protocol.ledger.bytes_by_kind()
    assert counts["Deposit", "client", "exchange"][0] == 12
    assert counts["Block", "exchange", "platform"][0] == 1


@pytest.mark.parametrize("bits", [64, 256])
def test_free_and_withdrawn_slots_never_match_even_at_the_largest_threshold(bits):
    rng = np.random.default_rng(3)
    bank = rng.integers(0, 256, (6, bits // 8), dtype=np.uint8)
    queries = np.array([bank[0], ~bank[0], 0 * bank[0]])
    protocol = create("bfv", bits=bits, threshold=bits)
    protocol.enroll(list("aabbcc"), bank)
    assert protocol.match(queries) == [(query, case) for query in range(3) for case in "abc"]
    for case, left in (("b", "ac"), ("a", "c"), ("c", "")):
        protocol.withdraw(case)
        assert protocol.match(queries) == [(query, case) for query in range(3) for case in left]
    assert sum(message.kind == "Notice" for message in protocol.ledger.messages) == 4


def test_the_key_holder_sees_distances_in_live_slots_and_noise_in_the_others():
    rng = np.random.default_rng(4)
    bank = rng.integers(0, 256, (5, 32), dtype=np.uint8)
    protocol = create("bfv", record=True)
    protocol.enroll(list("abcde"), bank)
    protocol.match(bank[:1])
    protocol.withdraw("c")
    protocol.match(np.stack([bank[2], bank[2]]))
    _, message = [message for message in protocol.ledger.messages if message.kind == "Distances"]
    seen = protocol._keyholder.decrypt(decode(message.payload, Distances))
    truth = np.bitwise_count(bank ^ bank[2]).sum(axis=1)
    live = [0, 1, 3, 4]
    assert (seen[:, live] == truth[live]).all()
    free = np.delete(seen, live, axis=1)
    assert (free[0] != free[1]).mean() > 0.99
    assert (free > 256).mean() > 0.95
    assert free[:, 0].min() > 0


def shows(payload, rows):
    """Whether any 8 consecutive bytes of a row stand anywhere in the payload."""
    wanted = np.unique(np.concatenate([row[start : start + 8] for row in rows for start in range(25)]).view(np.uint64))
    octets = np.frombuffer(payload, dtype=np.uint8)
    may_begin = np.isin(np.arange(1 << 16), wanted & 0xFFFF)
    for start in range(8):
        words = octets[start : start + (len(octets) - start) // 8 * 8].view(np.uint64)
        if np.isin(words[may_begin[words & 0xFFFF]], wanted).any():
            return True
    return False


def test_no_message_shows_entries_or_queries_to_whom_they_do_not_belong():
    rng = np.random.default_rng(5)
    bank, queries = (rng.integers(0, 256, (rows, 32), dtype=np.uint8) for rows in (30, 20))
    queries[:5] = [flip(rng, row, 31) for row in bank[:5]]
    protocol, oracle = pair("bfv", 31, [f"case-{row}" for row in range(30)], bank, record=True)
    for p in (protocol, oracle):
        assert len(p.match(queries)) == 5
        p.withdraw("case-3")
        p.enroll(["more"], bank[3:4])
        assert len(p.match(queries)) == 5
    for role, secret in (("exchange", bank), ("platform", bank), ("exchange", queries), ("keyholder", queries)):
        received = protocol.ledger.received_by(role)
        assert received
        assert not any(shows(message.payload, secret) for message in received)
    # The check is able to see: plaintext's bank is there.
    assert any(shows(message.payload, bank[3:4]) for message in oracle.ledger.received_by("platform"))


def test_platforms_get_no_case_and_a_fresh_handle_for_every_match():
    rng = np.random.default_rng(6)
    bank = rng.integers(0, 256, (4, 32), dtype=np.uint8)
    protocol = create("bfv", record=True)
    protocol.enroll(["case-secret-name"] * 4, bank)
    protocol.match(bank)
    protocol.match(bank)
    for role in ("platform", "keyholder"):
        assert all(b"secret-name" not in message.payload for message in protocol.ledger.received_by(role))
    answers = [decode(m.payload, Answer) for m in protocol.ledger.messages if m.kind == "Answer"]
    notices = [decode(m.payload, Notice) for m in protocol.ledger.messages if m.kind == "Notice"]
    assert [answer.rows for answer in answers] == [[0, 1, 2, 3]] * 2
    assert [notice.slots for notice in notices] == [[0, 1, 2, 3]] * 2
    assert len({handle for answer in answers for handle in answer.handles}) == 8


def test_equal_queries_and_entries_give_unequal_ciphertexts():
    rng = np.random.default_rng(7)
    bank = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    protocol = create("bfv", record=True)
    for _ in range(2):
        protocol.enroll(list("abc"), bank)
    protocol.match(np.stack([bank[0], bank[0]]))
    for kind in ("Deposit", "Distances"):
        payloads = [message.payload for message in protocol.ledger.messages if message.kind == kind]
        assert len(set(payloads)) == len(payloads)
    (message,) = [message for message in protocol.ledger.messages if message.kind == "Distances"]
    first, second = decode(message.payload, Distances).ciphertexts
    assert first != second


def test_progress_is_told():
    calls = []
    protocol = create("bfv", progress=lambda what, done, total: calls.append((done, total)))
    rng = np.random.default_rng(8)
    protocol.enroll(["a"], rng.integers(0, 256, (1, 32), dtype=np.uint8))
    protocol.match(rng.integers(0, 256, (130, 32), dtype=np.uint8))
    assert [total for _, total in calls] == [3, 3, 3]

"""One pair at a time gives the same distances, and says what it costs."""

import numpy as np

from hashing import hamming
from protocols.bfv.naive import one_pair_at_a_time


def test_distances_are_exact_and_every_pair_is_a_message():
    rng = np.random.default_rng(1)
    queries, entries = (rng.integers(0, 256, (rows, 32), dtype=np.uint8) for rows in (3, 4))
    entries[0], queries[0], entries[1] = 0, 255, queries[1]
    distances, ledger = one_pair_at_a_time(queries, entries)
    assert (distances == hamming(queries, entries)).all()
    totals = ledger.bytes_by_kind("match")
    assert totals["SealedDistance", "platform", "keyholder"][0] == 12
    assert ledger.bytes_by_kind("enroll")["SealedEntry", "client", "platform"][0] == 4
    assert {role for role, _ in ledger.cpu_seconds} == {"client", "platform", "keyholder"}


def test_64_bit_hashes():
    rng = np.random.default_rng(2)
    queries, entries = (rng.integers(0, 256, (2, 8), dtype=np.uint8) for _ in range(2))
    assert (one_pair_at_a_time(queries, entries)[0] == hamming(queries, entries)).all()

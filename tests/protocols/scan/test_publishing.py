"""Published blocks: planes that are due, and signatures of what was built."""

import numpy as np
import pytest

from protocols.base import IntegrityError, MessageError
from protocols.scan.enrolling_messages import PlaneShares, SignedBlockDigest
from tests.protocols.scan.answers import with_entries
from tests.protocols.scan.parties import changed, tampered


@pytest.fixture
def bank():
    bank = with_entries(np.random.default_rng(50))
    return bank.protocol, bank.oracle, bank.queries, bank.rng


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"share": 1}, "planes are missing"),
        ({"version": 7}, "another version or place"),
        ({"block": 7}, "another version or place"),
        ({"first": 1}, "another version or place"),
        ({"planes": memoryview(b"12345678")}, "planes"),
    ],
)
def test_planes_that_are_not_due_are_refused(bank, fields, word):
    protocol, oracle, queries, _ = bank
    with (
        tampered(protocol, PlaneShares, lambda m: changed(m, **fields), sender="member-2"),
        pytest.raises(MessageError, match=word),
    ):
        protocol.rebuild() if protocol._exchange.tombstoned() else protocol._update(
            protocol._exchange.assign(None, frozenset({0}))
        )
    protocol._update(protocol._exchange.assign(None, frozenset({0})))
    assert protocol.match(queries) == oracle.match(queries)


def test_a_signature_of_another_digest_is_not_published(bank):
    protocol, oracle, queries, _ = bank
    before = {}

    def old(message):
        return before.setdefault(0, message)

    with tampered(protocol, SignedBlockDigest, old, sender="member-1"):
        protocol._update(protocol._exchange.assign(None, frozenset({0})))
        with pytest.raises(IntegrityError, match="member-1 signed another digest"):
            protocol._update(protocol._exchange.assign(None, frozenset({0})))
    protocol._update(protocol._exchange.assign(None, frozenset({0})))
    assert protocol.match(queries) == oracle.match(queries)

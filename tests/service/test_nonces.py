"""A nonce counts once: over restarts, for its party, until it has expired."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from protocols.base import ReplayError
from service.models import Nonce
from service.nonces import PURGE_SECONDS, SqlNonces
from service.storage import transaction


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def count(engine):
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(Nonce))


def test_a_nonce_counts_once_also_after_a_restart(engine):
    SqlNonces(engine).use("member-1", b"nonce", 2**40)
    SqlNonces(engine).use("member-2", b"nonce", 2**40)
    for party in ("member-1", "member-2"):
        with pytest.raises(ReplayError, match=party):
            SqlNonces(engine).use(party, b"nonce", 2**41)
    assert count(engine) == 2


def test_of_many_at_once_one_gets_through(engine):
    nonces = SqlNonces(engine)

    def use(_):
        try:
            nonces.use("member-1", b"nonce", 2**40)
        except ReplayError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(24))) == 1


def test_expired_ones_are_purged_and_no_other(engine):
    clock = Clock()
    nonces = SqlNonces(engine, clock)
    nonces.use("member-1", b"short", int(clock.now) + 10)
    nonces.use("member-1", b"long", int(clock.now) + 1000)
    clock.now += 11
    nonces.use("member-1", b"early", int(clock.now) + 120)
    assert count(engine) == 3  # not at every use
    clock.now += PURGE_SECONDS
    nonces.use("member-1", b"late", int(clock.now) + 120)
    assert count(engine) == 3
    with pytest.raises(ReplayError):
        nonces.use("member-1", b"long", 2**40)

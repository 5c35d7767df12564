"""Nonces of signed requests, in the receiver's database: a request counts once, also after a restart.

A nonce is kept until its request has expired, so the clock must not be set back by more than a request's life.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from sqlalchemy import Engine, delete
from sqlalchemy.exc import IntegrityError

from protocols.base import ReplayError
from service.models import Nonce
from service.storage import transaction

PURGE_SECONDS = 60.0


class SqlNonces:
    """The nonces that a role has seen. Safe to use from several threads."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine, self._clock = engine, clock
        self._lock = Lock()
        self._purge_at = 0.0

    def use(self, party: str, nonce: bytes, expires: int) -> None:
        """Remember a nonce of `party` until unix time `expires`. Raises ReplayError if it is there, StorageFailed."""
        try:
            with transaction(self._engine) as session:
                session.add(Nonce(party=party, nonce=nonce, expires=expires))
                if self._purge_due():
                    session.execute(delete(Nonce).where(Nonce.expires < int(self._clock())))
        except IntegrityError:
            raise ReplayError(f"{party}'s request came before: its nonce is used") from None

    def _purge_due(self) -> bool:
        with self._lock:
            now = self._clock()
            due = now >= self._purge_at
            if due:
                self._purge_at = now + PURGE_SECONDS
            return due

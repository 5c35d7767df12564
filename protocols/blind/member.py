"""A committee member: holds a share of the key, evaluates blinded elements, counts what it gives to whom.

Asked as one of a quorum Q, member i answers D = (l_i k_i) C for every element C: the Lagrange coefficient is folded
in, so that the requester only adds. In VOPRF mode it proves the last element's answer against l_i K_i, which
everybody can compute from the pinned K_i; requester.py says why that covers the others.

Budgets. A requester's evaluation takes an answer from QUORUM of MEMBERS members. If the committee is to give it at
most B evaluations a window, each member gives it B * QUORUM / MEMBERS answers: whichever members it asks, and in
whatever combination, the answers make B evaluations at the most. Who asks all members evenly gets B, who always
asks the same two gets two thirds of it: splitting over pairs gains nothing beyond the budget.

NOT protected: who asks is what the transport says, which must authenticate it; an adversary with many names has as
many budgets. Windows are fixed: around their border a requester gets two budgets in short time. Members see who asks
how much and when.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from protocols.base import BudgetExceeded, MessageError, StaleVersion
from protocols.blind import group, keys, oprf
from protocols.blind.messages import (
    BlindedElements,
    CeremonyCommitments,
    CeremonyShare,
    EvaluatedElements,
    Manifest,
)
from protocols.blind.parameters import Parameters


class Budget:
    """Counts answers a requester in windows of fixed length; safe to use from several threads.

    limit: answers a requester and window. clock: seconds, never going back. Holds names and counts, no secrets.
    """

    def __init__(self, limit: int, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._window = window
        self._clock = clock
        self._current = 0
        self._spent: dict[str, int] = {}
        self._lock = threading.Lock()

    def spend(self, requester: str, answers: int) -> None:
        """Count them, all or none.

        Raises BudgetExceeded, which says in how many seconds the next window starts; MessageError where none will do.
        """
        if answers > self._limit:
            raise MessageError(f"{requester} asks for {answers} evaluations at once; a window has {self._limit} in all")
        with self._lock:
            now = self._clock()
            number = int(now // self._window)
            if number != self._current:
                self._current = number
                self._spent.clear()
            spent = self._spent.get(requester, 0)
            if spent + answers > self._limit:
                wait = (number + 1) * self._window - now
                raise BudgetExceeded(
                    f"{requester} asks for {answers} evaluations; {self._limit - spent} of {self._limit} are left "
                    f"in this window, the next starts in {wait:.0f} s",
                    wait,
                )
            self._spent[requester] = spent + answers


class Member:
    """One of the committee. `ceremony` is its part in making the key; `finish_ceremony` must follow."""

    def __init__(
        self, number: int, parameters: Parameters, epoch: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.number = number
        self.ceremony = keys.Ceremony(number, epoch)
        self._mode = parameters.mode
        self._epoch = epoch
        self._budget = Budget(parameters.answers, parameters.window, clock)
        self._share = b""
        self._manifest: Manifest | None = None

    def finish_ceremony(
        self, commitments: Mapping[int, CeremonyCommitments], shares: Mapping[int, CeremonyShare]
    ) -> Manifest:
        """Take the key share; returns what everybody pins. Raises what `Ceremony.finish` raises."""
        self._share, self._manifest = self.ceremony.finish(commitments, shares)
        return self._manifest

    def evaluate(self, requester: str, request: BlindedElements) -> EvaluatedElements:
        """The answer to `requester`, whom the transport has authenticated.

        Raises StaleVersion, MessageError (ElementError for what is not a group element), BudgetExceeded.
        """
        if self._manifest is None or request.epoch != self._epoch:
            raise StaleVersion(f"member-{self.number} has a key of epoch {self._epoch}, not of {request.epoch}")
        coefficient = keys.lagrange(self.number, request.members)
        count, rest = divmod(len(request.elements), group.SIZE)
        if rest or not 0 < count <= oprf.MAX_BATCH:
            raise MessageError(f"elements is {len(request.elements)} bytes; expected 1 to {oprf.MAX_BATCH} times 32")
        blinded = group.elements(request.elements, count, "elements")
        self._budget.spend(requester, count)
        key = group.scalar_mul(coefficient, self._share)
        evaluated = oprf.blind_evaluate(key, blinded)
        proof = b""
        if self._mode is oprf.Mode.VOPRF:
            public = keys.public_share(self._manifest, self.number, request.members)
            proof = oprf.generate_proof(key, public, blinded[-1:], evaluated[-1:], self._mode)
        return EvaluatedElements(evaluated.tobytes(), proof)

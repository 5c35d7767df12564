"""Whoever needs tokens, client and platform alike: blinds, asks two members, checks them, combines, finalizes.

For inputs x_1..x_n: C_i = r_i HashToGroup(x_i). Members a, b of the quorum asked answer A_i, B_i; D_i = A_i + B_i is
k C_i, as one holder of the whole key would answer, and the RFC's finalize does the rest.

Checking. The RFC's batched proof costs prover and verifier a multiplication or two an element and member. Here
the requester draws secret scalars d_1..d_n and asks for one element more, the check C* = sum d_i C_i, which to the
members looks like any other. They prove (RFC 9497, VOPRF, a batch of that one element) that its answers A*, B* were
made with the shares whose public parts are pinned; then sum d_i D_i = A* + B* is checked. Suppose answers deviate
from k C_i by E_i, not all zero. Given everything that members see, d is uniform among the vectors with
sum d_i C_i = C*, so that sum d_i E_i = 0 holds with probability 1/q if the E_i are not one multiple of the C_i, and
with probability 1/q (C* = 0) if they are. This holds also for members who work together and compute without limit.
It convinces the requester alone: it is no evidence for others.

If the sum fails, each member's own answers are checked the same way, and the liar is named.

NOT protected: without proofs (OPRF mode) a wrong answer gives a wrong token unnoticed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np

from protocols.base import InputError, IntegrityError, MessageError
from protocols.blind import group, keys, oprf
from protocols.blind.group import ElementError, Rows, ScalarError
from protocols.blind.messages import BlindedElements, EvaluatedElements, Manifest
from protocols.blind.parameters import QUORUM, Parameters


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """What the requester must keep of a request until the answers are in; secret, and of this request alone."""

    members: tuple[int, int]
    inputs: Sequence[bytes] = field(repr=False)
    blinds: Rows = field(repr=False)
    weights: Rows | None = field(repr=False)
    check: bytes = field(repr=False)


class Requester:
    """Makes tokens with the committee's help. Safe to use from several threads."""

    def __init__(self, parameters: Parameters, manifests: Mapping[int, Manifest]) -> None:
        """manifests: by the member that sent it. Raises IntegrityError or ElementError if they are not good."""
        manifest = keys.agreed(manifests)
        self._mode = parameters.mode
        self.epoch = manifest.epoch
        self._quorums = cycle(keys.QUORUMS)  # every pair in turn: see member.py on budgets
        self._lock = threading.Lock()
        self._public = {(q, i): keys.public_share(manifest, i, q) for q in keys.QUORUMS for i in q}

    def request(self, inputs: Sequence[bytes]) -> tuple[Pending, BlindedElements]:
        """For 1 to 65,534 inputs: what to keep, and what to send to the members it names. Raises InputError."""
        if not 0 < len(inputs) < oprf.MAX_BATCH:
            raise InputError(f"inputs has {len(inputs)}; expected 1 to {oprf.MAX_BATCH - 1} in one request")
        with self._lock:
            members = next(self._quorums)
        blinds, blinded = oprf.blind(inputs, self._mode)
        elements, weights, check = blinded.tobytes(), None, b""
        if self._mode is oprf.Mode.VOPRF:
            weights = group.random_scalars(len(inputs))
            check = group.weighted_sum(weights, blinded)
        pending = Pending(members, inputs, blinds, weights, check)
        return pending, BlindedElements(self.epoch, members, elements + check)

    def finish(self, pending: Pending, answers: Mapping[int, EvaluatedElements]) -> Rows:
        """The tokens, (n, 64) uint8, in the order of the inputs.

        Raises IntegrityError, ElementError or ScalarError, each naming the member whose answer is not acceptable;
        without proofs, both members where their answers cancel each other.
        """
        if sorted(answers) != sorted(pending.members):
            raise MessageError(f"answers came from members {sorted(answers)}; members {pending.members} were asked")
        rows = len(pending.inputs) + (pending.weights is not None)
        parts = [
            group.elements(answers[member].elements, rows, f"the answer of member-{member}")
            for member in pending.members
        ]
        try:
            combined = parts[0]
            for part in parts[1:QUORUM]:
                combined = group.add(combined, part)
        except ElementError:
            for member, part in zip(pending.members, parts, strict=True):
                group.check(part, f"the answer of member-{member}")
            raise
        if pending.weights is not None:
            for member, part in zip(pending.members, parts, strict=True):
                self._verify(member, pending, part, answers[member].proof)
            if not _consistent(pending.weights, combined):
                for member, part in zip(pending.members, parts, strict=True):
                    if not _consistent(pending.weights, part):
                        raise IntegrityError(f"member-{member} evaluated with something else than its key share")
                raise IntegrityError(f"the answers of members {pending.members} do not add up")
            combined = combined[:-1]
        elif not combined.any(axis=1).all():
            raise IntegrityError(f"the answers of members {pending.members} cancel each other: one of them lies")
        return oprf.finalize(pending.inputs, pending.blinds, combined)

    def _verify(self, member: int, pending: Pending, part: Rows, proof: bytes) -> None:
        asked = np.frombuffer(pending.check, np.uint8).reshape(1, group.SIZE)
        try:
            oprf.verify_proof(self._public[pending.members, member], asked, part[-1:], proof, self._mode)
        except IntegrityError:
            raise IntegrityError(
                f"member-{member}: its proof does not verify against its pinned public share"
            ) from None
        except ScalarError as error:
            raise ScalarError(f"member-{member}: {error}") from None


def _consistent(weights: Rows, answers: Rows) -> bool:
    """Whether the last answer is the weighted sum of the others, and none of them is the identity."""
    return bool(answers.any(axis=1).all()) and group.weighted_sum(weights, answers[:-1]) == answers[-1].tobytes()

"""A committee with its key made, and requests answered by it."""

from types import SimpleNamespace

import numpy as np
import pytest

from protocols.blind.keys import NUMBERS, Ceremony
from protocols.blind.member import Member
from protocols.blind.parameters import Parameters

SMALL = {"bands": 32, "entry_tokens": 8, "query_tokens": 8}


def listen(number, ceremonies):
    """What member `number` has heard when it can finish: commitments and shares of the others."""
    digests = {n: c.digest for n, c in ceremonies.items()}
    for n, ceremony in ceremonies.items():
        ceremony.commitments({m: d for m, d in digests.items() if m != n})
    others = {n: c for n, c in ceremonies.items() if n != number}
    return (
        {n: c.commitments({m: d for m, d in digests.items() if m != n}) for n, c in others.items()},
        {n: c.share_for(number) for n, c in others.items()},
    )


def hold(ceremonies):
    """Run the ceremony honestly; {number: (share, manifest)}."""
    return {n: c.finish(*listen(n, ceremonies)) for n, c in ceremonies.items()}


@pytest.fixture
def ceremonies():
    return {number: Ceremony(number, epoch=1) for number in NUMBERS}


@pytest.fixture
def committee():
    """committee(**options): parameters, members by number, their manifests, and their answers to a request."""

    def build(clock=None, **options):
        parameters = Parameters(**(SMALL | options))
        members = {n: Member(n, parameters, **({"clock": clock} if clock else {})) for n in NUMBERS}
        parts = {n: m.ceremony for n, m in members.items()}
        manifests = {n: member.finish_ceremony(*listen(n, parts)) for n, member in members.items()}

        def answer(request, requester="platform"):
            return {n: members[n].evaluate(requester, request) for n in request.members}

        return SimpleNamespace(parameters=parameters, members=members, manifests=manifests, answer=answer)

    return build


@pytest.fixture
def run_ceremony():
    return hold


@pytest.fixture
def heard():
    return listen


@pytest.fixture
def rng():
    return np.random.default_rng(20_26)

"""A committee with its key made, and requests answered by it."""

from types import SimpleNamespace

import numpy as np
import pytest

from protocols.blind.keys import NUMBERS, Ceremony
from protocols.blind.member import Member
from protocols.blind.parameters import Parameters

SMALL = {"bands": 32, "entry_tokens": 8, "query_tokens": 8}


def hold(ceremonies):
    """Run the ceremony honestly; {number: (share, manifest)}."""
    digests = {n: c.digest for n, c in ceremonies.items()}
    commitments = {n: c.commitments for n, c in ceremonies.items()}

    def others(n, values):
        return {m: v for m, v in values.items() if m != n}

    return {
        n: c.finish(
            others(n, digests), others(n, commitments), {m: d.share_for(n) for m, d in ceremonies.items() if m != n}
        )
        for n, c in ceremonies.items()
    }


@pytest.fixture
def ceremonies():
    return {number: Ceremony(number, epoch=1) for number in NUMBERS}


@pytest.fixture
def committee():
    """committee(**options): parameters, members by number, the manifest, and their answers to a request."""

    def build(clock=None, **options):
        parameters = Parameters(**(SMALL | options))
        members = {n: Member(n, parameters, **({"clock": clock} if clock else {})) for n in NUMBERS}
        parts = {n: m.ceremony for n, m in members.items()}
        for n, member in members.items():
            others = {m: c for m, c in parts.items() if m != n}
            manifest = member.finish_ceremony(
                {m: c.digest for m, c in others.items()},
                {m: c.commitments for m, c in others.items()},
                {m: c.share_for(n) for m, c in others.items()},
            )

        def answer(request, requester="platform"):
            return {n: members[n].evaluate(requester, request) for n in request.members}

        return SimpleNamespace(parameters=parameters, members=members, manifest=manifest, answer=answer)

    return build


@pytest.fixture
def run_ceremony():
    return hold


@pytest.fixture
def rng():
    return np.random.default_rng(20_26)

"""The numbers of docs/prove.md are the ones that the command prints, and hold what the proofs need."""

from math import log2
from pathlib import Path

import pytest

from protocols.scan import soundness
from protocols.scan.parameters import T_BITS, Parameters
from protocols.scan.proof import SHORT

SETS = [Parameters(name, lanes) for name in ("N4096", "INSECURE_TINY") for lanes in (1, 8, 16)]


def test_the_document_quotes_what_the_command_prints(capsys):
    soundness.main()
    document = (Path(__file__).parents[3] / "docs" / "prove.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out in document


@pytest.mark.parametrize("p", SETS, ids=lambda p: f"{p.name}-{p.lanes}")
def test_bounds_leave_honest_platforms_alone_and_cheats_no_room(p):
    assert soundness.noise(p) < p.q >> (T_BITS + 1)
    assert soundness.algebra_error() < -43
    for short in SHORT:
        assert short.bound > 7 * soundness.deviation(short, p)
        assert soundness.refusal_bound(short, p) < -45
        assert soundness.projection_error(short) <= -46


def test_the_chernoff_bound_is_above_the_gaussian_tail_and_near_it():
    p = Parameters()
    for short in SHORT:
        sigmas = short.bound / soundness.deviation(short, p)
        gaussian = -(sigmas**2) / 2 * 1.4427  # log2 of the tail, up to a factor
        assert gaussian - 1 < soundness.refusal_bound(short, p) - log2(2 * short.count) < 0.8 * gaussian

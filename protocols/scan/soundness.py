"""`python -m protocols.scan.soundness`: what proofs are worth, for each parameter set: docs/prove.md quotes it."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, log2, sinh, sqrt

from protocols.scan.keys import MEMBERS
from protocols.scan.parameters import ETA, PRIMES, RESIDUE_BITS, SETS, T_BITS, Parameters
from protocols.scan.proof import PROJECTIONS, SHARE_BITS, SHORT, Short, length, mixed_sign

LANES = (1, 8, 16)
UNFINISHED = 100  # challenged batches of a platform that a member of the service bears a day, unless told otherwise
PART_VARIANCE = {"u": 2 / 3, "e'": ETA / 2, "e_r": ETA / 2}


def projection_error(short: Short) -> float:
    """log2 of the chance that a coordinate beyond 2*bound passes: at most one weight of 2^(c+1) hides it, each time."""
    return -(short.c + 1) * short.count


def algebra_error() -> float:
    """log2 of the chance that a wrong linear form, wrongly opened projection or sign passes: 1/p each, added up."""
    return log2(3 / min(PRIMES))


def deviation(short: Short, parameters: Parameters) -> float:
    """Standard deviation of an honest projection."""
    return sqrt(_size(short, parameters) * PART_VARIANCE[short.part] / 3) * 2**short.c


def _size(short: Short, parameters: Parameters) -> int:
    return parameters.n * (parameters.lanes if short.part == "e_r" else 1)


def refusal_bound(short: Short, parameters: Parameters) -> float:
    """log2 of a bound on the chance that an honest projection is refused: Chernoff, both sides, all projections.

    A coordinate's E exp(s*x*z), x uniform in [-2^c, 2^c) and z ternary or centred binomial, is at most the mean over z
    of exp(|s*z|/2)*sinh(v)/v with v = s*z*2^c; minimised over s by golden section.
    """
    top, size = float(2**short.c), _size(short, parameters)
    mass = {-1: 1 / 3, 0: 1 / 3, 1: 1 / 3} if short.part == "u" else _binomial()

    def exponent(scale: float) -> float:
        mean = 0.0
        for z, weight in mass.items():
            v = abs(scale * z * top)
            mean += weight * exp(abs(scale * z) / 2) * (sinh(v) / v if v > 1e-6 else 1 + v * v / 6)
        return size * log(mean) - scale * short.bound

    return log2(2 * short.count) + _least(exponent, 0.0, 20 / top) / log(2)


def _binomial() -> dict[int, float]:
    mass = {0: 1.0}
    for _ in range(ETA):
        for step in ({0: 0.5, 1: 0.5}, {0: 0.5, -1: 0.5}):
            new: dict[int, float] = {}
            for value, weight in mass.items():
                for add, chance in step.items():
                    new[value + add] = new.get(value + add, 0.0) + weight * chance
            mass = new
    return mass


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    ratio = (sqrt(5) - 1) / 2
    for _ in range(80):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if function(left) < function(right):
            high = right
        else:
            low = left
    return function((low + high) / 2)


def noise(parameters: Parameters) -> int:
    """The largest noise of an accepted result."""
    u, first, others = SHORT
    return parameters.noise_bound(u=u.longest, error=first.longest) + others.longest


def sign_distance(parameters: Parameters) -> float:
    """log2 of the statistical distance of a share of the signs of one result from uniform."""
    return log2(parameters.bits) - SHARE_BITS


def randomness_distance(parameters: Parameters) -> float:
    """log2 of the same for a share of u and the errors: the sum of their mean absolute values over 2^62."""
    mean_error = sum(abs(value) * weight for value, weight in _binomial().items())
    total = parameters.n * 2 / 3 + (parameters.lanes + 1) * parameters.n * mean_error
    return log2(total) - SHARE_BITS


def wire(parameters: Parameters) -> float:
    """Bytes a comparison that the proof of a result adds: A's share; squares, w - r both ways; openings both ways."""
    residues = 2 * parameters.bits * RESIDUE_BITS / 8
    opened = 8 * PROJECTIONS + 2 * 16
    total = 8 * length(parameters, parameters.lanes) + 3 * residues + 2 * opened
    return total / (parameters.lanes * parameters.slots_per_lane)


def main() -> None:
    """Print the table."""
    print("| set | R | algebra | short u, e', e_r | accepted noise, room q/2t | honest refusal (Chernoff) |", end="")
    print(" sigmas of the bounds | shares of signs, of randomness | bytes |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in SETS:
        for lanes in LANES:
            p = Parameters(name, lanes)
            short = ", ".join(f"2^{projection_error(s)}" for s in SHORT)
            refusal = log2(sum(2 ** refusal_bound(s, p) for s in SHORT))
            sigmas = ", ".join(f"{s.bound / deviation(s, p):.1f}" for s in SHORT)
            room = log2(p.q >> (T_BITS + 1))
            print(
                f"| {name} | {lanes} | 2^{algebra_error():.1f} | {short} | 2^{log2(noise(p)):.2f}, 2^{room:.0f}"
                f" | 2^{refusal:.0f} | {sigmas} | 2^{sign_distance(p):.1f}, 2^{randomness_distance(p):.1f}"
                f" | {wire(p):.2f} |"
            )
    print()
    print(f"smallest integer that is 1 mod one prime and -1 mod the other: 2^{log2(mixed_sign()):.1f}; |z| < 2^63.4")
    print(f"hints told of an honest result: {PROJECTIONS}")
    tries = UNFINISHED * len(MEMBERS) // 2
    day = algebra_error() + log2(tries)
    print(f"{UNFINISHED} unfinished batches a member and day: {tries} tries, ", end="")
    print(f"2^{day:.1f} a day, 2^{day + log2(365):.1f} in 365 days")


if __name__ == "__main__":
    main()

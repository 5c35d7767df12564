"""Every parameter set that is made is safe and has room, or is refused by name."""

from dataclasses import replace
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import create
from protocols.base import ConfigurationError, UnsafeThreshold
from protocols.scan import parameters
from protocols.scan.parameters import PRIMES, T_BITS, Parameters, largest_safe_threshold, largest_threshold


def is_prime(value):
    """Miller-Rabin, exact below 3.3 * 10^24 with these bases."""
    odd, twos = value - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41):
        x = pow(base, odd, value)
        if x not in (1, value - 1) and all((x := x * x % value) != value - 1 for _ in range(twos - 1)):
            return False
    return True


def test_primes_are_the_two_largest_below_2_45_that_are_1_mod_8192():
    found = (value for value in range((1 << 45) - (1 << 45) % 8192 + 1, 0, -8192) if value < 1 << 45)
    primes = (value for value in found if is_prime(value))
    assert (next(primes), next(primes)) == PRIMES


def test_modulus_is_within_the_standard_for_128_bits_classical_and_quantum():
    p = Parameters()
    assert p.n == 4096
    assert p.q < 1 << 90
    assert log2(p.q) < 101 < 109  # HE standard 2018, ternary secret, n = 4096: quantum and classical


@pytest.mark.parametrize(("bits", "largest", "safe"), [(256, 127, 71), (64, 64, 5)])
def test_limits(bits, largest, safe):
    assert largest_threshold(bits) == largest
    assert largest_safe_threshold(bits) == safe
    Parameters(bits=bits, threshold=safe)
    with pytest.raises(UnsafeThreshold, match=f"largest safe threshold is {safe}"):
        Parameters(bits=bits, threshold=safe + 1)
    Parameters(bits=bits, threshold=largest, allow_unsafe_threshold=True)
    with pytest.raises(ConfigurationError, match=f"room in a field up to {largest}"):
        Parameters(bits=bits, threshold=largest + 1, allow_unsafe_threshold=True)


def test_an_unsafe_threshold_is_refused_by_create():
    with pytest.raises(UnsafeThreshold, match="72"):
        create("scan", threshold=72)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"name": "N8192"}, "parameter set"),
        ({"lanes": 0}, "lanes"),
        ({"lanes": 17}, "lanes"),
        ({"bits": 128}, "bits"),
        ({"threshold": -1}, "threshold"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, word):
    with pytest.raises(ConfigurationError, match=word):
        Parameters(**options)


def test_a_set_whose_sums_do_not_fit_a_float64_is_refused(monkeypatch):
    monkeypatch.setattr(parameters, "PRIMES", ((1 << 46) + 1, (1 << 46) + 3))
    Parameters(bits=64, threshold=5)
    with pytest.raises(ConfigurationError, match="float64"):
        Parameters(bits=256, threshold=31, lanes=2)


@given(bits=st.sampled_from([64, 256]), threshold=st.integers(0, 127))
def test_aligned_values_fit_a_field_and_tombstones_neither_match_nor_overflow(bits, threshold):
    threshold = min(threshold, largest_threshold(bits))
    p = Parameters(bits=bits, threshold=threshold, allow_unsafe_threshold=True)
    edge = 1 << p.kappa
    assert threshold + p.alignment < edge <= threshold + 1 + p.alignment
    assert bits + p.alignment + threshold + 1 < 1 << 9  # the largest distance, aligned, on a tombstone
    assert 0 + p.alignment + threshold + 1 >= edge  # the smallest never matches


@given(lanes=st.integers(1, 16), name=st.sampled_from(["N4096", "INSECURE_TINY"]))
def test_the_noise_bound_leaves_the_guard_bit_alone(lanes, name):
    p = Parameters(name, lanes)
    assert p.noise_bound() < 1 << 29
    # floor(t*x/q) is off by noise (2^-11 of a unit), by scale_down (2^-12) and by adding floor(q/2t) for q/2t
    assert (p.noise_bound() << T_BITS) / p.q + 2**-12 + 2**-39 < 1 / 2
    assert p.noise_bound() < p.q >> (T_BITS + 1)


def test_noise_bound_grows_with_everything_that_makes_noise():
    p = Parameters()
    assert p.noise_bound(encryptors=4) > p.noise_bound() < p.noise_bound(u=2)
    assert p.noise_bound() < p.noise_bound(error=42)
    assert replace(p, bits=64, threshold=5).noise_bound() < p.noise_bound()
    assert 28 < log2(p.noise_bound()) < 29


def test_insecure_sets_say_so_and_need_a_word():
    assert Parameters("INSECURE_TINY").insecure
    assert not Parameters().insecure
    with pytest.raises(ConfigurationError, match="allow_insecure"):
        create("scan", parameter_set="INSECURE_TINY")

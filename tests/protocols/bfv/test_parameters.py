"""Parameters that would give wrong numbers are refused, and the noise bound holds in practice."""

import numpy as np
import pytest

from protocols import create
from protocols.base import ConfigurationError
from protocols.bfv import seal
from protocols.bfv.messages import Distances
from protocols.bfv.parameters import STANDARD, Parameters
from protocols.ledger import decode


def test_the_standard_set_takes_both_lengths():
    for bits in (64, 256):
        STANDARD.check(bits)


def test_a_plaintext_modulus_without_slots_is_refused():
    with pytest.raises(ConfigurationError, match="slots need"):
        Parameters("X", n=2048, t=12288, log_q=54)


def test_distances_that_would_wrap_are_refused():
    with pytest.raises(ConfigurationError, match="wrap"):
        Parameters("X", n=64, t=257, log_q=54).check(512)


def test_noise_that_could_spoil_a_distance_is_refused():
    with pytest.raises(ConfigurationError, match="noise"):
        Parameters("X", n=2048, t=12289, log_q=50).check(256)


def test_noise_budget_is_left_after_many_clients():
    rng = np.random.default_rng(1)
    protocol = create("bfv", record=True)
    for row in range(12):
        protocol.enroll([f"case-{row}"], rng.integers(0, 256, (1, 32), dtype=np.uint8))
    protocol.match(rng.integers(0, 256, (1, 32), dtype=np.uint8))
    (message,) = [message for message in protocol.ledger.messages if message.kind == "Distances"]
    (result,) = seal.ciphertexts(STANDARD, decode(message.payload, Distances).ciphertexts, 1, "x")
    assert protocol._keyholder._decryptor.invariant_noise_budget(result) >= 15

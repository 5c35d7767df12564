"""The recorded messages are all there, and a fingerprint in the clear is found where there is one."""

import numpy as np
import pytest

from experiments import leakage, plots
from experiments.__main__ import conduct
from experiments.datasets import open_dataset
from experiments.lab import Lab
from protocols import available


@pytest.fixture(scope="module")
def result():
    return conduct("leakage", Lab(open_dataset(None), jobs=1, quiet=True), True, "command")


def test_plaintext_shows_fingerprints_and_no_encrypted_protocol_does(result):
    shown = {row["protocol"] for row in result.rows("messages", shows_fingerprint=True)}
    assert shown == {"plaintext"}
    assert set(result.values("messages", "protocol")) == {n for n, can in available().items() if can.why_not is None}


def test_every_message_says_what_it_is_a_function_of(result):
    assert all(row["function_of"] and row["bytes"] >= row["messages"] for row in result.rows("messages"))
    phases = {row["phase"] for row in result.rows("messages", protocol="plaintext")}
    assert phases == {"enroll", "withdraw"}


def test_the_search_sees_eight_bytes_anywhere():
    hashes = np.random.default_rng(1).integers(0, 256, (3, 32), dtype=np.uint8)
    words = leakage.runs(hashes)
    assert len(words) == 3 * 25
    piece = hashes[1, 11:19].tobytes()
    for before in range(9):
        assert leakage.holds(bytes(before) + piece + b"..", words)
        assert leakage.holds(bytes(before) + piece, words)
        assert not leakage.holds(bytes(before) + piece[:7] + b"..........", words)
    assert not leakage.holds(b"short", words)


def test_figures(result):
    with plots.style():
        drawn = leakage.figures(result)
    assert {"messages", "blind"} <= set(drawn)

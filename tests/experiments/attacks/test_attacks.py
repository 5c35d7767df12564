"""Each attack succeeds where its defence is absent and fails where it is present, on real protocol runs."""

import numpy as np
import pytest

from experiments import attacks, plots
from experiments.__main__ import conduct
from experiments.attacks import chosen, geometry, harvest, inversion, oracle
from experiments.attacks.common import random_hashes
from experiments.datasets import open_dataset
from experiments.lab import Lab
from protocols import available, create


@pytest.fixture(scope="module")
def result():
    return conduct("attacks", Lab(open_dataset(None), jobs=1, quiet=True), True, "command")


def verdicts(result, attack, against):
    rows = [row for row in result.rows("verdicts", against=against) if str(row["attack"]).startswith(attack)]
    return [row["succeeds"] for row in rows]


@pytest.mark.slow
def test_a_raw_hash_draws_its_photo_and_a_sealed_one_does_not(result):
    assert verdicts(result, "1", "plaintext") == [True]
    for name in available():
        if name != "plaintext" and verdicts(result, "1", name):
            assert verdicts(result, "1", name) == [False]
    raw = result.rows("inversion", protocol="plaintext")
    assert all(row["ssim_mean"] > row["ssim_of_another_photo"] + 0.05 for row in raw)


def test_the_thumbnail_has_the_signs_that_the_hash_says():
    bits = np.random.default_rng(1).integers(0, 2, 256, dtype=np.uint8)
    picture = inversion.from_signs(bits)
    coefficients = inversion.dctn(picture, norm="ortho")[1:17, 1:17]
    assert np.array_equal((coefficients > 0).ravel()[::-1], bits == 1)


@pytest.mark.slow
def test_walks_find_a_fingerprint_within_the_known_number_of_queries(result):
    assert all(row["bits_right"] == 1 for row in result.rows("oracle") if available()[row["protocol"]].exact)
    assert all(row["queries"] <= 257 + oracle.STEPS for row in result.rows("oracle"))
    if "bfv" in available() and available()["bfv"].why_not is None:
        assert result.rows("oracle", protocol="bfv", sees="distances")[0]["queries"] == 257


def test_the_threshold_walk_needs_a_match_to_start_from():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 256, dtype=np.uint8)
    far = 1 - truth
    found, _ = oracle.walk_threshold(lambda queries: np.zeros(len(queries), dtype=np.int64), far, rng)
    assert np.mean(found == truth) < 0.7


def test_a_blinded_index_opens_an_entry_to_a_near_duplicate_in_one_query():
    if "blind" not in available() or available()["blind"].why_not is not None:
        pytest.skip("the blinded index cannot run here")
    rng = np.random.default_rng(4)
    entry = random_hashes(rng, 1)
    truth = np.unpackbits(entry[0])
    near, stranger = truth.copy(), rng.integers(0, 2, 256, dtype=np.uint8)
    near[rng.choice(256, oracle.START, replace=False)] ^= 1
    protocol = create("blind")
    protocol.enroll(["case"], entry)
    assert np.array_equal(oracle.read_opened(protocol, near), truth)
    assert np.array_equal(oracle.read_opened(protocol, stranger), stranger)


def test_harvesting_is_measured_at_the_protocol_s_own_number_of_tokens():
    parameters = pytest.importorskip("protocols.blind.parameters")
    assert parameters.Parameters().query_tokens == parameters.Parameters().entry_tokens == harvest.BANDS


@pytest.mark.slow
def test_distances_give_every_fingerprint_and_one_time_pads_none(result):
    right = {(row["view"], row["known_entries"]): row["bits_right"] for row in result.rows("geometry")}
    assert right["distances computed in the clear", 0] > 0.999
    if ("scan", 0) in right:
        assert right["scan", 0] < 0.6
        assert abs(right["scan", 24] - 0.5) < 0.02
    if ("bfv", 0) in right:
        assert right["bfv", 0] > 0.999
        assert right["bfv", 24] > 0.999


def test_known_entries_fix_order_and_signs():
    rng = np.random.default_rng(3)
    truth = rng.choice([-1.0, 1.0], (200, 64))
    shuffled = truth[:, rng.permutation(64)] * rng.choice([-1.0, 1.0], 64)
    assert geometry.best_symmetry(shuffled, truth) == 1
    assert geometry.with_known(shuffled, truth, 40) == 1
    assert geometry.with_known(shuffled, truth, 1) < 0.7


@pytest.mark.slow
def test_measured_band_hits_are_those_of_the_formula(result):
    narrow = result.rows("harvest", band_bits=16)[0]
    assert narrow["hits"] == pytest.approx(narrow["hits_expected"], rel=0.05)
    assert result.rows("harvest", band_bits=64)[0]["hits"] == 0
    assert verdicts(result, "6", "blind, k = 32") == [True]
    assert not any(verdicts(result, "6", "blind, k = 64"))
    assert harvest.expected_share(1e30, 10, 64) == 1


@pytest.mark.slow
def test_marked_ciphertexts_show_every_query_bit(result):
    if "bfv" not in available() or available()["bfv"].why_not is not None:
        pytest.skip("TenSEAL is missing")
    honest, marked = verdicts(result, "7", "bfv")
    assert marked
    assert not honest


@pytest.mark.slow
def test_a_malformed_entry_succeeds_only_with_the_check_switched_off(result):
    for row in result.rows("malformed"):
        assert row["refused"] == row["check"]
        assert (row["strangers_matched_an_entry"] == 0) == row["check"]
        assert row["check"] or row["strangers_matched_an_entry"] == pytest.approx(32 / 512, rel=0.1)
        if row["values_below"] > 1 << 30:
            assert (row["honest_entries_silenced"] > 0.03) == (not row["check"])


def test_chosen_results_read_the_bank_and_the_key():
    if "scan" not in available() or available()["scan"].why_not is not None:
        pytest.skip("the scan cannot run here")
    rows = chosen.run(attacks.QUICK, Lab(open_dataset(None), quiet=True)).tables["chosen"]
    without = [row for row in rows if not row["proofs"]]
    assert [(row["way"], row["right"]) for row in without] == [("weights", 1), ("alone", 1), ("key", 1)]


def test_with_proofs_chosen_results_are_not_answered_and_leave_a_guess():
    if "scan" not in available() or available()["scan"].why_not is not None:
        pytest.skip("the scan cannot run here")
    rows = chosen.run(attacks.QUICK, Lab(open_dataset(None), quiet=True)).tables["chosen"]
    proved = [row for row in rows if row["proofs"]]
    assert [(row["way"], row["results_answered"]) for row in proved] == [("weights", 0), ("alone", 0), ("key", 0)]
    assert sum(row["results"] for row in proved) > 1000
    assert all(abs(row["right"] - guess) < 0.1 for row, guess in zip(proved, (0.5, 0.5, 7 / 27), strict=True))


@pytest.mark.slow
def test_a_real_blinded_index_is_harvested_at_narrow_bands_only(result):
    if "blind" in available() and available()["blind"].why_not is None:
        assert verdicts(result, "6", "blind, k = 12") == [True]
        assert verdicts(result, "6", "blind, k = 64") == [False, False]


@pytest.mark.slow
def test_every_attack_has_a_figure_and_one_without_photos_to_show(result, tmp_path):
    with plots.style():
        assert set(attacks.figures(result)) == set(attacks.ATTACKS)
        hidden = type(result)(**{f: getattr(result, f) for f in result.__struct_fields__} | {
            "tables": result.tables | {"pictures": []}
        })  # fmt: skip
        assert inversion.figure(hidden).axes


def test_uniform_hashes_are_seeded():
    assert np.array_equal(random_hashes(np.random.default_rng(1), 3), random_hashes(np.random.default_rng(1), 3))

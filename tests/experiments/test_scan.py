"""The scan's cost experiment on a small grid: exact, every stage accounted for, every figure drawn."""

from itertools import product

import pytest

from experiments import results, scan
from experiments.datasets import open_dataset
from experiments.lab import Lab


@pytest.fixture(scope="module")
def result():
    config = scan.Config(entries=(300,), batches=(1, 4), lanes=1, repeats=2, sample=8)
    findings = scan.run(config, Lab(open_dataset(None), quiet=True))
    return results.make("scan", scan.QUESTION, "python -m experiments scan", True, {"seed": 1, "repeats": 2}, findings)


def test_agrees_with_plaintext_on_banks_loaded_without_sealing(result):
    assert result.headline["disagreements with plaintext"] == 0
    assert all(row["matches"] >= 1 for row in result.tables["agreement"])
    assert {row["method"] for row in result.tables["agreement"]} == set(scan.METHODS)


def test_stages_and_messages_add_up_to_the_totals(result):
    for method, batch in product(scan.METHODS, (1, 4)):
        (total,) = result.rows("totals", method=method, batch=batch)
        stages = sum(row["cpu_ns_a_comparison"] for row in result.rows("stages", method=method, batch=batch))
        assert stages == pytest.approx(total["cpu_ns_a_comparison"], rel=0.35)
        wire = sum(row["bytes_a_comparison"] for row in result.rows("wire", method=method, batch=batch))
        assert wire == pytest.approx(total["bytes_a_comparison"], rel=1e-3)
    stages = {"encryption of zero", "product", "proof", "check", "decryption", "comparison", "dealing"}
    assert stages <= set(result.values("stages", "stage"))


def test_the_limits_of_the_machine_stand_beside(result):
    (row,) = result.tables["machine"]
    assert all(value > 0 for value in row.values())
    for name in ("memory_read_gb_a_second", "cache_read_gb_a_second", "keystream_gb_a_second", "digest_gb_a_second"):
        assert row[f"{name}_q1"] <= row[name] <= row[f"{name}_q3"] < 1000
    for name in ("forward_transform_us", "inverse_transform_us"):
        assert 0.5 < row[name] < 1000


def test_single_kernels_are_timed(result):
    rows = result.tables["kernels"]
    assert {row["kernel"] for row in rows} == {
        "product, all of it",
        "signed sums of planes",
        "unpacking planes, from memory",
        "functional of a block",
    }
    for row in rows:
        assert (row["batch"], row["lanes"]) == (4, 1)
        assert 0 < row["ns_a_comparison_q1"] <= row["ns_a_comparison"] <= row["ns_a_comparison_q3"]


def test_draws_its_figures(result):
    assert {name for name, figure in scan.figures(result).items() if figure.axes} == {"stages", "grid"}

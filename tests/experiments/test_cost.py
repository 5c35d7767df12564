"""Costs are read from the ledger, budgets are kept, the model finds what it was made from, and the target is stated."""

import msgspec
import numpy as np
import pytest

from experiments import cost, plots, scale
from experiments.__main__ import conduct
from experiments.datasets import open_dataset
from experiments.lab import REPOSITORY_RESULTS, Lab
from experiments.results import load, save
from protocols import available


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def result(folder):
    measured = conduct("cost", Lab(open_dataset(None), quiet=True), True, "command")
    save(measured, folder)
    return measured


@pytest.mark.slow
def test_every_runnable_protocol_is_measured_beside_plaintext(result):
    assert {n for n, can in available().items() if can.why_not is None} <= set(result.values("costs", "method"))
    for row in result.rows("costs"):
        assert 0 < row["cpu_ns_a_comparison_q1"] <= row["cpu_ns_a_comparison"] <= row["cpu_ns_a_comparison_q3"]
        assert row["bank_bytes_an_entry"] >= 32
    assert result.rows("machine")[0]["float64_matmul_gflops"] > 0.1


@pytest.mark.slow
def test_roles_add_up_to_the_whole(result):
    for point in result.rows("costs", repeats=2):
        where = {key: point[key] for key in ("method", "entries", "batch")}
        parts = sum(row["cpu_ns_a_comparison"] for row in result.rows("roles", **where))
        assert parts == pytest.approx(point["cpu_ns_a_comparison"], rel=1e-3)


@pytest.mark.parametrize("own", [False, True])
def test_the_scale_says_whose_costs_it_fits(tmp_path, own):
    cost_result = load(REPOSITORY_RESULTS / "cost.json")
    if own:
        elsewhere = msgspec.structs.replace(cost_result.machine, cpu="Abacus", cores=3)
        save(msgspec.structs.replace(cost_result, machine=elsewhere), tmp_path)
    headline = scale.run(scale.Config(), Lab(open_dataset(None), results=tmp_path, quiet=True)).headline
    assert ("repository" in headline["costs come from"]) is not own
    assert headline["costs were measured on"].startswith("3 x Abacus" if own else f"{cost_result.machine.cores} x ")
    assert headline["costs were measured at commit"] == cost_result.commit


def test_points_beyond_the_budget_are_left_out():
    asked = []

    def slow(bank):
        bill = cost.Bill(enroll_seconds=len(bank) * 1.0)

        def match(queries):
            asked.append((len(bank), len(queries)))
            bill.cpu["platform"].append(1.0)

        return bill, match

    config = cost.Config(entries=(2, 50, 200), batches=(1, 2), repeats=3, seconds=1e9, enroll_seconds=100)
    banks = {n: np.zeros((n, 32), np.uint8) for n in config.entries}
    points = list(cost._points(config, slow, banks, np.zeros((2, 32), np.uint8)))
    assert [(entries, batch) for entries, batch, _ in points] == [(2, 1), (2, 2), (50, 1), (50, 2)]
    assert asked.count((2, 1)) == 1 + 3


def test_the_model_finds_the_coefficients_that_made_the_costs_and_predicts_a_held_back_point():
    truth = np.array([2e-3, 1e-8, 5e-5, 3e-9])
    rows = [
        {"entries": n, "batch": q, "cpu_ns_a_comparison": scale.predict("x", truth, n, q) / (n * q) * 1e9}
        for n in (10_000, 100_000, 1_000_000) for q in (1, 16, 64, 256)
    ]  # fmt: skip
    model = scale.fit("x", [row for row in rows if (row["entries"], row["batch"]) != (100_000, 64)])
    assert scale.predict("x", model, 100_000, 64) == pytest.approx(scale.predict("x", truth, 100_000, 64), rel=1e-3)
    assert model == pytest.approx(truth, rel=0.05)


def test_an_index_is_charged_by_query_and_not_by_entry():
    rows = [{"entries": 1000, "batch": q, "cpu_ns_a_comparison": 60_000.0} for q in (1, 16)]
    model = scale.fit("blind", rows)
    assert scale.predict("blind", model, 10**8, 5) == pytest.approx(5 * 0.06)


def test_a_block_costs_the_same_however_full_it_is():
    model = np.array([0, 0, 0, 1e-9])
    assert scale.predict("bfv", model, 1, 1) == scale.predict("bfv", model, 2048, 1)
    assert scale.predict("bfv", model, 2049, 1) == 2 * scale.predict("bfv", model, 2048, 1)


@pytest.mark.slow
def test_the_target_is_stated_for_every_method(result, folder):
    stated = conduct("scale", Lab(open_dataset(None), quiet=True, results=folder), True, "command")
    at_target = stated.rows("needs", entries=10_000_000, uploads_a_second=4_000)
    assert {row["method"] for row in at_target} == set(result.values("costs", "method"))
    assert all(row["cores"] > 0 and row["bank_gib"] > 0 for row in at_target)
    with plots.style():
        assert set(cost.figures(result)) == {"ladder", "grid", "roles", "wire"}
        assert set(scale.figures(stated)) == {"needs"}

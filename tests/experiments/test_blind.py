"""The blinded index's numbers: margins help, small bands leak, a large bank costs nothing."""

from pathlib import Path

import numpy as np
import pytest

from experiments import blind, plots, results
from experiments.__main__ import conduct
from experiments.datasets import open_dataset
from experiments.lab import REPOSITORY_RESULTS, Lab
from protocols import create
from protocols.blind.parameters import Parameters


@pytest.fixture(scope="module")
def result():
    return conduct("blind", Lab(open_dataset(None), jobs=1, quiet=True), True, "command")


def test_margins_and_more_tokens_find_more(result):
    recall = {(row["tokens"], row["margins"]): row["recall"] for row in result.rows("frontier")}
    assert recall[32, False] < recall[32, True] <= recall[128, True]
    assert recall[128, True] > 0.93
    assert all(row["recall_low"] <= row["recall"] <= row["recall_high"] for row in result.rows("frontier"))


def test_near_copies_are_always_found(result):
    near = [row for row in result.rows("by_distance", tokens=128) if row["distance"] <= 8 and row["pairs"]]
    assert near
    assert all(row["shared"] == 1 for row in near)


def test_who_guesses_more_opens_more(result):
    by = {}
    for row in result.rows("guessing"):
        by.setdefault((row["distance_from"], row["distance_to"]), []).append(row)
    assert list(by)[:2] == [(0, 7), (8, 15)]
    for rows in by.values():
        assert [row["evaluations"] for row in rows] == [128, 1_000, 10_000, 100_000, 1_000_000, Parameters().budget]
        assert len({row["pairs"] for row in rows}) == 1
        opened = [row["opened"] for row in rows if row["pairs"]]
        assert opened == sorted(opened)
    assert any(rows[0]["opened"] < rows[-1]["opened"] for rows in by.values() if rows[0]["pairs"])


def test_the_result_says_what_stands_in_for_the_oprf(result):
    assert "the OPRF is not run" in result.notes[0]


def test_small_bands_give_entries_away_and_wide_ones_do_not(result):
    (narrow,), (wide,) = ([row for row in result.rows("accidents", band_bits=k, queries=2000)] for k in (16, 64))
    assert narrow["entries_opened"] == pytest.approx(narrow["expected"], rel=0.1)
    assert wide["entries_opened"] == 0


def test_proofs_cost_the_platform_and_not_the_members(result):
    plain, proved = result.rows("cost")
    assert proved["platform_ms"] > plain["platform_ms"]
    assert proved["bytes_a_query"] > plain["bytes_a_query"]
    assert 1 < plain["all_over_multiplications"] < proved["all_over_multiplications"]


def test_inputs_that_are_equal_give_the_protocol_a_match():
    """What stands in for the OPRF here decides as the OPRF does."""
    rng = np.random.default_rng(4)
    options = {"bands": 64, "entry_tokens": 12, "query_tokens": 12}
    protocol = create("blind", threshold=40, **options)
    signal = rng.standard_normal((30, 256))
    copies = signal + 0.15 * rng.standard_normal(signal.shape)
    bank, queries = (np.packbits(values > 0, axis=1) for values in (signal, copies))
    protocol.enroll([str(number) for number in range(30)], bank, signal)
    matched = {match.query for match in protocol.match(queries, copies)}
    parameters = protocol.parameters
    ours, theirs = (blind.bands.inputs(h, m, 12, parameters)[0] for h, m in ((bank, signal), (queries, copies)))
    equal = {n for n in range(30) if set(ours[12 * n : 12 * n + 12]) & set(theirs[12 * n : 12 * n + 12])}
    distance = np.unpackbits(bank ^ queries, axis=1).sum(axis=1)
    assert matched == {n for n in equal if distance[n] <= 40} != set()


def test_figures(result):
    with plots.style():
        assert set(blind.figures(result)) == {"frontier", "distance", "accidents"}


DOCUMENT = (Path(blind.__file__).parents[1] / "docs" / "blind.md").read_text()
BUNDLED, OTHERS = (results.load(REPOSITORY_RESULTS / place / "blind.json") for place in ("", "held-out"))


def documented(*cells):
    return "| " + " | ".join(cells) + " |" in DOCUMENT


@pytest.mark.parametrize("tokens", [64, 128, 256, 512])
def test_the_documents_costs_are_the_recorded_ones(tokens):
    cells = [str(tokens)]
    for proofs in (False, True):
        (row,) = BUNDLED.rows("cost", tokens=tokens, proofs=proofs)
        cells += [f"{row['all_ms_smallest']:.1f}, {row['all_ms']:.1f}", f"{row['all_over_multiplications']:.2f}"]
    assert documented(*cells, f"{row['bytes_a_query']:,}")


@pytest.mark.parametrize("tokens", [32, 64, 128, 256, 512])
def test_the_documents_recall_is_the_recorded_one(tokens):
    name = "128, the default" if tokens == 128 else str(tokens)
    known = [each.rows("frontier", band_bits=64, tokens=tokens, margins=True)[0] for each in (BUNDLED, OTHERS)]
    (unknown,) = OTHERS.rows("frontier", band_bits=64, tokens=tokens, margins=False)
    cells = [f"{row['recall']:.3f} ({row['recall_low']:.3f}-{row['recall_high']:.3f})" for row in known]
    assert documented(name, *cells, f"{unknown['recall']:.3f}")


@pytest.mark.parametrize("nearest", range(16, 64, 8))
def test_what_the_document_says_of_guessing_is_recorded(nearest):
    rows = OTHERS.rows("guessing", distance_from=nearest)
    opened = [f"{row['opened']:.3f}".replace("1.000", "1").replace("0.000", "0") for row in rows]
    assert documented(f"{nearest}-{nearest + 7}", str(rows[0]["pairs"]), *opened)


def test_what_the_document_says_of_accidents_is_recorded():
    for k in (16, 24, 32, 48):
        (row,) = BUNDLED.rows("accidents", band_bits=k, queries=100_000)
        expected = f"{row['expected']:,.0f}" if row["expected"] > 1 else f"{row['expected']:.3f}"
        assert documented(str(k), f"{row['entries_opened']:,}", expected)

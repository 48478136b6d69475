"""The table's numbers, against scipy's and by hand."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from earthtone.studies.study import DONE, FAILED, WAITING
from earthtone.studies.sweep_grid import RunFigures
from earthtone.studies.sweep_page import (
    RunRow,
    Spread,
    difference,
    runs_csv,
    spread,
    sweep_page,
    sweep_table,
    variants_csv,
)

SETTINGS = {"match": None, "probe": None}


def row(variant: str, seed: int, score: float | None, **more: str) -> RunRow:
    found = None if score is None else RunFigures({"score": score, "R@10 image_to_sound": score / 2}, 20, 3.0 + seed)
    state = DONE if found else FAILED if more else WAITING
    return RunRow(variant, seed, state, {"loss.name": variant}, f"runs/{variant}/seed-{seed}", found, **more)


ROWS = [
    row("infonce", 0, 0.25), row("infonce", 1, 0.5), row("infonce", 2, 0.375),
    row("<siglip>", 0, 0.375), row("<siglip>", 1, None, why="memory | ran <out>"), row("<siglip>", 2, 0.625),
    row("triplet", 0, None), row("triplet", 1, None), row("triplet", 2, None),
]  # fmt: skip


def test_means_spreads_and_differences_by_seed() -> None:
    table = sweep_table(ROWS)
    first, second, third = table.variants
    assert first.figures["score"].mean == 0.375 and first.figures["score"].deviation == pytest.approx(0.125)
    assert (first.done, second.done, third.done) == (3, 2, 0) and not first.differences and not third.figures
    gap = second.differences["score"]  # of seeds 0 and 2: 0.125 and 0.25
    assert gap.mean == 0.1875 and gap.n == 2
    assert gap.interval is not None and gap.interval[1] - gap.mean == pytest.approx(
        12.7062047 * 0.0625, rel=1e-6
    )  # t, 1 freedom
    assert first.seconds is not None and first.seconds.mean == 4


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_the_interval_is_that_of_a_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    of, to = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    found = difference(of, to)
    assert found is not None and found.interval is not None
    gaps = np.subtract(list(of.values()), list(to.values()))
    if np.ptp(gaps) < 1e-6:
        return
    theirs = stats.ttest_rel(list(of.values()), list(to.values())).confidence_interval(0.95)
    assert found.interval == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_one_seed_has_no_spread_and_no_interval() -> None:
    only = spread([0.5])
    assert only is not None and only.deviation is None
    only = difference({0: 0.5, 1: 0.1}, {0: 0.25})
    assert only == Spread(0.25, None, 1) and only.interval is None
    assert difference({0: 0.5}, {1: 0.5}) is None and spread([]) is None


def test_markdown_says_what_was_chosen_on_and_what_failed() -> None:
    text = sweep_page(sweep_table(ROWS), SETTINGS).markdown()
    assert "measured on val" in text and "| infonce | 3 | 0.375 ± 0.125 |" in text
    assert "+0.188 [-0.607, +0.982], n 2" in text and "| 2 of 3 |" in text
    assert "seed 1: failed: memory \\| ran \\<out\\>" in text and "3 of 9 runs are still to be run" in text


def test_csv_holds_full_precision() -> None:
    table = sweep_table(ROWS)
    variants = list(csv.DictReader(io.StringIO(variants_csv(table))))
    assert len(variants) == 6 and variants[0]["loss.name"] == "infonce" and float(variants[0]["mean"]) == 0.375
    assert variants[2]["variant"] == "<siglip>" and variants[2]["difference_n"] == "2" and variants[4]["n"] == "0"
    runs = list(csv.DictReader(io.StringIO(runs_csv(table))))
    assert [run["state"] for run in runs] == ["done"] * 3 + ["done", "failed", "done"] + ["waiting"] * 3
    assert runs[4]["note"] == "memory | ran <out>" and float(runs[5]["score"]) == 0.625


@pytest.mark.parametrize("value", [-10.0, -0.25, -3])
def test_numbers_below_zero_stay_numbers(value: float) -> None:
    table = sweep_table([RunRow("a", 0, WAITING, {"loss.options.bias": value}, "runs/a/seed-0", None)])
    (run,) = csv.DictReader(io.StringIO(runs_csv(table)))
    assert float(run["loss.options.bias"]) == value


def test_formulas_do_not() -> None:
    table = sweep_table([RunRow("-1+1", 0, WAITING, {"loss.name": "=A1"}, "runs/a/seed-0", None)])
    (run,) = csv.DictReader(io.StringIO(runs_csv(table)))
    assert (run["variant"], run["loss.name"]) == ("'-1+1", "'=A1")


def test_the_page_is_escaped() -> None:
    text = sweep_page(sweep_table(ROWS), SETTINGS).html()
    assert "<siglip>" not in text and "&lt;siglip&gt;" in text and "ran &lt;out&gt;" in text
    assert 'href="runs/infonce/seed-0/report.html"' in text and "+0.188 [-0.607, +0.982], n 2" in text

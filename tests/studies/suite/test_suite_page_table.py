"""The table: best figures, comparisons by hand, Holm over all of them."""

from dataclasses import replace

import pytest

from earthtone.evaluate.results import Estimate, TaskResult, mcnemar_p
from earthtone.studies.study import DONE, FAILED, WAITING
from earthtone.studies.suite_page import Cell, SuiteTable, suite_table


def result(model: str, right: str, dataset: str = "set") -> TaskResult:
    scores = [float(letter == "x") for letter in right]
    value = sum(scores) / len(scores)
    return TaskResult(
        "probe", dataset, model, "fitted, measured", "accuracy",
        {"accuracy": Estimate(value, value - 0.1, value + 0.1, 0.5, len(scores))},
        ids=[f"i{n}" for n in range(len(scores))], scores=scores,
    )  # fmt: skip


def cell(model: str, right: str, dataset: str = "set") -> Cell:
    return Cell("probe", dataset, model, DONE, result(model, right, dataset))


def table() -> SuiteTable:
    return suite_table(
        [
            cell("a", "x........."), cell("b", "xxxxxxxxx."), cell("c", "xx........"),
            cell("a", "xx..", "two"), Cell("probe", "two", "b", FAILED, why="broken"), cell("c", "xx..", "two"),
        ],
        "a",
        resamples=100,
    )  # fmt: skip


def test_the_best_of_each_column_is_marked_also_when_two_are() -> None:
    first, second = table().columns
    assert first.best == {"b"} and second.best == {"a", "c"}
    alone = suite_table([cell("a", "x.")], "a")
    assert alone.columns[0].best == frozenset()  # nothing to be better than
    assert first.items == 10 and first.headline == "accuracy"


def test_comparisons_are_paired_and_corrected_over_the_whole_table() -> None:
    made = table().comparisons
    assert [(each.dataset, each.model) for each in made] == [("set", "b"), ("set", "c"), ("two", "c")]
    assert made[0].comparison is not None and made[0].comparison.difference.value == pytest.approx(0.8)
    assert made[0].comparison.p_value == pytest.approx(mcnemar_p(8, 0)) == pytest.approx(2 / 2**8)
    assert made[0].p_holm == pytest.approx(3 * 2 / 2**8)  # the smallest of three
    assert made[1].p_holm == made[2].p_holm == 1.0


def test_results_on_other_items_are_not_compared_but_told() -> None:
    other = replace(result("b", "xx"), ids=["i0", "elsewhere"])
    found = suite_table([cell("a", "xx"), Cell("probe", "set", "b", DONE, other)], "a").comparisons[0]
    assert found.comparison is None and "elsewhere" in found.why and found.p_holm is None


def test_without_the_baselines_figure_there_is_nothing_to_compare() -> None:
    cells = [Cell("probe", "set", "a", WAITING), cell("b", "xx"), cell("c", "x.")]
    assert suite_table(cells, "a").comparisons == []
    assert suite_table(cells, "c").comparisons[0].model == "b"


def test_items_of_one_group_are_drawn_together() -> None:
    groups = {f"i{n}": str(n // 8) for n in range(16)}
    right, wrong = "xxxxxxxx........", "................"
    plain = suite_table([cell("a", wrong), cell("b", right)], "a", resamples=400).comparisons[0]
    cells = [replace(each, groups=groups) for each in (cell("a", wrong), cell("b", right))]
    grouped = suite_table(cells, "a", resamples=400).comparisons[0]
    assert plain.comparison is not None and grouped.comparison is not None
    assert (grouped.comparison.difference.low, grouped.comparison.difference.high) == (
        0.0,
        1.0,
    )  # two groups, all or nothing
    assert plain.comparison.difference.low > 0.1 and plain.comparison.difference.high < 0.9

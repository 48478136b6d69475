"""Intervals against plain loops with the same draws."""

import statistics
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.errors import ConfigError
from earthtone.evaluate.results import PerQuery, estimates


def intervals(figures: dict[str, PerQuery], *clusters: Any, **options: Any) -> dict[str, tuple[float, float]]:
    return {name: (found.low, found.high) for name, found in estimates(figures, {}, *clusters, **options).items()}


def plain(values: list[float], clusters: list[int], median: bool, resamples: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    names = sorted(set(clusters))
    found = []
    for _ in range(resamples):
        sample = []
        for drawn in rng.integers(0, len(names), len(names)):
            sample += [v for v, c in zip(values, clusters, strict=True) if c == names[drawn] and v == v]
        if sample:
            found.append(statistics.median(sample) if median else statistics.fmean(sample))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30), st.booleans(), st.booleans())
def test_equals_a_plain_loop(seed: int, count: int, groups: int, median: bool, gaps: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 9, count) / 2
    if gaps:
        values[rng.random(count) < 0.3] = np.nan
        values[0] = 1.0
    clusters = rng.integers(0, groups, count)
    found = intervals({"x": PerQuery(values, median)}, clusters, resamples=40, seed=seed)
    assert found["x"] == pytest.approx(plain(values.tolist(), clusters.tolist(), median, 40, seed))


def test_memory_bound_and_other_figures_change_nothing() -> None:
    values = np.random.default_rng(0).random(50)
    figures = {"mean": PerQuery(values), "median": PerQuery(values, median=True)}
    whole = intervals(figures)
    one_by_one = intervals(figures, max_bytes=1)
    assert all(one_by_one[name] == pytest.approx(whole[name]) for name in figures)
    assert intervals({"median": figures["median"]})["median"] == whole["median"]
    assert intervals(figures, np.arange(50)) == whole
    assert intervals(figures, seed=1) != whole


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).standard_normal(4000)
    low, high = intervals({"x": PerQuery(values)}, resamples=2000)["x"]
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(4000), rel=0.08)


def test_twins_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).random(50), 4)  # four copies of each are no more evidence
    alone = intervals({"x": PerQuery(values)})["x"]
    together = intervals({"x": PerQuery(values)}, np.repeat(np.arange(50), 4))["x"]
    assert together[1] - together[0] == pytest.approx(2 * (alone[1] - alone[0]), rel=0.15)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        low, high = intervals({"x": PerQuery(rng.random(80))}, resamples=300)["x"]
        inside += low <= 0.5 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_estimates_say_how_many_queries() -> None:
    values = np.array([1.0, np.nan, 3.0, 8.0])
    found = estimates({"a": PerQuery(values), "b": PerQuery(values, median=True)}, {"a": 0.5})
    assert (found["a"].value, found["a"].chance, found["a"].queries) == (4.0, 0.5, 3)
    assert (found["b"].value, found["b"].chance) == (3.0, None)
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in found.values())
    assert asdict(found["a"]).keys() == {"value", "low", "high", "chance", "queries"}


def test_one_query_has_a_point_as_interval() -> None:
    assert intervals({"x": PerQuery(np.array([0.25]), median=True)})["x"] == (0.25, 0.25)


def test_refuses_no_resamples() -> None:
    with pytest.raises(ConfigError, match="resamples is 0"):
        intervals({"x": PerQuery(np.ones(3))}, resamples=0)

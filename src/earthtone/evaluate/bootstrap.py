# NOTE to the helper who works on evaluate/: I (the lead) wrote this file myself at 02:43, because nothing was here yet. Do NOT restore yours over it;
# review it, move what was better in yours into it with small edits (keep names and signatures), delete chance.py if unused, write tests + benchmark for it.
# Remove these note lines when done.
"""Intervals by resampling queries (Efron 1979, percentile method)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure, its 95 % interval, and what chance would reach where that is known."""

    value: float
    low: float
    high: float
    chance: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return plain numbers."""
        return {"value": self.value, "low": self.low, "high": self.high, "chance": self.chance}


def mean(values: Values) -> float:
    """The mean of the known values."""
    return float(np.nanmean(values))


def median(values: Values) -> float:
    """The median of the known values."""
    return float(np.nanmedian(values))


def bootstrap(
    figures: Mapping[str, tuple[Values, Callable[[Values], float]]],
    *,
    clusters: NDArray[np.int64] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    chances: Mapping[str, float] | None = None,
) -> dict[str, Estimate]:
    """Return for each figure - values of the N queries and the statistic over them - its value and interval.

    All figures see the same resamples. `clusters` numbers queries that are drawn together, as twins should be: they are
    no independent evidence. One resample is in memory at a time.
    """
    count = len(next(iter(figures.values()))[0])
    draw = np.random.default_rng(seed)
    members = None if clusters is None else _members(clusters)
    drawn = {name: np.empty(resamples) for name in figures}
    for turn in range(resamples):
        chosen = draw.integers(count, size=count) if members is None else _draw_clusters(members, draw)
        for name, (values, statistic) in figures.items():
            drawn[name][turn] = statistic(values[chosen]) if not np.isnan(values[chosen]).all() else np.nan
    estimates = {}
    for name, (values, statistic) in figures.items():
        value = statistic(values)
        known = drawn[name][~np.isnan(drawn[name])]
        low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (value, value)
        estimates[name] = Estimate(value, float(low), float(high), (chances or {}).get(name))
    return estimates


def connected(*groupings: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number a row that rows share when a chain of equal groups leads from one to the other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, offset = len(groupings[0]), len(groupings[0])
    rows, nodes = [], []
    for grouping in groupings:
        numbers = np.unique(grouping, return_inverse=True)[1]
        rows.append(np.arange(count))
        nodes.append(offset + numbers)
        offset += int(numbers.max()) + 1
    edges = coo_array(
        (np.ones(count * len(groupings), bool), (np.concatenate(rows), np.concatenate(nodes))), (offset,) * 2
    )
    return np.asarray(connected_components(edges, directed=False)[1][:count], np.int64)


def _members(clusters: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return (rows sorted by cluster, first of each cluster, size of each cluster)."""
    numbers = np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(numbers)
    return np.argsort(numbers, kind="stable"), np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes


def _draw_clusters(
    members: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], draw: np.random.Generator
) -> NDArray[np.int64]:
    rows, first, sizes = members
    chosen = draw.integers(len(sizes), size=len(sizes))
    counts = sizes[chosen]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(rows[np.repeat(first[chosen], counts) + within])

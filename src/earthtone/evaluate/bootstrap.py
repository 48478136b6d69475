"""Figures with 95 % intervals, from resampling the queries."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError

_PERCENTILES = (2.5, 97.5)
_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Estimate:
    """One measured figure, its 95 % interval, what chance gives (None when unknown), and from how many queries."""

    value: float
    low: float
    high: float
    chance: float | None
    queries: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class PerQuery:
    """A figure that is the mean, or with `median` the median, of one value a query; NaN leaves a query out."""

    values: NDArray[np.float64]
    median: bool = False

    def value(self) -> float:
        """Return the figure; NaN when no query has a value."""
        known = self.values[~np.isnan(self.values)]
        if not len(known):
            return float("nan")
        return float(np.median(known) if self.median else np.mean(known))


def bootstrap_intervals(
    figures: Mapping[str, PerQuery],
    clusters: NDArray[np.int64] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    max_bytes: int = _MAX_BYTES,
) -> dict[str, tuple[float, float]]:
    """Return the percentile 95 % interval of each figure.

    Each resample draws as many clusters as there are, with replacement, and counts all queries of a drawn cluster;
    all figures see the same resamples. `clusters` is (N,), equal numbers together; None: each query is its own. The
    draws depend on `seed` alone, not on `max_bytes`, which bounds what is held at once.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13; for clusters Cameron, Gelbach
    and Miller, "Bootstrap-based improvements for inference with clustered errors" (2008), pairs cluster bootstrap.
    Raises ConfigError for less than one resample.
    """
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; at least 1 expected, 1000 is usual")
    if not figures:
        return {}
    count = len(next(iter(figures.values())).values)
    number = np.arange(count) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    block = max(1, min(resamples, max_bytes // (24 * count)))
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in figures}
    for weights in resample_weights(number, resamples, block, seed):
        for name, figure in figures.items():
            parts[name].append(
                _weighted_medians(figure, weights) if figure.median else _weighted_means(figure, weights)
            )
    return {name: interval(np.concatenate(found)) for name, found in parts.items()}


def estimates(
    figures: Mapping[str, PerQuery],
    chances: Mapping[str, float | None],
    clusters: NDArray[np.int64] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return each figure with its interval and what chance gives; see `bootstrap_intervals`."""
    intervals = bootstrap_intervals(figures, clusters, resamples=resamples, seed=seed)
    return {
        name: Estimate(figure.value(), *intervals[name], chances.get(name), int((~np.isnan(figure.values)).sum()))
        for name, figure in figures.items()
    }


def resample_weights(number: NDArray[np.intp], resamples: int, block: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each query is drawn, (resamples, N) in blocks of rows; `number` is the cluster of each query."""
    rng = np.random.default_rng(seed)
    count = int(number.max()) + 1
    for start in range(0, resamples, block):
        drawn = [
            np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(min(block, resamples - start))
        ]
        yield np.stack(drawn).astype(np.float64)[:, number]


def _weighted_means(figure: PerQuery, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(figure.values)
    total = weights @ known.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a resample without any known query has no mean
        means: NDArray[np.float64] = (weights @ np.where(known, figure.values, 0.0)) / total
    return means


def _weighted_medians(figure: PerQuery, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each resample as if every query were repeated as often as it was drawn."""
    known = np.flatnonzero(~np.isnan(figure.values))
    order = known[np.argsort(figure.values[known], kind="stable")]
    values = figure.values[order]
    medians = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        drawn = np.cumsum(weight[order])
        if len(drawn) and drawn[-1]:
            middle = np.array([(drawn[-1] - 1) // 2, drawn[-1] // 2])  # one place, or the two around the middle
            medians[row] = values[np.searchsorted(drawn, middle, side="right")].mean()
    return medians


def interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of a figure's resampled values; NaN without any known value."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, _PERCENTILES)
    return float(low), float(high)

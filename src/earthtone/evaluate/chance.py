"""What a random ranking reaches, in closed form where there is one."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from earthtone.evaluate.ranking import NDCG_DISCOUNTS
from earthtone.geo import great_circle_km

_DRAWS = 4000
_CLOSE = 1e-9


def beyond(gallery: int, relevant: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (gallery + 1,): at r, how likely the first right item of a random ranking comes after rank r.

    The mean over the queries, query i having `relevant[i]` right items in the gallery. For m right items of N that is
    C(N - m, r) / C(N, r), the hypergeometric chance of no right item among r, here as a running product.
    """
    ranks = np.arange(gallery)
    mean = np.zeros(gallery + 1)
    numbers, counts = np.unique(relevant, return_counts=True)
    for number, count in zip(numbers, counts, strict=True):
        still = np.maximum(gallery - ranks - number, 0) / (gallery - ranks)
        mean += count * np.concatenate([[1.0], np.cumprod(still)])
    return mean / len(relevant)


def share_found(gallery: int, right_items: Mapping[int, int]) -> NDArray[np.float64]:
    """Return (gallery + 1,): at k, the share of queries that have a right item among the first k of a random ranking.

    `right_items` are how many queries have so many right items; none of them known: one each.
    """
    known = {number: count for number, count in right_items.items() if 1 <= number <= gallery and count > 0} or {1: 1}
    relevant = np.repeat(np.array([*known], np.int64), [*known.values()])
    found: NDArray[np.float64] = 1 - beyond(gallery, relevant)
    return found


def against_chance(
    value: float, chance: float | None, low: float | None = None, high: float | None = None, *, less: bool = False
) -> str:
    """Return how a figure with its interval stands to chance, in words; empty when it is clearly better, or unknown.

    `less`: less is better, as of ranks and kilometres.
    """
    if chance is None:
        return ""
    if not less and chance >= 1 - _CLOSE:
        return "chance reaches it too"
    best, worst = value if high is None else high, value if low is None else low
    if less:
        value, chance, best, worst = -value, -chance, -worst, -best
    if value < chance - _CLOSE:
        return "below chance" if best < chance else "below chance, though not clearly"
    return "not clearly above chance" if worst <= chance + _CLOSE else ""


def mean_reciprocal_rank(beyond: NDArray[np.float64]) -> float:
    """Return the expected 1 / rank."""
    return float((-np.diff(beyond) / np.arange(1, len(beyond))).sum())


def median_rank(beyond: NDArray[np.float64]) -> float:
    """Return the median rank of the first right item over queries and rankings; (N + 1) / 2 for one right item."""
    lower = np.flatnonzero(beyond <= 0.5 + _CLOSE)[0]
    upper = np.flatnonzero(beyond < 0.5 - _CLOSE)[0]
    return float(lower + upper) / 2


def ndcg(gallery: int, relevant: NDArray[np.int64]) -> float:
    """Return the expected nDCG@10: each place is right with a chance of relevant / gallery."""
    ideal = np.cumsum(NDCG_DISCOUNTS)[np.minimum(relevant, len(NDCG_DISCOUNTS)) - 1]
    return float((relevant / gallery / ideal).mean() * NDCG_DISCOUNTS[:gallery].sum())


def nearest_km(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64], depths: list[int], seed: int
) -> dict[int, NDArray[np.float64]]:
    """Return for each depth k (4000,) distances in km to the nearest of k random items, for random queries.

    Simulated, since there is no closed form; places are degrees, NaN when unknown. Nothing where all are unknown.
    """
    if not depths or np.isnan(longitude).all():
        return {}
    rng = np.random.default_rng(seed)
    queries = rng.choice(np.flatnonzero(~np.isnan(longitude)), _DRAWS)
    found = np.stack([rng.choice(len(longitude), max(depths), replace=False) for _ in range(_DRAWS)])
    km = great_circle_km(longitude[queries, None], latitude[queries, None], longitude[found], latitude[found])
    return {k: np.fmin.reduce(km[:, :k], axis=1) for k in depths}  # NaN where none is known

"""Is one model better than another on the same test items, or was it luck?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import DataError
from earthtone.evaluate.bootstrap import Estimate, PerQuery, estimates
from earthtone.evaluate.task_result import TaskResult

_FLIPS = 9999


@dataclass(frozen=True)
class Comparison:
    """The first model against the second, item by item."""

    first: str
    second: str
    headline: str
    difference: Estimate
    """First minus second, with its paired bootstrap interval."""
    p_value: float
    """Two-sided: how often chance alone makes a difference this large when both models are equally good."""
    test: str
    """`mcnemar` for right and wrong, `sign_flip` for scores between."""
    first_better: int
    """Items on which the first scores higher."""
    second_better: int

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Return one line for the terminal."""
        gap = self.difference
        return (
            f"{self.first} - {self.second}: {self.headline} {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], "
            f"p {self.p_value:.2g} ({self.test}; better on {self.first_better}, worse on {self.second_better} of "
            f"{gap.queries} items)"
        )


def compare_results(
    first: TaskResult,
    second: TaskResult,
    *,
    clusters: NDArray[np.int64] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Return the paired comparison of two results on the same test items, joined by id.

    Where both scored every item 0 or 1: McNemar's test, in its exact form (the discordant items are a binomial with
    one half; McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika
    12(2), 1947). Otherwise a sign-flip permutation test of the mean difference with 9,999 seeded flips. The interval
    is a paired bootstrap: items are resampled, each with both scores; `clusters` as in `bootstrap_intervals`, in the
    order of `first.ids`. Raises DataError for results of other tasks, headlines or items.
    """
    one, other = paired_scores(first, second)
    gap = one - other
    binary = np.isin(np.concatenate([one, other]), (0.0, 1.0)).all()
    better, worse = int((gap > 0).sum()), int((gap < 0).sum())
    found = estimates({"gap": PerQuery(gap)}, {"gap": 0.0}, clusters, resamples=resamples, seed=seed)["gap"]
    return Comparison(
        first=first.model,
        second=second.model,
        headline=first.headline,
        difference=found,
        p_value=mcnemar_p(better, worse) if binary else sign_flip_p(gap, seed),
        test="mcnemar" if binary else "sign_flip",
        first_better=better,
        second_better=worse,
    )


def paired_scores(first: TaskResult, second: TaskResult) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both models' scores of the same items, in the order of `first.ids`. Raises DataError."""
    for name in ("task", "dataset", "headline"):
        if getattr(first, name) != getattr(second, name):
            raise DataError(
                f"{first.model} and {second.model} cannot be compared: {name} {getattr(first, name)!r} and "
                f"{getattr(second, name)!r}; results of one task on one data set expected"
            )
    by_id = [_scores_by_id(result) for result in (first, second)]
    if by_id[0].keys() != by_id[1].keys():
        only = [sorted(by_id[i].keys() - by_id[1 - i].keys()) for i in (0, 1)]
        example = (only[0] + only[1])[0]
        raise DataError(
            f"{first.model} and {second.model} were tested on other items: {len(only[0])} only in the first, "
            f"{len(only[1])} only in the second, such as {example!r}; run both on the same data and split"
        )
    ids = list(first.ids)
    return np.array([by_id[0][i] for i in ids], np.float64), np.array([by_id[1][i] for i in ids], np.float64)


def mcnemar_p(first_only: int, second_only: int) -> float:
    """Return the exact two-sided p-value of McNemar's test from how many items only one of the two had right."""
    total, fewer = first_only + second_only, min(first_only, second_only)
    tail, term = 0, 1  # whole numbers: exact for any count
    for successes in range(fewer + 1):
        tail += term
        term = term * (total - successes) // (successes + 1)
    return float(min(1.0, 2 * tail / 2**total))


def sign_flip_p(gaps: NDArray[np.float64], seed: int = 0) -> float:
    """Return the two-sided p-value of a mean difference: the share of random sign flips with one as large.

    The flips include the observed signs, so that p is never 0 (Phipson and Smyth, "Permutation p-values should never be
    zero", 2010).
    """
    seen = gaps[np.nonzero(gaps)]  # an item without a difference has no sign
    if not len(seen):
        return 1.0
    rng = np.random.default_rng(seed)
    least = abs(seen.sum()) - 1e-9 * max(1.0, float(np.abs(seen).sum()))
    block = max(1, 2**24 // len(seen))
    extreme = 0
    for start in range(0, _FLIPS, block):
        signs = rng.integers(0, 2, (min(block, _FLIPS - start), len(seen)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ seen) >= least).sum())
    return float((1 + extreme) / (1 + _FLIPS))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for having made several comparisons, by name.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2), 1979.
    """
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p_values}


def _scores_by_id(result: TaskResult) -> dict[str, float]:
    if not len(result.ids) or len(result.ids) != len(result.scores):
        raise DataError(
            f"{result.task} of {result.model}: {len(result.ids)} ids and {len(result.scores)} scores; "
            "one score an item expected, such as evaluate ... --out writes"
        )
    found = dict(zip(result.ids, result.scores, strict=True))
    if len(found) != len(result.ids):
        raise DataError(f"{result.task} of {result.model}: {len(result.ids) - len(found)} ids occur twice")
    return found

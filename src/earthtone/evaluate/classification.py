"""Accuracy, F1, precision and recall of predicted classes, each with an interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.bootstrap import Estimate, interval, resample_weights

Labels = NDArray[np.str_]
_MAX_BYTES = 64 * 2**20
FIGURES = ("accuracy", "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1")


def classification_figures(
    truth: Sequence[str],
    *predictions: Sequence[str],
    clusters: NDArray[np.int64] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the figures of `FIGURES` by name, with 95 % percentile bootstrap intervals.

    Several `predictions` of the same N items come from several seeds or draws: each figure is then the mean over them,
    and its interval comes from resampling items and seeds independently (the pigeonhole bootstrap of Owen, "The
    pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007), so that it says both how few items and how few
    seeds there were. `clusters` is (N,): items of equal number are drawn together.

    F1 of a class is 2 TP / (2 TP + FP + FN), its precision 0 where it was never predicted; `macro` is the mean over the
    classes of the truth, `weighted` the mean by their items. The chance of accuracy is the share of the commonest class
    of the truth. Raises DataError for answers that do not fit, ConfigError for less than one resample.
    """
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; at least 1 expected, 1000 is usual")
    answers = np.asarray(truth, np.str_)
    said = [np.asarray(predicted, np.str_) for predicted in predictions]
    if not len(answers) or not said or any(len(predicted) != len(answers) for predicted in said):
        found = ", ".join(str(len(predicted)) for predicted in said) or "no"
        raise DataError(f"{found} predictions for {len(answers)} items; one an item expected, of one item or more")
    majority = float(np.unique(answers, return_counts=True)[1].max() / len(answers))
    chances = {"accuracy": majority}
    value = np.mean([_figures(np.ones((1, len(answers))), answers, predicted)[:, 0] for predicted in said], axis=0)
    resampled = _resampled(answers, said, clusters, resamples, seed)
    return {
        name: Estimate(float(value[row]), *interval(resampled[row]), chances.get(name), len(answers))
        for row, name in enumerate(FIGURES)
    }


def accuracy_by_class(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return the share of right answers among the items of each class of the truth."""
    answers, said = np.asarray(truth, np.str_), np.asarray(predicted, np.str_)
    return {str(name): float((said[answers == name] == name).mean()) for name in np.unique(answers)}


def _resampled(
    truth: Labels, said: list[Labels], clusters: NDArray[np.int64] | None, resamples: int, seed: int
) -> NDArray[np.float64]:
    """(figures, resamples): the weighted mean over the predictions, figures on the same drawn items."""
    number = np.arange(len(truth)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    rng = np.random.default_rng([seed, 1])  # other draws than those of the items
    seeds = rng.multinomial(len(said), np.full(len(said), 1 / len(said)), resamples) / len(said)
    parts, start = [], 0
    for weights in resample_weights(number, resamples, max(1, min(resamples, _MAX_BYTES // (24 * len(truth)))), seed):
        share = seeds[start : start + len(weights)]
        parts.append(sum(share[:, at] * _figures(weights, truth, predicted) for at, predicted in enumerate(said)))
        start += len(weights)
    return np.concatenate(parts, axis=1)


def _figures(weights: NDArray[np.float64], truth: Labels, predicted: Labels) -> NDArray[np.float64]:
    """(figures, resamples) of items that count `weights` (resamples, N) times."""
    names = np.unique(truth)
    is_truth = (truth[:, None] == names).astype(np.float64)
    is_said = (predicted[:, None] == names).astype(np.float64)
    there, named, right = weights @ is_truth, weights @ is_said, weights @ (is_truth * is_said)
    total, present = there.sum(axis=1), there > 0
    f1 = 2 * right / np.maximum(there + named, 1)
    precision = right / np.maximum(named, 1)
    accuracy = right.sum(axis=1) / total
    weighted = [(score * there).sum(axis=1) / total for score in (precision, f1)]
    macro = np.where(present, f1, 0).sum(axis=1) / present.sum(axis=1)
    return np.stack([accuracy, macro, weighted[0], accuracy, weighted[1]])  # weighted recall is accuracy

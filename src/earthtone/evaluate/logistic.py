"""Multinomial logistic regression on frozen features."""

import logging
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from earthtone.evaluate.readout import Readout, Rows, Split, choosing_splits

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation (scikit-learn's C) to choose from."""
FIXED_STRENGTH = 0.1
"""C when the training rows are too few to choose one."""
_MAX_STEPS = 1000

_log = logging.getLogger(__name__)


def fit_logistic(train: Rows, validation: Rows | None = None, seed: int = 0) -> Readout:
    """Return a fitted classifier whose L2 strength is the one of `STRENGTHS` that was best on rows to choose on.

    `choosing_splits` says on which; of equally good ones the strongest. The protocol of Alain and Bengio,
    "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644.
    """
    splits, how = choosing_splits(train, validation, seed)
    strength = best_strength(splits) if splits else FIXED_STRENGTH
    return Readout(_fit(train, strength).predict, {"C": strength, "by": how})


def fit_strength(rows: Rows, strength: float, max_steps: int = _MAX_STEPS) -> Readout:
    """Return a classifier fitted with this C."""
    return Readout(_fit(rows, strength, max_steps).predict, {"C": strength, "by": "given"})


def best_strength(splits: list[Split]) -> float:
    """Return the C with the most right answers over all splits, the smallest of equally good ones."""
    right = np.zeros(len(STRENGTHS))
    for fit, check in splits:
        for at, strength in enumerate(STRENGTHS):
            right[at] += (_fit(fit, strength).predict(check.values) == check.labels).sum()
    return STRENGTHS[int(right.argmax())]


def _fit(rows: Rows, strength: float, max_steps: int = _MAX_STEPS) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told below, with the strength
        warnings.simplefilter("ignore", UserWarning)  # many classes for so few rows: few-shot is like that
        model = LogisticRegression(C=strength, solver="lbfgs", max_iter=max_steps).fit(rows.values, rows.labels)
    if model.n_iter_.max() >= max_steps:
        _log.warning("logistic regression with C %g did not converge in %d steps", strength, max_steps)
    return model

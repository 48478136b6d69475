"""Linear probe: how much of a label a linear classifier reads off frozen features."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from earthtone.errors import DataError, ModelError
from earthtone.evaluate.bootstrap import Estimate, PerQuery, estimates

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation (scikit-learn's C) to choose from."""
FIXED_STRENGTH = 0.1
"""C when the training rows are too few to choose one."""
FOLDS = 5
_MAX_STEPS = 1000

_log = logging.getLogger(__name__)
Features = NDArray[np.floating[Any]]
Labels = NDArray[np.str_]
Split = tuple[NDArray[np.float64], Labels, NDArray[np.float64], Labels]


@dataclass(frozen=True)
class ProbeResult:
    """What the probe reached on the test rows, and how it was fitted."""

    accuracy: Estimate
    """Share of right answers; its chance is the share of the commonest test label."""
    macro_f1: float
    """Mean over the test labels of 2 TP / (2 TP + FP + FN)."""
    per_class: Mapping[str, float]
    """Share of right answers among the test rows of each label."""
    classes: int
    """Labels of the training rows."""
    train_rows: int
    test_rows: int
    strength: float
    """The C that was used."""
    chosen: str
    """How it was chosen."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "macro_f1": self.macro_f1,
            "classes": self.classes,
            "accuracy_of_guessing_any_class": 1 / self.classes,
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
            "regularisation_c": self.strength,
            "regularisation_chosen": self.chosen,
            "accuracy_by_class": dict(self.per_class),
        }

    def to_text(self) -> str:
        """Return lines for the terminal."""
        accuracy = self.accuracy
        interval = f"[{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"
        width = max(len("accuracy"), *(len(name) for name in self.per_class)) + 2
        lines = [
            f"linear probe: {self.classes} classes, {self.train_rows:,} training rows, {self.test_rows:,} test rows, "
            f"C {self.strength:g} ({self.chosen})",
            f"{'accuracy'.ljust(width)}{100 * accuracy.value:5.1f} %  {interval}; the commonest class alone "
            f"{100 * (accuracy.chance or 0):.1f} %, any class {100 / self.classes:.1f} %",
            f"{'macro F1'.ljust(width)}{100 * self.macro_f1:5.1f} %",
            *(f"{name.ljust(width)}{100 * share:5.1f} %" for name, share in self.per_class.items()),
        ]
        return "\n".join(lines)


def linear_probe(
    train_features: Features,
    train_labels: Sequence[str],
    test_features: Features,
    test_labels: Sequence[str],
    *,
    val_features: Features | None = None,
    val_labels: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> ProbeResult:
    """Return how well multinomial logistic regression on frozen features (rows, F) names the test labels.

    Features are standardised with the mean and deviation of the training rows alone. The L2 strength is the one of
    `STRENGTHS` that is best on the validation rows, without them by stratified 5-fold cross-validation on the training
    rows, and fixed where a label has fewer than five; of equally good ones the strongest. The protocol of Alain and
    Bengio, "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644.

    Raises DataError for labels and rows that do not fit, ModelError for features that are not finite.
    """
    train, answers = _checked("train", train_features, train_labels)
    test, truth = _checked("test", test_features, test_labels, train.shape[1])
    _check_labels(answers, truth)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation[deviation == 0] = 1.0  # a constant feature says nothing and is 0 then
    train, test = (train - mean) / deviation, (test - mean) / deviation
    if val_features is not None and val_labels is not None and len(val_labels):
        val, val_truth = _checked("val", val_features, val_labels, train.shape[1])
        splits: list[Split] = [(train, answers, (val - mean) / deviation, val_truth)]
        chosen = f"best on {len(val_truth):,} validation rows"
    elif np.unique(answers, return_counts=True)[1].min() >= FOLDS:
        splits, chosen = list(_folds(train, answers, seed)), f"{FOLDS}-fold cross-validation on the training rows"
    else:
        splits, chosen = [], f"fixed, a label has fewer than {FOLDS} training rows"
    strength = _best_strength(splits) if splits else FIXED_STRENGTH
    predicted = _fit(train, answers, strength).predict(test)
    return _result(truth, predicted, answers, strength, chosen, seed, resamples)


def _checked(
    split: str, features: Features, labels: Sequence[str], width: int | None = None
) -> tuple[NDArray[np.float64], Labels]:
    """Features in float64, where lbfgs converges reliably, and labels as an array."""
    values, names = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.str_)
    if values.ndim != 2 or len(values) != len(names) or not len(names):
        raise DataError(
            f"{split}: features {values.shape} and {len(names)} labels; (rows, F) and a label a row expected"
        )
    if width is not None and values.shape[1] != width:
        raise DataError(f"{split}: {values.shape[1]} features a row, but {width} in train; use one model for both")
    if not np.isfinite(values).all():
        raise ModelError(
            f"{split}: {int((~np.isfinite(values)).any(axis=1).sum())} of {len(values)} rows are not finite"
        )
    return values, names


def _check_labels(answers: Labels, truth: Labels) -> None:
    known = np.unique(answers)
    if len(known) < 2:
        raise DataError(
            f"all {len(answers)} training rows have the label {str(known[0])!r}; a probe needs two labels or more"
        )
    unknown = np.setdiff1d(truth, known)
    if len(unknown):
        raise DataError(
            f"test has labels that train lacks: {', '.join(map(repr, unknown.tolist()))}; "
            f"train has {', '.join(map(repr, known.tolist()))}; split by label or drop those rows"
        )


def _folds(train: NDArray[np.float64], answers: Labels, seed: int) -> Iterator[Split]:
    for fit, check in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(train, answers):
        yield train[fit], answers[fit], train[check], answers[check]


def _best_strength(splits: Sequence[Split]) -> float:
    """The C with the most right answers over all splits, the smallest of equally good ones."""
    right = np.zeros(len(STRENGTHS))
    for train, answers, check, truth in splits:
        for at, strength in enumerate(STRENGTHS):
            right[at] += (_fit(train, answers, strength).predict(check) == truth).sum()
    return STRENGTHS[int(right.argmax())]


def _fit(train: NDArray[np.float64], answers: Labels, strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told below, with the strength
        model = LogisticRegression(C=strength, solver="lbfgs", max_iter=_MAX_STEPS).fit(train, answers)
    if model.n_iter_.max() >= _MAX_STEPS:
        _log.warning("logistic regression with C %g did not converge in %d steps", strength, _MAX_STEPS)
    return model


def _result(
    truth: Labels, predicted: Labels, answers: Labels, strength: float, chosen: str, seed: int, resamples: int
) -> ProbeResult:
    right = predicted == truth
    names, counts = np.unique(truth, return_counts=True)
    majority = float(counts.max() / len(truth))
    figures = {"accuracy": PerQuery(right.astype(np.float64))}
    scores = [
        2 * (right & (truth == name)).sum() / ((truth == name).sum() + (predicted == name).sum()) for name in names
    ]
    return ProbeResult(
        accuracy=estimates(figures, {"accuracy": majority}, resamples=resamples, seed=seed)["accuracy"],
        macro_f1=float(np.mean(scores)),
        per_class={str(name): float(right[truth == name].mean()) for name in names},
        classes=len(np.unique(answers)),
        train_rows=len(answers),
        test_rows=len(truth),
        strength=strength,
        chosen=chosen,
    )

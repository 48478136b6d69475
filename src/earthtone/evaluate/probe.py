"""Linear probe: how much of a label a linear classifier reads off frozen features."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earthtone.evaluate.bootstrap import Estimate
from earthtone.evaluate.classification import accuracy_by_class, classification_figures
from earthtone.evaluate.logistic import fit_logistic
from earthtone.evaluate.readout import Features, Labels, check_classes, checked_rows, standardised
from earthtone.wording import one_line_each

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeResult:
    """What the probe reached on the test rows, and how it was fitted."""

    accuracy: Estimate
    """Share of right answers; its chance is the share of the commonest test label."""
    macro_f1: Estimate
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
    predicted: tuple[str, ...] = ()
    """What it said of each test row."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "macro_f1": self.macro_f1.to_dict(),
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
            f"{'macro F1'.ljust(width)}{100 * self.macro_f1.value:5.1f} %",
            *(f"{name.ljust(width)}{100 * share:5.1f} %" for name, share in self.per_class.items()),
        ]
        return one_line_each(lines)


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
    rows, and fixed where a label has fewer than five; see `fit_logistic`. A test label that train lacks counts as
    wrong, with a warning.

    Raises DataError for labels and rows that do not fit, ModelError for features that are not finite.
    """
    train = checked_rows("train", train_features, train_labels)
    width = train.values.shape[1]
    others = [checked_rows("test", test_features, test_labels, width)]
    if val_features is not None and val_labels is not None and len(val_labels):
        others.append(checked_rows("val", val_features, val_labels, width))
    check_classes(train)
    warn_of_unknown(train.labels, others[0].labels)
    train, test, *rest = standardised(train, *others)
    fitted = fit_logistic(train, rest[0] if rest else None, seed)
    predicted = fitted.predict(test.values)
    figures = classification_figures(test.labels.tolist(), predicted.tolist(), resamples=resamples, seed=seed)
    return ProbeResult(
        accuracy=figures["accuracy"],
        macro_f1=figures["macro_f1"],
        per_class=accuracy_by_class(test.labels.tolist(), predicted.tolist()),
        classes=len(np.unique(train.labels)),
        train_rows=len(train),
        test_rows=len(test),
        strength=fitted.chosen["C"],
        chosen=fitted.chosen["by"],
        predicted=tuple(predicted.tolist()),
    )


def warn_of_unknown(known: Labels, truth: Labels) -> tuple[str, ...]:
    """Return the test labels that train lacks, after a warning: their items can only be wrong."""
    unknown = np.setdiff1d(truth, known).tolist()
    if unknown:
        _log.warning(
            "%d of %d test items have a label that train lacks and count as wrong: %s",
            int(np.isin(truth, unknown).sum()), len(truth), ", ".join(map(repr, unknown)),
        )  # fmt: skip
    return tuple(unknown)

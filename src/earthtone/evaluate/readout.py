"""What the classifiers on frozen features share: labelled rows, the scale of the training rows, a fitted classifier."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import DataError, ModelError

FOLDS = 5
"""Of the cross-validation on the training rows where no validation rows are given."""

Features = NDArray[np.floating[Any]]
Values = NDArray[np.float64]
Labels = NDArray[np.str_]


@dataclass(frozen=True)
class Rows:
    """Features (rows, F) and a label each."""

    values: Values
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, at: NDArray[np.int64]) -> "Rows":
        """Return the rows at these positions."""
        return Rows(self.values[at], self.labels[at])


@dataclass(frozen=True)
class Readout:
    """A fitted classifier."""

    predict: Callable[[Values], Labels]
    """(rows, F) -> (rows,) labels."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen, such as `C`, and in `by` how."""


Split = tuple[Rows, Rows]


def checked_rows(split: str, features: Features, labels: Sequence[str], width: int | None = None) -> Rows:
    """Return the rows in float64, where lbfgs converges reliably. Raises DataError, ModelError."""
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
    return Rows(values, names)


def check_classes(train: Rows) -> None:
    """Raise DataError unless the training rows have two labels or more."""
    if len(np.unique(train.labels)) < 2:
        raise DataError(
            f"all {len(train)} training rows have the label {str(train.labels[0])!r}; a probe needs two labels or more"
        )


def standardised(train: Rows, *others: Rows) -> list[Rows]:
    """Return all rows with the mean and deviation of the training rows alone; a constant feature is 0 then."""
    mean, deviation = train.values.mean(axis=0), train.values.std(axis=0)
    deviation[deviation == 0] = 1.0
    return [Rows((rows.values - mean) / deviation, rows.labels) for rows in (train, *others)]


def choosing_splits(train: Rows, validation: Rows | None, seed: int) -> tuple[list[Split], str]:
    """Return pairs of rows to fit on and to choose on, and how that is told; none where there are too few rows.

    The validation rows where there are some, else stratified 5-fold cross-validation on the training rows.
    """
    if validation is not None and len(validation):
        return [(train, validation)], f"best on {len(validation):,} validation rows"
    if np.unique(train.labels, return_counts=True)[1].min() >= FOLDS:
        return list(_folds(train, seed)), f"{FOLDS}-fold cross-validation on the training rows"
    return [], f"fixed, a label has fewer than {FOLDS} training rows"


def _folds(train: Rows, seed: int) -> Iterator[Split]:
    from sklearn.model_selection import StratifiedKFold

    for fit, check in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(train.values, train.labels):
        yield train.take(fit), train.take(check)

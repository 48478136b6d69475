"""Simple classifiers on frozen features: logistic regression, nearest neighbours, centroids, few shots."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from earthtone.data.labelled import open_labelled
from earthtone.data.labelled.items import LabelledItem, LabelledSet
from earthtone.errors import DataError, ModelError
from earthtone.evaluate.ranking import normalised_rows
from earthtone.options import TaskOptions

SPLITS = ("train", "val", "test")
Parts = dict[str, list[LabelledItem]]


def split_items(labelled: LabelledSet, *, measured: str = "test") -> Parts:
    """Return the items of `train`, `val` (may be empty) and `test`, in the set's order; items of no split are left out.

    With `measured` val, those of `train` and `val` alone. Raises DataError without train or what is measured.
    """
    parts = {name: [item for item in labelled.items if item.split == name] for name in SPLITS}
    for name in ("train", measured):
        if not parts[name]:
            found = ", ".join(f"{key} {len(items)}" for key, items in parts.items())
            hint = "; it has folds: evaluate audio is for those" if any(item.fold for item in labelled.items) else ""
            raise DataError(
                f"{labelled.name}: no items of split {name!r} ({found}); train and {measured} expected{hint}"
            )
    return parts if measured == "test" else {name: parts[name] for name in ("train", measured)}


def open_labelled_set(options: TaskOptions) -> LabelledSet:
    """Return the labelled set that the options of a task name."""
    return open_labelled(options.data, dataset=options.dataset, label=options.label, columns=options.columns)


def even_odd(labelled: LabelledSet) -> Parts:
    """Return the release's split: items of even position in the set's order are train, odd ones test; no val.

    Heidler et al., arXiv 2108.00688: sorted files, the splits of the set itself are not looked at.
    """
    if len(labelled.items) < 2:
        raise DataError(f"{labelled.name}: {len(labelled.items)} items; two or more expected")
    return {"train": list(labelled.items[::2]), "val": [], "test": list(labelled.items[1::2])}


def draw_per_class(labels: Sequence[str] | NDArray[np.str_], count: int, seed: Iterable[int]) -> NDArray[np.int64]:
    """Return the sorted positions of `count` random items of each class, all of a class that has fewer."""
    names = np.asarray(labels, np.str_)
    draw = np.random.default_rng(list(seed))
    rows = (np.flatnonzero(names == name) for name in np.unique(names))
    return np.sort(np.concatenate([draw.choice(there, min(count, len(there)), replace=False) for there in rows]))


def check_shots(labels: Sequence[str], shots: Sequence[int]) -> None:
    """Raise DataError where a class has fewer training items than were asked for."""
    if not shots:
        return
    names, counts = np.unique(np.asarray(labels, np.str_), return_counts=True)
    least = int(counts.argmin())
    if min(shots) < 1 or max(shots) > counts[least]:
        raise DataError(
            f"--shots {','.join(map(str, shots))}: class {str(names[least])!r} has {int(counts[least])} training "
            f"items; 1 to {int(counts[least])} a class expected"
        )


_log = logging.getLogger(__name__)

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
class FittedClassifier:
    """A fitted classifier."""

    predict: Callable[[Values], Labels]
    """(rows, F) -> (rows,) labels."""
    chosen: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen, such as `C`, and in `by` how."""


Choice = TypeVar("Choice", float, tuple[int, str])
Split = Sequence[Rows]
"""Rows to fit on and rows to choose on."""


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


def warn_of_unknown(known: Labels, truth: Labels) -> tuple[str, ...]:
    """Return the test labels that train lacks, after a warning: their items can only be wrong."""
    unknown = np.setdiff1d(truth, known).tolist()
    if unknown:
        _log.warning(
            "%d of %d test items have a label that train lacks and count as wrong: %s",
            int(np.isin(truth, unknown).sum()), len(truth), ", ".join(map(repr, unknown)),
        )  # fmt: skip
    return tuple(unknown)


def choosing_splits(train: Rows, validation: Rows | None, seed: int) -> tuple[list[Split], str]:
    """Return pairs of rows to fit on and to choose on, and how that is put; none where there are too few rows.

    The validation rows where there are some, else stratified 5-fold cross-validation on the training rows.
    """
    if validation is not None and len(validation):
        return [(train, validation)], f"best on {len(validation):,} validation rows"
    if np.unique(train.labels, return_counts=True)[1].min() < FOLDS:
        return [], f"fixed, a label has fewer than {FOLDS} training rows"
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(train.values, train.labels)
    splits: list[Split] = [(train.take(fit), train.take(check)) for fit, check in folds]
    return splits, f"{FOLDS}-fold cross-validation on the training rows"


STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation (scikit-learn's C) to choose from."""
FIXED_STRENGTH = 0.1
"""C when the training rows are too few to choose one."""
_MAX_STEPS = 1000


def fit_logistic(train: Rows, validation: Rows | None = None, seed: int = 0) -> FittedClassifier:
    """Return a fitted classifier whose L2 strength is the one of `STRENGTHS` that was best on rows to choose on.

    `choosing_splits` says on which; of equally good ones the strongest. The protocol of Alain and Bengio,
    "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644.
    """
    splits, how = choosing_splits(train, validation, seed)
    strength = best_strength(splits) if splits else FIXED_STRENGTH
    return FittedClassifier(logistic(train, strength).predict, {"C": strength, "by": how})


def best_strength(splits: list[Split]) -> float:
    """Return the C with the most right answers over all splits, the smallest of equally good ones."""
    return _best(STRENGTHS, splits, lambda fit, values: {C: logistic(fit, C).predict(values) for C in STRENGTHS})


def _best(
    choices: Sequence[Choice], splits: list[Split], answers: Callable[[Rows, Values], Mapping[Choice, Labels]]
) -> Choice:
    """Return the choice with the most right answers over all splits, the first of equally good ones."""
    right = dict.fromkeys(choices, 0)
    for fit, check in splits:
        for choice, predicted in answers(fit, check.values).items():
            right[choice] += int((predicted == check.labels).sum())
    return max(choices, key=lambda choice: right[choice])


def logistic(rows: Rows, strength: float, max_steps: int = _MAX_STEPS) -> LogisticRegression:
    """Return a logistic regression fitted with this C, after a warning when it did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # warned of below, with the strength
        warnings.simplefilter("ignore", UserWarning)  # many classes for so few rows: few-shot is like that
        model = LogisticRegression(C=strength, solver="lbfgs", max_iter=max_steps).fit(rows.values, rows.labels)
    if model.n_iter_.max() >= max_steps:
        _log.warning("logistic regression with C %g did not converge in %d steps", strength, max_steps)
    return model


NEIGHBOURS = (1, 3, 5, 10, 20, 50)
"""How many neighbours to choose from."""
WEIGHTINGS = ("equal", "softmax")
"""A vote each, or exp(cosine / 0.07) votes."""
_TEMPERATURE = 0.07
BLOCK_BYTES = 64 * 2**20
Vote = tuple[int, str]


def fit_knn(train: Rows, validation: Rows | None = None, seed: int = 0) -> FittedClassifier:
    """Return a classifier by the training rows of the highest cosine.

    Number and weighting are those that were best on rows to choose on: `choosing_splits` says which. Of
    equally good ones the fewest neighbours; one neighbour where there are too few rows to choose on. The weighting is
    that of Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", arXiv 1805.01978.
    Between labels of equal votes the alphabetically first.
    """
    splits, how = choosing_splits(train, validation, seed)
    fewest = min((len(fit) for fit, _ in splits), default=0)
    choices = [(k, weighting) for k in NEIGHBOURS if k <= fewest for weighting in WEIGHTINGS]
    vote = _best(choices, splits, lambda fit, values: _predictions(fit, values, choices)) if splits else (1, "equal")
    chosen = {"neighbours": vote[0], "weighting": vote[1], "by": how}
    return FittedClassifier(lambda values: _predictions(train, values, [vote])[vote], chosen)


def _predictions(train: Rows, values: Values, choices: list[Vote]) -> dict[Vote, Labels]:
    """Return the labels that each choice gives the rows; all choices share one search."""
    names, number = np.unique(train.labels, return_inverse=True)
    deepest = min(len(train), max(k for k, _ in choices))
    found: dict[Vote, list[NDArray[np.intp]]] = {choice: [] for choice in choices}
    for cosine, nearest in _nearest(train.values, values, deepest):
        for k, weighting in choices:
            near = cosine[:, :k]
            votes = np.ones_like(near) if weighting == "equal" else np.exp((near - near[:, :1]) / _TEMPERATURE)
            ballot = np.zeros((len(votes), len(names)))
            np.add.at(ballot, (np.arange(len(votes))[:, None], number[nearest[:, :k]]), votes)
            found[k, weighting].append(ballot.argmax(axis=1))
    return {choice: names[np.concatenate(parts)] for choice, parts in found.items()}


def _nearest(train: Values, values: Values, count: int) -> Iterator[tuple[Values, NDArray[np.intp]]]:
    """Yield cosines (rows, count) and training rows, highest first, in blocks of bounded memory; ties by position."""
    gallery = normalised_rows(train)
    block = max(1, BLOCK_BYTES // (8 * len(train)))
    for start in range(0, len(values), block):
        cosine = normalised_rows(values[start : start + block]) @ gallery.T
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
        yield np.take_along_axis(cosine, order, axis=1), order


def fit_centroid(train: Rows, validation: Rows | None = None, seed: int = 0) -> FittedClassifier:
    """Return a classifier by the Euclidean distance to each label's mean; it has nothing to choose.

    The prototypes of Snell, Swersky and Zemel, "Prototypical networks for few-shot learning", arXiv 1703.05175.
    Between labels of equal distance the alphabetically first.
    """
    names = np.unique(train.labels)
    centres = np.stack([train.values[train.labels == name].mean(axis=0) for name in names])

    def predict(values: Values) -> Labels:
        # |v - c|^2 without |v|^2, which is the same for all centres
        far = (centres**2).sum(axis=1) - 2 * values @ centres.T
        return np.asarray(names[far.argmin(axis=1)], np.str_)

    return FittedClassifier(predict, {"by": "nothing to choose"})


METHODS = {"logistic": fit_logistic, "knn": fit_knn, "centroid": fit_centroid}


def predicted_labels(method: str, rows: Mapping[str, Rows], seed: int) -> tuple[list[str], dict[str, Any]]:
    """Return the labels that a classifier of `METHODS` gives the rows `test`, and what was chosen for it.

    It is fitted on `train`; what there is to choose is chosen on `val`, if there.
    All rows are standardised on the training rows, alone.
    """
    names = ["train", *(name for name in rows if name != "train")]
    scaled = dict(zip(names, standardised(*(rows[name] for name in names)), strict=True))
    fitted = METHODS[method](scaled["train"], scaled.get("val"), seed)
    return fitted.predict(scaled["test"].values).tolist(), dict(fitted.chosen)

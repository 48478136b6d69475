"""Simple classifiers on frozen features: logistic regression, nearest neighbours, centroids, few shots."""

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.labelled import open_labelled
from earthtone.data.labelled.items import LabelledItem, LabelledSet
from earthtone.device import choose_device
from earthtone.embed.engine import FeatureOptions, extract_features
from earthtone.errors import DataError, ModelError
from earthtone.evaluate.ranking import normalised_rows
from earthtone.evaluate.results import FIGURES, TaskResult, accuracy_by_class, classification_figures
from earthtone.models.backbone import SOURCES, Backbone, open_backbone
from earthtone.models.encoders import ImageEncoder, Tower
from earthtone.models.storage import model_name, opened_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import ProbeOptions

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


def even_odd(labelled: LabelledSet) -> Parts:
    """Return the release's split: items of even position in the set's order are train, odd ones test; no val.

    Heidler et al., arXiv 2108.00688: sorted files, the splits of the set itself are not looked at.
    """
    if len(labelled.items) < 2:
        raise DataError(f"{labelled.name}: {len(labelled.items)} items; two or more expected")
    return {"train": list(labelled.items[::2]), "val": [], "test": list(labelled.items[1::2])}


def drawn(labels: Sequence[str], a_class: int, seed: Iterable[int]) -> np.ndarray:
    """Return the sorted positions of `a_class` random items of each class, all of a class that has fewer."""
    names = np.asarray(labels, np.str_)
    draw = np.random.default_rng(list(seed))
    chosen = []
    for name in np.unique(names):
        there = np.flatnonzero(names == name)
        chosen.append(draw.choice(there, min(a_class, len(there)), replace=False))
    return np.sort(np.concatenate(chosen))


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
    """Return pairs of rows to fit on and to choose on, and how that is put; none where there are too few rows.

    The validation rows where there are some, else stratified 5-fold cross-validation on the training rows.
    """
    if validation is not None and len(validation):
        return [(train, validation)], f"best on {len(validation):,} validation rows"
    if np.unique(train.labels, return_counts=True)[1].min() < FOLDS:
        return [], f"fixed, a label has fewer than {FOLDS} training rows"
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(train.values, train.labels)
    return [(train.take(fit), train.take(check)) for fit, check in folds], (
        f"{FOLDS}-fold cross-validation on the training rows"
    )


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


NEIGHBOURS = (1, 3, 5, 10, 20, 50)
"""How many neighbours to choose from."""
WEIGHTINGS = ("equal", "softmax")
"""A vote each, or exp(cosine / 0.07) votes."""
_TEMPERATURE = 0.07
_BLOCK_BYTES = 64 * 2**20
Choice = tuple[int, str]


def fit_knn(train: Rows, validation: Rows | None = None, seed: int = 0) -> Readout:
    """Return a classifier by the training rows of the highest cosine.

    Number and weighting are those that were best on rows to choose on: `choosing_splits` says which. Of
    equally good ones the fewest neighbours; one neighbour where there are too few rows to choose on. The weighting is
    that of Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", arXiv 1805.01978.
    Between labels of equal votes the alphabetically first.
    """
    splits, how = choosing_splits(train, validation, seed)
    neighbours, weighting = _best(splits) if splits else (1, "equal")

    def predict(values: Values) -> Labels:
        return _predictions(train, values, [(neighbours, weighting)])[neighbours, weighting]

    return Readout(predict, {"neighbours": neighbours, "weighting": weighting, "by": how})


def _best(splits: list[Split]) -> Choice:
    """The choice with the most right answers over all splits, the first of equally good ones."""
    fewest = min(len(fit) for fit, _ in splits)
    choices = [(k, weighting) for k in NEIGHBOURS if k <= fewest for weighting in WEIGHTINGS]
    right = dict.fromkeys(choices, 0)
    for fit, check in splits:
        for choice, predicted in _predictions(fit, check.values, choices).items():
            right[choice] += int((predicted == check.labels).sum())
    return max(choices, key=lambda choice: right[choice])


def _predictions(train: Rows, values: Values, choices: list[Choice]) -> dict[Choice, Labels]:
    """What each choice says of each row; all choices share one search."""
    names, number = np.unique(train.labels, return_inverse=True)
    deepest = min(len(train), max(k for k, _ in choices))
    found: dict[Choice, list[NDArray[np.intp]]] = {choice: [] for choice in choices}
    for cosine, nearest in _nearest(train.values, values, deepest):
        for k, weighting in choices:
            near = cosine[:, :k]
            votes = np.ones_like(near) if weighting == "equal" else np.exp((near - near[:, :1]) / _TEMPERATURE)
            ballot = np.zeros((len(votes), len(names)))
            for column in range(votes.shape[1]):
                ballot[np.arange(len(votes)), number[nearest[:, column]]] += votes[:, column]
            found[k, weighting].append(ballot.argmax(axis=1))
    return {choice: names[np.concatenate(parts)] for choice, parts in found.items()}


def _nearest(train: Values, values: Values, count: int) -> Iterator[tuple[Values, NDArray[np.intp]]]:
    """Yield cosines (rows, count) and training rows, highest first, in blocks of bounded memory; ties by position."""
    gallery = normalised_rows(train)
    block = max(1, _BLOCK_BYTES // (8 * len(train)))
    for start in range(0, len(values), block):
        cosine = normalised_rows(values[start : start + block]) @ gallery.T
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
        yield np.take_along_axis(cosine, order, axis=1), order


def fit_centroid(train: Rows, validation: Rows | None = None, seed: int = 0) -> Readout:
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

    return Readout(predict, {"by": "nothing to choose"})


SHOTS, SEED, SIDE, CROP = 5, 42, 300, 192
_PROTOCOL = (
    f"soundingearth: {SHOTS} images a class (stratified, seed {SEED}), frozen embedding of the centre {CROP} of {SIDE} "
    "pixels, nearest centroid; tested on all others"
)


class _Embedder(nn.Module):
    """An image tower with its projection, as an encoder whose pooled features are the embedding."""

    def __init__(self, tower: Tower, unit: bool) -> None:
        super().__init__()
        self.tower = tower
        self.unit = unit

    def forward(self, inputs: Tensor) -> Tensor:
        projected: Tensor = self.tower(inputs)
        return F.normalize(projected, dim=1) if self.unit else projected

    def forward_intermediates(self, inputs: Tensor) -> Any:
        return self.tower.encoder.forward_intermediates(inputs)  # type: ignore[operator]


def few_shot_probe(options: ProbeOptions) -> TaskResult:
    """Return how the nearest centroid of few embeddings names all other images of a set.

    The short side is resized to 300 and the centre 192 x 192 seen; the embedding is the model's own (for a backbone
    without a projection its pooled features), not standardised; five images a class, all classes together, are drawn
    by a stratified split with seed 42, so that a larger class may give more than five; the splits of the set are not
    looked at. After Heidler et al., arXiv 2108.00688. Raises DataError, ConfigError, ModelError.
    """
    labelled = open_labelled(options.data, dataset=options.dataset, label=options.label, columns=options.columns)
    known, asked = _drawn(labelled)
    start = time.perf_counter()
    embedder = _embedder(options.model, choose_device(options.device))
    features = FeatureOptions(
        bands=options.bands, value_range=options.value_range, precision=options.precision, resize=SIDE,
        cache=None if options.cache is None else Path(options.cache),
    )  # fmt: skip
    found = extract_features(embedder, labelled.items, features)
    usable = set(found.usable.tolist())
    train_at, test_at = ([row for row in rows if row in usable] for rows in (known, asked))
    names = [item.label for item in labelled.items]
    train = checked_rows("train", found.values[train_at], [names[row] for row in train_at])
    test = checked_rows("test", found.values[test_at], [names[row] for row in test_at])
    said = fit_centroid(train).predict(test.values).tolist()
    truth = test.labels.tolist()
    figures = classification_figures(truth, said, resamples=options.resamples)
    return TaskResult(
        task="probe",
        dataset=labelled.name,
        model=model_name(options.model),
        protocol=_PROTOCOL,
        headline="centroid_accuracy",
        figures={f"centroid_{name}": figures[name] for name in FIGURES},
        ids=tuple(labelled.items[row].id for row in test_at),
        scores=tuple(float(a == b) for a, b in zip(said, truth, strict=True)),
        truth=tuple(truth),
        predicted=tuple(said),
        facts={
            "classes": len(labelled.classes),
            "train_rows": len(train),
            "test_rows": len(test),
            "features": int(train.values.shape[1]),
            "accuracy_by_class": accuracy_by_class(truth, said),
            "broken_images": dict(found.broken),
            "features_from_cache": found.cached,
            "seconds": round(time.perf_counter() - start, 2),
            "notes": list(labelled.warnings),
        },
    )


def _drawn(labelled: LabelledSet) -> tuple[list[int], list[int]]:
    """Positions of the few and of the others."""
    names = [item.label for item in labelled.items]
    counts = {name: names.count(name) for name in labelled.classes}
    few = SHOTS * len(counts)
    small = sorted(name for name, count in counts.items() if count < SHOTS + 1)
    if small or len(counts) < 2:
        raise DataError(
            f"{labelled.name}: {len(counts)} classes, {', '.join(map(repr, small[:5])) or 'none'} with fewer than "
            f"{SHOTS + 1} images; --protocol soundingearth needs two classes or more of {SHOTS + 1} images or more"
        )
    known, asked = train_test_split(np.arange(len(names)), train_size=few, stratify=names, random_state=SEED)
    return sorted(known.tolist()), sorted(asked.tolist())


def _embedder(model: TwoTower | str | Path, device: str) -> Backbone:
    kind, colon, _ = str(model).partition(":")
    named = not isinstance(model, TwoTower) and colon and kind in SOURCES and kind != "random"
    if named and not Path(str(model)).exists():
        return open_backbone(str(model), pixels=CROP, device=device)
    tower = opened_model(model, device=device)
    with torch.no_grad():
        embedder = _Embedder(tower.image_tower, tower.config.unit)
    name = f"{tower.config.image_encoder} to {tower.config.dimensions}, unit {tower.config.unit}"
    backbone = Backbone(ImageEncoder(embedder.cpu(), name, CROP, usual_gsd_m=tower.usual_gsd_m), model_name(model))
    return backbone.to(device).eval()

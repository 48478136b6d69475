"""Nearest neighbours by cosine on frozen features."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from earthtone.evaluate.readout import Labels, Readout, Rows, Split, Values, choosing_splits

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
    """Cosines (rows, count) and training rows, highest first, in blocks of bounded memory; ties by position."""
    gallery = _unit(train)
    block = max(1, _BLOCK_BYTES // (8 * len(train)))
    for start in range(0, len(values), block):
        cosine = _unit(values[start : start + block]) @ gallery.T
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
        yield np.take_along_axis(cosine, order, axis=1), order


def _unit(values: Values) -> Values:
    unit: Values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit

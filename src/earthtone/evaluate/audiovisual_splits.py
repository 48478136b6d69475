"""How audiovisual pairs are divided: with whole recordings on one side, or at random as the published release does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import DataError

_TEST_SEED = 42
_RESPLITS = 5
_TEST_SHARE = 0.2
_VAL_SHARE = 0.1 / 0.8  # of the rest

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """Positions of the pairs to fit on, to choose on, and of the test; several trainings share one test."""

    fits: tuple[tuple[Positions, Positions], ...]
    """(train, val) of each training."""
    test: Positions


def given_division(splits: Sequence[str | None]) -> Division:
    """Return the set's own splits, which keep a recording on one side. Raises DataError without train or test."""
    train, val, test = (np.array([i for i, s in enumerate(splits) if s == name], np.int64) for name in _SPLITS)
    if not len(train) or not len(test):
        raise DataError(f"{len(train)} pairs of split train and {len(test)} of test can be read; both are needed")
    return Division(((train, val),), test)


def random_division(labels: Sequence[str]) -> Division:
    """Return the release's division: a stratified fifth for the test (seed 42), then five divisions into train and val.

    Val is an eighth of the rest, the seeds are 0, 42, 84, 126, 168: for pairs in the order of their sorted files these
    are the release's own splits. Copies of one recording fall on both sides. Raises DataError when a class has too few
    pairs to be divided.
    """
    from sklearn.model_selection import train_test_split

    names = np.asarray(labels, np.str_)
    places = np.arange(len(names))
    try:
        rest, test = train_test_split(places, test_size=_TEST_SHARE, random_state=_TEST_SEED, stratify=names)
        fits = []
        for number in range(_RESPLITS):
            seed = _TEST_SEED * number
            train, val = train_test_split(rest, test_size=_VAL_SHARE, random_state=seed, stratify=names[rest])
            fits.append((np.sort(train), np.sort(val)))
    except ValueError as error:
        raise DataError(
            f"{len(names)} pairs of {len(np.unique(names))} classes cannot be divided at random with every class in "
            f"each part ({' '.join(str(error).split())}); add pairs, or leave --protocol soundingearth out"
        ) from error
    return Division(tuple(fits), np.sort(test))


_SPLITS = ("train", "val", "test")

"""Nearest centroids are scikit-learn's."""

import numpy as np
from sklearn.neighbors import NearestCentroid

from earthtone.evaluate.classifiers import Rows, fit_centroid


def test_is_scikit_learns_nearest_centroid() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((60, 5)), rng.standard_normal((40, 5))
    labels = rng.choice(["a", "b", "c"], 60)
    expected = NearestCentroid().fit(train, labels).predict(test)
    assert fit_centroid(Rows(train, labels)).predict(test).tolist() == expected.tolist()

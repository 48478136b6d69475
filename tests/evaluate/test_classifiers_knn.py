"""Nearest neighbours are scikit-learn's by cosine."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from earthtone.evaluate.classifiers import NEIGHBOURS, WEIGHTINGS, Rows, fit_knn


def rows(seed: int, count: int, classes: int = 3, spread: float = 1.0) -> Rows:
    rng = np.random.default_rng(seed)
    number = np.arange(count) % classes
    values = 2 * np.eye(classes, 6)[number] + spread * rng.standard_normal((count, 6))
    return Rows(values, np.array([f"class {n}" for n in number], np.str_))


@pytest.mark.parametrize("neighbours", [1, 5])
def test_votes_are_those_of_scikit_learn(neighbours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = rows(0, 60), rows(1, 40)
    monkeypatch.setattr("earthtone.evaluate.classifiers.NEIGHBOURS", (neighbours,))
    monkeypatch.setattr("earthtone.evaluate.classifiers.WEIGHTINGS", ("equal",))
    expected = KNeighborsClassifier(neighbours, metric="cosine").fit(train.values, train.labels)
    assert fit_knn(train, train).predict(test.values).tolist() == expected.predict(test.values).tolist()


def test_softmax_votes_by_hand() -> None:
    train = Rows(np.array([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]]), np.array(["near", "far", "far"], np.str_))
    query = np.array([[2.0, 0.1]])  # cosines about 0.999, 0.649, 0.549: exp(5) votes against two of about exp(0)
    found = fit_knn(train)
    assert found.chosen["neighbours"] == 1 and found.chosen["by"].startswith("fixed")
    chosen = fit_knn(train, Rows(query, np.array(["near"], np.str_)))
    assert chosen.predict(query).tolist() == ["near"]


def test_what_is_chosen_is_best_on_validation_rows() -> None:
    train, val = rows(0, 90, spread=2.0), rows(1, 60, spread=2.0)
    found = fit_knn(train, val)
    assert found.chosen["neighbours"] in NEIGHBOURS and found.chosen["weighting"] in WEIGHTINGS
    best = (found.predict(val.values) == val.labels).mean()
    for k in (1, 3, 5, 10, 20, 50):
        plain = KNeighborsClassifier(k, metric="cosine").fit(train.values, train.labels)
        assert best >= (plain.predict(val.values) == val.labels).mean() - 1e-9
    assert fit_knn(train).chosen["by"].startswith("5-fold")


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = rows(0, 60), rows(1, 40)
    whole = fit_knn(train, test).predict(test.values)
    monkeypatch.setattr("earthtone.evaluate.classifiers.BLOCK_BYTES", 8 * 60 * 7)
    assert fit_knn(train, test).predict(test.values).tolist() == whole.tolist()

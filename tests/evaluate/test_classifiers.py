"""Classifiers on frozen features: splits, draws, nearest neighbours and centroids against scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from earthtone.data.labelled.items import LabelledItem, LabelledSet
from earthtone.errors import DataError
from earthtone.evaluate.classifiers import (
    NEIGHBOURS,
    WEIGHTINGS,
    Rows,
    check_shots,
    draw_per_class,
    even_odd,
    fit_centroid,
    fit_knn,
    split_items,
)


def labelled(*splits: str | None, fold: int | None = None) -> LabelledSet:
    return LabelledSet("toy", tuple(LabelledItem(f"{n}", "a", split=s, fold=fold) for n, s in enumerate(splits)))


def test_the_sets_own_splits() -> None:
    parts = split_items(labelled("train", "test", None, "val", "train"))
    assert {name: [item.id for item in items] for name, items in parts.items()} == {
        "train": ["0", "4"], "val": ["3"], "test": ["1"],
    }  # fmt: skip
    assert split_items(labelled("train", "test"))["val"] == []


def test_where_val_is_measured_test_is_left_alone() -> None:
    parts = split_items(labelled("train", "test", "val"), measured="val")
    assert {name: [item.id for item in items] for name, items in parts.items()} == {"train": ["0"], "val": ["2"]}
    with pytest.raises(DataError, match="no items of split 'val'"):
        split_items(labelled("train", "test"), measured="val")


def test_train_and_test_must_be_there() -> None:
    with pytest.raises(DataError, match=r"no items of split 'test' \(train 1, val 1, test 0\)"):
        split_items(labelled("train", "val"))
    with pytest.raises(DataError, match="it has folds"):
        split_items(labelled(None, None, fold=1))


def test_the_release_takes_every_other_file() -> None:
    parts = even_odd(labelled("test", "test", "train", "val", "val"))
    assert [item.id for item in parts["train"]] == ["0", "2", "4"] and [i.id for i in parts["test"]] == ["1", "3"]
    with pytest.raises(DataError, match="1 items"):
        even_odd(labelled("train"))


def test_as_many_of_each_class_are_drawn() -> None:
    names = ["a"] * 5 + ["b"] * 2 + ["c"] * 9
    found = draw_per_class(names, 3, (0, 1))
    assert [np.array(names)[found].tolist().count(name) for name in "abc"] == [3, 2, 3]
    assert found.tolist() == sorted(set(found.tolist())) == draw_per_class(names, 3, (0, 1)).tolist()
    assert found.tolist() != draw_per_class(names, 3, (0, 2)).tolist()


def test_more_shots_than_a_class_has() -> None:
    check_shots(["a", "a", "b", "b"], (1, 2))
    check_shots(["a"], ())
    with pytest.raises(DataError, match=r"--shots 1,5: class 'b' has 2 training items; 1 to 2"):
        check_shots(["a", "a", "a", "b", "b"], (1, 5))


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


def test_is_scikit_learns_nearest_centroid() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((60, 5)), rng.standard_normal((40, 5))
    labels = rng.choice(["a", "b", "c"], 60)
    expected = NearestCentroid().fit(train, labels).predict(test)
    assert fit_centroid(Rows(train, labels)).predict(test).tolist() == expected.tolist()

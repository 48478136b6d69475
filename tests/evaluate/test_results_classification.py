"""Figures of predicted classes are scikit-learn's, and their intervals say how few items and seeds there were."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.results import (
    FIGURES,
    PerQuery,
    accuracy_by_class,
    classification_figures,
    confusion_counts,
    estimates,
)

ANSWERS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=30)


@given(ANSWERS)
@settings(max_examples=40, deadline=None)
def test_figures_are_those_of_scikit_learn(answers: list[tuple[str, str]]) -> None:
    truth, said = [list(column) for column in zip(*answers, strict=True)]
    found = classification_figures(truth, said, resamples=5)
    assert tuple(found) == FIGURES
    assert found["accuracy"].value == pytest.approx(accuracy_score(truth, said))
    names = sorted(set(truth))
    assert found["macro_f1"].value == pytest.approx(
        f1_score(truth, said, labels=names, average="macro", zero_division=0)
    )
    weighted = precision_recall_fscore_support(truth, said, labels=names, average="weighted", zero_division=0)
    ours = [found[f"weighted_{name}"].value for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(list(weighted[:3]))


def test_the_interval_of_accuracy_is_the_bootstrap_of_its_items() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(list("abc"), 80).tolist()
    said = [name if keep else "a" for name, keep in zip(truth, rng.random(80) < 0.6, strict=True)]
    found = classification_figures(truth, said, seed=3)["accuracy"]
    right = PerQuery(np.array([a == b for a, b in zip(truth, said, strict=True)], np.float64))
    expected = estimates({"x": right}, {}, seed=3)["x"]
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.chance == max(truth.count(name) for name in "abc") / 80 and found.queries == 80


def test_several_seeds_are_averaged_and_widen_the_interval() -> None:
    truth = list("ab") * 200
    good, bad = truth, ["a"] * 400
    both = classification_figures(truth, good, bad)["accuracy"]
    assert both.value == pytest.approx(0.75)
    assert both.low < 0.56 and both.high == 1.0  # one seed may be drawn twice
    same = classification_figures(truth, good, good)["accuracy"]
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)


def test_items_of_one_cluster_are_drawn_together() -> None:
    truth, said = ["a"] * 100, ["a"] * 50 + ["b"] * 50
    alone = classification_figures(truth, said)["accuracy"]
    together = classification_figures(truth, said, clusters=np.repeat([0, 1], 50))["accuracy"]
    assert (together.low, together.high) == (0.0, 1.0) and alone.low > 0.35


def test_accuracy_by_class() -> None:
    assert accuracy_by_class(["a", "a", "b"], ["a", "b", "b"]) == {"a": 0.5, "b": 1.0}


def test_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match="2 predictions for 3 items"):
        classification_figures(["a", "b", "c"], ["a", "b"])
    with pytest.raises(DataError, match="no predictions for 1 items"):
        classification_figures(["a"])
    with pytest.raises(ConfigError, match="resamples is 0"):
        classification_figures(["a"], ["a"], resamples=0)


def test_counts_by_class_include_names_that_are_never_true() -> None:
    names, counts = confusion_counts(["b", "a", "b", "b"], ["b", "b", "never true", "a"])
    assert names == ["a", "b", "never true"]
    assert counts.tolist() == [[0, 1, 0], [1, 1, 1], [0, 0, 0]]

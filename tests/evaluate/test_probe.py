"""The probe reads what is there, not what is not, and tells how it was fitted."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from earthtone.errors import DataError, ModelError
from earthtone.evaluate.classifiers import FIXED_STRENGTH, STRENGTHS
from earthtone.evaluate.probe import ProbeResult, linear_probe

Rows = tuple[np.ndarray[Any, Any], list[str]]


def blobs(seed: int, count: int, spread: float = 1.0) -> Rows:
    """Three classes around three corners, shares 50, 30 and 20 %."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [count * 5 // 10, count * 3 // 10, count * 2 // 10])
    features = 100 + np.eye(3)[labels] * 2 + spread * rng.standard_normal((len(labels), 3))
    return features.astype(np.float32), [("forest", "river", "city")[i] for i in labels]


def by_validation(train: Rows, test: Rows, **options: Any) -> ProbeResult:
    """A probe with validation rows: a fifth of the fits that folds take."""
    return linear_probe(*train, *test, val_features=train[0], val_labels=train[1], **options)


def test_separable_classes_are_read() -> None:
    found = by_validation(blobs(0, 100, 0.1), blobs(1, 50, 0.1))
    assert found.accuracy.value == found.macro_f1.value == 1.0
    assert found.per_class == {"city": 1.0, "forest": 1.0, "river": 1.0}
    assert found.accuracy.chance == 0.5
    assert found.to_dict()["accuracy_of_guessing_any_class"] == pytest.approx(1 / 3)


def test_noise_is_at_chance() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((300, 8)), rng.standard_normal((300, 8))
    labels = rng.choice(["a", "b"], 600).tolist()
    found = by_validation((train, labels[:300]), (test, labels[300:]))
    assert abs(found.accuracy.value - 0.5) < 0.1


def test_figures_are_those_of_scikit_learn() -> None:
    (train, labels), (test, truth) = blobs(0, 100), blobs(1, 100)
    found = by_validation((train, labels), (test, truth))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=found.strength, max_iter=1000))
    predicted = model.fit(train.astype(np.float64), labels).predict(test.astype(np.float64))
    assert found.accuracy.value == accuracy_score(truth, predicted) < 1
    assert found.macro_f1.value == pytest.approx(f1_score(truth, predicted, average="macro"))
    recalls = recall_score(truth, predicted, labels=list(found.per_class), average=None)
    assert list(found.per_class.values()) == pytest.approx(recalls)
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high


def test_only_training_rows_set_the_scale() -> None:
    train, (features, labels) = blobs(0, 100), blobs(1, 40)
    together = by_validation(train, (features, labels), seed=1)
    alone = by_validation(train, (features[:20], labels[:20]), seed=1)
    assert together.strength == alone.strength
    scaled = by_validation((1000 * train[0] - 7, train[1]), (1000 * features - 7, labels), seed=1)
    assert scaled.accuracy.value == pytest.approx(together.accuracy.value, abs=0.05)


@pytest.mark.slow
def test_how_the_strength_is_chosen() -> None:
    train, test = blobs(0, 100), blobs(1, 50)
    folds = linear_probe(*train, *test)
    assert folds.strength in STRENGTHS and folds.chosen.startswith("5-fold")
    val_features, val_labels = blobs(2, 30)
    val = linear_probe(*train, *test, val_features=val_features, val_labels=val_labels)
    assert val.strength in STRENGTHS and val.chosen == "best on 30 validation rows"
    few = linear_probe(*blobs(0, 10), *test)  # two rows of `city`
    assert few.strength == FIXED_STRENGTH and few.chosen.startswith("fixed")


@pytest.mark.slow
def test_is_the_same_again() -> None:
    assert linear_probe(*blobs(0, 50), *blobs(1, 50)) == linear_probe(*blobs(0, 50), *blobs(1, 50))


def test_a_constant_feature_does_no_harm() -> None:
    (train, labels), (test, truth) = blobs(0, 100), blobs(1, 50)
    wide = [np.hstack([part, np.full((len(part), 1), 3.0)]) for part in (train, test)]
    plain = by_validation((train, labels), (test, truth))
    assert by_validation((wide[0], labels), (wide[1], truth)).accuracy == plain.accuracy


def test_labels_that_train_lacks_are_wrong(caplog: pytest.LogCaptureFixture) -> None:
    (train, labels), (test, truth) = blobs(0, 100, 0.1), blobs(1, 50, 0.1)
    found = by_validation((train, labels), (test, ["lake", *truth[1:]]))
    assert found.accuracy.value == 0.98 and found.per_class["lake"] == 0 and found.predicted[0] == "forest"
    assert "1 of 50 test items have a label that train lacks and count as wrong: 'lake'" in caplog.text


def test_to_dict_and_to_text() -> None:
    found = by_validation(blobs(0, 100), blobs(1, 50))
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["accuracy"]["value"] == found.accuracy.value
    assert (told["classes"], told["train_rows"], told["test_rows"]) == (3, 100, 50)
    text = found.to_text()
    assert f"{100 * found.accuracy.value:.1f} %" in text and "the commonest class alone 50.0 %" in text
    assert all(name in text for name in ("forest", "river", "city", "macro F1"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train_labels": ["a"] * 4}, DataError, "all 4 training rows have the label 'a'"),
        ({"train_labels": ["a"]}, DataError, r"train: features \(4, 2\) and 1 labels"),
        ({"test_features": np.zeros((0, 2)), "test_labels": []}, DataError, "test: features"),
        ({"test_features": np.zeros((3, 5))}, DataError, "test: 5 features a row, but 2 in train"),
        ({"train_features": np.full((4, 2), np.nan)}, ModelError, "train: 4 of 4 rows are not finite"),
    ],
)
def test_says_what_is_wrong(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    known: dict[str, Any] = {
        "train_features": np.eye(4, 2), "train_labels": ["a", "b", "a", "b"],
        "test_features": np.eye(3, 2), "test_labels": ["a", "b", "a"],
    }  # fmt: skip
    with pytest.raises(error, match=message):
        linear_probe(**{**known, **changes})

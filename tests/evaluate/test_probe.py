"""The probe reads what is there, not what is not, and tells how it was fitted."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from earthtone.errors import DataError, ModelError
from earthtone.evaluate.classifiers import FIXED_STRENGTH, STRENGTHS
from earthtone.evaluate.probe import FeaturePart, probe_features
from earthtone.evaluate.results import TaskResult
from earthtone.options import ProbePlan

ACCURACY = "logistic_accuracy"
Rows = tuple[np.ndarray[Any, Any], list[str]]


def blobs(seed: int, count: int, spread: float = 1.0) -> Rows:
    """Three classes around three corners, shares 50, 30 and 20 %."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [count * 5 // 10, count * 3 // 10, count * 2 // 10])
    features = 100 + np.eye(3)[labels] * 2 + spread * rng.standard_normal((len(labels), 3))
    return features.astype(np.float32), [("forest", "river", "city")[i] for i in labels]


def probed(train: Rows, test: Rows, val: Rows | None = None, seed: int = 0) -> TaskResult:
    """A logistic probe; `val` rows take a fifth of the fits that folds take."""
    rows = {"train": train, "test": test, **({} if val is None else {"val": val})}
    parts = {name: FeaturePart([f"{n}" for n in range(len(part[1]))], *part) for name, part in rows.items()}
    return probe_features(parts, ProbePlan(seed=seed), dataset="toy", model="m", facts={})


def by_validation(train: Rows, test: Rows, seed: int = 0) -> TaskResult:
    return probed(train, test, val=train, seed=seed)


def chosen(result: TaskResult) -> dict[str, Any]:
    """The strength of the penalty `C`, and `by` what it was chosen."""
    return dict(result.facts["chosen"]["logistic"])


def test_separable_classes_are_read() -> None:
    found = by_validation(blobs(0, 100, 0.1), blobs(1, 50, 0.1))
    assert found.figures[ACCURACY].value == found.figures["logistic_macro_f1"].value == 1.0
    assert found.facts["accuracy_by_class"] == {"city": 1.0, "forest": 1.0, "river": 1.0}
    assert found.figures[ACCURACY].chance == 0.5


def test_noise_is_at_chance() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.standard_normal((300, 8)), rng.standard_normal((300, 8))
    labels = rng.choice(["a", "b"], 600).tolist()
    found = by_validation((train, labels[:300]), (test, labels[300:]))
    assert abs(found.figures[ACCURACY].value - 0.5) < 0.1


def test_figures_are_those_of_scikit_learn() -> None:
    (train, labels), (test, truth) = blobs(0, 100), blobs(1, 100)
    found = by_validation((train, labels), (test, truth))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=chosen(found)["C"], max_iter=1000))
    predicted = model.fit(train.astype(np.float64), labels).predict(test.astype(np.float64))
    assert found.figures[ACCURACY].value == accuracy_score(truth, predicted) < 1
    assert found.figures["logistic_macro_f1"].value == pytest.approx(f1_score(truth, predicted, average="macro"))
    by_class = found.facts["accuracy_by_class"]
    recalls = recall_score(truth, predicted, labels=list(by_class), average=None)
    assert list(by_class.values()) == pytest.approx(recalls)
    assert found.figures[ACCURACY].low < found.figures[ACCURACY].value < found.figures[ACCURACY].high


def test_only_training_rows_set_the_scale() -> None:
    train, (features, labels) = blobs(0, 100), blobs(1, 40)
    together = by_validation(train, (features, labels), seed=1)
    alone = by_validation(train, (features[:20], labels[:20]), seed=1)
    assert chosen(together)["C"] == chosen(alone)["C"]
    scaled = by_validation((1000 * train[0] - 7, train[1]), (1000 * features - 7, labels), seed=1)
    assert scaled.figures[ACCURACY].value == pytest.approx(together.figures[ACCURACY].value, abs=0.05)


@pytest.mark.slow
def test_how_the_strength_is_chosen() -> None:
    train, test = blobs(0, 100), blobs(1, 50)
    folds = chosen(probed(train, test))
    assert folds["C"] in STRENGTHS and folds["by"].startswith("5-fold")
    val = chosen(probed(train, test, blobs(2, 30)))
    assert val["C"] in STRENGTHS and val["by"] == "best on 30 validation rows"
    few = chosen(probed(blobs(0, 10), test))  # two rows of `city`
    assert few["C"] == FIXED_STRENGTH and few["by"].startswith("fixed")


@pytest.mark.slow
def test_is_the_same_again() -> None:
    first, again = (probed(blobs(0, 50), blobs(1, 50)) for _ in range(2))
    assert first.figures == again.figures and first.predicted == again.predicted


def test_a_constant_feature_does_no_harm() -> None:
    (train, labels), (test, truth) = blobs(0, 100), blobs(1, 50)
    wide = [np.hstack([part, np.full((len(part), 1), 3.0)]) for part in (train, test)]
    plain = by_validation((train, labels), (test, truth))
    assert by_validation((wide[0], labels), (wide[1], truth)).figures == plain.figures


def test_labels_that_train_lacks_are_wrong(caplog: pytest.LogCaptureFixture) -> None:
    (train, labels), (test, truth) = blobs(0, 100, 0.1), blobs(1, 50, 0.1)
    found = by_validation((train, labels), (test, ["lake", *truth[1:]]))
    assert found.figures[ACCURACY].value == 0.98 and found.predicted[0] == "forest"
    assert found.facts["accuracy_by_class"]["lake"] == 0
    assert "1 of 50 test items have a label that train lacks and count as wrong: 'lake'" in caplog.text


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"train": (np.eye(4, 2), ["a"] * 4)}, DataError, "all 4 training rows have the label 'a'"),
        ({"train": (np.eye(4, 2), ["a"])}, DataError, r"train: features \(4, 2\) and 1 labels"),
        ({"test": (np.zeros((0, 2)), [])}, DataError, "no labelled images of split 'test'"),
        ({"test": (np.zeros((3, 5)), ["a", "b", "a"])}, DataError, "test: 5 features a row, but 2 in train"),
        ({"train": (np.full((4, 2), np.nan), ["a", "b"] * 2)}, ModelError, "train: 4 of 4 rows are not finite"),
    ],
)
def test_says_what_is_wrong(changes: dict[str, Rows], error: type[Exception], message: str) -> None:
    known = {"train": (np.eye(4, 2), ["a", "b", "a", "b"]), "test": (np.eye(3, 2), ["a", "b", "a"]), **changes}
    with pytest.raises(error, match=message):
        probed(**known)

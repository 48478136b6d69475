"""The probe as a task: full and few-shot, all methods, and what cannot be measured."""

import json
import logging

import numpy as np
import pytest

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.classifiers import METHODS
from earthtone.evaluate.probe import FeaturePart, probe_features
from earthtone.evaluate.results import TaskResult
from earthtone.options import ProbePlan

ALL = ("logistic", "knn", "centroid")


def part(seed: int, count: int, spread: float = 1.0, classes: str = "abc") -> FeaturePart:
    rng = np.random.default_rng(seed)
    number = np.arange(count) % len(classes)
    features = 100 + 2 * np.eye(len(classes), 8)[number] + spread * rng.standard_normal((count, 8))
    ids = [f"{seed}/{n}" for n in range(count)]
    return FeaturePart(ids, features.astype(np.float32), [classes[n] for n in number])


def probed(options: ProbePlan | None = None, **parts: FeaturePart) -> TaskResult:
    known = {"train": part(0, 90), "val": part(1, 30), "test": part(2, 60), **parts}
    return probe_features(known, options or ProbePlan(method=ALL), dataset="toy", model="m", facts={"more": 1})


def test_all_methods_read_what_is_there() -> None:
    found = probed()
    assert set(METHODS) == set(ALL)
    for method in ALL:
        figure = found.figures[f"{method}_accuracy"]
        assert 0.6 < figure.value <= 1 and figure.low < figure.value and figure.chance == pytest.approx(1 / 3)
        assert f"{method}_macro_f1" in found.figures
    assert found.headline == "logistic_accuracy" and found.facts["more"] == 1
    assert np.mean(found.scores) == pytest.approx(found.figures[found.headline].value)
    assert found.ids[:2] == ("2/0", "2/1") and len(found.truth) == len(found.predicted) == 60
    json.dumps(found.to_dict(), allow_nan=False)


def test_few_shots_grow_towards_all_rows() -> None:
    found = probed(ProbePlan(method=("centroid",), shots=(1, 20), draws=4))
    one, twenty = found.figures["centroid_accuracy@1"], found.figures["centroid_accuracy@20"]
    assert one.low < one.value < twenty.value <= twenty.high <= 1
    told = found.facts["few_shot"]["centroid_accuracy@1"]
    assert len(told["draws"]) == 4 and told["deviation"] > 0 and np.mean(told["draws"]) == pytest.approx(one.value)
    again = probed(ProbePlan(method=("centroid",), shots=(1, 20), draws=4))
    assert again.figures == found.figures


@pytest.mark.slow
def test_few_shots_need_no_val() -> None:
    found = probe_features(
        {"train": part(0, 90), "test": part(2, 60)}, ProbePlan(method=("logistic", "knn"), shots=(2,), draws=2),
        dataset="toy", model="m", facts={},
    )  # fmt: skip
    assert "cross-validation on train" in found.protocol and "knn_accuracy@2" in found.figures


@pytest.mark.slow
def test_measured_on_val_is_chosen_on_train_alone() -> None:
    train, val = part(0, 90), part(1, 30)
    alone = probe_features({"train": train, "test": val}, ProbePlan(), dataset="toy", model="m", facts={})
    for parts in ({"train": train, "val": val}, {"train": train, "val": val, "test": part(2, 60)}):
        found = probe_features(parts, ProbePlan(), dataset="toy", model="m", facts={}, measured="val")
        assert found.figures == alone.figures and found.ids == tuple(val.ids)
        assert "chosen by cross-validation on train, measured on val" in found.protocol
        assert found.facts["val_rows"] == 30 and "test_rows" not in found.facts
    with pytest.raises(DataError, match="needs train and val"):
        probe_features({"train": train}, ProbePlan(), dataset="toy", model="m", facts={}, measured="val")


def test_a_test_label_that_train_lacks_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    test = part(2, 60, classes="abcd")
    with caplog.at_level(logging.WARNING):
        found = probed(test=test)
    assert "15 of 60 test items have a label that train lacks and count as wrong: 'd'" in caplog.text
    assert found.facts["labels_that_train_lacks"] == ["d"] and found.facts["accuracy_by_class"]["d"] == 0
    assert all(not score for score, label in zip(found.scores, found.truth, strict=True) if label == "d")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (lambda: ProbePlan(method=("logistik",)), ConfigError, "did you mean logistic"),
        (lambda: ProbePlan(draws=0), ConfigError, "draws 0; 1 or more"),
        (lambda: ProbePlan(shots=(1, 31)), DataError, "--shots 1,31: class 'a' has 30 training items; 1 to 30"),
        (lambda: ProbePlan(shots=(0,)), ConfigError, "--shots 0"),
    ],
)
def test_wrong_options(options: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        probed(options())  # type: ignore[operator]


def test_parts_that_cannot_be_probed() -> None:
    with pytest.raises(DataError, match="no labelled images of split 'test'"):
        probed(test=FeaturePart([], np.zeros((0, 8), np.float32), []))
    with pytest.raises(DataError, match="needs two labels"):
        probed(train=part(0, 9, classes="a"))
    single = part(0, 31, classes="abc")  # class a has eleven; one of its own class alone
    lone = FeaturePart(single.ids, single.features, [*single.labels[:-1], "lone"])
    assert probed(train=lone).facts["classes"] == 4

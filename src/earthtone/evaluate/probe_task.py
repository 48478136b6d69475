"""The probe as a task: classifiers on frozen features, with all training rows and with few a class."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.bootstrap import Estimate
from earthtone.evaluate.centroid import fit_centroid
from earthtone.evaluate.classification import accuracy_by_class, classification_figures
from earthtone.evaluate.knn import fit_knn
from earthtone.evaluate.logistic import fit_logistic
from earthtone.evaluate.probe import warn_of_unknown
from earthtone.evaluate.readout import Features, Readout, Rows, check_classes, checked_rows, standardised
from earthtone.evaluate.splits import check_shots, drawn
from earthtone.evaluate.task_result import TaskResult
from earthtone.wording import did_you_mean

METHODS = {"logistic": fit_logistic, "knn": fit_knn, "centroid": fit_centroid}


@dataclass(frozen=True)
class FeaturePart:
    """One split: ids, features (N, F) and labels of N items."""

    ids: Sequence[str]
    features: Features
    labels: Sequence[str]


@dataclass(frozen=True)
class ProbeOptions:
    """How frozen features are read."""

    methods: Sequence[str] = ("logistic",)
    """Of `METHODS`; the first gives the headline."""
    shots: Sequence[int] = ()
    """Also with so many training items a class ..."""
    draws: int = 5
    """... drawn so often."""
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise ConfigError(f"method {name!r}; {did_you_mean(name, METHODS)}of {', '.join(METHODS)} expected")
        if not self.methods or self.draws < 1 or self.resamples < 1 or self.seed < 0:
            raise ConfigError(
                f"methods {list(self.methods)}, draws {self.draws}, resamples {self.resamples}, seed {self.seed}; "
                "one method or more, at least 1, at least 1, at least 0 expected"
            )


def probe_features(
    parts: Mapping[str, FeaturePart],
    options: ProbeOptions,
    *,
    dataset: str,
    model: str,
    facts: Mapping[str, Any],
    measured: str = "test",
) -> TaskResult:
    """Return what classifiers read off the frozen features of the splits `train`, `test` and, if there, `val`.

    With `measured` val, of `train` and `val`: nothing is chosen on what is measured.

    Features are standardised on the rows that are fitted on, alone. What there is to choose (L2, neighbours) is chosen
    on val; with few items a class on as few of val. A test label that train lacks counts as wrong, with a warning.
    Raises DataError, ModelError, ConfigError.
    """
    start = time.perf_counter()
    rows = _rows(parts, dataset, measured)
    check_classes(rows["train"])
    check_shots(rows["train"].labels.tolist(), options.shots)
    truth = rows["test"].labels.tolist()
    unknown = warn_of_unknown(rows["train"].labels, rows["test"].labels)
    figures: dict[str, Estimate] = {}
    chosen: dict[str, Any] = {}
    said: dict[str, list[str]] = {}
    for method in options.methods:
        said[method], chosen[method] = _read(method, rows, options.seed)
        found = classification_figures(truth, said[method], resamples=options.resamples, seed=options.seed)
        figures |= {f"{method}_{name}": found[name] for name in ("accuracy", "macro_f1")}
    spread: dict[str, Any] = {}
    for method in options.methods:
        for shots in options.shots:
            name = f"{method}_accuracy@{shots}"
            figures[name], spread[name] = _few(method, rows, shots, options)
    first = options.methods[0]
    return TaskResult(
        task="probe",
        dataset=dataset,
        model=model,
        protocol=_protocol(options, "val" in rows, measured),
        headline=f"{first}_accuracy",
        figures=figures,
        ids=tuple(parts[measured].ids),
        scores=tuple(float(a == b) for a, b in zip(said[first], truth, strict=True)),
        truth=tuple(truth),
        predicted=tuple(said[first]),
        facts={
            "classes": len(np.unique(rows["train"].labels)),
            **{f"{measured if name == 'test' else name}_rows": len(part) for name, part in rows.items()},
            "features": int(rows["train"].values.shape[1]),
            "chosen": chosen,
            "accuracy_by_class": accuracy_by_class(truth, said[first]),
            "labels_that_train_lacks": list(unknown),
            "few_shot": spread,
            "seed": options.seed,
            "probe_seconds": round(time.perf_counter() - start, 2),
            **facts,
        },
    )


def _rows(parts: Mapping[str, FeaturePart], dataset: str, measured: str) -> dict[str, Rows]:
    """The rows to fit on, to choose by and, as `test`, to measure on."""
    for name in ("train", measured):
        if name not in parts or not len(parts[name].labels):
            raise DataError(f"{dataset}: no labelled images of split {name!r}; a probe needs train and {measured}")
    width = np.shape(parts["train"].features)[-1]
    names = {"train": "train", "test": "val"} if measured == "val" else {n: n for n in ("train", "val", "test")}
    there = {role: name for role, name in names.items() if name in parts and len(parts[name].labels)}
    return {role: checked_rows(name, parts[name].features, parts[name].labels, width) for role, name in there.items()}


def _read(method: str, rows: Mapping[str, Rows], seed: int) -> tuple[list[str], dict[str, Any]]:
    """What one classifier says of the test rows, and what was chosen for it."""
    validation = [rows["val"]] if "val" in rows else []
    train, test, *rest = standardised(rows["train"], rows["test"], *validation)
    fitted: Readout = METHODS[method](train, rest[0] if rest else None, seed)
    return fitted.predict(test.values).tolist(), dict(fitted.chosen)


def _few(method: str, rows: Mapping[str, Rows], shots: int, options: ProbeOptions) -> tuple[Estimate, dict[str, Any]]:
    """The accuracy with few training rows a class: over the draws, and of each."""
    truth = rows["test"].labels.tolist()
    said = []
    for draw in range(options.draws):
        few = {
            name: part if name == "test" else part.take(drawn(part.labels.tolist(), shots, (options.seed, shots, draw)))
            for name, part in rows.items()
        }
        said.append(_read(method, few, options.seed)[0])
    each = [float(np.mean([a == b for a, b in zip(predicted, truth, strict=True)])) for predicted in said]
    spread = {"draws": each, "deviation": float(np.std(each, ddof=1)) if len(each) > 1 else None}
    found = classification_figures(truth, *said, resamples=options.resamples, seed=options.seed)
    return found["accuracy"], spread


def _protocol(options: ProbeOptions, has_val: bool, measured: str) -> str:
    few = f"; @k: k items a class, mean of {options.draws} draws" if options.shots else ""
    by = "val" if has_val else "cross-validation on train"
    return (
        f"{', '.join(options.methods)} on frozen features standardised on train, chosen by {by}, measured on "
        f"{measured}{few}"
    )

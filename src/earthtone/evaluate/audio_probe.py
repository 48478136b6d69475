"""The linear probe of the sound tower: labelled sounds, through their folds or on their test split."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled.items import LabelledItem, LabelledSet
from earthtone.encode.engine import tower_features
from earthtone.errors import DataError, one_line_each
from earthtone.evaluate.classifiers import (
    SPLITS,
    Rows,
    best_strength,
    check_classes,
    checked_rows,
    logistic,
    open_labelled_set,
    predicted_labels,
    split_items,
    standardised,
    warn_of_unknown,
)
from earthtone.evaluate.overlap import item_facts
from earthtone.evaluate.results import (
    PerQuery,
    TaskResult,
    accuracy_by_class,
    classification_figures,
    confusion_counts,
    deviation,
    estimates,
    group_numbers,
    right_shares,
    write_task_result,
)
from earthtone.models.storage import model_name, opened_model
from earthtone.options import AudioOptions
from earthtone.progress import progress
from earthtone.value_types import takes

#: Rows of the test items, their predicted labels, what was chosen (by fold, or `test`), labels that train lacks.
Predicted = tuple[NDArray[np.int64], list[str], dict[str, Any], tuple[str, ...]]


@takes(AudioOptions)
def evaluate_audio(options: AudioOptions) -> TaskResult:
    """Return how well a linear classifier reads the label off the frozen sound tower's features.

    Where the set has folds each of them is the test once, the others train; the strength of the L2 penalty is chosen
    on one of the training folds (the next one), then all of them are fitted. Otherwise `train`, `val` and `test` are
    what they say. Features are standardised on the rows that are fitted, alone. Accuracy is the mean over folds; its
    interval draws the items of one group (a recording) together. Raises DataError, ConfigError, ModelError.
    """
    start, seed = time.perf_counter(), options.seed
    labelled = open_labelled_set(options)
    if all(item.audio is None for item in labelled.items):
        raise DataError(f"{labelled.name} has no sounds; recordings with a label each were expected")
    tower = opened_model(options.model, seed=seed, device=options.device)
    folds = fold_numbers(labelled)
    items = labelled.items if folds is not None else [i for part in split_items(labelled).values() for i in part]
    cache = None if options.cache is None else Path(options.cache)
    found = tower_features(tower, items, "audio", cache=cache, precision=options.precision)
    seconds = round(time.perf_counter() - start, 2)
    good = np.array([at for at, item in enumerate(items) if item.id not in found.broken], np.int64)
    items = [items[at] for at in good]
    rows = checked_rows("sounds", getattr(found, options.features)[good], [item.label for item in items])
    predicted = _by_folds(rows, items, seed) if folds is not None else _by_split(rows, items, seed)
    facts = {
        "features": options.features, "feature_seconds": seconds, "seconds": round(time.perf_counter() - start, 2),
        "broken_sounds": dict(found.broken), "short_sounds": list(found.short),
        "features_from_cache": found.cached, "width": found.width, "notes": list(labelled.warnings), "seed": seed,
        **item_facts(
            items, [item.split if folds is None else item.fold for item in items], "test" if folds is None else None,
            ["recording"],
        ),
    }  # fmt: skip
    result = _result(labelled.name, model_name(options.model), items, predicted, folds, facts, options.resamples)
    write_task_result(options.out, result)
    return result


def fold_numbers(labelled: LabelledSet) -> list[int] | None:
    """Return the folds of a set, None where it has none. Raises DataError for fewer than two."""
    folds = sorted({item.fold for item in labelled.items if item.fold is not None})
    if not folds:
        return None
    if len(folds) < 2:
        raise DataError(
            f"{labelled.name}: all {len(labelled.items)} sounds are of fold {folds[0]}; two or more expected"
        )
    return folds


def fold_lines(result: TaskResult) -> str:
    """Return the lines on folds and classes that follow a result on the terminal."""
    by_fold, by_class = result.facts["accuracy_by_fold"], result.facts["accuracy_by_class"]
    worst = sorted(by_class, key=lambda name: (by_class[name], name))[:5]
    lines = [f"  hardest classes: {', '.join(f'{name} {by_class[name]:.2f}' for name in worst)}"]
    if by_fold:
        folds = "  ".join(f"{fold}: {value:.3f}" for fold, value in by_fold.items())
        lines.insert(0, f"  by fold  {folds}   deviation {result.facts['deviation_over_folds']:.3f}")
    return one_line_each(lines)


def _by_folds(rows: Rows, items: Sequence[LabelledItem], seed: int) -> Predicted:
    fold = np.array([item.fold for item in items], np.int64)
    numbers = np.unique(fold)
    predicted = np.full(len(items), "", dtype=rows.labels.dtype)
    chosen: dict[str, Any] = {}
    unknown: set[str] = set()
    if len(numbers) < 2:
        raise DataError(f"only the sounds of fold {numbers[0]} can be read; two folds or more expected")
    for at, number in enumerate(progress(numbers, total=len(numbers), label="folds", unit="fold")):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        following = numbers[(at + 1) % len(numbers)]
        fit, check = (rows.take(train[mask]) for mask in (fold[train] != following, fold[train] == following))
        check_classes(rows.take(train))
        unknown |= set(warn_of_unknown(rows.labels[train], rows.labels[test]))
        if len(numbers) == 2:  # nothing is left to fit on beside the fold to choose on
            parts = {"train": rows.take(train), "test": rows.take(test)}
            predicted[test], chosen[str(number)] = predicted_labels("logistic", parts, seed)
            continue
        check_classes(fit)
        strength = best_strength([standardised(fit, check)])
        scaled_train, scaled_test = standardised(rows.take(train), rows.take(test))
        predicted[test] = logistic(scaled_train, strength).predict(scaled_test.values)
        chosen[str(number)] = {"C": strength, "by": f"best on fold {following}"}
    return np.arange(len(items)), predicted.tolist(), chosen, tuple(sorted(unknown))


def _by_split(rows: Rows, items: Sequence[LabelledItem], seed: int) -> Predicted:
    at = {name: np.array([n for n, i in enumerate(items) if i.split == name], np.int64) for name in SPLITS}
    for name in ("train", "test"):
        if not len(at[name]):
            raise DataError(f"no sound of split {name!r} can be read; a probe needs train and test")
    parts = {name: rows.take(at[name]) for name in SPLITS}
    check_classes(parts["train"])
    unknown = warn_of_unknown(parts["train"].labels, parts["test"].labels)
    predicted, chosen = predicted_labels("logistic", parts, seed)
    return at["test"], predicted, {"test": chosen}, unknown


def _result(
    dataset: str, model: str, items: Sequence[LabelledItem], found: Predicted, folds: list[int] | None,
    facts: Mapping[str, Any], resamples: int,
) -> TaskResult:  # fmt: skip
    rows, predicted, chosen, unknown = found
    tested = [items[row] for row in rows]
    truth = [item.label for item in tested]
    right = np.array(right_shares(truth, predicted))
    clusters = group_numbers(tested)
    figures = classification_figures(truth, predicted, clusters=clusters, resamples=resamples)
    by_fold: dict[str, float] = {}
    scores = right
    if folds is not None:
        fold = np.array([item.fold for item in tested], np.int64)
        numbers, counts = np.unique(fold, return_counts=True)
        by_fold = {str(number): float(right[fold == number].mean()) for number in numbers}
        scores = right * (len(right) / (len(numbers) * counts[np.searchsorted(numbers, fold)]))  # folds count alike
    chances = {"accuracy": figures["accuracy"].chance}
    mean = estimates({"accuracy": PerQuery(scores)}, chances, clusters, resamples=resamples)
    names, confusion = confusion_counts(truth, predicted)
    return TaskResult(
        task="audio",
        dataset=dataset,
        model=model,
        protocol=_protocol(folds, str(facts["features"]), chosen),
        headline="accuracy",
        figures={**mean, "macro_f1": figures["macro_f1"]},
        ids=tuple(item.id for item in tested),
        scores=tuple(scores.tolist()),
        truth=tuple(truth),
        predicted=tuple(predicted),
        facts={
            "classes": names,
            "sounds": len(items),
            "tested": len(tested),
            "groups": len(np.unique(clusters)),
            "chosen": chosen,
            "accuracy_by_fold": by_fold,
            "deviation_over_folds": deviation(list(by_fold.values())),
            "accuracy_by_class": accuracy_by_class(truth, predicted),
            "confusion": confusion.tolist(),
            "labels_that_train_lacks": list(unknown),
            **facts,
        },
    )


def _protocol(folds: list[int] | None, features: str, chosen: Mapping[str, Any]) -> str:
    read = f"logistic regression on frozen {features} features of the sound tower, standardised on what is fitted"
    if folds is None:
        return f"{read}; C {chosen['test']['by']}; measured on test"
    by = "chosen on the next of the training folds" if len(folds) > 2 else "chosen by cross-validation on train"
    return f"{read}; each of {len(folds)} folds tested once, C {by}; accuracy is the mean over folds"

"""The probe: what simple classifiers read off frozen features, on labelled images or on a packed table."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled import open_labelled
from earthtone.data.pack import open_table
from earthtone.data.packed import Table
from earthtone.data.remote import last_part
from earthtone.data.source import is_packed
from earthtone.device import choose_device
from earthtone.embed.engine import FeatureOptions, extract_features, image_features
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.classifiers import (
    Features,
    Labels,
    Readout,
    Rows,
    check_classes,
    check_shots,
    checked_rows,
    drawn,
    few_shot_probe,
    fit_centroid,
    fit_knn,
    fit_logistic,
    split_items,
    standardised,
)
from earthtone.evaluate.overlap import item_facts, table_facts
from earthtone.evaluate.results import (
    Estimate,
    TaskResult,
    accuracy_by_class,
    classification_figures,
    write_task_result,
)
from earthtone.models.backbone import Backbone, encoder_of_model, open_backbone
from earthtone.models.storage import model_name, opened_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import ProbeOptions, ProbePlan
from earthtone.value_types import takes

_log = logging.getLogger(__name__)


def warn_of_unknown(known: Labels, truth: Labels) -> tuple[str, ...]:
    """Return the test labels that train lacks, after a warning: their items can only be wrong."""
    unknown = np.setdiff1d(truth, known).tolist()
    if unknown:
        _log.warning(
            "%d of %d test items have a label that train lacks and count as wrong: %s",
            int(np.isin(truth, unknown).sum()), len(truth), ", ".join(map(repr, unknown)),
        )  # fmt: skip
    return tuple(unknown)


METHODS = {"logistic": fit_logistic, "knn": fit_knn, "centroid": fit_centroid}


@dataclass(frozen=True)
class FeaturePart:
    """One split: ids, features (N, F) and labels of N items."""

    ids: Sequence[str]
    features: Features
    labels: Sequence[str]


def probe_features(
    parts: Mapping[str, FeaturePart],
    options: ProbePlan,
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
    for method in options.method:
        said[method], chosen[method] = _read(method, rows, options.seed)
        found = classification_figures(truth, said[method], resamples=options.resamples, seed=options.seed)
        figures |= {f"{method}_{name}": found[name] for name in ("accuracy", "macro_f1")}
    spread: dict[str, Any] = {}
    for method in options.method:
        for shots in options.shots:
            name = f"{method}_accuracy@{shots}"
            figures[name], spread[name] = _few(method, rows, shots, options)
    first = options.method[0]
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


def _few(method: str, rows: Mapping[str, Rows], shots: int, options: ProbePlan) -> tuple[Estimate, dict[str, Any]]:
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


def _protocol(options: ProbePlan, has_val: bool, measured: str) -> str:
    few = f"; @k: k items a class, mean of {options.draws} draws" if options.shots else ""
    by = "val" if has_val else "cross-validation on train"
    return (
        f"{', '.join(options.method)} on frozen features standardised on train, chosen by {by}, measured on "
        f"{measured}{few}"
    )


@takes(ProbeOptions)
def evaluate_probe(options: ProbeOptions) -> TaskResult:
    """Return how well simple classifiers read a label off frozen image features.

    Fitted on `train`, what there is to choose chosen on `val` where there is one, measured on `test`. With `split`
    val it is measured there, chosen by cross-validation on `train`, and no test image is opened: for choices between
    models. `data` is what `open_labelled` takes, read by the backbone that `model` names; or a packed table with a
    column `label`, read by a two-tower model of the same signal config. `protocol` soundingearth: see
    `few_shot_probe`. Raises DataError, ConfigError, ModelError.
    """
    if options.protocol == "soundingearth":
        result = few_shot_probe(options)
    else:
        result = _on_table(options) if is_packed(options.data) else _on_images(options)
    if options.out is not None:
        write_task_result(Path(options.out), result)
    return result


def features_asked(options: ProbeOptions) -> FeatureOptions:
    """Return how the features of a probe are taken."""
    cache = None if options.cache is None else Path(options.cache)
    return FeatureOptions(
        stage=options.stage, bands=options.bands, value_range=options.value_range, precision=options.precision,
        cache=cache,
    )  # fmt: skip


def _on_images(options: ProbeOptions) -> TaskResult:
    features, split = features_asked(options), options.split
    labelled = open_labelled(options.data, dataset=options.dataset, label=options.label, columns=options.columns)
    chosen = split_items(labelled, measured=split)
    check_shots([item.label for item in chosen["train"]], options.shots)  # before the long part
    start = time.perf_counter()
    backbone = _backbone(options.model, options.pixels, options.seed, choose_device(options.device))
    items = [item for part in chosen.values() for item in part]
    found = extract_features(backbone, items, features)
    at = {item.id: row for row, item in enumerate(items)}
    parts = {}
    for name, part in chosen.items():
        good = [item for item in part if item.id not in found.broken]
        rows = np.array([at[item.id] for item in good], np.int64)
        parts[name] = FeaturePart([item.id for item in good], found.values[rows], [item.label for item in good])
    facts: dict[str, Any] = {
        "pixels": backbone.pixels, "stage": features.stage, "bands": features.bands,
        **({} if features.value_range is None else {"value_range": features.value_range}),
        "broken_images": dict(found.broken),
        "features_from_cache": found.cached, "feature_seconds": round(time.perf_counter() - start, 2),
        "notes": list(labelled.warnings),
        **item_facts(
            items, [item.split for item in items], split, ["image"], bands=features.bands, alike=found.values
        ),
    }  # fmt: skip
    return probe_features(
        parts, options, dataset=labelled.name, model=model_name(options.model), facts=facts, measured=split
    )


def _backbone(model: TwoTower | str | Path, pixels: int | None, seed: int, device: str) -> Backbone:
    if not isinstance(model, TwoTower):
        return open_backbone(model, pixels=pixels, seed=seed, device=device)
    source = encoder_of_model(model)
    return Backbone(replace(source, pixels=pixels or source.pixels), model_name(model)).to(model.device)


def _on_table(options: ProbeOptions) -> TaskResult:
    if idle := options.changed("dataset", "pixels", "stage", "bands", "value_range", "cache"):
        raise ConfigError(
            f"{', '.join(idle)} has no effect on a packed table, whose images are the model's own; remove it"
        )
    if options.label is None:
        raise ConfigError(f"{options.data} is a packed table: --label COLUMN expected")
    tower = opened_model(options.model, device=options.device)
    with open_table(options.data, tower.signal, columns=options.columns) as table:
        parts, rows = _table_parts(tower, table, options.label, options.split)
        facts = {"label": options.label, **table_facts(table, options.split, rows, media=["image"])}
    return probe_features(
        parts, options, dataset=f"{last_part(options.data)} {options.label}", model=model_name(options.model),
        facts=facts, measured=options.split,
    )  # fmt: skip


def _table_parts(
    model: TwoTower, table: Table, label: str, measured: str
) -> tuple[dict[str, FeaturePart], NDArray[np.int64]]:
    """The rows with a label by split, and the numbers of those that are measured."""
    labels, splits, ids = table.column(label), table.column("split"), table.column("id")
    parts, tested = {}, np.zeros(0, np.int64)
    for split in ("train", "val") if measured == "val" else ("train", "val", "test"):
        rows = np.array([i for i, name in enumerate(splits) if name == split and labels[i] not in (None, "")], np.int64)
        tested = rows if split == measured else tested
        if len(rows):
            parts[split] = FeaturePart(
                [str(ids[row]) for row in rows], image_features(model, table, rows), [str(labels[row]) for row in rows]
            )
    return parts, tested

"""The probe: what simple classifiers read off frozen features, on labelled images or on a packed table."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.labelled.items import LabelledSet
from earthtone.data.pack import open_table
from earthtone.data.packed import Table
from earthtone.data.remote import last_part
from earthtone.data.source import is_packed
from earthtone.device import choose_device
from earthtone.encode.engine import FeatureOptions, extract_features, image_features
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.classifiers import (
    SPLITS,
    Features,
    Rows,
    check_classes,
    check_shots,
    checked_rows,
    draw_per_class,
    fit_centroid,
    open_labelled_set,
    predicted_labels,
    split_items,
    warn_of_unknown,
)
from earthtone.evaluate.overlap import item_facts, table_facts
from earthtone.evaluate.results import (
    FIGURES,
    Estimate,
    TaskResult,
    accuracy_by_class,
    classification_figures,
    deviation,
    right_shares,
    write_task_result,
)
from earthtone.models.backbone import SOURCES, Backbone, encoder_of_model, open_backbone
from earthtone.models.encoders import ImageEncoder, Tower
from earthtone.models.storage import model_name, opened_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import ProbeOptions, ProbePlan
from earthtone.value_types import takes


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
    predicted: dict[str, list[str]] = {}
    for method in options.method:
        predicted[method], chosen[method] = predicted_labels(method, rows, options.seed)
        found = classification_figures(truth, predicted[method], resamples=options.resamples, seed=options.seed)
        figures |= {f"{method}_{name}": found[name] for name in ("accuracy", "macro_f1")}
    spread: dict[str, Any] = {}
    for method in options.method:
        for shots in options.shots:
            name = f"{method}_accuracy@{shots}"
            figures[name], spread[name] = _few_shots(method, rows, shots, options)
    first = options.method[0]
    few = f"; @k: k items a class, mean of {options.draws} draws" if options.shots else ""
    by = "val" if "val" in rows else "cross-validation on train"
    return TaskResult(
        task="probe",
        dataset=dataset,
        model=model,
        protocol=f"{', '.join(options.method)} on frozen features standardised on train, chosen by {by}, measured on "
        f"{measured}{few}",
        headline=f"{first}_accuracy",
        figures=figures,
        ids=tuple(parts[measured].ids),
        scores=right_shares(truth, predicted[first]),
        truth=tuple(truth),
        predicted=tuple(predicted[first]),
        facts={
            "classes": len(np.unique(rows["train"].labels)),
            **{f"{measured if name == 'test' else name}_rows": len(part) for name, part in rows.items()},
            "features": int(rows["train"].values.shape[1]),
            "chosen": chosen,
            "accuracy_by_class": accuracy_by_class(truth, predicted[first]),
            "labels_that_train_lacks": list(unknown),
            "few_shot": spread,
            "seed": options.seed,
            "probe_seconds": round(time.perf_counter() - start, 2),
            **facts,
        },
    )


def _rows(parts: Mapping[str, FeaturePart], dataset: str, measured: str) -> dict[str, Rows]:
    """Return the rows to fit on, to choose by and, as `test`, to measure on."""
    there = {name: part for name, part in parts.items() if len(part.labels)}
    for name in ("train", measured):
        if name not in there:
            raise DataError(f"{dataset}: no labelled images of split {name!r}; a probe needs train and {measured}")
    width = np.shape(parts["train"].features)[-1]
    names = {"train": "train", "test": "val"} if measured == "val" else {name: name for name in SPLITS}
    return {
        role: checked_rows(name, there[name].features, there[name].labels, width)
        for role, name in names.items()
        if name in there
    }


def _few_shots(
    method: str, rows: Mapping[str, Rows], shots: int, options: ProbePlan
) -> tuple[Estimate, dict[str, Any]]:
    """Return the accuracy with few training rows a class: over the draws, and of each."""
    truth = rows["test"].labels.tolist()
    predicted = []
    for draw in range(options.draws):
        few = dict(rows)
        for name in rows.keys() - {"test"}:
            few[name] = rows[name].take(draw_per_class(rows[name].labels, shots, (options.seed, shots, draw)))
        predicted.append(predicted_labels(method, few, options.seed)[0])
    each = [float(np.mean(right_shares(truth, one))) for one in predicted]
    spread = {"draws": each, "deviation": deviation(each)}
    found = classification_figures(truth, *predicted, resamples=options.resamples, seed=options.seed)
    return found["accuracy"], spread


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
    write_task_result(options.out, result)
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
    labelled = open_labelled_set(options)
    chosen = split_items(labelled, measured=split)
    check_shots([item.label for item in chosen["train"]], options.shots)  # before the long part
    start = time.perf_counter()
    if isinstance(options.model, TwoTower):
        source = encoder_of_model(options.model)
        source = replace(source, pixels=options.pixels or source.pixels)
        backbone = Backbone(source, model_name(options.model)).to(options.model.device)
    else:
        device = choose_device(options.device)
        backbone = open_backbone(options.model, pixels=options.pixels, seed=options.seed, device=device)
    items = [item for part in chosen.values() for item in part]
    found = extract_features(backbone, items, features)
    usable = {name: [row for row in found.usable.tolist() if items[row].split == name] for name in chosen}
    parts = {
        name: FeaturePart([items[row].id for row in rows], found.values[rows], [items[row].label for row in rows])
        for name, rows in usable.items()
    }
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


def _on_table(options: ProbeOptions) -> TaskResult:
    if idle := options.changed("dataset", "pixels", "stage", "bands", "value_range", "cache", "precision"):
        raise ConfigError(
            f"{', '.join(idle)} has no effect on a packed table, whose images are the model's own; remove it"
        )
    if options.label is None:
        raise ConfigError(f"{options.data} is a packed table: --label COLUMN expected")
    tower = opened_model(options.model, seed=options.seed, device=options.device)
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
    """Return the rows with a label by split, and the numbers of those that are measured."""
    labels, splits, ids = table.column(label), table.column("split"), table.column("id")
    parts, tested, shown = {}, np.zeros(0, np.int64), table.has("image")
    for split in ("train", "val") if measured == "val" else SPLITS:
        labelled = [i for i, name in enumerate(splits) if name == split and labels[i] not in (None, "") and shown[i]]
        rows = np.array(labelled, np.int64)
        tested = rows if split == measured else tested
        if len(rows):
            parts[split] = FeaturePart(
                [str(ids[row]) for row in rows], image_features(model, table, rows), [str(labels[row]) for row in rows]
            )
    return parts, tested


SHOTS, SEED, SIDE, CROP = 5, 42, 300, 192
_FEW_SHOT_PROTOCOL = (
    f"soundingearth: {SHOTS} images a class (stratified, seed {SEED}), frozen embedding of the centre {CROP} of {SIDE} "
    "pixels, nearest centroid; tested on all others"
)


class _ImageEmbedder(nn.Module):
    """An image tower with its projection, as an encoder whose pooled features are the embedding."""

    def __init__(self, tower: Tower, unit: bool) -> None:
        super().__init__()
        self.tower = tower
        self.unit = unit

    def forward(self, inputs: Tensor) -> Tensor:
        projected: Tensor = self.tower(inputs)
        return F.normalize(projected, dim=1) if self.unit else projected

    def forward_intermediates(self, inputs: Tensor) -> Any:
        return self.tower.encoder.forward_intermediates(inputs)  # type: ignore[operator]


def few_shot_probe(options: ProbeOptions) -> TaskResult:
    """Return how the nearest centroid of few embeddings names all other images of a set.

    The short side is resized to 300 and the centre 192 x 192 seen; the embedding is the model's own (for a backbone
    without a projection its pooled features), not standardised; five images a class, all classes together, are drawn
    by a stratified split with seed 42, so that a larger class may give more than five; the splits of the set are not
    looked at. After Heidler et al., arXiv 2108.00688. Raises DataError, ConfigError, ModelError.
    """
    labelled = open_labelled_set(options)
    known, asked = _few_and_others(labelled)
    start = time.perf_counter()
    embedder = _embedding_backbone(options.model, choose_device(options.device))
    found = extract_features(embedder, labelled.items, replace(features_asked(options), resize=SIDE))
    usable = set(found.usable.tolist())
    train_at, test_at = ([row for row in rows if row in usable] for rows in (known, asked))
    names = [item.label for item in labelled.items]
    train = checked_rows("train", found.values[train_at], [names[row] for row in train_at])
    test = checked_rows("test", found.values[test_at], [names[row] for row in test_at])
    predicted = fit_centroid(train).predict(test.values).tolist()
    truth = test.labels.tolist()
    figures = classification_figures(truth, predicted, resamples=options.resamples)
    return TaskResult(
        task="probe",
        dataset=labelled.name,
        model=model_name(options.model),
        protocol=_FEW_SHOT_PROTOCOL,
        headline="centroid_accuracy",
        figures={f"centroid_{name}": figures[name] for name in FIGURES},
        ids=tuple(labelled.items[row].id for row in test_at),
        scores=right_shares(truth, predicted),
        truth=tuple(truth),
        predicted=tuple(predicted),
        facts={
            "classes": len(labelled.classes),
            "train_rows": len(train),
            "test_rows": len(test),
            "features": int(train.values.shape[1]),
            "accuracy_by_class": accuracy_by_class(truth, predicted),
            "broken_images": dict(found.broken),
            "features_from_cache": found.cached,
            "seconds": round(time.perf_counter() - start, 2),
            "notes": list(labelled.warnings),
        },
    )


def _few_and_others(labelled: LabelledSet) -> tuple[list[int], list[int]]:
    """Return positions of the few and of the others."""
    names = [item.label for item in labelled.items]
    counts = {name: names.count(name) for name in labelled.classes}
    few = SHOTS * len(counts)
    small = sorted(name for name, count in counts.items() if count < SHOTS + 1)
    if small or len(counts) < 2:
        raise DataError(
            f"{labelled.name}: {len(counts)} classes, {', '.join(map(repr, small[:5])) or 'none'} with fewer than "
            f"{SHOTS + 1} images; --protocol soundingearth needs two classes or more of {SHOTS + 1} images or more"
        )
    known, asked = train_test_split(np.arange(len(names)), train_size=few, stratify=names, random_state=SEED)
    return sorted(known.tolist()), sorted(asked.tolist())


def _embedding_backbone(model: TwoTower | str | Path, device: str) -> Backbone:
    kind, colon, _ = str(model).partition(":")
    named = not isinstance(model, TwoTower) and colon and kind in SOURCES and kind != "random"
    if named and not Path(str(model)).exists():
        return open_backbone(str(model), pixels=CROP, device=device)
    tower = opened_model(model, device=device)
    with torch.no_grad():
        embedder = _ImageEmbedder(tower.image_tower, tower.config.unit)
    name = f"{tower.config.image_encoder} to {tower.config.dimensions}, unit {tower.config.unit}"
    backbone = Backbone(ImageEncoder(embedder.cpu(), name, CROP, usual_gsd_m=tower.usual_gsd_m), model_name(model))
    return backbone.to(device).eval()

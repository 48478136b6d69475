"""The probe of a model on data as a user names it: labelled images by any backbone, or a packed table by its model."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.datasets import open_labelled
from earthtone.data.object_store import last_part
from earthtone.data.open_table import open_table
from earthtone.data.source import is_packed
from earthtone.data.table import Table
from earthtone.errors import ConfigError
from earthtone.evaluate.features import FeatureOptions, extract_features
from earthtone.evaluate.probe_task import FeaturePart, ProbeOptions, probe_features
from earthtone.evaluate.shared import told_of_items, told_of_table
from earthtone.evaluate.splits import check_shots, split_items
from earthtone.evaluate.task_result import TaskResult
from earthtone.models.backbone import Backbone, open_backbone
from earthtone.models.embed_rows import image_features
from earthtone.models.open_model import open_model
from earthtone.models.trunk_file import model_trunk
from earthtone.models.two_tower import TwoTower


def evaluate_probe(
    model: TwoTower | str | Path,
    data: str | Path,
    *,
    dataset: str | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    probe: ProbeOptions | None = None,
    features: FeatureOptions | None = None,
    pixels: int | None = None,
    device: str = "cpu",
    split: str = "test",
) -> TaskResult:
    """Return how well simple classifiers read a label off frozen image features.

    Fitted on `train`, what there is to choose chosen on `val` where there is one, measured on `test`. With `split`
    val it is measured there, chosen by cross-validation on `train`, and no test image is opened: for choices between
    models. `data` is what `open_labelled` takes, read by the backbone that `model` names; or a packed table with a
    column `label`, read by a two-tower model of the same signal config. Raises DataError, ConfigError, ModelError.
    """
    if split not in ("test", "val"):
        raise ConfigError(f"split {split!r}; a probe is measured on test or val")
    probe, features = probe or ProbeOptions(), features or FeatureOptions()
    if is_packed(data):
        _refuse_for_tables(dataset, pixels, features)
        return _on_table(model, data, label, columns, probe, device, split)
    labelled = open_labelled(data, dataset=dataset, label=label, columns=columns)
    chosen = split_items(labelled, measured=split)
    check_shots([item.label for item in chosen["train"]], probe.shots)  # before the long part
    start = time.perf_counter()
    backbone = _backbone(model, pixels, probe.seed, device)
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
        **told_of_items(
            items, [item.split for item in items], split, ["image"], bands=features.bands, alike=found.values
        ),
    }  # fmt: skip
    return probe_features(parts, probe, dataset=labelled.name, model=_name(model), facts=facts, measured=split)


def _backbone(model: TwoTower | str | Path, pixels: int | None, seed: int, device: str) -> Backbone:
    if not isinstance(model, TwoTower):
        return open_backbone(model, pixels=pixels, seed=seed, device=device)
    trunk = model_trunk(model)
    return Backbone(replace(trunk, pixels=pixels or trunk.pixels), _name(model)).to(model.device)


def _name(model: TwoTower | str | Path) -> str:
    return "two-tower model" if isinstance(model, TwoTower) else str(model)


def _refuse_for_tables(dataset: str | None, pixels: int | None, features: FeatureOptions) -> None:
    wrong = [
        name
        for name, value in (
            ("--dataset", dataset), ("--pixels", pixels), ("--stage", features.stage), ("--bands", features.bands),
            ("--value_range", features.value_range),
            ("--cache", features.cache),
        )
        if value is not None
    ]  # fmt: skip
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)} has no effect on a packed table, whose images are the model's own; remove it"
        )


def _on_table(
    model: TwoTower | str | Path, data: str | Path, label: str | None, columns: Mapping[str, str] | None,
    probe: ProbeOptions, device: str, split: str,
) -> TaskResult:  # fmt: skip
    if label is None:
        raise ConfigError(f"{data} is a packed table: --label COLUMN expected")
    tower = model if isinstance(model, TwoTower) else open_model(model, device=device)
    with open_table(data, tower.signal, columns=columns) as table:
        parts, rows = _table_parts(tower, table, label, split)
        facts = {"label": label, **told_of_table(table, split, rows, media=["image"])}
    return probe_features(
        parts, probe, dataset=f"{last_part(data)} {label}", model=_name(model), facts=facts, measured=split
    )


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

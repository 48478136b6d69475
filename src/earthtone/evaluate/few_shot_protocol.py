"""The release's few-shot protocol: five images a class, frozen embeddings, the nearest centroid."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.datasets import open_labelled
from earthtone.data.labelled import LabelledSet
from earthtone.errors import DataError
from earthtone.evaluate.centroid import fit_centroid
from earthtone.evaluate.classification import FIGURES, accuracy_by_class, classification_figures
from earthtone.evaluate.features import FeatureOptions, extract_features
from earthtone.evaluate.readout import checked_rows
from earthtone.evaluate.task_result import TaskResult
from earthtone.models.backbone import SOURCES, Backbone, open_backbone
from earthtone.models.encoders import Tower
from earthtone.models.open_model import open_model
from earthtone.models.trunk import Trunk

SHOTS, SEED, SIDE, CROP = 5, 42, 300, 192
_PROTOCOL = (
    f"soundingearth: {SHOTS} images a class (stratified, seed {SEED}), frozen embedding of the centre {CROP} of {SIDE} "
    "pixels, nearest centroid; tested on all others"
)


class _Embedder(nn.Module):
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


def few_shot_probe(
    model: str | Path,
    data: str | Path,
    *,
    dataset: str | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    features: FeatureOptions | None = None,
    device: str = "cpu",
    resamples: int = 1000,
) -> TaskResult:
    """Return how the nearest centroid of few embeddings names all other images of a set.

    The short side is resized to 300 and the centre 192 x 192 seen; the embedding is the model's own (for a backbone
    without a projection its pooled features), not standardised; five images a class, all classes together, are drawn
    by a stratified split with seed 42, so that a larger class may give more than five; the splits of the set are not
    looked at. After Heidler et al., arXiv 2108.00688. Raises DataError, ConfigError, ModelError.
    """
    labelled = open_labelled(data, dataset=dataset, label=label, columns=columns)
    known, asked = _drawn(labelled)
    start = time.perf_counter()
    embedder = _embedder(model, device)
    found = extract_features(embedder, labelled.items, replace(features or FeatureOptions(), resize=SIDE))
    usable = set(found.usable.tolist())
    train_at, test_at = ([row for row in rows if row in usable] for rows in (known, asked))
    names = [item.label for item in labelled.items]
    train = checked_rows("train", found.values[train_at], [names[row] for row in train_at])
    test = checked_rows("test", found.values[test_at], [names[row] for row in test_at])
    said = fit_centroid(train).predict(test.values).tolist()
    truth = test.labels.tolist()
    figures = classification_figures(truth, said, resamples=resamples)
    return TaskResult(
        task="probe",
        dataset=labelled.name,
        model=str(model),
        protocol=_PROTOCOL,
        headline="centroid_accuracy",
        figures={f"centroid_{name}": figures[name] for name in FIGURES},
        ids=tuple(labelled.items[row].id for row in test_at),
        scores=tuple(float(a == b) for a, b in zip(said, truth, strict=True)),
        truth=tuple(truth),
        predicted=tuple(said),
        facts={
            "classes": len(labelled.classes),
            "train_rows": len(train),
            "test_rows": len(test),
            "features": int(train.values.shape[1]),
            "accuracy_by_class": accuracy_by_class(truth, said),
            "broken_images": dict(found.broken),
            "features_from_cache": found.cached,
            "seconds": round(time.perf_counter() - start, 2),
            "notes": list(labelled.warnings),
        },
    )


def _drawn(labelled: LabelledSet) -> tuple[list[int], list[int]]:
    """Positions of the few and of the others."""
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


def _embedder(model: str | Path, device: str) -> Backbone:
    kind, colon, _ = str(model).partition(":")
    if colon and kind in SOURCES and kind != "random" and not Path(model).exists():
        return open_backbone(model, pixels=CROP, device=device)
    tower = open_model(model, device=device)
    with torch.no_grad():
        embedder = _Embedder(tower.image_tower, tower.config.unit)
    name = f"{tower.config.image_encoder} to {tower.config.dimensions}, unit {tower.config.unit}"
    backbone = Backbone(Trunk(embedder.cpu(), name, CROP, usual_gsd_m=tower.usual_gsd_m), str(model))
    return backbone.to(device).eval()

"""The release's few-shot protocol, and the same by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestCentroid

from earthtone.errors import DataError
from earthtone.evaluate.probe import evaluate_probe
from earthtone.models.storage import open_model
from earthtone.signal.image import read_picture, resized

AS_RELEASED: dict[str, Any] = {"protocol": "soundingearth", "precision": "32", "resamples": 20}


def test_is_the_protocol_by_hand(class_folder: Path) -> None:
    found = evaluate_probe("random:test_resnet", class_folder, **AS_RELEASED)
    files = sorted(class_folder.rglob("*.png"))
    names = [file.parent.name for file in files]
    model = open_model("random:test_resnet")
    vectors = []
    for file in files:
        pixels = read_picture(file).pixels
        edge = (pixels.shape[1] - 40) // 2
        crop = resized(np.ascontiguousarray(pixels[:, edge : edge + 40]), 300)[54:246, 54:246]
        with torch.no_grad():
            vector = model.project_images(torch.from_numpy(np.ascontiguousarray(crop[None])))[0]
        vectors.append(torch.nn.functional.normalize(vector, dim=0).numpy())
    train, test = train_test_split(np.arange(40), train_size=20, stratify=names, random_state=42)
    test = np.sort(test)
    labels = np.array(names)
    expected = NearestCentroid().fit(np.array(vectors)[train], labels[train]).predict(np.array(vectors)[test])
    assert np.mean(np.array(found.predicted) == expected) > 0.9  # ties of rounding aside
    assert list(found.truth) == labels[test].tolist() and found.facts["features"] == model.config.dimensions
    assert (found.facts["train_rows"], found.facts["test_rows"]) == (20, 20)
    assert {"centroid_accuracy", "centroid_weighted_f1"} <= found.figures.keys()


def test_a_backbone_without_projection_gives_its_pooled_features(write_classes: Any, tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "weights.pth")
    folder = write_classes(tmp_path / "scenes", 7)
    found = evaluate_probe(f"timm:test_resnet@{tmp_path / 'weights.pth'}", folder, **AS_RELEASED)
    assert found.facts["features"] == 96 and found.figures["centroid_accuracy"].value > 0.25


def test_each_class_must_have_six(write_classes: Any, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "scenes", 6)
    Image.new("RGB", (40, 40)).save(folder / "lake" / "more.png")
    (folder / "town" / "00.png").unlink()
    with pytest.raises(DataError, match=r"'town' with fewer than 6 images"):
        evaluate_probe("random:test_resnet", folder, **AS_RELEASED)

"""The probe on data as a user names it: class folders, manifests, packed tables; and what cannot be probed."""

import csv
import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from earthtone.data.packed import Table
from earthtone.encode.engine import image_features
from earthtone.errors import ConfigError, DataError, EarthtoneError, ModelError
from earthtone.evaluate.probe import FeaturePart, evaluate_probe, probe_features
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.options import ProbePlan
from earthtone.signal.config import SignalConfig

QUICK: dict[str, Any] = {"method": "centroid", "resamples": 20}
MODEL = "random:test_resnet"


def manifest(folder: Path, images: Path, splits: tuple[str, ...], **labels: str) -> Path:
    """A manifest of the images in class folders; `labels` replaces the label of an image by its stem and class."""
    path = folder / "scenes.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "kind", "split"])
        for n, image in enumerate(sorted(images.rglob("*.png"))):
            label = labels.get(f"{image.parent.name}_{image.stem}", image.parent.name)
            rows.writerow([f"{image.parent.name}-{image.stem}", image, label, splits[n % len(splits)]])
    return path


@pytest.mark.slow
def test_a_folder_of_classes(class_folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "method": "logistic,knn,centroid", "shots": (1, 5), "draws": 2, "resamples": 100, "cache": tmp_path / "cache",
        "pixels": 32,
    }  # fmt: skip
    found = evaluate_probe(MODEL, class_folder, **options)
    assert (found.facts["train_rows"], found.facts["val_rows"], found.facts["test_rows"]) == (24, 8, 8)
    assert found.figures["logistic_accuracy"].value >= 0.75 and found.facts["pixels"] == 32
    again = evaluate_probe(MODEL, class_folder, **options)
    assert again.facts["features_from_cache"] and again.figures == found.figures and again.ids == found.ids


def test_a_manifest_without_val_and_a_class_that_only_the_test_has(
    class_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = manifest(tmp_path, class_folder, ("train", "train", "test"), desert_02="oasis")
    with caplog.at_level(logging.WARNING):
        found = evaluate_probe(MODEL, data, label="kind", **QUICK, pixels=32)
    assert found.facts["labels_that_train_lacks"] == ["oasis"] and "count as wrong: 'oasis'" in caplog.text
    at = found.ids.index("desert-02")
    assert found.truth[at] == "oasis" and found.scores[at] == 0


def test_a_packed_table_gives_what_its_rows_give(tiny_model: TwoTower, tiny_table: Path) -> None:
    found = evaluate_probe(tiny_model, tiny_table, label="label")
    table = Table(tiny_table)
    parts = {}
    for split in ("train", "val", "test"):
        rows = table.rows_of(split)
        ids, labels = ([table.column(name)[row] for row in rows] for name in ("id", "label"))
        parts[split] = FeaturePart(ids, image_features(tiny_model, table, rows), labels)
    alone = probe_features(parts, ProbePlan(), dataset="toy", model="m", facts={})
    assert found.figures == alone.figures and found.predicted == alone.predicted and found.ids == alone.ids


def test_measured_on_val_no_test_image_is_opened(
    tiny_model: TwoTower, tiny_table: Path, class_folder: Path, tmp_path: Path
) -> None:
    data = manifest(tmp_path, class_folder, ("train", "val", "test"))
    lines = data.read_text().splitlines()
    data.write_text("\n".join(line.replace(".png", ".gone") if line.endswith("test") else line for line in lines))
    found = evaluate_probe(MODEL, data, label="kind", **QUICK, pixels=32, split="val")
    assert len(found.ids) == found.facts["val_rows"] and not found.facts["broken_images"]
    packed, table = evaluate_probe(tiny_model, tiny_table, label="label", split="val"), Table(tiny_table)
    assert list(packed.ids) == [table.column("id")[row] for row in table.rows_of("val")]
    with pytest.raises(ConfigError, match="--split train; test or val expected"):
        evaluate_probe(MODEL, data, label="kind", split="train")


@pytest.mark.slow
def test_files_by_the_model_of_a_table(tiny_model: TwoTower, tiny_pairs: Path, tiny_table: Path) -> None:
    files = evaluate_probe(tiny_model, tiny_pairs, label="label", precision="32")
    packed = evaluate_probe(tiny_model, tiny_table, label="label")
    assert dict(zip(files.ids, files.truth, strict=True)) == dict(zip(packed.ids, packed.truth, strict=True))
    assert abs(files.figures[files.headline].value - packed.figures[packed.headline].value) <= 0.25


def test_what_a_table_does_not_take(tiny_model: TwoTower, tiny_table: Path) -> None:
    for name, value in (("stage", 1), ("pixels", 64), ("cache", "features")):
        with pytest.raises(ConfigError, match=f"--{name} has no effect on a packed table"):
            evaluate_probe(tiny_model, tiny_table, label="label", **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--label COLUMN expected"):
        evaluate_probe(tiny_model, tiny_table)
    with pytest.raises(DataError, match=r"'habitat'.*label"):
        evaluate_probe(tiny_model, tiny_table, label="habitat")
    other = TwoTower(ModelConfig("test_resnet", "test_resnet"), SignalConfig())
    with pytest.raises(ModelError, match="another signal config"):
        evaluate_probe(other, tiny_table, label="label")


def test_shots_are_checked_before_the_long_part(class_folder: Path) -> None:
    with pytest.raises(DataError, match=r"--shots 20: class 'desert' has 6 training items; 1 to 6"):
        evaluate_probe("timm:no-such-model", class_folder, shots=(20,))


def test_a_class_of_one_image(write_classes: Any, class_folder: Path, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "scenes", 4)
    for file in sorted((folder / "lake").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DataError, match="class 'lake' of one item alone"):
        evaluate_probe(MODEL, folder, **QUICK, pixels=32)


def test_broken_images_are_told_in_the_result(write_classes: Any, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "scenes", 8)
    (folder / "lake" / "03.png").write_bytes(b"no image")
    found = evaluate_probe(MODEL, folder, **QUICK, pixels=32)
    assert list(found.facts["broken_images"]) == ["lake/03.png"]
    assert sum(found.facts[f"{name}_rows"] for name in ("train", "val", "test")) == 31


def test_weights_of_another_channel_count(class_folder: Path, tmp_path: Path) -> None:
    twelve = timm.create_model("test_resnet", in_chans=12, num_classes=0).state_dict()
    save_file({name: value.contiguous() for name, value in twelve.items()}, tmp_path / "twelve.safetensors")
    torch.save(twelve, tmp_path / "twelve.pth")
    for spec in ("timm:test_resnet@{}/twelve.safetensors", "timm:test_resnet@{}/twelve.pth", "{}/twelve.safetensors"):
        with pytest.raises(EarthtoneError) as caught:
            evaluate_probe(spec.format(tmp_path), class_folder, **QUICK, pixels=32)
        assert "twelve" in str(caught.value) and "\n" not in str(caught.value)

"""Labelled images for models that are told metres a pixel: known ones are told, others are taken for usual ones."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

from earthtone.data.labelled import open_labelled
from earthtone.data.labelled.items import LabelledItem
from earthtone.encode.engine import FeatureOptions, extract_features, shown_square, square_of_item, tower_features
from earthtone.encode.store import data_fingerprint
from earthtone.evaluate.finetune import FINETUNE_PLANS, TrainingData, finetune
from earthtone.models.backbone import Backbone, encoder_of_model
from earthtone.models.encoders import warn_of_unknown_gsd
from earthtone.models.two_tower import TwoTower


def of_scale(items: list[LabelledItem], gsd_m: float | None) -> list[LabelledItem]:
    return [replace(item, image_gsd_m=gsd_m) for item in items]


def shown(item: LabelledItem, side: int, **options: Any) -> np.ndarray:
    return shown_square(square_of_item(item, side, **options), side)


def test_the_fourth_channel(class_items: list[LabelledItem], caplog: pytest.LogCaptureFixture) -> None:
    """Squares of 40 pixels of 0.8 m are 32 m: 1 m a pixel at 32, byte 96; cut out of 40 pixels of 1 m as well."""
    plain = shown(class_items[0], 32)
    [item], [larger] = of_scale(class_items[:1], 0.8), of_scale(class_items[:1], 1.0)
    found = shown(item, 32, usual_gsd_m=3.0)
    assert plain.shape == (32, 32, 3) and found.shape == (32, 32, 4)
    assert np.array_equal(found[..., :3], plain) and (found[..., 3] == 96).all()
    assert (shown(larger, 40, usual_gsd_m=3.0)[..., 3] == 96).all() and not caplog.records
    warn_of_unknown_gsd.cache_clear()
    unknown = shown(class_items[0], 40, usual_gsd_m=4.0)
    assert (unknown[..., 3] == 128).all() and "taken: 4 m a pixel" in caplog.text


def test_features_of_backbone_and_tower(
    scaled: TwoTower, class_items: list[LabelledItem], caplog: pytest.LogCaptureFixture
) -> None:
    backbone = Backbone(encoder_of_model(scaled), "scaled")
    items = class_items[:3]
    usual, same, other = (of_scale(items, gsd_m) for gsd_m in (None, 2.4, 24.0))  # 40 pixels of 2.4 m: 96 m
    with caplog.at_level(logging.WARNING):
        found = [extract_features(backbone, each).values for each in (usual, same, other)]
        towers = [tower_features(scaled, each, "image", precision="32").values for each in (usual, same, other)]
    for values in (found, towers):
        np.testing.assert_array_equal(values[0], values[1])
        assert not np.allclose(values[0], values[2], atol=1e-4)
    assert len({data_fingerprint(each) for each in (usual, same, other)}) == 3


def test_only_unknown_metres_are_warned_of(
    scaled: TwoTower, class_items: list[LabelledItem], caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_unknown_gsd.cache_clear()
    backbone = Backbone(encoder_of_model(scaled), "scaled")
    extract_features(backbone, of_scale(class_items[:2], 2.4))
    assert not caplog.records
    extract_features(backbone, class_items[:2])
    assert "metres a pixel of pictures are unknown" in caplog.text


def test_metres_that_no_image_has(scaled: TwoTower, class_items: list[LabelledItem]) -> None:
    backbone = Backbone(encoder_of_model(scaled), "scaled")
    [odd], [good] = of_scale(class_items[:1], 1e308), of_scale(class_items[1:2], 2.4)
    found = extract_features(backbone, [odd, good])
    assert list(found.usable) == [1] and "image_gsd_m is 1e+308; 0.001 to 100,000" in found.broken[odd.id]


@pytest.mark.slow
@pytest.mark.parametrize("augment", [True, False])
def test_fine_tuning(scaled: TwoTower, class_items: list[LabelledItem], augment: bool) -> None:
    plan = replace(FINETUNE_PLANS["modern"], epochs=1, batch_size=8, choose_epoch=False, augment=augment)
    classes = tuple(sorted({item.label for item in class_items}))
    items = [replace(item, image_gsd_m=0.5 if number % 3 else None) for number, item in enumerate(class_items)]
    before = scaled.image_tower.encoder.conv1[0].weight.detach().clone()  # type: ignore[index,union-attr]
    backbone = Backbone(encoder_of_model(scaled), "scaled")
    assert len(finetune(backbone, TrainingData(items[::2], [], items[1::2], classes), plan).predicted) == 20
    after = scaled.image_tower.encoder.conv1[0].weight  # type: ignore[index,union-attr]
    assert not torch.equal(before[:, 3], after[:, 3])


def test_a_manifests_metres(class_items: list[LabelledItem], tmp_path: Path) -> None:
    given = zip(class_items[:3], ("", "0.5", "0.5"), strict=True)
    rows = [f"{item.id},{item.image},{item.label},{gsd_m}" for item, gsd_m in given]
    (tmp_path / "set.csv").write_text("\n".join(["id,image,label,image_gsd_m", *rows]) + "\n")
    items = {item.id: item.image_gsd_m for item in open_labelled(tmp_path / "set.csv").items}
    assert [items[item.id] for item in class_items[:3]] == [None, 0.5, 0.5]


@pytest.mark.parametrize("gsd_m", ["1e308", "1e-300", "0"])
def test_a_manifests_row_of_metres_that_no_image_has(
    class_items: list[LabelledItem], tmp_path: Path, gsd_m: str
) -> None:
    odd, *others = class_items[:4]
    rows = [f"{odd.id},{odd.image},{odd.label},{gsd_m}"]
    rows += [f"{item.id},{item.image},{item.label},0.5" for item in others]
    (tmp_path / "set.csv").write_text("\n".join(["id,image,label,image_gsd_m", *rows]) + "\n")
    found = open_labelled(tmp_path / "set.csv")  # the value is lost, not the row
    assert {item.id: item.image_gsd_m for item in found.items} == {odd.id: None, **{item.id: 0.5 for item in others}}


def test_a_range_of_values_is_kept_apart_in_features(scaled: TwoTower, tmp_path: Path) -> None:
    """Equal ground beside a bright corner and without one: alike by a range, unlike by each tile's percentiles."""
    values = np.random.default_rng(0).integers(500, 900, (3, 32, 32)).astype(np.uint16)
    items = []
    for name in ("a", "b"):
        profile = {"count": 3, "height": 32, "width": 32, "dtype": "uint16"}
        with rasterio.open(tmp_path / f"{name}.tif", "w", driver="GTiff", **profile) as file:
            file.write(values)
        items.append(LabelledItem(name, "x", tmp_path / f"{name}.tif"))
        values[:, :8, :8] = 2800
    plain = [shown(item, 32) for item in items]
    ranged = [shown(item, 32, value_range=(0, 3000)) for item in items]
    unlike = np.abs(plain[0].astype(int) - plain[1])[8:, 8:].mean()
    assert np.array_equal(ranged[0][8:, 8:], ranged[1][8:, 8:]) and unlike > 1
    backbone, cache = Backbone(encoder_of_model(scaled), "scaled"), tmp_path / "cache"
    found = [
        extract_features(backbone, items, FeatureOptions(value_range=value, cache=cache))
        for value in (None, "sentinel2")
    ]
    assert not found[1].cached and not np.allclose(found[0].values, found[1].values)
    assert extract_features(backbone, items, FeatureOptions(value_range=(0, 3000), cache=cache)).cached

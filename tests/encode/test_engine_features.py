"""Features: the same alone or among others, from the cache or not; broken images are named and left out."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from earthtone.data.labelled.items import LabelledItem
from earthtone.device import cpu_has_bfloat16
from earthtone.encode.engine import FeatureOptions, ItemFeatures, extract_features, feature_width
from earthtone.encode.store import data_fingerprint
from earthtone.errors import ConfigError, DataError
from earthtone.models.backbone import Backbone, open_backbone
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import read_picture, resized

PRECISIONS = ["32", pytest.param("bf16", marks=pytest.mark.skipif(not cpu_has_bfloat16(), reason="needs bf16"))]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return open_backbone("random:test_resnet", pixels=32)


def copied(items: list[LabelledItem], folder: Path) -> list[LabelledItem]:
    """The items' files in another folder, with their times."""
    found = []
    for item in items:
        assert item.image is not None
        to = folder / item.label / item.image.name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(item.image, to)
        found.append(LabelledItem(item.id, item.label, to))
    return found


def test_are_the_backbones_pooled_features_of_the_centre_square(
    backbone: Backbone, class_items: list[LabelledItem]
) -> None:
    found = extract_features(backbone, class_items[:5]).values
    for row, item in enumerate(class_items[:5]):
        assert item.image is not None
        pixels = read_picture(item.image, ImageConfig()).pixels
        edge = (pixels.shape[1] - 40) // 2
        square = resized(np.ascontiguousarray(pixels[:, edge : edge + 40]), 32)
        with torch.no_grad():
            expected = backbone.pooled(backbone.prepare(torch.from_numpy(square[None])))[0].numpy()
        assert found[row] == pytest.approx(expected, rel=0.05, abs=0.02)  # bfloat16 where the processor has it
    assert found.dtype == np.float32 and found.shape == (5, backbone.features)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("stage", [None, 1])
def test_an_image_gives_the_same_bits_alone_and_among_others(
    precision: str, stage: int | None, backbone: Backbone, class_items: list[LabelledItem]
) -> None:
    options = FeatureOptions(precision=precision, stage=stage)
    together = extract_features(backbone, class_items, options).values
    for row in (0, 17, 39):
        assert np.array_equal(extract_features(backbone, [class_items[row]], options).values[0], together[row])


def test_stages_are_means_over_their_maps(backbone: Backbone, class_items: list[LabelledItem]) -> None:
    for stage, channels in enumerate(backbone.channels):
        assert feature_width(backbone, stage) == channels
    found = extract_features(backbone, class_items[:2], FeatureOptions(stage=0, precision="32")).values
    assert found.shape == (2, backbone.channels[0])
    for wrong in (len(backbone.channels), -1):
        with pytest.raises(ConfigError, match=rf"--stage {wrong}; random:test_resnet has stages 0 to"):
            extract_features(backbone, class_items, FeatureOptions(stage=wrong))


@pytest.mark.slow
def test_the_cache_knows_model_and_files(backbone: Backbone, class_items: list[LabelledItem], tmp_path: Path) -> None:
    items = copied(class_items[:6], tmp_path / "images")
    options = FeatureOptions(cache=tmp_path / "cache")
    first = extract_features(backbone, items, options)
    again = extract_features(backbone, items, options)
    assert not first.cached and again.cached and np.array_equal(first.values, again.values)
    moved = copied(items, tmp_path / "moved")
    assert extract_features(backbone, moved, options).cached  # it does not matter where they lie
    other = open_backbone("random:test_resnet", pixels=32, seed=1)
    assert not extract_features(other, items, options).cached
    assert not extract_features(backbone, items, FeatureOptions(cache=options.cache, stage=0)).cached
    assert not extract_features(open_backbone("random:test_resnet", pixels=40), items, options).cached
    assert items[0].image is not None
    Image.fromarray(np.full((40, 40, 3), 9, np.uint8)).save(items[0].image)
    changed = extract_features(backbone, items, options)
    assert not changed.cached and not np.array_equal(changed.values[0], first.values[0])
    assert np.array_equal(changed.values[1:], first.values[1:])
    os.utime(items[1].image or "", ns=(1, 1))
    assert not extract_features(backbone, items, options).cached


def test_a_damaged_cache_is_made_again(backbone: Backbone, class_items: list[LabelledItem], tmp_path: Path) -> None:
    options = FeatureOptions(cache=tmp_path)
    whole = extract_features(backbone, class_items[:3], options).values.copy()
    for damage in (lambda file: file.write_bytes(file.read_bytes()[:50]), lambda file: file.unlink()):
        for suffix in ("*.npy", "*.json"):
            damage(next(tmp_path.glob(suffix)))
            found = extract_features(backbone, class_items[:3], options)
            assert not found.cached and np.array_equal(found.values, whole)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(DataError, match="is a file"):
        extract_features(backbone, class_items[:3], FeatureOptions(cache=next(tmp_path.glob("*.npy"))))


@pytest.mark.parametrize("cache", [True, False])
def test_broken_images_are_named_and_left_out(
    cache: bool, backbone: Backbone, class_items: list[LabelledItem], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    bad = [LabelledItem("broken", "lake", tmp_path / "broken.png"), LabelledItem("gone", "lake", tmp_path / "gone.png")]
    items = [class_items[0], *bad, class_items[1]]
    options = FeatureOptions(cache=tmp_path / "cache" if cache else None)
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            found = extract_features(backbone, items, options)
        assert set(found.broken) == {"broken", "gone"} and found.usable.tolist() == [0, 3]
        assert "2 of 4 images cannot be read and were left out: 'broken', 'gone'" in caplog.text
        caplog.clear()
    alone = extract_features(backbone, [class_items[1]]).values
    assert np.isnan(found.values[1:3]).all() and np.array_equal(found.values[3], alone[0])
    with pytest.raises(DataError, match="none of 2 images can be read; the first, 'broken'"):
        extract_features(backbone, bad)


def test_twelve_bands_need_a_choice(backbone: Backbone, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (12, 40, 40), np.uint8)
    items = []
    for n in range(2):
        path = tmp_path / f"{n}.tif"
        with rasterio.open(path, "w", driver="GTiff", width=40, height=40, count=12, dtype="uint8") as file:
            file.write(values)
        items.append(LabelledItem(str(n), "a", path))
    with pytest.raises(DataError, match=r"none of 2 images can be read.*12 bands; choose three"):
        extract_features(backbone, items)
    assert np.isfinite(extract_features(backbone, items, FeatureOptions(bands=(4, 3, 2))).values).all()


def test_no_images_no_features(backbone: Backbone) -> None:
    found = extract_features(backbone, [])
    assert found == ItemFeatures(found.values, backbone.features) and found.values.shape == (0, backbone.features)
    assert found.usable.tolist() == []


def test_the_network_sees_one_batch_at_a_time_and_the_result_lies_on_disk(
    backbone: Backbone, class_items: list[LabelledItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    prepare = Backbone.prepare
    monkeypatch.setattr(Backbone, "prepare", lambda b, pixels: (seen.append(pixels.shape), prepare(b, pixels))[1])
    found = extract_features(backbone, class_items, FeatureOptions(cache=tmp_path), batch=8)
    assert seen == [(1, 32, 32, 3)] + [(8, 32, 32, 3)] * 5 and isinstance(found.values, np.memmap)


@pytest.mark.slow
def test_a_stopped_call_goes_on(
    backbone: Backbone, class_items: list[LabelledItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts of 16 of 40 items: stopped in the second part, the next call makes that one and the third."""
    (tmp_path / "broken.png").write_bytes(b"no image")
    items = [LabelledItem("broken", "lake", tmp_path / "broken.png"), *class_items[1:]]
    whole = extract_features(backbone, items)
    monkeypatch.setattr("earthtone.encode.store.PART_ITEMS", 16)
    options, prepare, left = FeatureOptions(cache=tmp_path / "cache"), Backbone.prepare, [24]

    def until(model: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        left[0] -= len(pixels)
        if left[0] < 0:
            raise KeyboardInterrupt
        return prepare(model, pixels)

    monkeypatch.setattr(Backbone, "prepare", until)
    with pytest.raises(KeyboardInterrupt):
        extract_features(backbone, items, options)
    left[0] = 24 + 2  # each part tries one more picture, to fold the batch norms
    found = extract_features(backbone, items, options)
    assert left == [0] and not found.cached and found.broken == whole.broken
    assert np.array_equal(found.values, whole.values, equal_nan=True)
    assert len(list((tmp_path / "cache").iterdir())) == 2 and extract_features(backbone, items, options).cached


def test_another_picture_of_the_same_size_and_time_is_another_one(tmp_path: Path) -> None:
    items = [LabelledItem("a\udcff", "x", tmp_path / "a.bmp")]  # an id made of an undecodable file name
    seen = []
    for value in (20, 220):
        Image.new("RGB", (40, 40), (value, value, value)).save(tmp_path / "a.bmp")  # always as many bytes
        os.utime(tmp_path / "a.bmp", (0, 0))  # as archives and copies keep it
        seen.append(data_fingerprint(items))
    (tmp_path / "a.bmp").unlink()
    assert len({*seen, data_fingerprint(items)}) == 3

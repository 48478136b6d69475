"""The whole task on small tiles whose classes are their colours: learned, measured, drawn, georeferenced."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from earthtone.cli import main
from earthtone.data.labelled.items import MaskedItem, MaskedSet, Palette
from earthtone.errors import DataError
from earthtone.evaluate.results import TaskResult, read_task_result
from earthtone.evaluate.segment import segment
from earthtone.evaluate.segment_network import SEGMENT_PLANS, SegmentPlan
from earthtone.models.backbone import Backbone, open_backbone
from earthtone.options import SegmentOptions

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)
QUICK = replace(SEGMENT_PLANS["modern"], epochs=8, batch_size=8, patch_pixels=32, learning_rate=3e-2)


def write_tile(folder: Path, number: int, *, tiff: bool = False, side: int = 48) -> tuple[Path, Path]:
    """A tile of three blocky classes, each nearly one colour, and its mask with values 10, 20, 30."""
    draw = np.random.default_rng(number)
    classes = np.kron(draw.integers(0, 3, (3, 3)), np.ones((side // 3, side // 3), int)).astype(np.uint8)
    pixels = np.clip(COLOURS[classes] + draw.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    mask = folder / "masks" / f"{number:02d}.png"
    Image.fromarray((classes + 1) * 10).save(mask)
    if not tiff:
        image = folder / "images" / f"{number:02d}.png"
        Image.fromarray(pixels).save(image)
        return image, mask
    image = folder / "images" / f"{number:02d}.tif"
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32652", "transform": from_origin(340_000 + 10 * number, 3_836_000, 10, 10)}
    with rasterio.open(image, "w", **profile, **place) as file:
        file.write(np.moveaxis(pixels, 2, 0))
    return image, mask


def masked_set(folder: Path, count: int = 15, *, tiff: bool = False) -> MaskedSet:
    items = []
    for number in range(count):
        image, mask = write_tile(folder, number, tiff=tiff)
        split = ("train", "train", "train", "val", "test")[number % 5]
        items.append(MaskedItem(f"tile/{number}", image, mask, split))
    return MaskedSet("blocks", tuple(items), Palette(("red", "green", "blue"), values={10: 0, 20: 1, 30: 2}))


def tiny_backbone(seed: int) -> Backbone:
    return open_backbone("random:test_resnet", pixels=32, seed=seed)


def segmented(data: MaskedSet, plan: SegmentPlan = QUICK, **changes: Any) -> TaskResult:
    options = SegmentOptions("tiny", data, **{"head": "linear", "precision": "32", "resamples": 20, **changes})
    return segment(tiny_backbone, data, plan, options)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[MaskedSet, TaskResult, Path]:
    folder = tmp_path_factory.mktemp("tiles")
    data = masked_set(folder, tiff=True)
    unmasked, _ = write_tile(folder, 99, tiff=True)
    data = replace(data, items=(*data.items, MaskedItem("new", unmasked, None)))
    out = folder / "out"
    result = segmented(data, seeds=(0, 1), out=out, resamples=50)
    return data, result, out


@pytest.mark.slow
def test_classes_that_are_colours_are_learned(done: tuple[MaskedSet, TaskResult, Path]) -> None:
    _, result, _ = done
    figure = result.figures["mIoU"]
    assert figure.chance is not None and figure.value > 2 * figure.chance
    assert figure.low <= figure.value <= figure.high
    assert set(result.figures) == {"mIoU", "accuracy", "IoU red", "IoU green", "IoU blue"}
    assert result.facts["tiles"] == {"train": 9, "val": 3, "test": 3}
    assert result.ids == ["tile/4", "tile/9", "tile/14"] and len(result.scores) == 3
    assert figure.value == pytest.approx(np.mean(result.facts["mIoU_by_seed"]))
    assert np.sum(result.facts["confusion"]) == 2 * 3 * 48 * 48  # two trainings, three tiles


@pytest.mark.slow
def test_maps_lie_where_their_images_lie(done: tuple[MaskedSet, TaskResult, Path]) -> None:
    data, _, out = done
    maps = sorted((out / "maps").iterdir())
    assert len(maps) == 4  # three of the test and the one without a mask
    for path in maps:
        source = data.items[int(path.name[:5])].image
        with rasterio.open(path) as found, rasterio.open(source) as image:
            assert found.crs == image.crs and found.transform == image.transform and found.shape == image.shape
            assert found.nodata == 255 and found.tags()["class_1"] == "green"
            assert set(np.unique(found.read(1))) <= {0, 1, 2}
    pictures = list((out / "pictures").iterdir())
    assert len(pictures) == 3
    assert cv2.imread(str(pictures[0])).shape == (256, 3 * 256 + 12, 3)


def test_the_same_seed_gives_the_same_figures(tmp_path: Path) -> None:
    data = masked_set(tmp_path)
    first, again = (segmented(data, replace(QUICK, epochs=2)) for _ in range(2))
    assert first.figures == again.figures and first.facts["confusion"] == again.facts["confusion"]


def test_the_published_protocol_runs(tmp_path: Path) -> None:
    protocol = replace(SEGMENT_PLANS["soundingearth"], epochs=1, batch_size=4, patch_pixels=32, stride_pixels=24)
    result = segmented(masked_set(tmp_path, 10), protocol, head="deeplabv3plus")
    assert "patches of 32 px at stride 24" in result.protocol and "1 epochs, the last weights" in result.protocol
    assert "patches of 512 px at stride 347, no augmentation" in SEGMENT_PLANS["soundingearth"].sentence()
    assert result.facts["epoch_kept"] == [1]


def test_a_mask_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    data = masked_set(tmp_path, 10)
    assert data.items[3].mask is not None
    Image.fromarray(np.full((48, 40), 10, np.uint8)).save(data.items[3].mask)
    with pytest.raises(DataError, match=r"03\.png has 40 x 48 pixels, its image 48 x 48"):
        segmented(data)


def test_broken_images_and_unknown_values_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = masked_set(tmp_path)
    data.items[0].image.write_bytes(b"no picture")
    assert data.items[1].mask is not None
    values = np.full((48, 48), 10, np.uint8)
    values[:10] = 77
    Image.fromarray(values).save(data.items[1].mask)
    result = segmented(data, replace(QUICK, epochs=1))
    assert list(result.facts["skipped"]) == ["tile/0"]
    assert "value 77" in result.facts["unknown_mask_values"][0]
    assert "1 of 15 tiles left out" in caplog.text and "value 77" in caplog.text


def test_without_val_the_modern_protocol_says_what_to_do(tmp_path: Path) -> None:
    data = masked_set(tmp_path, 10)
    items = tuple(replace(item, split="train") if item.split == "val" else item for item in data.items)
    with pytest.raises(DataError, match="no tiles of split val"):
        segmented(replace(data, items=items))


def test_the_verb_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(15):
        write_tile(tmp_path / "set", number)
    words = ["evaluate", "segment", "--model", "random:test_resnet", "--data", str(tmp_path / "set"), "--json"]
    quick = ["--epochs=1", "--batch_size=4", "--patch_pixels=32", "--head=linear", "--device=cpu"]
    assert main([*words, *quick, "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = read_task_result(tmp_path / "out" / "result.json")
    assert printed == json.loads(json.dumps(written.to_dict()))
    assert printed["task"] == "segment" and printed["model"] == "random:test_resnet"
    assert main([*words, "--protocol", "modren"]) == 2
    assert "did you mean modern" in capsys.readouterr().err


def relabelled(data: MaskedSet, split: str, value: int) -> MaskedSet:
    """The set with every mask of a split of one value."""
    for item in data.items:
        if item.split == split and item.mask is not None:
            Image.fromarray(np.full((48, 48), value, np.uint8)).save(item.mask)
    return data


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_labelled_pixels_is_refused(tmp_path: Path, split: str) -> None:
    data = relabelled(masked_set(tmp_path, 5), split, 77)
    with pytest.raises(DataError, match=rf"blocks: no pixel of the \d {split} tiles has a class, all are ignored"):
        segmented(data)


def test_one_class_in_train_is_refused(tmp_path: Path) -> None:
    data = relabelled(masked_set(tmp_path, 5), "train", 20)
    with pytest.raises(DataError, match="all labelled pixels of train have the class 'green'"):
        segmented(data)


def test_val_need_not_be_labelled_where_no_epoch_is_chosen(tmp_path: Path) -> None:
    data = relabelled(masked_set(tmp_path, 5), "val", 77)
    protocol = replace(SEGMENT_PLANS["soundingearth"], epochs=1, batch_size=2, patch_pixels=32)
    assert segmented(data, protocol, resamples=5).facts["cautions"] == []


def test_a_test_of_one_class_says_so_beside_its_figure(tmp_path: Path) -> None:
    quick = replace(QUICK, epochs=1)
    data = relabelled(masked_set(tmp_path, 5), "test", 10)
    result = segmented(data, quick, resamples=5)
    assert "caution: all labelled test pixels have the class 'red': mIoU is of this class alone" in result.to_text()
    assert result.facts["labelled_test_pixels"] == {"red": 48 * 48, "green": 0, "blue": 0}
    two = np.full((48, 48), 10, np.uint8)
    two[:9] = 30
    for item in data.items:
        if item.split == "test" and item.mask is not None:
            Image.fromarray(two).save(item.mask)
    result = segmented(data, quick, resamples=5)
    assert "caution: the test pixels hold 2 of 3 classes; not in them: green" in result.to_text()


def test_turned_and_deep_tiles_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = masked_set(tmp_path, 5)
    turn = Image.Exif()
    turn[274] = 3
    for item in data.items[:2]:
        with Image.open(item.image) as image:
            image.rotate(180).save(item.image, exif=turn)
    deep = write_tile(tmp_path, 3, tiff=True)[0]
    with rasterio.open(deep) as file:
        values, profile = file.read().astype(np.uint16) * 9, {**file.profile, "dtype": "uint16"}
    with rasterio.open(deep, "w", **profile) as file:
        file.write(values)
    items = tuple(replace(item, image=deep) if item.id == "tile/3" else item for item in data.items)
    for value_range, expected in (
        (None, {"turned picture": 2, "stretched picture": 1}),
        ((0, 2295), {"turned picture": 2}),
    ):
        result = segmented(replace(data, items=items), replace(QUICK, epochs=1), resamples=5, value_range=value_range)
        assert result.facts["remarks"] == expected
    assert "some need a look (stretched picture: 1, turned picture: 2)" in caplog.text

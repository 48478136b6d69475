"""What is embedded of any data: which images and sounds, by which ids, with which columns."""

import csv
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import rasterio

from earthtone.atlas.items import FolderItems, Item, Items, LabelledItems, PackedItems, SourceItems, open_items
from earthtone.data.pair import Problem
from earthtone.encode.engine import Medium
from earthtone.errors import ConfigError, DataError, EarthtoneError
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig


def told(items: Items, medium: Medium = "image") -> list[Item]:
    return [item for item in items.items(medium, lambda _: False) if isinstance(item, Item)]


def problems(items: Items, medium: Medium = "image") -> list[Problem]:
    return [item for item in items.items(medium, lambda _: False) if isinstance(item, Problem)]


def write(path: Path, rows: list[list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_a_folder_is_looked_into_without_what_is_hidden(tmp_path: Path, tiny_model: TwoTower) -> None:
    names = [
        "b.png",
        "a/z.JPG",
        "a/deep/er/1.wav",
        ".hidden/1.png",
        "__MACOSX/2.png",
        "a/.3.png",
        "notes.txt",
        "E/4.png",
    ]
    touched(tmp_path, *names)
    (tmp_path / "a" / "deep" / "back").symlink_to(tmp_path)  # a circle
    items = open_items(tmp_path, tiny_model, leave_out=tmp_path / "E")
    assert isinstance(items, FolderItems) and items.media == ("image", "audio") and items.extra == ()
    assert [item.id for item in told(items)] == ["a/z.JPG", "b.png"]
    (sound,) = told(items, "audio")
    assert (sound.id, sound.columns) == ("a/deep/er/1.wav", {"media": str(tmp_path / "a/deep/er/1.wav")})
    assert (items.count("image"), items.count("audio")) == (2, 1)
    assert open_items(tmp_path, tiny_model, modality="audio").media == ("audio",)


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_a_name_that_is_no_text_is_a_problem(tmp_path: Path, tiny_model: TwoTower) -> None:
    touched(tmp_path, "a.png")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png")).write_bytes(b"")
    items = open_items(tmp_path, tiny_model)
    assert [item.id for item in told(items)] == ["a.png"]
    assert [(problem.id, problem.kind) for problem in problems(items)] == [("\\udcff.png", "name is no UTF-8")]


@pytest.mark.parametrize(
    ("names", "labels", "splits"),
    [
        (["lake/1.png", "town/1.png"], ["lake", "town"], [None, None]),
        (["set/lake/1.png", "set/town/1.png"], ["lake", "town"], [None, None]),
        (["train/lake/1.png", "val/town/1.png"], ["lake", "town"], ["train", "val"]),
        (["set/train/lake/1.png", "set/test/lake/1.png"], ["lake", "lake"], ["test", "train"]),
        (["lake/1.png", "lake/deep/1.png"], None, None),
        (["1.png", "lake/1.png"], None, None),
        (["site/2020/1.png", "other/2021/1.png"], None, None),
    ],
)
def test_folders_of_classes_are_labels(
    names: list[str], labels: list[str] | None, splits: list[str | None] | None, tmp_path: Path, tiny_model: TwoTower
) -> None:
    items = open_items(touched(tmp_path / "data", *names), tiny_model)
    assert sorted(item.id for item in told(items)) == sorted(names)
    assert items.extra == (() if labels is None else ("split", "label"))
    if labels is not None:
        assert [item.columns["label"] for item in told(items)] == labels
        assert [item.columns["split"] for item in told(items)] == splits


def test_a_manifest_gives_its_columns(tmp_path: Path, tiny_model: TwoTower) -> None:
    touched(tmp_path, "1.png", "2.png", "1.wav")
    head = ["id", "image", "audio", "longitude", "latitude", "datetime", "license", "seconds", "x", "place"]
    manifest = write(
        tmp_path / "manifest.csv",
        [head, ["one", "1.png", "1.wav", 7.5, 46, "2020-11-04T17:00Z", "CC0", 30, 1, "Bern"],
         ["two", "2.png", "", "", "", "", "", "", "", ""], ["three", "", "3.wav", "", "", "", "", "", "", ""]],
    )  # fmt: skip
    for data in (manifest, tmp_path):
        items = open_items(data, tiny_model)
        assert isinstance(items, SourceItems) and items.media == ("image", "audio")
        assert items.extra == ("split", "seconds_", "x_", "place")  # a table of embeddings has its own of these names
        first, second = told(items)
        assert (first.id, second.id) == ("one", "two") and [item.id for item in told(items, "audio")] == ["one"]
        assert first.columns["longitude"] == 7.5 and first.columns["license"] == "CC0"
        assert (first.columns["seconds_"], first.columns["place"], second.columns["place"]) == ("30", "Bern", None)
        assert str(first.columns["datetime"]) == "2020-11-04 17:00:00+00:00"
        assert problems(items) == []  # a row without an image may be one of a sound alone
        (missing,) = problems(items, "audio")
        assert missing.id == "three" and "3.wav' is not a file" in missing.detail


def test_tiles_of_a_raster_keep_their_bounds(tmp_path: Path, tiny_model: TwoTower) -> None:
    touched(tmp_path, "images/t.png")
    head = ["id", "image", "longitude", "latitude", "image_gsd_m", "west", "south", "east", "north", "crs", "row"]
    manifest = write(
        tmp_path / "manifest.csv",
        [head, ["t", "images/t.png", -54.5, -25.5, 10, 1e5, 2e5, 1.5e5, 2.5e5, "EPSG:32721", 3]],
    )
    items = open_items(manifest, tiny_model)
    (tile,) = told(items)
    assert items.media == ("image",) and items.extra == ("split", "row") and tile.gsd_m == 10
    bounds = [tile.columns[name] for name in ("west", "south", "east", "north", "crs")]
    assert bounds == [1e5, 2e5, 1.5e5, 2.5e5, "EPSG:32721"]


def test_a_label_table_names_its_file_as_it_likes(tmp_path: Path, tiny_model: TwoTower) -> None:
    touched(tmp_path, "a/1.wav", "a/2.wav")
    write(tmp_path / "metadata.csv", [["file", "label"], ["a/1.wav", "rain"], ["a/2.wav", "wind"]])
    items = open_items(tmp_path, tiny_model)
    assert items.media == ("audio",)
    assert [(item.id, item.columns["label"]) for item in told(items, "audio")] == [
        ("a/1.wav", "rain"),
        ("a/2.wav", "wind"),
    ]
    with pytest.raises(DataError, match="columns of audio, none of image"):
        open_items(tmp_path, tiny_model, modality="image")


def test_a_published_layout_pairs_its_files(tmp_path: Path, tiny_model: TwoTower) -> None:
    root = touched(tmp_path / "set", *(f"vision/lake/00001_{n}.jpg" for n in range(3)), "sound/lake/00001_0.wav")
    touched(root, "sound/lake/00001_1.wav")
    items = open_items(root, tiny_model)
    assert isinstance(items, LabelledItems)
    assert (
        [item.id for item in told(items)]
        == [item.id for item in told(items, "audio")]
        == ["lake/00001_0", "lake/00001_1"]
    )
    assert told(items)[0].columns["group"] == "00001" and told(items)[0].columns["label"] == "lake"


def test_a_packed_table_is_read_by_row(tiny_table: Path, tiny_model: TwoTower) -> None:
    items = open_items(tiny_table, tiny_model)
    assert isinstance(items, PackedItems) and items.extra == ("split", "label") and items.count("audio") == 24
    item = told(items)[5]
    assert (item.id, item.media, item.columns["label"], item.columns["split"]) == ("pair-5", 5, "kind 1", "test")
    other = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16), SignalConfig())
    with pytest.raises(EarthtoneError, match="another signal config than the model"):
        open_items(tiny_table, other)


def test_a_single_file(tiny_pairs: Path, tiny_model: TwoTower) -> None:
    (item,) = told(open_items(tiny_pairs.parent / "3.wav", tiny_model), "audio")
    assert (item.id, item.media) == ("3.wav", tiny_pairs.parent / "3.wav")


def test_what_is_no_data_is_told(tmp_path: Path, tiny_pairs: Path, tiny_table: Path, tiny_model: TwoTower) -> None:
    touched(tmp_path, "scene.tif", "a.txt", "only/1.png", "many/manifest.csv", "many/metadata.csv")
    for data, error, said in (
        (tmp_path / "scene.tif", DataError, "a raster, which is embedded tile by tile; type: earthtone tiles --raster"),
        (tmp_path / "a.txt", DataError, "an image or a sound was expected"),
        (tmp_path / "nowhere", DataError, "does not exist; a manifest, a folder, a packed table"),
        (tmp_path / "many", DataError, "holds 'manifest.csv', 'metadata.csv'; type the path of one"),
    ):
        with pytest.raises(error, match=said):
            open_items(data, tiny_model)
    with pytest.raises(DataError, match=r"has no audio to embed; image is there"):
        open_items(tmp_path / "only", tiny_model, modality="both")
    for data in (tmp_path / "only", tiny_table):
        with pytest.raises(ConfigError, match="--columns"):
            open_items(data, tiny_model, columns={"image": "file"})
    table = tmp_path / "half.lance"
    shutil.copytree(tiny_table, table)
    (tmp_path / "half.lance.unfinished").touch()
    with pytest.raises(DataError, match="its packing has not ended"):
        open_items(table, tiny_model)
    assert tiny_pairs.exists()


@pytest.mark.parametrize("side", [2048, 2049])
def test_a_scene_in_a_folder_is_told_to_be_one_image(
    tmp_path: Path, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture, side: int
) -> None:
    profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8", "compress": "deflate"}
    profile |= {"crs": "EPSG:32721", "transform": rasterio.Affine(2, 0, 700_000, 0, -2, 7_200_000)}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, SPARSE_OK=True):
        pass
    items = open_items(tmp_path, tiny_model)
    assert items.count("image") == 1
    told = f"scene.tif has {side} x {side} pixels and becomes one image"
    assert (told in caplog.text) == (side > 2048)
    assert ("earthtone tiles --raster" in caplog.text) == (side > 2048)

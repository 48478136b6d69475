"""Maps from a raster: its tiles' embeddings, a killed call that goes on, and what is no raster to map."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from map_tiles import keep_model, write_tone
from rasterio.transform import from_origin

from earthtone.atlas import map_raster
from earthtone.atlas.embeddings import open_embeddings
from earthtone.atlas.map_grid import MapGrid
from earthtone.atlas.map_output import ground_picture
from earthtone.atlas.map_raster import FURTHER_VIEWS, VIEWS
from earthtone.atlas.maps import map_similarity
from earthtone.atlas.options import MapOptions
from earthtone.build.imagery import open_rasters
from earthtone.cli import main
from earthtone.encode.training_images import image_look, looks_of_text
from earthtone.models.inputs import measured_tile
from earthtone.models.storage import opened_model
from earthtone.models.two_tower import TwoTower

GSD_M, SIDE, TILES = 2.0, 32, 6
WEST, NORTH = 700_000.0, 7_200_000.0


def write_raster(
    path: Path, *, tiles: int = TILES, crs: str | None = "EPSG:32721", empty: int = 0, seed: int = 0
) -> np.ndarray:
    """Write a raster of `tiles` x `tiles` tiles, the first `empty` of them without data, and return its pixels."""
    draw = np.random.default_rng(seed)
    small = draw.integers(1, 256, (3, tiles * 4, tiles * 4)).astype(np.uint8)
    pixels = np.kron(small, np.ones((1, SIDE // 4, SIDE // 4), np.uint8))
    pixels[:, :SIDE, : SIDE * empty] = 0
    profile = {
        "driver": "GTiff", "width": SIDE * tiles, "height": SIDE * tiles, "count": 3, "dtype": "uint8", "crs": crs,
        "transform": from_origin(WEST, NORTH, GSD_M, GSD_M), "nodata": 0, "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
    return np.moveaxis(pixels, 0, -1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: TwoTower) -> Path:
    return keep_model(tmp_path_factory.mktemp("raster") / "run", tiny_model)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tone(tmp_path_factory.mktemp("sound") / "tone.wav"))


@pytest.mark.slow
def test_tiles_are_embedded_as_pictures_of_them_are(
    tmp_path: Path, run: Path, sound: str, tiny_model: TwoTower
) -> None:
    """With overlapping tiles, in all views, beside what they look like; a second call embeds nothing."""
    pixels = write_raster(tmp_path / "scene.tif", empty=1)
    out, side_m = tmp_path / "map", SIDE * GSD_M
    options = {
        "raster": tmp_path / "scene.tif",
        "model": run,
        "metres": side_m,
        "stride": side_m / 2,
        "attribution": "USGS",
        "nodata_share": 0.8,
    }
    found = map_similarity([sound], out, **options)
    steps = 2 * TILES - 1
    assert (found.grid.width, found.grid.height, found.grid.step_x, found.grid.tile_x) == (
        steps,
        steps,
        side_m / 2,
        side_m,
    )
    assert len(found.ids) == steps * steps - 1  # the empty one is left out
    with rasterio.open(found.files["tone"]) as file:
        assert np.isnan(file.read(1)[0, 0]) and np.isnan(file.read(1)).sum() == 1
        assert (file.bounds.left, file.bounds.top) == (WEST + side_m / 4, NORTH - side_m / 4)
    pictures = [
        pixels[row * SIDE // 2 : row * SIDE // 2 + SIDE, column * SIDE // 2 : column * SIDE // 2 + SIDE]
        for row, column in zip(found.cells.rows, found.cells.columns, strict=True)
    ]
    table = open_embeddings(out)
    np.testing.assert_array_equal(table.vectors(), tiny_model.embed_images(pictures))
    looks = looks_of_text(table.columns(["look"])["look"].to_pylist())
    views = open_embeddings(out / VIEWS)
    names = views.columns(["id", "view"]).to_pylist()
    assert len(views) == 3 * len(found.ids)
    looks_of = tiny_model.views([measured_tile(each, tiny_model.signal.image, GSD_M)[0] for each in pictures])
    np.testing.assert_allclose(looks, [image_look(view) for view in looks_of], rtol=1e-3)  # type: ignore[arg-type]
    for row, name in [(0, names[0]), (1, names[1]), (2, names[2])]:
        stored, _ = measured_tile(pictures[0], tiny_model.signal.image, GSD_M)
        other = FURTHER_VIEWS[name["view"]](stored)
        np.testing.assert_array_equal(views.vectors(np.array([row])), tiny_model.embed_tiles([other]))
    before = (out / "embeddings.lance" / "earthtone.json").stat().st_mtime_ns
    again = map_similarity([sound], out, **options, show="score")
    np.testing.assert_array_equal(again.bands["score"], found.bands["score"])
    assert (out / "embeddings.lance" / "earthtone.json").stat().st_mtime_ns == before
    assert "USGS" in found.files["page"].read_text() and not np.isnan(found.bands["view_spread"]).any()


def test_tiles_are_as_large_as_those_of_the_run(
    tmp_path: Path, run: Path, sound: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As `tiles --model` cuts them; where nothing says how large, the guess is told."""
    from earthtone.atlas import tiles

    write_raster(tmp_path / "scene.tif")
    options = MapOptions([sound], tmp_path / "map", raster=tmp_path / "scene.tif", model=run)
    model, rasters = opened_model(run), open_rasters(str(tmp_path / "scene.tif"))
    assert map_raster._grid(options, rasters, model).tile_m == model.signal.image.pixels * GSD_M
    assert "nothing says how many metres" in caplog.text
    caplog.clear()
    monkeypatch.setattr(map_raster, "side_of_model", lambda *_: 2.0 * SIDE * GSD_M)
    assert map_raster._grid(options, rasters, model).tile_m == 2 * SIDE * GSD_M and not caplog.text
    assert tiles.side_of_model(model, run) is None


_PART = """
import sys, time
from earthtone.atlas import map_raster
from earthtone.cli import main
map_raster.CHUNK = 4
whole = map_raster._Writer.flush
def slow(self):
    whole(self)
    time.sleep(0.2)
map_raster._Writer.flush = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_map_goes_on(tmp_path: Path, run: Path, sound: str) -> None:
    """Nothing is lost and nothing doubled: the same files as without a stop."""
    write_raster(tmp_path / "scene.tif", empty=2)
    words = [
        "map",
        "--raster",
        str(tmp_path / "scene.tif"),
        "--model",
        str(run),
        "--metres",
        str(SIDE * GSD_M),
        "--query",
        sound,
    ]
    words += ["--views", "2", "--out"]
    process = subprocess.Popen(
        [sys.executable, "-c", _PART, *words, str(tmp_path / "parts")], stderr=subprocess.DEVNULL
    )
    table = tmp_path / "parts" / "embeddings.lance"
    end = time.monotonic() + 120
    while not (table / "earthtone.json").exists() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = len(open_embeddings(tmp_path / "parts"))
    assert 0 < begun < TILES * TILES - 2
    assert main([*words, str(tmp_path / "parts")]) == 0
    assert main([*words, str(tmp_path / "whole")]) == 0
    parts, whole = (open_embeddings(tmp_path / name) for name in ("parts", "whole"))
    assert parts.columns(["id"]).to_pylist() == whole.columns(["id"]).to_pylist()
    np.testing.assert_array_equal(parts.vectors(), whole.vectors())
    for name in ("tone.tif", "tone.pmtiles"):
        one, other = ((tmp_path / folder / name) for folder in ("parts", "whole"))
        if name.endswith(".tif"):
            with rasterio.open(one) as first, rasterio.open(other) as second:
                np.testing.assert_array_equal(first.read(), second.read())
    assert json.loads((tmp_path / "parts" / "tiles.json").read_text())["done"]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["map", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("earthtone: ")
    return said[-1]


@pytest.mark.slow
def test_rasters_that_cannot_be_mapped(
    tmp_path: Path, run: Path, sound: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raster(tmp_path / "scene.tif", tiles=2)
    write_raster(tmp_path / "lost.tif", tiles=2, crs=None)
    with rasterio.open(tmp_path / "scene.tif") as file:
        profile = file.profile
    with rasterio.open(tmp_path / "empty.tif", "w", **profile) as file:
        file.write(np.zeros((3, 2 * SIDE, 2 * SIDE), np.uint8))
    words = [
        "--model",
        str(run),
        "--query",
        sound,
        "--metres",
        str(SIDE * GSD_M),
        "--out",
        str(tmp_path / "map"),
        "--raster",
    ]
    assert "lies outside" in refused([*words, str(tmp_path / "scene.tif"), "--region", "10,10,11,11"], capsys)
    assert "no coordinate system" in refused([*words, str(tmp_path / "lost.tif")], capsys)
    assert not (tmp_path / "map").exists()
    assert "none of 4 tiles of 64 m holds enough data" in refused([*words, str(tmp_path / "empty.tif")], capsys)
    assert "south first" in refused([*words, str(tmp_path / "scene.tif"), "--region", "1,9,3,2"], capsys)
    assert "--stride 65" in refused([*words, str(tmp_path / "scene.tif"), "--stride", "65"], capsys)
    assert "of 8 bits" in refused([*words, str(tmp_path / "scene.tif"), "--value_range", "0,3000"], capsys)
    assert "nowhere.tif" in refused([*words, str(tmp_path / "nowhere.tif")], capsys)


@pytest.mark.slow
def test_a_folder_has_the_map_of_one_raster(
    tmp_path: Path, run: Path, sound: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one whose pixels have changed since."""
    write_raster(tmp_path / "scene.tif", tiles=2)
    words = [
        "--model",
        str(run),
        "--query",
        sound,
        "--metres",
        str(SIDE * GSD_M),
        "--views",
        "1",
        "--out",
        str(tmp_path / "map"),
    ]
    words += ["--raster", str(tmp_path / "scene.tif")]
    assert main(["map", *words]) == 0
    assert "views: 1 -> 2" in refused([*words, "--views", "2"], capsys)
    write_raster(tmp_path / "scene.tif", tiles=2, seed=1)
    assert "holds a map of other tiles (files" in refused(words, capsys)
    (tmp_path / "map" / map_raster.STATE).write_text("[")
    assert "cannot be read" in refused(words, capsys)


@pytest.mark.parametrize("undeclared", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_imagery_below_a_map_is_transparent_where_it_has_no_data(tmp_path: Path, dtype: str, undeclared: bool) -> None:
    """Where a value says so, by the file or by --nodata, and outside the raster; elsewhere it is opaque."""
    draw = np.random.default_rng(1).integers(1, 256, (3, 40, 40)).astype(dtype)
    draw[:, :10, :20] = 0
    profile = {
        "driver": "GTiff", "width": 40, "height": 40, "count": 3, "dtype": dtype, "crs": "EPSG:32721",
        "transform": from_origin(WEST, NORTH, GSD_M, GSD_M), "nodata": None if undeclared else 0, "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as file:
        file.write(draw)
    step = 10 * GSD_M  # five cells of ten pixels each way, the last of them beyond the raster
    grid = MapGrid("EPSG:32721", WEST, NORTH, step, step, 5, 5, step, step)
    found = ground_picture(str(tmp_path / "scene.tif"), grid, None, 0.0 if undeclared else None)
    assert found is not None and found.shape[2] == 4
    cell = found.shape[0] // 5
    seen = found[cell // 2 :: cell, cell // 2 :: cell, 3] > 0
    expected = np.array([[0, 0, 1, 1, 0], *[[1, 1, 1, 1, 0]] * 3, [0] * 5], bool)
    np.testing.assert_array_equal(seen, expected)
    inside = MapGrid("EPSG:32721", WEST, NORTH - step, step, step, 4, 3, step, step)
    whole = ground_picture(str(tmp_path / "scene.tif"), inside, None, 0.0 if undeclared else None)
    assert whole is not None and whole.shape[2] == 3


@pytest.mark.slow
def test_how_values_became_bytes_is_told(tmp_path: Path, run: Path, sound: str) -> None:
    values = np.random.default_rng(1).integers(0, 4000, (3, 64, 64)).astype("uint16")
    values[:, :10] = 0
    profile = {
        "driver": "GTiff", "width": 64, "height": 64, "count": 3, "dtype": "uint16", "crs": "EPSG:32721",
        "transform": from_origin(WEST, NORTH, GSD_M, GSD_M), "photometric": "RGB",
    }  # fmt: skip
    with rasterio.open(tmp_path / "scene.tif", "w", **profile) as file:
        file.write(values)
    for _ in range(2):  # also where nothing is left to embed
        found = map_similarity(
            [sound], tmp_path / "map", raster=tmp_path / "scene.tif", model=run, metres=64, views=1,
            value_range=(0.0, 3000.0),
        )  # fmt: skip
        assert "uint16 values 0 to 3000 (--value_range) became 0 and 255" in found.to_text()
        assert "16% of the pixels are 0, and no value is declared as no data" in found.to_text()


@pytest.mark.slow
def test_a_model_that_is_told_metres_gets_those_of_each_view(tmp_path: Path, sound: str, scaled: TwoTower) -> None:
    """By default tiles are as large as they were in training."""
    pixels = write_raster(tmp_path / "scene.tif", tiles=4)
    found = map_similarity([sound], tmp_path / "map", raster=tmp_path / "scene.tif", model=scaled, views=4)
    assert found.grid.tile_x == 96.0
    side = int(96 / GSD_M)
    first = pixels[:side, :side]
    table, views = open_embeddings(tmp_path / "map"), open_embeddings(tmp_path / "map" / VIEWS)
    np.testing.assert_array_equal(table.vectors(np.array([0])), scaled.embed_images([first], gsd_m=96 / first.shape[0]))
    assert views.columns(["view"])["view"][2].as_py() == "its middle"
    stored, side_m = measured_tile(first, scaled.signal.image, 96 / first.shape[0])
    assert side_m == 96.0
    middle = FURTHER_VIEWS["its middle"](stored)
    expected = scaled.embed_tiles([middle], sides_m=[96 * middle.shape[0] / stored.shape[0]])
    np.testing.assert_array_equal(views.vectors(np.array([2])), expected)

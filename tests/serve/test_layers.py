"""Maps as value tiles: each pixel is the value of the map's nearest cell, in any coordinate system."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from page_server import ask, page_of
from rasterio.warp import transform

from earthtone.atlas.map_files import write_cog
from earthtone.atlas.map_grid import MapGrid
from earthtone.atlas.search import open_index
from earthtone.errors import DataError
from earthtone.serve.options import ServeOptions
from earthtone.serve.server import PageServer

GRIDS = {
    "metres": MapGrid("EPSG:32631", 500_000.0, 5_300_000.0, 2560.0, 2560.0, 30, 20, 2560.0, 2560.0),
    "degrees": MapGrid("EPSG:4326", 175.0, 10.0, 0.5, 0.5, 20, 16, 0.5, 0.5),
    "web": MapGrid("EPSG:3857", -20_000_000.0, 1_000_000.0, 100_000.0, 100_000.0, 12, 10, 1e5, 1e5),
}


def write_map(folder: Path, grid: MapGrid, fingerprint: str) -> Path:
    """Write what `earthtone map` leaves: a raster of two bands, one of classes, map.json."""
    folder.mkdir()
    draw = np.random.default_rng(3)
    values = draw.normal(size=(2, grid.height, grid.width)).astype(np.float32)
    values[:, :3, :4] = np.nan
    write_cog(folder / "surf.tif", values, grid, {"score": "how well", "percentile": "share"}, {"SOUND": "surf"})
    classes = draw.integers(0, 3, (1, grid.height, grid.width)).astype(np.uint8)
    classes[:, 5:, 2:5] = 255
    tags = {"CLASS_0": "surf", "CLASS_1": "birds <b>", "CLASS_2": "traffic"}
    colours = {0: (255, 0, 0), 1: (0, 255, 0), 2: (0, 0, 255)}
    write_cog(folder / "likeliest.tif", classes, grid, {"likeliest": "number of the sound"}, tags, colours)
    (folder / "index.html").write_text("<script>")
    facts = {
        "facts": {"model": "m", "model fingerprint": fingerprint}, "synthetic": True, "attribution": ["somebody"],
        "sounds": [{"name": "surf", "key": "surf"}], "notes": ["a note"], "score": "Score: s.", "percentile": "P.",
        "files": {"surf": "surf.tif", "likeliest": "likeliest.tif", "page": "index.html", "facts": "map.json",
                  "outside": "../manifest.csv", "gone": "gone.tif"},
    }  # fmt: skip
    (folder / "map.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(scope="module")
def mapped(tiny_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PageServer, Path]]:
    folder, print_ = tmp_path_factory.mktemp("maps"), open_index(tiny_index).table.card.model_fingerprint
    maps = [write_map(folder / name, grid, print_) for name, grid in GRIDS.items()]
    with page_of(tiny_index, map=maps) as page:
        yield page, folder


def pixels(png: bytes) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED).astype(np.int64)
    assert image.shape == (256, 256, 4)
    return image[..., 2] << 16 | image[..., 1] << 8 | image[..., 0], image[..., 3] == 255


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("name", ["surf", "likeliest"])
def test_each_pixel_is_the_value_of_its_cell(mapped: tuple[PageServer, Path], number: int, name: str) -> None:
    page, folder = mapped
    layers = {layer["name"]: layer for layer in ask(page, "/api/about").json["layers"]}
    layer = layers[f"{number}-{name}"]
    grid_name = list(GRIDS)[number - 1]
    band = layer["bands"][-1]
    z = layer["maxzoom"]
    west, south, east, north = layer["bounds"]
    with rasterio.open(folder / grid_name / f"{name}.tif") as raster:
        values, crs, none = raster.read(len(layer["bands"])), raster.crs, raster.nodata
        inverse = (raster.transform.c, raster.transform.a, raster.transform.f, raster.transform.e)
    compared = seen = 0
    for share in (0.1, 0.9):
        longitude, latitude = west + share * (east - west), south + share * (north - south)
        x = math.floor((((longitude + 180) / 360) % 1) * 2**z)
        y = math.floor((1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * 2**z)
        answer = ask(page, f"/api/layers/{layer['name']}/{z}/{x}/{y}.png?band={band['name']}")
        assert answer.status == 200 and answer.headers["content-type"] == "image/png"
        found, there = pixels(answer.body)
        step = 2 * 20_037_508.342789244 / 2**z / 256
        mx = np.tile(-20_037_508.342789244 + (x * 256 + np.arange(256) + 0.5) * step, 256)
        my = np.repeat(20_037_508.342789244 - (y * 256 + np.arange(256) + 0.5) * step, 256)
        px, py = map(np.array, transform("EPSG:3857", crs, mx.tolist(), my.tolist()))
        wanted, known = np.full(256 * 256, np.nan), np.ones(256 * 256, bool)
        for turn in (0.0, 360.0, -360.0) if crs.is_geographic else (0.0,):
            column, row = (px + turn - inverse[0]) / inverse[1], (py - inverse[2]) / inverse[3]
            inside = (column >= 0) & (column < values.shape[1]) & (row >= 0) & (row < values.shape[0])
            wanted[inside] = values[row[inside].astype(int), column[inside].astype(int)]
            # on a cell's edge a tenth of a pixel decides
            known &= (abs(column - np.rint(column)) > 0.15) & (abs(row - np.rint(row)) > 0.15)
        wanted[wanted == none] = np.nan
        assert np.array_equal(there.ravel()[known], np.isfinite(wanted[known]))
        both = known & np.isfinite(wanted)
        assert np.abs(found.ravel()[both] * band["scale"] + band["offset"] - wanted[both]).max(initial=0) < 1e-5
        compared, seen = compared + int(known.sum()), seen + int(both.sum())
    assert compared > 20_000 and seen > 20


def test_layers_are_described(mapped: tuple[PageServer, Path]) -> None:
    about = ask(mapped[0], "/api/about").json
    first, classes = about["layers"][:2]
    assert first["title"] == "surf" and first["synthetic"] and about["synthetic"] and first["attribution"] == "somebody"
    assert [band["name"] for band in first["bands"]] == ["score", "percentile"] and first["classes"] is None
    assert classes["classes"] == ["surf", "birds <b>", "traffic"] and classes["bands"][0]["scale"] == 1
    assert first["files"] == ["map.json", "surf.tif"]
    assert first["notes"] == ["Score: s.", "P.", "a note"]
    assert about["layers"][2]["bounds"] == [175.0, 2.0, 185.0, 10.0]
    assert 2.99 < first["bounds"][0] < 3.01


def test_bands_without_values_and_of_all_numbers_are_told(tiny_index: Path, tmp_path: Path) -> None:
    grid = GRIDS["web"]
    folder = write_map(tmp_path / "map", grid, open_index(tiny_index).table.card.model_fingerprint)
    values = np.full((3, grid.height, grid.width), np.nan, np.float64)
    values[1], values[1, 0, 0] = np.inf, -np.inf
    values[2] = np.where(np.arange(grid.width) % 2, -1.7e308, 1.7e308)
    (folder / "surf.tif").unlink()
    write_cog(folder / "surf.tif", values, grid, dict.fromkeys(("none", "infinite", "wide"), ""), {})
    (folder / "likeliest.tif").unlink()
    classes = np.full((1, grid.height, grid.width), 255, np.uint8)
    write_cog(folder / "likeliest.tif", classes, grid, {"likeliest": ""}, {"CLASS_0": "surf"})
    with page_of(tiny_index, map=[folder]) as page:
        text = ask(page, "/api/about").body.decode()
        layers = {layer["name"]: layer for layer in json.loads(text, parse_constant=pytest.fail)["layers"]}
        none, infinite, wide = layers["surf"]["bands"]
        assert [(band["min"], band["max"]) for band in (none, infinite, *layers["likeliest"]["bands"])] == [
            (None, None)
        ] * 3
        assert (wide["min"], wide["max"]) == (-1.7e308, 1.7e308) and 0 < wide["scale"] < 1e302
        for name in ("none", "infinite"):
            assert not pixels(ask(page, f"/api/layers/surf/0/0/0.png?band={name}").body)[1].any()
        (folder / "map.json").rename(tmp_path / "elsewhere.json")
        (folder / "map.json").symlink_to(tmp_path / "elsewhere.json")  # while it is served
        assert ask(page, "/api/layers/surf/files/map.json").status == 404


def test_layers_far_away_and_not_there(mapped: tuple[PageServer, Path]) -> None:
    page, folder = mapped
    answer = ask(page, "/api/layers/1-surf/5/0/0.png")
    assert answer.status == 200 and not pixels(answer.body)[1].any()
    assert ask(page, "/api/layers/1-surf/0/0/0.png").status == 200
    assert ask(page, "/api/layers/1-surf/3/9/0.png").status == 404
    assert ask(page, "/api/layers/1-surf/23/0/0.png").status == 404
    assert ask(page, "/api/layers/1-surf/-1/0/0.png").status == 422
    assert "surf" in ask(page, "/api/layers/none/0/0/0.png").error
    assert "percentile" in ask(page, "/api/layers/1-surf/0/0/0.png?band=no").error
    data = (folder / "metres" / "surf.tif").read_bytes()
    whole = ask(page, "/api/layers/1-surf/files/surf.tif")
    assert whole.body == data and "attachment" in whole.headers["content-disposition"]
    part = ask(page, "/api/layers/1-surf/files/surf.tif", range="bytes=100-199")
    assert part.status == 206 and part.body == data[100:200]
    for name in ("index.html", "likeliest.tif", "..%2f..%2fmanifest.csv", "manifest.csv"):
        assert ask(page, f"/api/layers/1-surf/files/{name}").status == 404


def test_damaged_rasters_are_told(tiny_index: Path, tmp_path: Path) -> None:
    known = open_index(tiny_index).table.card.model_fingerprint
    folder = write_map(tmp_path / "map", GRIDS["web"], known)
    with page_of(tiny_index, map=[folder]) as page:
        (folder / "surf.tif").unlink()  # while it is served
        answer = ask(page, "/api/layers/surf/2/0/1.png")
        assert answer.status == 422 and "surf.tif" in answer.error and str(tmp_path) not in answer.error
        assert ask(page, "/api/layers/surf/files/surf.tif").status in (404, 422)
    (folder / "surf.tif").write_bytes((folder / "likeliest.tif").read_bytes()[:300])
    with pytest.raises(DataError, match=r"surf\.tif.*draw it again"):
        PageServer(ServeOptions(tiny_index, port=0, map=[folder]))

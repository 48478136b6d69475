"""Tiles of rasters against plain windows and a plain loop: systems, directions, masks, the date line, overviews."""

import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from pyproj import Transformer
from rasterio import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject
from rasters import nearest_tile, noise_values, position_values, write_raster

from earthtone.build.imagery import Rasters, iter_tiles, open_rasters
from earthtone.build.tile_grid import Tile, tile_at
from earthtone.errors import ConfigError, DataError

UTM = "EPSG:32631"
NORTH_UP = from_origin(500_000, 5_001_000, 10, 10)
DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "a.tif", noise_values(3, 100, 130), UTM, NORTH_UP)


def plain_window(path: Path, tile: Tile) -> np.ndarray:
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(window=file.window(*tile.bounds), boundless=True), 0, -1)


def test_tiles_at_the_raster_s_own_scale_are_its_windows(raster: Path) -> None:
    rasters = open_rasters(raster)
    assert rasters.gsd_m == 10.0 and rasters.own_crs() == UTM
    [grid] = rasters.grids(320.0, 160.0, 32)
    assert grid.shape == ((100 - 32) // 16 + 1, (130 - 32) // 16 + 1)
    found = list(iter_tiles(rasters, grid))
    assert [tile for tile, *_ in found] == list(grid)
    for tile, pixels, share in found:
        assert share == 1.0
        np.testing.assert_array_equal(pixels, plain_window(raster, tile))


def test_a_region_keeps_to_the_raster_s_pixels(raster: Path) -> None:
    back = Transformer.from_crs(UTM, "OGC:CRS84", always_xy=True)
    west, south = back.transform(500_203, 5_000_207)
    east, north = back.transform(500_801, 5_000_803)
    [grid] = open_rasters(raster).grids(320.0, 320.0, 32, shapely.box(west, south, east, north))
    assert (grid.west % 10, grid.north % 10) == (0, 0)
    for tile, pixels, _ in iter_tiles(raster, grid):
        np.testing.assert_array_equal(pixels, plain_window(raster, tile))


@pytest.mark.parametrize("turned", ["south up", "east to west", "south up, east to west"])
def test_other_directions_show_the_same(raster: Path, tmp_path: Path, turned: str) -> None:
    values = noise_values(3, 100, 130)
    transform = NORTH_UP
    if "south up" in turned:
        values, transform = values[:, ::-1], transform * Affine.translation(0, 100) * Affine.scale(1, -1)
    if "east to west" in turned:
        values, transform = values[:, :, ::-1], transform * Affine.translation(130, 0) * Affine.scale(-1, 1)
    other = write_raster(tmp_path / "b.tif", np.ascontiguousarray(values), UTM, transform)
    [grid], [same] = open_rasters(other).grids(320.0, 320.0, 32), open_rasters(raster).grids(320.0, 320.0, 32)
    assert list(grid) == list(same)
    for (_, a, share), (_, b, _) in zip(iter_tiles(other, grid), iter_tiles(raster, same), strict=True):
        assert share == 1.0
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("degrees", [30, 90, 200])
def test_a_rotated_raster_against_a_plain_loop(tmp_path: Path, degrees: float) -> None:
    transform = Affine.translation(500_000, 5_000_000) * Affine.rotation(degrees) * Affine.scale(10, -10)
    path = write_raster(tmp_path / "r.tif", position_values(200, 200), UTM, transform)
    rasters = open_rasters(path)
    x, y = rasters.files[0].footprint.centroid.coords[0]
    tile = Tile("a", (x - 320, y - 320, x + 320, y + 320), UTM, (3.0, 45.0))
    found = rasters.read_tile(tile, 64)
    assert found.share == 1.0
    assert np.abs(found.pixels.astype(int) - nearest_tile(path, tile.bounds, UTM, 64).astype(int)).max() <= 2
    [grid] = rasters.grids(640.0, 640.0, 64)
    shares = [share for *_, share in iter_tiles(rasters, grid)]
    assert min(shares) < 0.9 or degrees == 90  # corners of the grid lie outside


@pytest.mark.slow
@pytest.mark.parametrize("latitude", [0.0, 47.0, 69.0, -62.0, 86.0])
def test_a_raster_in_degrees_becomes_tiles_in_metres(tmp_path: Path, latitude: float) -> None:
    """A plain loop over pixels, with PROJ alone, says what lies there; the raster is smooth, so nearest is near."""
    degrees = 1e-4
    transform = from_origin(8.9, latitude + 0.03, 4 * degrees, degrees)
    path = write_raster(tmp_path / "d.tif", position_values(600, 600), "EPSG:4326", transform)
    rasters = open_rasters(path)
    assert rasters.own_crs() is None
    tile = tile_at("a", 9.02, latitude, 1500.0, 60)
    assert tile.crs == ("EPSG:5041" if latitude > 84 else f"EPSG:{32632 if latitude >= 0 else 32732}")
    found = rasters.read_tile(tile, 60)
    assert found.share == 1.0
    plain = nearest_tile(path, tile.bounds, tile.crs, 60).astype(int)
    assert np.abs(found.pixels.astype(int) - plain).max() <= 2


def test_linear_samples_are_those_of_gdal(tmp_path: Path) -> None:
    """A warped VRT, pixel by pixel, away from the border; the tile is twice as fine as the raster."""
    path = write_raster(
        tmp_path / "a.tif", noise_values(3, 80, 80), "EPSG:32632", from_origin(420_000, 5_300_000, 10, 10)
    )
    middle = Transformer.from_crs("EPSG:32632", "OGC:CRS84", always_xy=True).transform(420_400, 5_299_600)
    tile = tile_at("a", *middle, 320.0, 64, "EPSG:32631")
    found = open_rasters(path).read_tile(tile, 64)
    west, _, _, north = tile.bounds
    expected = np.zeros((3, 64, 64), np.uint8)
    with rasterio.open(path) as file:
        reproject(rasterio.band(file, [1, 2, 3]), expected, dst_transform=from_origin(west, north, 5, 5),
                  dst_crs=tile.crs, resampling=Resampling.bilinear, tolerance=0.0)  # fmt: skip
    assert found.valid.all() and expected.all()
    assert np.abs(np.moveaxis(expected, 0, -1).astype(int) - found.pixels.astype(int)).max() <= 5
    assert np.abs(np.moveaxis(expected, 0, -1).astype(int) - found.pixels.astype(int)).mean() < 0.6


def test_coarse_tiles_are_means(tmp_path: Path) -> None:
    """Every fourth of the pixels: the mean of 4 x 4; without overviews and with those of the same means."""
    values = noise_values(3, 256, 256, seed=3)
    exact = values.reshape(3, 64, 4, 64, 4).mean(axis=(2, 4))
    for name, overviews in (("plain.tif", ()), ("pyramid.tif", (2, 4))):
        path = write_raster(tmp_path / name, values, UTM, NORTH_UP, overviews=overviews)
        [grid] = open_rasters(path).grids(2560.0, 2560.0, 64)
        [(_, pixels, share)] = iter_tiles(path, grid)
        assert share == 1.0
        assert np.abs(np.moveaxis(exact, 0, -1) - pixels).max() <= 1.5


def test_large_scenes_are_read_through_overviews(tmp_path: Path) -> None:
    """Overviews of another picture show what is read."""
    path = write_raster(tmp_path / "a.tif", noise_values(3, 1024, 1024), UTM, NORTH_UP, tiled=True, overviews=(2, 4, 8))
    with rasterio.open(path, "r+", overview_level=2) as file:
        file.write(np.full((3, 128, 128), 77, np.uint8))
    [grid] = open_rasters(path).grids(10_240.0, 10_240.0, 128)
    [(_, pixels, _)] = iter_tiles(path, grid)
    assert (pixels == 77).all()


# What is no data.


def with_hole(tmp_path: Path, kind: str) -> Path:
    values = noise_values(3, 64, 64)
    hole = np.zeros((64, 64), bool)
    hole[:, :16] = True
    mask = np.where(hole, 0, 255).astype(np.uint8)
    path = tmp_path / f"{kind}.tif"
    if kind == "nodata":
        values[:, hole] = 7
        values[0][~hole & (values[0] == 7)] = 8
        return write_raster(path, values, UTM, NORTH_UP, nodata=7)
    if kind == "alpha":
        colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        return write_raster(path, np.concatenate([values, mask[None]]), UTM, NORTH_UP, colours=colours)
    if kind == "mask":
        return write_raster(path, values, UTM, NORTH_UP, mask=mask)
    if kind == "NaN":
        floats = values.astype(np.float32)
        floats[:, hole] = np.nan
        return write_raster(path, floats, UTM, NORTH_UP)
    values[:, hole] = 0
    return write_raster(path, values, UTM, NORTH_UP)


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask", "NaN", "told"])
@pytest.mark.parametrize("pixels", [64, 100, 32])
def test_no_data_in_each_of_its_forms(tmp_path: Path, kind: str, pixels: int) -> None:
    path = with_hole(tmp_path, kind)
    rasters = open_rasters(path, None, (0, 255) if kind == "NaN" else None, 0.0 if kind == "told" else None)
    [grid] = rasters.grids(640.0, 640.0, pixels)
    [tile] = grid
    found = rasters.read_tile(tile, pixels)
    assert found.share == pytest.approx(0.75, abs=0.011)
    assert not found.valid[:, : pixels // 4 - 1].any() and found.valid[:, pixels // 4 + 1 :].all()
    assert (found.pixels[~found.valid] == 0).all()
    if pixels == 64:
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(found.pixels[:, 16:], np.moveaxis(file.read([1, 2, 3]), 0, -1)[:, 16:])


@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_no_data_does_not_bleed_into_its_neighbours(tmp_path: Path, kind: str) -> None:
    """Means and linear samples beside a hole of very large values are made of data alone."""
    values = np.full((3, 64, 64), 100, np.uint8)
    values[:, :, 20:40] = 255
    mask = np.where(values[0] == 255, 0, 255).astype(np.uint8)
    path = tmp_path / "a.tif"
    if kind == "nodata":
        write_raster(path, values, UTM, NORTH_UP, nodata=255)
    elif kind == "mask":
        write_raster(path, values, UTM, NORTH_UP, mask=mask)
    else:
        colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
        write_raster(path, np.concatenate([values, mask[None]]), UTM, NORTH_UP, colours=colours)
    rasters = open_rasters(path)
    for pixels in (150, 47, 20, 7):
        [grid] = rasters.grids(640.0, 640.0, pixels)
        [tile] = grid
        found = rasters.read_tile(tile, pixels)
        assert set(np.unique(found.pixels[found.valid])) == {100}, pixels
        assert 0.5 < found.share < 0.9


def test_a_fourth_band_that_is_no_transparency_hides_nothing(tmp_path: Path) -> None:
    """Near infrared saved as RGBA: dark water would be hidden."""
    values = noise_values(4, 64, 64)
    values[3, :32] = 0
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    values[3, 32:] = np.random.default_rng(1).integers(1, 200, (32, 64))
    values[3, :32] = np.random.default_rng(2).integers(0, 100, (32, 64))
    path = write_raster(tmp_path / "a.tif", values, UTM, NORTH_UP, colours=colours)
    [(_, pixels, share)] = iter_tiles(path, open_rasters(path).grids(640.0, 640.0, 64)[0])
    assert share == 1.0
    np.testing.assert_array_equal(pixels, np.moveaxis(values[:3], 0, -1))


# Across the date line.


@pytest.mark.parametrize("first", [-180.0, 0.0])
def test_a_globe_in_degrees_has_no_seam(tmp_path: Path, first: float) -> None:
    """A raster of the globe from -180 or from 0 on: a tile across its ends shows both sides."""
    columns = np.arange(3600)
    longitudes = first + (columns + 0.5) / 10
    # smooth all around the globe
    band = np.rint(125 + 100 * np.cos(np.radians(longitudes)))[None].repeat(100, 0)
    other = np.rint(125 + 100 * np.sin(np.radians(longitudes)))[None].repeat(100, 0)
    values = np.stack([band, other, band]).astype(np.uint8)
    path = write_raster(tmp_path / "g.tif", values, "EPSG:4326", from_origin(first, 5, 0.1, 0.1))
    rasters = open_rasters(path)
    for longitude in (180.0, -179.99, 0.0, 0.01, 90.0):
        tile = tile_at("a", longitude, 0.0, 300_000.0, 30)
        found = rasters.read_tile(tile, 30)
        assert found.share == 1.0, longitude
        back = Transformer.from_crs(tile.crs, "OGC:CRS84", always_xy=True)
        x = tile.bounds[0] + (np.arange(30) + 0.5) * 10_000
        there, _ = back.transform(x, np.full(30, (tile.bounds[1] + tile.bounds[3]) / 2))
        expected = 125 + 100 * np.cos(np.radians(there))
        assert np.abs(found.pixels[15, :, 0] - expected).max() <= 1.5
    region = shapely.box(179.0, -2.0, 181.0, 2.0)
    tiles = [tile for grid in rasters.grids(50_000.0, 50_000.0, 16, region) for tile in grid]
    assert len(tiles) >= 40
    assert all(share == 1.0 for _, _, share in iter_tiles(rasters, tiles, 16))


# Mosaics, more bits, colours.


def test_a_folder_is_a_mosaic(tmp_path: Path) -> None:
    values = noise_values(3, 64, 128)
    left = write_raster(tmp_path / "1.tif", np.ascontiguousarray(values[..., :64]), UTM, NORTH_UP)
    write_raster(tmp_path / "2.tif", np.ascontiguousarray(values[..., 64:]), UTM, NORTH_UP * Affine.translation(64, 0))
    (tmp_path / "notes.txt").write_text("no raster")
    rasters = open_rasters(tmp_path)
    tile = Tile("a", (500_480, 5_000_680, 500_800, 5_001_000), UTM, (3.0, 45.0))
    found = rasters.read_tile(tile, 32)
    assert found.source == "1.tif, 2.tif"
    np.testing.assert_array_equal(found.pixels, np.moveaxis(values, 0, -1)[:32, 48:80])
    only = open_rasters(left).read_tile(tile, 32)
    assert only.share == 0.5
    [grid] = rasters.grids(320.0, 320.0, 32)
    assert len(grid) == 8


def test_rasters_of_two_zones_are_tiles_in_one(tmp_path: Path) -> None:
    """Each shows the same longitudes and latitudes as bands; the tile across both agrees with them everywhere."""
    for zone, west in ((31, 5.9), (32, 6.0)):
        crs = f"EPSG:326{zone}"
        to = Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
        x, y = to.transform(west, 48.1)
        transform = from_origin(x - 500, y + 500, 50, 50)
        rows, columns = np.mgrid[:300, :200]
        at_x, at_y = transform.c + (columns + 0.5) * 50, transform.f - (rows + 0.5) * 50
        lon, lat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(at_x, at_y)
        bands = np.stack([(lon - 5.8) * 600, (lat - 47.9) * 600, lat * 0 + 50])
        write_raster(tmp_path / f"{zone}.tif", np.clip(np.rint(bands), 1, 255).astype(np.uint8), crs, transform)
    rasters = open_rasters(tmp_path)
    tile = tile_at("a", 6.02, 48.02, 6000.0, 60)
    found = rasters.read_tile(tile, 60)
    assert found.share == 1.0 and found.source == "31.tif, 32.tif"
    back = Transformer.from_crs(tile.crs, "OGC:CRS84", always_xy=True)
    x, y = np.meshgrid(tile.bounds[0] + (np.arange(60) + 0.5) * 100, tile.bounds[3] - (np.arange(60) + 0.5) * 100)
    lon, lat = back.transform(x, y)
    assert np.abs(found.pixels[..., 0] - (lon - 5.8) * 600).max() <= 1.5
    assert np.abs(found.pixels[..., 1] - (lat - 47.9) * 600).max() <= 1.5


def test_more_than_8_bits_are_scaled_alike_in_all_tiles(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4000, (3, 96, 96)).astype(np.uint16)
    values[:, :32] //= 4
    path = write_raster(tmp_path / "a.tif", values, UTM, NORTH_UP)
    low, high = np.percentile(values, (2, 98))
    rasters = open_rasters(path)
    assert rasters.said == f"uint16 values {low:g} to {high:g} (2nd and 98th percentile of all) became 0 and 255"
    for ranges, found in (((low, high), rasters), ((0, 3000), open_rasters(path, None, (0.0, 3000.0)))):
        for tile, pixels, _ in iter_tiles(found, found.grids(320.0, 320.0, 32)[0]):
            plain = plain_window(path, tile).astype(float)
            scaled = np.clip(np.rint((plain - ranges[0]) * 255 / (ranges[1] - ranges[0])), 0, 255)
            assert np.abs(scaled - pixels).max() <= 1
    bands = open_rasters(path, (3, 1, 2), ((0.0, 3000.0), (0.0, 4000.0), (0.0, 255.0)))
    [tile, *_] = bands.grids(320.0, 320.0, 32)[0]
    plain = plain_window(path, tile).astype(float)[..., [2, 0, 1]]
    scaled = np.clip(np.rint(plain * 255 / np.array([3000, 4000, 255])), 0, 255)
    assert np.abs(scaled - bands.read_tile(tile, 32).pixels).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("share", "nodata"), [(0.25, None), (0.0, None), (0.25, 0.0)])
def test_zeros_about_a_scene_that_declares_no_value_are_told(
    tmp_path: Path, share: float, nodata: float | None, dtype: type
) -> None:
    values = np.random.default_rng(0).integers(60, 250, (3, 64, 64)).astype(dtype)
    values[:, : round(64 * share)] = 0
    rasters = open_rasters(str(write_raster(tmp_path / "scene.tif", values, UTM, NORTH_UP)), nodata=nodata)
    if share and nodata is None:
        assert rasters.doubt is not None and "scene.tif: 25% of the pixels are 0, and no value" in rasters.doubt
        assert rasters.doubt.endswith("type --nodata 0")
        assert ("range of values" in rasters.doubt) == (dtype is np.uint16)
    else:
        assert rasters.doubt is None


def test_colour_tables_and_grey(tmp_path: Path) -> None:
    values = noise_values(1, 64, 64) % 4
    table = {0: (0, 0, 0, 255), 1: (250, 10, 0, 255), 2: (5, 100, 50, 255), 3: (7, 7, 200, 255)}
    path = write_raster(tmp_path / "p.tif", values, UTM, NORTH_UP)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, table)
    [(_, pixels, share)] = iter_tiles(path, open_rasters(path).grids(640.0, 640.0, 64)[0])
    np.testing.assert_array_equal(pixels, np.array([table[n][:3] for n in range(4)])[values[0]])
    assert share == 1.0
    grey = write_raster(tmp_path / "g.tif", noise_values(1, 64, 64), UTM, NORTH_UP)
    [(_, pixels, _)] = iter_tiles(grey, open_rasters(grey).grids(640.0, 640.0, 64)[0])
    np.testing.assert_array_equal(pixels, noise_values(1, 64, 64)[0][..., None].repeat(3, 2))


@pytest.mark.slow
def test_a_vrt_reads_files_and_no_addresses(raster: Path, tmp_path: Path) -> None:
    vrt = tmp_path / "a.vrt"
    rasterio.shutil.copy(str(raster), str(vrt), driver="VRT")
    [grid] = open_rasters(vrt).grids(320.0, 320.0, 32)
    for _ in range(10):  # by several threads, each with files of its own
        for tile, pixels, _ in iter_tiles(vrt, grid):
            np.testing.assert_array_equal(pixels, plain_window(raster, tile))
    text = vrt.read_text()
    name = text[text.index(">", text.index("<SourceFilename")) + 1 : text.index("</SourceFilename>")]
    vrt.write_text(text.replace(name, "/vsicurl/http://127.0.0.1:9/a.tif").replace('relativeToVRT="1"', ""))
    with pytest.raises(DataError, match="which is no file here; a VRT of files expected"):
        list(iter_tiles(vrt, grid))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http", "wms", "tag", "sidecar"])
def test_no_raster_makes_gdal_ask_a_host(raster: Path, tmp_path: Path, kind: str) -> None:
    """Neither as a source of a VRT, which GDAL has drivers for, nor as overviews, which a plain GeoTIFF can name."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/a.tif"
    path = raster
    if kind in ("http", "wms"):
        rasterio.shutil.copy(str(raster), str(path := tmp_path / "a.vrt"), driver="VRT")
        service = f"&lt;GDAL_WMS&gt;&lt;Service name='TMS'&gt;&lt;ServerUrl&gt;{url}&lt;/ServerUrl&gt;&lt;/Service&gt;"
        source = url if kind == "http" else f"{service}&lt;/GDAL_WMS&gt;"
        path.write_text(path.read_text().replace(">a.tif<", f">{source}<").replace('relativeToVRT="1"', ""))
    elif kind == "tag":
        with rasterio.open(raster, "r+") as file:
            file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=url)
    else:
        said = f'<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{url}</MDI></Metadata>'
        raster.with_name("a.tif.aux.xml").write_text(f"<PAMDataset>{said}</PAMDataset>")
    try:
        with pytest.raises(DataError, match=r"(no file here|overviews in the file itself)"):
            list(iter_tiles(path, [tile_at("a", 3.0, 45.1, 500.0, 8)], 8))
    finally:
        server.shutdown()
        server.server_close()
    assert seen == []


# What cannot be used: one line each.


def test_rasters_that_cannot_be_used(raster: Path, tmp_path: Path) -> None:
    values = noise_values(3, 32, 32)
    homeless = write_raster(tmp_path / "homeless.tif", values, None, NORTH_UP)
    with pytest.raises(DataError, match=r"homeless\.tif: no coordinate system; .*gdal_edit"):
        open_rasters(homeless)
    points = [
        rasterio.control.GroundControlPoint(0, 0, 3.0, 45.0),
        rasterio.control.GroundControlPoint(0, 32, 3.1, 45.0),
        rasterio.control.GroundControlPoint(32, 0, 3.0, 44.9),
    ]
    with rasterio.open(tmp_path / "gcps.tif", "w", driver="GTiff", width=32, height=32, count=3, dtype="uint8",
                       gcps=points, crs="EPSG:4326") as file:  # fmt: skip
        file.write(values)
    with pytest.raises(DataError, match=r"gcps\.tif: no coordinate system, but 3 ground control points; .*gdalwarp"):
        open_rasters(tmp_path / "gcps.tif")
    with pytest.raises(DataError, match="no GeoTIFF, COG, VRT"):
        open_rasters(Path(__file__))
    with pytest.raises(DataError, match="No such file"):
        open_rasters("/vsicurl/http://127.0.0.1:9/a.tif")
    with pytest.raises(DataError, match="no raster there"):
        (tmp_path / "empty").mkdir()
        open_rasters(tmp_path / "empty")
    (tmp_path / "cut.tif").write_bytes(raster.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cut\.tif: cannot be read as a raster"):
        rasters = open_rasters(tmp_path / "cut.tif")
        list(iter_tiles(rasters, rasters.grids(320.0, 320.0, 32)[0]))
    many = write_raster(tmp_path / "many.tif", noise_values(6, 32, 32), UTM, NORTH_UP)
    with pytest.raises(ConfigError, match=r"6 bands .*--bands 4,3,2"):
        open_rasters(many)
    with pytest.raises(ConfigError, match="has the bands 1 to 6"):
        open_rasters(many, (7, 1, 2))
    empty = write_raster(tmp_path / "empty16.tif", np.zeros((1, 32, 32), np.uint16), UTM, NORTH_UP, nodata=0)
    with pytest.raises(DataError, match="no data in any of its 32 x 32 pixels"):
        open_rasters(empty)


def test_a_region_outside_the_raster(raster: Path) -> None:
    rasters = open_rasters(raster)
    with pytest.raises(ConfigError, match=r"the region \(10,50,11,51\) lies outside .*a\.tif \(3,45\.1.*degrees"):
        rasters.grids(320.0, 320.0, 32, shapely.box(10, 50, 11, 51))


# Real data.


@pytest.mark.skipif(not (DATA / "landsat8_itaipu").is_dir(), reason="shared data are not here")
def test_landsat_scene() -> None:
    scene = DATA / "landsat8_itaipu" / "scene.tif"
    rasters = open_rasters(scene, (3, 2, 1), (6000.0, 12_000.0))
    assert rasters.gsd_m == 30.0 and rasters.own_crs() == "EPSG:32621"
    [grid] = rasters.grids(6720.0, 6720.0, 224)
    assert grid.shape == (1860 // 224, 2041 // 224)
    with rasterio.open(scene) as file:
        assert grid.bounds_of(0, 0)[0] == file.bounds.left and grid.bounds_of(0, 0)[3] == file.bounds.top
        for tile in list(grid)[::11]:
            plain = file.read([3, 2, 1], window=file.window(*tile.bounds)).astype(np.float64)
            scaled = np.clip(np.rint((plain - 6000) * 255 / 6000), 0, 255)
            assert np.abs(np.moveaxis(scaled, 0, -1) - rasters.read_tile(tile, 224).pixels).max() <= 1
            lon, lat = tile.lonlat
            assert -54.845 <= lon <= -54.227 and -25.597 <= lat <= -25.083


@pytest.mark.skipif(not (DATA / "sentinel2_geo").is_dir(), reason="shared data are not here")
def test_sentinel_patches() -> None:
    """Each is its own mosaic; a tile on its pixels is a window of it."""
    names = sorted((DATA / "sentinel2_geo" / "images").glob("*.tif"))
    for name in names[:4]:
        with rasterio.open(name) as file:
            rasters = open_rasters(
                name, (1, 2, 3) if file.count >= 3 else None, (0.0, 3000.0) if file.dtypes[0] != "uint8" else None
            )
            side = min(file.width, file.height) // 2
            if rasters.own_crs() is None:
                pytest.skip(f"{name}: {file.crs}")
            [grid] = rasters.grids(side * rasters.gsd_m, side * rasters.gsd_m, side)
            [tile, *_] = grid
            plain = file.read([1, 2, 3], window=file.window(*tile.bounds)).astype(np.float64)
            if file.dtypes[0] != "uint8":
                plain = np.clip(np.rint(plain * 255 / 3000), 0, 255)
            assert np.abs(np.moveaxis(plain, 0, -1) - rasters.read_tile(tile, side).pixels).max() <= 1


def test_no_more_files_are_open_than_a_thread_may_have(tmp_path: Path) -> None:
    for number in range(40):
        transform = NORTH_UP * Affine.translation(32 * number, 0)
        write_raster(tmp_path / f"{number:02d}.tif", noise_values(3, 32, 32, number), UTM, transform)
    rasters: Rasters = open_rasters(tmp_path)
    [grid] = rasters.grids(320.0, 320.0, 32)
    assert len(grid) == 40
    for number, (_, pixels, _) in enumerate(iter_tiles(rasters, grid, threads=2)):
        np.testing.assert_array_equal(pixels, np.moveaxis(noise_values(3, 32, 32, number), 0, -1))
    links = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.exists()]
    assert sum(str(tmp_path) in link for link in links) <= 3 * 16

"""Tiles of servers on loopback, which behave and misbehave: what is shown, what is counted, what is asked."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
import shapely
from imagery_hosts import QUICK, Asked, Said, Speaks, hosting, picture
from PIL import Image
from pyproj import Transformer

import earthtone
from earthtone.build.imagery import iter_tiles
from earthtone.build.tile_grid import Tile, tile_at
from earthtone.build.tile_servers import TERMS, TileServer, quadkey, refuse_forbidden
from earthtone.build.web import Web
from earthtone.errors import ConfigError, DataError

MERCATOR = morecantile.tms.get("WebMercatorQuad")


def server(tmp_path: Path, url: str, template: str = "/{z}/{x}/{y}.png", **more: object) -> TileServer:
    web = Web(tmp_path / "cache", per_second=100.0, policy=QUICK)
    return TileServer(url + template, web, **more)  # type: ignore[arg-type]


def place_colours(z: int, x: int, y: int, side: int = 256, matrix: str = "WebMercatorQuad") -> np.ndarray:
    """A picture whose pixels tell their longitude (red) and latitude (green), by morecantile's bounds."""
    tms = morecantile.tms.get(matrix)
    west, south, east, north = tms.xy_bounds(morecantile.Tile(x, y, z))
    middles = (np.arange(side) + 0.5) / side
    at_x, at_y = np.meshgrid(west + middles * (east - west), north - middles * (north - south))
    to = Transformer.from_crs(tms.crs.to_wkt(), "OGC:CRS84", always_xy=True)
    longitude, latitude = to.transform(at_x, at_y)
    return colours_of(longitude, latitude)


@cache
def place_picture(z: int, x: int, y: int, side: int, matrix: str, kind: str) -> bytes:
    return picture(place_colours(z, x, y, side, matrix), kind=kind)


def colours_of(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Smooth over some km: a wave of a degree's hundredth."""
    waves = [np.sin(2 * np.pi * longitude * 8), np.sin(2 * np.pi * latitude * 8), np.cos(2 * np.pi * longitude * 8)]
    return np.rint(128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def tile_colours(tile: Tile, pixels: int) -> np.ndarray:
    """What a tile must show, by PROJ alone."""
    west, south, east, north = tile.bounds
    middles = (np.arange(pixels) + 0.5) / pixels
    x, y = np.meshgrid(west + middles * (east - west), north - middles * (north - south))
    return colours_of(*Transformer.from_crs(tile.crs, "OGC:CRS84", always_xy=True).transform(x, y)).astype(int)


def honest(side: int = 256, kind: str = "PNG", matrix: str = "WebMercatorQuad", flipped: bool = False) -> Speaks:
    def speaks(asked: Asked) -> Said:
        z, x, y = map(int, asked.path.rpartition(".")[0].split("/")[-3:])
        y = 2**z - 1 - y if flipped else y
        return Said(place_picture(z, x, y, side, matrix, kind), 200, {"Content-Type": "image/png"})

    return speaks


@pytest.mark.slow
@pytest.mark.parametrize(("latitude", "side"), [(0.02, 256), (46.5, 512), (-63.0, 256), (78.2, 512)])
def test_a_tile_shows_its_own_ground_at_every_latitude(tmp_path: Path, latitude: float, side: int) -> None:
    """256 or 512 pixels a picture; the level is as coarse as the metres a pixel allow."""
    with hosting(honest(side)) as host:
        imagery = server(tmp_path, host.url)
        tile = tile_at("a", 7.51, latitude, 2000.0, 100)
        found = imagery.read_tile(tile, 100)
        assert found.share == 1.0
        assert np.abs(found.pixels.astype(int) - tile_colours(tile, 100)).max() <= 6
        levels = {int(path.split("/")[1]) for path in host.paths()[1:]}  # the first one tells the size
        z = max(levels)
        ground = 156543.03392804097 * np.cos(np.radians(latitude)) / 2**z * 256 / side
        assert 20 / 2.1 <= ground <= 20 * 1.12
        assert len(host.paths()) == len(set(host.paths())) <= 26


def test_other_forms_of_addresses(tmp_path: Path) -> None:
    tile = tile_at("a", 7.51, 46.5, 2000.0, 64)
    forms = ("/{z}/{x}/{-y}.png", "/{TileMatrixSet}/{TileMatrix}/{TileCol}/{TileRow}.png")
    for template, flipped in zip(forms, (True, False), strict=True):
        with hosting(honest(flipped=flipped)) as host:
            found = server(tmp_path, host.url, template).read_tile(tile, 64)
            assert np.abs(found.pixels.astype(int) - tile_colours(tile, 64)).max() <= 6, template
    assert [quadkey(*tile) for tile in ((3, 3, 5), (1, 0, 0), (0, 0, 0))] == ["213", "0", ""]
    at = MERCATOR.tile(7.51, 46.5, 12)
    assert quadkey(12, at.x, at.y) == MERCATOR.quadkey(at)


def test_another_set_of_matrices(tmp_path: Path) -> None:
    with hosting(honest(matrix="WGS1984Quad")) as host:
        imagery = server(tmp_path, host.url, matrix_set="WGS1984Quad")
        tile = tile_at("a", -70.3, -52.1, 2000.0, 64)
        assert np.abs(imagery.read_tile(tile, 64).pixels.astype(int) - tile_colours(tile, 64)).max() <= 6


def test_across_the_date_line_and_beyond_the_last_level(tmp_path: Path) -> None:
    with hosting(honest()) as host:
        imagery = server(tmp_path, host.url, max_zoom=12)
        tile = tile_at("a", 180.0, -17.0, 4000.0, 64)
        found = imagery.read_tile(tile, 64)
        assert found.share == 1.0
        assert np.abs(found.pixels.astype(int) - tile_colours(tile, 64)).max() <= 6
        columns = {int(path.split("/")[2]) for path in host.paths()}
        assert 0 in columns and 2**12 - 1 in columns
        fine = tile_at("a", 7.0, 10.0, 200.0, 64)
        assert np.abs(imagery.read_tile(fine, 64).pixels.astype(int) - tile_colours(fine, 64)).max() <= 6
        assert not imagery.read_tile(tile_at("a", 0.0, 87.0, 1000.0, 16), 16).share


def test_neighbours_are_asked_for_once(tmp_path: Path) -> None:
    with hosting(honest()) as host:
        imagery = server(tmp_path, host.url)
        [grid] = imagery.grids(1000.0, 1000.0, 50, shapely.box(7.5, 46.5, 7.53, 46.52))
        found = list(iter_tiles(imagery, grid, threads=4))
        assert len(found) == len(grid) and all(share == 1.0 for *_, share in found)
        assert len(host.paths()) == len(set(host.paths()))
        before = len(host.paths())
        again = list(iter_tiles(server(tmp_path, host.url), grid, threads=4))
        assert len(host.paths()) == before  # all from the cache
        for (_, a, _), (_, b, _) in zip(found, again, strict=True):
            np.testing.assert_array_equal(a, b)


TILE = tile_at("a", 7.51, 46.5, 3000.0, 300)
HTML = Said(b"<!DOCTYPE html><html>log in</html>", 200, {"Content-Type": "text/html"})
XML = Said(b'<?xml version="1.0"?><ServiceExceptionReport/>', 200, {"Content-Type": "image/png"})


PAGE = "a page or an exception in place of a picture"


def clear_picture() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((256, 256, 4), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (HTML, PAGE),
        (XML, PAGE),
        (Said(b'{"error": "no"}'), PAGE),
        (Said(picture((9, 9, 9), 1)), "a picture of a few pixels"),
        (Said(picture((9, 9, 9))[:-40]), "a broken picture"),
        (Said(b"", 204), "no tile there"),
        (Said(b"", 200), "no tile there"),
        (Said(b"gone", 404), "no tile there"),
        (Said(clear_picture()), "nothing but transparency"),
    ],
    ids=["html", "exception as picture", "json", "one pixel", "cut off", "204", "empty", "404", "transparent"],
)
def test_answers_that_are_no_imagery_are_no_data(tmp_path: Path, said: Said, fault: str) -> None:
    """One of the columns of the server's tiles is bad, in each of the ways; the others are shown."""
    good = honest()

    def speaks(asked: Asked) -> Said:
        z, x, _ = map(int, asked.path.rpartition(".")[0].split("/")[-3:])
        return said if x == MERCATOR.tile(7.495, 46.5, z).x else good(asked)

    with hosting(speaks) as host:
        imagery = server(tmp_path, host.url)
        found = imagery.read_tile(TILE, 300)
        assert 0.2 < found.share < 0.95
        assert set(imagery.faults) == {fault} and found.fault == (fault in ("a broken picture", PAGE))
        assert np.abs(found.pixels.astype(int) - tile_colours(TILE, 300))[found.valid].max() <= 6
        assert (found.pixels[~found.valid] == 0).all()


def test_a_picture_that_is_the_same_everywhere_is_a_placeholder(tmp_path: Path) -> None:
    grey = Said(picture((204, 204, 204)))
    with hosting(lambda _: grey) as host:
        imagery = server(tmp_path, host.url)
        assert not imagery.read_tile(tile_at("a", 7.51, 46.5, 6000.0, 300), 300).share  # many pictures
        assert len(imagery.placeholder_marks()) == 1
        sea = server(tmp_path, host.url, placeholders=False)
        assert sea.read_tile(TILE, 300).share == 1.0 and not sea.placeholder_marks()


def test_a_wrong_content_type_does_not_matter(tmp_path: Path) -> None:
    good = honest(kind="JPEG")

    def speaks(asked: Asked) -> Said:
        return Said(good(asked).body, 200, {"Content-Type": "text/plain"})

    with hosting(speaks) as host:
        assert server(tmp_path, host.url).read_tile(TILE, 300).share == 1.0


def test_what_was_cut_off_once_is_asked_again(tmp_path: Path) -> None:
    good = honest()
    seen: set[str] = set()

    def speaks(asked: Asked) -> Said:
        said = good(asked)
        if asked.path in seen:
            return said
        seen.add(asked.path)
        return Said(said.body[:200])

    with hosting(speaks) as host:
        imagery = server(tmp_path, host.url)
        found = imagery.read_tile(TILE, 300)
        assert found.share == 1.0 and not imagery.faults


def test_a_host_that_wants_a_key_or_gives_pages_only_ends_it(tmp_path: Path) -> None:
    with hosting(lambda _: Said(b"", 403)) as host, pytest.raises(DataError, match=r"refuses \(status 403\)"):
        server(tmp_path, host.url).read_tile(TILE, 300)
    with hosting(lambda _: HTML) as host, pytest.raises(DataError, match="20 times and no picture; look at one"):
        imagery = server(tmp_path, host.url)
        for number in range(20):
            imagery.read_tile(tile_at("a", 7.0 + number / 10, 46.5, 3000.0, 300), 300)
    with hosting(lambda _: Said(b"bad level", 400)) as host, pytest.raises(DataError, match="answers 400; look at the"):
        server(tmp_path, host.url).read_tile(TILE, 300)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("/{z}/{x}.png", "lacks places for level, column and row"),
        ("/{z}/{x}/{y}/{time}.png", r"has \{time\}; "),
        ("/{z}/{x}/{y}.png?key={key}", "set the variable EARTHTONE_TILE_KEY"),
        ("/{key}/{z}/{x}/{y}.png", "in front of its"),
    ],
)
def test_addresses_that_are_none(tmp_path: Path, template: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        server(tmp_path, "https://example.org", template)


@pytest.mark.parametrize(
    "template", ["file:///tiles/{z}/{x}/{y}.png", "/vsicurl/{z}/{x}/{y}", "{z}/{x}/{y}", "s3://a/{z}/{x}/{y}"]
)
def test_other_schemes_are_refused(tmp_path: Path, template: str) -> None:
    with pytest.raises(DataError, match=r"http:// or https:// expected|no address"):
        server(tmp_path, "", template)


def test_keys_stand_in_no_message_and_no_file(tmp_path: Path) -> None:
    with hosting(lambda _: Said(b"", 500)) as host:
        imagery = server(tmp_path, host.url, "/{z}/{x}/{y}.png?key={key}", key="hush hush")
        with pytest.raises(DataError) as caught:
            imagery.read_tile(TILE, 300)
        assert "hush" not in str(caught.value)
        assert host.asked[0].query == "key=hush%20hush"
    assert all(b"hush" not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    "url",
    ["https://mt1.google.com/vt/lyrs=s&x={x}&y={y}&z={z}", "https://t0.ssl.ak.dynamic.tiles.virtualearth.net/{quadkey}",
     "https://server.arcgisonline.com/ArcGIS/rest/services/World_Imagery/MapServer/tile/{z}/{y}/{x}"],
)  # fmt: skip
def test_what_terms_forbid_to_store_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"forbid to store what it shows; .*--license TEXT"):
        server(tmp_path, "", url)
    refuse_forbidden(url, "contract 17 of 2026")
    refuse_forbidden("https://notgoogle.com/{z}/{x}/{y}", None)
    assert TERMS["maps.eox.at"].license == "CC-BY-NC-SA-4.0"


def test_a_tile_at_which_the_host_failed_is_asked_for_again_and_no_worse_one_kept(tmp_path: Path) -> None:
    good, bad = honest(), {0}
    table = tmp_path / "places.csv"
    table.write_text("id,longitude,latitude\na,7.5,46.5\n")

    def speaks(asked: Asked) -> Said:
        x = int(asked.path.rpartition(".")[0].split("/")[-2])
        return Said(picture((9, 9, 9))[:-40]) if x - first in bad else good(asked)

    first = MERCATOR.tile(7.495, 46.5, 15).x
    with hosting(speaks) as host:
        options: dict[str, Any] = {
            "template": f"{host.url}/{{z}}/{{x}}/{{y}}.png", "metres": 1500, "pixels": 300, "places": table,
            "rate": 100, "cache": tmp_path / "cache", "patience": QUICK, "nodata_share": 0.95, "format": "png",
        }  # fmt: skip
        shares = []
        for now in ({0}, {0, 1}, set[int](), set(range(-9, 9))):
            bad.clear()
            bad.update(now)
            found = earthtone.tiles(tmp_path / "t", **options)
            row = json.loads((tmp_path / "t" / "tiles.jsonl").read_text().splitlines()[-1])
            shares.append(row["share"])
            assert found.unfinished == (len(shares) < 3)
        assert 0.1 < shares[0] == shares[1] < 1.0 == shares[2] == shares[3]

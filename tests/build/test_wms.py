"""A Web Map Service on loopback in both versions, which behaves and misbehaves: axis order, exceptions, limits."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
from imagery_hosts import QUICK, Asked, Said, Speaks, hosting, picture
from pyproj import Transformer

import earthtone
from earthtone.build.tile_grid import Tile, tile_at
from earthtone.build.web import Web
from earthtone.build.wms import WmsServer
from earthtone.errors import ConfigError, DataError

_LAYER = """<Layer><Title>top</Title>{systems}<Layer><Name>ortho</Name><Title>O</Title>
<Attribution><Title>{credit}</Title></Attribution><Layer><Name>inner</Name></Layer></Layer></Layer>"""


def capabilities(version: str, systems: tuple[str, ...], limits: str = "none", side: int = 2048) -> bytes:
    name, tag = ("WMS_Capabilities", "CRS") if version == "1.3.0" else ("WMT_MS_Capabilities", "SRS")
    space = ' xmlns="http://www.opengis.net/wms"' if version == "1.3.0" else ""
    layer = _LAYER.format(systems="".join(f"<{tag}>{one}</{tag}>" for one in systems), credit="The  Survey")
    return (
        f'<?xml version="1.0"?><{name} version="{version}"{space}><Service><AccessConstraints>{limits}'
        f"</AccessConstraints><MaxWidth>{side}</MaxWidth></Service><Capability><Request><GetMap>"
        f"<Format>image/jpeg</Format><Format>image/png</Format></GetMap></Request>{layer}</Capability></{name}>"
    ).encode()


def colours_of(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Smooth over some km: a wave of an eighth of a degree."""
    waves = [np.sin(2 * np.pi * longitude * 8), np.sin(2 * np.pi * latitude * 8), np.cos(2 * np.pi * longitude * 8)]
    return np.rint(128 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def drawn(query: dict[str, str]) -> np.ndarray:
    """The picture that a GetMap asks for, its box read as its version has it."""
    first = query["VERSION"] == "1.3.0"
    system = query["CRS" if first else "SRS"]
    west, south, east, north = map(float, query["BBOX"].split(","))
    if first and system == "EPSG:4326":
        south, west, north, east = west, south, east, north
    wide, tall = int(query["WIDTH"]), int(query["HEIGHT"])
    x = west + (np.arange(wide) + 0.5) / wide * (east - west)
    y = north - (np.arange(tall) + 0.5) / tall * (north - south)
    at = np.meshgrid(x, y)
    if system == "EPSG:3857":
        at = Transformer.from_crs("EPSG:3857", "OGC:CRS84", always_xy=True).transform(*at)
    return colours_of(*at)


def service(version: str = "1.3.0", systems: tuple[str, ...] = ("EPSG:3857",), **more: Any) -> Speaks:
    def speaks(asked: Asked) -> Said:
        query = {name: values[0] for name, values in parse_qs(asked.query, keep_blank_values=True).items()}
        if query["REQUEST"] == "GetCapabilities":
            return Said(capabilities(version, systems, **more), 200, {"Content-Type": "text/xml"})
        assert query["VERSION"] == version and query["STYLES"] == "" and query["SERVICE"] == "WMS"
        return Said(picture(drawn(query)), 200, {"Content-Type": "image/png"})

    return speaks


def opened(tmp_path: Path, url: str, **more: Any) -> WmsServer:
    web = Web(tmp_path / "cache", per_second=100.0, policy=QUICK)
    return WmsServer(f"{url}/ows", web, layers=("inner",), **more)


def expected(tile: Tile, pixels: int) -> np.ndarray:
    """What a tile must show, by PROJ alone."""
    west, south, east, north = tile.bounds
    middles = (np.arange(pixels) + 0.5) / pixels
    x, y = np.meshgrid(west + middles * (east - west), north - middles * (north - south))
    return colours_of(*Transformer.from_crs(tile.crs, "OGC:CRS84", always_xy=True).transform(x, y)).astype(int)


@pytest.mark.parametrize(
    ("version", "systems", "asked"),
    [
        ("1.3.0", ("EPSG:25832", "CRS:84", "EPSG:3857"), "CRS=EPSG%3A3857"),
        ("1.3.0", ("EPSG:4326", "CRS:84"), "CRS=CRS%3A84"),
        ("1.3.0", ("EPSG:4326",), "CRS=EPSG%3A4326"),
        ("1.1.1", ("EPSG:4326 EPSG:25832",), "SRS=EPSG%3A4326"),
    ],
)
@pytest.mark.parametrize("latitude", [0.02, 61.5])
def test_a_tile_shows_its_own_ground(
    tmp_path: Path, version: str, systems: tuple[str, ...], asked: str, latitude: float
) -> None:
    with hosting(service(version, systems)) as host:
        imagery, tile = opened(tmp_path, host.url), tile_at("a", 7.51, latitude, 2000.0, 100)
        found = imagery.read_tile(tile, 100)
        assert found.share == 1.0 and asked in host.asked[-1].query and len(host.asked) == 2
        assert np.abs(found.pixels.astype(int) - expected(tile, 100)).max() <= 6
        assert found.attribution == "The Survey" and found.license is None


def test_across_the_date_line_and_in_parts(tmp_path: Path) -> None:
    """Two boxes, none beyond 180; no picture wider than the service allows."""
    with hosting(service(systems=("CRS:84",), side=64)) as host:
        imagery, tile = opened(tmp_path, host.url), tile_at("a", 179.999, -17.0, 2000.0, 100)
        found = imagery.read_tile(tile, 100)
        assert found.share == 1.0 and np.abs(found.pixels.astype(int) - expected(tile, 100)).max() <= 6
        for asked in host.asked[1:]:
            query = parse_qs(asked.query)
            assert int(query["WIDTH"][0]) <= 64 and int(query["HEIGHT"][0]) <= 64
            assert all(abs(float(number)) <= 180.0001 for number in query["BBOX"][0].split(","))


def test_constraints_that_are_a_licence_are_one(tmp_path: Path) -> None:
    limits = "https://creativecommons.org/licenses/by/4.0/"
    with hosting(service(limits=limits)) as host:
        assert opened(tmp_path, host.url).read_tile(tile_at("a", 7.5, 46.5, 500.0, 32), 32).license == "CC-BY-4.0"
        stated = opened(tmp_path, host.url, license="CC0", attribution="Me")
        found = stated.read_tile(tile_at("a", 7.5, 46.5, 500.0, 32), 32)
        assert (found.license, found.attribution) == ("CC0", "Me")


_EXCEPTION = (
    b'<?xml version="1.0"?><ServiceExceptionReport><ServiceException code="LayerNotDefined">no such\x1b[2J'
    b"</ServiceException></ServiceExceptionReport>"
)


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (_EXCEPTION, 200, "an exception in place"),
        (picture((255, 255, 255), side=9), 200, "another size"),
        (b"", 200, "nothing"),
        (b"\x89PNG\r\n\x1a\nhalf", 200, "a broken picture"),
        (_EXCEPTION, 400, "status 400"),
    ],
)
def test_what_is_no_picture_is_no_data(tmp_path: Path, body: bytes, status: int, told: str) -> None:
    """Under the type of a picture; counted, and never an answer that is kept."""

    def speaks(asked: Asked) -> Said:
        if "GetCapabilities" in asked.query:
            return Said(capabilities("1.3.0", ("EPSG:3857",)))
        return Said(body, status, {"Content-Type": "image/png"})

    with hosting(speaks) as host:
        imagery, tile = opened(tmp_path, host.url), tile_at("a", 7.5, 46.5, 500.0, 32)
        assert imagery.read_tile(tile, 32).share == 0.0
        assert [*imagery.faults.values()] == [1] and told in next(iter(imagery.faults))
        with pytest.raises(DataError, match="gave no picture 20 times") as got:
            for _ in range(20):
                imagery.read_tile(tile, 32)
        assert str(got.value).isprintable()


def test_a_blank_sheet_is_no_data(tmp_path: Path) -> None:
    def speaks(asked: Asked) -> Said:
        if "GetCapabilities" in asked.query:
            return Said(capabilities("1.3.0", ("EPSG:3857",)))
        query = parse_qs(asked.query)
        blank = np.full((int(query["HEIGHT"][0]), int(query["WIDTH"][0]), 3), 255, np.uint8)
        return Said(picture(blank), 200)

    with hosting(speaks) as host:
        imagery = opened(tmp_path, host.url)
        assert imagery.read_tile(tile_at("a", 7.5, 46.5, 500.0, 32), 32).share == 0.0
        assert [*imagery.faults] == ["a picture that is all white or all black"]


@pytest.mark.parametrize(
    ("body", "error", "told"),
    [
        (b"<html><p>log in</html>", DataError, "no XML"),
        (_EXCEPTION.replace(b"\x1b", b""), DataError, r"LayerNotDefined no such.*the capabilities of a WMS expected"),
        (capabilities("1.3.0", ("EPSG:25832",)), DataError, "is offered in EPSG:25832; one of EPSG:3857"),
        (capabilities("1.3.0", ("EPSG:3857",)).replace(b"inner", b"innner"), ConfigError, "did you mean innner"),
        (capabilities("1.3.0", ("EPSG:3857",)).replace(b"image/", b"text/"), DataError, "text/jpeg, text/png"),
        (capabilities("1.3.0", ("EPSG:3857",)).replace(b'version="1.3.0"', b'version="7"'), DataError, "WMS '7'"),
    ],
)
def test_capabilities_that_cannot_be_used_are_one_line(
    tmp_path: Path, body: bytes, error: type[Exception], told: str
) -> None:
    with hosting(lambda asked: Said(body)) as host, pytest.raises(error, match=told):
        opened(tmp_path, host.url).read_tile(tile_at("a", 7.5, 46.5, 500.0, 32), 32)


def test_tiles_of_a_service_at_places_that_grow(tmp_path: Path) -> None:
    """The verb; a place that is added is cut beside the old ones, one that moved anew. The key is in no file."""
    table = tmp_path / "places.csv"
    table.write_text("id,longitude,latitude\na,7.5,46.5\nb,7.52,46.5\n")
    with hosting(service()) as host:
        options: dict[str, Any] = {
            "wms": f"{host.url}/ows?map=/m&key={{key}}&REQUEST=GetCapabilities", "layers": ("inner",), "metres": 500,
            "pixels": 32, "places": table, "cache": tmp_path / "cache", "rate": 100, "patience": QUICK,
        }  # fmt: skip
        with pytest.raises(ConfigError, match="EARTHTONE_TILE_KEY"):
            earthtone.tiles(tmp_path / "t", **options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EARTHTONE_TILE_KEY", "se&cret")
            assert earthtone.tiles(tmp_path / "t", **options).tiles == 2
            assert {"key=se%26cret", "map=%2Fm"} <= set(host.asked[-1].query.split("&"))
            asked = len(host.asked)
            table.write_text("id,longitude,latitude\na,7.5,46.5\nb,7.53,46.5\nc,7.54,46.5\n")
            assert earthtone.tiles(tmp_path / "t", **options).tiles == 3
            assert len(host.asked) == asked + 2
        lines = [json.loads(line) for line in (tmp_path / "t" / "tiles.jsonl").read_text().splitlines()]
        assert [line["id"] for line in lines[1:]] == ["a", "b", "b", "c"]
        assert b"cret" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(ConfigError, match="--wms needs --layers"):
        earthtone.tiles(tmp_path / "u", wms="https://example.org/ows", places=table)
    with pytest.raises(ConfigError, match="forbid to store"):
        earthtone.tiles(tmp_path / "u", wms="https://services.arcgisonline.com/ows", layers=("a",), places=table,
                        metres=100)  # fmt: skip


def test_a_fault_that_passes_costs_a_tile_for_one_call_alone(tmp_path: Path) -> None:
    """An exception with status 200, twice: the tile is asked for again. A blank sheet is what is there."""
    good, bad = service(), {"b"}
    table = tmp_path / "places.csv"
    table.write_text("id,longitude,latitude\na,7.5,46.5\nb,7.6,46.5\nc,7.7,46.5\n")

    def speaks(asked: Asked) -> Said:
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if query["REQUEST"] == "GetMap":
            west = float(query["BBOX"].split(",")[0]) / 20037508.34 * 180
            name = "abc"[round((west - 7.5) * 10)]
            if name in bad:
                return XML_FAULT
            if name == "c":
                return Said(picture(np.full((int(query["HEIGHT"]), int(query["WIDTH"]), 3), 255, np.uint8)))
        return good(asked)

    with hosting(speaks) as host:
        options: dict[str, Any] = {
            "wms": f"{host.url}/ows", "layers": ("inner",), "metres": 500, "pixels": 32, "places": table,
            "cache": tmp_path / "cache", "rate": 100, "patience": QUICK,
        }  # fmt: skip
        found = earthtone.tiles(tmp_path / "t", **options)
        assert (found.tiles, found.left_out, found.unfinished) == (1, 2, 1)
        assert "failed at 1 tiles" in found.to_text()
        bad.clear()
        asked = len(host.asked)
        found = earthtone.tiles(tmp_path / "t", **options)
        assert (found.tiles, found.left_out, found.unfinished) == (2, 1, 0) and len(host.asked) == asked + 1
        earthtone.tiles(tmp_path / "t", **options)
        assert len(host.asked) == asked + 1


XML_FAULT = Said(b"<ServiceExceptionReport><ServiceException>busy</ServiceException></ServiceExceptionReport>")

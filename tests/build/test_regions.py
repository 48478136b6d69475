"""Regions and places as they are written; each that is none is told in a line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from shapely.geometry import mapping

from earthtone.build.regions import Place, read_places, read_region
from earthtone.errors import ConfigError, DataError

SQUARE = shapely.box(10, 20, 11, 21)


def written(tmp_path: Path, values: Any, name: str = "r.geojson") -> Path:
    path = tmp_path / name
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


@pytest.mark.parametrize("text", ["10,20,11,21", "[10, 20, 11, 21]", " 1e1,20.0,+11,21. "])
def test_boxes(text: str) -> None:
    assert read_region(text).equals(SQUARE)


def test_polygons_as_wkt_and_geojson(tmp_path: Path) -> None:
    feature = {"type": "Feature", "properties": {}, "geometry": mapping(SQUARE)}
    for source in (
        SQUARE.wkt,
        f"SRID=4326;{SQUARE.wkt}",
        written(tmp_path, SQUARE.wkt, "r.wkt"),
        written(tmp_path, mapping(SQUARE), "a.json"),
        written(tmp_path, feature, "b.geojson"),
    ):
        assert read_region(source).equals(SQUARE)
    other = {**feature, "geometry": mapping(shapely.box(12, 20, 13, 21))}
    several = read_region(written(tmp_path, {"type": "FeatureCollection", "features": [feature, other]}))
    assert several.bounds == (10, 20, 13, 21) and several.area == pytest.approx(2)


def test_across_the_date_line() -> None:
    assert read_region("170,-20,-170,-10").bounds == (170, -20, 190, -10)
    cut = shapely.union_all([shapely.box(170, -20, 180, -10), shapely.box(-180, -20, -170, -10)])
    assert read_region(cut.wkt).bounds == (170, -20, 190, -10)
    assert read_region("-180,-60,180,60").bounds == (-180, -60, 180, 60)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10,21,11,20", "the order is west,south,east,north"),
        ("10,20,11,95", "-90 to 90, south first"),
        ("170,-20,190,-10", r"two of -180 to 180 expected, such as 170,\.\.\.,-170 across 180"),
        ("10,20,10,21", "two of -180 to 180"),
        ("10,20,11", "No such file"),
        ("POLYGON ((0 0, 1 1", "no WKT"),
        ("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))", r"Self-intersection\[1 1\].*does not cross itself expected"),
        ("POLYGON ((170 0, -170 0, -170 5, 170 5, 170 0))", "340 degrees of longitude: it crosses 180; cut"),
        ("POLYGON ((0 0, 200 0, 200 5, 0 0))", "longitudes to 200"),
        ("POLYGON ((50 120, 51 120, 51 121, 50 120))", "they look swapped"),
        ("POLYGON EMPTY", "nothing; a polygon expected"),
        ("nowhere.geojson", "No such file.*west,south,east,north"),
    ],
)  # fmt: skip
def test_regions_that_are_none(text: str, told: str) -> None:
    with pytest.raises((ConfigError, DataError), match=told) as caught:
        read_region(text)
    assert "\n" not in str(caught.value)


def test_a_polygon_of_very_many_corners_is_refused(tmp_path: Path) -> None:
    """Whether it crosses itself would be asked for hours."""
    around = np.linspace(0, 2 * np.pi, 150_000)
    ring = shapely.Polygon(np.stack([np.cos(around), np.sin(around)], axis=1))
    with pytest.raises(DataError, match=r"150,001 corners; at most 100,000 expected: simplify"):
        read_region(written(tmp_path, ring.wkt, "r.wkt"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("not json", "no GeoJSON"),
        ([1], "no GeoJSON"),
        ({"type": "Point", "coordinates": [1, 2]}, r"holds a Point; polygons expected \(places: --places\)"),
        ({"type": "Feature", "geometry": None}, "no GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "nothing; a polygon expected"),
        ({**mapping(SQUARE), "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}},
         "EPSG::32631.*longitude and latitude"),
        ("[" * 100_000, "no GeoJSON"),
    ],
)  # fmt: skip
def test_files_that_hold_no_region(tmp_path: Path, values: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_region(written(tmp_path, values))


def test_degrees_of_old_files_are_taken(tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    assert read_region(written(tmp_path, {**mapping(SQUARE), "crs": crs})).equals(SQUARE)


def test_places(tmp_path: Path) -> None:
    table = written(tmp_path, "id,lon,lat,extra\na,10,20,x\nb,,,\nb2,200,1,\na,1,1,\nc,-3.5,7,\n", "p.csv")
    places, problems = read_places(table)
    assert places == [Place("a", 10.0, 20.0), Place("c", -3.5, 7.0)]
    assert [(problem.id, problem.kind) for problem in problems] == [
        ("b", "no place"), ("b2", "no place"), ("a", "duplicate id")]  # fmt: skip
    points = [{"type": "Feature", "id": "p", "properties": {"id": "p"}, "geometry": {"type": "Point",
              "coordinates": [5, 6]}}]  # fmt: skip
    file = written(tmp_path, {"type": "FeatureCollection", "features": points})
    assert read_places(file)[0] == [Place("p", 5.0, 6.0)]
    renamed = written(tmp_path, "site,east,north\nq,1,2\n", "q.csv")
    columns = {"id": "site", "longitude": "east", "latitude": "north"}
    assert read_places(renamed, columns)[0] == [Place("q", 1.0, 2.0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [("id,lon,lat\n", "no row with a place"), ("id,lon,lat\na,,\n", "no row with a place; the first row: "),
     ("name\na\n", "no column 'id'")],
)  # fmt: skip
def test_tables_without_places(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_places(written(tmp_path, text, "p.csv"))
    with pytest.raises(DataError, match="No such file"):
        read_places(tmp_path / "none.csv")


@pytest.mark.parametrize("text", ["MULTIPOLYGON(((0 0,1 0,1 1,0 0)), EMPTY)", "POLYGON((0 0,1 0,1 1,0 0), EMPTY)"])
def test_an_empty_part_is_one_line(text: str) -> None:
    with pytest.raises(DataError, match="an empty part"):
        read_region(text)

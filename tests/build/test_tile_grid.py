"""Grids of tiles: metres at every latitude, what they cover, their names and places."""

import math

import morecantile
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod, Transformer

from earthtone.build.resampling import applied
from earthtone.build.tile_grid import (
    MOST_TILES,
    is_metric,
    is_metric_at,
    lonlat_grids,
    make_grid,
    projected,
    tile_at,
    utm_crs,
)
from earthtone.errors import ConfigError

GEOD = Geod(ellps="WGS84")


@pytest.mark.parametrize("longitude", [-180.0, -177.1, -3.0, 0.0, 2.9, 35.7, 179.9, 180.0])
@pytest.mark.parametrize("latitude", [-85.0, -79.0, -33.3, 0.0, 47.5, 71.0, 83.0, 88.9])
def test_a_tile_has_its_metres_on_the_ground_everywhere(longitude: float, latitude: float) -> None:
    """By geodesics of the ellipsoid, along the middles of its sides."""
    tile = tile_at("a", longitude, latitude, 1000.0, 100)
    west, south, east, north = tile.bounds
    assert (east - west, north - south) == (1000.0, 1000.0)
    back = Transformer.from_crs(tile.crs, "OGC:CRS84", always_xy=True)
    x, y = (west + east) / 2, (south + north) / 2
    for a, b in (((west, y), (east, y)), ((x, south), (x, north))):
        length = GEOD.inv(*back.transform(*a), *back.transform(*b))[2]
        assert length == pytest.approx(1000, rel=0.01)
    distance = GEOD.inv(longitude, latitude, *tile.lonlat)[2]
    assert distance <= 10 * math.sqrt(2) / 2 * 1.01  # half a pixel


@pytest.mark.parametrize(
    ("place", "zone"),
    [((2.3, 48.9), 31), ((-54.5, -25.4), 21), ((179.99, 10.0), 60), ((-179.99, 10.0), 1), ((180.0, -10.0), 1)],
)
def test_zones_are_those_of_proj(place: tuple[float, float], zone: int) -> None:
    crs = CRS(utm_crs(*place))
    assert crs.utm_zone == f"{zone}{'N' if place[1] >= 0 else 'S'}"
    area = crs.area_of_use
    longitude = -180.0 if place[0] == 180 else place[0]
    assert area.west <= longitude <= area.east and area.south <= place[1] <= area.north


def test_which_systems_count_in_metres() -> None:
    assert is_metric_at("EPSG:32631", 3.0, 50.0) and is_metric_at("EPSG:2154", 2.0, 46.0)
    assert not is_metric_at("EPSG:4326", 3.0, 50.0)
    assert not is_metric_at("EPSG:3857", 3.0, 50.0)  # a metre of it is 64 cm there
    assert not is_metric_at("EPSG:2263", -74.0, 40.7)  # feet
    assert not is_metric_at("EPSG:32631", 30.0, 0.0)  # far outside its zone
    assert not is_metric("EPSG:4326", shapely.box(0, 0, 1, 1))


@settings(max_examples=15, deadline=None)
@given(
    st.floats(-179, 170), st.floats(-75, 75), st.floats(0.01, 0.4), st.floats(0.01, 0.4), st.floats(0.3, 1.0),
    st.integers(0, 10**6),
)  # fmt: skip
def test_a_grid_covers_its_region(
    west: float, south: float, wide: float, tall: float, overlap: float, seed: int
) -> None:
    """Every place of the region lies in a tile; no tile lies wholly outside; tiles are one stride apart."""
    region = shapely.box(west, south, west + wide, south + tall)
    tile_m = 2000.0
    [grid] = lonlat_grids(region, tile_m, tile_m * overlap, 64)
    tiles = list(grid)
    assert len(tiles) == len(grid) and len({tile.id for tile in tiles}) == len(tiles)
    shape = projected(region, "OGC:CRS84", grid.crs)
    squares = shapely.box(*np.array([tile.bounds for tile in tiles]).T)
    assert shapely.intersects(shape, squares).all()
    draw = np.random.default_rng(seed)
    places = np.column_stack([draw.uniform(west, west + wide, 50), draw.uniform(south, south + tall, 50)])
    x, y = Transformer.from_crs("OGC:CRS84", grid.crs, always_xy=True).transform(*places.T)
    every = shapely.union_all(squares).buffer(1e-6)
    assert shapely.contains_xy(every, x, y).all()
    a, b = grid.bounds_of(0, 0), grid.bounds_of(1, 1)
    assert b[0] - a[0] == pytest.approx(tile_m * overlap) and a[3] - b[3] == pytest.approx(tile_m * overlap)


def test_cells_are_strides_about_the_middles_of_tiles() -> None:
    [grid] = lonlat_grids(shapely.box(10.0, 50.0, 10.1, 50.1), 1000.0, 250.0, 50)
    for tile in list(grid)[:: len(grid) // 7]:
        x, y = applied(grid.transform, tile.column + 0.5, tile.row + 0.5)
        west, south, east, north = tile.bounds
        assert (x, y) == pytest.approx(((west + east) / 2, (south + north) / 2))
    assert grid.gsd_m == 20.0


def test_a_wide_region_has_a_grid_a_zone() -> None:
    """No place twice, none missing, each zone its own tiles."""
    region = shapely.box(-10.0, 45.0, 20.0, 45.4)
    grids = list(lonlat_grids(region, 10_000.0, 10_000.0, 16))
    assert [grid.crs for grid in grids] == [f"EPSG:326{zone}" for zone in range(29, 35)]
    places = [tile.lonlat for grid in grids for tile in grid]
    for grid in grids:
        zone = int(grid.crs[-2:])
        inside = [(longitude - (6 * zone - 186)) for longitude, _ in (tile.lonlat for tile in grid)]
        assert min(inside) > -0.001 and max(inside) < 6.001
    area = len(places) * 100.0  # km2
    exact = abs(GEOD.polygon_area_perimeter([-10, 20, 20, -10], [45, 45, 45.4, 45.4])[0]) / 1e6
    assert exact < area < 1.6 * exact  # cells at the border reach over


def test_a_region_across_the_date_line_is_one_grid() -> None:
    [grid] = lonlat_grids(shapely.box(179.9, -17.0, 180.1, -16.9), 1000.0, 1000.0, 10)
    longitudes = np.array([tile.lonlat[0] for tile in grid])
    assert (np.abs(longitudes) > 179.8).all() and (longitudes > 0).any() and (longitudes < 0).any()


def test_a_polygon_keeps_the_tiles_that_touch_it() -> None:
    triangle = shapely.Polygon([(0, 0), (10_000, 0), (0, 10_000)])
    crs = "EPSG:32631"
    moved = shapely.transform(triangle, lambda points: points + np.array([500_000, 5_000_000]))
    grid = make_grid(crs, moved, 1000.0, 1000.0, 10)
    assert grid.shape == (10, 10)
    for row in range(10):
        for column in range(10):
            south_west = (column * 1000, 9000 - row * 1000)
            assert grid.kept[row, column] == (sum(south_west) < 10_000)


def test_too_many_tiles() -> None:
    with pytest.raises(ConfigError, match=r"at most 5,000,000 expected: choose a larger --stride"):
        list(lonlat_grids(shapely.box(0, 0, 5, 5), 100.0, 10.0, 16))
    assert MOST_TILES == 5_000_000


def test_tiles_of_a_web_map_lie_where_morecantile_says() -> None:
    """An independent source of bounds: a square of Web Mercator over the equator is nearly one of UTM there."""
    matrix = morecantile.tms.get("WebMercatorQuad")
    box = matrix.bounds(morecantile.Tile(x=66, y=63, z=7))
    [grid] = lonlat_grids(shapely.box(*box), 50_000.0, 50_000.0, 100)
    west, _, _, north = projected(shapely.box(*box), "OGC:CRS84", grid.crs).bounds
    first = next(iter(grid)).bounds
    assert 0 <= west - first[0] <= 500 and 0 <= first[3] - north <= 500

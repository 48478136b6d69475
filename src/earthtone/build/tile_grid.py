"""Where tiles lie: grids of squares, so many metres a side at every latitude, over a region or a raster.

A grid lies in one coordinate system whose unit is a metre on the ground, within one per cent: that of the raster where
it is such a one (its pixels then stay as they are), else the UTM zone of the region, beyond 84 N and 80 S the polar
stereographic one (UPS). A region too wide for one zone gets a grid a zone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio import Affine

from earthtone.errors import ConfigError, DataError, one_line
from earthtone.geo import says_crs

Bounds = tuple[float, float, float, float]
LONLAT = "OGC:CRS84"
#: How far a metre of a coordinate system may be from one on the ground.
TOLERANCE = 0.01
MOST_TILES = 5_000_000
_NORTHMOST, _SOUTHMOST = 84.0, -80.0  # of UTM
_PARTS = 32  # of an edge that is bent when it is projected
_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of ground."""

    id: str
    bounds: Bounds
    """West, south, east, north in `crs`."""
    crs: str
    """Such as EPSG:32621."""
    lonlat: tuple[float, float]
    """Longitude and latitude of its centre, in degrees (WGS 84)."""
    row: int = 0
    column: int = 0
    moment: datetime | None = None
    """(UTC) that imagery shall be near to, where that is asked for."""

    @property
    def side_m(self) -> float:
        """Return the metres along a side."""
        return self.bounds[2] - self.bounds[0]


@dataclass(frozen=True)
class TileGrid:
    """A grid of square tiles, row 0 in the north; those that do not touch the region are left out."""

    crs: str
    west: float
    """Of the first tile, in `crs`."""
    north: float
    shape: tuple[int, int]
    """Rows and columns."""
    tile_m: float
    """Metres along a tile's side."""
    stride_m: float
    """From one tile to the next; smaller than a tile where they overlap."""
    pixels: int
    """Along a tile's side."""
    kept: NDArray[np.bool_] = field(repr=False, compare=False)
    """(rows, columns): which tiles there are."""

    def __len__(self) -> int:
        return int(np.count_nonzero(self.kept))

    @property
    def transform(self) -> Affine:
        """Return where the cells of (column, row) lie: squares of one stride about the middles of the tiles."""
        margin = (self.tile_m - self.stride_m) / 2
        return Affine(self.stride_m, 0.0, self.west + margin, 0.0, -self.stride_m, self.north - margin)

    @property
    def gsd_m(self) -> float:
        """Return metres a pixel."""
        return self.tile_m / self.pixels

    def bounds_of(self, row: int, column: int) -> Bounds:
        """Return west, south, east and north of a tile in `crs`."""
        west, north = self.west + column * self.stride_m, self.north - row * self.stride_m
        return west, north - self.tile_m, west + self.tile_m, north

    def __iter__(self) -> Iterator[Tile]:
        """Yield the tiles, row by row from the north."""
        name, digits = short_name(self.crs), [len(str(max(1, count - 1))) for count in self.shape]
        for row in np.flatnonzero(self.kept.any(axis=1)).tolist():
            columns = np.flatnonzero(self.kept[row])
            middle = self.tile_m / 2
            x, y = self.west + columns * self.stride_m + middle, self.north - row * self.stride_m - middle
            longitudes, latitudes = to_lonlat(self.crs).transform(x, np.full(len(x), y))
            for column, longitude, latitude in zip(columns.tolist(), longitudes, latitudes, strict=True):
                yield Tile(
                    f"{name}-{row:0{digits[0]}d}-{column:0{digits[1]}d}",
                    self.bounds_of(row, column),
                    self.crs,
                    (float(longitude), float(latitude)),
                    row,
                    column,
                )


def make_grid(
    crs: str,
    shape: Any,
    tile_m: float,
    stride_m: float,
    pixels: int,
    *,
    snap: Affine | None = None,
    whole: bool = False,
    strip: tuple[float, float] | None = None,
) -> TileGrid:
    """Return the grid over a polygon `shape` in `crs`, from its north-west corner.

    `snap` is the transform of a raster whose pixels the grid shall keep: the corner moves out to the next pixel's. With
    `whole` no tile hangs over the bounds of the shape; else the cells about the middles of the tiles cover it, so that
    tiles that overlap reach beyond. `strip` are the longitudes between which the middle of a tile must lie. Raises
    ConfigError for more than MOST_TILES.
    """
    west, south, east, north = shape.bounds
    extents, margin = (north - south, east - west), 0.0
    if not whole:
        margin = (tile_m - stride_m) / 2
        west, north = west - margin, north + margin
    if snap is not None:
        west = snap.c + math.floor((west - snap.c) / abs(snap.a) + 1e-6) * abs(snap.a)
        north = snap.f + math.ceil((north - snap.f) / abs(snap.e) - 1e-6) * abs(snap.e)
    if whole:
        rows, columns = (max(0, math.floor((extent - tile_m) / stride_m + 1e-6)) + 1 for extent in extents)
    else:
        reach = (north - margin - south, east - west - margin)
        rows, columns = (max(1, math.ceil(extent / stride_m - 1e-6)) for extent in reach)
    if rows * columns > MOST_TILES:
        raise ConfigError(
            f"{rows:,} x {columns:,} tiles of {tile_m:g} m every {stride_m:g} m; at most {MOST_TILES:,} expected: "
            "choose a larger --stride or --metres, or a smaller --region"
        )
    grid = TileGrid(crs, west, north, (rows, columns), tile_m, stride_m, pixels, np.zeros((rows, columns), bool))
    shapely.prepare(shape)
    cells, edge = grid.transform, 1e-6 * stride_m  # cells that only share an edge with the shape do not touch it
    left = cells.c + np.arange(columns) * stride_m + edge
    for row in range(rows):
        top = cells.f - row * stride_m - edge
        squares = shapely.box(left, top - stride_m + 2 * edge, left + stride_m - 2 * edge, top)
        grid.kept[row] = shapely.intersects(shape, squares)
        if strip is not None:
            middle = stride_m / 2
            longitudes, _ = to_lonlat(crs).transform(left + middle, np.full(columns, top - middle))
            grid.kept[row] &= (np.asarray(longitudes) - strip[0]) % 360 < strip[1] - strip[0]
    return grid


# Coordinate systems: which one's unit is a metre on the ground, and where.


@cache
def to_lonlat(crs: str) -> Transformer:
    """Return what takes (x, y) of a coordinate system to (longitude, latitude)."""
    return Transformer.from_crs(crs, LONLAT, always_xy=True)


@cache
def between(source: str, target: str) -> Transformer:
    """Return what takes (x, y) of one coordinate system to another's."""
    return Transformer.from_crs(source, target, always_xy=True)


def read_crs(text: str, whose: str) -> CRS:
    """Return the coordinate system of a text. Raises DataError, which begins with `whose`."""
    try:
        if says_crs(text):
            return CRS.from_user_input(text)
        found = None
    except CRSError as error:
        found = error
    raise DataError(f"{whose}: its CRS is {one_line(text, 60)!r}; such as EPSG:32621 expected") from found


@cache
def crs_name(crs: str) -> str:
    """Return EPSG:32621 for whatever says the same, else the text itself."""
    found = CRS.from_user_input(crs).to_authority(min_confidence=100)
    return crs if found is None else ":".join(found)


def short_name(crs: str) -> str:
    """Return what stands in names of tiles: 32621 for EPSG:32621."""
    authority, _, code = crs.partition(":")
    return code if authority == "EPSG" and code.isdigit() else "grid"


def utm_crs(longitude: float, latitude: float) -> str:
    """Return the UTM zone of a place; near the poles UPS.

    >>> utm_crs(2.3, 48.9), utm_crs(-54.5, -25.4), utm_crs(0.0, 88.0)
    ('EPSG:32631', 'EPSG:32721', 'EPSG:5041')
    """
    if latitude > _NORTHMOST:
        return "EPSG:5041"
    if latitude < _SOUTHMOST:
        return "EPSG:5042"
    zone = int((longitude + 180) % 360 // 6) + 1
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def metre_errors(crs: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by which share 100 units east and north of places in `crs` (N) are not 100 m on the ground; the worse one.

    Infinite where a place is outside the system.
    """
    try:
        back = to_lonlat(crs)
        here, there = back.transform(x, y), [back.transform(x + 100, y), back.transform(x, y + 100)]
        metres = [np.asarray(_GEOD.inv(*here, *other)[2]) for other in there]
    except (ProjError, ValueError):
        return np.full(len(x), np.inf)
    worst: NDArray[np.float64] = np.max([np.abs(length / 100 - 1) for length in metres], axis=0)
    return np.where(np.isfinite(worst), worst, np.inf)


def metres_a_unit(crs: str, longitude: float, latitude: float) -> float:
    """Return how many metres on the ground a step of one unit north is, at a place."""
    x, y = between(LONLAT, crs).transform(longitude, latitude)
    step = 1e-3 if CRS.from_user_input(crs).is_geographic else 100.0
    here, there = (to_lonlat(crs).transform(x, y + half) for half in (-step / 2, step / 2))
    return float(_GEOD.inv(*here, *there)[2]) / step


def is_metric(crs: str, shape: Any) -> bool:
    """Return whether a unit of a coordinate system is a metre on the ground all over a shape in it."""
    if not CRS.from_user_input(crs).is_projected:
        return False
    west, south, east, north = shape.bounds
    x, y = np.meshgrid(np.linspace(west, east, 5), np.linspace(south, north, 5))
    return bool(metre_errors(crs, x.ravel(), y.ravel()).max() <= TOLERANCE)


def is_metric_at(crs: str, longitude: float, latitude: float) -> bool:
    """Return whether a unit of a coordinate system is a metre on the ground at a place."""
    if not CRS.from_user_input(crs).is_projected:
        return False
    x, y = between(LONLAT, crs).transform(longitude, latitude)
    return bool(metre_errors(crs, np.array([x]), np.array([y])).max() <= TOLERANCE)


def projected(shape: Any, source: str, target: str) -> Any:
    """Return a polygon in another coordinate system, its edges bent as they are there."""
    west, south, east, north = shape.bounds
    longest = max(east - west, north - south) / _PARTS
    dense = shapely.segmentize(shape, longest) if longest > 0 else shape
    moved = shapely.transform(dense, lambda points: np.column_stack(between(source, target).transform(*points.T)))
    return moved if moved.is_valid else shapely.make_valid(moved)


def lonlat_grids(shape: Any, tile_m: float, stride_m: float, pixels: int, *, whole: bool = False) -> Iterator[TileGrid]:
    """Yield the grids over a polygon in degrees, whose longitudes go on beyond 180: one, or one a zone.

    Raises ConfigError.
    """
    west, south, east, north = shape.bounds
    snap = pixel_grid(tile_m / pixels)
    middle = utm_crs((west + east) / 2, (south + north) / 2)
    if east - west < 30 or abs(south + north) > 160:
        one = projected(shape, LONLAT, middle)
        if np.isfinite(one.bounds).all() and is_metric(middle, one):
            yield make_grid(middle, one, tile_m, stride_m, pixels, snap=snap, whole=whole)
            return
    for first in range(math.floor(west / 6) * 6, math.ceil(east / 6) * 6, 6):
        part = shape.intersection(shapely.box(first, _SOUTHMOST, first + 6, _NORTHMOST))
        if not part.is_empty and part.area:
            crs = utm_crs(first + 3, (south + north) / 2)
            moved = projected(part, LONLAT, crs)
            yield make_grid(crs, moved, tile_m, stride_m, pixels, snap=snap, strip=(first, first + 6))
    for low, high in ((_NORTHMOST, 90.0), (-90.0, _SOUTHMOST)):
        part = shape.intersection(shapely.box(west, low, east, high))
        if not part.is_empty and part.area:
            crs = utm_crs(0.0, (low + high) / 2)
            yield make_grid(crs, projected(part, LONLAT, crs), tile_m, stride_m, pixels, snap=snap)


def pixel_grid(gsd_m: float) -> Affine:
    """Return the transform of pixels whose edges are multiples of their width: those of many scenes in UTM."""
    return Affine(gsd_m, 0.0, 0.0, 0.0, -gsd_m, 0.0)


def tile_at(
    id: str,
    longitude: float,
    latitude: float,
    tile_m: float,
    pixels: int,
    crs: str | None = None,
    snap: Affine | None = None,
) -> Tile:
    """Return the tile about a place: in `crs`, on the pixels of the raster with the transform `snap`; else in UTM."""
    if crs is None:
        crs, snap = utm_crs(longitude, latitude), pixel_grid(tile_m / pixels)
    x, y = between(LONLAT, crs).transform(longitude, latitude)
    west, north = x - tile_m / 2, y + tile_m / 2
    if snap is not None:
        west = snap.c + round((west - snap.c) / abs(snap.a)) * abs(snap.a)
        north = snap.f + round((north - snap.f) / abs(snap.e)) * abs(snap.e)
    bounds = (west, north - tile_m, west + tile_m, north)
    middle = to_lonlat(crs).transform(west + tile_m / 2, north - tile_m / 2)
    return Tile(id, bounds, crs, (float(middle[0]), float(middle[1])))

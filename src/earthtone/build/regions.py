"""Regions and places as users write them: a bounding box, WKT, GeoJSON; a table of places."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.affinity import translate
from shapely.geometry import shape as shape_of

from earthtone.data.manifest import manifest_table, own_columns
from earthtone.data.pair import Problem, RowReader
from earthtone.errors import ConfigError, DataError
from earthtone.files import regular_file

_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_BOX = re.compile(rf"\s*\[?\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]?\s*")
_WKT = re.compile(r"\s*(?:SRID=\d+;)?\s*(MULTI)?POLYGON", re.IGNORECASE)
_MOST_BYTES = 64 * 2**20
_MOST_CORNERS = 100_000  # whether a ring crosses itself takes seconds for as many, and hours for ten times more
_EXPECTED = "west,south,east,north in degrees, a polygon as WKT, or a file of one (.geojson, .json, .wkt) expected"


def read_region(text: str | Path, option: str = "--region") -> Any:
    """Return a polygon (of shapely) in degrees of what says a region; its longitudes go on beyond 180 where it crosses.

    `170,-20,-170,-10` is a box across 180; messages name the `option`. Raises ConfigError, DataError.

    >>> read_region("170,-20,-170,-10").bounds
    (170.0, -20.0, 190.0, -10.0)
    """
    if box := _BOX.fullmatch(str(text)):
        west, south, east, north = map(float, box.groups())
        return _box(west, south, east, north, option)
    if _WKT.match(str(text)):
        return _checked(_of_wkt(str(text), option), option)
    path = Path(text)
    try:
        with regular_file(path).open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{option} {str(text)[:80]}: {error.strerror}; {_EXPECTED}") from error
    if len(data) > _MOST_BYTES:
        raise DataError(f"{path}: more than {_MOST_BYTES:,} bytes; a polygon expected")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text; {_EXPECTED}") from error
    if _WKT.match(content):
        return _checked(_of_wkt(content, str(path)), str(path))
    return _checked(_of_geojson(content, path), str(path))


def _box(west: float, south: float, east: float, north: float, option: str) -> Any:
    told = f"{option} {west:g},{south:g},{east:g},{north:g}"
    if not (-90 <= south < north <= 90):
        hint = "; the order is west,south,east,north" if -90 <= north < south <= 90 else ""
        raise ConfigError(f"{told}: from latitude {south:g} to {north:g}; -90 to 90, south first, expected{hint}")
    if not (-180 <= west <= 180 and -180 <= east <= 180) or west == east:
        raise ConfigError(
            f"{told}: from longitude {west:g} to {east:g}; two of -180 to 180 expected, such as 170,...,-170 across 180"
        )
    return shapely.box(west, south, east if east > west else east + 360, north)


def _of_wkt(text: str, name: str) -> Any:
    try:
        return shapely.from_wkt(re.sub(r"^\s*SRID=4326;", "", text))
    except shapely.errors.GEOSException as error:
        raise ConfigError(f"{name}: no WKT ({' '.join(str(error).split())[:100]}); POLYGON ((...)) expected") from error


def _of_geojson(text: str, path: Path) -> Any:
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("no object")
        _refuse_other_crs(found, path)
        kind = found.get("type")
        if kind == "FeatureCollection":
            shapes = [shape_of(one["geometry"]) for one in found["features"] if one.get("geometry")]
        else:
            shapes = [shape_of(found["geometry"] if kind == "Feature" else found)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, shapely.errors.ShapelyError) as error:
        said = " ".join(str(error).split())[:100]
        raise DataError(f"{path}: no GeoJSON ({type(error).__name__}: {said}); {_EXPECTED}") from error
    for one in shapes:
        if one.geom_type not in ("Polygon", "MultiPolygon"):
            raise DataError(f"{path}: holds a {one.geom_type}; polygons expected (places: --places)")
        _checked(one, str(path))
    return shapely.union_all(shapes)


def _refuse_other_crs(found: dict[str, Any], path: Path) -> None:
    """Raise DataError for coordinates that are no degrees, which GeoJSON before 2016 could have."""
    said = found.get("crs")
    name = said.get("properties", {}).get("name", "") if isinstance(said, dict) else ""
    if not name:
        return
    try:
        fine = CRS.from_user_input(name) in (CRS("EPSG:4326"), CRS("OGC:CRS84"))
    except CRSError:
        fine = False
    if not fine:
        raise DataError(f"{path}: its coordinates are of {str(name)[:60]!r}; longitude and latitude (WGS 84) expected")


def _checked(shape: Any, name: str) -> Any:
    """Return a polygon that is one, in degrees. Raises DataError."""
    if shape.is_empty or shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise DataError(f"{name}: {'nothing' if shape.is_empty else shape.geom_type}; a polygon expected")
    points: NDArray[np.float64] = shapely.get_coordinates(shape)
    if len(points) > _MOST_CORNERS:
        raise DataError(
            f"{name}: {len(points):,} corners; at most {_MOST_CORNERS:,} expected: simplify the polygon, to a "
            "hundredth of a degree for a country"
        )
    if not np.isfinite(points).all():
        raise DataError(f"{name}: coordinates that are no numbers; degrees expected")
    longest, highest = np.abs(points).max(axis=0).tolist()
    if longest > 180 or highest > 90:
        swapped = "; they look swapped, the order is longitude, latitude" if highest <= 180 and longest <= 90 else ""
        raise DataError(
            f"{name}: longitudes to {longest:g}, latitudes to {highest:g}; at most 180 and 90 expected{swapped}"
        )
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            if ring.is_empty:
                raise DataError(f"{name}: an empty part; a polygon without any expected")
            steps = np.abs(np.diff(np.asarray(ring.coords)[:, 0]))
            if steps.max() > 180:
                raise DataError(
                    f"{name}: an edge of {steps.max():g} degrees of longitude: it crosses 180; cut the polygon there "
                    "into a MultiPolygon, as RFC 7946 says"
                )
    if not shape.is_valid:
        why = shapely.is_valid_reason(shape)
        raise DataError(
            f"{name}: no plain polygon ({why}: longitude latitude); one that does not cross itself expected"
        )
    if not shape.area:
        raise DataError(f"{name}: a polygon without an area; one with some expected")
    return together(shape)


def together(shape: Any) -> Any:
    """Return a polygon that was cut at 180 as one whose longitudes go on beyond."""
    west, _, east, _ = shape.bounds
    if east - west <= 180:
        return shape
    parts = [translate(part, 360) if part.bounds[2] <= 0 else part for part in shapely.get_parts(shape)]
    moved = shapely.union_all(parts)
    return moved if moved.bounds[2] - moved.bounds[0] < east - west else shape


@dataclass(frozen=True)
class Place:
    """A row of a table of places."""

    id: str
    longitude: float
    latitude: float
    moment: datetime | None = None
    """(UTC), where it was asked for."""


def read_places(
    path: str | Path, columns: Mapping[str, str] | None = None, *, timed: bool = False
) -> tuple[list[Place], list[Problem]]:
    """Return the places of a table with id, longitude and latitude, `timed` also datetime, and the rows that are none.

    A table is what a manifest may be: CSV, TSV, GeoJSON, Parquet; `columns` are its other names. Raises DataError.
    """
    path = Path(path)
    try:
        table = manifest_table(regular_file(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; a table of places expected") from error
    own = own_columns(table, columns or {}, ())
    own = {name: own[name] for name in ("id", "longitude", "latitude", "datetime") if name in own}
    reader = RowReader(path.parent, own, {}, ())
    places: list[Place] = []
    problems: list[Problem] = []
    for row in table.rows(set(own.values())):
        item = reader.read(row)
        if isinstance(item, Problem):
            problems.append(item)
        elif item.longitude is None or item.latitude is None:
            why = next((remark.detail for remark in item.remarks), "longitude and latitude are empty")
            problems.append(Problem(item.id, "no place", f"{row.where}: {why}; the row is left out"))
        elif timed and item.datetime is None:
            why = f"{row.where}: datetime is empty, and imagery near to it is asked for; the row is left out"
            problems.append(Problem(item.id, "no time", why))
        else:
            places.append(Place(item.id, item.longitude, item.latitude, item.datetime if timed else None))
    if not places:
        why = f"; the first row: {problems[0].detail}" if problems else ""
        raise DataError(f"{path}: no row with a place{why}; id, longitude and latitude expected")
    return places, problems

"""GeoJSON (RFC 7946) tables: a FeatureCollection of points, whose properties are the columns."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from earthtone.data.cell import clipped
from earthtone.data.row import BAD_ROW, Row
from earthtone.errors import DataError
from earthtone.files import regular_file

_WGS84 = ("CRS84", "EPSG::4326", "EPSG:4326")
_MOST_BYTES = 2**28  # of a file: in memory it takes up to thirty times as much
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class GeoJsonTable:
    """A table held whole in memory, several times the size of the file: very many rows belong into GeoParquet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._features = _features(path)
        names: dict[str, None] = {}
        self.has_points = False
        for feature in self._features:
            if isinstance(feature, dict):
                names.update(dict.fromkeys(_cells(feature)))
                self.has_points = self.has_points or feature.get("geometry") is not None
        self.columns = tuple(name for name in names if name)
        self.carried = self.columns

    def __len__(self) -> int:
        return len(self._features)

    def rows(self, names: Collection[str]) -> Iterator[Row]:
        """Yield every feature, in the file's order; its point is (longitude, latitude)."""
        for number, feature in enumerate(self._features, 1):
            place = f"feature {number}"
            if not isinstance(feature, dict) or not isinstance(feature.get("properties") or {}, dict):
                yield Row(place, {}, fault=(BAD_ROW, "not a GeoJSON Feature with properties"))
                continue
            geometry = feature.get("geometry")
            if geometry is None:
                yield Row(place, _cells(feature))
                continue
            point, fault = _point(geometry)
            yield Row(place, _cells(feature), point, point_fault=fault)


def _cells(feature: dict[str, Any]) -> dict[str, Any]:
    """Return the properties; the feature's own id counts as one where they have none."""
    properties = feature.get("properties")
    cells = {"id": feature["id"]} if "id" in feature else {}
    return cells | properties if isinstance(properties, dict) else cells


def _point(geometry: object) -> tuple[tuple[object, object] | None, str | None]:
    if not isinstance(geometry, dict) or geometry.get("type") != "Point":
        found = geometry.get("type") if isinstance(geometry, dict) else geometry
        return None, f"the geometry is {clipped(found)}; a Point was expected"
    coordinates = geometry.get("coordinates")
    if coordinates == []:  # an empty point: the place is unknown
        return None, None
    if not isinstance(coordinates, list) or len(coordinates) not in (2, 3):
        return None, f"the point is {clipped(coordinates)}; [longitude, latitude] was expected"
    return (coordinates[0], coordinates[1]), None


def _features(path: Path) -> list[Any]:
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise DataError(
                f"{path}: a GeoJSON file of {size:,} bytes; at most {_MOST_BYTES:,} were expected, since it is held in "
                "memory whole; write it as GeoParquet or CSV"
            )
        text = regular_file(path).read_text(encoding="utf-8-sig")
        document = json.loads(text)
        if _LONE_SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, byte {error.start}: not UTF-8 text; save the GeoJSON as UTF-8") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: holds \\u escapes that are half a character; write the GeoJSON anew") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}; JSON was expected") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); a GeoJSON FeatureCollection was expected") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a readable GeoJSON file was expected") from error
    return _checked(document, path)


def _checked(document: object, path: Path) -> list[Any]:
    kind = document.get("type") if isinstance(document, dict) else type(document).__name__
    features = document.get("features") if isinstance(document, dict) else None
    if kind != "FeatureCollection" or not isinstance(features, list):
        raise DataError(f"{path}: found JSON of type {clipped(kind)}; a GeoJSON FeatureCollection was expected")
    crs = document.get("crs") if isinstance(document, dict) else None
    if crs is not None and not json.dumps(crs).rstrip('"}] ').endswith(_WGS84):
        raise DataError(f"{path}: coordinates are in {clipped(crs)}; WGS 84 longitude and latitude were expected")
    return features

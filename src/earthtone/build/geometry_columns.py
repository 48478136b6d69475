"""Geometries as columns of GeoParquet 1.1: points in well-known binary with their boxes, and the file's own words."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from earthtone.files import atomic_path

MOST_GROUP_ROWS = 65_536
_WKB_POINT = np.dtype([("order", "u1"), ("kind", "<u4"), ("x", "<f8"), ("y", "<f8")])
Degrees = NDArray[np.float64]
#: OGC:CRS84, longitude before latitude, as PROJJSON: what readers take that do not know GeoParquet's default.
CRS84: Mapping[str, Any] = {
    "$schema": "https://proj.org/schemas/v0.7/projjson.schema.json",
    "type": "GeographicCRS",
    "name": "WGS 84 (CRS84)",
    "datum_ensemble": {
        "name": "World Geodetic System 1984 ensemble",
        "members": [
            {"name": f"World Geodetic System 1984 ({name})", "id": {"authority": "EPSG", "code": code}}
            for name, code in (
                ("Transit", 1166), ("G730", 1152), ("G873", 1153), ("G1150", 1154), ("G1674", 1155), ("G1762", 1156),
                ("G2139", 1309), ("G2296", 1383),
            )
        ],
        "ellipsoid": {"name": "WGS 84", "semi_major_axis": 6378137, "inverse_flattening": 298.257223563},
        "accuracy": "2.0",
        "id": {"authority": "EPSG", "code": 6326},
    },
    "coordinate_system": {
        "subtype": "ellipsoidal",
        "axis": [
            {"name": "Geodetic longitude", "abbreviation": "Lon", "direction": "east", "unit": "degree"},
            {"name": "Geodetic latitude", "abbreviation": "Lat", "direction": "north", "unit": "degree"},
        ],
    },
    "scope": "Not known.",
    "area": "World.",
    "bbox": {"south_latitude": -90, "west_longitude": -180, "north_latitude": 90, "east_longitude": 180},
    "id": {"authority": "OGC", "code": "CRS84"},
}  # fmt: skip


def of_points(box: Sequence[float] | None) -> dict[str, Any]:
    """Return what a file says of a column of points, with their boxes in `bbox`; `box` is that of all, null of none."""
    geometry: dict[str, Any] = {"geometry_types": [] if box is None else ["Point"], "crs": CRS84}
    if box is not None:
        geometry["bbox"] = list(box)
    return geometry | {"covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}}


def write_geometries(
    path: Path, groups: Iterable[pa.Table], geometry: Mapping[str, Any], more: Mapping[bytes, bytes] | None = None
) -> None:
    """Write row groups whose column `geometry` holds well-known binary, whole or not at all."""
    geo = {
        "version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", **geometry}},
    }  # fmt: skip
    with atomic_path(path) as temporary:
        writer = None
        try:
            for group in groups:
                if writer is None:
                    texts = [entry.name for entry in group.schema if pa.types.is_string(entry.type)]
                    schema = group.schema.with_metadata({b"geo": json.dumps(geo).encode(), **(more or {})})
                    writer = pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=texts)
                writer.write_table(group.cast(writer.schema), row_group_size=MOST_GROUP_ROWS)
        finally:
            if writer is not None:
                writer.close()


def point_columns(longitude: Degrees, latitude: Degrees, fine: NDArray[np.bool_]) -> tuple[Any, Any]:
    """Return N points in well-known binary, and the box around each; null where a row has no place (not `fine`)."""
    points = np.zeros(len(fine), _WKB_POINT)
    points["order"], points["kind"], points["x"], points["y"] = 1, 1, longitude, latitude
    there = pa.array(fine)
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(_WKB_POINT.itemsize), len(points), [None, pa.py_buffer(points)]
    )
    geometry = pc.if_else(there, fixed.cast(pa.binary()), pa.scalar(None, pa.binary()))
    sides = [pa.array(values) for values in (longitude, latitude, longitude, latitude)]
    names = ["xmin", "ymin", "xmax", "ymax"]
    return geometry, pa.StructArray.from_arrays(sides, names, mask=pa.array(~fine))


def places_of(table: Any) -> tuple[Degrees, Degrees, NDArray[np.bool_]]:
    """Return longitudes and latitudes, NaN where there is none, and whether there is a place."""
    longitude, latitude = (
        np.asarray(pc.fill_null(table[name], np.nan).to_numpy(), np.float64) for name in ("longitude", "latitude")
    )
    return longitude, latitude, np.isfinite(longitude) & np.isfinite(latitude)

"""GeoParquet 1.1: a table of embeddings, in the columns that other programs look for, and the tiles of a map.

Embedding Atlas takes `x`, `y`, `text`, `image` and `audio`; lonboard, DuckDB and QGIS the points in `geometry`.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from earthtone.atlas.embeddings import COLUMNS, PLANE, VECTOR, EmbeddingTable
from earthtone.build.tile_grid import read_crs
from earthtone.errors import DataError
from earthtone.files import atomic_path
from earthtone.progress import progress

#: What the file has beside the columns of the table.
ADDED = ("lon", "lat", "audio", "image", "text", "geometry", "bbox")
_OF = b"earthtone"  # in the file's metadata: of which state of which table it is
_GROUP_BYTES = 64 * 2**20  # vectors of a row group, which is in memory at once
_MOST_GROUP_ROWS = 65_536
_TEXT = ("source", "attribution")  # behind the id and the free columns in `text`
_WKB_POINT = np.dtype([("order", "u1"), ("kind", "<u4"), ("x", "<f8"), ("y", "<f8")])
_MOST_KEPT = 1000  # different licences and attributions
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


@dataclass
class Extent:
    """Where and when the rows of a table are, and under what terms."""

    rows: int = 0
    places: int = 0
    west: float = np.inf
    south: float = np.inf
    east: float = -np.inf
    north: float = -np.inf
    first: datetime | None = None
    last: datetime | None = None
    tiles: int = 0
    """Rows with bounds of their own."""
    licenses: dict[str, int] = field(default_factory=dict)
    attributions: dict[str, int] = field(default_factory=dict)
    modalities: dict[str, int] = field(default_factory=dict)

    @property
    def bbox(self) -> list[float] | None:
        """West, south, east, north in degrees; None where no row has a place. One across the antimeridian is wide."""
        return [self.west, self.south, self.east, self.north] if self.places else None


def extent_of(table: EmbeddingTable) -> Extent:
    """Return the extent of all rows, read a block at once."""
    found = Extent()
    names = ["longitude", "latitude", "datetime", "license", "attribution", "modality", "west"]
    for batch in table.batches(names):
        found.rows += len(batch)
        longitude, latitude, fine = _places(batch)
        if fine.any():
            found.places += int(fine.sum())
            found.west, found.east = min(found.west, longitude[fine].min()), max(found.east, longitude[fine].max())
            found.south, found.north = min(found.south, latitude[fine].min()), max(found.north, latitude[fine].max())
        try:
            times = pc.min_max(batch["datetime"]).as_py()
        except (OverflowError, ValueError) as error:
            raise DataError(f"{table.path}: a datetime beyond all years; embed the data again") from error
        if times["min"] is not None:
            found.first = min(found.first or times["min"], times["min"])
            found.last = max(found.last or times["max"], times["max"])
        found.tiles += len(batch) - batch["west"].null_count
        for name, counts in (
            ("license", found.licenses), ("attribution", found.attributions), ("modality", found.modalities),
        ):  # fmt: skip
            for each in pc.value_counts(batch[name]).to_pylist():
                text = each["values"] or ""
                if text in counts or len(counts) < _MOST_KEPT:
                    counts[text] = counts.get(text, 0) + each["counts"]
    found.west, found.south, found.east, found.north = map(float, (found.west, found.south, found.east, found.north))
    return found


def write_geoparquet(table: EmbeddingTable, path: Path, extent: Extent, state: str) -> None:
    """Write all rows with what `ADDED` names, whole or not at all, a row group in memory at once.

    `state` tells of what table it is; see `geoparquet_state`. Raises DataError where it cannot be written.
    """
    free = free_names(table)
    geometry: dict[str, Any] = {"geometry_types": ["Point"] if extent.places else [], "crs": CRS84}
    if extent.bbox is not None:
        geometry["bbox"] = extent.bbox
    geometry["covering"] = {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}}
    rows = group_rows(table.card.dimensions)
    groups = progress(_groups(table, rows, free), total=-(-extent.rows // rows), label=path.name, unit="group")
    _write(path, groups, geometry, {_OF: json.dumps({"table": state}).encode()})


def write_tiles(
    path: Path,
    columns: Mapping[str, Sequence[object] | NDArray[Any]],
    bounds: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    crs: str,
) -> None:
    """Write a row a tile: `columns` (N) and its square as `geometry`, of `bounds` (west, south, east, north) in `crs`.

    Raises DataError.
    """
    west, south, east, north = bounds
    squares = [bytes(square) for square in polygons(*bounds)]
    geometry = {
        "geometry_types": ["Polygon"], "edges": "planar", "orientation": "counterclockwise",
        "bbox": [float(west.min()), float(south.min()), float(east.max()), float(north.max())],
        "crs": read_crs(crs, str(path)).to_json_dict(),
    }  # fmt: skip
    _write(path, [pa.table({**columns, "geometry": pa.array(squares, pa.binary())})], geometry)


def _write(
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
                writer.write_table(group.cast(writer.schema), row_group_size=_MOST_GROUP_ROWS)
        finally:
            if writer is not None:
                writer.close()


def polygons(west: NDArray[Any], south: NDArray[Any], east: NDArray[Any], north: NDArray[Any]) -> NDArray[np.uint8]:
    """Return rectangles (N) as well-known binary (N, 93): one ring, counterclockwise from the south-west."""
    head = struct.pack("<BIII", 1, 3, 1, 5)
    ring = np.stack([west, south, east, south, east, north, west, north, west, south], axis=1).astype("<f8")
    out = np.empty((len(west), len(head) + 80), np.uint8)
    out[:, : len(head)] = np.frombuffer(head, np.uint8)
    out[:, len(head) :] = ring.view(np.uint8).reshape(len(west), 80)
    return out


def geoparquet_state(path: Path) -> str | None:
    """Return of what state of a table a file of ours was written, None where it cannot be told."""
    try:
        said = json.loads((pq.read_metadata(path).metadata or {})[_OF])["table"]
        return said if isinstance(said, str) else None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def group_rows(dimensions: int) -> int:
    """Return how many rows of vectors with so many numbers make a row group."""
    return max(1024, min(_MOST_GROUP_ROWS, _GROUP_BYTES // (4 * dimensions)))


def free_names(table: EmbeddingTable) -> dict[str, str]:
    """Return what the free columns of a table are called in the file: those named as one of `ADDED` get a `_`.

    A free column `text` is the file's `text`.
    """
    free = [name for name in table.free_names if name != "text"]
    taken = {*table.names, *ADDED}
    names = {}
    for name in free:
        new = name
        while new in ADDED or (new != name and new in taken):
            new += "_"
        taken.add(new)
        names[name] = new
    return names


def _groups(table: EmbeddingTable, rows: int, free: Mapping[str, str]) -> Iterator[pa.Table]:
    """Yield the file's rows, `rows` at once."""
    waiting: list[Any] = []
    count = 0
    for batch in table.batches(rows=min(rows, 8192)):
        while len(batch):
            part = batch.slice(0, rows - count)
            waiting.append(part)
            count, batch = count + len(part), batch.slice(len(part))
            if count == rows:
                yield _group(pa.Table.from_batches(waiting), free)
                waiting, count = [], 0
    if waiting:
        yield _group(pa.Table.from_batches(waiting), free)


def _group(table: pa.Table, free: Mapping[str, str]) -> pa.Table:
    """Return rows of the table as rows of the file."""
    table = table.combine_chunks()
    columns = {name: table[name] for name in (*COLUMNS, *PLANE)}
    columns |= {new: table[name] for name, new in free.items()}
    media = table["media"]
    for name in ("audio", "image"):
        columns[name] = pc.if_else(pc.equal(table["modality"], name), media, pa.scalar(None, media.type))
    columns["text"] = table["text"] if "text" in table.schema.names else _texts(table, list(free))
    columns["lon"], columns["lat"] = table["longitude"], table["latitude"]
    columns["geometry"], columns["bbox"] = _geometry(table)
    columns[VECTOR] = table[VECTOR]
    return pa.table(columns)


def _texts(table: pa.Table, free: Sequence[str]) -> Any:
    """Return what a row's text is where the data has none: its id, free columns and source, as far as there."""
    parts = [table[name].combine_chunks().cast(pa.string()) for name in ("id", *free, *_TEXT)]
    parts = [pc.if_else(pc.equal(part, ""), pa.scalar(None, pa.string()), part) for part in parts]
    return pc.binary_join_element_wise(*parts, " · ", null_handling="skip")


def _geometry(table: pa.Table) -> tuple[Any, Any]:
    """Return the points in well-known binary, and the box around each; null where a row has no place."""
    longitude, latitude, fine = _places(table)
    points = np.zeros(len(table), _WKB_POINT)
    points["order"], points["kind"], points["x"], points["y"] = 1, 1, longitude, latitude
    there = pa.array(fine)
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(_WKB_POINT.itemsize), len(points), [None, pa.py_buffer(points)]
    )
    geometry = pc.if_else(there, fixed.cast(pa.binary()), pa.scalar(None, pa.binary()))
    sides = [pa.array(values) for values in (longitude, latitude, longitude, latitude)]
    names = ["xmin", "ymin", "xmax", "ymax"]
    return geometry, pa.StructArray.from_arrays(sides, names, mask=pa.array(~fine))


def _places(table: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return longitudes and latitudes, NaN where there is none, and whether there is a place."""
    longitude, latitude = (
        np.asarray(pc.fill_null(table[name], np.nan).to_numpy(), np.float64) for name in ("longitude", "latitude")
    )
    return longitude, latitude, np.isfinite(longitude) & np.isfinite(latitude)

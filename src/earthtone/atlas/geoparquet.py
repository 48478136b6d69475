"""GeoParquet 1.1: a table of embeddings, in the columns that other programs look for, and the tiles of a map.

Embedding Atlas takes `x`, `y`, `text`, `image` and `audio`; lonboard, DuckDB and QGIS the points in `geometry`.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from earthtone.atlas.embeddings import CLUSTER, COLUMNS, PLANE, VECTOR, EmbeddingTable
from earthtone.build.geometry_columns import MOST_GROUP_ROWS, of_points, places_of, point_columns, write_geometries
from earthtone.build.tile_grid import read_crs
from earthtone.errors import DataError
from earthtone.progress import progress

#: What the file has beside the columns of the table.
ADDED = ("lon", "lat", "audio", "image", "text", "geometry", "bbox")
_OF = b"earthtone"  # in the file's metadata: of which state of which table it is
_GROUP_BYTES = 64 * 2**20  # vectors of a row group, which is in memory at once
_TEXT = ("source", "attribution")  # behind the id and the free columns in `text`
_MOST_KEPT = 1000  # different licences and attributions


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
        longitude, latitude, fine = places_of(batch)
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
    rows = group_rows(table.card.dimensions)
    groups = progress(_groups(table, rows, free), total=-(-extent.rows // rows), label=path.name, unit="group")
    write_geometries(path, groups, of_points(extent.bbox), {_OF: json.dumps({"table": state}).encode()})


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
    write_geometries(path, [pa.table({**columns, "geometry": pa.array(squares, pa.binary())})], geometry)


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
    return max(1024, min(MOST_GROUP_ROWS, _GROUP_BYTES // (4 * dimensions)))


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
    clusters = [CLUSTER] if CLUSTER in table.schema.names else []
    columns = {name: table[name] for name in (*COLUMNS, *PLANE, *clusters)}
    columns |= {new: table[name] for name, new in free.items()}
    media = table["media"]
    for name in ("audio", "image"):
        columns[name] = pc.if_else(pc.equal(table["modality"], name), media, pa.scalar(None, media.type))
    columns["text"] = table["text"] if "text" in table.schema.names else _texts(table, list(free))
    columns["lon"], columns["lat"] = table["longitude"], table["latitude"]
    columns["geometry"], columns["bbox"] = point_columns(*places_of(table))
    columns[VECTOR] = table[VECTOR]
    return pa.table(columns)


def _texts(table: pa.Table, free: Sequence[str]) -> Any:
    """Return what a row's text is where the data has none: its id, free columns and source, as far as there."""
    parts = [table[name].combine_chunks().cast(pa.string()) for name in ("id", *free, *_TEXT)]
    parts = [pc.if_else(pc.equal(part, ""), pa.scalar(None, pa.string()), part) for part in parts]
    return pc.binary_join_element_wise(*parts, " · ", null_handling="skip")

"""Rows as numbers for the page: columns as codes and numbers, where rows lie, and arrays packed as one answer."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from earthtone.atlas.embeddings import CLUSTER, LOOK_COLUMN, PLANE, EmbeddingTable
from earthtone.serve.answers import Column

MOST_VALUES = 200
"""Of a category; a text column with more is none, and is not offered."""
NONE = 65_535
"""The code of a row without a value."""
_NUMBERS_FROM = 12  # different values, from which on a column of numbers is no category
MAGIC = b"ETP1"
_TYPES = {"<f4": "f4", "|u1": "u1", "<u2": "u2", "<u4": "u4"}
_OWN = {"modality": "category", "datetime": "time", "seconds": "number", "source": "category", "license": "category"}


@dataclass(frozen=True)
class ColumnValues:
    """One column of all rows (N): codes (uint16) into `values`, or numbers (float32, NaN where there is none)."""

    name: str
    kind: Literal["category", "number", "time"]
    array: NDArray[Any]
    values: tuple[str, ...] = ()

    def described(self) -> Column:
        """Return what the page is told of it beforehand."""
        if self.kind == "category":
            return Column(name=self.name, kind=self.kind, values=list(self.values))
        there = self.array[np.isfinite(self.array)]
        low, high = (float(there.min()), float(there.max())) if len(there) else (None, None)
        return Column(name=self.name, kind=self.kind, min=low, max=high)


def column_names(table: EmbeddingTable) -> list[str]:
    """Return the columns that may be worth a colour or a filter."""
    clusters = [CLUSTER] if table.has_clusters else []
    return [*_OWN, *clusters, *(name for name in table.free_names if name != LOOK_COLUMN)]


def read_column(table: EmbeddingTable, name: str) -> ColumnValues | None:
    """Return a column as numbers; None where it is text with too many values, or is empty. Raises DataError."""
    column = table.columns([name])[name].combine_chunks()
    if len(column) == column.null_count:
        return None
    if pa.types.is_timestamp(column.type):
        days = column.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64) / 86_400e6
        return ColumnValues(name, "time", days.astype(np.float32))
    if pa.types.is_integer(column.type):  # clusters, from 1 on
        codes = pc.fill_null(column.cast(pa.int64()), NONE + 1).to_numpy(zero_copy_only=False) - 1
        most = int(codes[codes < NONE].max())
        return ColumnValues(name, "category", codes.astype(np.uint16), tuple(str(1 + at) for at in range(most + 1)))
    if pa.types.is_floating(column.type):
        return ColumnValues(name, "number", column.to_numpy(zero_copy_only=False).astype(np.float32))
    coded = pc.dictionary_encode(column)
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    words = [str(word) for word in coded.dictionary.to_pylist()]
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    numbers = [_number(word) for word in words]
    if None not in numbers and len(words) >= _NUMBERS_FROM:
        of_code = np.array([*numbers, math.nan], np.float32)
        return ColumnValues(name, "number", of_code[codes])
    if len(words) > MOST_VALUES:
        return None
    order = np.argsort(np.array(words, object), kind="stable")
    place = np.empty(len(words) + 1, np.uint16)
    place[order], place[-1] = np.arange(len(words)), NONE
    return ColumnValues(name, "category", place[codes], tuple(words[at] for at in order))


def _number(word: str) -> float | None:
    try:
        found = float(word)
    except ValueError:
        return None
    return found if math.isfinite(found) and "_" not in word else None


def places(table: EmbeddingTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude (N) of all rows, NaN where either is none or beyond the globe."""
    columns = table.columns(["longitude", "latitude"])
    east, north = (columns[name].to_numpy().astype(np.float64) for name in ("longitude", "latitude"))
    there = (np.abs(east) <= 360) & (np.abs(north) <= 90)  # false for NaN
    return np.where(there, east, np.nan), np.where(there, north, np.nan)


def bounds_of(east: NDArray[np.float64], north: NDArray[np.float64]) -> list[float] | None:
    """Return west, south, east, north of all places: the narrower way round, east above 180 across the antimeridian."""
    there = ~np.isnan(east)
    if not there.any():
        return None
    around = np.unique((east[there] + 180.0) % 360.0 - 180.0)
    gaps = np.diff(np.append(around, around[0] + 360.0))
    after = int(np.argmax(gaps))
    west, last = around[(after + 1) % len(around)], around[after]
    return [float(west), float(north[there].min()), float(last + 360.0 * (last < west)), float(north[there].max())]


def has_plane(table: EmbeddingTable) -> bool:
    """Return whether the rows have a place on the plane."""
    return all(name in table.names for name in PLANE)


def packed(rows: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as one answer: ETP1, uint32 length of the head, the head as JSON, the arrays.

    The head is {"rows": n, "arrays": [{"name", "dtype": f4, u1, u2 or u4, "offset": bytes from the very beginning, a
    multiple of 8, "length": numbers}]}; all numbers are little-endian.
    """
    flat = {name: np.ascontiguousarray(values, values.dtype.newbyteorder("<")) for name, values in arrays.items()}
    described = [
        {"name": name, "dtype": _TYPES[values.dtype.str], "offset": 0, "length": len(values)}
        for name, values in flat.items()
    ]
    room = len(json.dumps({"rows": rows, "arrays": described})) + 24 * len(flat) + 16  # offsets are not known yet
    start = -(-(8 + room) // 8) * 8
    at = start
    for told, values in zip(described, flat.values(), strict=True):
        told["offset"] = at
        at += -(-values.nbytes // 8) * 8
    head = json.dumps({"rows": rows, "arrays": described}).encode()
    head += b" " * (start - 8 - len(head))
    parts = [MAGIC, len(head).to_bytes(4, "little"), head]
    for values in flat.values():
        parts += [values.tobytes(), bytes(-values.nbytes % 8)]
    return b"".join(parts)


def points_of(table: EmbeddingTable, media: Mapping[str, NDArray[Any]]) -> bytes:
    """Return longitude, latitude (NaN where there is none), x, y, and 0 for images and 1 for sounds, of all rows.

    `media` are the rows of each modality.
    """
    count = len(table)
    east, north = places(table)
    around = np.where((east < -180) | (east > 180), (east + 180) % 360 - 180, east)
    arrays = {"lon": around.astype(np.float32), "lat": north.astype(np.float32)}
    if has_plane(table):
        plane = table.columns(["x", "y"])
        arrays |= {name: plane[name].to_numpy().astype(np.float32) for name in ("x", "y")}
    else:
        arrays |= {name: np.full(count, np.nan, np.float32) for name in ("x", "y")}
    modality = np.zeros(count, np.uint8)
    for name, rows in media.items():
        modality[rows] = name == "audio"
    return packed(count, {**arrays, "modality": modality})

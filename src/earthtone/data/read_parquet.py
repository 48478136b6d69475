"""Parquet and GeoParquet tables, streamed; bytes and Hugging Face's structs {bytes, path} may hold the media."""

import json
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earthtone.data.cell import clipped
from earthtone.data.row import Row
from earthtone.errors import DataError
from earthtone.files import regular_file

_TEXT_ROWS = 1024  # rows in memory at a time
_MEDIA_ROWS = 16  # the same where rows carry images and recordings as bytes
_MOST_BYTES = 2**20  # of a text in a dictionary: it is stored once and may be repeated in every row
_WKB_POINTS = {1: 0, 1001: 1, 2001: 1, 3001: 2}  # ISO types: XY, XYZ, XYM, XYZM -> further numbers


class ParquetTable:
    """A table read in batches; only the columns asked for are read from the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self._schema = file.schema_arrow
            self._length = int(file.metadata.num_rows)
        if self._length < 0:
            raise DataError(f"{path}: {self._length} rows; a whole Parquet file was expected")
        names = list(self._schema.names)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"{path}: column {clipped(twice[0])} occurs twice; rename one of them")
        self._geometry = _point_column(self._schema, path)
        self.has_points = self._geometry is not None
        self.columns = tuple(name for name in names if name and name != self._geometry)
        self.carried = tuple(name for name in self.columns if is_scalar(self._schema.field(name).type))

    def __len__(self) -> int:
        return self._length

    def rows(self, names: Collection[str]) -> Iterator[Row]:
        """Yield every row, in the file's order, with the cells `names`. Raises DataError."""
        read = [name for name in self.columns if name in names]
        if self._geometry is not None:
            read.append(self._geometry)
        heavy = any(not is_scalar(self._schema.field(name).type) for name in read if name != self._geometry)
        texts = [name for name in read if _is_text(self._schema.field(name).type)]
        number = 0
        with self._open(lambda: f", after row {number}") as file:
            for group in range(file.num_row_groups):
                self._refuse_giants(file.metadata, group, texts)
                batches = file.iter_batches(_MEDIA_ROWS if heavy else _TEXT_ROWS, row_groups=[group], columns=read)
                for cells in (cells for batch in batches for cells in plain(batch).to_pylist()):
                    number += 1
                    yield self._row(f"row {number}", cells)

    def _refuse_giants(self, metadata: Any, group: int, texts: list[str]) -> None:
        """Raise DataError when a text in a dictionary is so long that its copies could fill the memory.

        One row is read, texts as their dictionaries. What the metadata say of a column is not asked: where they
        contradict themselves, that ends the process (pyarrow 26), while reading raises.
        """
        if not texts:
            return
        with pq.ParquetFile(self.path, metadata=metadata, pre_buffer=False, read_dictionary=texts) as file:
            for batch in islice(file.iter_batches(1, row_groups=[group], columns=texts), 1):
                for name, column in zip(texts, (batch.column(name) for name in texts), strict=True):
                    longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
                    if longest > _MOST_BYTES:
                        raise DataError(
                            f"{self.path}: column {clipped(name)} has a text of {longest} bytes; at most {_MOST_BYTES} "
                            "were expected"
                        )

    def _row(self, place: str, cells: dict[str, Any]) -> Row:
        if self._geometry is None:
            return Row(place, cells)
        geometry = cells.pop(self._geometry)
        if geometry is None:
            return Row(place, cells)
        try:
            return Row(place, cells, wkb_point(geometry))
        except ValueError as error:
            return Row(place, cells, point_fault=str(error))

    @contextmanager
    def _open(self, place: Callable[[], str] = str) -> Iterator[Any]:
        """Yield the file; its errors, also those of values that Python cannot hold, become one line with the place."""
        try:
            with pq.ParquetFile(regular_file(self.path), pre_buffer=False) as file:
                yield file
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.path}{place()}: {reason}; a whole Parquet file was expected") from error


def wkb_point(data: bytes) -> tuple[float, float] | None:
    """Return (longitude, latitude) of a point in well-known binary, either byte order; None for an empty point.

    Raises ValueError for anything but a point (OGC 06-103r4; further Z and M numbers are ignored).
    """
    if len(data) < 21 or data[0] not in (0, 1):
        raise ValueError(f"the geometry has {len(data)} bytes; a WKB point was expected")
    order = "<" if data[0] == 1 else ">"
    (kind,) = struct.unpack_from(f"{order}I", data, 1)
    if kind not in _WKB_POINTS or len(data) != 21 + 8 * _WKB_POINTS[kind]:
        raise ValueError(f"the geometry is WKB type {kind} of {len(data)} bytes; a point (type 1) was expected")
    x, y = struct.unpack_from(f"{order}dd", data, 5)
    return None if x != x and y != y else (x, y)


def _point_column(schema: Any, path: Path) -> str | None:
    """Return the primary geometry column of a GeoParquet file, or None; refuses what is not WGS 84 in WKB."""
    raw = (schema.metadata or {}).get(b"geo")
    if raw is None:
        return None
    try:
        geo = json.loads(raw)
        name = geo["primary_column"]
        column = geo["columns"][name]
        encoding, crs = column.get("encoding"), column.get("crs", "OGC:CRS84")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: its 'geo' metadata is not GeoParquet's ({error!r}); write the file anew") from error
    if not isinstance(name, str) or name not in schema.names:
        raise DataError(f"{path}: GeoParquet's primary column {clipped(name)} is not in the file; write the file anew")
    if encoding != "WKB":
        raise DataError(f"{path}: geometry encoding {clipped(encoding)}; WKB was expected (geometry_encoding='WKB')")
    if crs != "OGC:CRS84" and not _is_wgs84(crs):
        found = crs.get("name") if isinstance(crs, dict) else crs
        raise DataError(f"{path}: coordinates are in {clipped(found)}; WGS 84 was expected, such as to_crs(4326)")
    return name


def _is_wgs84(crs: object) -> bool:
    identity = crs.get("id") if isinstance(crs, dict) else None
    if not isinstance(identity, dict):
        return False
    return (identity.get("authority"), str(identity.get("code"))) in (("EPSG", "4326"), ("OGC", "CRS84"))


def is_scalar(kind: Any) -> bool:
    """Return whether a cell is short enough to be carried as text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    heavy = (pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return not any(test(kind) for test in heavy)


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def plain(batch: Any) -> Any:
    """Return the batch with times in microseconds of UTC, which Python's own datetime holds."""
    for index, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type):
            zone = None if field.type.tz is None else "UTC"
            column = batch.column(index).cast(pa.timestamp("us", tz=zone), safe=False)
            batch = batch.set_column(index, field.name, column)
    return batch

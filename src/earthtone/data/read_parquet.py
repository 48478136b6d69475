"""Parquet and GeoParquet tables, streamed; bytes and Hugging Face's structs {bytes, path} may hold the media."""

import json
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earthtone.data.cell import clipped
from earthtone.data.parquet_pages import Pages, Unpacked
from earthtone.data.row import Row
from earthtone.errors import DataError
from earthtone.files import regular_file

_TEXT_ROWS = 1024  # rows in memory at a time, or fewer where they are long
_MEDIA_ROWS = 16  # the same where rows carry images and recordings as bytes
_MOST_TEXT = 2**20  # bytes of a text: a dictionary stores it once and may repeat it in every row
_MOST_TEXT_PAGE = 64 * 2**20  # bytes of a page or a dictionary, unpacked; a page is always in memory whole
_MOST_MEDIA_PAGE = 2**30
_TEXT_BYTES = 64 * 2**20  # of all rows in memory, unpacked
_MEDIA_BYTES = 256 * 2**20
_SHORT_DICTIONARY = 2**16  # no text in it is too long, however often it is repeated
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
        media = [name for name in read if name != self._geometry and not is_scalar(self._schema.field(name).type)]
        leaves = [leaf for name in read for leaf in self._leaves(name)]
        number = 0
        with self._open(lambda: f", after row {number}") as file, self.path.open("rb") as raw:
            pages = Pages(raw)
            for group in range(file.num_row_groups):
                sizes = pages.sizes(group, read)
                longest = self._longest_texts(file.metadata, group, sizes)
                rows = rows_at_a_time(str(self.path), sizes, media, longest)
                for batch in file.iter_batches(rows, row_groups=[group], columns=leaves):
                    refuse_long_texts(str(self.path), batch)
                    for cells in rows_of(batch):
                        number += 1
                        yield self._row(f"row {number}", cells)

    def _leaves(self, name: str) -> list[str]:
        """Return what is read of a column: all of it, or of a struct its bytes and path. Raises DataError."""
        kind = self._schema.field(name).type
        if pa.types.is_struct(kind):
            parts = [part for part in ("bytes", "path") if kind.get_field_index(part) >= 0]
            if parts and not any(pa.types.is_nested(kind.field(part).type) for part in parts):
                return [f"{name}.{part}" for part in parts]
        elif not pa.types.is_nested(kind):
            return [name]
        raise DataError(
            f"{self.path}: column {clipped(name)} is of type {clipped(str(kind))}; a path, bytes, or a struct with "
            "bytes or path were expected"
        )

    def _longest_texts(self, metadata: Any, group: int, sizes: Sequence[Unpacked]) -> dict[str, int]:
        """Return the length of the longest text in each column's dictionary, where that is not a small one.

        One row is read, texts as their dictionaries.
        """
        longest: dict[str, int] = {}
        texts = [
            size.column for size in sizes
            if size.dictionary > _SHORT_DICTIONARY and (size.column == self._geometry or self._is_text(size.column))
        ]  # fmt: skip
        refuse_giant_pages(str(self.path), [size for size in sizes if size.column in texts], ())
        if texts:
            with pq.ParquetFile(self.path, metadata=metadata, pre_buffer=False, read_dictionary=texts) as file:
                for batch in islice(file.iter_batches(1, row_groups=[group], columns=texts), 1):
                    for name in texts:
                        words = batch.column(name).dictionary
                        longest[name] = pc.max(pc.binary_length(words)).as_py() or 0
                        _refuse_long(str(self.path), name, longest[name])
        return longest

    def _is_text(self, name: str) -> bool:
        return is_text(self._schema.field(name).type)

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


def rows_at_a_time(path: str, sizes: Sequence[Unpacked], media: Collection[str], longest: Mapping[str, int]) -> int:
    """Return how many rows of a row group may be in memory at a time; few where they are long.

    `longest` are the longest texts of dictionaries, as far as they are known. Raises DataError for giant pages.
    """
    refuse_giant_pages(path, sizes, media)
    row = sum(
        max(longest.get(size.column, size.dictionary), size.page if size.prefix else size.value) for size in sizes
    )
    most, room = (_MEDIA_ROWS, _MEDIA_BYTES) if media else (_TEXT_ROWS, _TEXT_BYTES)
    return max(1, min(most, int(room / max(row, 1))))


def refuse_giant_pages(path: str, sizes: Sequence[Unpacked], media: Collection[str]) -> None:
    """Raise DataError for a page that would take too much memory; a page is unpacked whole, whatever is read of it."""
    for size in sizes:
        most = _MOST_MEDIA_PAGE if size.column in media else _MOST_TEXT_PAGE
        page = max(size.dictionary, size.page)
        if page > most:
            raise DataError(
                f"{path}: column {clipped(size.column)} has a page of {page:,} bytes once it is unpacked; at most "
                f"{most:,} were expected; write the file anew with smaller row groups"
            )


def refuse_long_texts(path: str, batch: Any) -> None:
    """Raise DataError when a text of the batch is too long."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        words = column.dictionary if pa.types.is_dictionary(column.type) else column
        if is_text(column.type) and len(words):
            _refuse_long(path, name, pc.max(pc.binary_length(words)).as_py() or 0)


def _refuse_long(path: str, name: str, length: int) -> None:
    if length > _MOST_TEXT:
        raise DataError(
            f"{path}: column {clipped(name)} has a text of {length} bytes; at most {_MOST_TEXT} were expected"
        )


def is_scalar(kind: Any) -> bool:
    """Return whether a cell is short enough to be carried as text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    heavy = (
        pa.types.is_nested, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )  # fmt: skip
    return not any(test(kind) for test in heavy)


def is_text(kind: Any) -> bool:
    """Return whether cells are texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def rows_of(batch: Any) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch as Python's own values; a time that Python cannot hold is told as a text."""
    names = batch.schema.names
    for cells in zip(*(_values(column) for column in batch.columns), strict=True):
        yield dict(zip(names, cells, strict=True))


def _values(column: Any) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):  # Python's own datetime holds microseconds
        column = column.cast(pa.timestamp("us", tz=None if kind.tz is None else "UTC"), safe=False)
    if not pa.types.is_temporal(kind):
        values: list[Any] = column.to_pylist()
        return values
    return [_time(value) for value in column]


def _time(value: Any) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError):  # a year beyond 9999, or nanoseconds of a duration
        return f"{value.type} {value.value}"

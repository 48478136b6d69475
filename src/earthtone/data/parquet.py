"""Parquet and GeoParquet tables, whole or in parts, in memory that is bounded by bytes unpacked."""

import json
import logging
import re
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earthtone.data.manifest import listed
from earthtone.data.pair import Row, clipped, extra_text
from earthtone.data.remote import HubFolder, is_hub
from earthtone.errors import DataError
from earthtone.files import regular_file
from earthtone.progress import progress

PARQUET = ".parquet"
_DEPTHS = ("*", "*/*", "*/*/*")  # files themselves, data/train-..., default/train/0000


def parquet_names(folder: Path) -> list[str]:
    """Return the Parquet files of a folder, relative to it, sorted; hidden folders such as .git are left out."""
    return sorted(_names(folder))


def has_parquet(folder: Path) -> bool:
    """Return whether there is any."""
    return next(_names(folder), None) is not None


def _names(folder: Path) -> Iterator[str]:
    for depth in _DEPTHS:
        for path in folder.glob(f"{depth}{PARQUET}"):
            inside = path.relative_to(folder)
            if not any(part.startswith(".") for part in inside.parts):
                yield inside.as_posix()


# What the pages of a Parquet file hold once they are unpacked, told by their headers before any is read.
#
# A few kilobytes may stand for gigabytes: a page of one letter, or a text in a dictionary that every row repeats.
# Arrow's own metadata are not asked: where they contradict themselves, that ends the process (pyarrow 26).
# The layout is that of parquet-format's parquet.thrift, in Thrift's compact protocol.

_DICTIONARY_PAGE, _DATA_PAGE, _DATA_PAGE_V2 = 2, 0, 3
_DELTA_BYTE_ARRAY = 7  # a text tells only in what it differs from the one before
_MOST_HEADER = 16 * 2**20  # as Arrow's own limit
_MOST_FOOTER = 2**30
_DEPTH = 16
_Struct = dict[int, Any]


class BrokenParquetError(ValueError):
    """A file whose own description cannot be read."""


@dataclass(frozen=True)
class Unpacked:
    """The largest pages of one column in a row group, in bytes as they lie in memory.

    `value` is the mean length of a value in the page where it is largest; with a `prefix` encoding a value may be as
    long as its page.
    """

    column: str
    dictionary: int
    page: int
    value: float
    prefix: bool


class Pages:
    """What a file's own description says of its pages; `first` asks the first pages of a column alone, for files in
    which every look costs a request. Raises BrokenParquetError, a ValueError.
    """

    def __init__(self, file: BinaryIO, *, first: bool = False) -> None:
        self._file = file
        self._first = first
        self._groups = list(_groups(file))

    def sizes(self, group: int, columns: Collection[str]) -> list[Unpacked]:
        """Return the sizes of some columns, by their outermost names, in a row group."""
        if group >= len(self._groups):
            raise BrokenParquetError("a row group is not described")
        return [_chunk(self._file, chunk, self._first) for chunk in self._groups[group] if _name(chunk) in columns]


def _groups(file: BinaryIO) -> Iterator[list[_Struct]]:
    """Yield the column chunks' metadata of every row group."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != b"PAR1" or not 0 < length <= min(size - 8, _MOST_FOOTER):
        raise BrokenParquetError("its end is not that of a Parquet file")
    file.seek(size - 8 - length)
    footer = _Compact(file.read(length)).struct()
    for group in _list(footer.get(4)):
        yield [_struct(_struct(chunk).get(3)) for chunk in _list(_struct(group).get(1))]


def _name(chunk: _Struct) -> str:
    path = chunk.get(3)
    if not (isinstance(path, list) and path and isinstance(path[0], bytes)):
        raise BrokenParquetError("a column has no name")
    return path[0].decode("utf-8", "replace")


def _chunk(file: BinaryIO, chunk: _Struct, first: bool) -> Unpacked:
    dictionary = page = 0
    value, prefix = 0.0, False
    for header in _headers(file, chunk):
        size = _whole(header, 2)
        if _whole(header, 1) == _DICTIONARY_PAGE:
            dictionary = max(dictionary, size)
            continue
        count, encoding = _page_values(header)
        page, value = max(page, size), max(value, size / max(count, 1))
        prefix = prefix or encoding == _DELTA_BYTE_ARRAY
        if first:
            break
    return Unpacked(_name(chunk), dictionary, page, value, prefix)


def _headers(file: BinaryIO, chunk: _Struct) -> Iterator[_Struct]:
    """Yield the headers of a column chunk's dictionary and data pages."""
    start, dictionary, left = _whole(chunk, 9), chunk.get(11), _whole(chunk, 5)
    place = dictionary if isinstance(dictionary, int) and 0 < dictionary < start else start
    end = place + _whole(chunk, 7)
    while left > 0 and place < end:
        header, length = _header(file, place)
        kind = _whole(header, 1)
        if kind in (_DATA_PAGE, _DATA_PAGE_V2):
            left -= _page_values(header)[0]
        if kind in (_DICTIONARY_PAGE, _DATA_PAGE, _DATA_PAGE_V2):
            yield header
        place += length + _whole(header, 3)


def _header(file: BinaryIO, place: int) -> tuple[_Struct, int]:
    """Return a page's header and its length; statistics in it may be long."""
    room = 256
    while True:
        file.seek(place)
        data = file.read(room)
        reader = _Compact(data)
        try:
            return reader.struct(), reader.place
        except BrokenParquetError:
            if len(data) < room or room >= _MOST_HEADER:
                raise
            room *= 16


def _page_values(header: _Struct) -> tuple[int, int]:
    """Return how many values a data page holds, and how they are encoded."""
    version_2 = _whole(header, 1) == _DATA_PAGE_V2
    inner = _struct(header.get(8 if version_2 else 5))
    return _whole(inner, 1), _whole(inner, 4 if version_2 else 2)


def _whole(of: _Struct, field: int) -> int:
    value = of.get(field)
    if not isinstance(value, int) or value < 0:
        raise BrokenParquetError("a size is missing or negative")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise BrokenParquetError("a list is missing")
    return value


def _struct(value: object) -> _Struct:
    if not isinstance(value, dict):
        raise BrokenParquetError("a part is not described")
    return value


class _Compact:
    """Reads Thrift's compact protocol: structs as dicts by the numbers of their fields."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def struct(self, depth: int = 0) -> _Struct:
        found: _Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            found[number] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15, depth + 1)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        read: Callable[[], Any] | None = {
            1: lambda: self._byte() == 1, 2: lambda: self._byte() == 1, 3: self._byte, 4: self._zigzag,
            5: self._zigzag, 6: self._zigzag, 7: lambda: struct.unpack("<d", self._bytes(8))[0],
            8: lambda: self._bytes(self._varint()), 9: lambda: self._items(depth), 10: lambda: self._items(depth),
            12: lambda: self.struct(depth),
        }.get(kind)  # fmt: skip
        if read is None or depth > _DEPTH:
            raise BrokenParquetError("an unknown or endless description")
        return read()

    def _items(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        return [self._value(head & 15, depth + 1) for _ in range(count)]

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise BrokenParquetError("a number without an end")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        found = self._data[self.place : self.place + count]
        if len(found) < count:
            raise BrokenParquetError("it breaks off")
        self.place += count
        return found


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
    """A Parquet or GeoParquet table read in batches; only the columns asked for are read from the disk.

    Bytes, and Hugging Face's structs {bytes, path}, may hold the media.
    """

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


_LOG = logging.getLogger(__name__)
_SPLIT_WORDS = {
    "train": "train", "training": "train", "validation": "val", "valid": "val", "val": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\b.*")
_ROWS = 4  # decoded at a time: a recording may have many megabytes
_BUFFER = 2**20  # read piecewise rather than a row group's column at once
_FOOTERS = 8  # read at a time: on the hub each one is a wait
_LFS = b"version https://git-lfs"

Skip = Callable[[int, str], bool]


@dataclass(frozen=True)
class Shard:
    """One file: its name below the folder, the split that its name tells, its rows and what its footer says."""

    name: str
    split: str | None
    rows: int
    footer: Any


@dataclass(frozen=True)
class ShardRow:
    """One row: where it stands, its cells, its file's split; `whole` unless the media were left unread."""

    place: str
    cells: dict[str, Any]
    split: str | None
    whole: bool


class ShardTable:
    """The rows of all Parquet files of a folder (three levels deep), of one file, or of an address on the hub.

    Files are read in the order of their names, and all footers when the table is opened: a broken or half file is
    told before any work. Raises DataError.
    """

    has_points = False

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._hub = HubFolder(str(path)) if is_hub(path) else None
        names = [name for name in self._names() if name.endswith(PARQUET)]
        if not names:
            raise DataError(
                f"{path} holds no Parquet files; a data set such as data/train-00000-of-00001.parquet was expected"
            )
        _tell_missing(path, names)
        with ThreadPoolExecutor(min(_FOOTERS, len(names))) as pool:
            footers = pool.map(self._footer, names)
            found = list(progress(zip(names, footers, strict=True), total=len(names), label="open", unit="file"))
        self._shards = [Shard(name, split_in_name(name), footer.num_rows, footer) for name, footer in found]
        schema = self._shards[0].footer.schema.to_arrow_schema()
        self.columns = tuple(name for name in schema.names if name)
        self.carried = tuple(name for name in self.columns if is_scalar(schema.field(name).type))
        self.schema = schema

    def __len__(self) -> int:
        return sum(shard.rows for shard in self._shards)

    @property
    def has_splits(self) -> bool:
        """Whether the files' names tell splits. Raises DataError when only some do."""
        silent = [shard.name for shard in self._shards if shard.split is None]
        if silent and len(silent) < len(self._shards):
            raise DataError(
                f"{self.path}: the name of {listed(silent, 3)} tells no split, others do; name it train-..., "
                "validation-... or test-..., or move it elsewhere"
            )
        return not silent

    def require(self, columns: Collection[str]) -> None:
        """Raise DataError unless every file has these columns, of the kind that the first file has."""
        for shard in self._shards:
            schema = shard.footer.schema.to_arrow_schema()
            for name in columns:
                if name not in schema.names:
                    raise DataError(f"{self._at(shard.name)} has no column {name!r}, as {self._shards[0].name} has")
                if is_scalar(schema.field(name).type) != is_scalar(self.schema.field(name).type):
                    raise DataError(
                        f"{self._at(shard.name)}: column {name!r} is of type {schema.field(name).type}, "
                        f"{self.schema.field(name).type} was expected as in {self._shards[0].name}"
                    )

    def read(self, light: Sequence[str], media: Sequence[str], id_column: str, skip: Skip | None) -> Iterator[ShardRow]:
        """Yield every row with the cells `light` and `media`, in the order of the files.

        `skip`, called with a row's number and id, tells the rows whose media are not wanted: a row group that has
        only such rows is read without them.
        """
        number = 0
        for shard in self._shards:
            in_file = 0
            at = self._at(shard.name)
            with self._open(shard.name, lambda: f", after row {in_file}", shard.footer) as (file, raw):  # noqa: B023
                pages = Pages(raw, first=self._hub is not None)
                for group in range(file.num_row_groups):
                    unwanted = None
                    if skip is not None:
                        rows = rows_at_a_time(at, pages.sizes(group, [id_column]), (), {})
                        ids = file.iter_batches(rows, row_groups=[group], columns=[id_column], use_threads=False)
                        names = (row[id_column] for batch in ids for row in rows_of(batch))
                        unwanted = [skip(number + i, extra_text(name)) for i, name in enumerate(names)]
                    read = [*light] if unwanted and all(unwanted) else [*light, *media]
                    rows = min(_ROWS, rows_at_a_time(at, pages.sizes(group, read), media, {}))
                    in_group = 0
                    leaves = [self._leaf(name) for name in read]
                    for batch in file.iter_batches(rows, row_groups=[group], columns=leaves, use_threads=False):
                        refuse_long_texts(at, batch)
                        for cells in rows_of(batch):
                            in_file += 1
                            whole = not (unwanted and unwanted[in_group])
                            yield ShardRow(f"{shard.name}, row {in_file}", cells, shard.split, whole)
                            in_group += 1
                    number += in_group

    def _leaf(self, name: str) -> str:
        """Return what is read of a column: of a struct its bytes alone, whatever else lies in it."""
        kind = self.schema.field(name).type
        return f"{name}.bytes" if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else name

    def _names(self) -> list[str]:
        if self._hub is not None:
            return self._hub.names
        path = Path(self.path)
        return [path.name] if path.is_file() else parquet_names(path)

    def _footer(self, name: str) -> Any:
        with self._open(name) as (file, _):
            return file.metadata

    def _at(self, name: str) -> str:
        return f"{self.path}" if self._hub is None and Path(self.path).is_file() else f"{self.path}/{name}"

    @contextmanager
    def _open(self, name: str, place: Callable[[], str] = str, footer: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield a file as Arrow reads it, and as bytes; its errors become one line that names it and the place."""
        try:
            with (
                regular_file(self._at(name)).open("rb") if self._hub is None else self._hub.open(name) as raw,
                # on the hub one file for both: what was fetched for one is there for the other
                pq.ParquetFile(
                    self._at(name) if self._hub is None else raw,
                    metadata=footer, pre_buffer=False, buffer_size=_BUFFER,
                ) as file,
            ):  # fmt: skip
                yield file, raw
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            if self._hub is None and _is_pointer(Path(self._at(name))):
                raise DataError(
                    f"{self._at(name)} stands for a file that was not downloaded; type git lfs pull in {self.path}"
                ) from error
            reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{self._at(name)}{place()}: {reason}; a whole Parquet file was expected, download it again"
            ) from error


def split_in_name(name: str) -> str | None:
    """Return the split that a file's name tells, or that of its folder: `data/validation-00000-of-00001` is val."""
    for part in reversed(name.removesuffix(PARQUET).split("/")):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return None


def _tell_missing(path: Path | str, names: Sequence[str]) -> None:
    """Warn once when files of numbered series are not there: a part of a data set may be wanted, or be a mistake."""
    series: dict[tuple[str, int], set[int]] = defaultdict(set)
    for name in names:
        if numbered := _NUMBERED.fullmatch(name):
            series[numbered[1], int(numbered[3])].add(int(numbered[2]))
    lacking = [
        f"{len(there)} of {total} {stem}" for (stem, total), there in sorted(series.items()) if len(there) < total
    ]
    if lacking:
        _LOG.warning("%s is a part of its data set: it has %s files", path, ", ".join(lacking))


def _is_pointer(path: Path) -> bool:
    try:
        with regular_file(path).open("rb") as file:
            return file.read(len(_LFS)) == _LFS
    except OSError:
        return False

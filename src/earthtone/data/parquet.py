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
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earthtone.data.manifest import listed
from earthtone.data.pair import Row, clipped, extra_text
from earthtone.data.parquet_pages import Pages, Unpacked
from earthtone.data.remote import HubFolder, is_hub
from earthtone.errors import DataError
from earthtone.files import regular_file
from earthtone.progress import progress

PARQUET = ".parquet"
_DEPTHS = ("*", "*/*", "*/*/*")  # files themselves, data/train-..., default/train/0000


def parquet_names(folder: Path) -> Iterator[str]:
    """Yield the Parquet files of a folder, relative to it; hidden folders such as .git are left out."""
    for depth in _DEPTHS:
        for path in folder.glob(f"{depth}{PARQUET}"):
            inside = path.relative_to(folder)
            if not any(part.startswith(".") for part in inside.parts):
                yield inside.as_posix()


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
                for cells in _group_rows(str(self.path), file, group, rows, leaves):
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
            size.column
            for size in sizes
            if size.dictionary > _SHORT_DICTIONARY
            and (size.column == self._geometry or is_text(self._schema.field(size.column).type))
        ]
        refuse_giant_pages(str(self.path), [size for size in sizes if size.column in texts], ())
        if texts:
            with pq.ParquetFile(self.path, metadata=metadata, pre_buffer=False, read_dictionary=texts) as file:
                for batch in islice(file.iter_batches(1, row_groups=[group], columns=texts), 1):
                    for name in texts:
                        words = batch.column(name).dictionary
                        longest[name] = pc.max(pc.binary_length(words)).as_py() or 0
                        _refuse_long(str(self.path), name, longest[name])
        return longest

    def _row(self, where: str, cells: dict[str, Any]) -> Row:
        geometry = None if self._geometry is None else cells.pop(self._geometry)
        if geometry is None:
            return Row(where, cells)
        try:
            return Row(where, cells, wkb_point(geometry))
        except ValueError as error:
            return Row(where, cells, point_fault=str(error))

    @contextmanager
    def _open(self, after: Callable[[], str] = str) -> Iterator[Any]:
        with _errors_named(str(self.path), after), pq.ParquetFile(regular_file(self.path), pre_buffer=False) as file:
            yield file


@contextmanager
def _errors_named(name: str, after: Callable[[], str], advice: str = "") -> Iterator[None]:
    """Raise a file's errors, also those of values that Python cannot hold, as one line that says `after` which row."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{name}{after()}: {reason}; a whole Parquet file was expected{advice}") from error


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


def _group_rows(
    path: str, file: Any, group: int, rows: int, columns: Sequence[str], *, threads: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a row group as Python's own values, so many at a time. Raises DataError for long texts."""
    for batch in file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=threads):
        _refuse_long_texts(path, batch)
        for cells in zip(*(_values(column) for column in batch.columns), strict=True):
            yield dict(zip(batch.schema.names, cells, strict=True))


def _refuse_long_texts(path: str, batch: Any) -> None:
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


def _values(column: Any) -> list[Any]:
    """Return the cells of a column; a time that Python cannot hold as a text."""
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
    """One file: its name below the folder, the split that its name tells, and what its footer says."""

    name: str
    split: str | None
    footer: Any


class ShardTable:
    """The rows of all Parquet files of a folder (three levels deep), of one file, or of an address on the hub.

    Files are read in the order of their names, and all footers when the table is opened: a broken or half file is
    refused before any work. Raises DataError.
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
        _warn_of_missing(path, names)
        with ThreadPoolExecutor(min(_FOOTERS, len(names))) as pool:
            footers = pool.map(self._footer, names)
            found = list(progress(zip(names, footers, strict=True), total=len(names), label="open", unit="file"))
        self._shards = [Shard(name, split_in_name(name), footer) for name, footer in found]
        schema = self._shards[0].footer.schema.to_arrow_schema()
        self.columns = tuple(name for name in schema.names if name)
        self.carried = tuple(name for name in self.columns if is_scalar(schema.field(name).type))
        self.schema = schema

    def __len__(self) -> int:
        return sum(shard.footer.num_rows for shard in self._shards)

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

    def read(
        self, light: Sequence[str], media: Sequence[str], id_column: str, skip: Skip | None
    ) -> Iterator[tuple[Row, str | None, bool]]:
        """Yield every row with the cells `light` and `media`, in the order of the files, its file's split, and whether
        its media were read.

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
                        ids = _group_rows(at, file, group, rows, [id_column], threads=False)
                        unwanted = [skip(number + i, extra_text(row[id_column])) for i, row in enumerate(ids)]
                    read = [*light] if unwanted and all(unwanted) else [*light, *media]
                    rows = min(_ROWS, rows_at_a_time(at, pages.sizes(group, read), media, {}))
                    leaves = [self._leaf(name) for name in read]
                    cells_of_rows = _group_rows(at, file, group, rows, leaves, threads=False)
                    for in_group, cells in enumerate(cells_of_rows):
                        in_file, number = in_file + 1, number + 1
                        whole = not (unwanted and unwanted[in_group])
                        yield Row(f"{shard.name}, row {in_file}", cells), shard.split, whole

    def _leaf(self, name: str) -> str:
        """Return what is read of a column: of a struct its bytes alone, whatever else lies in it."""
        kind = self.schema.field(name).type
        return f"{name}.bytes" if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else name

    def _names(self) -> list[str]:
        if self._hub is not None:
            return self._hub.names
        path = Path(self.path)
        return [path.name] if path.is_file() else sorted(parquet_names(path))

    def _footer(self, name: str) -> Any:
        with self._open(name) as (file, _):
            return file.metadata

    def _at(self, name: str) -> str:
        return f"{self.path}" if self._hub is None and Path(self.path).is_file() else f"{self.path}/{name}"

    @contextmanager
    def _open(self, name: str, after: Callable[[], str] = str, footer: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield a file as Arrow reads it, and as bytes."""
        at = self._at(name)
        with (
            _errors_named(at, after, ", download it again"),
            regular_file(at).open("rb") if self._hub is None else self._hub.open(name) as raw,
        ):
            if self._hub is None and raw.read(len(_LFS)) == _LFS:
                raise DataError(f"{at} stands for a file that was not downloaded; type git lfs pull in {self.path}")
            # on the hub one file for both: what was fetched for one is there for the other
            source = at if self._hub is None else raw
            with pq.ParquetFile(source, metadata=footer, pre_buffer=False, buffer_size=_BUFFER) as file:
                yield file, raw


def split_in_name(name: str) -> str | None:
    """Return the split that a file's name tells, or that of its folder: `data/validation-00000-of-00001` is val."""
    for part in reversed(name.removesuffix(PARQUET).split("/")):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return None


def _warn_of_missing(path: Path | str, names: Sequence[str]) -> None:
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

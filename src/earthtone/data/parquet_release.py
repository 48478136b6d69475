"""Sets of pairs published as Parquet files, such as `MVRL/SoundingEarth` and `MVRL/GeoSound`, local or on the hub."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from earthtone.data.manifest import check_need, extra_columns, nearest, own_columns
from earthtone.data.pair import PAIR_COLUMNS, Pair, Problem
from earthtone.data.releases import release_with
from earthtone.data.row import MEDIA, Row, RowReader
from earthtone.data.shards import ShardRow, ShardTable, Skip
from earthtone.errors import DataError


class ParquetRelease:
    """A source of the pairs in a set's Parquet files; the media are bytes in them.

    The columns of a release that is known need no `columns`; other sets are read like a manifest. Splits are told by
    the files' names (`validation` is val) unless there is a column `split`. GeoSound's images are those of
    `bingmap_image`; `columns={"image": "sentinel_image"}` takes the others. What is the same for a whole release
    (`license`, `attribution`, `image_gsd_m`) is given to every row. The text of a release's date is
    carried: not every one can be read. Raises DataError.
    """

    ready_spectrograms = False

    def __init__(
        self, path: Path | str, *, columns: Mapping[str, str] | None = None, need: tuple[str, ...] = MEDIA
    ) -> None:
        check_need(need)
        self.path = path
        self.name = str(path).rstrip("/").rsplit("/", 1)[-1]
        self._need = need
        self._table = ShardTable(path)
        self._release = release_with(self._table.columns)
        self._columns = self._own_columns(columns or {})
        self.gives_splits = "split" not in self._columns and self._table.has_splits
        self._media = tuple(self._columns[name] for name in need)
        self._constants = self._same_for_all()
        self._extra = self._extra_columns()
        self.extra_columns = tuple(self._extra)
        own = [column for name, column in self._columns.items() if name not in MEDIA]
        self._light = list(dict.fromkeys((*own, *self._extra.values())))
        self._table.require([*self._light, *self._media])
        for name in self._media:
            _check_bytes(self._table, name)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Pair | Problem]:
        """Yield one item a row, in the order of the files: a pair, or the problem that leaves the row out."""
        return self.skipping(None)

    def skipping(self, skip: Skip | None) -> Iterator[Pair | Problem]:
        """Yield the same items; pairs of which `skip(number of the row, id)` is true may come without their media.

        A row group (often 100 rows) in which nothing else is wanted is then not read from the disk or the network.
        """
        reader = RowReader(Path(), _as_named(PAIR_COLUMNS), _as_named(self._extra), self._need)
        for row in self._table.read(self._light, self._media, self._columns["id"], skip):
            yield reader.read(Row(row.place, self._own_row(row)), need=self._need if row.whole else ())

    def _own_row(self, row: ShardRow) -> dict[str, object]:
        """Return the row's cells under a pair's own names, with what is the same for all."""
        own: dict[str, object] = {name: row.cells[column] for name, column in self._extra.items()}
        own |= self._constants
        own |= {name: row.cells[column] for name, column in self._columns.items() if column in row.cells}
        for name in self._need:
            own[name] = _bytes(own.get(name))
        if "split" not in self._columns:
            own["split"] = row.split
        return own

    def _own_columns(self, columns: Mapping[str, str]) -> dict[str, str]:
        known = self._release.columns if self._release is not None else {}
        preset = {name: column for name, column in known.items() if name not in columns}
        for name, column in preset.items():
            if column not in self._table.columns and (name not in MEDIA or name in self._need):
                others = [other for other in self._table.columns if other not in known.values()]
                raise DataError(
                    f"{self.path} has no column {column!r} ({name} of {self._release.name if self._release else ''});"
                    f"{nearest(column, others)}; type --columns {name}=NAME with the column to use"
                )
        there = {name: column for name, column in preset.items() if column in self._table.columns}
        found = own_columns(self._table, there | dict(columns), self._need)
        if "split" not in found:
            _ = self._table.has_splits  # told now, not after hours of work
        return {name: column for name, column in found.items() if name not in MEDIA or name in self._need}

    def _same_for_all(self) -> dict[str, object]:
        release = self._release
        if release is None:
            return {}
        gsd_m = release.gsd_m.get(self._columns.get("image", ""))
        same = {"license": release.license, "attribution": release.attribution, "source": release.source}
        return {name: value for name, value in (same | {"image_gsd_m": gsd_m}).items() if name not in self._columns}

    def _extra_columns(self) -> dict[str, str]:
        used = self._columns | {name: name for name in self._constants}
        if self._release is None:
            return extra_columns(self._table, used)
        used.pop("datetime", None)  # its text is carried: not every date can be read
        return extra_columns(self._table, used, (*self._release.aside, *self._release.gsd_m, "audio"))


def _as_named(names: Iterable[str]) -> dict[str, str]:
    return {name: name for name in names}


def is_release_file(path: Path) -> bool:
    """Return whether one Parquet file is part of a release that is known; a broken one is not."""
    import pyarrow.parquet as pq

    try:
        return release_with(pq.read_schema(path).names) is not None
    except (pa.ArrowException, OSError, ValueError):
        return False


def _check_bytes(table: ShardTable, name: str) -> None:
    """Raise DataError unless a column holds bytes: paths in published files would name any file of this machine."""
    kind: Any = table.schema.field(name).type
    inner = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise DataError(
            f"{table.path}: column {name!r} is of type {kind}; bytes, or a struct with bytes, were expected "
            "(name a manifest itself, such as pairs.parquet, when its cells are paths)"
        )


def _bytes(value: object) -> bytes | None:
    """Return the bytes of a cell; never a path."""
    if isinstance(value, Mapping):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None

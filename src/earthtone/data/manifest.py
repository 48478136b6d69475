"""Manifests: a table with one row a pair, as CSV, TSV, GeoJSON, Parquet or GeoParquet."""

import difflib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from earthtone.data.pair import PAIR_COLUMNS, Pair, Problem
from earthtone.data.row import MEDIA, Row, RowReader, clipped
from earthtone.errors import ConfigError, DataError

_LOG = logging.getLogger(__name__)
_ALIASES = {"id": ("key",), "longitude": ("lon", "lng", "long"), "latitude": ("lat",)}


class Columns(Protocol):
    """What a table has; `carried` are the columns whose cells are short enough to be kept as text."""

    @property
    def path(self) -> Path | str: ...

    columns: tuple[str, ...]
    carried: tuple[str, ...]
    has_points: bool

    def __len__(self) -> int: ...


class Table(Columns, Protocol):
    """Rows of cells in a file."""

    def rows(self, names: Collection[str]) -> Iterator[Row]: ...


class Manifest:
    """A source of pairs read from one table; paths in it are relative to its own folder.

    `columns` maps a pair's column names to those of the file (`{"image": "file"}`); one column of the file may serve
    two names. Without it `key` stands in for `id`, `lon`, `lng` or `long` for `longitude` and `lat` for `latitude`.
    `need` lists the media that a row must have; the other one is None. Raises DataError when the table cannot be used.
    """

    ready_spectrograms = False

    def __init__(
        self, path: str | Path, *, columns: Mapping[str, str] | None = None, need: tuple[str, ...] = MEDIA
    ) -> None:
        check_need(need)
        self.path = Path(path)
        self.name = self.path.name
        self._need = need
        self._table = open_table(self.path)
        self._columns = own_columns(self._table, columns or {}, need)
        self.extra_columns = extra_columns(self._table, self._columns)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Pair | Problem]:
        """Yield one item a row, in the file's order: a pair, or the problem that leaves the row out."""
        reader = RowReader(self.path.parent, self._columns, self.extra_columns, self._need)
        own = {column for name, column in self._columns.items() if name not in MEDIA or name in self._need}
        for row in self._table.rows(own.union(self.extra_columns)):
            yield reader.read(row)


def open_table(path: Path) -> Table:
    """Return the table in a file, chosen by its suffix. Raises DataError."""
    opener = TABLES.get(path.suffix.lower())
    if opener is None:
        raise DataError(f"{path}: suffix {path.suffix!r}; a manifest ends in {', '.join(TABLES)}")
    return opener(path)


def check_need(need: tuple[str, ...]) -> None:
    """Raise ConfigError unless `need` names one or both media."""
    if not need or not set(need) <= set(MEDIA):
        raise ConfigError(f"need is {need!r}; 'image', 'audio' or both expected")


def own_columns(table: Columns, columns: Mapping[str, str], need: tuple[str, ...]) -> dict[str, str]:
    """Return the file's name of each of a pair's own columns that the table has. Raises DataError."""
    for name, column in columns.items():
        if name not in PAIR_COLUMNS:
            raise DataError(f"--columns {name}={column}: no such column of a pair;{nearest(name, PAIR_COLUMNS)}")
        if column not in table.columns:
            raise DataError(
                f"--columns {name}={column}: {table.path} has no column {column!r};{nearest(column, table.columns)}"
            )
    found = dict(columns)
    for name in PAIR_COLUMNS:
        own = found.get(name) or _column_for(name, table)
        if own is not None:
            found[name] = own
    if table.has_points and not {"longitude", "latitude"} & columns.keys():
        found = {name: column for name, column in found.items() if found_beside_points(name, column)}
    for name in ("id", *need):
        if name not in found:
            raise DataError(_lacks(name, table))
    return found


def found_beside_points(name: str, column: str) -> bool:
    """Return whether a column counts beside a geometry: aliases such as `lat` do not, they may mean anything."""
    return name == column or name not in ("longitude", "latitude")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what to say after an unknown name: the nearest known one, and all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    return f"{hint} known: {listed(names)}"


def listed(names: Collection[str], most: int = 30) -> str:
    """Return names for an error message, at most `most` of them."""
    shown = ", ".join(clipped(name, 40) for name in list(names)[:most])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > most else shown or "none"


def _column_for(name: str, table: Columns) -> str | None:
    if name in table.columns:
        return name
    aliases = [alias for alias in _ALIASES.get(name, ()) if alias in table.columns]
    if len(aliases) > 1:
        raise DataError(
            f"{table.path} has the columns {listed(aliases)}; choose with --columns {name}={aliases[0]} or {aliases[1]}"
        )
    if aliases:
        return aliases[0]
    for column in table.columns:
        if column.strip().lower() in (name, *_ALIASES.get(name, ())):
            _LOG.warning(
                "%s: column %r is no %r; type --columns '%s=%s' to use it", table.path, column, name, name, column
            )
    return None


def _lacks(name: str, table: Columns) -> str:
    separator = ""
    if len(table.columns) == 1 and (";" in table.columns[0] or "\t" in table.columns[0]):
        separator = "; its cells seem to be separated by something else (save with commas, or with tabs as .tsv)"
    return (
        f"{table.path} has no column {name!r}, found {listed(table.columns)}{separator}; "
        f"type --columns {name}=NAME with the column to use"
    )


def extra_columns(table: Columns, columns: Mapping[str, str], aside: Collection[str] = ()) -> tuple[str, ...]:
    """Return the free columns: all but the pair's own, those whose name is taken, and those too heavy for text.

    What is left out is logged, but for the columns `aside`, which are known to be of no use here.
    """
    used = set(columns.values())
    free = [name for name in table.columns if name not in used and name not in aside]
    taken = [name for name in free if name in columns]
    heavy = [name for name in free if name not in table.carried]
    for names, why in ((taken, "--columns gives their name to others"), (heavy, "their cells are bytes or nested")):
        if names:
            _LOG.warning("%s: columns %s are not carried: %s", table.path, listed(names), why)
    return tuple(name for name in free if name not in taken and name not in heavy)


def _csv(path: Path) -> Table:
    from earthtone.data.read_csv import CsvTable

    return CsvTable(path, "\t" if path.suffix.lower() == ".tsv" else ",")


def _geojson(path: Path) -> Table:
    from earthtone.data.read_geojson import GeoJsonTable

    return GeoJsonTable(path)


def _parquet(path: Path) -> Table:
    from earthtone.data.read_parquet import ParquetTable  # pyarrow is slow to import

    return ParquetTable(path)


#: How each kind of manifest is opened, by the file's suffix.
TABLES: dict[str, Callable[[Path], Table]] = {
    ".csv": _csv, ".tsv": _csv, ".geojson": _geojson, ".json": _geojson, ".parquet": _parquet, ".geoparquet": _parquet,
}  # fmt: skip

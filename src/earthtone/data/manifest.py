"""Manifests: a table with one row a pair, as CSV, TSV, GeoJSON, Parquet or GeoParquet."""

import difflib
import logging
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from earthtone.data.pair import (
    EXCERPT_COLUMNS,
    MEDIA,
    PACKED_COLUMNS,
    PAIR_COLUMNS,
    Pair,
    Problem,
    Row,
    RowReader,
    clipped,
)  # fmt: skip
from earthtone.data.tables import CsvTable, GeoJsonTable
from earthtone.errors import ConfigError, DataError
from earthtone.options import Need

_LOG = logging.getLogger(__name__)
_ALIASES = {"id": ("key",), "longitude": ("lon", "lng", "long"), "latitude": ("lat",)}
_OWN = (*PAIR_COLUMNS, *EXCERPT_COLUMNS)
_ODD = re.compile(r"[.`*\0]")  # what the packed table's format does not take, or not everywhere

#: Names under which others keep the same, in small letters and digits alone: for messages, never taken unasked.
_FILE_NAMES = ("file", "filename", "filepath", "path")
_LIKELY: dict[str, tuple[str, ...]] = {
    "id": ("sampleid", "recordid", "recordingid", "occurrenceid", "clipid", "identifier", "uuid", "uid", "index"),
    "image": ("imagepath", "imagefile", "imagefilename", "imagename", "img", "imgpath", "picture", "photo", "tile",
              *_FILE_NAMES),
    "audio": ("audiopath", "audiofile", "audiofilename", "audioname", "sound", "soundfile", "soundpath", "recording",
              "recordingpath", "wav", "wavfile", "wavpath", "mp3", "clip", *_FILE_NAMES),
    "longitude": ("decimallongitude", "longitud", "longitudewgs84", "lonwgs84", "geolon", "geolong", "geolongitude",
                  "gpslon", "gpslong", "gpslongitude", "londd", "longdd", "lonwgs", "londeg", "longdeg",
                  "longitudedeg", "longitudedd", "xcoord", "xcoordinate", "pointx", "x"),
    "latitude": ("decimallatitude", "latitud", "latitudewgs84", "latwgs84", "geolat", "geolatitude", "gpslat",
                 "gpslatitude", "latdd", "latwgs", "latdeg", "latitudedeg", "latitudedd", "ycoord", "ycoordinate",
                 "pointy", "y"),
    "datetime": ("eventdate", "date", "timestamp", "datetimeutc", "utcdatetime", "dateandtime", "daterecorded",
                 "recordedat", "recordedon", "recordingdate", "recordingtime", "recordingdatetime", "capturedat",
                 "capturedate", "acquisitiondate", "starttime", "startdatetime", "createdat", "observedon"),
    "image_gsd_m": ("gsd", "gsdm", "imagegsd", "imageresolution", "spatialresolution", "pixelsize", "pixelsizem",
                    "metersperpixel", "metresperpixel", "mpp", "groundsampledistance"),
    "source": ("datasource", "provider"),
    "license": ("licence", "rights", "licenseurl", "licenceurl", "usageterms"),
    "attribution": ("credit", "credits", "recordist", "rightsholder", "photographer"),
    "split": ("subset", "partition", "datasetsplit"),
}  # fmt: skip


class TableColumns(Protocol):
    """What a table has; `carried` are the columns whose cells are short enough to be kept as text."""

    @property
    def path(self) -> Path | str: ...

    columns: tuple[str, ...]
    carried: tuple[str, ...]
    has_points: bool

    def __len__(self) -> int: ...


class RowTable(TableColumns, Protocol):
    """Rows of cells in a file."""

    def rows(self, names: Collection[str]) -> Iterator[Row]: ...


class Manifest:
    """A source of pairs read from one table; paths in it are relative to its own folder.

    `columns` maps a pair's column names to those of the file (`{"image": "file"}`); one column of the file may serve
    two names, and an empty name leaves a pair's column unread (`{"datetime": ""}`). Without it `key` stands in for
    `id`, `lon`, `lng` or `long` for `longitude` and `lat` for `latitude`. `need` lists the media that a row must have,
    `also` those that are read where a row has them (see `needed`); what is in neither is None. Raises DataError when
    the table cannot be used.
    """

    ready_spectrograms = False

    def __init__(
        self,
        path: str | Path,
        *,
        columns: Mapping[str, str] | None = None,
        need: tuple[str, ...] = MEDIA,
        also: tuple[str, ...] = (),
    ) -> None:
        check_need(need, also)
        self.path = Path(path)
        self.name = self.path.name
        self._need, self._also = need, also
        self._table = manifest_table(self.path)
        self._columns = own_columns(self._table, columns or {}, need, also)
        self._extra = extra_columns(self._table, self._columns)
        self.extra_columns = tuple(self._extra)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Pair | Problem]:
        """Yield one item a row, in the file's order: a pair, or the problem that leaves the row out."""
        reader = RowReader(self.path.parent, self._columns, self._extra, self._need, self._also)
        wanted = (*self._need, *self._also)
        own = {column for name, column in self._columns.items() if name not in MEDIA or name in wanted}
        for row in self._table.rows(own.union(self._extra.values())):
            yield reader.read(row)

    def carried_as(self, column: str) -> str:
        """Return the name under which pairs carry a column of the file in `extra`; its own where they do not."""
        return next((name for name, own in self._extra.items() if own == column), column)


def manifest_table(path: Path) -> RowTable:
    """Return the table in a file, chosen by its suffix. Raises DataError."""
    opener = TABLES.get(path.suffix.lower())
    if opener is None:
        raise DataError(f"{path}: suffix {path.suffix!r}; a manifest ends in {', '.join(TABLES)}")
    return opener(path)


def needed(need: Need | Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the media that a row must have, and those that are read where it has them.

    >>> needed("image"), needed("either")
    ((('image',), ('audio',)), ((), ('image', 'audio')))
    """
    if not isinstance(need, str):
        return tuple(need), ()
    must = MEDIA if need == "both" else tuple(medium for medium in MEDIA if medium == need)
    return must, tuple(medium for medium in MEDIA if medium not in must)


def check_need(need: tuple[str, ...], also: tuple[str, ...] = ()) -> None:
    """Raise ConfigError unless these name one or both media."""
    if not (*need, *also) or not {*need, *also} <= set(MEDIA):
        raise ConfigError(f"need is {need!r}; 'image', 'audio' or both expected")


def own_columns(
    table: TableColumns, columns: Mapping[str, str], need: tuple[str, ...], also: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return the file's name of each of a pair's own columns that is to be read. Raises DataError."""
    refuse_unread([name for name, column in columns.items() if not column], need)
    for name, column in columns.items():
        if name not in _OWN:
            raise DataError(f"--columns {name}={column}: no such column of a pair;{nearest(name, _OWN)}")
        if column and column not in table.columns:
            raise DataError(
                f"--columns {name}={column}: {table.path} has no column {column!r};{nearest(column, table.columns)}"
            )
    own = dict(columns) | {name: _column_for(name, table) for name in _OWN if name not in columns}
    found = {name: column for name, column in own.items() if column}
    if table.has_points and not {"longitude", "latitude"} & columns.keys():
        # aliases such as `lat` do not count beside a geometry: they may mean anything
        found = {
            name: column for name, column in found.items() if name == column or name not in ("longitude", "latitude")
        }
    for name, column in found.items():
        if name not in MEDIA and column not in table.carried:
            other = "=NAME with another" if name == "id" else "= to leave it unread"
            raise DataError(
                f"{table.path}: column {column!r} holds bytes or lists, for {name} texts or numbers were expected; "
                f"type --columns {name}{other}"
            )
    lacking = [name for name in PAIR_COLUMNS if name not in (*found, *columns)]
    likely = _likely(table, found, lacking, (*need, *also))
    either = also[:1] if not need and not found.keys() & set(also) else ()
    for name in ("id", *need, *either):
        if name not in found:
            has = next((medium for medium in MEDIA if medium != name and medium in found), None)
            beside = has if name in need and set(need) == set(MEDIA) else None
            raise DataError(_lacks(name, table, likely.get(name), beside))
    if likely:
        typed = shlex.quote(",".join(f"{name}={column}" for name, column in likely.items()))
        _LOG.warning("%s: to read %s as a pair's own, type --columns %s", table.path, listed(likely.values()), typed)
    if len(alone := {"longitude", "latitude"} & found.keys()) == 1:
        unread = found.pop(alone.pop())  # said once rather than in every row
        _LOG.warning("%s: %s is not read, since there is no column for the other coordinate", table.path, unread)
    return found


def refuse_unread(names: Iterable[str], need: tuple[str, ...]) -> None:
    """Raise DataError when columns that are not to be read are none of a pair, or are needed."""
    for name in names:
        if name not in _OWN:
            raise DataError(f"--columns {name}=: no such column of a pair;{nearest(name, _OWN)}")
        if name in ("id", *need):
            raise DataError(f"--columns {name}=: every row needs one; type --columns {name}=NAME, or leave it out")


def _likely(table: TableColumns, found: Mapping[str, str], lacking: list[str], need: tuple[str, ...]) -> dict[str, str]:
    """Return for columns that a pair lacks the one of the file that may be meant."""
    free: dict[str, str] = {}
    for column in table.columns:
        if column not in found.values():
            free.setdefault(re.sub(r"[^a-z0-9]", "", column.lower()), column)
    likely: dict[str, str] = {}
    for name in lacking:
        if (name in MEDIA and name not in need) or (table.has_points and name in ("longitude", "latitude")):
            continue
        for word in (name.replace("_", ""), *_ALIASES.get(name, ()), *_LIKELY[name]):
            if word in free and (word not in ("x", "y") or {"x", "y"} <= free.keys()):
                likely[name] = free[word]
                break
    return likely


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


def _column_for(name: str, table: TableColumns) -> str | None:
    if name in table.columns:
        return name
    aliases = [alias for alias in _ALIASES.get(name, ()) if alias in table.columns]
    if len(aliases) > 1:
        raise DataError(
            f"{table.path} has the columns {listed(aliases)}; choose with --columns {name}={aliases[0]} or {aliases[1]}"
        )
    return aliases[0] if aliases else None


def _lacks(name: str, table: TableColumns, likely: str | None, alone: str | None) -> str:
    """Return what to say of a column that is not there; `alone` is the medium that is, where both are wanted."""
    separator = ""
    if len(table.columns) == 1 and (";" in table.columns[0] or "\t" in table.columns[0]):
        separator = "; its cells seem to be separated by something else (save with commas, or with tabs as .tsv)"
    typed = f"{name}=NAME with the column to use" if likely is None else shlex.quote(f"{name}={likely}")
    said = f"{table.path} has no column {name!r}, found {listed(table.columns)}{separator}; type --columns {typed}"
    if alone is None or likely is not None:
        return said
    path, kinds = shlex.quote(str(table.path)), {"image": "images", "audio": "sounds"}[alone]
    said += f". A table of {kinds} alone is embedded: earthtone embed --model MODEL --data {path} --out E"
    return said if alone == "image" else f"{said}; its places get pictures by earthtone tiles --places {path}"


def extra_columns(table: TableColumns, columns: Mapping[str, str], aside: Collection[str] = ()) -> dict[str, str]:
    """Return the free columns, by the names under which they are carried: all but the pair's own, those whose name is
    taken, and those too heavy for text.

    A name that the packed table keeps for itself, or cannot hold, is changed. What is left out or changed is logged,
    but for the columns `aside`, which are known to be of no use here.
    """
    used = {column for name, column in columns.items() if name not in EXCERPT_COLUMNS}
    free = [name for name in table.columns if name not in used and name not in aside]
    taken = [name for name in free if columns.get(name, name) != name]
    heavy = [name for name in free if name not in table.carried]
    for names, why in ((taken, "--columns gives their name to others"), (heavy, "their cells are bytes or nested")):
        if names:
            _LOG.warning("%s: columns %s are not carried: %s", table.path, listed(names), why)
    carried: dict[str, str] = {}
    for column in (name for name in free if name not in taken and name not in heavy):
        carried[_carried_name(column, {*table.columns, *carried})] = column
    if changed := [f"{column!r} as {name!r}" for name, column in carried.items() if name != column]:
        _LOG.warning("%s: carries %s, which a packed table can hold", table.path, ", ".join(changed[:30]))
    return carried


def _carried_name(column: str, others: Collection[str]) -> str:
    name = _ODD.sub("_", column)
    if name.startswith("_row"):
        name = f"column{name}"
    while name in PAIR_COLUMNS or name in PACKED_COLUMNS or (name != column and name in others):
        name += "_"
    return name


def _parquet(path: Path) -> RowTable:
    from earthtone.data.parquet import ParquetTable  # pyarrow is slow to import

    return ParquetTable(path)


#: How each kind of manifest is opened, by the file's suffix.
TABLES: dict[str, Callable[[Path], RowTable]] = {
    ".csv": CsvTable, ".tsv": partial(CsvTable, delimiter="\t"), ".geojson": GeoJsonTable, ".json": GeoJsonTable,
    ".parquet": _parquet, ".geoparquet": _parquet,
}  # fmt: skip

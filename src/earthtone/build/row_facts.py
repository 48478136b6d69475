"""What a data set's rows say of themselves, as columns of numbers: for splitting and for describing; bounded memory."""

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from earthtone.data.grouped_split import (
    Codes,
    id_number,
    is_id,
    pairs_at,
    recording_id_columns,
    same_content,
    split_code,
    text_number,
    whole_medium,
    without_silence,
)
from earthtone.data.manifest import TABLES, extra_columns, manifest_table, needed, own_columns
from earthtone.data.pair import MEDIA, FileOrBytes, Pair, Problem, RowReader, is_unknown
from earthtone.data.remote import is_hub
from earthtone.data.source import Source, is_packed, items_skipping, open_source
from earthtone.errors import ConfigError, DataError, did_you_mean
from earthtone.options import Need
from earthtone.progress import progress
from earthtone.signal.excerpt import Sound

if TYPE_CHECKING:
    from earthtone.data.packed import Table  # imports torch and lance

Numbers = NDArray[np.int64]
#: Columns that name who recorded and with what, first those that are meant most likely.
AUTHORS = ("author", "recordist", "author_id", "recordist_id", "user", "username", "user_id", "observer", "creator",
           "contributor", "photographer", "rights_holder", "rightsholder")  # fmt: skip
RECORDERS = ("recorder", "device", "recorder_id", "device_id", "serial", "serial_number", "deployment",
             "deployment_id", "station", "station_id")  # fmt: skip
_HASH = re.compile(
    r"((image|audio|sound|recording|file|content)_)?(hash|md5|sha1|sha256|blake2b|checksum|fingerprint)_?"
)
#: Columns that tell a place, in small letters: left out where places are made coarse.
_PLACES = re.compile(
    r"(decimal|geo|gps|verbatim|start|end|center|centre|wgs84|public|private)?_?"
    r"(lon|lng|long|lat|longitude|latitude|longitud|latitud|x|y|xcoord|ycoord|easting|northing|coordinates?|coords?)"
    r"(_?(wgs84|dd|deg|degrees|m|utm))?|"
    r"(place|geo)?_?(geometry|geom|wkt|wkb|geojson|point|location|locality|place|site|address|municipality|county|h3|"
    r"geohash|cell|mgrs|utm|plus_?code|s2_?cell|elevation|altitude|alt|footprint|bbox)(_?(id|name|cell|guess|m))?|"
    r"(west|east|south|north)(_?(deg|degrees|m))?|crs|(tile|image)_?(crs|west|east|south|north|x|y|bounds|corners?)"
)
#: Columns of how uncertain a place is: what they say belongs to the place.
UNCERTAINTY = ("coord_uncertainty_m", "coordinate_uncertainty_m", "coordinateuncertaintyinmeters",
               "coordinate_uncertainty_in_meters", "public_positional_accuracy", "positional_accuracy", "precision_m",
               "uncertainty_m")  # fmt: skip
_CALLED = {"image": "image", "audio": "recording"}
_PART = 65_536  # ids in an Arrow array
NO_TIME = np.iinfo(np.int64).min


@dataclass
class Words:
    """A column of few different texts, as numbers (N,); -1 where there is none."""

    texts: dict[str, int] = field(default_factory=dict)
    codes: array = field(default_factory=lambda: array("i"))  # type: ignore[type-arg]

    def add(self, text: str | None) -> None:
        """Add a row."""
        known = text is not None and not is_unknown(text)
        self.codes.append(self.texts.setdefault(str(text).strip(), len(self.texts)) if known else -1)

    @property
    def numbers(self) -> NDArray[np.int32]:
        """(N,) the number of each row's text."""
        return np.array(self.codes, np.int32)


@dataclass(frozen=True)
class RowFacts:
    """N rows as columns; about 150 bytes a row with their ids."""

    path: str
    ids: Sequence[Any]
    """The ids, as Arrow arrays one after another."""
    id_numbers: NDArray[np.uint64]
    """(N,) 64 bits of each id."""
    digits: NDArray[np.int8]
    """(N,) the id's last digit; -1 where the id is no whole number."""
    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    """(N,) in degrees, NaN where unknown."""
    seconds_utc: Numbers
    """(N,) since 1970; NO_TIME where unknown."""
    splits: Codes
    """(N,) the data's own."""
    links: Mapping[str, Numbers]
    """What is equal for rows that belong together, by what it is: image, recording, or a column; negative: nothing."""
    who: Mapping[str, Numbers]
    """author and recorder, where a column names them."""
    who_columns: Mapping[str, str]
    """The column of each of `who`."""
    problems: Mapping[str, int]
    """Rows that cannot be read, by kind."""
    problem_examples: Sequence[str]
    words: Mapping[str, Words]
    """source, license, attribution: as texts, where asked for."""
    audio_seconds: NDArray[np.float64]
    """(N,) seconds of sound; NaN where unknown, and (0,) where not asked for."""
    media: Sequence[str] = ()
    """Which a manifest or a release has: image, audio; none for a packed table, which is not to be packed again."""

    def __len__(self) -> int:
        return len(self.id_numbers)

    @property
    def placed(self) -> NDArray[np.bool_]:
        """(N,) whether a row has a place."""
        return np.isfinite(self.longitude) & np.isfinite(self.latitude)

    def id_of(self, row: int) -> str:
        """Return the id of a row."""
        for part in self.ids:
            if row < len(part):
                return str(part[row].as_py())
            row -= len(part)
        raise IndexError(row)


def read_rows(
    data: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    metadata_only: bool = False,
    need: Need = "both",
    who: Mapping[str, str] | None = None,
    words: bool = False,
) -> RowFacts:
    """Return what the rows of a manifest, release or packed table say; files are compared, but none is decoded.

    With `metadata_only` no file is looked at, and none need be there; else a row must have the media `need`, `both`
    being the one where the data has one alone. `who` are columns for author or recorder, `words`
    also asks for texts and lengths. Raises DataError where nothing can be read, ConfigError for an unknown column.
    """
    if is_packed(data):
        if metadata_only or columns or need != "both":
            raise ConfigError("a packed table has its files within: leave --metadata_only, --columns and --need out")
        from earthtone.data.packed import Table

        return _of_table(Table(data), who or {}, words)
    if metadata_only and is_hub(data):
        raise ConfigError("--metadata_only is for a table on a disk: leave it out, files of the hub are not compared")
    if metadata_only and need != "both":
        raise ConfigError("--need has no effect with --metadata_only, which needs no files; leave one of them out")
    if metadata_only:
        return _of_metadata(Path(data), columns or {}, who or {}, words)
    return _of_source(*open_any_media(data, columns, need), who or {}, words)


class _Collector:
    """Rows as they come, in arrays."""

    def __init__(self, path: str, extra: Sequence[str], who: Mapping[str, str], words: bool) -> None:
        self._path = path
        self._parts: list[Any] = []
        self._ids: list[str] = []
        self._numbers, self._digits = array("Q"), array("b")
        self._longitude, self._latitude, self._seconds = array("d"), array("d"), array("q")
        self._splits = array("B")
        self._linking = [*recording_id_columns(extra), *(name for name in extra if _HASH.fullmatch(_plain(name)))]
        self.who_columns = {kind: _who(kind, extra, who.get(kind), path) for kind in ("author", "recorder")}
        self.who_columns = {kind: name for kind, name in self.who_columns.items() if name}
        self._wanted = dict.fromkeys([*self._linking, *self.who_columns.values()])
        self._columns = {name: array("q") for name in self._wanted}
        self._words = {name: Words() for name in ("source", "license", "attribution")} if words else {}
        self._problems: Counter[str] = Counter()
        self._examples: list[str] = []

    def add(self, item: Pair | Problem) -> bool:
        """Add a row; return whether it can be used."""
        if isinstance(item, Problem):
            self._problems[item.kind] += 1
            if len(self._examples) < 5:
                self._examples.append(item.detail)
            return False
        self.add_values(
            item.id, item.longitude, item.latitude, item.datetime, item.split,
            {"source": item.source, "license": item.license, "attribution": item.attribution, **item.extra},
        )  # fmt: skip
        return True

    def add_values(
        self, id: str, longitude: float | None, latitude: float | None, time: datetime | None, split: str | None,
        texts: Mapping[str, str | None],
    ) -> None:  # fmt: skip
        self._ids.append(id)
        if len(self._ids) == _PART:
            self._parts.append(pa.array(self._ids, pa.string()))
            self._ids = []
        self._numbers.append(id_number(id))
        self._digits.append(int(id[-1]) if id.isascii() and id.isdigit() else -1)
        nan = float("nan")
        self._longitude.append(nan if longitude is None else longitude)
        self._latitude.append(nan if latitude is None else latitude)
        self._seconds.append(NO_TIME if time is None else int(time.timestamp() // 1))
        self._splits.append(split_code(split))
        for name, found in self._columns.items():
            found.append(text_number(texts.get(name) or ""))
        for name, words in self._words.items():
            words.add(texts.get(name))

    def facts(
        self, links: Mapping[str, Numbers], seconds: NDArray[np.float64] | None = None, media: Sequence[str] = ()
    ) -> RowFacts:
        """Return all rows. Raises DataError where there are none."""
        if not len(self._numbers):
            why = f"; the first: {self._examples[0]}" if self._examples else ""
            raise DataError(f"{self._path}: no row can be used{why}")
        numbers = {name: np.array(found, np.int64) for name, found in self._columns.items()}
        own = {name: numbers[name] for name in self._linking if is_id(name, numbers[name])}
        return RowFacts(
            path=self._path,
            ids=[*self._parts, pa.array(self._ids, pa.string())],
            id_numbers=np.array(self._numbers, np.uint64),
            digits=np.array(self._digits, np.int8),
            longitude=np.array(self._longitude, np.float64),
            latitude=np.array(self._latitude, np.float64),
            seconds_utc=np.array(self._seconds, np.int64),
            splits=np.array(self._splits, np.uint8),
            links={**links, **own},
            who={kind: numbers[name] for kind, name in self.who_columns.items()},
            who_columns=self.who_columns,
            problems=dict(sorted(self._problems.items())),
            problem_examples=tuple(self._examples),
            words=self._words,
            audio_seconds=np.empty(0) if seconds is None else seconds,
            media=media,
        )


def open_any_media(
    data: str | Path, columns: Mapping[str, str] | None, need: Need = "both"
) -> tuple[Source, tuple[str, ...]]:
    """Return the source with the media that it has: one of images, or of recordings, alone is a set too.

    Raises DataError where it has neither.
    """
    if need != "both":
        must, also = needed(need)
        return open_source(data, columns=columns, need=must, also=also), MEDIA
    refused: list[DataError] = []
    for media in (MEDIA, ("audio",), ("image",)):
        try:
            return open_source(data, columns=columns, need=media), media
        except DataError as error:
            refused.append(error)
    raise refused[0]


def _of_source(source: Source, need: tuple[str, ...], who: Mapping[str, str], words: bool) -> RowFacts:
    rows = _Collector(str(source.path), source.extra_columns, who, words)
    seconds = array("d") if words else None
    hub = is_hub(source.path)
    items = iter(source) if words and not hub else items_skipping(source, lambda number, name: True)
    numbers = array("Q")
    for number, item in enumerate(progress(items, total=len(source), label="read")):
        if not rows.add(item):
            continue
        numbers.append(number)
        if seconds is not None and isinstance(item, Pair):
            seconds.append(float("nan") if hub or source.ready_spectrograms else _length(item.audio))
    links = {} if hub else _content(source, need, numbers)
    return rows.facts(links, None if seconds is None else np.array(seconds, np.float64), need)


def _content(source: Source, need: tuple[str, ...], rows: Sequence[int]) -> dict[str, Numbers]:
    """Return numbers of the rows' images and recordings, equal where their bytes are; silence is nothing."""

    def media(*names: str) -> Iterator[FileOrBytes | None]:
        return (whole_medium(pair, name) for pair in pairs_at(source, rows, "compare") for name in names)

    numbers = dict(zip(need, same_content(lambda: media(*need)).reshape(-1, len(need)).T, strict=True))
    if "audio" in need and not source.ready_spectrograms:
        numbers["audio"] = without_silence(numbers["audio"], lambda: media("audio"))
    return {_CALLED[medium]: found for medium, found in numbers.items()}


def _length(audio: Sound | None) -> float:
    from earthtone.errors import SignalError
    from earthtone.signal.audio import probe_audio

    try:
        return float("nan") if audio is None else probe_audio(audio).seconds
    except SignalError:
        return float("nan")


def _of_metadata(path: Path, columns: Mapping[str, str], who: Mapping[str, str], words: bool) -> RowFacts:
    if path.is_dir():
        found = [path / f"manifest{suffix}" for suffix in TABLES if (path / f"manifest{suffix}").is_file()]
        if len(found) != 1:
            raise ConfigError(f"{path}: --metadata_only needs the path of one table ({', '.join(TABLES)})")
        [path] = found
    if not path.is_file():
        raise DataError(f"{path} does not exist; a table ({', '.join(TABLES)}) expected")
    table = manifest_table(path)
    own = own_columns(table, columns, ())
    extra = extra_columns(table, own)
    reader = RowReader(path.parent, own, extra, ())
    rows = _Collector(str(path), tuple(extra), who, words)
    cells = {"image": array("q"), "recording": array("q")}
    carried = {name: own[medium] for name, medium in zip(cells, MEDIA, strict=True)
               if own.get(medium) in table.carried}  # fmt: skip
    seconds = array("d")
    length = next((extra[name] for name in extra if _plain(name) in ("seconds", "audio_seconds", "duration_s")), None)
    wanted = {column for name, column in own.items() if name not in MEDIA}.union(extra.values(), carried.values())
    for row in progress(table.rows(wanted), total=len(table), label="read"):
        if rows.add(reader.read(row)):
            for name, column in carried.items():
                cells[name].append(text_number(str(row.cells.get(column) or "")))
            if words:
                seconds.append(_number(row.cells.get(length) if length else None))
    links = {name: np.array(cells[name], np.int64) for name in carried}
    media = [medium for medium in MEDIA if own.get(medium) is not None]
    return rows.facts(links, np.array(seconds, np.float64) if words else None, media)


def _number(cell: object) -> float:
    try:
        found = float(str(cell))
    except ValueError:
        return float("nan")
    return found if 0 <= found < 1e9 else float("nan")


def _of_table(table: "Table", who: Mapping[str, str], words: bool) -> RowFacts:
    extra = table.extra_columns
    rows = _Collector(str(table.path), extra, who, words)
    texts = ["source", "license", "attribution"]
    wanted = list(dict.fromkeys([*texts, *(name for name in rows._wanted if name in extra)]))
    own = ["id", "longitude", "latitude", "datetime", "split"]
    for start in range(0, len(table), _PART):
        part = range(start, min(start + _PART, len(table)))
        for row in table.records(part, [*own, *wanted]):
            id, *place, time, split = (row[name] for name in own)
            rows.add_values(id, place[0], place[1], time, split, {name: row[name] for name in wanted})
    links = {"image": table.groups("image_hash"), "recording": table.groups("audio_hash")}
    return rows.facts(links, table.numbers("audio_seconds") if words else None)


def tells_place(name: str) -> bool:
    """Return whether a column tells a place, by its name: it is left out where places are made coarse."""
    return _PLACES.fullmatch(_plain(name)) is not None or _plain(name) in UNCERTAINTY


def _plain(name: str) -> str:
    return re.sub(r"[\s.:-]+", "_", name.strip().lower())


def _who(kind: str, extra: Iterable[str], named: str | None, path: str) -> str:
    """Return the column that names authors or recorders; empty where there is none. Raises ConfigError."""
    known = [*extra, "attribution", "source"]
    if named is not None:
        if named not in known:
            hint = did_you_mean(named, known)
            raise ConfigError(f"--column {named}: {path} has no such column; {hint}one of {', '.join(known)} expected")
        return named
    names = {_plain(name): name for name in reversed(list(extra))}
    likely = AUTHORS if kind == "author" else RECORDERS
    return next((names[name] for name in likely if name in names), "attribution" if kind == "author" else "")

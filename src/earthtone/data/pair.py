"""A pair of image and recording, and how a row of cells becomes one. Nothing is guessed."""

import datetime as dt
import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import unquote

from earthtone.errors import SignalError
from earthtone.signal.excerpt import Excerpt, Sound
from earthtone.signal.image import check_gsd_m
from earthtone.signal.remarks import NULL_ISLAND, OUT_OF_RANGE, SWAPPED, UNREADABLE_CELL, Remark

FileOrBytes = Path | bytes
EXCERPT_COLUMNS = ("start_s", "end_s")
"""Columns that say which seconds of a recording a row's sound is. They are carried through as free columns, too."""
SPLITS = ("train", "val", "test")

#: The names of a pair's own columns in every manifest and table; all other columns are carried through as `extra`.
PAIR_COLUMNS = (
    "id", "image", "audio", "longitude", "latitude", "datetime", "image_gsd_m",
    "source", "license", "attribution", "split",
)  # fmt: skip

#: The names of the columns that packing adds to them; no free column may have one of either.
PACKED_COLUMNS = (
    "image_hash", "audio_hash", "audio_frames", "audio_seconds", "audio_preview", "tile_side_m", "packing_notes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: coordinates in degrees (WGS 84), time in UTC, ground sample distance in metres a pixel."""

    id: str
    image: FileOrBytes | None
    audio: Sound | None
    longitude: float | None = None
    latitude: float | None = None
    datetime: dt.datetime | None = None
    image_gsd_m: float | None = None
    source: str | None = None
    license: str | None = None
    attribution: str | None = None
    split: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    """What was noticed about the row's cells; its files have remarks of their own."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used: counted by `kind`, named by `id`, explained by `detail`."""

    id: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something its user should know of a row that is used all the same; counted and named as a Problem is."""

    id: str
    kind: str
    detail: str


SAME_DEGREES = 1e-5  # about a metre: a point and its own columns, written with fewer digits
#: What tables hold where a value is not known, in small letters; blanks around it do not count.
UNKNOWN_WORDS = frozenset((
    "", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nat", "null", "none", "nil", "unknown", "missing", "undefined",
    "not available", "not applicable", "-", "--", "---", "\u2013", "\u2014", "?", ".", "\\n",
))  # fmt: skip
_SPLIT_NAMES = {"validation": "val", "valid": "val", "dev": "val"} | {name: name for name in SPLITS}
#: A whole date alone, or with a time; Python reads more, such as a week for its Monday.
_DATE = re.compile(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8})(?:[Tt _](.+))?", re.DOTALL)
_PART_OF_DATE = re.compile(r"[0-9]{4}(?:-(?:[0-9]{1,2}|[Ww][0-9]{2}))?(?:-00)?")
_DATE_WITH_ZEROS = re.compile(r"0{4}-?00-?00(?:[T ][0:.]*Z?)?")  # what databases write for no date
_OTHER_DATE = re.compile(r"[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4}\b.*", re.DOTALL)


class UnreadableCell(Exception):  # noqa: N818 - a signal between functions, never shown as an error
    """Why a cell is no value: its kind (that of a remark) and, as the message, what was found and expected."""

    def __init__(self, detail: str, kind: str = UNREADABLE_CELL) -> None:
        super().__init__(detail)
        self.kind = kind


def is_unknown(value: object) -> bool:
    """Return whether a cell says that there is no value: empty, NaN, or a word such as NA, null or -."""
    if isinstance(value, str):
        return value.strip().lower() in UNKNOWN_WORDS
    return value is None or _is_nan(value)


def checked_coordinates(longitude: object, latitude: object) -> tuple[float | None, float | None]:
    """Return (longitude, latitude) in degrees, or two Nones when both are unknown. Raises UnreadableCell."""
    east, north = _degrees(longitude, "longitude"), _degrees(latitude, "latitude")
    if east is None and north is None:
        return None, None
    if east is None or north is None:
        given, lacking = ("latitude", "longitude") if east is None else ("longitude", "latitude")
        raise UnreadableCell(f"{given} is given without {lacking}; give both or neither")
    if abs(east) <= 180 and abs(north) <= 90:
        return east, north
    if abs(east) <= 90 and abs(north) <= 180:
        raise UnreadableCell(
            f"longitude {east:g}, latitude {north:g} looks swapped; the order is (longitude, latitude)", SWAPPED
        )
    raise UnreadableCell(
        f"longitude {east:g}, latitude {north:g}; -180 to 180 and -90 to 90 degrees expected (WGS 84)", OUT_OF_RANGE
    )


def _degrees(value: object, name: str) -> float | None:
    try:
        return number(value)
    except UnreadableCell as why:
        raise UnreadableCell(f"{name} {why}") from why


def utc_datetime(value: object) -> datetime | None:
    """Return an ISO 8601 time (also basic, `20201104T170000`) in UTC; no offset means UTC, a date alone midnight.

    None where it is unknown. A year or a month alone is no date, and 03/04/2024 may be two: raises UnreadableCell.
    """
    if is_unknown(value):
        return None
    cell = value
    with suppress(ValueError, OverflowError):
        if isinstance(value, str):
            text = value.strip()
            if _DATE_WITH_ZEROS.fullmatch(text):
                return None
            if _DATE.fullmatch(text):
                value = datetime.fromisoformat(text.upper())
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    raise UnreadableCell(f"{clipped(cell)}{_why_no_date(cell)}; ISO 8601 expected, such as 2020-11-04T17:00Z")


def _why_no_date(value: object) -> str:
    text = value.strip() if isinstance(value, str) else str(value) if type(value) is int else ""
    if _PART_OF_DATE.fullmatch(text):
        return " is no whole date"
    if _OTHER_DATE.fullmatch(text):
        return " does not say which number is the month"
    return ""


def split_name(value: object) -> str | None:
    """Return train, val or test (`validation`, `valid`, `dev` are val); None where unknown. Raises UnreadableCell."""
    if is_unknown(value):
        return None
    split = _SPLIT_NAMES.get(value.strip().lower()) if isinstance(value, str) else None
    if split is None:
        raise UnreadableCell(f"split {clipped(value)}; {', '.join(SPLITS)} or nothing expected")
    return split


def metres_a_pixel(value: object) -> float | None:
    """Return metres a pixel, 0.001 to 100,000; None where unknown. Raises UnreadableCell."""
    metres = number(value)
    try:
        check_gsd_m(metres)
    except SignalError as error:
        raise UnreadableCell(str(error).removeprefix("image_gsd_m is ")) from error
    return metres


def number(value: object) -> float | None:
    """Return a finite number; None where it is unknown. Raises UnreadableCell."""
    if is_unknown(value):
        return None
    found = math.nan
    # bool is an int, and 1_000 a number, in Python alone
    if isinstance(value, int | float | Decimal | str) and not isinstance(value, bool) and "_" not in str(value)[:400]:
        with suppress(ValueError, OverflowError):
            found = float(value)
    if not math.isfinite(found):
        raise UnreadableCell(f"{clipped(value)}; a finite number expected, with a decimal point")
    return found


def known_text(value: object) -> str | None:
    """Return the text of a cell; None where it is unknown. Raises UnreadableCell for bytes."""
    if is_unknown(value):
        return None
    if isinstance(value, bytes):
        raise UnreadableCell(f"holds {len(value)} bytes; text expected")
    return extra_text(value)


def extra_text(value: object) -> str:
    """Return the text under which a free column is carried; nothing, also NaN, is an empty text."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool | list | Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if _is_nan(value) else str(value)


def clipped(value: object, length: int = 120) -> str:
    """Return a value as an error message shows it: quoted and not too long."""
    if isinstance(value, str | bytes):
        value = value[: length + 1]  # the repr of a giant would be one more giant
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 4]}...{text[-1]}"


def _is_nan(value: object) -> bool:
    return (isinstance(value, float) and math.isnan(value)) or (isinstance(value, Decimal) and value.is_nan())


MOST_NAMES = 500_000  # names of files that are kept to be compared, 100 MB at most
_MOST_PARTS = 32  # folders in a path; a hostile one may have thousands


class NearNames:
    """Looks for the file that a table may mean where it names none: for messages, never to open it instead.

    It lists each folder once, and at most half a million names in all.
    """

    def __init__(self) -> None:
        self._listed: dict[Path, tuple[dict[str, str], dict[str, str]]] = {}
        self._room = MOST_NAMES

    def hint(self, folder: Path, name: str) -> str:
        """Return what to say after "is not a file": the file below `folder` that is nearly `name`, or nothing."""
        try:
            found = self._found(folder, name)
        except (OSError, ValueError):  # a folder that cannot be listed, a name that the system refuses
            return ""
        return "" if found is None else f"; {found!r} is there ({_difference(name, found)}): write it so"

    def _found(self, folder: Path, name: str) -> str | None:
        plain = name.strip().strip("'\"").strip().replace("\\", "/")
        parts = PurePosixPath(plain).parts
        if not parts or len(parts) > _MOST_PARTS:
            return None
        for wanted in dict.fromkeys((plain, unquote(plain))):
            if (found := self._nearest(folder, PurePosixPath(wanted))) is not None:
                return found.as_posix()
        tails = [PurePosixPath(*parts[count:]) for count in range(1, len(parts))]
        elsewhere = [*tails, PurePosixPath("..", *parts)]
        return next((path.as_posix() for path in elsewhere if (folder / path).is_file()), None)

    def _nearest(self, folder: Path, name: PurePosixPath) -> PurePosixPath | None:
        """Return the path of the file with nearly this name, part by part, or None."""
        here = PurePosixPath()
        for depth, part in enumerate(name.parts, 1):
            last = depth == len(name.parts)
            step = here / part
            if not ((folder / step).is_file() if last else (folder / step).is_dir()):
                names, stems = self._names(folder / here)
                near = names.get(_key(part)) or (stems.get(_key(PurePosixPath(part).stem)) if last else None)
                if near is None:
                    return None
                step = here / near
            here = step
        return here if (folder / here).is_file() else None

    def _names(self, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
        """Return the names in a folder by their keys, and those of files by the keys of their stems."""
        if folder not in self._listed:
            with os.scandir(folder) as entries:
                found = sorted(entry.name for entry in islice(entries, self._room))
            self._room -= len(found)
            names = {_key(name): name for name in reversed(found)}
            self._listed[folder] = names, {_key(PurePosixPath(name).stem): name for name in reversed(found)}
        return self._listed[folder]


def _key(name: str) -> str:
    """Return what is the same of names that differ in case, in blanks, or in how Unicode composes their letters."""
    return "".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def _difference(name: str, found: str) -> str:
    """Return in what the name of the table and that of the file differ; the two may look the same."""
    if name.strip() == found:
        return "without the blanks around it"
    if "\\" in name:
        return "with / between folders"
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", found):
        form = "NFC" if unicodedata.is_normalized("NFC", found) else "NFD"
        return f"its letters are composed otherwise, as Unicode {form}"
    if unicodedata.normalize("NFC", name).casefold() == unicodedata.normalize("NFC", found).casefold():
        return "with other capital letters"
    if PurePosixPath(name).name == PurePosixPath(found).name:
        return "in another folder"
    if PurePosixPath(name).stem == PurePosixPath(found).stem:
        return "with another ending"
    return "with nearly this name"


MISSING_IMAGE = "missing image"
MISSING_AUDIO = "missing audio"
NO_MEDIA = "no image and no audio"
NO_ID = "no id"
DUPLICATE_ID = "duplicate id"
BAD_SPLIT = "bad split"
BAD_NUMBER = "bad number"
BAD_ROW = "bad row"
#: Every kind of Problem that reading a source can yield. Each of them leaves the row out.
ROW_PROBLEMS = (MISSING_IMAGE, MISSING_AUDIO, NO_MEDIA, NO_ID, DUPLICATE_ID, BAD_SPLIT, BAD_NUMBER, BAD_ROW)
#: Every kind of Remark about cells: the row stays, without the value where it cannot be read.
CELL_REMARKS = (UNREADABLE_CELL, SWAPPED, OUT_OF_RANGE, NULL_ISLAND)

MEDIA = ("image", "audio")
T = TypeVar("T")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class Row:
    """What a table holds in one row: where it stands in the file, its cells, its point (longitude, latitude).

    `fault` is a kind and a detail when the table itself already knows that the row cannot be read, `point_fault` says
    why its geometry is no point: the row's own columns then tell the place, if they do.
    """

    where: str
    cells: Mapping[str, object]
    point: tuple[object, object] | None = None
    fault: tuple[str, str] | None = None
    point_fault: str | None = None


class UnusableRow(Exception):  # noqa: N818 - a signal between functions, never shown as an error
    """A row's first problem: its kind and, as the message, its detail."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class RowReader:
    """Turns the rows of one pass over a source into pairs and problems, exactly one item a row.

    A cell of an optional column that cannot be read costs its value: the pair then has a remark. A split that cannot
    be read costs the row, since a test row must not be dealt out anew. A row must have the media `need`; those in
    `also` are optional, but one of them a row must have where it needs none.

    It remembers ids as their 64-bit hashes in a set (about 90 bytes a row; a false "duplicate id" has a chance of
    3 in 100 million for a million rows). `columns` maps a pair's own column names to those of the file, `extra` the
    names under which free columns are carried.
    """

    def __init__(
        self,
        folder: Path,
        columns: Mapping[str, str],
        extra: Mapping[str, str],
        need: tuple[str, ...] = MEDIA,
        also: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self._columns = columns
        self._extra = extra
        self._need, self._also = need, also
        self._near = NearNames()
        self._seen: set[int] = set()

    def read(self, row: Row, *, media_read: bool = True) -> Pair | Problem:
        """Return the row's pair, or its first problem; the problem's `id` is the row's place where it has no id.

        Without `media_read` the pair comes without its media.
        """
        name = row.where
        try:
            if row.fault is not None:
                raise UnusableRow(*row.fault)
            name = self._id(row)
            if (key := hash(name)) in self._seen:
                raise UnusableRow(DUPLICATE_ID, f"id {clipped(name)} occurred before; the first row is kept")
            self._seen.add(key)
            return self._pair(name, row, media_read=media_read)
        except UnusableRow as problem:
            return Problem(name, problem.kind, f"{row.where}: {problem}; the row is left out")

    def _pair(self, name: str, row: Row, *, media_read: bool) -> Pair:
        remarks: list[Remark] = []
        longitude, latitude = self._place(row, remarks)
        image, audio = self._media(row, remarks) if media_read else (None, None)
        return Pair(
            id=name,
            image=image,
            audio=audio,
            longitude=longitude,
            latitude=latitude,
            datetime=self._optional(row, "datetime", utc_datetime, remarks),
            image_gsd_m=self._optional(row, "image_gsd_m", metres_a_pixel, remarks),
            source=self._optional(row, "source", known_text, remarks),
            license=self._optional(row, "license", known_text, remarks),
            attribution=self._optional(row, "attribution", known_text, remarks),
            split=self._split(row),
            extra={name: extra_text(row.cells.get(column)) for name, column in self._extra.items()},
            remarks=tuple(remarks),
        )

    def _media(self, row: Row, remarks: list[Remark]) -> tuple[FileOrBytes | None, Sound | None]:
        """Return a row's image and recording, each None where it is not asked for, or is optional and lacks.

        An optional one that is named but not there costs a remark. Raises UnusableRow.
        """
        image = self._optional_medium(row, "image", self._picture, remarks)
        audio = self._optional_medium(row, "audio", self._sound, remarks)
        if image is None and audio is None and self._also and not self._need:
            raise UnusableRow(NO_MEDIA, "the cells for image and audio are empty, or name nothing that is there")
        return image, audio

    def _optional_medium(self, row: Row, name: str, read: Callable[[Row], T], remarks: list[Remark]) -> T | None:
        if name in self._need:
            return read(row)
        if name not in self._also or _is_no_medium(_named(self._cell(row, name))):
            return None
        try:
            return read(row)
        except UnusableRow as why:
            remarks.append(_without(row.where, str(why), why.kind))
            return None

    def _picture(self, row: Row) -> FileOrBytes:
        return media(self._cell(row, "image"), self._folder, "image", self._near)

    def _sound(self, row: Row) -> Sound:
        """Return a row's recording, or the excerpt of it that `start_s` and `end_s` name.

        Where they cannot be read the row is left out: its whole recording would be another sound.
        """
        found = media(self._cell(row, "audio"), self._folder, "audio", self._near)
        start, end = (self._seconds(row, name) for name in EXCERPT_COLUMNS)
        if start is None and end is None:
            return found
        try:
            return Excerpt(found, start or 0.0, end)
        except SignalError as error:
            raise UnusableRow(BAD_NUMBER, str(error)) from error

    def _seconds(self, row: Row, name: str) -> float | None:
        try:
            return number(self._cell(row, name))
        except UnreadableCell as why:
            raise UnusableRow(BAD_NUMBER, f"{name} {why}") from why

    def _cell(self, row: Row, name: str) -> object:
        """Return the cell of an own column; None when there is no such column or its text is empty."""
        column = self._columns.get(name)
        value = None if column is None else row.cells.get(column)
        return None if value == "" else value

    def _id(self, row: Row) -> str:
        cell = self._cell(row, "id")
        name = extra_text(cell)
        if isinstance(cell, bytes) or not name.strip():
            found = "holds bytes; every row needs an id as text"
            found = found if isinstance(cell, bytes) else "is empty; every row needs an id of its own"
            raise UnusableRow(NO_ID, f"column {self._columns['id']!r} {found}")
        return name

    def _optional(self, row: Row, name: str, read: Callable[[object], T | None], remarks: list[Remark]) -> T | None:
        """Return what a cell holds, or None and one more remark when it cannot be read."""
        try:
            return read(self._cell(row, name))
        except UnreadableCell as why:
            remarks.append(_without(row.where, f"{name} {why}", why.kind))
            return None

    def _split(self, row: Row) -> str | None:
        try:
            return split_name(self._cell(row, "split"))
        except UnreadableCell as why:
            raise UnusableRow(BAD_SPLIT, str(why)) from why

    def _place(self, row: Row, remarks: list[Remark]) -> tuple[float | None, float | None]:
        """Return longitude and latitude, or two Nones; adds to the remarks what they tell.

        A geometry counts before the row's own columns, but for one that cannot be read; they must not contradict it.
        """
        columns: tuple[float | None, float | None] = None, None
        point = columns
        try:
            columns = checked_coordinates(self._cell(row, "longitude"), self._cell(row, "latitude"))
        except UnreadableCell as why:
            remarks.append(_without(row.where, str(why), why.kind))
        try:
            if row.point_fault is not None:
                raise UnreadableCell(row.point_fault)
            point = columns if row.point is None else checked_coordinates(*row.point)
        except UnreadableCell as why:
            remarks.append(_without(row.where, f"geometry: {why}", why.kind))
        if None in point:
            point = columns
        if None not in columns and not _same_place(point, columns):
            detail = f"the geometry is at {point}, the row's own columns say {columns}"
            remarks.append(_without(row.where, detail, UNREADABLE_CELL))
            return None, None
        if None not in point and _same_place(point, (0.0, 0.0)):
            detail = f"longitude {point[0]:g}, latitude {point[1]:g} is a place in the Gulf of Guinea"
            detail = f"{row.where}: {detail}; where the place is unknown, leave both cells empty"
            remarks.append(Remark(NULL_ISLAND, detail))
        return point


def media(value: object, folder: Path, name: str, near: NearNames) -> FileOrBytes:
    """Return an existing file (relative to `folder`), or bytes; a struct {bytes, path} gives its bytes first.

    Raises UnusableRow; where `near` knows a file with nearly the name, the message tells it.
    """
    kind = f"missing {name}"
    value = _named(value)
    if _is_no_medium(value):
        raise UnusableRow(kind, f"the {name} cell is empty")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise UnusableRow(kind, f"the {name} cell holds a {type(value).__name__}; a path or bytes were expected")
    if value.startswith("file://"):
        raise UnusableRow(kind, f"{name} {clipped(value)} is a file:// address; write it as a plain path")
    if _URL.match(value):
        raise UnusableRow(kind, f"{name} {clipped(value)} is a remote address; download it, then name the local file")
    path = folder / value
    if not is_file(path):
        raise UnusableRow(kind, f"{name} {clipped(str(path))} is not a file{near.hint(folder, value)}")
    return path


def _named(value: object) -> object:
    """Return the bytes or the path in a cell."""
    return value.get("bytes") or value.get("path") if isinstance(value, Mapping) else value


def _is_no_medium(value: object) -> bool:
    return not value or (isinstance(value, float) and is_unknown(value))


def is_file(path: Path) -> bool:
    """Return whether `path` is a file; a name that the system refuses is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _same_place(one: tuple[float | None, float | None], other: tuple[float | None, float | None]) -> bool:
    return all(math.isclose(a or 0, b or 0, abs_tol=SAME_DEGREES) for a, b in zip(one, other, strict=True))


def _without(where: str, detail: str, kind: str) -> Remark:
    return Remark(kind, f"{where}: {detail}; the row is kept without it")

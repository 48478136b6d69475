"""One row of cells to a pair, or to the problem that keeps it from being one. Nothing is guessed."""

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from earthtone.data.pair import SPLITS, FileOrBytes, Pair, Problem
from earthtone.errors import SignalError
from earthtone.signal.scale import check_gsd_m

MISSING_IMAGE = "missing image"
MISSING_AUDIO = "missing audio"
NO_ID = "no id"
DUPLICATE_ID = "duplicate id"
OUT_OF_RANGE = "coordinates out of range"
SWAPPED = "coordinates swapped?"
BAD_COORDINATES = "bad coordinates"
BAD_DATETIME = "bad datetime"
BAD_SPLIT = "bad split"
BAD_NUMBER = "bad number"
BAD_ROW = "bad row"
#: Every kind of Problem that reading a source can yield. Each of them leaves the row out.
ROW_PROBLEMS = (
    MISSING_IMAGE, MISSING_AUDIO, NO_ID, DUPLICATE_ID, OUT_OF_RANGE, SWAPPED, BAD_COORDINATES,
    BAD_DATETIME, BAD_SPLIT, BAD_NUMBER, BAD_ROW,
)  # fmt: skip

MEDIA = ("image", "audio")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SPLIT_NAMES = {"validation": "val", "valid": "val", "dev": "val"} | {name: name for name in SPLITS}
_SAME_DEGREES = 1e-5  # about a metre: a point and its own columns, written with fewer digits


@dataclass(frozen=True, slots=True)
class Row:
    """What a table holds in one row: where it stands in the file, its cells, its point (longitude, latitude).

    `fault` is a kind and a detail when the table itself already knows that the row cannot be read.
    """

    place: str
    cells: Mapping[str, object]
    point: tuple[object, object] | None = None
    fault: tuple[str, str] | None = None


class UnusableRow(Exception):  # noqa: N818 - a signal between functions, never shown as an error
    """A row's first problem: its kind and, as the message, its detail."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class RowReader:
    """Turns the rows of one pass over a source into pairs and problems, exactly one item a row.

    It remembers ids as their 64-bit hashes in a set (about 90 bytes a row; a false "duplicate id" has a chance of
    3 in 100 million for a million rows). `columns` maps a pair's own column names to those of the file.
    """

    def __init__(
        self, folder: Path, columns: Mapping[str, str], extra: tuple[str, ...], need: tuple[str, ...] = MEDIA
    ) -> None:
        self._folder = folder
        self._columns = columns
        self._extra = extra
        self._need = need
        self._seen: set[int] = set()

    def read(self, row: Row, need: tuple[str, ...] | None = None) -> Pair | Problem:
        """Return the row's pair, or its first problem; the problem's `id` is the row's place where it has no id.

        `need` are the media of this row, when they are others than the pass's.
        """
        if row.fault is not None:
            return Problem(row.place, row.fault[0], _left_out(row.place, row.fault[1]))
        name = row.place
        try:
            name = self._id(row)
            self._refuse_duplicate(name)
            return self._pair(name, row, self._need if need is None else need)
        except UnusableRow as problem:
            return Problem(name, problem.kind, _left_out(row.place, str(problem)))

    def _pair(self, name: str, row: Row, need: tuple[str, ...]) -> Pair:
        longitude, latitude = self._coordinates(row)
        return Pair(
            id=name,
            image=self._media(row, "image", MISSING_IMAGE) if "image" in need else None,
            audio=self._media(row, "audio", MISSING_AUDIO) if "audio" in need else None,
            longitude=longitude,
            latitude=latitude,
            datetime=utc_datetime(self._cell(row, "datetime")),
            image_gsd_m=_metres(self._cell(row, "image_gsd_m")),
            source=_text(self._cell(row, "source")),
            license=_text(self._cell(row, "license")),
            attribution=_text(self._cell(row, "attribution")),
            split=_split(self._cell(row, "split")),
            extra={name: extra_text(row.cells.get(name)) for name in self._extra},
        )

    def _cell(self, row: Row, name: str) -> object:
        """Return the cell of an own column; None when there is no such column or its text is empty."""
        column = self._columns.get(name)
        value = None if column is None else row.cells.get(column)
        return None if value == "" else value

    def _id(self, row: Row) -> str:
        name = _text(self._cell(row, "id"))
        if name is None or not name.strip():
            raise UnusableRow(NO_ID, f"column {self._columns['id']!r} is empty; every row needs an id of its own")
        return name

    def _refuse_duplicate(self, name: str) -> None:
        key = hash(name)
        if key in self._seen:
            raise UnusableRow(DUPLICATE_ID, f"id {name!r} occurred before; the first row is kept")
        self._seen.add(key)

    def _coordinates(self, row: Row) -> tuple[float | None, float | None]:
        columns = checked_coordinates(self._cell(row, "longitude"), self._cell(row, "latitude"))
        if row.point is None:
            return columns
        point = checked_coordinates(*row.point)
        if None not in columns and not all(
            math.isclose(a or 0, b or 0, abs_tol=_SAME_DEGREES) for a, b in zip(point, columns, strict=True)
        ):
            raise UnusableRow(BAD_COORDINATES, f"the geometry is at {point}, the row's own columns say {columns}")
        return point

    def _media(self, row: Row, name: str, kind: str) -> FileOrBytes:
        return media(self._cell(row, name), self._folder, name, kind)


def media(value: object, folder: Path, name: str, kind: str) -> FileOrBytes:
    """Return an existing file (relative to `folder`), or bytes; a struct {bytes, path} gives its bytes first."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if not value:
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
        raise UnusableRow(kind, f"{name} {clipped(str(path))} is not a file")
    return path


def is_file(path: Path) -> bool:
    """Return whether `path` is a file; a name that the system refuses is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def checked_coordinates(longitude: object, latitude: object) -> tuple[float | None, float | None]:
    """Return (longitude, latitude) in degrees, or two Nones when both are unknown. Raises UnusableRow."""
    east, north = _number(longitude, "longitude", BAD_COORDINATES), _number(latitude, "latitude", BAD_COORDINATES)
    if east is None and north is None:
        return None, None
    if east is None or north is None:
        given, lacking = ("latitude", "longitude") if east is None else ("longitude", "latitude")
        raise UnusableRow(BAD_COORDINATES, f"{given} is given without {lacking}; give both or neither")
    if abs(east) <= 180 and abs(north) <= 90:
        return east, north
    if abs(east) <= 90 and abs(north) <= 180:
        raise UnusableRow(
            SWAPPED, f"longitude {east:g}, latitude {north:g} looks swapped; the order is (longitude, latitude)"
        )
    raise UnusableRow(
        OUT_OF_RANGE, f"longitude {east:g}, latitude {north:g}; -180 to 180 and -90 to 90 degrees expected (WGS 84)"
    )


def utc_datetime(value: object) -> datetime | None:
    """Return an ISO 8601 time (also basic, `20201104T170000`) in UTC; no offset means UTC, a date alone midnight."""
    if value is None:
        return None
    with suppress(ValueError, OverflowError):
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    raise UnusableRow(
        BAD_DATETIME, f"datetime {clipped(value)}; ISO 8601 expected, such as 2020-11-04T17:00Z, or nothing"
    )


def lenient_datetime(value: object) -> tuple[datetime | None, bool]:
    """Return a published date in UTC, or None, and whether it could be read: the row is of use without it."""
    try:
        return utc_datetime((value.strip() or None) if isinstance(value, str) else value), True
    except UnusableRow:
        return None, False


def extra_text(value: object) -> str:
    """Return the text under which a free column is carried; nothing, also a number that is none, is an empty text."""
    if value is None or isinstance(value, str):
        return value or ""
    if value != value:  # NaN, which pandas writes for a missing number, and NaT
        return ""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool | list | Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def clipped(value: object, length: int = 120) -> str:
    """Return a value as an error message shows it: quoted and not too long."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 4]}...{text[-1]}"


def _text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return extra_text(value) or None


def _split(value: object) -> str | None:
    if value is None:
        return None
    split = _SPLIT_NAMES.get(value.strip().lower()) if isinstance(value, str) else None
    if split is None:
        raise UnusableRow(BAD_SPLIT, f"split {clipped(value)}; {', '.join(SPLITS)} or nothing expected")
    return split


def _metres(value: object) -> float | None:
    metres = _number(value, "image_gsd_m", BAD_NUMBER)
    try:
        check_gsd_m(metres)
    except SignalError as error:
        raise UnusableRow(BAD_NUMBER, str(error)) from error
    return metres


def _number(value: object, name: str, kind: str) -> float | None:
    """Return a finite number; None for an empty cell."""
    if value is None or value == "":
        return None
    number = math.nan
    # bool is an int, and 1_000 a number, in Python alone
    if isinstance(value, int | float | Decimal | str) and not isinstance(value, bool) and "_" not in str(value):
        with suppress(ValueError, OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise UnusableRow(kind, f"{name} {clipped(value)} is not a finite number")
    return number


def _left_out(place: str, detail: str) -> str:
    return f"{place}: {detail}; the row is left out"

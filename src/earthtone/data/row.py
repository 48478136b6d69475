"""One row of cells to a pair, or to the problem that keeps it from being one. Nothing is guessed."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from earthtone.data.cell import (
    SAME_DEGREES,
    UnreadableCell,
    checked_coordinates,
    clipped,
    extra_text,
    is_unknown,
    known_text,
    metres_a_pixel,
    split_name,
    utc_datetime,
)  # fmt: skip
from earthtone.data.near_name import NearNames
from earthtone.data.pair import FileOrBytes, Pair, Problem
from earthtone.signal.remarks import NULL_ISLAND, OUT_OF_RANGE, SWAPPED, UNREADABLE_CELL, Remark

MISSING_IMAGE = "missing image"
MISSING_AUDIO = "missing audio"
NO_ID = "no id"
DUPLICATE_ID = "duplicate id"
BAD_SPLIT = "bad split"
BAD_NUMBER = "bad number"
BAD_ROW = "bad row"
#: Every kind of Problem that reading a source can yield. Each of them leaves the row out.
ROW_PROBLEMS = (MISSING_IMAGE, MISSING_AUDIO, NO_ID, DUPLICATE_ID, BAD_SPLIT, BAD_NUMBER, BAD_ROW)
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

    place: str
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
    be read costs the row, since a test row must not be dealt out anew.

    It remembers ids as their 64-bit hashes in a set (about 90 bytes a row; a false "duplicate id" has a chance of
    3 in 100 million for a million rows). `columns` maps a pair's own column names to those of the file, `extra` the
    names under which free columns are carried.
    """

    def __init__(
        self, folder: Path, columns: Mapping[str, str], extra: Mapping[str, str], need: tuple[str, ...] = MEDIA
    ) -> None:
        self._folder = folder
        self._columns = columns
        self._extra = extra
        self._need = need
        self._near = NearNames()
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
        remarks: list[Remark] = []
        longitude, latitude = self._place(row, remarks)
        return Pair(
            id=name,
            image=self._media(row, "image", MISSING_IMAGE) if "image" in need else None,
            audio=self._media(row, "audio", MISSING_AUDIO) if "audio" in need else None,
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

    def _cell(self, row: Row, name: str) -> object:
        """Return the cell of an own column; None when there is no such column or its text is empty."""
        column = self._columns.get(name)
        value = None if column is None else row.cells.get(column)
        return None if value == "" else value

    def _id(self, row: Row) -> str:
        cell = self._cell(row, "id")
        if isinstance(cell, bytes):
            raise UnusableRow(NO_ID, f"column {self._columns['id']!r} holds bytes; every row needs an id as text")
        name = extra_text(cell)
        if not name.strip():
            raise UnusableRow(NO_ID, f"column {self._columns['id']!r} is empty; every row needs an id of its own")
        return name

    def _refuse_duplicate(self, name: str) -> None:
        key = hash(name)
        if key in self._seen:
            raise UnusableRow(DUPLICATE_ID, f"id {clipped(name)} occurred before; the first row is kept")
        self._seen.add(key)

    def _optional(self, row: Row, name: str, read: Callable[[object], T | None], remarks: list[Remark]) -> T | None:
        """Return what a cell holds, or None and one more remark when it cannot be read."""
        try:
            return read(self._cell(row, name))
        except UnreadableCell as why:
            remarks.append(_without(row.place, f"{name} {why}", why.kind))
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
            remarks.append(_without(row.place, str(why), why.kind))
        try:
            if row.point_fault is not None:
                raise UnreadableCell(row.point_fault)
            point = columns if row.point is None else checked_coordinates(*row.point)
        except UnreadableCell as why:
            remarks.append(_without(row.place, f"geometry: {why}", why.kind))
        if None in point:
            point = columns
        if None not in columns and not _same_place(point, columns):
            detail = f"the geometry is at {point}, the row's own columns say {columns}"
            remarks.append(_without(row.place, detail, UNREADABLE_CELL))
            return None, None
        if None not in point and _same_place(point, (0.0, 0.0)):
            where = f"{row.place}: longitude {point[0]:g}, latitude {point[1]:g} is a place in the Gulf of Guinea"
            remarks.append(Remark(NULL_ISLAND, f"{where}; where the place is unknown, leave both cells empty"))
        return point

    def _media(self, row: Row, name: str, kind: str) -> FileOrBytes:
        return media(self._cell(row, name), self._folder, name, kind, self._near)


def media(value: object, folder: Path, name: str, kind: str, near: NearNames) -> FileOrBytes:
    """Return an existing file (relative to `folder`), or bytes; a struct {bytes, path} gives its bytes first.

    Raises UnusableRow; where `near` knows a file with nearly the name, the message tells it.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if not value or (isinstance(value, float) and is_unknown(value)):
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


def is_file(path: Path) -> bool:
    """Return whether `path` is a file; a name that the system refuses is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _same_place(one: tuple[float | None, float | None], other: tuple[float | None, float | None]) -> bool:
    return all(math.isclose(a or 0, b or 0, abs_tol=SAME_DEGREES) for a, b in zip(one, other, strict=True))


def _without(place: str, detail: str, kind: str) -> Remark:
    return Remark(kind, f"{place}: {detail}; the row is kept without it")


def _left_out(place: str, detail: str) -> str:
    return f"{place}: {detail}; the row is left out"

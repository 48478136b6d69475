"""A query of an archive in parts, such as the two halves of a box across 180 degrees, walked one after the other."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from earthtone.build.sources.source import Page, Recording, number_of, said_by_host
from earthtone.errors import DataError

Part = TypeVar("Part")
#: west, south, east, north in degrees.
Box = tuple[float, float, float, float]
_CURSOR = re.compile(r"(\d{1,6}):(\d{1,18})")


@dataclass
class Found:
    """What one request brought; rows that are no recordings are counted in `left_out`, by reason."""

    more: int | None = None
    """From where the part goes on; null: it ends here."""
    total: int | None = None
    """How many rows the part has from its beginning, where the archive says so."""
    rows: int = 0
    recordings: list[Recording] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    remarks: tuple[str, ...] = ()


def walk(parts: Sequence[Part], cursor: str | None, first: int, ask: Callable[[Part, int], Found]) -> Iterator[Page]:
    """Yield the pages of all parts from a cursor, `PART:POSITION`; each part begins at `first`. Raises DataError."""
    number, position = _read(cursor, first, len(parts))
    while number < len(parts):
        found = ask(parts[number], position)
        if found.more is not None and found.more <= position:
            raise DataError(f"after {position} comes {found.more}: the archive's pages lead back; type the same again")
        number, position = (number + 1, first) if found.more is None else (number, found.more)
        yield Page(
            tuple(found.recordings),
            f"{number}:{position}" if number < len(parts) else None,
            found.total if len(parts) == 1 else None,
            found.left_out,
            found.rows,
            found.remarks,
        )


def _read(cursor: str | None, first: int, parts: int) -> tuple[int, int]:
    if cursor is None:
        return 0, first
    match = _CURSOR.fullmatch(cursor)
    if match is None or int(match[1]) >= parts or int(match[2]) < first:
        raise DataError(f"{cursor!r:.60} is no place in this list; PART:POSITION expected, begin in another folder")
    return int(match[1]), int(match[2])


def rows_of(said: Any, name: str, archive: str) -> list[Mapping[str, Any]]:
    """Return the rows of an answer, those that are objects. Raises DataError for another answer."""
    rows = said.get(name) if isinstance(said, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{archive} answers without a list of {name}; its interface expected: did it change?")
    return [row if isinstance(row, dict) else {} for row in rows]


def listed(value: object) -> list[Any]:
    """Return a list of JSON; an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def place_of(latitude: object, longitude: object) -> tuple[float, float] | tuple[None, None]:
    """Return (longitude, latitude) of two numbers, which may be texts; two Nones unless both can be read."""
    north, east = number_of(latitude), number_of(longitude)
    return (None, None) if north is None or east is None else (east, north)


def day_of(text: str) -> str:
    """Return as much of a day as a text tells, `2024-05-11` or `2024-05` of `2024-05-00`; empty where it tells none.

    >>> day_of("2024-05-00"), day_of("2024-00-00"), day_of("2024-02-30")
    ('2024-05', '2024', '')
    """
    match = re.fullmatch(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", text.strip())
    if match is None or match[1] == "0000":
        return ""
    year, month, day = match[1], match[2] or "00", match[3] or "00"
    if month == "00" or day == "00":
        return year if month == "00" else f"{year}-{month}" if month <= "12" else ""
    try:
        return str(date.fromisoformat(f"{year}-{month}-{day}"))
    except ValueError:
        return ""


def moment_of(text: str) -> tuple[str, bool]:
    """Return a time as ISO 8601 and whether it tells its zone; of a day alone the day; empty where it is none.

    >>> moment_of("2021-06-25T22:18:43+02:00"), moment_of("2021-06-25T05:45"), moment_of("2021-06-25")
    (('2021-06-25T22:18:43+02:00', True), ('2021-06-25T05:45:00', False), ('2021-06-25', False))
    """
    text = text.strip()
    if len(text) <= 10:
        return day_of(text), False
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return "", False
    return found.isoformat(), found.tzinfo is not None


def words_without(body: bytes, key: str) -> str:
    """Return the words of an error's body without a key, in whichever form it stands there."""
    words = said_by_host(body)
    for form in sorted({key, quote(key), quote(key, ""), quote_plus(key)} - {""}, key=len, reverse=True):
        words = words.replace(form, "***")
    return words

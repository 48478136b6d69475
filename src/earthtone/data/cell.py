"""One cell of a table to a value, to nothing where it is unknown, or to why it cannot be read. Nothing is guessed."""

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal

from earthtone.data.pair import SPLITS
from earthtone.errors import SignalError
from earthtone.signal.remarks import OUT_OF_RANGE, SWAPPED, UNREADABLE_CELL
from earthtone.signal.scale import check_gsd_m

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

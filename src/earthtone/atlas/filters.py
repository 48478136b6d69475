"""Which rows of a table of embeddings a search looks at: by place, time, source, licence, modality, any column.

Filters are joined by "and" and decide before the search, so that it finds k rows wherever k pass. A row whose place,
time or value is unknown does not pass, and is counted. Times are UTC, but for solar hours, which are counted from the
sun: 12 is when it stands highest, give or take 16 minutes.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from earthtone.atlas.embeddings import VECTOR, EmbeddingTable
from earthtone.build.regions import read_region
from earthtone.errors import ConfigError, DataError, did_you_mean, one_line

Mask: TypeAlias = NDArray[np.bool_]
Columns: TypeAlias = Mapping[str, pa.Array]

_BATCH_ROWS = 65_536
_EDGE = 1e-9  # degrees, a tenth of a millimetre: points on the edge of a box are in it, however they were rounded
_HOUR_US = 3_600 * 10**6
_DAY_US = 24 * _HOUR_US
_DEGREE_US = _DAY_US // 360
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SEASONS = {"winter": 0, "spring": 1, "summer": 2, "autumn": 3, "fall": 3}  # of the north, from December on


@dataclass(frozen=True)
class Filter:
    """A condition on a row."""

    text: str
    """As users write it: `box 5,45,10,50`."""
    columns: tuple[str, ...]
    """What it looks at."""
    test: Callable[[Columns], tuple[Mask, Mask]]
    """From the columns of n rows to which of them pass (n,), and of which it is unknown (n,)."""


@dataclass(frozen=True)
class Step:
    """What one filter did."""

    text: str
    passed: int
    """Rows that pass this filter, whatever the others say."""
    unknown: int
    """Rows that do not pass since they do not say."""
    left: int
    """Rows that pass this filter and all before it."""


@dataclass(frozen=True)
class Passing:
    """The rows that pass all filters."""

    rows: NDArray[np.int64]
    """Row numbers, ascending."""
    of: int
    """Rows of the table."""
    steps: tuple[Step, ...]

    def sentence(self) -> str:
        """Return what passed what, in one line."""
        told = [
            f"{step.text}: {step.passed:,}{f' ({step.unknown:,} unknown)' if step.unknown else ''}"
            for step in self.steps
        ]
        return one_line(f"{len(self.rows):,} of {self.of:,} rows pass" + (f" ({'; '.join(told)})" if told else ""))


def passing_rows(table: EmbeddingTable, filters: Sequence[Filter]) -> Passing:
    """Return the rows that pass all filters, none of them read whole.

    Raises ConfigError for a column that is not there, or of another kind than the filter compares; DataError where no
    row passes, with what each filter left and, for texts, what the table has instead.
    """
    names = sorted({name for one in filters for name in one.columns})
    for name in names:
        if name not in table.names:
            raise ConfigError(
                f"column {name!r} is not in {table.path}; {did_you_mean(name, table.names)}it has: "
                f"{', '.join(table.names)}"
            )
    if not filters:
        return Passing(np.arange(len(table), dtype=np.int64), len(table), ())
    counts = np.zeros((len(filters), 3), np.int64)
    kept, start = [np.empty(0, np.int64)], 0
    for batch in table.dataset.to_batches(columns=names, batch_size=_BATCH_ROWS):
        columns = {name: batch[name] for name in names}
        left = np.ones(batch.num_rows, np.bool_)
        for number, one in enumerate(filters):
            passed, unknown = one.test(columns)
            left &= passed
            counts[number] += passed.sum(), unknown.sum(), left.sum()
        kept.append(np.flatnonzero(left) + start)
        start += batch.num_rows
    steps = tuple(Step(one.text, *map(int, count)) for one, count in zip(filters, counts, strict=True))
    found = Passing(np.concatenate(kept), start, steps)
    if not len(found.rows):
        raise DataError(_why_none(table, filters, found))
    return found


def _why_none(table: EmbeddingTable, filters: Sequence[Filter], found: Passing) -> str:
    """Return why no row passes: the first filter that left nothing, and what it could have left."""
    number = next((number for number, step in enumerate(found.steps) if not step.left), 0)
    step, before = found.steps[number], found.steps[:number]
    unknown = f", {step.unknown:,} do not say" if step.unknown else ""
    if step.passed:
        told = "; ".join(f"{one.text} leaves {one.left:,}" for one in before)
        said = f"of {found.of:,} rows {told}; {step.text} passes {step.passed:,} others, none of these{unknown}"
    else:
        said = f"{step.text} passes none of {found.of:,} rows{unknown}{_turned_box(table, step.text)}"
        [*_, column] = filters[number].columns
        if len(filters[number].columns) == 1 and pa.types.is_string(table.dataset.schema.field(column).type):
            values = table.columns([column])[column].drop_null().value_counts()
            usual = sorted(values.to_pylist(), key=lambda one: -one["counts"])
            there = ", ".join(f"{one_line(one['values'], 60)} ({one['counts']:,})" for one in usual[:8])
            said += f"; {column} has {there or 'no value'}" + (", ..." if len(usual) > 8 else "")
    return one_line(f"no row passes the filters: {said}; widen or leave out one")


# Places.


def _turned_box(table: EmbeddingTable, text: str) -> str:
    """Return what to type where a box that holds no row would hold some with longitudes and latitudes exchanged."""
    if not text.startswith("box "):
        return ""
    south, west, north, east = text.removeprefix("box ").split(",")
    try:
        turned = box_filter(f"{west},{south},{east},{north}")
    except ConfigError:
        return ""
    held = sum(
        int(turned.test({name: batch[name] for name in turned.columns})[0].sum())
        for batch in table.dataset.to_batches(columns=list(turned.columns), batch_size=_BATCH_ROWS)
    )
    return f"; longitude comes first: --box {turned.text.removeprefix('box ')} holds {held:,}" if held else ""


def box_filter(text: str) -> Filter:
    """Return the filter of a box `west,south,east,north` in degrees, its edges included.

    Where west is more than east, or east more than 180, it lies across the antimeridian.

    >>> box_filter("170,-20,-170,-10").text
    'box 170,-20,-170,-10'
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"box {text!r}: west,south,east,north in degrees expected, such as 5.9,45.8,10.5,47.8"
        ) from error
    turned = -90 <= west <= east <= 90 and max(map(abs, (south, north))) <= 180
    hint = f"; longitude comes first: did you mean {south:g},{west:g},{north:g},{east:g}?" if turned else ""
    if not (-360 <= west <= 360 and -360 <= east <= 360 and east - west <= 360):
        raise ConfigError(f"box {text!r}: longitudes in degrees from -180 to 180 expected: west,south,east,north")
    if not -90 <= south <= north <= 90:
        raise ConfigError(f"box {text!r}: latitudes -90 <= south <= north <= 90 expected: west,south,east,north{hint}")
    width = 360.0 if east - west in (360, -360) else (east - west) % 360

    def test(columns: Columns) -> tuple[Mask, Mask]:
        longitude, latitude, known = _places(columns)
        inside = ((longitude - west + _EDGE) % 360 <= width + 2 * _EDGE) & (latitude >= south) & (latitude <= north)
        return inside & known, ~known

    return Filter(f"box {text}", ("longitude", "latitude"), test)


def polygon_filter(text: str) -> Filter:
    """Return the filter of polygons in degrees, their edges included: a GeoJSON or WKT file, or WKT itself.

    Across the antimeridian they are cut there, as RFC 7946 says. Raises ConfigError, DataError as `read_region`.
    """
    return area_filter(read_region(text, "--polygon"), f"polygon {one_line(text, 60)}")


def area_filter(area: Any, text: str) -> Filter:
    """Return the filter of a polygon (shapely's) in degrees, its edges included; its longitudes may go on beyond 180.

    `text` is what it is called.
    """
    west, south, east, north = area.bounds
    shapely.prepare(area)

    def test(columns: Columns) -> tuple[Mask, Mask]:
        longitude, latitude, known = _places(columns)
        inside = np.zeros(len(known), np.bool_)
        for turn in (-360, 0, 360):  # what was cut at 180 is one again, and goes on beyond; -180 is 180
            turned = longitude + turn
            near = np.flatnonzero((turned >= west) & (turned <= east) & (latitude >= south) & (latitude <= north))
            inside[near] |= shapely.intersects_xy(area, turned[near], latitude[near])
        return inside & known, ~known

    return Filter(text, ("longitude", "latitude"), test)


def _places(columns: Columns) -> tuple[NDArray[np.float64], NDArray[np.float64], Mask]:
    """Return longitudes, latitudes, and where both are known."""
    longitude, latitude = _numbers(columns["longitude"]), _numbers(columns["latitude"])
    return longitude, latitude, np.isfinite(longitude) & np.isfinite(latitude)


# Times.


def hours_filter(text: str, *, solar: bool) -> Filter:
    """Return the filter of hours of the day, in UTC or in mean solar time (UTC plus 4 minutes a degree eastwards).

    `4-9` is from 04:00 to before 09:00, `22-4` goes over midnight, `5:30-7:15` has minutes, `5` is that hour.
    """
    found = re.fullmatch(r"(\d{1,2})(?::(\d\d))?(?:-(\d{1,2})(?::(\d\d))?)?", text.strip())
    name = "hours_solar" if solar else "hours_utc"
    if found is None or (found[3] is None and found[2] is not None):
        raise ConfigError(f"{name} {text!r}: hours such as 4-9, 22-4 or 5:30-7:15 expected")
    start = int(found[1]) * 60 + int(found[2] or 0)
    end = start + 60 if found[3] is None else int(found[3]) * 60 + int(found[4] or 0)
    if max(start, end) > 24 * 60 or start == end or int(found[2] or 0) > 59 or int(found[4] or 0) > 59:
        raise ConfigError(f"{name} {text!r}: two different times from 0 to 24 expected, such as 4-9")
    minutes = (end - start) % (24 * 60) or 24 * 60

    def test(columns: Columns) -> tuple[Mask, Mask]:
        time, known = _microseconds(columns["datetime"])
        if solar:
            longitude = _numbers(columns["longitude"])
            known &= np.isfinite(longitude)
            time = time + (np.where(known, longitude, 0) * _DEGREE_US).astype(np.int64)
        since = (time - start * _HOUR_US // 60) % _DAY_US
        return (since < minutes * _HOUR_US // 60) & known, ~known

    return Filter(f"{name} {text}", ("datetime", "longitude") if solar else ("datetime",), test)


def months_filter(text: str) -> Filter:
    """Return the filter of months, by UTC: `4-6`, `apr-jun`, `11-2` over the new year, `5,7,9`."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        start, end = _month(first, text), _month(last if dash else first, text)
        chosen.update((start + n) % 12 for n in range((end - start) % 12 + 1))

    def test(columns: Columns) -> tuple[Mask, Mask]:
        months, known = _months(columns["datetime"])
        return np.isin(months, sorted(chosen)) & known, ~known

    return Filter(f"months {text}", ("datetime",), test)


def _month(word: str, text: str) -> int:
    """Return the number of a month, from 0."""
    if word.isdecimal() and 1 <= int(word) <= 12:
        return int(word) - 1
    if len(word) >= 3 and word[:3].lower() in _MONTHS:
        return _MONTHS.index(word[:3].lower())
    raise ConfigError(f"months {text!r}: months such as 4-6, apr-jun, 11-2 or 5,7,9 expected")


def season_filter(text: str) -> Filter:
    """Return the filter of a season of three whole months: `spring` is March to May north of the equator, September
    to November south of it."""
    word = text.strip().lower()
    if word not in _SEASONS:
        raise ConfigError(f"season {text!r}: {', '.join(_SEASONS)} expected")

    def test(columns: Columns) -> tuple[Mask, Mask]:
        months, known = _months(columns["datetime"])
        latitude = _numbers(columns["latitude"])
        known &= np.isfinite(latitude)
        there = ((months + 1) // 3 + np.where(latitude < 0, 2, 0)) % 4
        return (there == _SEASONS[word]) & known, ~known

    return Filter(f"season {word}", ("datetime", "latitude"), test)


def dates_filter(text: str) -> Filter:
    """Return the filter of a range of dates, by UTC, both ends whole: `2020`, `2020-03..2021-06-15`, `..2019`."""
    first, dots, last = text.strip().partition("..")
    try:
        start = _period(first)[0] if first else None
        end = _period(last if dots else first)[1] if (last or not dots) else None
        if (start is None and end is None) or (start is not None and end is not None and start >= end):
            raise ValueError
    except (OverflowError, ValueError) as error:  # the first: what would end after the year 9999
        raise ConfigError(
            f"dates {text!r}: a date or a range such as 2020, 2020-03..2021-06-15, 2020-05-01.. expected"
        ) from error

    def test(columns: Columns) -> tuple[Mask, Mask]:
        time, known = _microseconds(columns["datetime"])
        passed = known.copy()
        if start is not None:
            passed &= time >= start
        if end is not None:
            passed &= time < end
        return passed, ~known

    return Filter(f"dates {text}", ("datetime",), test)


def _period(text: str) -> tuple[int, int]:
    """Return where a year, month, day or moment begins, and where the next one does, in microseconds. ValueError."""
    text = text.strip()
    if re.fullmatch(r"\d{4}", text):
        start = datetime(int(text), 1, 1, tzinfo=UTC)
        return _moment(start), _moment(start.replace(year=start.year + 1))
    if re.fullmatch(r"\d{4}-\d{2}", text):
        start = datetime(int(text[:4]), int(text[5:]), 1, tzinfo=UTC)
        return _moment(start), _moment((start + timedelta(days=31)).replace(day=1))
    start = datetime.fromisoformat(text)
    start = start.replace(tzinfo=UTC) if start.tzinfo is None else start
    length = timedelta(days=1) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else timedelta(microseconds=1)
    return _moment(start), _moment(start + length)


def _moment(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _microseconds(column: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    """Return times since 1970 (n,), and where they are known."""
    known = np.asarray(column.is_valid())
    return np.asarray(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).fill_null(0)), known


def _months(column: pa.Array) -> tuple[NDArray[np.int64], Mask]:
    """Return the months (n,), January 0, and where they are known."""
    time, known = _microseconds(column)
    return time.view("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12, known


# Texts and any column.


def one_of_filter(column: str, values: Sequence[str]) -> Filter:
    """Return the filter of rows whose text is one of some, in capitals or not; `*` stands for any letters: `CC-BY*`."""
    return Filter(f"{column} {'|'.join(values)}", (column,), lambda columns: _one_of(columns[column], values))


def equal_filter(column: str, values: Sequence[str]) -> Filter:
    """Return the filter of rows whose text is exactly one of some: no sign in them means anything else.

    Raises ConfigError, when it is applied, for a column of another kind.
    """
    wanted = pa.array(list(values), pa.string())

    def test(columns: Columns) -> tuple[Mask, Mask]:
        values = columns[column]
        if pa.types.is_integer(values.type):  # such as clusters
            values = values.cast(pa.string())
        if not pa.types.is_string(values.type):
            raise ConfigError(f"column {column!r} holds no texts; compare it: {column}>=3")
        unknown = np.asarray(values.is_null())
        return np.asarray(pc.is_in(values, value_set=wanted)) & ~unknown, unknown

    return Filter(f"{column} {'|'.join(values)}", (column,), test)


def _one_of(column: pa.Array, values: Sequence[str]) -> tuple[Mask, Mask]:
    pattern = "|".join(".*".join(map(_literal, value.strip().split("*"))) for value in values)
    found = pc.match_substring_regex(column, f"^(?is:{pattern})$", ignore_case=True)
    unknown = pc.or_kleene(column.is_null(), pc.equal(column, "").fill_null(True))
    return np.asarray(found.fill_null(False)) & ~np.asarray(unknown), np.asarray(unknown)


def _literal(text: str) -> str:
    return re.sub(r"([^\w\s]|_)", r"\\\1", text, flags=re.ASCII) if text.isascii() else re.escape(text)


def where_filter(text: str) -> Filter:
    """Return the filter of a comparison of any column: `label=forest|meadow`, `quality>=3`, `datetime<2020`.

    `=` and `!=` compare texts as `one_of_filter` does; the others compare numbers, also of a column of texts, or times.
    """
    found = re.fullmatch(r"\s*([^<>=!]+?)\s*(<=|>=|!=|==|=|<|>)\s*(.*?)\s*", text, re.DOTALL)
    if found is None or not found[3] or found[1] == VECTOR:
        raise ConfigError(f"where {text!r}: a column and a value expected, such as label=forest or quality>=3")
    column, operator, value = found[1], found[2].replace("==", "="), found[3]
    return Filter(f"where {text}", (column,), lambda columns: _compared(columns[column], column, operator, value))


def _compared(values: pa.Array, column: str, operator: str, value: str) -> tuple[Mask, Mask]:
    kind = values.type
    if pa.types.is_timestamp(kind):
        try:
            start, end = _period(value)
        except (OverflowError, ValueError) as error:
            raise ConfigError(f"where {column}{operator}{value}: a date such as 2020-05-01 expected") from error
        time, known = _microseconds(values)
        passed = _ordered(time, operator, start, end - 1)
    elif (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and operator in ("=", "!="):
        passed, unknown = _one_of(values, value.split("|"))
        known = ~unknown
        passed = passed if operator == "=" else ~passed
    elif pa.types.is_boolean(kind):
        if value.lower() not in ("true", "false") or operator not in ("=", "!="):
            raise ConfigError(f"where {column}{operator}{value}: {column}=true or {column}=false expected")
        known = np.asarray(values.is_valid())
        passed = np.asarray(values.fill_null(False)) == ((value.lower() == "true") == (operator == "="))
    else:
        numbers = _numbers(values)
        known = ~np.isnan(numbers)
        try:
            number = float(value)
        except ValueError as error:
            raise ConfigError(f"where {column}{operator}{value}: a number expected") from error
        passed = _ordered(numbers, operator, number, number)
    return passed & known, ~known


def _ordered(values: NDArray[Any], operator: str, low: float, high: float) -> Mask:
    """Return which values are in the given order to the range from low to high."""
    if operator in ("=", "!="):
        inside: Mask = (values >= low) & (values <= high)
        return inside if operator == "=" else ~inside
    found: Mask = {"<": values < low, "<=": values <= high, ">": values > high, ">=": values >= low}[operator]
    return found


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """Return numbers (n,), also of texts; NaN where there is none. Raises ConfigError for another kind of column."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array([_number(value) for value in column.to_pylist()], np.float64)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise ConfigError(f"a column of {column.type} is not compared; one of texts, numbers or times expected")
    return np.asarray(column.cast(pa.float64()).fill_null(math.nan), np.float64)


def _number(text: str | None) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan


#: The filters by what users call them, each made of one text.
FILTERS: Mapping[str, Callable[[str], Filter]] = {
    "box": box_filter,
    "polygon": polygon_filter,
    "hours_utc": lambda text: hours_filter(text, solar=False),
    "hours_solar": lambda text: hours_filter(text, solar=True),
    "months": months_filter,
    "season": season_filter,
    "dates": dates_filter,
    "source": lambda text: one_of_filter("source", text.split("|")),
    "license": lambda text: one_of_filter("license", text.split("|")),
    "modality": lambda text: one_of_filter("modality", [_modality(text)]),
    "where": where_filter,
}


def _modality(text: str) -> str:
    word = {"sound": "audio", "picture": "image", "images": "image"}.get(text.strip().lower(), text.strip().lower())
    if word not in ("image", "audio"):
        raise ConfigError(f"modality {text!r}: image or audio expected")
    return word


def filters_of(said: Mapping[str, str | Sequence[str] | None]) -> list[Filter]:
    """Return the filters of texts by the names in `FILTERS`; what is None or empty is no filter.

    Several texts of `where` all count; several of another name are alternatives for texts (`source`, `license`) only.
    """
    found = []
    for name, texts in said.items():
        if name not in FILTERS:
            raise ConfigError(f"filter {name!r} is not known; {did_you_mean(name, FILTERS)}{', '.join(FILTERS)} are")
        several = [texts] if isinstance(texts, str) else list(texts or ())
        if name in ("source", "license") and several:
            several = ["|".join(several)]
        found += [FILTERS[name](text) for text in several if text.strip()]
    return found

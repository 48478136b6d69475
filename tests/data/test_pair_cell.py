"""Cells to values: what is read, what is unknown, and what is neither; nothing is guessed."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.data.pair import (
    UNKNOWN_WORDS,
    UnreadableCell,
    checked_coordinates,
    clipped,
    extra_text,
    is_unknown,
    known_text,
    metres_a_pixel,
    number,
    split_name,
    utc_datetime,
)

#: Whatever a table may hold in a cell.
CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(), st.binary(max_size=8), st.dates(),
    st.datetimes(timezones=st.none() | st.timezones()), st.times(), st.text(max_size=20),
    st.from_regex(r"[0-9]{1,4}[-./ ]?[0-9W]{1,4}[-./ ]?[0-9]{0,4}[T _x]?[0-9:]{0,6}Z?", fullmatch=True),
    st.from_regex(r"[+-]?[0-9]{1,4}[.,_]?[0-9]{0,4}(e[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(sorted(UNKNOWN_WORDS)), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip


@pytest.mark.parametrize(
    "value", ["NA", " n/a ", "NaN", "NULL", "None", "-", "--", "", "  ", "#N/A", "<NA>", "NaT", "\\N"]
)
def test_words_for_unknown_cost_nothing(value: str) -> None:
    assert is_unknown(value) and number(value) is None and utc_datetime(value) is None
    assert metres_a_pixel(value) is None and split_name(value) is None and known_text(value) is None
    assert checked_coordinates(value, None) == (None, None)


@pytest.mark.parametrize("value", [math.nan, Decimal("NaN"), None])
def test_missing_numbers_are_unknown(value: object) -> None:
    assert is_unknown(value) and number(value) is None and utc_datetime(value) is None and extra_text(value) == ""


@pytest.mark.parametrize("value", ["nap", "0", "none of them", 0, False, "NAN0", b"", "-1"])
def test_other_cells_are_not_unknown(value: object) -> None:
    assert not is_unknown(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("2020", "no whole date"), (2020, "no whole date"), ("2020-05", "no whole date"), ("2020-00-00", "no whole"),
        ("2020-W45", "no whole date"), ("03/04/2024", "which number is the month"), ("3.4.2024 10:00", "the month"),
        ("04-03-24", "which number is the month"), ("yesterday", "'yesterday'"), ("2020-13-01", "ISO 8601"),
        ("2020-02-30", "ISO 8601"), ("0001-01-01T00:00+05:00", "ISO 8601"), (1604509200, "ISO 8601"),
        (2020.0, "ISO 8601"), ("202011", "ISO 8601"), ("2020110412359", "ISO 8601"), ("2020-11-04x17:00", "ISO 8601"),
        ("20201104170000", "ISO 8601"), (True, "ISO 8601"), (timedelta(1), "ISO 8601"), ("12:00", "ISO 8601"),
    ],
)  # fmt: skip
def test_dates_are_never_guessed(value: object, said: str) -> None:
    with pytest.raises(UnreadableCell, match=said) as why:
        utc_datetime(value)
    assert why.value.kind == "unreadable cell"


@pytest.mark.parametrize(
    "value",
    [
        "2020-11-04T17:00:00", "20201104T170000", "20201104_170000", "2020-11-04T17:00:00Z", "2020-11-04t17:00z",
        " 2020-11-04 18:00+01:00 ", datetime(2020, 11, 4, 17),
        datetime(2020, 11, 4, 12, tzinfo=timezone(-timedelta(hours=5))),
    ],
)  # fmt: skip
def test_times_become_utc(value: object) -> None:
    assert utc_datetime(value) == datetime(2020, 11, 4, 17, tzinfo=UTC)


@pytest.mark.parametrize("value", ["2020-11-04", "20201104", date(2020, 11, 4)])
def test_a_date_is_midnight(value: object) -> None:
    assert utc_datetime(value) == datetime(2020, 11, 4, tzinfo=UTC)


@pytest.mark.parametrize("value", ["0000-00-00", "0000-00-00 00:00:00", "00000000"])
def test_zeros_that_databases_write_are_no_date(value: str) -> None:
    assert utc_datetime(value) is None


@given(st.datetimes(timezones=st.timezones()))
def test_any_time_with_an_offset_is_the_same_moment(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return
    if moment.utcoffset() == timedelta(seconds=round(moment.utcoffset().total_seconds())):  # type: ignore[union-attr]
        assert utc_datetime(moment.isoformat()) == expected


@given(CELLS)
def test_a_date_is_read_only_from_a_cell_that_holds_all_its_digits(cell: object) -> None:
    try:
        found = utc_datetime(cell)
    except UnreadableCell as why:
        assert str(why) and not is_unknown(cell)
        return
    if found is None or isinstance(cell, date):
        return
    assert isinstance(cell, str) and found.tzinfo is UTC
    written = cell.strip().replace("-", "")[:8]
    assert abs(datetime.strptime(f"{written}+0000", "%Y%m%d%z") - found) <= timedelta(hours=48)


@given(CELLS)
def test_a_number_is_read_as_it_stands(cell: object) -> None:
    for read in (number, metres_a_pixel):
        try:
            found = read(cell)
        except UnreadableCell as why:
            assert str(why) and not is_unknown(cell)
        else:
            assert found is None if is_unknown(cell) else found == float(cell)  # type: ignore[arg-type]
            assert found is None or (math.isfinite(found) and not isinstance(cell, bool))


@given(CELLS, CELLS)
def test_coordinates_are_both_there_and_in_range_or_neither_is(longitude: object, latitude: object) -> None:
    try:
        east, north = checked_coordinates(longitude, latitude)
    except UnreadableCell as why:
        assert str(why) and not (is_unknown(longitude) and is_unknown(latitude))
        return
    assert (east is None) == (north is None) == is_unknown(longitude) == is_unknown(latitude)
    assert east is None or north is None or (-180 <= east <= 180 and -90 <= north <= 90)


@given(CELLS)
def test_a_split_or_a_text_is_what_the_cell_says(cell: object) -> None:
    try:
        split = split_name(cell)
    except UnreadableCell:
        assert not is_unknown(cell)
    else:
        assert is_unknown(cell) if split is None else isinstance(cell, str) and split in ("train", "val", "test")
    try:
        text = known_text(cell)
    except UnreadableCell:
        assert isinstance(cell, bytes)
    else:
        assert (text is None) == is_unknown(cell) and (not isinstance(cell, str) or text in (None, cell))


@pytest.mark.parametrize(
    ("longitude", "latitude", "kind", "said"),
    [
        (181, 0, "coordinates out of range", "-180 to 180"),
        ("100", "-95", "coordinates out of range", "-95"),
        (50.0, 100.0, "coordinates swapped?", "(longitude, latitude)"),
        ("8", None, "unreadable cell", "longitude is given without latitude"),
        ("NA", "8", "unreadable cell", "latitude is given without longitude"),
        ("east", "8", "unreadable cell", "longitude 'east'"),
        ("8", float("inf"), "unreadable cell", "latitude inf; a finite number"),
        (True, 8, "unreadable cell", "True"),
        ("1_0", 8, "unreadable cell", "1_0"),
        ("8,5", "50,5", "unreadable cell", "'8,5'; a finite number expected, with a decimal point"),
        ("8° 30' E", "50", "unreadable cell", "longitude"),
        (10**400, 8, "unreadable cell", "finite"),
    ],
)
def test_coordinates_that_are_none(longitude: object, latitude: object, kind: str, said: str) -> None:
    with pytest.raises(UnreadableCell) as why:
        checked_coordinates(longitude, latitude)
    assert why.value.kind == kind and said in str(why.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (True, "true"), (3, "3"), (0.1, "0.1"), (math.nan, ""), (["é", 1], '["é", 1]'), ("NA", "NA"),
        (datetime(2020, 1, 2), "2020-01-02T00:00:00"),
    ],
)  # fmt: skip
def test_free_cells_as_text(value: object, text: str) -> None:
    assert extra_text(value) == text


def test_a_giant_is_shown_by_its_start() -> None:
    assert len(clipped("x" * 10**7)) == 120 and clipped("x" * 10**7).startswith("'xxx")
    assert clipped(b"ab") == "b'ab'"


def test_a_time_beyond_the_last_year_is_named_as_it_stands() -> None:
    with pytest.raises(UnreadableCell, match=r"^'9999-12-31T23:59:59-12:00'; ISO 8601"):
        utc_datetime("9999-12-31T23:59:59-12:00")

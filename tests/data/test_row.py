"""Every kind of problem a row can have, and what is read when it has none."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.data.pair import PAIR_COLUMNS, Pair, Problem
from earthtone.data.row import Row, RowReader, UnusableRow, checked_coordinates, extra_text, utc_datetime

COLUMNS = {name: name for name in PAIR_COLUMNS}
GOOD: dict[str, object] = {"id": "a", "image": b"picture", "audio": b"sound"}


def read(**cells: object) -> Pair | Problem:
    return RowReader(Path(), COLUMNS, ("note",)).read(Row("line 7", GOOD | cells))


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        ({"image": None}, "missing image", "empty"),
        ({"image": "nowhere.jpg"}, "missing image", "nowhere.jpg"),
        ({"image": "."}, "missing image", "not a file"),
        ({"image": "x" * 5000}, "missing image", "not a file"),
        ({"image": "zero\0byte"}, "missing image", "not a file"),
        ({"image": "https://example.org/a.jpg"}, "missing image", "remote address"),
        ({"image": "s3://bucket/a.jpg"}, "missing image", "remote address"),
        ({"image": "file:///a.jpg"}, "missing image", "plain path"),
        ({"image": 3}, "missing image", "int"),
        ({"audio": ""}, "missing audio", "empty"),
        ({"audio": {"bytes": None, "path": None}}, "missing audio", "empty"),
        ({"audio": b""}, "missing audio", "empty"),
        ({"id": ""}, "no id", "'id'"),
        ({"id": "  "}, "no id", "'id'"),
        ({"id": float("nan")}, "no id", "'id'"),
        ({"longitude": 181, "latitude": 0}, "coordinates out of range", "-180 to 180"),
        ({"longitude": "100", "latitude": "-95"}, "coordinates out of range", "-95"),
        ({"longitude": 50.0, "latitude": 100.0}, "coordinates swapped?", "(longitude, latitude)"),
        ({"longitude": "8"}, "bad coordinates", "without latitude"),
        ({"latitude": "8"}, "bad coordinates", "without longitude"),
        ({"longitude": "east", "latitude": "8"}, "bad coordinates", "'east'"),
        ({"longitude": "nan", "latitude": "8"}, "bad coordinates", "finite"),
        ({"longitude": "8", "latitude": float("inf")}, "bad coordinates", "finite"),
        ({"longitude": True, "latitude": 8}, "bad coordinates", "True"),
        ({"longitude": "1_0", "latitude": 8}, "bad coordinates", "1_0"),
        ({"longitude": Decimal("NaN"), "latitude": 8}, "bad coordinates", "finite"),
        ({"longitude": 10**400, "latitude": 8}, "bad coordinates", "finite"),
        ({"datetime": "yesterday"}, "bad datetime", "ISO 8601"),
        ({"datetime": "2020"}, "bad datetime", "ISO 8601"),
        ({"datetime": "2020-13-01"}, "bad datetime", "ISO 8601"),
        ({"datetime": "0001-01-01T00:00+05:00"}, "bad datetime", "ISO 8601"),
        ({"datetime": 1604509200}, "bad datetime", "ISO 8601"),
        ({"split": "training"}, "bad split", "train, val, test"),
        ({"split": 1}, "bad split", "train, val, test"),
        ({"image_gsd_m": "0.2 m"}, "bad number", "0.2 m"),
        ({"image_gsd_m": 0}, "bad number", "0.001 to 100,000 metres a pixel expected"),
        ({"image_gsd_m": "-1"}, "bad number", "image_gsd_m is -1; 0.001 to 100,000"),
        ({"image_gsd_m": 9e-4}, "bad number", "0.001 to 100,000"),
        ({"image_gsd_m": "1e308"}, "bad number", "0.001 to 100,000"),
        ({"image_gsd_m": "inf"}, "bad number", "finite"),
    ],
)
def test_a_bad_cell_leaves_the_row_out_and_says_why(cells: dict[str, object], kind: str, said: str) -> None:
    problem = read(**cells)
    assert isinstance(problem, Problem)
    assert problem.kind == kind
    assert said in problem.detail
    assert problem.detail.startswith("line 7: ") and problem.detail.endswith("the row is left out")
    assert problem.id == ("line 7" if kind == "no id" else "a")


def test_the_first_of_equal_ids_is_kept() -> None:
    reader = RowReader(Path(), COLUMNS, ())
    first, second, other = (reader.read(Row(f"line {n}", GOOD | {"id": id})) for n, id in enumerate("aab"))
    assert isinstance(first, Pair) and isinstance(other, Pair)
    assert isinstance(second, Problem) and (second.kind, second.id) == ("duplicate id", "a")


def test_empty_cells_are_unknown_and_free_cells_are_text() -> None:
    pair = read(longitude="", latitude="", datetime="", license="", split="", image_gsd_m="", note=None)
    assert isinstance(pair, Pair)
    assert (pair.longitude, pair.latitude, pair.datetime, pair.license, pair.split) == (None,) * 5
    assert pair.extra == {"note": ""}


@pytest.mark.parametrize("gsd_m", [0.001, 100_000.0])
def test_the_ends_of_metres_a_pixel(gsd_m: float) -> None:
    pair = read(image_gsd_m=gsd_m)
    assert isinstance(pair, Pair) and pair.image_gsd_m == gsd_m


@pytest.mark.parametrize(("text", "split"), [("validation", "val"), ("VAL", "val"), ("dev", "val"), (" test ", "test")])
def test_names_of_splits(text: str, split: str) -> None:
    pair = read(split=text)
    assert isinstance(pair, Pair) and pair.split == split


def test_only_the_needed_media_are_read() -> None:
    pair = RowReader(Path(), COLUMNS, (), ("audio",)).read(Row("line 1", GOOD | {"image": "nowhere"}))
    assert isinstance(pair, Pair)
    assert pair.image is None and pair.audio == b"sound"


def test_a_struct_gives_its_bytes_first_then_its_path(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"from file")
    reader = RowReader(tmp_path, COLUMNS, ())
    one = reader.read(Row("row 1", GOOD | {"image": {"bytes": b"inside", "path": "b.jpg"}}))
    two = reader.read(Row("row 2", GOOD | {"id": "b", "image": {"bytes": None, "path": "b.jpg"}}))
    assert isinstance(one, Pair) and one.image == b"inside"
    assert isinstance(two, Pair) and two.image == tmp_path / "b.jpg"


@pytest.mark.parametrize(
    "value",
    [
        "2020-11-04T17:00:00", "20201104T170000", "2020-11-04T17:00:00Z", "2020-11-04 18:00+01:00",
        datetime(2020, 11, 4, 17), datetime(2020, 11, 4, 12, tzinfo=timezone(timedelta(hours=-5))),
    ],
)  # fmt: skip
def test_times_become_utc(value: object) -> None:
    assert utc_datetime(value) == datetime(2020, 11, 4, 17, tzinfo=UTC)


@pytest.mark.parametrize("value", ["2020-11-04", "20201104", date(2020, 11, 4)])
def test_a_date_is_midnight(value: object) -> None:
    assert utc_datetime(value) == datetime(2020, 11, 4, tzinfo=UTC)


@given(st.datetimes(timezones=st.timezones()))
def test_any_time_with_an_offset_is_the_same_moment(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return
    if moment.utcoffset() == timedelta(seconds=round(moment.utcoffset().total_seconds())):  # type: ignore[union-attr]
        assert utc_datetime(moment.isoformat()) == expected


@given(st.floats(), st.floats())
def test_coordinates_are_in_range_or_refused(longitude: float, latitude: float) -> None:
    try:
        east, north = checked_coordinates(longitude, latitude)
    except UnusableRow:
        assert not (abs(longitude) <= 180 and abs(latitude) <= 90)
    else:
        assert (east, north) == (longitude, latitude)


def test_a_point_and_columns_must_agree() -> None:
    reader = RowReader(Path(), COLUMNS, ())
    same = reader.read(Row("row 1", GOOD | {"longitude": "8.1", "latitude": 50}, (8.1000001, 50.0)))
    other = reader.read(Row("row 2", GOOD | {"id": "b", "longitude": 50, "latitude": 8}, (8, 50)))
    assert isinstance(same, Pair) and same.longitude == 8.1000001
    assert isinstance(other, Problem) and other.kind == "bad coordinates"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (3, "3"),
        (0.1, "0.1"),
        (["é", 1], '["é", 1]'),
        (datetime(2020, 1, 2), "2020-01-02T00:00:00"),
    ],
)
def test_free_cells_as_text(value: object, text: str) -> None:
    assert extra_text(value) == text

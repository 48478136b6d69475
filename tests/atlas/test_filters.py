"""Filters: the rows that pass are those of a plain loop; what is unknown is counted, what is wrong is one line."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.atlas import filters
from earthtone.atlas.embeddings import (
    TABLE,
    EmbeddingCard,
    EmbeddingTable,
    embedding_schema,
    open_embeddings,
    write_embeddings,
)
from earthtone.atlas.filters import FILTERS, filters_of, passing_rows
from earthtone.errors import ConfigError, DataError

ROWS = [
    dict(zip(("id", "modality", "place", "time", "license", "label"), row, strict=True))
    for row in (
        ("a", "image", (8.5, 47.4), "2020-01-15T04:30", "CC0", "forest"),
        ("b", "audio", (179.9, -16.5), "2020-06-30T23:59:59", "CC-BY-4.0", "sea"),
        ("c", "audio", (-179.9, -16.5), "2021-12-31T00:00", "cc-by-nc", "Forest"),
        ("d", "image", (-58.0, -34.0), "2019-10-01T12:00", None, "3.5"),
        ("e", "image", None, None, "", None),
        ("f", "audio", (180.0, 10.0), "1969-07-20T20:17", "CC0", "12"),
        ("g", "audio", (10.0, 0.0), "2024-02-29T05:00", "CC-BY-SA", "-1e1"),
    )
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingTable:
    folder = tmp_path_factory.mktemp("filters")
    card = EmbeddingCard("/runs/first", "0" * 32, dimensions=2, unit=True, data="places.csv")
    times = [row["time"] and datetime.fromisoformat(row["time"]).replace(tzinfo=UTC) for row in ROWS]
    columns = {
        **{name: [row[name] for row in ROWS] for name in ("id", "modality", "license", "label")},
        "longitude": [row["place"] and row["place"][0] for row in ROWS],
        "latitude": [row["place"] and row["place"][1] for row in ROWS],
        "datetime": times,
        "seconds": [None, 10.0, 20.0, None, float("nan"), 30.0, 10.0],
    }
    write_embeddings(
        folder / TABLE, embedding_schema(card, extra=["label"]), columns, np.ones((len(ROWS), 2), np.float32)
    )
    return open_embeddings(folder)


def passed(table: EmbeddingTable, name: str, text: str) -> tuple[str, int]:
    """The ids that pass one filter, and how many rows do not say."""
    found = passing_rows(table, filters_of({name: text}))
    [step] = found.steps
    assert step.passed == step.left == len(found.rows)
    return "".join(ROWS[row]["id"] for row in found.rows), step.unknown


@pytest.mark.parametrize(
    ("name", "text", "ids", "unknown"),
    [
        ("box", "5,45,10,50", "a", 1),
        ("box", "170,-20,-170,-10", "bc", 1),
        ("box", "170,-20,190,10", "bcf", 1),
        ("box", "-180,-90,180,90", "abcdfg", 1),
        ("box", "-180,5,-175,15", "f", 1),  # 180 is -180
        ("box", "8.5,47.4,8.5,47.4", "a", 1),
        ("polygon", "POLYGON ((5 45, 10 45, 10 50, 5 50, 5 45))", "a", 1),
        (
            "polygon",
            "MULTIPOLYGON (((170 -20, 180 -20, 180 20, 170 20, 170 -20)), "
            "((-180 -20, -170 -20, -170 20, -180 20, -180 -20)))",
            "bcf",
            1,
        ),
        (
            "polygon",
            "MULTIPOLYGON (((170 -20, 180 -20, 180 20, 170 20, 170 -20)), ((8 47, 9 47, 9 48, 8 47)))",
            "abf",
            1,
        ),
        (
            "polygon",
            "POLYGON ((0 -5, 20 -5, 20 5, 0 5, 0 -5), (9 -1, 11 -1, 11 1, 9 1, 9 -1), (1 1, 2 1, 2 2, 1 1))",
            "",
            1,
        ),
        ("hours_utc", "4-5", "a", 1),
        ("hours_utc", "22-4", "bc", 1),
        ("hours_utc", "4:30-5:00", "a", 1),
        ("hours_utc", "5", "g", 1),
        ("hours_utc", "0-24", "abcdfg", 1),
        ("hours_solar", "5-6", "ag", 1),  # 04:30 at 8.5 E is 05:04 by the sun, 05:00 at 10 E is 05:40
        ("hours_solar", "11:59-12:01", "bc", 1),  # 180 degrees are 12 hours; 0.1 degrees are 24 seconds
        ("hours_solar", "8-9", "df", 1),  # 12:00 at 58 W is 08:08; 20:17 at 180 is 08:17
        ("months", "1-2", "ag", 1),
        ("months", "dec-jan", "ac", 1),
        ("months", "6,October", "bd", 1),
        ("season", "winter", "abg", 1),  # June in the south is winter
        ("season", "Spring", "d", 1),
        ("season", "summer", "cf", 1),
        ("dates", "2020", "ab", 1),
        ("dates", "2020-06-30", "b", 1),
        ("dates", "2020-06..2021-12-31", "bc", 1),
        ("dates", "..1970", "f", 1),
        ("dates", "2021-12-31..", "cg", 1),
        ("license", "cc0", "af", 2),
        ("license", "CC-BY*", "bcg", 2),
        ("license", "CC0|cc-by-4.0", "abf", 2),
        ("modality", "sound", "bcfg", 0),
        ("where", "label=forest", "ac", 1),
        ("where", "label != forest | sea", "dfg", 1),
        ("where", "label>=3.5", "df", 4),
        ("where", "label<0", "g", 4),
        ("where", "seconds=10", "bg", 3),
        ("where", "seconds!=10", "cf", 3),
        ("where", "seconds<=20", "bcg", 3),
        ("where", "datetime>2020", "cg", 1),
        ("where", "datetime<=2020-01-15", "adf", 1),
        ("where", "latitude < 0", "bcd", 1),
    ],
)
def test_each_filter(table: EmbeddingTable, name: str, text: str, ids: str, unknown: int) -> None:
    if not ids:
        with pytest.raises(DataError, match="no row passes"):
            passed(table, name, text)
    else:
        assert passed(table, name, text) == (ids, unknown)


def test_all_must_pass_and_each_is_counted(table: EmbeddingTable) -> None:
    said = {
        "license": ["CC0", "CC-BY*"],
        "modality": "audio",
        "where": ["seconds>=10", "label<100"],
        "box": None,
        "dates": "",
    }
    found = passing_rows(table, filters_of(said))
    assert [ROWS[row]["id"] for row in found.rows] == ["f", "g"]
    assert [(step.passed, step.unknown, step.left) for step in found.steps] == [
        (5, 2, 5),
        (4, 0, 4),
        (4, 3, 4),
        (3, 4, 2),
    ]
    assert found.sentence() == (
        "2 of 7 rows pass (license CC0|CC-BY*: 5 (2 unknown); modality audio: 4; where seconds>=10: 4 (3 unknown); "
        "where label<100: 3 (4 unknown))"
    )
    assert passing_rows(table, []).rows.tolist() == list(range(7))


def test_why_nothing_is_left(table: EmbeddingTable) -> None:
    with pytest.raises(
        DataError, match=r"license CC-0 passes none of 7 rows, 2 do not say; license has CC0 \(2\), CC-BY"
    ):
        passing_rows(table, filters_of({"license": "CC-0"}))
    with pytest.raises(DataError, match=r"of 7 rows box 5,45,10,50 leaves 1; modality audio passes 4 others, none"):
        passing_rows(table, filters_of({"box": "5,45,10,50", "modality": "audio"}))


def test_a_box_with_latitudes_first_is_told(table: EmbeddingTable) -> None:
    """Also where both ways round are boxes, and one holds nothing."""
    rows = table.columns(["longitude", "latitude"]).to_pylist()
    [place, *_] = [row for row in rows if row["longitude"] is not None and abs(row["longitude"]) < 90]
    longitude, latitude = place["longitude"], place["latitude"]
    turned = f"{latitude - 0.1:g},{longitude - 0.1:g},{latitude + 0.1:g},{longitude + 0.1:g}"
    right = f"{longitude - 0.1:g},{latitude - 0.1:g},{longitude + 0.1:g},{latitude + 0.1:g}"
    with pytest.raises(DataError, match=f"longitude comes first: --box {right} holds 1;"):
        passed(table, "box", turned)
    with pytest.raises(ConfigError, match=r"did you mean -122\.5,37\.7,-122\.3,37\.9"):
        filters_of({"box": "37.7,-122.5,37.9,-122.3"})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("box", "5,45,10", "west,south,east,north"),
        ("box", "5,50,10,45", "south <= north"),
        ("box", "5,45,nan,50", "longitudes"),
        ("box", "700000,5000000,710000,5010000", "degrees"),
        ("polygon", "nowhere.geojson", "--polygon nowhere.geojson: No such file"),
        ("polygon", "POLYGON ((0 0, 1 1))", "WKT"),
        ("polygon", "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))", "cross itself"),
        ("polygon", "POLYGON ((179 0, -179 0, -179 5, 179 5, 179 0))", "RFC 7946"),
        ("polygon", "POLYGON ((700000 5000000, 700001 5000000, 700001 5000001, 700000 5000000))", "at most 180 and 90"),
        ("polygon", "POLYGON EMPTY", "a polygon expected"),
        ("hours_utc", "25-3", "0 to 24"),
        ("hours_utc", "4-4", "different"),
        ("hours_solar", "dawn", "4-9"),
        ("months", "13", "apr-jun"),
        ("months", "", "apr-jun"),
        ("season", "monsoon", "winter"),
        ("dates", "2021..2020", "2020-03"),
        ("dates", "yesterday", "2020-03"),
        ("dates", "9999-12-31", "2020-03"),
        ("dates", "..", "2020-03"),
        ("modality", "smell", "image or audio"),
        ("where", "label", "label=forest"),
        ("where", "vector=1", "label=forest"),
        ("where", "lable=forest", "did you mean label"),
        ("where", "seconds=long", "a number expected"),
        ("where", "datetime>soon", "a date"),
        ("colour", "red", "not known"),
    ],
)  # fmt: skip
def test_what_is_no_filter_is_one_line(table: EmbeddingTable, name: str, text: str, said: str) -> None:
    with pytest.raises((ConfigError, DataError), match=said) as caught:
        if name in FILTERS:
            passing_rows(table, [FILTERS[name](text)])
        else:
            filters_of({name: text})
    assert "\n" not in str(caught.value)


def test_polygons_of_geojson(table: EmbeddingTable, tmp_path: Path) -> None:
    ring = [[[5, 45], [10, 45], [10, 50], [5, 50], [5, 45]]]
    polygon = {"type": "Polygon", "coordinates": ring}
    feature = {"type": "Feature", "properties": {}, "geometry": polygon}
    nested = {
        "type": "FeatureCollection",
        "features": [feature, {"type": "Feature", "properties": {}, "geometry": None}],
    }
    file = tmp_path / "region.geojson"
    for value in (polygon, feature, nested):
        file.write_text(json.dumps(value))
        assert passed(table, "polygon", str(file)) == ("a", 1)
    file.write_text("POLYGON ((5 45, 10 45, 10 50, 5 50, 5 45))\n")
    assert passed(table, "polygon", str(file)) == ("a", 1)
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    for bad in ({**nested, "crs": crs}, {"type": "Point", "coordinates": [5, 45]}, {"type": "Polygon"}, {}):
        file.write_text(json.dumps(bad))
        with pytest.raises(DataError, match=r"expected"):
            filters_of({"polygon": str(file)})
    file.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match="no text"):
        filters_of({"polygon": str(file)})


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-180, 180), st.floats(0, 360), st.floats(-180, 180), st.integers(0, 23), st.integers(1, 24),
    st.integers(-(10**15), 2 * 10**15), st.integers(0, 11), st.integers(0, 11),
)  # fmt: skip
def test_wrapping_as_in_a_plain_loop(
    west: float, width: float, longitude: float, start: int, hours: int, time_us: int, first: int, last: int
) -> None:
    columns = {
        "longitude": pa.array([longitude]),
        "latitude": pa.array([0.0]),
        "datetime": pa.array([time_us], pa.timestamp("us", "UTC")),
    }
    east = west + width - (360 if west + width > 180 else 0)
    if 1e-6 < width < 360 - 1e-6:
        [inside], _ = filters.box_filter(f"{west!r},-1,{east!r},1").test(columns)
        expected = any(west <= longitude + turn <= west + width for turn in (0, 360))
        near = min(abs((longitude - edge + 180) % 360 - 180) for edge in (west, west + width))
        assert inside == expected or near < 1e-8
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)
    end = (start + hours - 1) % 24 + 1
    if start != end:
        [inside], _ = filters.hours_filter(f"{start}-{end}", solar=False).test(columns)
        assert inside == (moment.hour in {(start + n) % 24 for n in range(hours)})
    [inside], _ = filters.months_filter(f"{first + 1}-{last + 1}").test(columns)
    there = moment.month - 1
    assert inside == (first <= there <= last if first <= last else there >= first or there <= last)

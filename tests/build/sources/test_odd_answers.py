"""Whatever an archive answers: recordings, or a reason; never a traceback, and nothing that a table cannot hold."""

import json
import math
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.build.sources.fetching import SCHEMA
from earthtone.build.sources.hub_copy import KEYS, HubCopy, _Stored
from earthtone.build.sources.internet_archive import InternetArchive
from earthtone.build.sources.source import (
    Filters,
    Recording,
    number_of,
    said_by_host,
    seconds_of,
    suffix_of,
    text_of,
    web_address,
    whole_of,
)
from earthtone.build.sources.tables import NAMES, recording_of

WORDS = st.sampled_from(
    ["1", "-1", "nan", "inf", "1e999", "1:2:3", "٣", "quay.mp3", "//x/y", "http://[", "2014-13-01", "2014-05-03T99:99",
     "0001-01-01T00:00:00+14:00", "\ud800", "\0", "=1+1", "<b>", "x" * 3000, "true", "original"]
)  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=20) | WORDS
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))


def check(found: list[Recording] | Recording | str) -> None:
    """A reason, or recordings whose cells a table takes."""
    for row in [] if isinstance(found, str) else found if isinstance(found, list) else [found]:
        for value in (row.longitude, row.latitude, row.seconds, row.coord_uncertainty_m):
            assert value is None or math.isfinite(value)
        Filters(box=(0.0, 0.0, 1.0, 1.0), since="2000-01-01", least_seconds=1.0).why_not(row)
        cells = {name: value for name, value in row.cells().items() if not isinstance(value, str)}
        pa.Table.from_pylist([cells], SCHEMA)


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_single_values(value: Any) -> None:
    for read in (number_of, seconds_of):
        found = read(value)
        assert found is None or math.isfinite(found)
    assert isinstance(text_of(value), str) and "\n" not in text_of(value) and len(suffix_of(text_of(value))) < 10
    whole_of(value), web_address(value)
    said_by_host(json.dumps(value).encode())


def objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these names."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, VALUES))


METADATA = objects("title", "creator", "date", "latitude", "longitude", "licenseurl", "description", "subject")
FILE = objects("name", "source", "size", "length", "md5", "sha1", "private")
RECORD = st.fixed_dictionaries({"metadata": METADATA | VALUES, "files": st.lists(FILE | VALUES, max_size=3) | VALUES})


@settings(max_examples=40, deadline=None)
@given(VALUES | RECORD)
def test_records_of_the_internet_archive(record: Any) -> None:
    check(InternetArchive()._recordings("item", record))


@settings(max_examples=40, deadline=None)
@given(objects(*NAMES))
def test_cells_of_tables(cells: dict[str, Any]) -> None:
    check(recording_of("table", cells, {}))


@settings(max_examples=40, deadline=None)
@given(objects(*(key for keys in KEYS.values() for key in keys)))
def test_rows_of_copies_on_the_hub(row: dict[str, Any]) -> None:
    source = HubCopy(repositories=("lab/maps",))
    row["file_name"] = "a.mp3"
    check(source._row(json.dumps(row).encode(), 0, "0" * 40, "", {"a.mp3": _Stored(10, "x")}, set()))

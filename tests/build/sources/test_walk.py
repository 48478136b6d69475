"""Walking through parts of a query, days as archives tell them, and rows of any shape."""

from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from archives import web_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sound_archives import (
    KEY,
    Freesound,
    Gbif,
    INaturalist,
    XenoCanto,
    collect,
    freesound_row,
    gbif_row,
    inaturalist_row,
    said_json,
    xeno_canto_row,
)

from earthtone.build.sources import freesound, gbif, inaturalist, xeno_canto
from earthtone.build.sources.freesound import parts_of
from earthtone.build.sources.source import Filters
from earthtone.build.sources.walk import Found, day_of, moment_of, walk, words_without
from earthtone.errors import DataError

EVERYTHING = Filters(allow=("nc", "nd"), placed=False)


def test_parts_are_walked_one_after_the_other() -> None:
    ends = {"a": 3, "b": 1}

    def ask(part: str, position: int) -> Found:
        more = position + 1 if position < ends[part] else None
        return Found(more, 10, 2, left_out=Counter({part: position}))

    pages = list(walk(["a", "b"], None, 1, ask))
    assert [page.cursor for page in pages] == ["0:2", "0:3", "1:1", None]
    assert [dict(page.left_out) for page in pages] == [{"a": 1}, {"a": 2}, {"a": 3}, {"b": 1}]
    assert {page.total for page in pages} == {None}  # that of a part is not that of the query
    assert [page.cursor for page in walk(["a", "b"], "0:3", 1, ask)] == ["1:1", None]
    assert next(walk(["a"], None, 1, ask)).total == 10


@pytest.mark.parametrize("cursor", ["2:1", "0:0", "0", "x:1", "0:1:2", "", "-1:1"])
def test_a_cursor_of_another_list_is_refused(cursor: str) -> None:
    with pytest.raises(DataError, match="is no place in this list"):
        list(walk(["a", "b"], cursor, 1, lambda part, position: Found()))


@given(
    st.text(max_size=24) | st.from_regex(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?", fullmatch=True)
)
@settings(max_examples=50, deadline=None)
def test_days_and_moments_are_what_a_text_tells_or_nothing(text: str) -> None:
    time, zone = moment_of(text)
    if len(time) > 10:
        assert (datetime.fromisoformat(time).tzinfo is not None) == zone
    elif time:
        assert not zone and text.strip().startswith(time) and (len(time) < 10 or date.fromisoformat(time))
    assert day_of(text) == "" or text.strip().startswith(day_of(text))


@given(
    st.floats(-180, 179),
    st.floats(0.001, 359),
    st.floats(-90, 89.9),
    st.floats(0.001, 180),
    st.floats(0, 1),
    st.floats(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_every_place_of_a_box_is_in_one_part(
    west: float, width: float, south: float, height: float, across: float, up: float
) -> None:
    box = (west, south, min(180.0, west + width), min(90.0, south + height))
    parts = parts_of(box)
    x, y = box[0] + (box[2] - box[0]) * across, box[1] + (box[3] - box[1]) * up
    x, y = min(x, box[2]), min(y, box[3])
    assert 1 <= len(parts) <= 16 and any(w <= x <= e and s <= y <= n for w, s, e, n in parts)
    assert (parts[0][0], parts[0][1], parts[-1][2], parts[-1][3]) == box
    assert all(e - w <= 60.001 for w, _, e, _ in parts)


def test_words_hold_no_key_in_whichever_form() -> None:
    body = b'{"error": "bad", "message": "a b+/c, a%20b%2B%2Fc, a+b%2B%2Fc, a%20b%2B/c"}'
    assert words_without(body, "a b+/c") == " (bad: ***, ***, ***, ***)"


_NAMES = st.sampled_from(["id", "url", "code", "x"])
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=2),
    max_leaves=4,
)


def _rows(row: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    """Rows with one to all of their cells replaced by anything."""
    changed = st.dictionaries(st.sampled_from(sorted(row)), _ANY, min_size=1, max_size=len(row)).map(lambda c: row | c)
    return st.lists(changed | _ANY, max_size=4)


@pytest.mark.parametrize("name", ["freesound", "inaturalist", "xeno-canto", "gbif"])
def test_rows_of_any_shape_are_recordings_or_counted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREESOUND_API_KEY", KEY)
    monkeypatch.setenv("XENO_CANTO_API_KEY", KEY)
    archive: Any
    archive, kind, row = {
        "freesound": (Freesound([]), freesound.Freesound, freesound_row(1, 41, 29)),
        "inaturalist": (INaturalist([]), inaturalist.INaturalist, inaturalist_row(1, 41, 29)),
        "xeno-canto": (XenoCanto([]), xeno_canto.XenoCanto, xeno_canto_row(1, 41, 29)),
        "gbif": (Gbif([]), gbif.Gbif, gbif_row(1, 41, 29)),
    }[name]
    web = web_for(tmp_path, per_second=100_000.0)
    with archive.running() as host:
        more = {"tags": "grp:birds"} if name == "xeno-canto" else {}
        source = kind(EVERYTHING, host.url, **more)

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(_rows(row))
        def ask(rows: list[Any]) -> None:
            said = {"results": rows, "recordings": rows, "page": 1, "numPages": 1, "endOfRecords": True}
            archive.next_answers[:] = [said_json(said)]
            try:
                found = collect(source, web)
            except DataError as error:  # no row has an id by which to go on
                assert "pages lead back" in str(error) and name == "inaturalist"
                return
            for one in found.recordings:
                assert one.source == name and one.source_id and one.media_url.startswith("http")
                assert (one.longitude is None) == (one.latitude is None)
                assert one.cells()["id"] == f"{name}:{one.source_id}"

        ask()

"""Freesound: circles around a box, `next`, previews, and what its errors mean."""

import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from archives import HTML, sound, web_for
from imagery_hosts import Asked, Said
from sound_archives import KEY, Freesound, collect, freesound_row, said_json

from earthtone.build.fetch.download import PAGE
from earthtone.build.sources import freesound
from earthtone.build.sources.fetching import fetch_recordings, write_table
from earthtone.build.sources.freesound import Freesound as Source
from earthtone.build.sources.freesound import parts_of
from earthtone.build.sources.listing import list_recordings
from earthtone.build.sources.source import Filters
from earthtone.build.web import QuotaReachedError
from earthtone.errors import ConfigError, DataError

BOX = (28.0, 40.0, 30.0, 42.0)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREESOUND_API_KEY", KEY)


def test_rows_of_all_pages_with_their_cells(tmp_path: Path) -> None:
    rows = [freesound_row(n, 41.00823, 28.97312) for n in range(1, 321)]
    archive = Freesound(rows)
    with archive.running() as host:
        source = Source(Filters(BOX, least_seconds=5, most_seconds=600), host.url, words="gulls")
        found = collect(source, web_for(tmp_path))
        assert found.ids == [str(n) for n in range(1, 321)]
        assert [page.count for page in found.pages] == [150, 150, 20]
        assert found.pages[0].total == 320 and found.pages[-1].cursor is None
        assert collect(source, web_for(tmp_path), found.pages[0].cursor).ids == found.ids[150:]
        query = archive.queries[0]
        assert query["query"] == "gulls" and query["page_size"] == "150" and "duration:[5 TO 600]" in query["filter"]
        assert KEY not in host.asked[0].query
    one = found.recordings[0]
    assert (one.longitude, one.latitude) == (28.97312, 41.00823)
    assert (one.time, one.more["uploaded"]) == ("", "2014-04-16T20:07:11")
    assert one.media_url == "https://cdn.freesound.org/previews/0/1_777-hq.ogg" and one.suffix == ".ogg"
    assert (one.bytes, one.hash, one.more["original_md5"]) == (None, "", "0" * 32)  # those are of the original
    assert one.cells()["attribution"].startswith("harbour 1.wav, someone, CC-BY-4.0 (https://creativecommons.org/")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    rows = [
        freesound_row(1, 41, 29, license="http://creativecommons.org/licenses/sampling+/1.0/"),
        freesound_row(2, 41, 29, gen_ai_preference="no-gen-ai"),
        freesound_row(3, 41, 29, previews={}),
        freesound_row(4, 41, 29, geotag=None),
        freesound_row(5, 41, 29, geotag="somewhere"),
        freesound_row(6, 0, 0),
        freesound_row(7, 41, 29, id="x"),
        freesound_row(8, 41, 29, geotag="41 290"),
        freesound_row(9, 41, 29, license="https://creativecommons.org/publicdomain/zero/1.0/"),
    ]
    everything = Freesound(rows)
    everything._passes = lambda row, said: True  # type: ignore[method-assign]
    with everything.running() as host:
        found = collect(Source(Filters(leave_out_ai=("no-gen-ai",)), host.url), web_for(tmp_path))
    assert found.ids == ["9"]
    assert found.left_out == {
        "licence not allowed: CC-Sampling-Plus-1.0": 1, "author's preference: no-gen-ai": 1, "without a preview": 1,
        "without a place": 2, "at longitude 0, latitude 0": 1, "without an id": 1, "a place that is none": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "box",
    [(-10.0, 40.0, 30.0, 41.0), (170.0, -20.0, -170.0, -10.0), (0.0, -60.0, 1.0, 60.0), (-180.0, -90.0, 180.0, 90.0)],
)
def test_each_row_of_a_box_is_listed_once(tmp_path: Path, box: tuple[float, float, float, float]) -> None:
    """Circles overlap, and reach beyond the box; parts share their edges."""
    filters = Filters(box)
    parts = [part for each in filters.boxes() for part in parts_of(each)]
    places = {(y, x) for west, south, east, north in parts
              for x in (west, (west + east) / 2, east) for y in (south, (south + north) / 2, north)}  # fmt: skip
    beyond = [(box[1] - 0.01, box[0] + 0.5)] if box[1] > -90 else []
    rows = [freesound_row(n, y, x) for n, (y, x) in enumerate([*sorted(places), *beyond], start=1)]
    with Freesound(rows).running() as host:
        found = collect(Source(filters, host.url), web_for(tmp_path))
    assert sorted(map(int, found.ids)) == [n for n in range(1, len(places) + 1) if rows[n - 1]["geotag"] != "0.0 0.0"]
    assert sum(found.left_out.values()) == len(rows) - len(found.ids)  # each once
    assert sum(page.count for page in found.pages) == len(rows)


def test_the_rate_of_a_minute_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(freesound._RATE_SECONDS, "minute", 0.3)
    busy = said_json({"detail": "Request was throttled because of exceeding a request limit rate (60/minute)"}, 429)
    with Freesound([freesound_row(1, 41, 29)], [busy, busy]).running() as host:
        assert collect(Source(Filters(BOX), host.url), web_for(tmp_path)).ids == ["1"]
        assert len(host.asked) == 3


def test_the_rate_of_a_day_ends_the_list_until_tomorrow(tmp_path: Path) -> None:
    busy = said_json({"detail": "Request was throttled because of exceeding a request limit rate (2000/day)"}, 429)
    archive = Freesound([freesound_row(n, 41, 29) for n in range(1, 200)], [None, busy])
    with archive.running() as host:
        pages = Source(Filters(BOX), host.url).pages(web_for(tmp_path), None)
        cursor = next(pages).cursor
        with pytest.raises(QuotaReachedError, match=r"in a day.*2000/day.*type the same again after") as caught:
            next(pages)
        assert caught.value.exit_code == 75 and len(host.asked) == 2
        assert len(collect(Source(Filters(BOX), host.url), web_for(tmp_path), cursor).ids) == 49


@pytest.mark.parametrize(
    ("status", "words"),
    [(429, "Your credential has been suspended"), (401, "Invalid token."), (401, f"no such key: {KEY}")],
)
def test_a_key_that_is_refused_ends_all_at_once(tmp_path: Path, status: int, words: str) -> None:
    with Freesound([], always=said_json({"detail": words}, status)).running() as host:
        with pytest.raises(ConfigError, match="FREESOUND_API_KEY") as caught:
            collect(Source(Filters(BOX), host.url), web_for(tmp_path))
        assert len(host.asked) == 1 and KEY not in str(caught.value)


def test_without_a_key_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FREESOUND_API_KEY")
    with Freesound([]).running() as host:
        with pytest.raises(ConfigError, match=r"FREESOUND_API_KEY is not set; get a key at https://freesound\.org"):
            Source(Filters(BOX), host.url).prepare(web_for(tmp_path))
        with pytest.raises(ConfigError, match="FREESOUND_API_KEY is not set"):
            collect(Source(Filters(BOX), host.url), web_for(tmp_path))
        assert not host.asked


@pytest.mark.parametrize(
    "fault",
    [Said(b"", 500), Said(b"<html>log in</html>", 200, {"Content-Type": "text/html"}), Said(b"{}", declared=90)],
)
def test_a_second_page_that_fails_once_is_asked_again(tmp_path: Path, fault: Said) -> None:
    archive = Freesound([freesound_row(n, 41, 29) for n in range(1, 200)], [None, fault])
    with archive.running() as host:
        assert len(collect(Source(Filters(BOX), host.url), web_for(tmp_path)).ids) == 199


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (said_json([1, 2]), "without a list of results"),
        (said_json({"results": {}}), "without a list of results"),
        (Said(b"<html></html>"), "a web page came in place of JSON, twice"),
        (said_json({"detail": "no such field"}, 400), r"answers 400 \(no such field\)"),
    ],
)
def test_an_interface_that_is_none_is_told_in_one_line(tmp_path: Path, said: Said, told: str) -> None:
    with Freesound([], always=said).running() as host, pytest.raises(DataError, match=told):
        collect(Source(Filters(BOX), host.url), web_for(tmp_path))


def test_a_page_that_is_gone_and_one_that_leads_back(tmp_path: Path) -> None:
    rows = [freesound_row(n, 41, 29) for n in range(1, 151)]
    more = said_json({"count": 150, "next": "http://other.example/?page=2&token=x", "results": rows})
    with Freesound(rows, [more]).running() as host:  # the second page is no more
        found = collect(Source(Filters(BOX), host.url), web_for(tmp_path))
        assert len(found.ids) == 150 and [one.path for one in host.asked] == ["/apiv2/search/"] * 2
    back = said_json({"count": 150, "next": "http://other.example/?page=1", "results": rows})
    with Freesound(rows, [back]).running() as host, pytest.raises(DataError, match="pages lead back"):
        collect(Source(Filters(BOX), host.url), web_for(tmp_path))


def test_the_key_goes_to_no_other_host_and_into_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Freesound([freesound_row(1, 41, 29)]).running() as other:

        def moved(asked: Asked) -> Said:
            return Said(b"", 302, {"Location": f"{other.url}{asked.path}?{asked.query}"})

        first = Freesound([])
        first.answer = lambda asked, query: moved(asked)  # type: ignore[method-assign]
        with first.running() as host, pytest.raises(ConfigError, match="refuses the key"):
            collect(Source(Filters(BOX), host.url), web_for(tmp_path))
        assert "authorization" in host.asked[0].headers and "authorization" not in other.asked[0].headers
    assert KEY not in caplog.text
    assert all(KEY.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_previews_come_from_another_host_without_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "per_second", 200.0)
    previews: dict[str, bytes | Said] = {
        "/previews/0/1_777-hq.ogg": sound(1, form="OGG"),
        "/previews/0/2_777-hq.ogg": HTML,
    }
    with Freesound([], media=previews).running() as cdn:
        rows = [freesound_row(n, 41, 29, cdn=cdn.url) for n in (1, 2, 3)]
        with Freesound(rows).running() as host:
            source, web = Source(Filters(BOX), host.url), web_for(tmp_path)
            fetched = fetch_recordings(
                source, list_recordings(source, tmp_path / "l", web=web), tmp_path / "f", web=web
            )
        assert [one.recording.source_id for one in fetched.files] == ["1"] and fetched.files[0].path.suffix == ".ogg"
        assert {reason: named.count for reason, named in fetched.failed.items()} == {PAGE: 1, "gone": 1}
        assert cdn.asked and not any("authorization" in one.headers or KEY in one.query for one in cdn.asked)
    assert write_table(fetched.files, tmp_path / "f" / "rows.parquet") == 1
    (row,) = pq.read_table(tmp_path / "f" / "rows.parquet").to_pylist()
    assert (row["id"], row["longitude"], row["license"][-7:]) == ("freesound:1", 29.0, "by/4.0/")
    assert all(KEY.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_days_of_recording_are_not_known_there() -> None:
    with pytest.raises(ConfigError, match="uploaded, not when it was recorded"):
        Source(Filters(since="2020-01-01"))

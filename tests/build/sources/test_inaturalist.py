"""iNaturalist: ids above, sounds' own licences, obscured places, and what its errors mean."""

from pathlib import Path

import pytest
from archives import web_for
from imagery_hosts import Said
from sound_archives import INaturalist, collect, inaturalist_row, inaturalist_sound, said_json

from earthtone.build.sources import inaturalist
from earthtone.build.sources.inaturalist import INaturalist as Source
from earthtone.build.sources.listing import list_recordings
from earthtone.build.sources.source import Filters
from earthtone.build.web import QuotaReachedError
from earthtone.errors import DataError

BOX = (-2.0, 51.0, -1.0, 52.0)


def test_rows_of_all_pages_with_their_cells(tmp_path: Path) -> None:
    archive = INaturalist([inaturalist_row(n, 51.6, -1.12) for n in range(10, 460)])
    with archive.running() as host:
        source = Source(Filters(BOX, since="2021-01-01", until="2021-12-31"), host.url, words="merula")
        found = collect(source, web_for(tmp_path))
        assert found.ids == [str(n + 10_000) for n in range(10, 460)]
        assert [page.count for page in found.pages] == [200, 200, 50, 0]  # until an empty one
        assert [page.total for page in found.pages] == [450, None, None, None]
        assert [query["id_above"] for query in archive.queries] == ["0", "209", "409", "459"]
        assert not any("page" in query for query in archive.queries)
        asked = archive.queries[0]
        assert (asked["q"], asked["d1"], asked["swlng"], asked["nelat"]) == ("merula", "2021-01-01", "-2.0", "52.0")
        assert asked["sound_license"] == "cc0,cc-by,cc-by-sa"
        assert collect(source, web_for(tmp_path), found.pages[1].cursor).ids == found.ids[400:]
    one = found.recordings[0]
    assert (one.longitude, one.latitude, one.coord_uncertainty_m) == (-1.12, 51.6, 19)
    assert (one.time, one.time_zone_known) == ("2021-06-25T22:18:43+02:00", True)
    assert (one.license, one.author, one.suffix) == ("cc-by", "A. Hearer", ".wav")  # not the observation's cc0
    assert one.url == "https://www.inaturalist.org/observations/10" and one.more["species"] == "Turdus merula"
    assert "CC-BY" in one.cells()["attribution"] and "quelqu" not in one.cells()["attribution"]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    sound = inaturalist_sound
    rows = [
        inaturalist_row(1, 51.5, -1.5, sound(1), sound(2, license_code=None), sound(3, license_code="cc-by-nc")),
        inaturalist_row(2, 51.5, -1.5, sound(4, file_url=None), sound(5, hidden=True), sound(6, flags=[{}])),
        inaturalist_row(3, 51.5, -1.5, sound(7), obscured=True, public_positional_accuracy=28_000),
        inaturalist_row(4, 51.5, -1.5, sound(8), taxon_geoprivacy="obscured"),
        inaturalist_row(5, 0, 0, sound(9), geoprivacy="private", geojson=None, location=None),
        inaturalist_row(6, 51.5, -1.5, sound(10), public_positional_accuracy=None, positional_accuracy=None),
        inaturalist_row(7, 51.5, -1.5, sound(11), public_positional_accuracy=900),
        inaturalist_row(8, 51.5, -1.5, sounds=[]),
        inaturalist_row(9, 51.5, -1.5, sound(12), geojson=None, time_observed_at=None, observed_on="2021-06-25"),
        inaturalist_row(10, 51.5, -1.5, sound(13, flags=[{"resolved": True}])),
        inaturalist_row(11, 51.5, -1.5, sounds="none"),
        {"id": "x", "sounds": 3, "geojson": None},
    ]  # fmt: skip
    archive = INaturalist(rows, [said_json({"total_results": 12, "results": rows}), said_json({"results": []})])
    with archive.running() as host:
        found = collect(Source(Filters(BOX, most_uncertainty_m=500), host.url), web_for(tmp_path))
    assert found.ids == ["1", "10", "12", "13"]
    assert found.left_out == {
        "licence not allowed: unknown": 1, "licence not allowed: CC-BY-NC": 1, "without a file": 1,
        "hidden or flagged by the archive": 2, "place obscured by the archive": 3, "without a sound": 3,
        "place not known well enough": 1,
    }  # fmt: skip
    unknown, located = found.recordings[1], found.recordings[2]
    assert unknown.coord_uncertainty_m is None
    assert (located.longitude, located.time, located.time_zone_known) == (-1.5, "2021-06-25", False)


def test_obscured_places_that_are_asked_for_say_so(tmp_path: Path) -> None:
    hidden = {"obscured": True, "positional_accuracy": 5, "public_positional_accuracy": None}
    with INaturalist([inaturalist_row(1, 51.5, -1.5, **hidden)]).running() as host:
        one = collect(Source(Filters(BOX), host.url, obscured=True), web_for(tmp_path)).recordings[0]
    assert one.cells()["coord_source"] == "obscured by the archive" and one.more["obscured"] == "yes"
    assert one.coord_uncertainty_m is None  # 5 m is that of the true place


def test_a_box_across_180_is_asked_for_as_two(tmp_path: Path) -> None:
    rows = [inaturalist_row(n, -15.0, x) for n, x in enumerate((179.0, 180.0, -180.0, -175.0, 0.0), start=1)]
    with INaturalist(rows).running() as host:
        found = collect(Source(Filters((170.0, -20.0, -170.0, -10.0)), host.url), web_for(tmp_path))
    assert found.ids == ["10001", "10002", "10003", "10004"]
    assert {page.total for page in found.pages} == {None}


def test_allowed_licences_are_asked_for(tmp_path: Path) -> None:
    archive = INaturalist([])
    with archive.running() as host:
        collect(Source(Filters(allow=("nc", "nd")), host.url), web_for(tmp_path))
    assert archive.queries[0]["sound_license"].split(",")[3:] == ["cc-by-nc", "cc-by-nc-sa", "cc-by-nd", "cc-by-nc-nd"]


def test_a_window_that_is_too_large_is_no_ban(tmp_path: Path) -> None:
    said = said_json({"error": "Result window is too large, page * per_page must be <= 10000", "status": 403}, 403)
    with INaturalist([], always=said).running() as host, pytest.raises(DataError, match="this is no ban"):
        collect(Source(endpoint=host.url), web_for(tmp_path))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            said_json({"error": "Forbidden", "status": 403}, 403),
            r"refuses \(status 403 \(Forbidden\)\); it may",
        ),
        (said_json({"error": {"original": {"message": "shard failed"}}, "status": 422}, 422), r"422 \(shard failed\)"),
        (Said(b"<html>busy</html>"), "a web page came in place of JSON"),
        (said_json({"results": [{"id": 0, "sounds": []}]}), "pages lead back"),
        (said_json({"total": 1}), "without a list of results"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, said: Said, told: str) -> None:
    with INaturalist([], always=said).running() as host, pytest.raises(DataError, match=told):
        collect(Source(endpoint=host.url), web_for(tmp_path))


def test_429_is_waited_for_a_minute_without_a_word_on_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = said_json({"error": "Too Many Requests", "status": 429}, 429)
    with INaturalist([], [busy]).running() as host, pytest.raises(QuotaReachedError, match="asks to wait 60 s"):
        collect(Source(endpoint=host.url), web_for(tmp_path))  # which waits for 3 s at most
    monkeypatch.setattr(inaturalist, "_BUSY_SECONDS", 0.2)
    with INaturalist([inaturalist_row(1, 51.5, -1.5)], [busy]).running() as host:
        assert collect(Source(endpoint=host.url), web_for(tmp_path)).ids == ["10001"]


def test_the_list_goes_on_by_ids_after_a_day_is_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "per_second", 200.0)
    monkeypatch.setattr(Source, "per_day", 2)
    twice = [inaturalist_row(n, 51.5, -1.5, inaturalist_sound(min(n, 399))) for n in range(1, 401)]
    archive = INaturalist(twice)
    with archive.running() as host:
        source, web = Source(Filters(BOX), host.url), web_for(tmp_path)
        with pytest.raises(QuotaReachedError, match="has been asked 2 times today"):
            list_recordings(source, tmp_path / "list", web=web)
        for file in (tmp_path / "web").rglob("*.day"):
            file.unlink()
        listing = list_recordings(source, tmp_path / "list", web=web_for(tmp_path))
    assert [one.source_id for one in listing] == [str(n) for n in range(1, 400)]
    assert listing.done and listing.left_out == {"listed twice": 1}
    assert [query["id_above"] for query in archive.queries] == ["0", "200", "400"]

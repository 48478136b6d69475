"""GBIF: offsets to their end, the licence of the medium, media named twice, places made coarser."""

import base64
from functools import partial
from pathlib import Path

import pytest
import shapely
from archives import HTML, sound, web_for
from imagery_hosts import Said
from loopback import zipped
from sound_archives import Gbif, collect, gbif_media, gbif_row, said_json

from earthtone.build.fetch.download import PAGE
from earthtone.build.sources import gbif, gbif_download
from earthtone.build.sources.fetching import fetch_recordings
from earthtone.build.sources.gbif import Gbif as Source
from earthtone.build.sources.gbif import outline
from earthtone.build.sources.listing import list_recordings
from earthtone.build.sources.source import Filters
from earthtone.build.web import QuotaReachedError
from earthtone.errors import ConfigError, DataError

BOX = (-9.0, 42.0, -8.0, 43.0)


def test_rows_of_all_pages_with_their_cells(tmp_path: Path) -> None:
    archive = Gbif([gbif_row(n, 42.8373, -8.652, coordinateUncertaintyInMeters=30.0) for n in range(1, 701)])
    with archive.running() as host:
        source = Source(Filters(BOX, since="2024-01-01"), host.url, words="merula")
        found = collect(source, web_for(tmp_path))
        assert len(set(found.ids)) == 700 and found.ids[0].startswith("1-")
        assert [page.count for page in found.pages] == [300, 300, 100] and found.pages[0].total == 700
        asked = archive.queries[0]
        assert (asked["mediaType"], asked["eventDate"], asked["q"]) == ("Sound", "2024-01-01,*", "merula")
        assert asked["geometry"] == "POLYGON((-9 42,-8 42,-8 43,-9 43,-9 42))" and "license" not in asked
        assert collect(source, web_for(tmp_path), found.pages[1].cursor).ids == found.ids[600:]
    one = found.recordings[0]
    assert (one.longitude, one.latitude, one.coord_uncertainty_m) == (-8.652, 42.8373, 30.0)
    assert one.license == "http://creativecommons.org/licenses/by/4.0/"  # not the record's BY-NC
    assert (one.media_url, one.suffix) == ("https://media.example/sounds/1.mp3", ".mp3")
    assert (one.time, one.author, one.more["occurrence"]) == ("2024-05-11", "A. Recordist", "1")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    media, xc = gbif_media, "b1047888-ae52-4179-9dd5-5448ea342a24"
    rows = [
        gbif_row(1, 42.5, -8.5, media(1, license=None), media(1), media(2, type="StillImage", format="image/jpeg")),
        gbif_row(2, 42.5, -8.5, media(3, license=None)),
        gbif_row(3, 42.5, -8.5, media(4, format="text/html")),
        gbif_row(4, 42.5, -8.5, media(5, identifier="urn:catalog:5")),
        gbif_row(5, 42.5, -8.5, media(6), media(7), dataGeneralizations="rounded to 10 km"),
        gbif_row(6, 42.5, -8.5, media(8), informationWithheld="Coordinate uncertainty increased to 28 km"),
        gbif_row(7, 42.5, -8.5, media(9), informationWithheld="name of the observer"),
        gbif_row(8, 42.5, -8.5, media(10), datasetKey="50c9509d-22c7-4a22-a47d-8c48425ef4a7"),
        gbif_row(9, 42.5, -8.5, media(11, type=None, format="audio/x-wav")),
        gbif_row(10, 0, 0, media(12), issues=["ZERO_COORDINATE"]),
        {"media": None}, {"key": 12, "media": [3, None]},
        gbif_row(13, 42.5, -8.5, media(13), eventDate="2024-05-11T05:45:00+02:00/2024-05-11T06:00:00+02:00"),
        gbif_row(14, 42.5, -8.5, media(14), eventDate="2024-05-11/2024-06-30"),
        gbif_row(15, 42.5, -8.5, media(15), eventDate="2024-05-11T00:00:00Z"),
    ]  # fmt: skip
    archive = Gbif(rows, [said_json({"endOfRecords": True, "count": len(rows), "results": rows})])
    with archive.running() as host:
        found = collect(Source(Filters(BOX), host.url, without=("inaturalist", "other")), web_for(tmp_path))
    assert [one.more["occurrence"] for one in found.recordings] == ["1", "7", "9", "13", "14", "15"]
    assert found.left_out == {
        "licence not allowed: unknown": 1, "no sound: a web page": 1, "without a file": 1, "without a key": 1,
        "place made coarser by its publisher": 3, "of a data set that is left out": 1, "at longitude 0, latitude 0": 1,
    }  # fmt: skip
    first, *_, moment, days, midnight = found.recordings
    assert first.more["dataset"] == xc and first.coord_uncertainty_m is None
    assert (moment.time, moment.time_zone_known) == ("2024-05-11T05:45:00+02:00", True)
    assert (midnight.time, midnight.time_zone_known) == ("2024-05-11", False)
    assert (days.time, days.more["days"]) == ("", "2024-05-11/2024-06-30")


def test_coarser_places_that_are_asked_for_say_so(tmp_path: Path) -> None:
    with Gbif([gbif_row(1, 42.5, -8.5, dataGeneralizations="10 km")]).running() as host:
        found = collect(Source(Filters(BOX), host.url, generalised=True), web_for(tmp_path))
    assert found.recordings[0].more["generalised"] == "10 km"
    assert found.recordings[0].cells()["coord_source"] == "made coarser by its publisher"


def test_the_window_of_a_search_ends_with_a_sentence(tmp_path: Path) -> None:
    with Gbif([gbif_row(1, 42.5, -8.5)], pretended=250_000).running() as host:
        source, web = Source(Filters(BOX), host.url), web_for(tmp_path)
        assert "250,000 occurrences" in next(source.pages(web, None)).remarks[0]
        with pytest.raises(DataError, match=r"shows the first 100,000 occurrences.*smaller box.*download"):
            next(source.pages(web, "0:100000"))


def test_a_page_that_comes_empty_is_no_end(tmp_path: Path) -> None:
    empty = said_json({"endOfRecords": False, "count": 3, "results": []})
    with Gbif([], always=empty).running() as host, pytest.raises(DataError, match="comes empty before the end"):
        collect(Source(Filters(BOX), host.url), web_for(tmp_path))


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GBIF_USER", "somebody")
    monkeypatch.setenv("GBIF_PASSWORD", "pass word \u00e9")
    monkeypatch.setattr(gbif_download, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(gbif, "_DOWNLOADED_PAGE", 10)
    monkeypatch.setattr(Source, "per_second", 200.0)


@pytest.mark.usefixtures("account")
def test_a_download_has_the_rows_of_the_search(tmp_path: Path) -> None:
    rows = [gbif_row(n, 42.5, -8.5, gbif_media(n), gbif_media(1000 + n)) for n in range(1, 31)]
    rows[3] = gbif_row(4, 42.5, -8.5, gbif_media(4, license=None), gbif_media(4), issues=["A", "B"])
    rows[7] = gbif_row(8, 42.5, -8.5, gbif_media(8, type="StillImage", format="image/jpeg"))
    archive = Gbif(rows)
    filters = Filters(BOX, since="2024-01-01", until="2024-12-31")
    with archive.running() as host:
        found = collect(Source(filters, host.url, download=True), web_for(tmp_path))
        searched = collect(Source(filters, host.url), web_for(tmp_path))
        middle = collect(Source(filters, host.url, download=True), web_for(tmp_path), found.pages[1].cursor)
    assert found.ids == searched.ids and found.recordings[0].cells() == searched.recordings[0].cells()
    assert found.recordings[5].more == searched.recordings[5].more
    assert [page.count for page in found.pages] == [0, 10, 10, 10] and found.pages[-1].total == 30
    assert found.pages[1].remarks == ("cite https://doi.org/10.15468/dl.abcdef",)
    assert middle.ids == [one.source_id for page in found.pages[2:] for one in page.recordings]
    (asked,) = archive.requests
    assert asked["creator"] == "somebody" and asked["format"] == "DWCA"
    assert {"type": "within", "geometry": "POLYGON((-9 42,-8 42,-8 43,-9 43,-9 42))"} in asked["predicate"][
        "predicates"
    ]
    (sent,) = archive.credentials
    assert sent and base64.b64decode(sent.removeprefix("Basic ")).decode() == "somebody:pass word \u00e9"
    assert sum(one.path.endswith(".zip") for one in host.asked) == 1


@pytest.mark.usefixtures("account")
def test_a_download_is_asked_for_once_and_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gbif_download, "_PATIENCE_SECONDS", 0.0)
    archive = Gbif([gbif_row(n, 42.5, -8.5) for n in range(1, 16)], statuses=["PREPARING", "SUCCEEDED"])
    with archive.running() as host:
        source, folder = Source(Filters(BOX), host.url, download=True), tmp_path / "list"
        with pytest.raises(QuotaReachedError, match=r"still making the download 0001234-\d+ \(PREPARING\)"):
            list_recordings(source, folder, web=web_for(tmp_path))
        listing = list_recordings(source, folder, web=web_for(tmp_path))
    assert len(listing) == 15 and len(archive.requests) == 1
    assert listing.remarks[-1] == "cite https://doi.org/10.15468/dl.abcdef"
    for file in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert b"pass word" not in file.read_bytes() and b"somebody" not in file.read_bytes()


@pytest.mark.usefixtures("account")
def test_a_download_that_does_not_come_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = partial(Source, Filters(BOX), download=True)
    with Gbif([], statuses=["KILLED"]).running() as host, pytest.raises(DataError, match=r"0001234-\d+ is KILLED"):
        collect(source(endpoint=host.url), web_for(tmp_path))
    with Gbif([], always=Said(b"Not authenticated", 401)).running() as host:
        with pytest.raises(ConfigError, match=r"refuses the key of GBIF_PASSWORD \(for the user"):
            collect(source(endpoint=host.url), web_for(tmp_path))
        assert len(host.asked) == 1
    broken = Gbif([gbif_row(1, 42.5, -8.5)])
    whole = broken.archive()
    broken.archive = lambda: whole[: len(whole) // 2]  # type: ignore[method-assign]
    with broken.running() as host, pytest.raises(DataError, match="is no whole archive"):
        collect(source(endpoint=host.url), web_for(tmp_path / "broken"))
    assert not list((tmp_path / "broken" / "web" / "gbif").iterdir())
    broken.archive = lambda: zipped({"occurrence.txt": b"gbifID\n1\n"})  # type: ignore[method-assign]
    with broken.running() as host, pytest.raises(DataError, match=r"has no multimedia.txt; a Darwin Core archive"):
        collect(source(endpoint=host.url), web_for(tmp_path / "other"))
    monkeypatch.delenv("GBIF_PASSWORD")
    with pytest.raises(ConfigError, match="GBIF_PASSWORD is not set"):
        collect(source(endpoint="http://127.0.0.1:9"), web_for(tmp_path))
    with pytest.raises(ConfigError, match="leave words out"):
        source(words="merula")


def test_retry_after_is_kept_to(tmp_path: Path) -> None:
    busy = Said(b"", 429, {"Retry-After": "1"})
    with Gbif([gbif_row(1, 42.5, -8.5)], [busy, Said(b"", 503)]).running() as host:
        assert len(collect(Source(Filters(BOX), host.url), web_for(tmp_path)).ids) == 1
        assert len(host.asked) == 3


def test_media_of_other_hosts_are_fetched_each_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "per_second", 200.0)
    other = Gbif([], media={"/1.mp3": sound(1), "/2.mp3": HTML, "/3.mp3": Said(b"", 403), "/4.mp3": Said(b"", 404)})
    with other.running() as publisher:
        rows = [gbif_row(n, 42.5, -8.5, gbif_media(n, identifier=f"{publisher.url}/{n}.mp3")) for n in range(1, 5)]
        with Gbif(rows).running() as host:
            source, web = Source(Filters(BOX), host.url), web_for(tmp_path)
            fetched = fetch_recordings(
                source, list_recordings(source, tmp_path / "l", web=web), tmp_path / "f", web=web
            )
    assert [one.recording.more["occurrence"] for one in fetched.files] == ["1"]
    assert fetched.files[0].path.suffix == ".wav"  # whatever its address and its record say
    assert sum(named.count for named in fetched.failed.values()) == 3 and fetched.failed[PAGE].count == 1


def test_outlines_go_counter_clockwise_and_hold_the_box() -> None:
    box = (-8.123456, 42.000049, -7.999951, 43.5)
    shape = shapely.from_wkt(outline(box))
    assert shapely.is_ccw(shape.exterior) and shape.covers(shapely.box(*box))
    assert shape.bounds == (-8.1235, 42.0, -7.9999, 43.5)

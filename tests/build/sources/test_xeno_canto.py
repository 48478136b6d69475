"""xeno-canto: tags, pages, local times, errors in several shapes, and a key that nobody is told."""

import logging
import traceback
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from archives import sound, web_for
from imagery_hosts import Said
from sound_archives import KEY, XenoCanto, collect, said_json, xeno_canto_row

from earthtone.build.sources.fetching import fetch_recordings
from earthtone.build.sources.listing import list_recordings
from earthtone.build.sources.source import Filters
from earthtone.build.sources.xeno_canto import XenoCanto as Source
from earthtone.errors import ConfigError, DataError, EarthtoneError

BOX = (-9.0, 42.0, -8.0, 43.0)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENO_CANTO_API_KEY", KEY)
    monkeypatch.setattr(Source, "per_second", 50.0)


def test_rows_of_all_pages_with_their_cells(tmp_path: Path) -> None:
    archive = XenoCanto([xeno_canto_row(n, 42.8373, -8.652) for n in range(1, 551)])
    with archive.running() as host:
        source = Source(Filters(BOX, least_seconds=10, most_seconds=300), host.url, tags='grp:birds  cnt:"new zealand"')
        found = collect(source, web_for(tmp_path))
        assert found.ids == [str(n) for n in range(1, 551)]
        assert [page.count for page in found.pages] == [500, 50] and found.pages[0].total == 550
        asked = archive.queries[0]
        assert asked["query"] == 'grp:birds cnt:"new zealand" box:42,-9,43,-8 len:10-301'
        assert collect(source, web_for(tmp_path), found.pages[0].cursor).ids == found.ids[500:]
    one = found.recordings[0]
    assert (one.longitude, one.latitude, one.coord_uncertainty_m) == (-8.652, 42.8373, None)
    assert (one.time, one.time_zone_known, one.seconds) == ("2024-05-11T05:45:00", False, 83.0)
    assert one.cells()["local_time"] == "2024-05-11 05:45:00" and one.cells()["datetime"] is None
    assert one.license == "https://creativecommons.org/licenses/by-sa/4.0/" and one.url == "https://xeno-canto.org/1"
    assert (one.media_url, one.suffix, one.more["species"]) == (
        "https://xeno-canto.org/1/download", ".wav", "Turdus merula",
    )  # fmt: skip


def test_times_files_and_places_that_are_less_than_whole(tmp_path: Path) -> None:
    rows = [
        xeno_canto_row(1, 42.5, -8.5, date="2024-05-00"), xeno_canto_row(2, 42.5, -8.5, date="2024-00-00", time="?"),
        xeno_canto_row(3, 42.5, -8.5, time="?"), xeno_canto_row(4, 42.5, -8.5, time="25:61"),
        xeno_canto_row(5, 42.5, -8.5, time="5:45", length="1:02:03"), xeno_canto_row(6, 42.5, -8.5, date="0000-00-00"),
        xeno_canto_row(7, 42.5, -8.5, file={"url": "//xeno-canto.org/7/download"}),
        xeno_canto_row(8, 42.5, -8.5, file=""), xeno_canto_row(9, None, None), xeno_canto_row(10, 42.5, -8.5, id="?"),
        xeno_canto_row(11, 42.5, -8.5, lic="//creativecommons.org/licenses/by-nc-nd/4.0/"),
        xeno_canto_row(12, 42.5, -8.5, file="javascript:alert(1)"), xeno_canto_row(13, 42.5, -8.5, length="?"),
    ]  # fmt: skip
    with XenoCanto(rows).running() as host:
        found = collect(Source(Filters(BOX), host.url), web_for(tmp_path))
    assert {one.source_id: one.time for one in found.recordings} == {
        "1": "2024-05", "2": "2024", "3": "2024-05-11", "4": "2024-05-11", "5": "2024-05-11T05:45:00", "6": "",
        "7": "2024-05-11T05:45:00", "13": "2024-05-11T05:45:00",
    }  # fmt: skip
    assert [found.recordings[n].seconds for n in (4, 7)] == [3723.0, None]
    assert found.recordings[6].media_url == "https://xeno-canto.org/7/download"
    assert found.left_out == {
        "without a file: the species is protected": 2, "without a place": 1, "without an id": 1,
        "licence not allowed: CC-BY-NC-ND-4.0": 1,
    }  # fmt: skip


@pytest.mark.parametrize("tags", ["blackbird", "grp:birds blackbird", 'cnt:"', "gen:Turdus q:A x"])
def test_free_words_are_refused_here(tags: str) -> None:
    with pytest.raises(ConfigError, match="TAG:VALUE expected"):
        Source(tags=tags)


def test_all_of_the_archive_is_not_asked_for() -> None:
    with pytest.raises(ConfigError, match="without a box or tags"):
        Source()


def test_503_is_slower_by_two(tmp_path: Path) -> None:
    busy = Said(b"", 503)
    with XenoCanto([xeno_canto_row(1, 42.5, -8.5)], [busy, busy]).running() as host:
        web = web_for(tmp_path)
        assert collect(Source(Filters(BOX), host.url), web).ids == ["1"]
        assert len(host.asked) == 3
        assert web._limiter._paces["127.0.0.1"] == (4 / 50, None)


@pytest.mark.parametrize(
    "said",
    [
        said_json({"error": "Unauthorized", "message": f"Missing or invalid 'key' parameter: {KEY}"}, 401),
        said_json({"error": {"code": "missing_parameter", "message": f"invalid key {quote_plus(KEY)}"}}, 401),
        said_json({"error": "client_error", "message": f"the key {KEY} is not valid"}, 400),
        said_json({"message": "no"}, 403),
    ],
)
def test_a_key_that_is_refused_is_one_line_without_it(tmp_path: Path, said: Said) -> None:
    with XenoCanto([], always=said).running() as host:
        with pytest.raises(ConfigError, match="refuses the key of XENO_CANTO_API_KEY") as caught:
            collect(Source(Filters(BOX), host.url), web_for(tmp_path))
        assert len(host.asked) == 1
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told and quote_plus(KEY) not in told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (said_json({"error": {"code": "client_error", "message": f"bad tag {KEY}"}}, 400), r"400 \(bad tag \*\*\*\)"),
        (said_json({"error": "server_error", "message": f"oh {KEY}"}, 500), "answers 500; tried 4 times"),
        (Said(f"<html>{KEY}</html>".encode()), "a web page came in place of JSON"),
        (Said(b"", 404), "answers 404"),
        (said_json({"page": 3, "numPages": 4, "recordings": []}), "page 3 where page 1 was asked for"),
        (said_json({"page": 1, "numPages": 4, "recordings": []}), "page 1 of 4 comes empty"),
        (said_json({"page": 1}), "without a list of recordings"),
        (Said(b"", 302, {"Location": f"ftp://127.0.0.1/?key={quote_plus(KEY)}"}), "leads to ftp://127.0.0.1"),
        (Said(b"", 302, {"Location": f"http://[{quote_plus(KEY)}/?key={KEY}"}), "an address that is none"),
    ],
)
def test_no_message_no_log_and_no_file_holds_the_key(
    tmp_path: Path, said: Said, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with XenoCanto([], always=said).running() as host, pytest.raises(DataError, match=told) as caught:
        list_recordings(Source(Filters(BOX), host.url), tmp_path / "list", web=web_for(tmp_path))
    for text in ("".join(traceback.format_exception(caught.value)), caplog.text):
        assert KEY not in text and quote_plus(KEY) not in text
    for file in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert KEY.encode() not in file.read_bytes() and quote_plus(KEY).encode() not in file.read_bytes()


def test_a_list_that_is_stopped_goes_on_and_never_holds_the_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rows = [xeno_canto_row(n, 42.5, -8.5) for n in range(1, 551)]
    rows[520] = rows[3]  # a recording that came meanwhile has moved all others
    archive = XenoCanto(rows, [None, *[Said(b"", 500)] * 4])
    with archive.running() as host:
        source, folder = Source(Filters(BOX), host.url), tmp_path / "list"
        with pytest.raises(EarthtoneError, match="answers 500"):
            list_recordings(source, folder, web=web_for(tmp_path))
        listing = list_recordings(source, folder, web=web_for(tmp_path))
        listing = list_recordings(source, folder, web=web_for(tmp_path))  # whole: nothing is asked
        assert [query["page"] for query in archive.queries] == ["1", "2", "2", "2", "2", "2"]
    assert len(listing) == 549 and listing.left_out == {"listed twice": 1}
    assert KEY not in caplog.text and quote_plus(KEY) not in caplog.text
    assert KEY not in source.query_id and KEY not in repr(source)
    for file in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert KEY.encode() not in file.read_bytes() and quote_plus(KEY).encode() not in file.read_bytes()


def test_files_come_by_a_redirect_without_the_key(tmp_path: Path) -> None:
    archive = XenoCanto([], media={"/sounds/XC1.wav": sound(1)})
    with archive.running() as host:
        archive.rows = [xeno_canto_row(n, 42.5, -8.5, file=f"{host.url}/{n}/download") for n in (1, 2)]
        archive.media["/1/download"] = Said(b"", 302, {"Location": f"{host.url}/sounds/XC1.wav"})
        source, web = Source(Filters(BOX), host.url), web_for(tmp_path)
        fetched = fetch_recordings(source, list_recordings(source, tmp_path / "l", web=web), tmp_path / "f", web=web)
        assert [one.recording.source_id for one in fetched.files] == ["1"] and fetched.failed["gone"].count == 1
        assert [quote_plus(KEY) in one.query for one in host.asked] == [True, *[False] * (len(host.asked) - 1)]
    for file in (one for one in tmp_path.rglob("*") if one.is_file()):
        assert KEY.encode() not in file.read_bytes() and quote_plus(KEY).encode() not in file.read_bytes()

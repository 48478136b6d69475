"""GBIF: offsets to their end, the licence of the medium, media named twice, places made coarser."""

from pathlib import Path

import pytest
import shapely
from imagery_hosts import Said
from sound_archives import Gbif, collect, gbif_media, gbif_row, quick_web, said_json

from earthtone.build.sources.gbif import Gbif as Source
from earthtone.build.sources.gbif import outline
from earthtone.build.sources.source import Filters
from earthtone.errors import DataError

BOX = (-9.0, 42.0, -8.0, 43.0)


def test_rows_of_all_pages_with_their_cells(tmp_path: Path) -> None:
    archive = Gbif([gbif_row(n, 42.8373, -8.652, coordinateUncertaintyInMeters=30.0) for n in range(1, 701)])
    with archive.running() as host:
        source = Source(Filters(BOX, since="2024-01-01"), host.url, words="merula")
        found = collect(source, quick_web(tmp_path))
        assert len(set(found.ids)) == 700 and found.ids[0].startswith("1-")
        assert [page.count for page in found.pages] == [300, 300, 100] and found.pages[0].total == 700
        asked = archive.queries[0]
        assert (asked["mediaType"], asked["eventDate"], asked["q"]) == ("Sound", "2024-01-01,*", "merula")
        assert asked["geometry"] == "POLYGON((-9 42,-8 42,-8 43,-9 43,-9 42))" and "license" not in asked
        assert collect(source, quick_web(tmp_path), found.pages[1].cursor).ids == found.ids[600:]
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
    ]  # fmt: skip
    archive = Gbif(rows, [said_json({"endOfRecords": True, "count": len(rows), "results": rows})])
    with archive.running() as host:
        found = collect(Source(Filters(BOX), host.url, without=("inaturalist", "other")), quick_web(tmp_path))
    assert [one.more["occurrence"] for one in found.recordings] == ["1", "7", "9", "13", "14"]
    assert found.left_out == {
        "licence not allowed: unknown": 1, "no sound: a web page": 1, "without a file": 1, "without a key": 1,
        "place made coarser by its publisher": 3, "of a data set that is left out": 1, "at longitude 0, latitude 0": 1,
    }  # fmt: skip
    first, *_, moment, days = found.recordings
    assert first.more["dataset"] == xc and first.coord_uncertainty_m is None
    assert (moment.time, moment.time_zone_known) == ("2024-05-11T05:45:00+02:00", True)
    assert (days.time, days.more["days"]) == ("", "2024-05-11/2024-06-30")


def test_coarser_places_that_are_asked_for_say_so(tmp_path: Path) -> None:
    with Gbif([gbif_row(1, 42.5, -8.5, dataGeneralizations="10 km")]).running() as host:
        found = collect(Source(Filters(BOX), host.url, generalised=True), quick_web(tmp_path))
    assert found.recordings[0].more["generalised"] == "10 km"


def test_the_window_of_a_search_ends_with_a_sentence(tmp_path: Path) -> None:
    with Gbif([gbif_row(1, 42.5, -8.5)], pretended=250_000).running() as host:
        source, web = Source(Filters(BOX), host.url), quick_web(tmp_path)
        assert "250,000 occurrences" in next(source.pages(web, None)).remarks[0]
        with pytest.raises(DataError, match=r"shows the first 100,000 occurrences.*smaller box.*download"):
            next(source.pages(web, "0:100000"))


def test_a_page_that_comes_empty_is_no_end(tmp_path: Path) -> None:
    empty = said_json({"endOfRecords": False, "count": 3, "results": []})
    with Gbif([], always=empty).running() as host, pytest.raises(DataError, match="comes empty before the end"):
        collect(Source(Filters(BOX), host.url), quick_web(tmp_path))


def test_retry_after_is_kept_to(tmp_path: Path) -> None:
    busy = Said(b"", 429, {"Retry-After": "1"})
    with Gbif([gbif_row(1, 42.5, -8.5)], [busy, Said(b"", 503)]).running() as host:
        assert len(collect(Source(Filters(BOX), host.url), quick_web(tmp_path)).ids) == 1
        assert len(host.asked) == 3


def test_outlines_go_counter_clockwise_and_hold_the_box() -> None:
    box = (-8.123456, 42.000049, -7.999951, 43.5)
    shape = shapely.from_wkt(outline(box))
    assert shapely.is_ccw(shape.exterior) and shape.covers(shapely.box(*box))
    assert shape.bounds == (-8.1235, 42.0, -7.9999, 43.5)

"""The Internet Archive in its own shapes: numbers as strings, lists or texts, items that are gone, nodes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import Archive, archive, file_said, md5, query, sound, unhurried, web_for
from imagery_hosts import Asked, Said, json_said

from earthtone.build.sources.fetching import fetch_recordings
from earthtone.build.sources.internet_archive import InternetArchive
from earthtone.build.sources.listing import Listing, list_recordings
from earthtone.build.sources.source import Filters
from earthtone.build.web import HostError
from earthtone.errors import ConfigError, DataError

BY_SA = "http://creativecommons.org/licenses/by-sa/3.0/"


class Items:
    """A collection on loopback: the scrape interface, records, downloads that lead to a node."""

    def __init__(self, main: Archive, node: Archive) -> None:
        self.main, self.node = main, node
        self.records: dict[str, Any] = {}
        self.listed: list[dict[str, Any]] = []
        main.routes = {
            "/services/search/v1/scrape": self.scrape,
            "/metadata/.*": lambda asked: json_said(self.records.get(asked.path.rpartition("/")[2], {})),
            "/download/.*": self.download,
        }

    def scrape(self, asked: Asked) -> Said:
        values = query(asked)
        if int(values["count"]) < 100:
            return json_said({"error": "count must be at least 100", "errorType": "RangeException"})
        start = int(values.get("cursor", "W0")[1:])
        rows = self.listed[start : start + 100]
        more = {"cursor": f"W{start + 100}"} if start + 100 < len(self.listed) else {}
        return json_said({"items": rows, "count": len(rows), "total": len(self.listed), **more})

    def download(self, asked: Asked) -> Said:
        return Said(b"", 302, {"Location": f"{self.node.url}/5/items{asked.path.removeprefix('/download')}"})

    def add(self, id: str, name: str = "quay.mp3", **metadata: Any) -> dict[str, Any]:
        data = sound(len(self.records), form="MP3")
        self.node.files[f"/5/items/{id}/{name}"] = data
        said = {
            "identifier": id, "title": "Quay, gulls", "creator": "A. Recordist", "date": "2014-05-03",
            "description": "<p>Gulls &amp; a <b>ferry</b></p>", "latitude": "54.5", "longitude": "13.6",
            "licenseurl": BY_SA, "mediatype": "audio", "collection": ["radio-aporee-maps"], **metadata,
        }  # fmt: skip
        said = {name: value for name, value in said.items() if value is not None}
        stem = name.rpartition(".")[0]
        self.records[id] = {
            "created": 1764000000, "d1": "ia600000.us.archive.org", "dir": f"/5/items/{id}", "uniq": 1,
            "server": "ia800000.us.archive.org", "metadata": said,
            "files": [
                {"name": f"{stem}.ogg", "source": "derivative", "original": name, "format": "Ogg Vorbis", "size": "21"},
                {"name": name, "source": "original", "format": "VBR MP3", "size": str(len(data)), "length": "183.04",
                 "md5": md5(data), "sha1": "x", "mtime": "1400000000"},
                {"name": f"{stem}.png", "source": "derivative", "format": "PNG"},
                {"name": f"{id}_files.xml", "source": "original", "format": "Metadata"},
            ],
        }  # fmt: skip
        self.listed.append({name: said[name] for name in ("identifier", "title", "licenseurl") if name in said})
        return self.records[id]  # type: ignore[no-any-return]


@pytest.fixture
def items() -> Iterator[Items]:
    """An empty collection."""
    with archive() as main, archive() as node:
        yield Items(main, node)


def listed(items: Items, tmp_path: Path, filters: Filters | None = None, **more: Any) -> Listing:
    source = InternetArchive(filters or Filters(), items.main.url, **more)
    return list_recordings(source, tmp_path / "list", web=unhurried(web_for(tmp_path)))


def test_an_item_is_listed_as_it_is_and_its_original_fetched(items: Items, tmp_path: Path) -> None:
    items.add("aporee_11111_22222", "quay in May.mp3")
    found = listed(items, tmp_path)
    row = next(iter(found))
    assert row.source_id == "aporee_11111_22222/quay in May.mp3" and row.suffix == ".mp3"
    assert (row.longitude, row.latitude, row.seconds, row.time) == (13.6, 54.5, 183.04, "2014-05-03")
    assert row.more["description"] == "Gulls & a ferry"
    assert row.more["aporee_page"] == "https://aporee.org/maps/?loc=11111&snd=22222"
    assert row.credit == f"Quay, gulls, A. Recordist, 2014-05-03, {BY_SA}, Courtesy of radio aporee ::: maps"
    assert row.media_url == f"{items.main.url}/download/aporee_11111_22222/quay%20in%20May.mp3?cnt=0"
    source = InternetArchive(endpoint=items.main.url)
    items.node.first["/5/items/aporee_11111_22222/quay in May.mp3"] = [Said(b"", 503, {"Retry-After": "1"})]
    files = fetch_recordings(source, found, tmp_path / "files", web=unhurried(web_for(tmp_path)))
    assert files.files[0].path.read_bytes() == items.node.files["/5/items/aporee_11111_22222/quay in May.mp3"]
    assert md5(files.files[0].path.read_bytes()) == row.hash


def test_shapes_of_items(items: Items, tmp_path: Path) -> None:
    items.add("list", creator=["A", "B"], date="2014-05-03T00:00:00Z", longitude=["13.6"], title=["One", "two"])
    items.add("clock", date="2014-05-03 12:30:00")["files"][1]["length"] = "03:03"
    items.add("year", date="2014")
    items.add("odd", date="May 2014", latitude="north")
    items.add("unlicensed", licenseurl=None)
    items.add("nd", licenseurl="https://creativecommons.org/licenses/by-nc-nd/3.0/de/")
    items.add("dark")["is_dark"] = True
    items.add("gone")
    items.records["gone"] = {}
    items.add("login")["files"][1]["private"] = "true"
    items.add("picture")["files"] = [{"name": "a.png", "source": "original"}]
    items.add("derived")["files"][1]["source"] = "derivative"
    items.add("climbs")["files"][1]["name"] = "../../x.mp3"
    items.records["climbs"]["files"].pop(0)
    items.listed.append({"identifier": "../x"})
    found = listed(items, tmp_path)
    rows = {row.source_id.partition("/")[0]: row for row in found}
    assert list(rows) == ["list", "clock", "year", "derived"]
    assert (rows["list"].author, rows["list"].time, rows["list"].longitude) == ("A, B", "2014-05-03", 13.6)
    assert (rows["clock"].time, rows["clock"].seconds) == ("2014-05-03T12:30:00", 183.0)
    assert rows["year"].time == "2014" and rows["derived"].suffix == ".mp3"
    assert found.left_out == {
        "without a place": 1, "licence not allowed: unknown": 1, "licence not allowed: CC-BY-NC-ND-3.0-DE": 1,
        "gone": 2, "needs a login": 1, "without a sound file": 2, "an odd name": 1,
    }  # fmt: skip
    assert "/metadata/nd" not in items.main.paths(), "what the list says is not asked for"
    assert found.seen == found.total == 13


@pytest.mark.slow
def test_pages_by_cursor_days_and_words(items: Items, tmp_path: Path) -> None:
    for number in range(103):
        items.add(f"item{number:03d}")
    found = listed(items, tmp_path, Filters(since="2014-01-01"), query="subject:rain")
    assert len(found) == 103 and found.done and found.total == 103
    asked = [query(one) for one in items.main.asked if one.path.endswith("scrape")]
    assert [one.get("cursor") for one in asked] == [None, "W100"]
    assert asked[0]["q"] == "collection:radio-aporee-maps AND date:[2014-01-01 TO 9999-12-31] AND (subject:rain)"


def test_faults_of_the_list_and_of_records(items: Items, tmp_path: Path) -> None:
    for number in range(6):
        items.add(f"item{number}")
    items.main.first["/services/search/v1/scrape"] = [json_said({"count": 0}), Said(b"", 429, {"Retry-After": "1"})]
    items.main.always["/metadata/item1"] = Said(b"", 503)
    found = listed(items, tmp_path)
    assert len(found) == 5 and found.left_out == {"its record cannot be had": 1}
    items.main.always |= {f"/metadata/item{number}": Said(b"", 503) for number in (2, 3)}
    with pytest.raises(HostError, match="/metadata/item3: the server answers 503"):
        list_recordings(InternetArchive(endpoint=items.main.url), tmp_path / "b", web=unhurried(web_for(tmp_path)))
    items.main.always["/services/search/v1/scrape"] = json_said({"error": "no such field: x"})
    with pytest.raises(DataError, match=r"lists nothing \(no such field: x\); check the query"):
        list_recordings(InternetArchive(endpoint=items.main.url), tmp_path / "c", web=unhurried(web_for(tmp_path)))
    with pytest.raises(ConfigError, match="a name such as radio-aporee-maps"):
        InternetArchive(collection="a OR b")


def test_a_node_that_breaks_off_or_sends_another_file(items: Items, tmp_path: Path) -> None:
    for number in range(3):
        items.add(f"item{number}")
    paths = [f"/5/items/item{number}/quay.mp3" for number in range(3)]
    data = items.node.files[paths[0]]
    whole = file_said(Asked("GET", paths[0], "", {}), data)
    items.node.first[paths[0]] = [Said(data[:700], 200, whole.headers, declared=len(data))]
    items.node.always[paths[1]] = Said(bytes(len(items.node.files[paths[1]])))
    items.node.files.pop(paths[2])
    found = listed(items, tmp_path)
    source = InternetArchive(endpoint=items.main.url)
    files = fetch_recordings(source, found, tmp_path / "files", web=unhurried(web_for(tmp_path)))
    assert [one.path.read_bytes() for one in files.files] == [data]
    assert {reason: named.count for reason, named in files.failed.items()} == {"no sound file": 1, "gone": 1}

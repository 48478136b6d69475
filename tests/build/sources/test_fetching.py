"""Files of recordings: checked, each failure told, gone on with after any stop."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from archives import HTML, Archive, Toy, archive, file_said, killed_at, md5, sound, toy_items, web_for
from imagery_hosts import QUICK, Asked, Said

from earthtone.build.fetch import download as download_module
from earthtone.build.fetch.download import NoRoomError
from earthtone.build.sources import fetching
from earthtone.build.sources.fetching import FetchedRecordings, fetch_recordings, iter_fetched, write_table
from earthtone.build.sources.source import Recording
from earthtone.build.web import Web
from earthtone.data.manifest import Manifest
from earthtone.errors import ConfigError


@pytest.fixture
def host() -> Iterator[Archive]:
    """An archive."""
    with archive() as found:
        yield found


def rows_of(host: Archive, count: int, **changed: Any) -> list[Recording]:
    items = toy_items(host, count)
    return [Recording(**{"source": "toy", "license": "CC0", **item, **changed}) for item in items]


def fetched(host: Archive, rows: list[Recording], tmp_path: Path, **more: Any) -> FetchedRecordings:
    return fetch_recordings(Toy(endpoint=host.url), rows, tmp_path / "files", web=web_for(tmp_path), **more)


def reasons(found: FetchedRecordings) -> dict[str, list[str]]:
    return {reason: [name for name, _ in named.files] for reason, named in found.failed.items()}


def test_files_are_fetched_once_and_are_what_was_listed(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 4)
    found = fetched(host, [*rows, rows[0]], tmp_path)
    assert [one.path.read_bytes() for one in found.files] == [host.files[f"/files/{n}.wav"] for n in range(4)]
    assert found.new == 4 and not found.failed and found.bytes == found.new_bytes == sum(row.bytes or 0 for row in rows)
    asked = len(host.asked)
    again = fetched(host, rows, tmp_path)
    assert again.new == 0 and [one.path for one in again.files] == [one.path for one in found.files]
    assert len(host.asked) == asked
    found.files[1].path.unlink()
    assert fetched(host, rows, tmp_path).new == 1
    assert not list((tmp_path / "files" / ".parts").iterdir())


def test_each_failure_has_its_reason_and_stops_no_other(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 10)
    host.always["/files/9.wav"] = Said(sound(9, 0.3))
    host.files.pop("/files/0.wav")
    host.always["/files/1.wav"] = Said(b"who are you", 403)
    host.always["/files/2.wav"] = replace(HTML, headers={"Content-Type": "text/html; charset=utf-8"})
    host.always["/files/3.wav"] = Said(b"<?xml version='1.0'?><Error/>" + b" " * 9000, 200)
    host.always["/files/4.wav"] = Said(b"", 200)
    rows[3] = replace(rows[3], bytes=None, hash="")
    rows[4] = replace(rows[4], bytes=None, hash="")
    rows[5] = replace(rows[5], hash="0" * 32)
    rows[6] = replace(rows[6], media_url="")
    rows[7] = replace(rows[7], media_url="ftp://127.0.0.1/a.wav")
    found = fetched(host, rows, tmp_path)
    assert [one.recording.source_id for one in found.files] == ["8"]
    assert reasons(found) == {
        "gone": ["toy:0"], "refused": ["toy:1"], "a web page in its place": ["toy:2", "toy:3"], "empty": ["toy:4"],
        "another content than told": ["toy:5"], "without a file": ["toy:6"], "refused address": ["toy:7"],
        "another size than told": ["toy:9"],
    }  # fmt: skip
    assert host.paths().count("/files/2.wav") == host.paths().count("/files/5.wav") == 2, "each once more"
    assert "not fetched: gone: 1" in found.to_text()
    asked = len(host.asked)
    assert reasons(fetched(host, rows, tmp_path)) == reasons(found)
    assert len(host.asked) == asked, "what will not come is not asked for again"
    host.always.clear()
    rows[3] = replace(rows[3], bytes=len(host.files["/files/3.wav"]))
    assert fetched(host, rows, tmp_path, again=True).new == 5
    said = {one["source_id"]: one for one in iter_fetched(tmp_path / "files")}
    assert said["0"]["reason"] == "gone" and said["8"]["blake2b"] == found.files[0].blake2b


def test_a_page_once_is_no_failure(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 1)
    host.first["/files/0.wav"] = [HTML]
    assert fetched(host, rows, tmp_path).new == 1


def test_what_is_too_large_is_not_read(host: Archive, tmp_path: Path) -> None:
    rows = [replace(row, bytes=None, hash="") for row in rows_of(host, 3)]
    host.always["/files/0.wav"] = Said(sound(), 200, declared=4 * 10**9)
    rows[1] = replace(rows[1], bytes=10**9)
    found = fetched(host, rows, tmp_path, most_bytes=100_000)
    assert reasons(found) == {"too large": ["toy:0", "toy:1"]} and found.new == 1


def test_a_suffix_is_what_the_bytes_are(host: Archive, tmp_path: Path) -> None:
    host.files["/a"], host.files["/b"] = sound(form="FLAC"), sound(form="OGG")
    row = Recording("toy", "a", media_url=f"{host.url}/a", suffix=".mp3")
    ogg = Recording("toy", "../B", media_url=f"{host.url}/b", suffix=".oga")
    found = fetched(host, [row, ogg], tmp_path)
    assert [one.path.suffix for one in found.files] == [".flac", ".oga"]
    assert all((tmp_path / "files" / "toy") in one.path.resolve().parents for one in found.files)


@pytest.mark.parametrize("fault", ["cut", "503", "429", "changed"])
def test_a_download_goes_on_and_is_never_of_two_files(host: Archive, tmp_path: Path, fault: str) -> None:
    rows = rows_of(host, 1, bytes=None)
    data, other = host.files["/files/0.wav"], sound(99, 0.3)
    half = replace(file_said(PLAIN, data), body=data[:500], declared=len(data))
    host.first["/files/0.wav"] = [half]
    if fault == "changed":
        host.files["/files/0.wav"] = other
        rows = [replace(rows[0], hash=md5(other))]
    elif fault != "cut":
        host.first["/files/0.wav"].append(Said(b"", int(fault)))
    found = fetched(host, rows, tmp_path)
    assert found.files[0].path.read_bytes() == host.files["/files/0.wav"]
    assert host.asked[-1].headers["range"] == "bytes=500-"


PLAIN = Asked("GET", "/", "", {})


@pytest.mark.slow
def test_a_download_that_drips_is_ended(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 2)
    host.always["/files/0.wav"] = replace(file_said(PLAIN, host.files["/files/0.wav"]), drip=0.5)
    found = fetch_recordings(Toy(endpoint=host.url), rows, tmp_path / "files", web=impatient(tmp_path))
    assert reasons(found) == {"its host did not answer": ["toy:0"]} and found.new == 1


def impatient(tmp_path: Path) -> Web:
    return Web(tmp_path / "web", per_second=500.0, policy=replace(QUICK, retries=0, read_seconds=0.7))


def test_a_host_that_does_not_answer_is_left_alone_and_asked_the_next_time(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 12)
    host.always = {f"/files/{number}.wav": Said(b"", 503) for number in range(12)}
    found = fetch_recordings(Toy(endpoint=host.url), rows, tmp_path / "files", web=impatient(tmp_path), threads=1)
    assert found.failed["its host did not answer"].count == 12 and len(host.asked) == 3
    host.always = {}
    assert fetched(host, rows, tmp_path).new == 12


def test_media_on_a_host_that_asks_for_hours_wait_for_the_next_time(tmp_path: Path) -> None:
    with archive() as api, archive() as media:
        rows = rows_of(media, 2)
        media.always["/files/0.wav"] = Said(b"", 429, {"Retry-After": "7200"})
        source = Toy(endpoint=api.url.replace("127.0.0.1", "localhost"))
        found = fetch_recordings(source, rows, tmp_path / "files", web=web_for(tmp_path), threads=1)
        assert found.failed["its host did not answer"].count == 2 and len(media.asked) == 1


@pytest.mark.slow
def test_a_host_that_asks_for_patience_gets_it_from_all_threads(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 6)
    times: list[tuple[float, str]] = []
    plain = host.speak

    def speaks(asked: Asked) -> Said:
        times.append((time.time(), asked.path))
        return plain(asked)

    assert host.host is not None
    host.host.speaks = speaks
    host.first["/files/0.wav"] = [Said(b"", 429, {"Retry-After": "1"})]
    found = fetch_recordings(Toy(endpoint=host.url), rows, tmp_path / "files", web=web_for(tmp_path, 20.0), threads=2)
    assert found.new == 6
    refused = next(moment for moment, path in times if path == "/files/0.wav")
    soon = [path for moment, path in times if refused < moment < refused + 0.95]
    assert len(soon) <= 1, "but for one that was on its way"


def test_redirects_into_this_network_and_in_circles_are_refused(host: Archive, tmp_path: Path) -> None:
    """A public source names an address here; and one here leads in a circle, or to another host."""
    rows = rows_of(host, 3)
    source = Toy(endpoint="https://8.8.8.8/api")
    found = fetch_recordings(source, rows, tmp_path / "public", web=web_for(tmp_path))
    assert found.failed["refused address"].count == 3 and not host.asked
    assert "which is not on the internet" in found.to_text()
    host.always["/files/0.wav"] = Said(b"", 302, {"Location": "/files/0.wav"})
    port = host.url.rpartition(":")[2]
    host.first["/files/1.wav"] = [Said(b"", 302, {"Location": f"http://localhost:{port}/files/1.wav"})]
    host.always["/files/2.wav"] = Said(b"", 302, {"Location": "file:///etc/passwd"})
    found = fetched(host, rows, tmp_path)
    assert reasons(found) == {"refused address": ["toy:0", "toy:2"]}
    assert found.new == 1


def test_credentials_stay_with_their_host(host: Archive, tmp_path: Path) -> None:
    with archive() as other:
        other.files["/b"] = b"{}"
        host.always["/a"] = Said(b"", 302, {"Location": f"{other.url}/b"})
        host.always["/c"] = Said(b"", 302, {"Location": "/d"})
        host.files["/d"] = b"{}"
        web = web_for(tmp_path)
        for path in ("/a", "/c"):
            web.get(host.url + path, headers={"Authorization": "Token s3cret", "Accept": "x/y"})
        assert "authorization" not in other.asked[0].headers and other.asked[0].headers["accept"] == "x/y"
        assert host.asked[-1].headers["authorization"] == "Token s3cret"


def test_a_full_disk_stops_and_is_told(host: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(host, 4)
    fetched(host, rows[:1], tmp_path)
    monkeypatch.setattr(download_module, "free_bytes", lambda _: 10)
    with pytest.raises(NoRoomError, match="has room for 10 bytes; free the disk"):
        fetched(host, rows, tmp_path)
    monkeypatch.undo()
    assert fetched(host, rows, tmp_path).new == 3


@pytest.mark.parametrize(
    ("owner", "name", "before"),
    [(Path, "replace", True), (Path, "replace", False), ("fetching", "append_lines", True),
     ("fetching", "append_lines", False), ("fetching", "download", True), ("fetching", "download", False)],
)  # fmt: skip
def test_killed_at_any_step_it_goes_on(host: Archive, tmp_path: Path, owner: Any, name: str, before: bool) -> None:
    rows = rows_of(host, 5)
    module = fetching if owner == "fetching" else owner
    for _ in range(2):
        killed_at(module, name, 2, before, lambda: fetched(host, rows, tmp_path, threads=1))
    asked = len(host.asked)
    found = fetched(host, rows, tmp_path)
    assert [one.path.read_bytes() for one in found.files] == [host.files[f"/files/{n}.wav"] for n in range(5)]
    assert len(host.asked) - asked <= 4, "what was whole is not asked for again"
    lines = (tmp_path / "files" / "fetched.jsonl").read_text().splitlines()
    assert sorted(json.loads(line).get("source_id", "") for line in lines) == ["", "0", "1", "2", "3", "4"]
    assert not list((tmp_path / "files" / ".parts").iterdir())


def test_the_table_is_a_manifest(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 3, title="Quay, gulls", author="A. Recordist", time="2014-05-03T05:45:00+02:00",
                   time_zone_known=True, url="https://archive.example/1")  # fmt: skip
    found = fetched(host, rows, tmp_path)
    assert write_table(found.files, tmp_path / "table" / "recordings.parquet") == 3
    pairs = list(Manifest(tmp_path / "table" / "recordings.parquet", need=("audio",)))
    assert [str(pair.id) for pair in pairs] == ["toy:0", "toy:1", "toy:2"]
    row = pq.read_table(tmp_path / "table" / "recordings.parquet").to_pylist()[0]
    assert str(row["datetime"]) == "2014-05-03 03:45:00+00:00"
    assert row["attribution"].startswith("Quay, gulls, A. Recordist, CC0-1.0 (https://creativecommons.org/")
    shutil.rmtree(tmp_path / "table")
    with pytest.raises(ConfigError, match="no recording was fetched"):
        write_table([], tmp_path / "table" / "recordings.parquet")


def test_a_record_with_damaged_lines_is_read_as_far_as_it_goes(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 2)
    fetched(host, rows, tmp_path)
    record = tmp_path / "files" / "fetched.jsonl"
    record.write_bytes(record.read_bytes()[:-20])
    assert fetched(host, rows, tmp_path).new == 1
    assert fetched(host, rows, tmp_path).new == 0


def test_what_the_source_has_replaced_is_fetched_anew(host: Archive, tmp_path: Path) -> None:
    rows = rows_of(host, 2)
    fetched(host, rows, tmp_path)
    other = sound(7, 0.1)
    assert len(other) == rows[0].bytes
    host.files["/files/0.wav"] = other
    found = fetched(host, [replace(rows[0], hash=md5(other)), rows[1]], tmp_path)
    assert found.new == 1 and found.files[0].path.read_bytes() == other

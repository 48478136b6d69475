"""Copies on the hub: rows of several repositories at one commit, licences said twice, what may not be adapted."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from archives import Archive, archive, sound, unhurried, web_for
from imagery_hosts import Said, json_said

from earthtone.build.sources.fetching import fetch_recordings
from earthtone.build.sources.hub_copy import HubCopy
from earthtone.build.sources.listing import Listing, list_recordings
from earthtone.build.sources.source import Filters
from earthtone.errors import ConfigError, DataError

COMMIT = "1234567890abcdef1234567890abcdef12345678"
BY = "https://creativecommons.org/licenses/by/4.0/"


def add(host: Archive, repository: str, rows: list[dict[str, Any]], folder: str = "") -> None:
    """Put a repository with a table in a folder on the hub; each row's sound lies beside it."""
    data = {f"{folder}{_METADATA}": "\n".join(json.dumps(row) for row in rows).encode()}
    for number, row in enumerate(rows):
        if "file_name" in row:
            data[f"{folder}{row['file_name']}"] = sound(number)
    tree = []
    for path, body in data.items():
        host.files[f"/datasets/{repository}/resolve/{COMMIT}/{path}"] = body
        large = not path.endswith("jsonl")
        lfs = {"lfs": {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 130}} if large else {}
        tree.append({"type": "file", "path": path, "size": len(body), "oid": "0" * 40, **lfs})
    before = host.always.get(f"/api/datasets/{repository}/tree/{COMMIT}")
    tree += json.loads(before.body) if before else [{"type": "directory", "path": "audio", "oid": "0" * 40}]
    info = {"_id": "1", "id": repository, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0}
    for revision in ("main", COMMIT):
        host.always[f"/api/datasets/{repository}/revision/{revision}"] = json_said(info)
    host.always[f"/api/datasets/{repository}/tree/{COMMIT}"] = json_said(tree)


_METADATA = "metadata.jsonl"


def row_of(number: int, **changed: Any) -> dict[str, Any]:
    return {
        "file_name": f"audio/{number}.mp3", "title": "Quay", "recordist": "A. Recordist", "date": "2014-05-03",
        "licence": "CC BY 4.0", "licenseurl": BY, "latitude": 54.5, "longitude": 13.6, "item": f"aporee_1_{number}",
        "original_file": "quay.mp3", "credit": "Quay, A. Recordist, Courtesy of radio aporee ::: maps", "adapt": True,
        "terms": "written out", **changed,
    }  # fmt: skip


@pytest.fixture
def host() -> Iterator[Archive]:
    """A hub of two repositories, one with two folders."""
    with archive() as found:
        add(found, "lab/maps-a", [row_of(0), row_of(1)], "one/")
        add(found, "lab/maps-a", [row_of(2)], "two/")
        add(found, "lab/maps-b", [row_of(3)])
        yield found


def source_of(host: Archive, *repositories: str, **more: Any) -> HubCopy:
    return HubCopy(endpoint=host.url, repositories=repositories or ("lab/maps-a", "lab/maps-b"), **more)


def listed(source: HubCopy, tmp_path: Path, **more: Any) -> Listing:
    return list_recordings(source, tmp_path / "list", web=unhurried(web_for(tmp_path)), **more)


def test_all_folders_of_all_repositories_are_listed_and_fetched(host: Archive, tmp_path: Path) -> None:
    source = source_of(host)
    found = listed(source, tmp_path)
    assert [row.source_id for row in found] == [f"aporee_1_{number}/quay.mp3" for number in range(4)]
    row = next(iter(found))
    assert (row.longitude, row.latitude, row.time, row.license) == (13.6, 54.5, "2014-05-03", BY)
    assert row.credit.endswith("radio aporee ::: maps") and row.author == "A. Recordist" and row.hash_kind == "sha256"
    assert "lab/maps-b/metadata.jsonl: keys that are not read: terms" in found.to_text()
    files = fetch_recordings(source, found, tmp_path / "files", web=unhurried(web_for(tmp_path)))
    assert len(files.files) == 4 and files.files[0].path.suffix == ".wav", "what the bytes are"
    assert not any("authorization" in one.headers for one in host.asked)


def test_a_stopped_list_goes_on_at_the_same_commit(
    host: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earthtone.build.sources.hub_copy._ROWS", 1)
    source = source_of(host)
    for most in range(1, 5):
        assert len(listed(source, tmp_path, most=most)) == most
        host.always.pop("/api/datasets/lab/maps-a/revision/main", None)  # the branch is not asked for again
    assert [row.source_id[9] for row in listed(source, tmp_path)] == ["0", "1", "2", "3"]


def test_licences_and_what_may_not_be_adapted(host: Archive, tmp_path: Path) -> None:
    nd = {"licence": "CC BY-NC-ND 4.0", "licenseurl": "https://creativecommons.org/licenses/by-nc-nd/4.0/"}
    rows = [
        row_of(0),
        row_of(1, **nd, adapt=False),
        row_of(2, adapt=False),
        row_of(3, licence="CC BY-NC 4.0"),
        row_of(4, licenseurl=None),
        row_of(5, licenseurl="", licence=""),
        row_of(6, file_name="../../../etc/passwd.mp3"),
        row_of(7, latitude="x"),
        {"title": "no file"},
    ]
    add(host, "lab/maps-c", rows)
    found = listed(source_of(host, "lab/maps-c"), tmp_path)
    assert [row.source_id for row in found] == ["aporee_1_0/quay.mp3", "aporee_1_4/quay.mp3"]
    assert found.left_out == {
        "licence not allowed: CC-BY-NC-ND-4.0": 1, "may not be adapted (adapt: false)": 1,
        "licences that contradict each other": 1, "licence not allowed: unknown": 1, "its file is not there": 2,
        "a place that is none": 1,
    }  # fmt: skip
    allowed = source_of(host, "lab/maps-c", filters=Filters(allow=("nc", "nd")))
    more = list_recordings(allowed, tmp_path / "more", web=unhurried(web_for(tmp_path)))
    assert [row.more["adapt"] for row in more] == ["true", "false", "false", "true"]


def test_what_is_no_copy_is_one_line(host: Archive, tmp_path: Path) -> None:
    add(host, "lab/empty", [])
    host.always["/api/datasets/lab/empty/tree/" + COMMIT] = json_said([])
    with pytest.raises(DataError, match=r"lab/empty has no metadata\.jsonl"):
        listed(source_of(host, "lab/empty"), tmp_path)
    host.always["/api/datasets/lab/none/revision/main"] = Said(b'{"error":"Repository not found"}', 404)
    with pytest.raises(DataError, match="does not list lab/none"):
        list_recordings(source_of(host, "lab/none"), tmp_path / "none", web=web_for(tmp_path))
    for wrong in ({}, {"repositories": ("a/b/c",)}, {"repositories": ("a/b",), "columns": {"x": "y"}}):
        with pytest.raises(ConfigError):
            HubCopy(**wrong)

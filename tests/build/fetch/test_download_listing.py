"""Lists of files from hosts: Zenodo's and the hub's interfaces, as a server on loopback speaks them."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from loopback import QUICK, Stage, catalogue_entry, noise, says, tree, zipped

from earthtone.build.fetch import fetch, read_catalogue
from earthtone.build.fetch.download import listed_files
from earthtone.errors import ConfigError, DataError

COMMIT = "c" * 40


def zenodo_catalogue(stage: Stage, tmp_path: Path, content: dict[str, bytes]) -> Path:
    rows = []
    for name, data in content.items():
        stage.files[f"/files/{name}/content"] = data
        checksum = "md5:" + hashlib.md5(data, usedforsecurity=False).hexdigest()
        link = stage.url(f"/files/{name}/content")
        rows.append({"key": name, "size": len(data), "checksum": checksum, "links": {"self": link}})
    stage.files["/api/records/123"] = json.dumps({"id": 123, "files": rows}).encode()
    parts = {"metadata": {"files": ["*.csv"]}, "images": {"files": ["*image*"], "into": "images"}}
    entry = catalogue_entry([], zenodo={"record": "123", "endpoint": stage.url("")}, parts=parts)
    path = tmp_path / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"tiny": entry}))
    return path


def test_a_zenodo_record(stage: Stage, tmp_path: Path) -> None:
    images = zipped({f"{n}.jpg": noise(100, n) for n in range(3)})
    catalogue = zenodo_catalogue(stage, tmp_path, {"metadata.csv": b"key\n1\n", "images.zip": images, "x.txt": b"x"})
    files = listed_files(read_catalogue(catalogue)["tiny"], tmp_path / "list.json", QUICK)
    assert [(file.part, file.unpack, file.into) for file in files] == [
        ("metadata", None, None), ("images", "zip", "images"), ("other", None, None),
    ]  # fmt: skip
    fetch("tiny", tmp_path / "out", catalogue=catalogue, subset="metadata,images", patience=QUICK)
    assert set(tree(tmp_path / "out")) == {"metadata.csv", "images/0.jpg", "images/1.jpg", "images/2.jpg"}
    asked = len(stage.seen)
    fetch("tiny", tmp_path / "out", catalogue=catalogue, subset="metadata,images", patience=QUICK)
    assert len(stage.seen) == asked, "a finished set is recognised without the host"


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"files": [{}]}',
        b'{"files": 3}',
        b'{"files": []}',
        b"\xff\xfe",
        b"[" * 10**5,
        b'{"files": [{"key": "a", "links": {"self": "https://a.b/a"}, "size": 1e999}]}',
    ],
)
def test_a_record_that_is_none(stage: Stage, tmp_path: Path, answer: bytes) -> None:
    catalogue = zenodo_catalogue(stage, tmp_path, {"a.csv": b"1"})
    stage.files["/api/records/123"] = answer
    with pytest.raises(DataError):
        fetch("tiny", tmp_path / "out", catalogue=catalogue, patience=QUICK)


@pytest.mark.parametrize("name", ["../../evil.csv", "/evil.csv"])
def test_a_record_with_a_hostile_name(stage: Stage, tmp_path: Path, name: str) -> None:
    catalogue = zenodo_catalogue(stage, tmp_path, {name: b"1"})
    with pytest.raises(DataError, match="could leave its folder"):
        fetch("tiny", tmp_path / "out", catalogue=catalogue, patience=QUICK)


def test_a_record_that_leads_to_the_open_web_in_the_clear(stage: Stage, tmp_path: Path) -> None:
    catalogue = zenodo_catalogue(stage, tmp_path, {"a.csv": b"1"})
    text = stage.files["/api/records/123"].replace(stage.url("").encode(), b"http://example.org")
    stage.files["/api/records/123"] = text
    with pytest.raises(DataError, match="not https://; refused"):
        fetch("tiny", tmp_path / "out", catalogue=catalogue, patience=QUICK)


def test_a_host_that_is_busy(stage: Stage, tmp_path: Path) -> None:
    catalogue = zenodo_catalogue(stage, tmp_path, {"a.csv": b"1"})
    stage.script["/api/records/123"] = [says("503 x")]
    fetch("tiny", tmp_path / "out", catalogue=catalogue, patience=QUICK)
    stage.always["/api/records/123"] = says("503 x")
    with pytest.raises(DataError, match="tried 4 times"):
        fetch("tiny", tmp_path / "else", catalogue=catalogue, patience=QUICK)


@pytest.fixture
def hub(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of four Parquet files at HF_ENDPOINT, and the catalogue that names it."""
    monkeypatch.setenv("HF_ENDPOINT", stage.url(""))
    rows: list[dict[str, object]] = [{"type": "file", "path": "README.md", "size": 3, "oid": "0" * 40}]
    for name in ("train-00000-of-00003", "train-00001-of-00003", "train-00002-of-00003", "test-00000-of-00001"):
        data = noise(1_000, seed=len(rows))
        path = f"data/{name}.parquet"
        stage.files[f"/datasets/we/tiny/resolve/{COMMIT}/{path.replace('/', '%2F')}"] = data
        stage.files[f"/datasets/we/tiny/resolve/{COMMIT}/{path}"] = data
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        rows.append({"type": "file", "path": path, "size": len(data), "oid": "0" * 40, "lfs": lfs})
    info = {"_id": "1", "id": "we/tiny", "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0}
    asked = {f"/api/datasets/we/tiny/revision/{'main'}": info}
    for path, answer in asked.items():
        stage.always[path] = says("200 OK", json.dumps(answer).encode(), Content_Type="application/json")
    tree_answer = says("200 OK", json.dumps(rows).encode(), Content_Type="application/json")
    for query in ("?recursive=True&expand=False", "?recursive=true&expand=false"):
        stage.always[f"/api/datasets/we/tiny/tree/{COMMIT}{query}"] = tree_answer
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(yaml.safe_dump({"tiny": catalogue_entry([], huggingface={"repository": "we/tiny"})}))
    return catalogue


def test_a_repository_of_parquet_files(hub: Path, stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert fetch("tiny", out, catalogue=hub, subset="train,2", patience=QUICK).first_use == []
    assert set(tree(out)) == {f"data/train-0000{n}-of-00003.parquet" for n in (0, 1)}
    fetch("tiny", out, catalogue=hub, subset="1", patience=QUICK)
    assert "data/test-00000-of-00001.parquet" in tree(out)
    fetch("tiny", out, catalogue=hub, patience=QUICK)
    assert len(tree(out)) == 4
    assert not any("authorization" in request.headers for request in stage.seen)


def test_a_repository_that_is_not_there(hub: Path, stage: Stage, tmp_path: Path) -> None:
    for path in stage.always:
        stage.always[path] = says("404 x", b'{"error": "no"}', Content_Type="application/json")
    with pytest.raises(DataError, match="does not list we/tiny"):
        fetch("tiny", tmp_path / "out", catalogue=hub, patience=QUICK)


def test_a_hub_that_is_not_there(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9 .*check the network"):
        fetch("tiny", tmp_path / "out", catalogue=hub, patience=QUICK)


def test_a_hub_with_a_password(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://someone:secret@hub.example")
    with pytest.raises(ConfigError, match="HF_ENDPOINT has a name, a password") as told:
        fetch("tiny", tmp_path / "out", catalogue=hub, patience=QUICK)
    assert "secret" not in str(told.value) and not list((tmp_path / "out").glob("**/*.json"))

"""The shipped catalogue is whole; a wrong one is refused by its key; names of strangers stay below their folder."""

import contextlib
import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from loopback import catalogue_entry

from earthtone.build.fetch import CATALOGUE, read_catalogue
from earthtone.build.fetch.catalogue import PublicSet, allowed_url, safe_relative
from earthtone.build.web import shown_url
from earthtone.cli import VERBS
from earthtone.errors import DataError
from earthtone.options import TASKS

SETS = read_catalogue()
GOOD = {"name": "a.zip", "urls": ["https://example.org/a.zip"], "bytes": 10, "part": "all", "unpack": "zip"}


@pytest.mark.parametrize("entry", SETS.values(), ids=SETS)
def test_every_entry_is_complete(entry: PublicSet) -> None:
    raw = yaml.safe_load(CATALOGUE.read_text())[entry.name]
    assert {"licence", "licence_note", "citation", "homepage", "items"} <= set(raw), "an honest null, not an omission"
    assert all("bytes" in file for file in raw.get("files", [])), "an honest null, not an omission"
    assert any(mark in entry.citation for mark in ("arXiv:", "doi:", "https://", "IEEE"))
    assert entry.homepage.startswith("https://")
    assert entry.next.split()[:1] == ["earthtone"]
    assert entry.next.split()[1] in VERBS
    assert entry.next.split()[1] != "evaluate" or entry.next.split()[2] in TASKS
    assert "{out}" in entry.next
    assert entry.part_names
    if not entry.by_hand:
        assert all(file.urls for file in entry.files)
        assert all(url.startswith("https://") for file in entry.files for url in file.urls)
    else:
        assert any(f"earthtone fetch {entry.name} --downloaded" in step for step in entry.by_hand)


def test_what_was_promised_is_there() -> None:
    names = "soundingearth soundingearth-hf geosound advance ucmerced resisc45 aid eurosat rsscn7 esc50 urbansound8k"
    assert {*names.split(), "deepglobe", "loveda", "potsdam"} <= set(SETS)


def written(tmp_path: Path, files: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    entry = catalogue_entry([GOOD] if files is None else files, **changes)
    path = tmp_path / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"tiny": entry}))
    return path


def test_a_good_one(tmp_path: Path) -> None:
    assert read_catalogue(written(tmp_path))["tiny"].bytes == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "../a"}, "could leave its folder"),
        ({"name": "/etc/passwd"}, "could leave its folder"),
        ({"into": "../up"}, "could leave its folder"),
        ({"unpack": "rar"}, "unpack is 'rar'"),
        ({"urls": []}, "has no urls"),
        ({"urls": "https://example.org"}, "a list was expected"),
        ({"urls": ["http://example.org/a"]}, "is not https://"),
        ({"urls": ["http://example.org/a"], "md5": "0" * 32}, "is not https://"),
        ({"urls": ["ftp://example.org/a"]}, "is not https://"),
        ({"urls": ["https://[bad/a"]}, "is not https://"),
        ({"md5": "xyz"}, "32 hexadecimal digits"),
        ({"sha256": "A" * 64}, "64 hexadecimal digits"),
        ({"bytes": "many"}, "a whole number was expected"),
        ({"bytes": -1}, "a whole number was expected"),
        ({"bytes": True}, "a whole number was expected"),
        ({"sha265": "0" * 64}, "unknown key 'sha265'; did you mean sha256"),
    ],
)
def test_a_wrong_file(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_catalogue(written(tmp_path, [{**GOOD, **change}]))


def test_a_wrong_entry(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names a file twice"):
        read_catalogue(written(tmp_path, [GOOD, copy.deepcopy(GOOD)]))
    with pytest.raises(DataError, match="exactly one of files, zenodo and huggingface"):
        read_catalogue(written(tmp_path, zenodo={"record": "1"}))
    with pytest.raises(DataError, match="exactly one of"):
        read_catalogue(written(tmp_path, []))
    entry = catalogue_entry([GOOD])
    del entry["licence"]
    path = tmp_path / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"tiny": entry}))
    with pytest.raises(DataError, match="lacks 'licence'; write it, null where it is not known"):
        read_catalogue(path)


@pytest.mark.parametrize("text", ["", "[]", "a: 3", "a: [", "!!python/object/apply:os.system ['true']", "\x00"])
def test_what_is_no_catalogue(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DataError):
        read_catalogue(tmp_path / "c.yaml")


def test_http_only_where_nobody_can_forge() -> None:
    assert allowed_url("https://example.org/a", False)
    assert allowed_url("http://127.0.0.1:8/a", False)
    assert allowed_url("http://example.org/a", True)
    assert not allowed_url("http://example.org/a", False)
    assert not allowed_url("http://127.0.0.1.example.org/a", False)
    assert not allowed_url("file:///a", True)
    assert not allowed_url("https://name:secret@example.org/a", True)
    assert not allowed_url("http://secret@127.0.0.1:8/a", True)
    assert shown_url("https://name:secret@example.org/a?signature=secret#secret") == "https://example.org/a"
    assert "secret" not in shown_url("http://[secret/")


PIECES = st.sampled_from(["..", ".", "", "a", "B", "/", "\\", "C:", "\x00", ".fetch", "é", "\ud800", "~", " "])


@pytest.mark.slow
@given(st.one_of(st.text(), st.lists(PIECES).map("/".join), st.lists(PIECES).map("".join)))
def test_a_name_stays_below_its_folder(name: str) -> None:
    with contextlib.suppress(DataError):
        path = Path("/base") / safe_relative(name, "test")
        assert os.path.normpath(path).startswith("/base/")
        assert path.relative_to("/base").parts[0] != ".fetch"


@pytest.mark.parametrize(("name", "path"), [("a/b.jpg", "a/b.jpg"), ("./a//b", "a/b"), ("a\\b", "a/b"), ("..a", "..a")])
def test_an_honest_name(name: str, path: str) -> None:
    assert str(safe_relative(name, "test")) == path

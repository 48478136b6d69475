"""Names that nearly fit: what the message says of them, and how much is looked through."""

import unicodedata
from pathlib import Path

import pytest

from earthtone.data import pair as near_name
from earthtone.data.pair import NearNames


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("there", "asked", "said"),
    [
        ("höhe.wav", nfd("höhe.wav"), "composed otherwise, as Unicode NFC"),
        (nfd("Über/Wald.wav"), "Über/Wald.wav", "composed otherwise, as Unicode NFD"),
        ("a.WAV", "a.wav", "other capital letters"),
        ("Audio/B.flac", "audio/b.FLAC", "other capital letters"),
        ("audio/a.wav", "audio\\a.wav", "/ between folders"),
        ("audio/a.wav", ".\\Audio\\a.wav", "/ between folders"),
        ("a.wav", " a.wav", "without the blanks"),
        ("a.wav", "a.wav\t", "without the blanks"),
        (" a.wav", "a.wav", "nearly this name"),
        ("two words.wav", "two\u00a0words.wav", "nearly this name"),
        ("two words.wav", "two%20words.wav", "nearly this name"),
        ("a.wav", "'a.wav'", "nearly this name"),
        ("a.flac", "a.wav", "another ending"),
        ("a.wav", "a", "another ending"),
        ("a.wav", "data/audio/a.wav", "another folder"),
        ("audio/a.wav", "/home/someone/audio/a.wav", "another folder"),
        ("audio/a.wav", "C:\\data\\audio\\a.wav", "/ between folders"),
        ("../a.wav", "a.wav", "another folder"),
    ],
)  # fmt: skip
def test_the_file_that_is_there_is_named(tmp_path: Path, there: str, asked: str, said: str) -> None:
    folder = tmp_path / "world"
    (folder / there).parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    (folder / there).touch()
    hint = NearNames().hint(folder, asked)
    assert hint.startswith(f"; {there!r} is there (") and said in hint and hint.endswith("): write it so")


@pytest.mark.parametrize(
    "asked", ["b.wav", "", ".", "..", "/", "zero\0.wav", "x" * 5000, "a/" * 40, "\\", "a.wav/b", "no/a"]
)
def test_nothing_is_said_of_what_is_not_near(tmp_path: Path, asked: str) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "c.wav").mkdir()
    assert NearNames().hint(tmp_path, asked) == ""
    assert NearNames().hint(tmp_path, "C.wav") == ""  # a folder is no recording
    assert NearNames().hint(tmp_path / "nowhere", "d.wav") == ""


def test_a_folder_is_listed_once_and_not_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_name, "MOST_NAMES", 50)
    for number in range(60):
        (tmp_path / f"{number}.WAV").touch()
    near = NearNames()
    found = [number for number in range(60) if near.hint(tmp_path, f"{number}.wav")]
    assert len(found) == 50
    (tmp_path / "new.WAV").touch()
    assert near.hint(tmp_path, "new.wav") == ""

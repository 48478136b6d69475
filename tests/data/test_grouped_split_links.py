"""What belongs together: equal files by their bytes, links through others, silence that links nothing."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from earthtone.data.grouped_split import (
    is_id,
    is_silent,
    linked,
    recording_id_columns,
    same_content,
    text_number,
    without_silence,
)
from earthtone.errors import DataError


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_equal_bytes_have_equal_numbers_under_any_name(tmp_path: Path) -> None:
    long = os.urandom(50_000)
    middle = bytearray(long)
    middle[20_000] ^= 1  # between what is looked at first
    files = [
        write(tmp_path / "a", long), write(tmp_path / "b", long), write(tmp_path / "c", bytes(middle)),
        write(tmp_path / "d", long[:-1]), write(tmp_path / "e", b"one"), write(tmp_path / "f", b"two"),
        write(tmp_path / "g", b"one"), tmp_path / "missing", tmp_path / "." / "a", None, b"cell", b"cell", b"other",
    ]  # fmt: skip
    (tmp_path / "link").symlink_to(tmp_path / "c")
    files.append(tmp_path / "link")
    numbers = same_content(lambda: files)
    groups = {number: np.flatnonzero(numbers == number).tolist() for number in numbers if number >= 0}
    together = sorted(rows for rows in groups.values() if len(rows) > 1)
    assert together == [[0, 1, 8], [2, 13], [4, 6], [10, 11]]
    assert np.flatnonzero(numbers < 0).tolist() == [7, 9]


def test_files_of_their_own_size_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write(tmp_path / str(size), b"x" * size) for size in (10, 11, 12)]
    files += [write(tmp_path / f"{i}", os.urandom(60_000)) for i in range(3)]
    read: list[int] = []
    whole = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r": read.append(self.stat().st_size) or whole(self, mode))
    same_content(lambda: files)
    assert read == [60_000] * 3  # their samples alone: none is read whole


def test_a_table_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a", b"x")
    other = write(tmp_path / "b", b"y")
    passes = [[file, other], [file]]
    with pytest.raises(DataError, match="2 rows before, now 1"):
        same_content(lambda: passes.pop(0))


@given(st.lists(st.tuples(st.integers(-1, 6), st.integers(-1, 6)), min_size=1, max_size=30))
def test_links_are_those_of_a_walk_through_the_rows(rows: list[tuple[int, int]]) -> None:
    keys = [np.array(column, np.int64) for column in zip(*rows, strict=True)]
    groups = linked(keys)
    for start in range(len(rows)):
        reached, before = {start}, set()
        while reached != before:
            before = set(reached)
            reached |= {
                other for other in range(len(rows)) for row in before for key in keys if key[row] == key[other] >= 0
            }
        assert set(np.flatnonzero(groups == groups[start]).tolist()) == reached or len(reached) == 1
        assert (groups[start] == -1) == (len(reached) == 1)


def test_a_chain_of_many_links_is_one_group() -> None:
    rows = np.arange(30_000)
    assert set(linked([rows // 2, (rows + 1) // 2]).tolist()) == {0}


def test_silence_links_nothing(tmp_path: Path) -> None:
    hum = 0.1 * np.sin(np.arange(90_000) / 20)
    late = np.concatenate([np.zeros(150_000), hum])
    sounds = {
        "zero": np.zeros(8000), "constant": np.full(8000, 0.25), "hum": hum, "late": late,
        "cancels": np.stack([hum, -hum], axis=1),
    }  # fmt: skip
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 8000, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no sound")
    silent = {path.stem for path in tmp_path.iterdir() if is_silent(path)}
    assert silent == {"zero", "constant", "cancels"} and is_silent((tmp_path / "zero.wav").read_bytes())
    files = [tmp_path / f"{name}.wav" for name in ("zero", "hum", "zero", "hum", "late", "text", "text")]
    numbers = without_silence(same_content(lambda: files), lambda: files)
    assert (numbers >= 0).tolist() == [False, True, False, True, True, True, True]


def test_columns_that_hold_the_id_of_a_recording_are_known_by_name() -> None:
    named = ("recording_id", "Recording ID", "audio-id", "rec_nr", "recording.key", "group", "fsID", "fs_id", "xc_id")
    named += ("recording", "source_recording", "parent_audio_id")
    others = ("record", "sound", "scene", "recordist", "location_id", "group_size", "recording_device", "id2")
    assert recording_id_columns((*named, *others)) == named
    few, many = np.repeat([3, 4, 5], 4), np.repeat([3, 4], [9, 3])
    assert is_id("recording", few) and not is_id("recording", many) and is_id("recording_id", many)
    assert text_number(" ") == -1 and text_number(" a ") == text_number("a") >= 0


@pytest.mark.parametrize("word", ["NA", "n/a", " NaN ", "null", "None", "-", "?", "unknown"])
def test_an_unknown_id_of_a_recording_links_nothing(word: str) -> None:
    assert text_number(word) == -1

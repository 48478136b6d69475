"""ESC-50: classes from the table, fold and clip from the file's name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from earthtone.data.labelled.classes import ESC50
from earthtone.errors import DataError

Write = Callable[..., Path]
HEADER = "filename,fold,target,category,esc10,src_file,take\n"


def test_folds_groups_and_problems(tmp_path: Path, sound: Write) -> None:
    sound(tmp_path / "audio/1-100032-A-0.wav")
    sound(tmp_path / "audio/5-9032-B-14.wav")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").write_text(
        HEADER
        + "1-100032-A-0.wav,1,0,dog,True,100032,A\n5-9032-B-14.wav,5,14,chirping_birds,False,9032,B\n"
        + "2-1-A-0.wav,2,0,dog,True,1,A\nodd.wav,2,0,dog,True,1,A\nshort,row\n"
    )
    assert ESC50.is_in(tmp_path)
    found = ESC50.read(tmp_path)
    assert [(item.id, item.label, item.fold, item.group) for item in found.items] == [
        ("1-100032-A-0.wav", "dog", 1, "100032"), ("5-9032-B-14.wav", "chirping_birds", 5, "9032"),
    ]  # fmt: skip
    assert sorted(found.notes) == [
        "1 rows left out, bad row: 'line 6'",
        "1 rows left out, missing audio: '2-1-A-0.wav'",
        "1 rows left out, name is not FOLD-CLIP-TAKE-TARGET: 'odd.wav'",
    ]


def test_without_the_table(tmp_path: Path) -> None:
    assert not ESC50.is_in(tmp_path)
    with pytest.raises(DataError, match=r"no meta/esc50.csv; ESC-50 as audio/FOLD-CLIP-TAKE-TARGET.wav and"):
        ESC50.read(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").write_text("filename,fold\n")
    with pytest.raises(DataError, match="lacks the columns 'category'"):
        ESC50.read(tmp_path)

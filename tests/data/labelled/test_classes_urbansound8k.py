"""UrbanSound8K: ten official folds, the Freesound recording as group."""

from collections.abc import Callable
from pathlib import Path

import pytest

from earthtone.data.labelled.classes import URBANSOUND8K
from earthtone.errors import DataError

Write = Callable[..., Path]
HEADER = "slice_file_name,fsID,start,end,salience,fold,classID,class\n"


def test_folds_and_groups(tmp_path: Path, sound: Write) -> None:
    sound(tmp_path / "audio/fold10/100648-1-0-0.wav")
    (tmp_path / "metadata").mkdir()
    rows = "100648-1-0-0.wav,100648,4.8,5.4,2,10,1,car_horn\n7-1-0-0.wav,7,0,1,1,3,1,car_horn\n8.wav,8,0,1,1,11,1,x\n"
    (tmp_path / "metadata/UrbanSound8K.csv").write_text(HEADER + rows)
    assert URBANSOUND8K.is_in(tmp_path)
    found = URBANSOUND8K.read(tmp_path)
    (item,) = found.items
    assert (item.id, item.label, item.fold, item.group) == ("fold10/100648-1-0-0.wav", "car_horn", 10, "100648")
    assert sorted(found.notes) == [
        "1 rows left out, fold is not 1 to 10: '8.wav'", "1 rows left out, missing audio: 'fold3/7-1-0-0.wav'",
    ]  # fmt: skip


def test_without_the_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no metadata/UrbanSound8K.csv; UrbanSound8K as audio/fold1"):
        URBANSOUND8K.read(tmp_path)

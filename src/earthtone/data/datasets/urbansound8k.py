"""UrbanSound8K (Salamon et al., ACM Multimedia 2014): ten kinds of city sound in ten official folds."""

from collections.abc import Mapping
from pathlib import Path

from earthtone.data.datasets.finish import Found
from earthtone.data.datasets.fold_table import read_fold_table
from earthtone.data.labelled import LabelledItem
from earthtone.data.row import MISSING_AUDIO, UnusableRow, is_file

_TABLE = "metadata/UrbanSound8K.csv"
_LAYOUT = "UrbanSound8K as audio/fold1..fold10/*.wav and metadata/UrbanSound8K.csv"
_COLUMNS = ("slice_file_name", "fsID", "fold", "class")


def looks_like_urbansound8k(path: Path) -> bool:
    """Return whether a folder has the release's table."""
    return is_file(path / _TABLE)


def read_urbansound8k(path: Path) -> Found:
    """Return the sounds with their official fold; group is the Freesound recording (fsID). Raises DataError."""
    return read_fold_table(path, _TABLE, _COLUMNS, _LAYOUT, _read)


def _read(path: Path, cells: Mapping[str, str]) -> LabelledItem:
    name, fold = cells["slice_file_name"], cells["fold"]
    if not (fold.isascii() and fold.isdigit() and 1 <= int(fold) <= 10):
        raise UnusableRow("fold is not 1 to 10", name)
    file = path / "audio" / f"fold{int(fold)}" / name
    if not is_file(file):
        raise UnusableRow(MISSING_AUDIO, f"fold{int(fold)}/{name}")
    return LabelledItem(f"fold{int(fold)}/{name}", cells["class"], audio=file, fold=int(fold), group=cells["fsID"])

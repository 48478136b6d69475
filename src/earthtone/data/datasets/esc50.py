"""ESC-50 (Piczak, ACM Multimedia 2015): 50 kinds of sound in five folds that keep the clips of a recording together."""

import re
from collections.abc import Mapping
from pathlib import Path

from earthtone.data.datasets.finish import Found
from earthtone.data.datasets.fold_table import read_fold_table
from earthtone.data.labelled import LabelledItem
from earthtone.data.row import MISSING_AUDIO, UnusableRow, is_file

_TABLE = "meta/esc50.csv"
_LAYOUT = "ESC-50 as audio/FOLD-CLIP-TAKE-TARGET.wav and meta/esc50.csv"
_NAME = re.compile(r"([1-9])-(\d+)-[A-Z]-\d+\.\w+")


def looks_like_esc50(path: Path) -> bool:
    """Return whether a folder has the release's table."""
    return is_file(path / _TABLE)


def read_esc50(path: Path) -> Found:
    """Return the sounds; fold and group (the Freesound clip) are those in the file's name. Raises DataError."""
    return read_fold_table(path, _TABLE, ("filename", "category"), _LAYOUT, _read)


def _read(path: Path, cells: Mapping[str, str]) -> LabelledItem:
    name = cells["filename"]
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise UnusableRow("name is not FOLD-CLIP-TAKE-TARGET", name)
    if not is_file(path / "audio" / name):
        raise UnusableRow(MISSING_AUDIO, name)
    return LabelledItem(name, cells["category"], audio=path / "audio" / name, fold=int(parts[1]), group=parts[2])

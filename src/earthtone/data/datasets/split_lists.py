"""Splits in text files beside the images: NAME-train.txt, NAME-val.txt, NAME-test.txt, a file name a line."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from earthtone.data.datasets.media import files
from earthtone.data.labelled import LabelledItem
from earthtone.data.manifest import listed
from earthtone.errors import DataError
from earthtone.files import regular_file

_LIST = re.compile(r"(.+)-(train|val|test)\.txt")


def with_split_lists(path: Path, items: Sequence[LabelledItem]) -> tuple[list[LabelledItem], list[str]]:
    """Return items with the splits of the lists in a folder, and notes on what does not match; unchanged without lists.

    Lists name files with or without folders; suffixes do not count (some lists say .jpg of .tif files). Where there are
    several kinds of lists, that with the shortest name counts, and the others are named. Raises DataError.
    """
    families: dict[str, dict[str, Path]] = {}
    for file in files(path):
        parts = _LIST.fullmatch(file.name)
        if parts is not None:
            families.setdefault(parts[1], {})[parts[2]] = file
    families = {name: lists for name, lists in families.items() if "train" in lists and len(lists) > 1}
    if not families:
        return list(items), []
    name = min(families, key=lambda family: (len(family), family))
    splits = _split_of_stem(families[name])
    return _matched(items, splits, _notes(name, families, items, splits))


def _split_of_stem(lists: Mapping[str, Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for split, file in lists.items():
        try:
            lines = regular_file(file).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: {error}; a text file with a file name a line was expected") from error
        for stem in (_stem(line.strip()) for line in lines if line.strip()):
            if found.setdefault(stem, split) != split:
                raise DataError(f"{file.parent}: {stem!r} is in the lists of {found[stem]} and {split}; one expected")
    return found


def _notes(
    name: str, families: Mapping[str, object], items: Sequence[LabelledItem], splits: Mapping[str, str]
) -> list[str]:
    notes = [f"divided by the lists {name}-train.txt and so on" + _others(name, families)]
    lost = [*splits.keys() - {_stem(item.id) for item in items}]
    if lost:
        notes.append(f"{len(lost)} names in the lists have no file: {listed(sorted(lost), 5)}")
    return notes


def _others(name: str, families: Mapping[str, object]) -> str:
    others = sorted(families.keys() - {name})
    return f", not by {listed([f'{other}-train.txt' for other in others])}" if others else ""


def _matched(
    items: Sequence[LabelledItem], splits: Mapping[str, str], notes: list[str]
) -> tuple[list[LabelledItem], list[str]]:
    stems = Counter(_stem(item.id) for item in items)
    twice = [stem for stem in splits if stems[stem] > 1]
    if twice:
        return list(items), [f"lists of splits are not used: several files are called {listed(sorted(twice), 3)}"]
    return [replace(item, split=splits.get(_stem(item.id))) for item in items], notes


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem

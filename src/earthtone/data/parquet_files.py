"""Parquet files in a folder, as downloads of published data sets lay them out."""

from collections.abc import Iterator
from pathlib import Path

PARQUET = ".parquet"
_DEPTHS = ("*", "*/*", "*/*/*")  # files themselves, data/train-..., default/train/0000


def parquet_names(folder: Path) -> list[str]:
    """Return the Parquet files of a folder, relative to it, sorted; hidden folders such as .git are left out."""
    return sorted(_names(folder))


def has_parquet(folder: Path) -> bool:
    """Return whether there is any."""
    return next(_names(folder), None) is not None


def _names(folder: Path) -> Iterator[str]:
    for depth in _DEPTHS:
        for path in folder.glob(f"{depth}{PARQUET}"):
            inside = path.relative_to(folder)
            if not any(part.startswith(".") for part in inside.parts):
                yield inside.as_posix()

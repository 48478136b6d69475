"""Which files of a folder are images and which are sounds, and what is to be said about the others."""

from collections.abc import Iterator
from pathlib import Path

from earthtone.data.manifest import listed
from earthtone.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2", ".gif")
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aac", ".m4a")
SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


def folders(path: Path) -> list[Path]:
    """Return the folders inside a folder, by name; hidden ones and those that archivers leave are passed over."""
    return sorted(child for child in children(path) if child.is_dir())


def files(path: Path) -> list[Path]:
    """Return the files inside a folder, by name, without hidden ones."""
    return sorted(child for child in children(path) if child.is_file())


def children(path: Path) -> Iterator[Path]:
    """Yield what is visible inside a folder. Raises DataError."""
    try:
        yield from (child for child in path.iterdir() if not child.name.startswith((".", "__")))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a readable folder was expected") from error


def kind(path: Path) -> str | None:
    """Return "image" or "audio" by a file's suffix; None for others."""
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGES else "audio" if suffix in SOUNDS else None


def counted(count: int, what: str, names: list[str]) -> list[str]:
    """Return a note such as `3 files ...: 'a', 'b', 'c'`, or no note."""
    return [f"{count} {what}: {listed(sorted(names), 5)}"] if count else []

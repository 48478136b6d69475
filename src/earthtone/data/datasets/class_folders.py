"""A folder a class, of images or of sounds; also one level deeper, below train, val and test."""

from collections import Counter
from pathlib import Path

from earthtone.data.datasets.finish import Found
from earthtone.data.datasets.media import SPLIT_FOLDERS, counted, files, folders, kind
from earthtone.data.labelled import LabelledItem
from earthtone.data.manifest import listed
from earthtone.errors import DataError

_LAYOUT = "a folder a class with images or sounds in it (CLASS/*.jpg), or train/CLASS, val/CLASS, test/CLASS"


def read_class_folders(path: Path, layout: str | None = None) -> Found:
    """Return the items of a folder whose subfolders are classes; their ids are CLASS/FILE. Raises DataError.

    Folders that hold nothing but one other folder are entered. Class folders without items and files that are neither
    image nor sound are counted and named; images and sounds in one set are refused.
    """
    layout = layout or _LAYOUT
    root = _entered(path)
    inside = folders(root)
    splits = {folder: SPLIT_FOLDERS.get(folder.name.lower()) for folder in inside}
    divided = bool(inside) and all(splits.values())
    if not inside:
        raise DataError(f"{path} has no folder of a class, found {_seen(root)}; {layout} was expected")
    found, others = Found(), list[str]()
    for parent, split in splits.items() if divided else [(root, None)]:
        for folder in folders(parent):
            _read_class(root, folder, split, found, others)
    found.notes += counted(len(others), "files are neither image nor sound and left out", others)
    if not found.items:
        raise DataError(f"{path}: no image or sound in its folders {listed([f.name for f in inside], 8)}; {layout}")
    _refuse_mixed(path, found)
    return found


def _read_class(root: Path, folder: Path, split: str | None, found: Found, others: list[str]) -> None:
    before = len(found.items)
    for file in files(folder):
        name = file.relative_to(root).as_posix()
        medium = kind(file)
        if medium is None:
            others.append(name)
        else:
            image, audio = (file, None) if medium == "image" else (None, file)
            found.items.append(LabelledItem(name, folder.name, image, audio, split))
    if len(found.items) == before:
        found.notes.append(f"class folder {folder.relative_to(root).as_posix()!r} has no image or sound")


def _entered(path: Path) -> Path:
    """Return the folder of the classes: the folder itself, or what lies below folders that only hold another one."""
    for _ in range(3):
        inside = folders(path)
        if len(inside) != 1 or inside[0].name.lower() in SPLIT_FOLDERS or not folders(inside[0]):
            break
        path = inside[0]
    return path


def _seen(path: Path) -> str:
    counts = Counter(file.suffix or "no suffix" for file in files(path))
    return ", ".join(f"{count} files of {suffix}" for suffix, count in counts.most_common(4)) or "nothing"


def _refuse_mixed(path: Path, found: Found) -> None:
    images = sum(item.image is not None for item in found.items)
    sounds = len(found.items) - images
    if images and sounds:
        raise DataError(
            f"{path} holds {images} images and {sounds} sounds in its class folders; one kind was expected: separate "
            "them, or write a manifest with the columns image, audio and label"
        )

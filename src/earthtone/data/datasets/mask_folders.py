"""Images and masks in two folders of the same names: images/ and masks/, also below or above train, val and test."""

from pathlib import Path

from earthtone.data.datasets.finish_masked import FoundMasks
from earthtone.data.datasets.media import IMAGES, SPLIT_FOLDERS, counted, folders
from earthtone.data.labelled import MaskedItem
from earthtone.data.manifest import listed
from earthtone.errors import DataError

_IMAGES = ("images", "image", "imgs", "img", "img_dir")
_MASKS = ("masks", "mask", "labels", "annotations", "ann_dir")
_ENDS = ("_mask", "_masks", "_label", "_labels", "_gt")  # what a mask's name may have beyond its image's
LAYOUT = "images/NAME.tif and masks/NAME.png (or NAME_mask.png), or a manifest with the columns image and mask"


def read_mask_folders(path: Path) -> FoundMasks:
    """Return the images with the masks of the same names; their ids are paths without suffix. Raises DataError.

    Names are compared within the folders: images/train/a.tif belongs to masks/train/a.png. Masks without an image are
    counted and named; images without a mask are kept for prediction.
    """
    found = FoundMasks()
    parents = [(path, None)] + [(folder, SPLIT_FOLDERS.get(folder.name.lower())) for folder in folders(path)]
    for parent, split in parents:
        images, masks = _side(parent, _IMAGES), _side(parent, _MASKS)
        if images is not None and (masks is not None or split is not None):
            _read_pair(parent, images, masks, split, "" if parent == path else f"{parent.name}/", found)
    if not found.items:
        seen = [folder.name for folder in folders(path)]
        raise DataError(f"{path} has the folders {listed(seen, 8)}; {LAYOUT} was expected")
    return found


def _read_pair(
    parent: Path, images: Path, masks: Path | None, split: str | None, prefix: str, found: FoundMasks
) -> None:
    by_name = _by_name(images)
    mask_by_name = {} if masks is None else _by_name(masks)
    used = set[str]()
    for name, image in by_name.items():
        mask_name = next((name + end for end in ("", *_ENDS) if name + end in mask_by_name), None)
        if mask_name is not None:
            used.add(mask_name)
        own = split or SPLIT_FOLDERS.get(name.split("/", 1)[0].lower() if "/" in name else "")
        mask = None if mask_name is None else mask_by_name[mask_name]
        found.items.append(MaskedItem(f"{prefix}{name}", image, mask, own))
    alone = [f"{prefix}{name}" for name in mask_by_name.keys() - used]
    found.notes += counted(len(alone), "masks without an image", alone)


def _side(parent: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder for folder in folders(parent) if folder.name.lower() in names), None)


def _by_name(side: Path) -> dict[str, Path]:
    """Return the pictures below a folder by their path without suffix. Raises DataError when two have one name."""
    found: dict[str, Path] = {}
    for file in sorted(side.rglob("*")):
        if file.suffix.lower() not in IMAGES or file.name.startswith(".") or not file.is_file():
            continue
        name = file.relative_to(side).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{side} holds {listed([found[name].name, file.name])} under one name; keep one of them")
        found[name] = file
    return found

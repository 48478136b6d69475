"""LoveDA (Wang et al., NeurIPS Datasets 2021): 1024 px tiles of city and country, masks of values 0 to 7."""

from pathlib import Path

from earthtone.data.datasets.finish_masked import FoundMasks
from earthtone.data.datasets.media import SPLIT_FOLDERS, counted, folders
from earthtone.data.labelled import MaskedItem
from earthtone.errors import DataError

_IMAGES, _MASKS = "images_png", "masks_png"


def read_loveda(path: Path) -> FoundMasks:
    """Return the tiles as SPLIT/SCENE/NUMBER; those of Test have no published masks. Raises DataError.

    The folder Val is `val` here; without masked test tiles it becomes the test when the set is finished.
    """
    found = FoundMasks()
    for part in folders(path):
        split = SPLIT_FOLDERS.get(part.name.lower())
        for scene in folders(part) if split else []:
            _read_scene(path, scene, split, found)
    if not found.items:
        raise DataError(
            f"{path} has no Train/Urban/images_png; LoveDA as Train|Val|Test/Urban|Rural/images_png expected"
        )
    return found


def _read_scene(path: Path, scene: Path, split: str | None, found: FoundMasks) -> None:
    prefix = scene.relative_to(path).as_posix()
    images = {file.name: file for file in sorted((scene / _IMAGES).glob("*.png"))}
    masks = {file.name: file for file in sorted((scene / _MASKS).glob("*.png"))}
    for name, image in images.items():
        mask = masks.get(name)
        found.items.append(MaskedItem(f"{prefix}/{image.stem}", image, mask, split if mask else None))
    alone = [f"{prefix}/{name}" for name in masks.keys() - images.keys()]
    found.notes += counted(len(alone), "masks without an image", alone)

"""ISPRS Potsdam and Vaihingen (2D Semantic Labeling Contest): few large tiles, masks in colour."""

import re
from pathlib import Path

from earthtone.data.datasets.finish_masked import FoundMasks
from earthtone.data.datasets.media import counted
from earthtone.data.labelled import MaskedItem
from earthtone.errors import DataError

_POTSDAM = re.compile(r"top_potsdam_(\d+_\d+)_(RGBIR|RGB|IRRG|label|label_noBoundary)\.tif")
_VAIHINGEN = re.compile(r"top_mosaic_09cm_area(\d+)(_noBoundary)?\.tif")
#: The contest's training tiles; the others are its test tiles, whose masks were published later.
POTSDAM_TRAIN = frozenset(
    ["2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12", "6_7", "6_8",
     "6_9", "6_10", "6_11", "6_12", "7_7", "7_8", "7_9", "7_10", "7_11", "7_12"]
)  # fmt: skip
VAIHINGEN_TRAIN = frozenset(
    ["1", "3", "5", "7", "11", "13", "15", "17", "21", "23", "26", "28", "30", "32", "34", "37"]
)  # fmt: skip
_KINDS = ("RGB", "RGBIR", "IRRG")  # first choice first


def read_potsdam(path: Path) -> FoundMasks:
    """Return the tiles of one image folder (RGB, else RGBIR, else IRRG) with their masks. Raises DataError.

    The contest's training tiles are train, the others test. Masks without boundaries serve where no others are.
    """
    images: dict[str, dict[str, Path]] = {kind: {} for kind in _KINDS}
    masks: dict[str, dict[str, Path]] = {"label": {}, "label_noBoundary": {}}
    for file in sorted(path.rglob("top_potsdam_*.tif")):
        parts = _POTSDAM.fullmatch(file.name)
        if parts is not None:
            (images if parts[2] in images else masks)[parts[2]][parts[1]] = file
    kind = next((kind for kind in _KINDS if images[kind]), None)
    if kind is None:
        raise DataError(
            f"{path} has no top_potsdam_R_C_RGB.tif; ISPRS Potsdam as 2_Ortho_RGB/ and 5_Labels_all/ was expected"
        )
    return _joined(images[kind], masks["label"] or masks["label_noBoundary"], POTSDAM_TRAIN)


def read_vaihingen(path: Path) -> FoundMasks:
    """Return the tiles of the folder `top` with the masks of the same names in other folders. Raises DataError.

    The contest's training tiles are train, the others test. Masks without boundaries serve where no others are.
    """
    images: dict[str, Path] = {}
    masks: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for file in sorted(path.rglob("top_mosaic_09cm_area*.tif")):
        parts = _VAIHINGEN.fullmatch(file.name)
        if parts is None:
            continue
        if file.parent.name == "top":
            images[parts[1]] = file
        else:
            masks[parts[2] is not None][parts[1]] = file
    if not images:
        raise DataError(
            f"{path} has no top/top_mosaic_09cm_areaN.tif; ISPRS Vaihingen as top/ beside its ground truth expected"
        )
    return _joined(images, masks[False] or masks[True], VAIHINGEN_TRAIN)


def _joined(images: dict[str, Path], masks: dict[str, Path], train: frozenset[str]) -> FoundMasks:
    found = FoundMasks()
    for key, image in images.items():
        mask = masks.get(key)
        found.items.append(MaskedItem(key, image, mask, None if mask is None else "train" if key in train else "test"))
    alone = [key for key in masks if key not in images]
    found.notes += counted(len(alone), "masks without an image", alone)
    return found

"""DeepGlobe land cover (Demir et al., CVPRW 2018): 2448 px tiles, `ID_sat.jpg` with `ID_mask.png`."""

from pathlib import Path

from earthtone.data.datasets.finish_masked import FoundMasks
from earthtone.data.datasets.media import counted
from earthtone.data.labelled import MaskedItem
from earthtone.errors import DataError

_SAT, _MASK = "_sat", "_mask"
_LIST = "valid_ids.txt"  # ids that the SoundingEarth release keeps for its figures, one a line
_TRAIN, _TEST = "training_data", "test_data"  # folders of a widespread copy with a division of its own


def read_deepglobe(path: Path) -> FoundMasks:
    """Return the tiles below a folder with their masks, wherever both lie. Raises DataError.

    Split: the ids in `valid_ids.txt` are test where there is such a list; else the folders training_data and test_data
    say it, or nothing does. Tiles without a mask (the challenge's valid/ and test/) are kept for prediction.
    """
    tiles = _by_id(path, _SAT, (".jpg", ".jpeg", ".png", ".tif"))
    masks = _by_id(path, _MASK, (".png", ".tif"))
    if not tiles:
        raise DataError(
            f"{path} has no ID_sat.jpg; DeepGlobe as train/ID_sat.jpg beside train/ID_mask.png was expected"
        )
    listed_ids = _listed_ids(path)
    found = FoundMasks()
    for key, tile in tiles.items():
        split = _split(tile, key, listed_ids)
        found.items.append(MaskedItem(key, tile, masks.get(key), split if key in masks else None))
    alone, strange = [key for key in masks if key not in tiles], [*listed_ids - tiles.keys()]
    found.notes += counted(len(alone), "masks without an image", alone)
    found.notes += counted(len(strange), f"ids in {_LIST} without an image", strange)
    return found


def _by_id(path: Path, end: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return id -> file for the files below a folder whose names end so. Raises DataError for an id of two files."""
    found: dict[str, Path] = {}
    for file in sorted(path.rglob(f"*{end}.*")):
        if file.suffix.lower() in suffixes and file.is_file():
            key = file.stem.removesuffix(end)
            if key in found:
                raise DataError(f"{found[key]} and {file} have one id; keep one of them")
            found[key] = file
    return found


def _listed_ids(path: Path) -> set[str]:
    lists = [folder / _LIST for folder in (path, path.parent) if (folder / _LIST).is_file()]
    return set(lists[0].read_text(encoding="utf-8", errors="replace").split()) if lists else set()


def _split(tile: Path, key: str, listed_ids: set[str]) -> str | None:
    if listed_ids:
        return "test" if key in listed_ids else "train"
    return "train" if _TRAIN in tile.parts else "test" if _TEST in tile.parts else None

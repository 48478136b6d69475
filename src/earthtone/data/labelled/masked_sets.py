"""Sets of images with masks: two folders of the same names, a manifest, and published layouts."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from earthtone.data.labelled.items import (
    IMAGES,
    MASKED,
    SPLIT_FOLDERS,
    MaskedItem,
    MaskedSet,
    Palette,
    counted,
    folders,
    known_set,
    recognised,
)
from earthtone.data.labelled.masks import (
    PALETTES,
    FoundMasks,
    class_table,
    finished_masked,
    found_palette,
    found_values,
    read_class_table,
)
from earthtone.data.manifest import TABLES, Manifest, listed, nearest, open_table
from earthtone.data.pair import NearNames, Pair, Problem, UnusableRow, media
from earthtone.errors import DataError
from earthtone.progress import progress

_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir")
_MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "ann_dir")
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
        images, masks = _side(parent, _IMAGE_FOLDERS), _side(parent, _MASK_FOLDERS)
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


MASK = "mask"


def read_mask_manifest(path: Path) -> FoundMasks:
    """Return the images of the rows with their masks; an empty mask cell leaves the image for prediction alone.

    Rows whose files are missing are counted and named. Raises DataError without the two columns.
    """
    table = open_table(path)
    for name in ("image", MASK):
        if name not in table.columns:
            raise DataError(
                f"{path} has no column {name!r}; image and mask were expected;{nearest(name, table.columns)}"
            )
    columns = {} if {"id", "key"} & set(table.columns) else {"id": "image"}
    found, problems, near = FoundMasks(), defaultdict[str, list[str]](list), NearNames()
    for pair in Manifest(path, columns=columns, need=("image",)):
        problem = pair if isinstance(pair, Problem) else _add(pair, path.parent, found, near)
        if problem is not None:
            problems[problem.kind].append(problem.id)
    found.notes += [f"{len(ids)} rows left out, {kind}: {listed(ids, 5)}" for kind, ids in sorted(problems.items())]
    return found


def _add(pair: Pair, folder: Path, found: FoundMasks, near: NearNames) -> Problem | None:
    cell = pair.extra.get(MASK, "")
    try:
        mask = media(cell, folder, MASK, "missing mask", near) if cell else None
    except UnusableRow as problem:
        return Problem(pair.id, problem.kind, str(problem))
    if not isinstance(pair.image, Path) or not (mask is None or isinstance(mask, Path)):
        return Problem(pair.id, "images as bytes in the table; write them to files", pair.id)
    found.items.append(MaskedItem(pair.id, pair.image, mask, pair.split))
    return None


# DeepGlobe land cover (Demir et al., CVPRW 2018): 2448 px tiles, `ID_sat.jpg` with `ID_mask.png`.
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


# ISPRS Potsdam and Vaihingen (2D Semantic Labeling Contest): few large tiles, masks in colour.
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


# LoveDA (Wang et al., NeurIPS Datasets 2021): 1024 px tiles of city and country, masks of values 0 to 7.
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


MASKED_LOADERS: dict[str, Callable[[Path], FoundMasks]] = {
    "deepglobe": read_deepglobe, "loveda": read_loveda, "potsdam": read_potsdam, "vaihingen": read_vaihingen,
}  # fmt: skip


def open_masked(data: str | Path, *, dataset: str | None = None) -> MaskedSet:
    """Return the images and masks in a manifest (columns image, mask), in its folder, or in a set's own folders.

    `dataset` names a published set, whose colours or values then count; a folder with the set's own name is recognised
    without. For others the classes are those of `classes.csv` or `classes.yaml` beside them, or else all values that
    occur in the masks, which are then read once. Raises DataError, ConfigError for an unknown name.
    """
    path = Path(data)
    if not path.exists():
        raise DataError(f"{path} does not exist; {LAYOUT} was expected")
    name = path.resolve().name
    known = recognised(path, MASKED) if dataset is None else known_set(dataset, MASKED)
    published = None if known is None else MASKED[known]
    manifest = masked_manifest(path)
    if manifest is not None:
        found = read_mask_manifest(manifest)
    else:
        found = read_mask_folders(path) if known is None else MASKED_LOADERS[known](path)
    palette = _palette(path, found) if known is None else PALETTES[known]
    return finished_masked(path, known or name, found, palette, published)


def masked_manifest(path: Path) -> Path | None:
    """Return the manifest itself or the one in a folder; a table without a column of masks is none."""
    if not path.is_dir():
        return path
    names = [path / f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in TABLES]
    inside = [file for file in names if file.is_file() and MASK in open_table(file).columns]
    if len(inside) > 1:
        raise DataError(f"{path} holds {' and '.join(file.name for file in inside)}; type the path of one of them")
    return inside[0] if inside else None


def _palette(path: Path, found: FoundMasks) -> Palette:
    table = class_table(path if path.is_dir() else path.parent)
    if table is not None:
        return read_class_table(table)
    masks = [item.mask for item in found.items if item.mask is not None]
    if not masks:
        raise DataError(f"{path} has no mask; {LAYOUT} was expected")
    palette = found_palette(found_values(progress(masks, total=len(masks), label="masks", unit="mask")))
    found.notes.append(
        f"no classes.csv names the classes: the {len(palette.names)} values found in the masks are taken"
    )
    return palette

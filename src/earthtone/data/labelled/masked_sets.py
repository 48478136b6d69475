"""Sets of images with masks: two folders of the same names, a manifest, and published layouts."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from earthtone.data.labelled.items import (
    MASKED,
    SPLIT_FOLDERS,
    LoadedItems,
    MaskedItem,
    MaskedSet,
    Palette,
    by_name,
    folders,
    known_set,
    manifest_in,
    recognised,
)
from earthtone.data.labelled.masks import (
    PALETTES,
    class_table,
    finished_masked,
    found_palette,
    found_values,
    read_class_table,
)
from earthtone.data.manifest import Manifest, listed, manifest_table, nearest
from earthtone.data.pair import NearNames, Pair, Problem, UnusableRow, media
from earthtone.errors import DataError
from earthtone.progress import progress
from earthtone.signal.readers import image_suffixes

_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir")
_MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "ann_dir")
_ENDS = ("_mask", "_masks", "_label", "_labels", "_gt")  # what a mask's name may have beyond its image's
LAYOUT = "images/NAME.tif and masks/NAME.png (or NAME_mask.png), or a manifest with the columns image and mask"
MASK = "mask"


def read_mask_folders(path: Path) -> LoadedItems[MaskedItem]:
    """Return the images with the masks of the same names; their ids are paths without suffix. Raises DataError.

    Names are compared within the folders: images/train/a.tif belongs to masks/train/a.png. Masks without an image are
    counted and named; images without a mask are kept for prediction.
    """
    loaded = LoadedItems[MaskedItem]()
    parents = [(path, None)] + [(folder, SPLIT_FOLDERS.get(folder.name.lower())) for folder in folders(path)]
    for parent, split in parents:
        images, masks = (
            next((folder for folder in folders(parent) if folder.name.lower() in names), None)
            for names in (_IMAGE_FOLDERS, _MASK_FOLDERS)
        )
        if images is None or (masks is None and split is None):
            continue
        prefix = "" if parent == path else f"{parent.name}/"
        mask_of = {} if masks is None else _pictures_by_name(masks)
        used = set[str]()
        for name, image in _pictures_by_name(images).items():
            mask_name = next((name + end for end in ("", *_ENDS) if name + end in mask_of), "")
            used.add(mask_name)
            own = split or SPLIT_FOLDERS.get(name.split("/", 1)[0].lower() if "/" in name else "")
            loaded.items.append(MaskedItem(f"{prefix}{name}", image, mask_of.get(mask_name), own))
        loaded.count([f"{prefix}{name}" for name in mask_of.keys() - used], "masks without an image")
    if not loaded.items:
        seen = [folder.name for folder in folders(path)]
        raise DataError(f"{path} has the folders {listed(seen, 8)}; {LAYOUT} was expected")
    return loaded


def _pictures_by_name(side: Path) -> dict[str, Path]:
    """Return the pictures below a folder by their path without suffix. Raises DataError when two have one name."""
    pictures = (file for file in side.rglob("*") if not file.name.startswith(".") and file.is_file())
    return by_name(pictures, image_suffixes(), lambda file: file.relative_to(side).with_suffix("").as_posix())


def read_mask_manifest(path: Path) -> LoadedItems[MaskedItem]:
    """Return the images of the rows with their masks; an empty mask cell leaves the image for prediction alone.

    Rows whose files are missing are counted and named. Raises DataError without the columns image and mask.
    """
    table = manifest_table(path)
    for name in ("image", MASK):
        if name not in table.columns:
            raise DataError(
                f"{path} has no column {name!r}; image and mask were expected;{nearest(name, table.columns)}"
            )
    columns = {} if {"id", "key"} & set(table.columns) else {"id": "image"}
    near = NearNames()

    def item_of(pair: Pair | Problem) -> MaskedItem:
        if isinstance(pair, Problem):
            raise UnusableRow(pair.kind, pair.id)
        cell = pair.extra.get(MASK, "")
        try:
            mask = media(cell, path.parent, MASK, near) if cell else None
        except UnusableRow as problem:
            raise UnusableRow(problem.kind, pair.id) from problem
        if isinstance(pair.image, Path) and (mask is None or isinstance(mask, Path)):
            return MaskedItem(pair.id, pair.image, mask, pair.split)
        raise UnusableRow("images as bytes in the table; write them to files", pair.id)

    loaded = LoadedItems[MaskedItem]()
    loaded.add(Manifest(path, columns=columns, need=("image",)), item_of)
    return loaded


def _joined(
    images: Mapping[str, Path], masks: Mapping[str, Path], split: Callable[[str], str | None]
) -> LoadedItems[MaskedItem]:
    """Return images with the masks of the same keys, those with a mask in their `split`; masks alone are counted."""
    loaded = LoadedItems(
        [MaskedItem(key, image, masks.get(key), split(key) if key in masks else None) for key, image in images.items()]
    )
    loaded.count(masks.keys() - images.keys(), "masks without an image")
    return loaded


# DeepGlobe land cover (Demir et al., CVPRW 2018): 2448 px tiles, `ID_sat.jpg` with `ID_mask.png`.
_TILE_END, _MASK_END = "_sat", "_mask"
_TEST_IDS = "valid_ids.txt"  # ids that the SoundingEarth release keeps for its figures, one a line
_TRAIN, _TEST = "training_data", "test_data"  # folders of a widespread copy with a division of its own


def read_deepglobe(path: Path) -> LoadedItems[MaskedItem]:
    """Return the tiles below a folder with their masks, wherever both lie. Raises DataError.

    Split: the ids in `valid_ids.txt` are test where there is such a list; else the folders training_data and test_data
    say it, or nothing does. Tiles without a mask (the challenge's valid/ and test/) are kept for prediction.
    """

    def below(end: str, suffixes: tuple[str, ...]) -> dict[str, Path]:
        return by_name(
            filter(Path.is_file, path.rglob(f"*{end}.*")), suffixes, lambda file: file.stem.removesuffix(end)
        )

    tiles, masks = below(_TILE_END, (".jpg", ".jpeg", ".png", ".tif")), below(_MASK_END, (".png", ".tif"))
    if not tiles:
        raise DataError(
            f"{path} has no ID_sat.jpg; DeepGlobe as train/ID_sat.jpg beside train/ID_mask.png was expected"
        )
    lists = [folder / _TEST_IDS for folder in (path, path.parent) if (folder / _TEST_IDS).is_file()]
    test_ids = set(lists[0].read_text(encoding="utf-8", errors="replace").split()) if lists else set()

    def split(key: str) -> str | None:
        if test_ids:
            return "test" if key in test_ids else "train"
        return "train" if _TRAIN in tiles[key].parts else "test" if _TEST in tiles[key].parts else None

    loaded = _joined(tiles, masks, split)
    loaded.count(test_ids - tiles.keys(), f"ids in {_TEST_IDS} without an image")
    return loaded


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


def read_potsdam(path: Path) -> LoadedItems[MaskedItem]:
    """Return the tiles of one image folder (RGB, else RGBIR, else IRRG) with their masks. Raises DataError.

    The contest's training tiles are train, the others test. Masks without boundaries serve where no others are.
    """
    found = _by_kind(path, "top_potsdam_*.tif", _POTSDAM, lambda file, kind: kind)
    images = found["RGB"] or found["RGBIR"] or found["IRRG"]
    if not images:
        raise DataError(
            f"{path} has no top_potsdam_R_C_RGB.tif; ISPRS Potsdam as 2_Ortho_RGB/ and 5_Labels_all/ was expected"
        )
    return _contest(images, found["label"] or found["label_noBoundary"], POTSDAM_TRAIN)


def read_vaihingen(path: Path) -> LoadedItems[MaskedItem]:
    """Return the tiles of the folder `top` with the masks of the same names in other folders. Raises DataError.

    The contest's training tiles are train, the others test. Masks without boundaries serve where no others are.
    """
    found = _by_kind(
        path, "top_mosaic_09cm_area*.tif", _VAIHINGEN, lambda file, end: "top" if file.parent.name == "top" else end
    )
    if not found["top"]:
        raise DataError(
            f"{path} has no top/top_mosaic_09cm_areaN.tif; ISPRS Vaihingen as top/ beside its ground truth expected"
        )
    return _contest(found["top"], found[None] or found["_noBoundary"], VAIHINGEN_TRAIN)


def _by_kind(
    path: Path, pattern: str, name: re.Pattern[str], kind_of: Callable[[Path, str | None], str | None]
) -> Mapping[str | None, dict[str, Path]]:
    """Return the files below a folder whose names match, by kind and then by number; see the two patterns."""
    found = defaultdict[str | None, dict[str, Path]](dict)
    for file in sorted(path.rglob(pattern)):
        if (parts := name.fullmatch(file.name)) is not None:
            found[kind_of(file, parts[2])][parts[1]] = file
    return found


def _contest(images: dict[str, Path], masks: dict[str, Path], train: frozenset[str]) -> LoadedItems[MaskedItem]:
    return _joined(images, masks, lambda key: "train" if key in train else "test")


# LoveDA (Wang et al., NeurIPS Datasets 2021): 1024 px tiles of city and country, masks of values 0 to 7.
def read_loveda(path: Path) -> LoadedItems[MaskedItem]:
    """Return the tiles as SPLIT/SCENE/NUMBER; those of Test have no published masks. Raises DataError.

    The folder Val is `val` here; without masked test tiles it becomes the test when the set is finished.
    """
    scenes = [scene for part in folders(path) if part.name.lower() in SPLIT_FOLDERS for scene in folders(part)]

    def below(scenes: Iterable[Path], side: str) -> dict[str, Path]:
        return {
            f"{scene.relative_to(path).as_posix()}/{file.stem}": file
            for scene in scenes
            for file in sorted((scene / side).glob("*.png"))
        }

    images = below(scenes, "images_png")
    if not images:
        raise DataError(
            f"{path} has no Train/Urban/images_png; LoveDA as Train|Val|Test/Urban|Rural/images_png expected"
        )
    return _joined(images, below(scenes, "masks_png"), lambda key: SPLIT_FOLDERS[key.split("/")[0].lower()])


MASKED_LOADERS: dict[str, Callable[[Path], LoadedItems[MaskedItem]]] = {
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
    known = recognised(path, MASKED) if dataset is None else known_set(dataset, MASKED)
    manifest = masked_manifest(path)
    if manifest is not None:
        loaded = read_mask_manifest(manifest)
    else:
        loaded = read_mask_folders(path) if known is None else MASKED_LOADERS[known](path)
    palette = _palette(path, loaded) if known is None else PALETTES[known]
    return finished_masked(
        path, known or path.resolve().name, loaded, palette, None if known is None else MASKED[known]
    )


def masked_manifest(path: Path) -> Path | None:
    """Return the manifest itself or the one in a folder; a table without a column of masks is none. Raises DataError"""
    return manifest_in(path, lambda file: MASK in manifest_table(file).columns) if path.is_dir() else path


def _palette(path: Path, loaded: LoadedItems[MaskedItem]) -> Palette:
    table = class_table(path if path.is_dir() else path.parent)
    if table is not None:
        return read_class_table(table)
    masks = [item.mask for item in loaded.items if item.mask is not None]
    if not masks:
        raise DataError(f"{path} has no mask; {LAYOUT} was expected")
    palette = found_palette(found_values(progress(masks, total=len(masks), label="masks", unit="mask")))
    loaded.notes.append(
        f"no classes.csv names the classes: the {len(palette.names)} values found in the masks are taken"
    )
    return palette

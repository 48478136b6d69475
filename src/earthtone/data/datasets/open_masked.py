"""How a set of images with masks is opened: a manifest, a set known by its name, or two folders of the same names."""

from collections.abc import Callable
from pathlib import Path

from earthtone.data.datasets.class_table import class_table, found_palette, read_class_table
from earthtone.data.datasets.deepglobe import read_deepglobe
from earthtone.data.datasets.finish_masked import FoundMasks, finished_masked
from earthtone.data.datasets.isprs import read_potsdam, read_vaihingen
from earthtone.data.datasets.loveda import read_loveda
from earthtone.data.datasets.mask_folders import LAYOUT, read_mask_folders
from earthtone.data.datasets.mask_manifest import MASK, read_mask_manifest
from earthtone.data.datasets.masks import found_values
from earthtone.data.datasets.palettes import PALETTES
from earthtone.data.datasets.published import MASKED, known_set, recognised
from earthtone.data.labelled import MaskedSet, Palette
from earthtone.data.manifest import TABLES, open_table
from earthtone.errors import DataError
from earthtone.progress import progress

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

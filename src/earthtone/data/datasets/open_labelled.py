"""How a labelled set is opened: a manifest, a set known by its name or its layout, or a folder a class."""

from collections.abc import Callable, Mapping
from pathlib import Path

from earthtone.data.datasets.advance import looks_like_advance, read_advance
from earthtone.data.datasets.class_folders import read_class_folders
from earthtone.data.datasets.esc50 import looks_like_esc50, read_esc50
from earthtone.data.datasets.finish import Found, finished
from earthtone.data.datasets.labelled_manifest import has_labels, read_labelled_manifest
from earthtone.data.datasets.media import folders
from earthtone.data.datasets.published import LABELLED, known_set, recognised
from earthtone.data.datasets.split_lists import with_split_lists
from earthtone.data.datasets.torchgeo_sets import PREFIX, read_torchgeo
from earthtone.data.datasets.urbansound8k import looks_like_urbansound8k, read_urbansound8k
from earthtone.data.labelled import LabelledSet
from earthtone.data.manifest import TABLES
from earthtone.errors import ConfigError, DataError

#: Loaders of sets with a layout of their own; the other named sets are a folder a class.
LOADERS: dict[str, Callable[[Path], Found]] = {
    "advance": read_advance, "esc50": read_esc50, "urbansound8k": read_urbansound8k,
}  # fmt: skip
LAYOUTS: dict[str, Callable[[Path], bool]] = {
    "advance": looks_like_advance, "esc50": looks_like_esc50, "urbansound8k": looks_like_urbansound8k,
}  # fmt: skip


def open_labelled(
    data: str | Path, *, dataset: str | None = None, label: str | None = None, columns: Mapping[str, str] | None = None
) -> LabelledSet:
    """Return the labelled set in a manifest, in a folder with one (manifest.csv, metadata.csv ...), or in a folder.

    `dataset` names a published set (its folder is then checked against the published figures; a folder with the set's
    own name or layout is recognised without) or `torchgeo:CLASS`. `label` names a manifest's label column, `columns`
    its other ones. Nothing is decoded here. Raises DataError, or ConfigError for a wrong name or an useless option.

    >>> open_labelled("UCMerced_LandUse", dataset="ucmerced").classes[:2]  # doctest: +SKIP
    ('agricultural', 'airplane')
    """
    path = Path(data)
    if not path.exists():
        raise DataError(f"{path} does not exist; a folder of classes or a manifest ({', '.join(TABLES)}) was expected")
    name = path.resolve().name
    if dataset is not None and dataset.startswith(PREFIX):
        _refuse_columns(path, label, columns)
        return finished(path, dataset, read_torchgeo(path, dataset.removeprefix(PREFIX)))
    known = _known(path, dataset)
    published = None if known is None else LABELLED[known]
    manifest = labelled_manifest(path, label, columns)
    if manifest is not None:
        found = read_labelled_manifest(manifest, label, columns)
    else:
        _refuse_columns(path, label, columns)
        found = _from_folder(path, known)
    return finished(path, known or name, found, published)


def _from_folder(path: Path, known: str | None) -> Found:
    if known in LOADERS:
        return LOADERS[known](_entered(path, LAYOUTS[known]))
    published = None if known is None else LABELLED[known]
    found = read_class_folders(path, None if published is None else f"{published.title} as {published.layout}")
    found.items, notes = with_split_lists(path, found.items)
    found.notes += notes
    return found


def _entered(path: Path, looks: Callable[[Path], bool]) -> Path:
    """Return the folder with a layout: the path, or its one subfolder that has it, as archives unpack."""
    inside = [] if looks(path) else [folder for folder in folders(path) if looks(folder)]
    return inside[0] if len(inside) == 1 else path


def labelled_manifest(path: Path, label: str | None, columns: Mapping[str, str] | None) -> Path | None:
    """Return the manifest to read: the file itself, or the one in a folder that has labels. Raises DataError."""
    if not path.is_dir():
        return path
    names = [f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in TABLES]
    inside = [path / name for name in names if (path / name).is_file()]
    with_labels = [file for file in inside if has_labels(file, label, columns)]
    if len(with_labels) > 1:
        raise DataError(f"{path} holds {' and '.join(file.name for file in with_labels)}; type the path of one of them")
    if with_labels or not inside:
        return with_labels[0] if with_labels else None
    # a table without labels beside folders of classes may mean anything; one that is asked for by column may not
    return inside[0] if label or columns else None


def _known(path: Path, dataset: str | None) -> str | None:
    if dataset is not None:
        return known_set(dataset, LABELLED)
    if not path.is_dir():
        return None
    by_layout = next((name for name, looks in LAYOUTS.items() if looks(_entered(path, looks))), None)
    return by_layout or recognised(path, LABELLED)


def _refuse_columns(path: Path, label: str | None, columns: Mapping[str, str] | None) -> None:
    if label or columns:
        raise ConfigError(f"--label and --columns name columns of a manifest; {path} is read from its folders")

"""Sets of labelled images and sounds: a folder a class, a manifest, and published layouts."""

import inspect
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from earthtone.data.labelled.items import (
    IMAGES,
    LABELLED,
    SOUNDS,
    SPLIT_FOLDERS,
    Found,
    LabelledItem,
    LabelledSet,
    counted,
    files,
    finished,
    folders,
    kind,
    known_set,
    recognised,
    with_split_lists,
)
from earthtone.data.manifest import TABLES, Manifest, Table, listed, nearest, open_table
from earthtone.data.pair import MEDIA, MISSING_AUDIO, Pair, Problem, UnusableRow, is_file, is_unknown
from earthtone.data.tables import CsvTable
from earthtone.errors import ConfigError, DataError, MissingExtraError, did_you_mean
from earthtone.signal.remarks import NULL_ISLAND

_LAYOUT = "a folder a class with images or sounds in it (CLASS/*.jpg), or train/CLASS, val/CLASS, test/CLASS"


def read_class_folders(path: Path, layout: str | None = None) -> Found:
    """Return the items of a folder whose subfolders are classes; their ids are CLASS/FILE. Raises DataError.

    Folders that hold nothing but one other folder are entered. Class folders without items and files that are neither
    image nor sound are counted and named; images and sounds in one set are refused.
    """
    layout = layout or _LAYOUT
    root = _entered_folder(path)
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


def _entered_folder(path: Path) -> Path:
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


_FILE = ("file", "path", "filename", "file_name")  # names of the one file's column in manifests of one medium
_OWN = ("label", "fold", "group")


def read_labelled_manifest(path: Path, label: str | None = None, columns: Mapping[str, str] | None = None) -> Found:
    """Return the items of the rows that have a label and their files; others are counted and named. Raises DataError.

    `label` names the label's column ("label" without it); `columns` maps a pair's columns, `fold` and `group` to those
    of the file. Without an `id` column the file's name is the id.
    """
    table = open_table(path)
    given = dict(columns or {})
    own = {name: given.pop(name, name) for name in _OWN}
    if label is not None:
        own["label"] = label
    for name, column in own.items():
        if column not in table.columns and (name == "label" or column != name):
            raise DataError(
                f"{path} has no column {column!r} for the {name};{nearest(column, table.columns)}; type --label NAME"
            )
    pairs = Manifest(path, columns=_pair_columns(table, given), need=_media(table, given))
    own = {name: pairs.carried_as(column) for name, column in own.items()}
    found, problems = Found(), defaultdict[str, list[str]](list)
    remarks = defaultdict[str, list[str]](list)
    for row in pairs:
        for remark in row.remarks if isinstance(row, Pair) else ():
            if remark.kind != NULL_ISLAND:
                remarks[remark.kind].append(row.id)
        problem = row if isinstance(row, Problem) else _add(row, own, found)
        if problem is not None:
            problems[problem.kind].append(problem.id)
    found.notes += [f"{len(ids)} rows left out, {what}: {listed(ids, 5)}" for what, ids in sorted(problems.items())]
    found.notes += [f"{len(ids)} rows stay without a value, {what}: {listed(ids, 5)}" for what, ids in remarks.items()]
    _from_one(found)
    return found


def has_labels(path: Path, label: str | None, columns: Mapping[str, str] | None) -> bool:
    """Return whether a manifest has the label's column."""
    return (label or (columns or {}).get("label", "label")) in open_table(path).columns


def file_column(table: Table) -> str | None:
    """Return the column that names a row's one file, or None."""
    return next((name for name in _FILE if name in table.columns), None)


def _media(table: Table, given: Mapping[str, str]) -> tuple[str, ...]:
    """Return the media that rows must have: those with a column, else what the first named file is."""
    named = tuple(name for name in MEDIA if name in given or name in table.columns)
    if named:
        return named
    column = file_column(table)
    if column is None:
        raise DataError(
            f"{table.path} has the columns {listed(table.columns)}; image, audio or file expected, "
            "or type --columns image=NAME"
        )
    first = next((str(row.cells[column]) for row in table.rows([column]) if row.cells.get(column)), "")
    medium = kind(Path(first))
    if medium is None:
        raise DataError(f"{table.path}: column {column!r} names {first!r:.80}; an image or a sound was expected")
    return (medium,)


def _pair_columns(table: Table, given: Mapping[str, str]) -> dict[str, str]:
    columns, media = dict(given), _media(table, given)
    column = file_column(table)
    for name in media:
        if name not in columns and name not in table.columns and column is not None:
            columns[name] = column
    if "id" not in columns and not {"id", "key"} & set(table.columns):
        columns["id"] = columns.get(media[0], media[0])
    return columns


def _add(pair: Pair, own: Mapping[str, str], found: Found) -> Problem | None:
    label = pair.extra.get(own["label"], "").strip()
    if not label:
        return Problem(pair.id, "no label", f"{pair.id}: column {own['label']!r} is empty")
    if isinstance(pair.image, bytes) or isinstance(pair.audio, bytes):
        return Problem(pair.id, "media as bytes in the table; write them to files", pair.id)
    fold = pair.extra.get(own["fold"], "").strip()
    if fold and not (fold.isascii() and fold.isdigit()):
        return Problem(pair.id, "fold is no whole number", f"{pair.id}: fold {fold!r:.40}")
    group = pair.extra.get(own["group"], "").strip()
    number = int(fold) if fold else None
    found.items.append(
        LabelledItem(
            pair.id,
            label,
            pair.image,
            pair.audio,
            pair.split,
            number,
            None if is_unknown(group) else group,
            pair.image_gsd_m,
        )
    )
    return None


def _from_one(found: Found) -> None:
    """Count folds from 1 where the file counts from 0; drop them, saying so, where only some rows have one."""
    from dataclasses import replace

    folds = [item.fold for item in found.items if item.fold is not None]
    if folds and len(folds) < len(found.items):
        found.notes.append(f"{len(found.items) - len(folds)} rows have no fold: folds are not used")
        found.items[:] = [replace(item, fold=None) for item in found.items]
    elif folds and min(folds) == 0:
        found.items[:] = [replace(item, fold=(item.fold or 0) + 1) for item in found.items]


ReadRow = Callable[[Path, Mapping[str, str]], LabelledItem]


def read_fold_table(path: Path, table: str, columns: tuple[str, ...], layout: str, read: ReadRow) -> Found:
    """Return the items that `read` makes of the table's rows; rows it refuses are counted. Raises DataError."""
    if not (path / table).is_file():
        raise DataError(f"{path} has no {table}; {layout} was expected")
    rows = CsvTable(path / table)
    missing = [name for name in columns if name not in rows.columns]
    if missing:
        raise DataError(f"{rows.path} lacks the columns {listed(missing)}, found {listed(rows.columns)}; {layout}")
    found, problems = Found(), defaultdict[str, list[str]](list)
    for row in rows.rows(columns):
        if row.fault is not None:
            problems[row.fault[0]].append(row.place)
            continue
        try:
            found.items.append(read(path, {name: str(row.cells[name]).strip() for name in columns}))
        except UnusableRow as problem:
            problems[problem.kind].append(str(problem))
    found.notes += [f"{len(names)} rows left out, {kind}: {listed(names, 5)}" for kind, names in problems.items()]
    return found


# ESC-50 (Piczak, ACM Multimedia 2015): 50 kinds of sound in five folds that keep the clips of a recording together.
_ESC50_TABLE = "meta/esc50.csv"
_ESC50_LAYOUT = "ESC-50 as audio/FOLD-CLIP-TAKE-TARGET.wav and meta/esc50.csv"
_NAME = re.compile(r"([1-9])-(\d+)-[A-Z]-\d+\.\w+")


def looks_like_esc50(path: Path) -> bool:
    """Return whether a folder has the release's table."""
    return is_file(path / _ESC50_TABLE)


def read_esc50(path: Path) -> Found:
    """Return the sounds; fold and group (the Freesound clip) are those in the file's name. Raises DataError."""
    return read_fold_table(path, _ESC50_TABLE, ("filename", "category"), _ESC50_LAYOUT, _read_esc50)


def _read_esc50(path: Path, cells: Mapping[str, str]) -> LabelledItem:
    name = cells["filename"]
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise UnusableRow("name is not FOLD-CLIP-TAKE-TARGET", name)
    if not is_file(path / "audio" / name):
        raise UnusableRow(MISSING_AUDIO, name)
    return LabelledItem(name, cells["category"], audio=path / "audio" / name, fold=int(parts[1]), group=parts[2])


# UrbanSound8K (Salamon et al., ACM Multimedia 2014): ten kinds of city sound in ten official folds.
_URBANSOUND8K_TABLE = "metadata/UrbanSound8K.csv"
_URBANSOUND8K_LAYOUT = "UrbanSound8K as audio/fold1..fold10/*.wav and metadata/UrbanSound8K.csv"
_COLUMNS = ("slice_file_name", "fsID", "fold", "class")


def looks_like_urbansound8k(path: Path) -> bool:
    """Return whether a folder has the release's table."""
    return is_file(path / _URBANSOUND8K_TABLE)


def read_urbansound8k(path: Path) -> Found:
    """Return the sounds with their official fold; group is the Freesound recording (fsID). Raises DataError."""
    return read_fold_table(path, _URBANSOUND8K_TABLE, _COLUMNS, _URBANSOUND8K_LAYOUT, _read_urbansound8k)


def _read_urbansound8k(path: Path, cells: Mapping[str, str]) -> LabelledItem:
    name, fold = cells["slice_file_name"], cells["fold"]
    if not (fold.isascii() and fold.isdigit() and 1 <= int(fold) <= 10):
        raise UnusableRow("fold is not 1 to 10", name)
    file = path / "audio" / f"fold{int(fold)}" / name
    if not is_file(file):
        raise UnusableRow(MISSING_AUDIO, f"fold{int(fold)}/{name}")
    return LabelledItem(f"fold{int(fold)}/{name}", cells["class"], audio=file, fold=int(fold), group=cells["fsID"])


# ADVANCE (Hu et al., ECCV 2020, arXiv 2005.08449): images and sounds of 13 kinds of scene, paired by name.
_VISION = ("vision", "ADVANCE_vision", "Dataset_v3_vision")
_SOUND = ("sound", "ADVANCE_sound", "Dataset_v3_sound")
_SPECTROGRAMS = (".npy",)
_RECORDING = 5  # characters of a file's name that say of which recording it is a part


def looks_like_advance(path: Path) -> bool:
    """Return whether a folder has the release's two folders."""
    return _side(path, _VISION) is not None and _side(path, _SOUND) is not None


def read_advance(path: Path) -> Found:
    """Return the pairs CLASS/NAME; `group` is the recording, the first five characters of the name. Raises DataError.

    The authors' own partition keeps recordings together by these five characters: small classes were enlarged by
    shifted images of one recording. Sounds are `.wav` and the like, or, where there is none, spectrograms as `.npy`.
    Files without a partner are counted and named. Two files of one name and kind are refused.
    """
    vision, sound = _side(path, _VISION), _side(path, _SOUND)
    if vision is None or sound is None:
        lacking = " and ".join(name for name, side in (("vision/", vision), ("sound/", sound)) if side is None)
        raise DataError(
            f"{path} has no {lacking}; ADVANCE as vision/CLASS/NAME.jpg beside sound/CLASS/NAME.wav (or .npy) expected"
        )
    images = _by_name(vision, IMAGES)
    sounds, ready = _by_name(sound, SOUNDS), _by_name(sound, _SPECTROGRAMS)
    found = Found()
    if sounds and ready:
        found.notes.append(
            f"sound/ holds {len(sounds)} recordings and {len(ready)} .npy spectrograms: the former count"
        )
    sounds = sounds or ready
    for name in sorted(images.keys() & sounds.keys()):
        label, stem = name.split("/", 1)
        found.items.append(LabelledItem(name, label, images[name], sounds[name], group=stem[:_RECORDING]))
    found.notes += counted(
        len(images.keys() - sounds.keys()), "images without a sound", [*images.keys() - sounds.keys()]
    )
    found.notes += counted(
        len(sounds.keys() - images.keys()), "sounds without an image", [*sounds.keys() - images.keys()]
    )
    return found


def _side(path: Path, names: tuple[str, ...]) -> Path | None:
    """Return the folder of one medium; archives may have put it into a folder of its own name again."""
    found = next((path / name for name in names if (path / name).is_dir()), None)
    if found is None:
        return None
    inside = folders(found)
    return inside[0] if len(inside) == 1 and inside[0].name in names else found


def _by_name(side: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return CLASS/STEM -> file. Raises DataError when two files have one name."""
    found: dict[str, Path] = {}
    for folder in folders(side):
        for file in files(folder):
            if file.suffix.lower() not in suffixes:
                continue
            name = f"{folder.name}/{file.stem}"
            if name in found:
                raise DataError(f"{folder} holds {listed([found[name].name, file.name])}: keep the one that is meant")
            found[name] = file
    return found


# Scene classes by way of torchgeo, for sets that it knows and we do not; nothing is downloaded.
PREFIX = "torchgeo:"


def read_torchgeo(path: Path, name: str) -> Found:
    """Return the files of a torchgeo data set below `path`, with its own splits.

    `name` is a class of torchgeo.datasets that lists `samples` (all NonGeoClassificationDataset do). Raises ConfigError
    for another name, DataError when torchgeo does not find the set there, MissingExtraError without torchgeo.
    """
    try:
        import torchgeo.datasets as sets
    except ImportError as error:
        raise MissingExtraError(f"dataset {PREFIX}{name}", "torchgeo") from error
    base = sets.NonGeoClassificationDataset
    known = {key: value for key, value in vars(sets).items() if inspect.isclass(value) and issubclass(value, base)}
    known.pop(base.__name__, None)
    if name not in known:
        raise ConfigError(f"{PREFIX}{name} is unknown; {did_you_mean(name, known)}known: {', '.join(sorted(known))}")
    found = Found()
    for split in _splits(known[name]):
        opened = _opened(known[name], path, split)
        for file, index in opened.samples:
            item = Path(file)
            label = str(opened.classes[index])
            found.items.append(LabelledItem(_id(path, item), label, image=item, split=split))
    return found


def _splits(kind: Any) -> tuple[str | None, ...]:
    """Return the splits that a class can be opened with; (None,) when it has none."""
    if "split" not in inspect.signature(kind.__init__).parameters:
        return (None,)
    return tuple(name for name in ("train", "val", "test") if name in getattr(kind, "splits", ("train", "val", "test")))


def _opened(kind: Any, path: Path, split: str | None) -> Any:
    options = {} if split is None else {"split": split}
    try:
        return kind(root=str(path), **options)
    except Exception as error:  # torchgeo's own errors, and whatever a damaged folder brings about
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: torchgeo cannot open {kind.__name__} there: {reason:.300}") from error


def _id(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix() if file.is_relative_to(path) else str(file)


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

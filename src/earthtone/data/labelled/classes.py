"""Sets of labelled images and sounds: a folder a class, a manifest, and published layouts."""

import inspect
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from earthtone.data.labelled.items import (
    LABELLED,
    SPLIT_FOLDERS,
    LabelledItem,
    LabelledSet,
    LoadedItems,
    by_name,
    files,
    finished,
    first_manifest,
    folders,
    known_set,
    manifest_in,
    recognised,
    with_split_lists,
)
from earthtone.data.manifest import TABLES, Manifest, RowTable, listed, manifest_table, nearest
from earthtone.data.pair import MEDIA, MISSING_AUDIO, SPLITS, Pair, Problem, Row, UnusableRow, is_file, is_unknown
from earthtone.data.tables import CsvTable
from earthtone.errors import ConfigError, DataError, did_you_mean, needed_by
from earthtone.signal.excerpt import Excerpt, source_of
from earthtone.signal.readers import image_suffixes, kind, sound_suffixes
from earthtone.signal.remarks import NULL_ISLAND

_LAYOUT = "a folder a class with images or sounds in it (CLASS/*.jpg), or train/CLASS, val/CLASS, test/CLASS"


def read_class_folders(path: Path, layout: str = _LAYOUT) -> LoadedItems[LabelledItem]:
    """Return the items of a folder whose subfolders are classes; their ids are CLASS/FILE. Raises DataError.

    Folders that hold nothing but one other folder are entered. Class folders without items and files that are neither
    image nor sound are counted and named; images and sounds in one set are refused.
    """
    root = _entered_folder(path)
    inside = folders(root)
    splits = {folder: SPLIT_FOLDERS.get(folder.name.lower()) for folder in inside}
    divided = bool(inside) and all(splits.values())
    if not inside:
        counts = Counter(file.suffix or "no suffix" for file in files(root))
        seen = ", ".join(f"{count} files of {suffix}" for suffix, count in counts.most_common(4)) or "nothing"
        raise DataError(f"{path} has no folder of a class, found {seen}; {layout} was expected")
    loaded, others = LoadedItems[LabelledItem](), list[str]()
    for parent, split in splits.items() if divided else [(root, None)]:
        for folder in folders(parent):
            before = len(loaded.items)
            for file in files(folder):
                name, medium = file.relative_to(root).as_posix(), kind(file)
                if medium is None:
                    others.append(name)
                else:
                    image, audio = (file, None) if medium == "image" else (None, file)
                    loaded.items.append(LabelledItem(name, folder.name, image, audio, split))
            if len(loaded.items) == before:
                loaded.notes.append(f"class folder {folder.relative_to(root).as_posix()!r} has no image or sound")
    loaded.count(others, "files are neither image nor sound and left out")
    images = sum(item.image is not None for item in loaded.items)
    sounds = len(loaded.items) - images
    if not loaded.items:
        raise DataError(f"{path}: no image or sound in its folders {listed([f.name for f in inside], 8)}; {layout}")
    if images and sounds:
        raise DataError(
            f"{path} holds {images} images and {sounds} sounds in its class folders; one kind was expected: separate "
            "them, or write a manifest with the columns image, audio and label"
        )
    return loaded


def _entered_folder(path: Path) -> Path:
    """Return the folder of the classes: the folder itself, or what lies below folders that only hold another one."""
    for _ in range(3):
        inside = folders(path)
        if len(inside) != 1 or inside[0].name.lower() in SPLIT_FOLDERS or not folders(inside[0]):
            break
        path = inside[0]
    return path


_FILE = ("file", "path", "filename", "file_name")  # names of the one file's column in manifests of one medium
_OWN = ("label", "fold", "group")


def read_labelled_manifest(
    path: Path, label: str | None = None, columns: Mapping[str, str] | None = None
) -> LoadedItems[LabelledItem]:
    """Return the items of the rows that have a label and their files; others are counted and named. Raises DataError.

    `label` names the label's column ("label" without it); `columns` maps a pair's columns, `fold` and `group` to those
    of the file. Without an `id` column the file's name is the id.
    """
    table = manifest_table(path)
    given = dict(columns or {})
    own = {name: given.pop(name, name) for name in _OWN}
    if label is not None:
        own["label"] = label
    for name, column in own.items():
        if column not in table.columns and (name == "label" or column != name):
            raise DataError(
                f"{path} has no column {column!r} for the {name};{nearest(column, table.columns)}; type --label NAME"
            )
    media, given = media_columns(table, given)
    pairs = Manifest(path, columns=given, need=media)
    own = {name: pairs.carried_as(column) for name, column in own.items()}
    loaded, without_value = LoadedItems[LabelledItem](), defaultdict[str, list[str]](list)

    def item_of(pair: Pair | Problem) -> LabelledItem:
        for remark in pair.remarks if isinstance(pair, Pair) else ():
            if remark.kind != NULL_ISLAND:
                without_value[remark.kind].append(pair.id)
        return _labelled_item(pair, own)

    loaded.add(pairs, item_of)
    loaded.notes += [
        f"{len(ids)} rows stay without a value, {what}: {listed(ids, 5)}" for what, ids in without_value.items()
    ]
    _count_folds_from_one(loaded)
    return loaded


def media_columns(table: RowTable, given: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the media that rows must have - those with a column, else what the first named file is - and the file's
    columns for a pair's, those `given` included.
    """
    columns = dict(given)
    media = tuple(name for name in MEDIA if name in given or name in table.columns)
    if not media:
        column = next((name for name in _FILE if name in table.columns), None)
        if column is None:
            raise DataError(
                f"{table.path} has the columns {listed(table.columns)}; image, audio or file expected, "
                "or type --columns image=NAME"
            )
        first = next((str(row.cells[column]) for row in table.rows([column]) if row.cells.get(column)), "")
        medium = kind(Path(first))
        if medium is None:
            raise DataError(f"{table.path}: column {column!r} names {first!r:.80}; an image or a sound was expected")
        media = (medium,)
        columns[medium] = column
    if "id" not in columns and not {"id", "key"} & set(table.columns):
        columns["id"] = columns.get(media[0], media[0])
    return media, columns


def _labelled_item(pair: Pair | Problem, own: Mapping[str, str]) -> LabelledItem:
    """Return the item of a manifest's row. Raises UnusableRow."""
    if isinstance(pair, Problem):
        raise UnusableRow(pair.kind, pair.id)
    label, fold, group = (pair.extra.get(own[name], "").strip() for name in _OWN)
    if not label:
        raise UnusableRow("no label", pair.id)
    sound = pair.audio
    audio = None if sound is None else source_of(sound)
    if isinstance(pair.image, bytes) or isinstance(audio, bytes):
        raise UnusableRow("media as bytes in the table; write them to files", pair.id)
    if fold and not (fold.isascii() and fold.isdigit()):
        raise UnusableRow("fold is no whole number", pair.id)
    return LabelledItem(
        pair.id, label, pair.image, audio, pair.split,
        seconds=(sound.start_s, sound.end_s) if isinstance(sound, Excerpt) else None,
        fold=int(fold) if fold else None,
        group=None if is_unknown(group) else group,
        image_gsd_m=pair.image_gsd_m,
    )  # fmt: skip


def _count_folds_from_one(loaded: LoadedItems[LabelledItem]) -> None:
    """Count folds from 1 where the file counts from 0; drop them, saying so, where only some rows have one."""
    folds = [item.fold for item in loaded.items if item.fold is not None]
    if folds and len(folds) < len(loaded.items):
        loaded.notes.append(f"{len(loaded.items) - len(folds)} rows have no fold: folds are not used")
        loaded.items[:] = [replace(item, fold=None) for item in loaded.items]
    elif folds and min(folds) == 0:
        loaded.items[:] = [replace(item, fold=(item.fold or 0) + 1) for item in loaded.items]


@dataclass(frozen=True)
class FoldTable:
    """A published set of sounds whose files, classes and official folds stand in a table beside them."""

    table: str
    columns: tuple[str, ...]
    layout: str
    item: Callable[[Path, Mapping[str, str]], LabelledItem]
    """Makes an item of the set's folder and a row's cells. Raises UnusableRow."""

    def is_in(self, path: Path) -> bool:
        """Return whether a folder has the release's table."""
        return is_file(path / self.table)

    def read(self, path: Path) -> LoadedItems[LabelledItem]:
        """Return the sounds of the rows; those that cannot be used are counted and named. Raises DataError."""
        if not (path / self.table).is_file():
            raise DataError(f"{path} has no {self.table}; {self.layout} was expected")
        rows = CsvTable(path / self.table)
        missing = [name for name in self.columns if name not in rows.columns]
        if missing:
            raise DataError(
                f"{rows.path} lacks the columns {listed(missing)}, found {listed(rows.columns)}; {self.layout}"
            )

        def item_of(row: Row) -> LabelledItem:
            if row.fault is not None:
                raise UnusableRow(row.fault[0], row.where)
            return self.item(path, {name: str(row.cells[name]).strip() for name in self.columns})

        loaded = LoadedItems[LabelledItem]()
        loaded.add(rows.rows(self.columns), item_of)
        return loaded


_ESC50_NAME = re.compile(r"([1-9])-(\d+)-[A-Z]-\d+\.\w+")


def _esc50_item(path: Path, cells: Mapping[str, str]) -> LabelledItem:
    name = cells["filename"]
    parts = _ESC50_NAME.fullmatch(name)
    if parts is None:
        raise UnusableRow("name is not FOLD-CLIP-TAKE-TARGET", name)
    if not is_file(path / "audio" / name):
        raise UnusableRow(MISSING_AUDIO, name)
    return LabelledItem(name, cells["category"], audio=path / "audio" / name, fold=int(parts[1]), group=parts[2])


def _urbansound8k_item(path: Path, cells: Mapping[str, str]) -> LabelledItem:
    name, fold = cells["slice_file_name"], cells["fold"]
    if not (fold.isascii() and fold.isdigit() and 1 <= int(fold) <= 10):
        raise UnusableRow("fold is not 1 to 10", name)
    id = f"fold{int(fold)}/{name}"
    if not is_file(path / "audio" / id):
        raise UnusableRow(MISSING_AUDIO, id)
    return LabelledItem(id, cells["class"], audio=path / "audio" / id, fold=int(fold), group=cells["fsID"])


#: ESC-50 (Piczak, ACM Multimedia 2015): 50 kinds of sound in five folds that keep the clips of a recording together;
#: fold and group (the Freesound clip) are those in the file's name.
ESC50 = FoldTable(
    "meta/esc50.csv", ("filename", "category"), "ESC-50 as audio/FOLD-CLIP-TAKE-TARGET.wav and meta/esc50.csv",
    _esc50_item,
)  # fmt: skip
#: UrbanSound8K (Salamon et al., ACM Multimedia 2014): ten kinds of city sound in ten official folds; group is the
#: Freesound recording (fsID).
URBANSOUND8K = FoldTable(
    "metadata/UrbanSound8K.csv", ("slice_file_name", "fsID", "fold", "class"),
    "UrbanSound8K as audio/fold1..fold10/*.wav and metadata/UrbanSound8K.csv", _urbansound8k_item,
)  # fmt: skip

# ADVANCE (Hu et al., ECCV 2020, arXiv 2005.08449): images and sounds of 13 kinds of scene, paired by name.
_VISION = ("vision", "ADVANCE_vision", "Dataset_v3_vision")
_SOUND = ("sound", "ADVANCE_sound", "Dataset_v3_sound")
_RECORDING = 5  # characters of a file's name that say of which recording it is a part


def looks_like_advance(path: Path) -> bool:
    """Return whether a folder has the release's two folders."""
    return _side(path, _VISION) is not None and _side(path, _SOUND) is not None


def read_advance(path: Path) -> LoadedItems[LabelledItem]:
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
    images, recordings, spectrograms = (
        by_name(
            (file for folder in folders(side) for file in files(folder)),
            suffixes,
            lambda file: f"{file.parent.name}/{file.stem}",
        )
        for side, suffixes in ((vision, image_suffixes()), (sound, sound_suffixes()), (sound, (".npy",)))
    )
    sounds = recordings or spectrograms
    loaded = LoadedItems(
        [
            LabelledItem(name, name.split("/")[0], images[name], sounds[name], group=name.split("/")[1][:_RECORDING])
            for name in sorted(images.keys() & sounds.keys())
        ]
    )
    if recordings and spectrograms:
        loaded.notes.append(
            f"sound/ holds {len(recordings)} recordings and {len(spectrograms)} .npy spectrograms: the former count"
        )
    loaded.count(images.keys() - sounds.keys(), "images without a sound")
    loaded.count(sounds.keys() - images.keys(), "sounds without an image")
    return loaded


def _side(path: Path, names: tuple[str, ...]) -> Path | None:
    """Return the folder of one medium; archives may have put it into a folder of its own name again."""
    side = next((path / name for name in names if (path / name).is_dir()), None)
    if side is None:
        return None
    inside = folders(side)
    return inside[0] if len(inside) == 1 and inside[0].name in names else side


# Scene classes by way of torchgeo, for sets that it knows and we do not; nothing is downloaded.
PREFIX = "torchgeo:"


def read_torchgeo(path: Path, name: str) -> LoadedItems[LabelledItem]:
    """Return the files of a torchgeo data set below `path`, with its own splits.

    `name` is a class of torchgeo.datasets that lists `samples` (all NonGeoClassificationDataset do). Raises ConfigError
    for another name, DataError when torchgeo does not find the set there, MissingExtraError without torchgeo.
    """
    with needed_by(f"dataset {PREFIX}{name}"):
        import torchgeo.datasets as sets
    base = sets.NonGeoClassificationDataset
    known = {key: value for key, value in vars(sets).items() if inspect.isclass(value) and issubclass(value, base)}
    known.pop(base.__name__, None)
    if name not in known:
        raise ConfigError(f"{PREFIX}{name} is unknown; {did_you_mean(name, known)}known: {', '.join(sorted(known))}")
    loaded = LoadedItems[LabelledItem]()
    for split in _splits(known[name]):
        opened = _opened(known[name], path, split)
        for file, index in opened.samples:
            image = Path(file)
            id = image.relative_to(path).as_posix() if image.is_relative_to(path) else str(image)
            loaded.items.append(LabelledItem(id, str(opened.classes[index]), image=image, split=split))
    return loaded


def _splits(kind: Any) -> tuple[str | None, ...]:
    """Return the splits that a class can be opened with; (None,) when it has none."""
    if "split" not in inspect.signature(kind.__init__).parameters:
        return (None,)
    return tuple(name for name in SPLITS if name in getattr(kind, "splits", SPLITS))


def _opened(kind: Any, path: Path, split: str | None) -> Any:
    options = {} if split is None else {"split": split}
    try:
        return kind(root=str(path), **options)
    except Exception as error:  # torchgeo's own errors, and whatever a damaged folder brings about
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: torchgeo cannot open {kind.__name__} there: {reason:.300}") from error


#: Sets with a layout of their own: how a folder of it is recognised, and its loader; the others are a folder a class.
LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Path], LoadedItems[LabelledItem]]]] = {
    "advance": (looks_like_advance, read_advance),
    "esc50": (ESC50.is_in, ESC50.read),
    "urbansound8k": (URBANSOUND8K.is_in, URBANSOUND8K.read),
}


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
        return finished(path, known or name, read_labelled_manifest(manifest, label, columns), published)
    _refuse_columns(path, label, columns)
    if known in LAYOUTS:
        fits, read = LAYOUTS[known]
        return finished(path, known, read(_entered(path, fits)), published)
    loaded = read_class_folders(path, _LAYOUT if published is None else f"{published.title} as {published.layout}")
    loaded.items, notes = with_split_lists(path, loaded.items)
    loaded.notes += notes
    return finished(path, known or name, loaded, published)


def _entered(path: Path, fits: Callable[[Path], bool]) -> Path:
    """Return the folder with a layout: the path, or its one subfolder that has it, as archives unpack."""
    inside = [] if fits(path) else [folder for folder in folders(path) if fits(folder)]
    return inside[0] if len(inside) == 1 else path


def labelled_manifest(path: Path, label: str | None, columns: Mapping[str, str] | None) -> Path | None:
    """Return the manifest to read: the file itself, or the one in a folder that has labels. Raises DataError."""
    if not path.is_dir():
        return path
    column = label or (columns or {}).get("label", "label")
    inside = manifest_in(path, lambda file: column in manifest_table(file).columns)
    # a table without labels beside folders of classes may mean anything; one that is asked for by column may not
    return inside or (first_manifest(path) if label or columns else None)


def _known(path: Path, dataset: str | None) -> str | None:
    if dataset is not None:
        return known_set(dataset, LABELLED)
    if not path.is_dir():
        return None
    by_layout = next((name for name, (fits, _) in LAYOUTS.items() if fits(_entered(path, fits))), None)
    return by_layout or recognised(path, LABELLED)


def _refuse_columns(path: Path, label: str | None, columns: Mapping[str, str] | None) -> None:
    if label or columns:
        raise ConfigError(f"--label and --columns name columns of a manifest; {path} is read from its folders")

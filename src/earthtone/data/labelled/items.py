"""Labelled items: which files they are, their splits, what was published about their set."""

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from earthtone.data.grouped_split import NONE, in_several, linked, same_content, split_code, without_silence
from earthtone.data.manifest import TABLES, listed
from earthtone.data.pair import SPLITS, UnusableRow
from earthtone.errors import ConfigError, DataError, did_you_mean
from earthtone.files import regular_file
from earthtone.signal.excerpt import Excerpt, Sound


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """One item and its class; `group` names what must not be divided between splits, such as one recording."""

    id: str
    label: str
    image: Path | None = None
    audio: Path | None = None
    split: str | None = None
    """train, val or test; for sets with folds `fold` says more."""
    seconds: tuple[float, float | None] | None = None
    """From where to where the sound is an excerpt of `audio`; the whole recording when null."""
    fold: int | None = None
    """The official fold, from 1."""
    group: str | None = None
    image_gsd_m: float | None = None
    """Metres a pixel of the image, where known; models with `scale_input` are logged them."""

    @property
    def sound(self) -> Sound | None:
        """What is heard: the recording, or an excerpt of it."""
        return self.audio if self.audio is None or self.seconds is None else Excerpt(self.audio, *self.seconds)


@dataclass(frozen=True)
class LabelledSet:
    """Items in a fixed order (sorted by class and file, as published protocols assume), read lazily."""

    name: str
    items: tuple[LabelledItem, ...]
    warnings: tuple[str, ...] = ()
    """Where the folder differs from what was published: class count, file count, files without a partner."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The sorted class names."""
        return tuple(sorted({item.label for item in self.items}))


@dataclass(frozen=True, slots=True)
class MaskedItem:
    """An image and the file of its mask; `mask` is None where only predictions are wanted."""

    id: str
    image: Path
    mask: Path | None
    split: str | None = None


@dataclass(frozen=True)
class Palette:
    """How a mask's values or colours name classes; class k of `names` is index k, ignored pixels are 255."""

    names: tuple[str, ...]
    values: Mapping[int, int] = field(default_factory=dict)
    """Mask value -> class index, for masks of one channel; a value in neither `values` nor `ignored` is unknown."""
    colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    """RGB -> class index, for masks in colour."""
    ignored: frozenset[int | tuple[int, int, int]] = frozenset()
    """Values or colours that are left out of training and of every figure."""
    shown: tuple[tuple[int, int, int], ...] = ()
    """The RGB in which class k is drawn."""
    binarised: bool = False
    """Whether a mask's channels are set to 0 below 128 and to 255 from there, before its colours are looked up."""


@dataclass(frozen=True)
class MaskedSet:
    """Images with masks, in a fixed order (sorted by file)."""

    name: str
    items: tuple[MaskedItem, ...]
    palette: Palette
    warnings: tuple[str, ...] = ()


SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


def folders(path: Path) -> list[Path]:
    """Return the folders inside a folder, by name; hidden ones and those that archivers leave are passed over."""
    return [child for child in _visible(path) if child.is_dir()]


def files(path: Path) -> list[Path]:
    """Return the files inside a folder, by name, without hidden ones."""
    return [child for child in _visible(path) if child.is_file()]


def _visible(path: Path) -> list[Path]:
    try:
        return sorted(child for child in path.iterdir() if not child.name.startswith((".", "__")))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a readable folder was expected") from error


def by_name(found: Iterable[Path], suffixes: tuple[str, ...], name_of: Callable[[Path], str]) -> dict[str, Path]:
    """Return the files with some suffixes by what `name_of` makes of them. Raises DataError for a name of two files."""
    files_by_name: dict[str, Path] = {}
    for file in sorted(file for file in found if file.suffix.lower() in suffixes):
        name = name_of(file)
        if name in files_by_name:
            raise DataError(f"{files_by_name[name]} and {file} have one name; keep one of them")
        files_by_name[name] = file
    return files_by_name


def manifest_in(folder: Path, fits: Callable[[Path], bool]) -> Path | None:
    """Return the one manifest in a folder that `fits`, None where none does. Raises DataError for several."""
    inside = [file for file in _manifests(folder) if fits(file)]
    if len(inside) > 1:
        raise DataError(f"{folder} holds {' and '.join(file.name for file in inside)}; type the path of one of them")
    return inside[0] if inside else None


def first_manifest(folder: Path) -> Path | None:
    """Return the first manifest in a folder, whatever its columns are; None without any."""
    return next(iter(_manifests(folder)), None)


def _manifests(folder: Path) -> list[Path]:
    names = [folder / f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in TABLES]
    return [file for file in names if file.is_file()]


Item = TypeVar("Item", LabelledItem, MaskedItem)
Row = TypeVar("Row")


@dataclass
class LoadedItems(Generic[Item]):
    """What a loader read: items in any order, and notes on what it left out or changed."""

    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, names: Collection[str], what: str) -> None:
        """Add a note such as `3 files ...: 'a', 'b', 'c'`, or none for no names."""
        if names:
            self.notes.append(f"{len(names)} {what}: {listed(sorted(names), 5)}")

    def add(self, rows: Iterable[Row], item_of: Callable[[Row], Item]) -> None:
        """Add the items of rows, and notes on the rows without one: UnusableRow gives the reason and the row's name."""
        left_out = defaultdict[str, list[str]](list)
        for row in rows:
            try:
                self.items.append(item_of(row))
            except UnusableRow as problem:
                left_out[problem.kind].append(str(problem))
        self.notes += [
            f"{len(names)} rows left out, {why}: {listed(names, 5)}" for why, names in sorted(left_out.items())
        ]


SHARES: Mapping[str, float] = {"train": 0.6, "val": 0.2, "test": 0.2}
_VAL_OF_TRAIN = 0.2  # share of the training items that becomes val where a set has train and test alone


class Member(NamedTuple):
    """What the division of a set sees of an item; items of one group, and those of the same file, stay together."""

    id: str
    label: str
    group: str | None = None
    same: int = -1
    """Equal for items with identical files; negative where there is no other such item."""


def stratified(members: Iterable[Member], shares: Mapping[str, float] = SHARES, *, seed: int = 0) -> dict[str, str]:
    """Return the split of every id: in each class the shares, rounded, of a permutation by a hash of (seed, id).

    Depends neither on the order of the items nor on other classes. A class of three or more items is in every split;
    of two, in the first and the last; of one, in the first. With groups, whole groups are dealt out, the largest first,
    each to the split that lacks most of its classes: the shares are then approximate, and a class may miss a split.
    Without groups, items of the same file go where the first of them goes.
    """
    members = list(members)
    if any(member.group is not None for member in members):
        return _by_group(_joined(members), shares, seed)
    firsts: dict[int, Member] = {}
    for member in sorted(members, key=lambda member: (_rank(seed, member.id), member.id)):
        firsts.setdefault(member.same, member)
    alone = [member for member in members if member.same < 0 or firsts[member.same] == member]
    found = _by_class(alone, shares, seed)
    return found | {member.id: found[firsts[member.same].id] for member in members if member.same >= 0}


def linked_files(images: Sequence[Path | None], sounds: Sequence[Path | None]) -> list[int]:
    """Return a number an item, equal where the image or the sound is the same file, also through others; else -1.

    Silent sounds are not the same.
    """
    sound = without_silence(same_content(lambda: sounds), lambda: sounds)
    groups: list[int] = linked([same_content(lambda: images), sound]).tolist() if images else []
    return groups


def _by_class(members: Sequence[Member], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    classes = defaultdict(list)
    for member in members:
        classes[member.label].append(member.id)
    found: dict[str, str] = {}
    for ids in classes.values():
        ids.sort(key=lambda name: (_rank(seed, name), name))
        start = 0
        for split, count in _quotas(len(ids), shares).items():
            found |= dict.fromkeys(ids[start : start + count], split)
            start += count
    return found


def completed(members: Sequence[Member], given: Sequence[str | None], what: str) -> tuple[list[str | None], list[str]]:
    """Return a split for every member, and notes on those that were not the set's own. Raises DataError.

    None given: 60/20/20. Train and test given: a fifth of train becomes val. Train and val given: val is the test (as
    users of such sets do), and a fifth of train becomes val. Items without a split beside others with one keep None.
    """
    present = {split for split in given if split is not None}
    if present <= {"train"}:
        refuse_single(members, what)
        made = stratified(members)
        notes = ["all items are in train: divided anew, 60/20/20 a class"] if present else []
        if small := _classes_of(2, members):
            notes.append(f"classes of two items are in train and test, not in val: {listed(small, 8)}")
        return [made[member.id] for member in members], notes
    if "train" not in present:
        raise DataError(f"{what} has items in {listed(sorted(present))} and none in train; add training items")
    splits, notes = list(given), []
    if "test" not in present:
        splits = ["test" if split == "val" else split for split in splits]
        notes.append("it has no test split with labels: its val split is the test here")
    if "val" not in splits:
        train = [member for member, split in zip(members, splits, strict=True) if split == "train"]
        made = stratified(train, {"train": 1 - _VAL_OF_TRAIN, "val": _VAL_OF_TRAIN})
        splits = [made[m.id] if split == "train" else split for m, split in zip(members, splits, strict=True)]
        notes.append(f"it has no further split to choose by: a fifth of train ({splits.count('val')} items) is val")
    if None in splits:
        notes.append(f"{splits.count(None)} items have no split and are used in none")
    return splits, notes


def refuse_single(members: Iterable[Member], what: str) -> None:
    """Raise DataError when a class has one item alone, which cannot be both in train and in test."""
    single = _classes_of(1, members)
    if single:
        raise DataError(
            f"{what}: {'class' if len(single) == 1 else 'classes'} {listed(single, 8)} of one item alone cannot be in "
            "train, val and test; add items (3 or more), take the class out, or give a split of your own"
        )


def _classes_of(size: int, members: Iterable[Member]) -> list[str]:
    """Return the classes of so many items."""
    return sorted(name for name, count in Counter(member.label for member in members).items() if count == size)


def _quotas(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return how many of `count` items go to each split; the first split takes what rounding leaves."""
    first, *others = shares
    if count < len(shares):
        kept = [first, *reversed(others)][:count]
        return {split: int(split in kept) for split in shares}
    quotas = {split: max(1, round(shares[split] * count)) for split in others}
    return {first: count - sum(quotas.values())} | quotas


def _joined(members: Sequence[Member]) -> list[Member]:
    """Return the members with one group for all that are linked by a group or by the same file."""
    names = {name: number for number, name in enumerate(sorted({member.group or "" for member in members}))}
    groups = np.array([-1 if member.group is None else names[member.group] for member in members], np.int64)
    joined = linked([groups, np.array([member.same for member in members], np.int64)])
    first: dict[int, str] = {}
    file_of: dict[int, str] = {}  # by the least id, whatever the order of the items
    for member, number in zip(members, joined.tolist(), strict=True):
        file_of[number] = min(file_of.get(number, member.id), member.id)
        if number >= 0 and member.group is not None:
            first[number] = min(first.get(number, member.group), member.group)
    return [
        member._replace(group=first.get(number, member.group if number < 0 else f"file of {file_of[number]}"))
        for member, number in zip(members, joined.tolist(), strict=True)
    ]


def _by_group(members: Sequence[Member], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    groups: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        groups[member.id if member.group is None else f"\0{member.group}"].append(member)
    wanted = Counter(member.label for member in members)
    given: dict[str, Counter[str]] = {split: Counter() for split in shares}
    found: dict[str, str] = {}
    for name in sorted(groups, key=lambda name: (-len(groups[name]), _rank(seed, name), name)):
        inside = Counter(member.label for member in groups[name])
        split = max(shares, key=lambda split: _need(inside, wanted, given[split], shares[split]))
        given[split] += inside
        found |= {member.id: split for member in groups[name]}
    return found


def _need(inside: Counter[str], wanted: Counter[str], given: Counter[str], share: float) -> tuple[int, float]:
    """Return how much a split needs a group: the classes that only the group would bring, then the lacking items."""
    new = sum(1 for label in inside if not given[label])
    lacking = sum(count * (share * wanted[label] - given[label]) / wanted[label] for label, count in inside.items())
    return new, lacking


def _rank(seed: int, name: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


# Splits in text files beside the images: NAME-train.txt, NAME-val.txt, NAME-test.txt, a file name a line.
_LIST = re.compile(r"(.+)-(train|val|test)\.txt")


def with_split_lists(path: Path, items: Sequence[LabelledItem]) -> tuple[list[LabelledItem], list[str]]:
    """Return items with the splits of the lists in a folder, and notes on what does not match; unchanged without lists.

    Lists name files with or without folders; suffixes do not count (some lists say .jpg of .tif files). Where there are
    several kinds of lists, that with the shortest name counts, and the others are named. Raises DataError.
    """
    families: dict[str, dict[str, Path]] = defaultdict(dict)
    for file in files(path):
        if (parts := _LIST.fullmatch(file.name)) is not None:
            families[parts[1]][parts[2]] = file
    families = {name: lists for name, lists in families.items() if "train" in lists and len(lists) > 1}
    if not families:
        return list(items), []
    name, *others = sorted(families, key=lambda family: (len(family), family))
    splits = _split_of_stem(families[name])
    stems = Counter(_stem(item.id) for item in items)
    if twice := sorted(stem for stem in splits if stems[stem] > 1):
        return list(items), [f"lists of splits are not used: several files are called {listed(twice, 3)}"]
    unused = f", not by {listed([f'{other}-train.txt' for other in sorted(others)])}" if others else ""
    notes = [f"divided by the lists {name}-train.txt and so on{unused}"]
    if lost := sorted(splits.keys() - stems.keys()):
        notes.append(f"{len(lost)} names in the lists have no file: {listed(lost, 5)}")
    return [replace(item, split=splits.get(_stem(item.id))) for item in items], notes


def _split_of_stem(lists: Mapping[str, Path]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split, file in lists.items():
        try:
            lines = regular_file(file).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: {error}; a text file with a file name a line was expected") from error
        for stem in (_stem(line.strip()) for line in lines if line.strip()):
            if splits.setdefault(stem, split) != split:
                raise DataError(f"{file.parent}: {stem!r} is in the lists of {splits[stem]} and {split}; one expected")
    return splits


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


@dataclass(frozen=True, slots=True)
class Published:
    """A set's own title, its figures, its layout in one line, and the names its folder goes by (small, no marks)."""

    title: str
    classes: int
    items: int
    layout: str
    folders: tuple[str, ...]
    unit: str = "images"

    def differences(self, classes: int, items: int) -> list[str]:
        """Return a line when the classes or items found are not as many as published."""
        if (classes, items) == (self.classes, self.items):
            return []
        return [
            f"{self.title} was published with {self.classes} classes and {self.items:,} {self.unit}, "
            f"found {classes} and {items:,}"
        ]


#: Classes of images or sounds; sources: the papers and release pages named in docs/labelled-data.md.
LABELLED: dict[str, Published] = {
    "ucmerced": Published(
        "UC Merced Land Use", 21, 2_100, "Images/CLASS/*.tif", ("ucmerced", "ucmercedlanduse", "ucm")
    ),
    "resisc45": Published("NWPU-RESISC45", 45, 31_500, "CLASS/*.jpg", ("resisc45", "nwpuresisc45")),
    "aid": Published("AID", 30, 10_000, "CLASS/*.jpg", ("aid", "aiddataset")),
    "eurosat": Published("EuroSAT", 10, 27_000, "CLASS/*.jpg", ("eurosat", "eurosatrgb", "2750")),
    "rsscn7": Published("RSSCN7", 7, 2_800, "CLASS/*.jpg", ("rsscn7", "rsscn7master")),
    "advance": Published(
        "ADVANCE", 13, 5_075, "vision/CLASS/NAME.jpg beside sound/CLASS/NAME.wav (or .npy)", ("advance",), "pairs"
    ),
    "esc50": Published("ESC-50", 50, 2_000, "audio/*.wav and meta/esc50.csv", ("esc50", "esc50master"), "sounds"),
    "urbansound8k": Published(
        "UrbanSound8K", 10, 8_732, "audio/fold1..10/*.wav and metadata/UrbanSound8K.csv", ("urbansound8k",), "sounds"
    ),
}  # fmt: skip

#: Images with masks; counted are images whose masks were published.
MASKED: dict[str, Published] = {
    "deepglobe": Published(
        "DeepGlobe land cover", 6, 803, "train/ID_sat.jpg beside train/ID_mask.png", ("deepglobe",), "masks"
    ),
    "loveda": Published(
        "LoveDA", 7, 4_191, "Train|Val|Test/Urban|Rural/images_png/*.png and masks_png/*.png", ("loveda",), "masks"
    ),
    "potsdam": Published(
        "ISPRS Potsdam", 6, 38, "2_Ortho_RGB/top_potsdam_R_C_RGB.tif and 5_Labels_all/top_potsdam_R_C_label.tif",
        ("potsdam",), "masks",
    ),
    "vaihingen": Published(
        "ISPRS Vaihingen", 6, 33, "top/top_mosaic_09cm_areaN.tif and a folder of ground truth with the same names",
        ("vaihingen",), "masks",
    ),
}  # fmt: skip


def known_set(name: str, sets: dict[str, Published]) -> str:
    """Return the key of a set that was asked for by name. Raises ConfigError for an unknown one."""
    key = _plain(name)
    for known, published in sets.items():
        if key in (_plain(known), *published.folders):
            return known
    raise ConfigError(f"dataset {name!r:.60} is unknown; {did_you_mean(key, sets)}known: {', '.join(sets)}")


def recognised(folder: Path, sets: dict[str, Published]) -> str | None:
    """Return the key of the set whose name the folder, or file's folder, bears; None for others."""
    key = _plain(folder.resolve().name)
    return next((known for known, published in sets.items() if key in published.folders), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def overlapping(items: Iterable[MaskedItem]) -> list[str]:
    """Return one note that counts and names pairs of images in different splits whose rectangles overlap, or no note.

    Only GeoTIFFs with a place are compared, within one coordinate system each, by a sweep from west to east.
    """
    systems = defaultdict[str, list[_Placed]](list)
    for item in items:
        if item.split is not None and item.image.suffix.lower() in (".tif", ".tiff"):
            system, bounds = _placed(item.image)
            if system is not None:
                systems[system].append((item, bounds))
    pairs = [f"{a.id} and {b.id}" for placed in systems.values() for a, b in _crossing(placed)]
    if not pairs:
        return []
    what = "images of different splits overlap on the ground, which flatters every figure"
    return [f"{what}: {len(pairs)} pairs, such as {'; '.join(pairs[:3])}"]


_Placed = tuple[MaskedItem, Any]  # an item and its rectangle, in the units of its coordinate system


def _crossing(placed: list[_Placed]) -> Iterator[tuple[MaskedItem, MaskedItem]]:
    """Yield the pairs of different splits that share more than an edge."""
    active: list[_Placed] = []
    for item, box in sorted(placed, key=lambda one: one[1].left):
        active = [other for other in active if other[1].right > box.left]
        for other, beside in active:
            if other.split != item.split and beside.bottom < box.top and box.bottom < beside.top:
                yield other, item
        active.append((item, box))


def _placed(image: Path) -> tuple[str | None, Any]:
    """Return the coordinate system and the rectangle of a file; None where it has none or cannot be read."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    from earthtone.signal.raster import warnings_as

    try:
        with warnings_as("ignore", NotGeoreferencedWarning), rasterio.open(image, driver="GTiff") as file:
            return None if file.crs is None else str(file.crs), file.bounds
    except RasterioIOError:  # the task that reads it counts it and names it
        return None, None


_LOG = logging.getLogger(__name__)


def finished(
    path: Path, name: str, loaded: LoadedItems[LabelledItem], published: Published | None = None
) -> LabelledSet:
    """Return the set of what was loaded, sorted by class and file, every item with a split or fold. Raises DataError.

    What differs from the published set, and labels that train or test lack, become warnings and log lines.
    """
    if not loaded.items:
        raise DataError(
            f"{path}: no labelled item found; {'; '.join(loaded.notes) or 'images or sounds were expected'}"
        )
    items = sorted(loaded.items, key=lambda item: (item.label, str(item.image or item.audio)))
    refuse_same_ids(path, items)
    labels = {item.label for item in items}
    _refuse_case_twins(path, labels)
    notes = [*loaded.notes]
    if published is not None:
        notes += published.differences(len(labels), len(items))
    if not all(item.fold is not None for item in items):
        splits, more, same = divided(path, items)
        items = [replace(item, split=split) for item, split in zip(items, splits, strict=True)]
        notes += more + _same_files(same, splits) + _lacking_labels(items)
    return LabelledSet(name, tuple(items), logged(path, notes))


def logged(path: Path, notes: Sequence[str]) -> tuple[str, ...]:
    """Log what there is to know of a set, and return it."""
    for note in notes:
        _LOG.warning("%s: %s", path, note)
    return tuple(notes)


def refuse_same_ids(path: Path, items: Sequence[Item]) -> None:
    """Raise DataError where two items have one id."""
    twice = sorted(name for name, count in Counter(item.id for item in items).items() if count > 1)
    if twice:
        raise DataError(f"{path}: ids occur twice: {listed(twice, 5)}; every item needs its own")


def _refuse_case_twins(path: Path, labels: set[str]) -> None:
    """Raise DataError when two classes differ by case or outer spaces alone: they are nearly always one."""
    twins = defaultdict(list)
    for label in sorted(labels):
        twins[label.strip().casefold()].append(label)
    for same in twins.values():
        if len(same) > 1:
            raise DataError(f"{path}: classes {listed(same)} differ by case or spaces alone; rename all but one")


def divided(path: Path, items: Sequence[LabelledItem]) -> tuple[list[str | None], list[str], list[int]]:
    """Return a split for every item, notes on it, and a number each, equal for items of one file (else negative).

    Files are compared only where splits are missing.
    """
    same = [-1] * len(items)
    if not {item.split for item in items} >= set(SPLITS):
        same = linked_files([item.image for item in items], [item.audio for item in items])
    members = [Member(item.id, item.label, item.group, number) for item, number in zip(items, same, strict=True)]
    return *completed(members, [item.split for item in items], str(path)), same


def _same_files(same: Sequence[int], splits: Sequence[str | None]) -> list[str]:
    """Return a note on items of one file, whose splits may differ where those of the set itself do; or no note."""
    codes = np.array([split_code(split) for split in splits], np.int64)
    torn = len(in_several(np.array(same, np.int64)[codes != NONE], codes[codes != NONE]))
    where = f", {torn} groups of them in several splits" if torn else "; they are in one split each"
    count = sum(number >= 0 for number in same)
    return [f"{count} items have the same image or sound as others{where}"] if count else []


def _lacking_labels(items: Sequence[LabelledItem]) -> list[str]:
    """Return notes on classes that one split has and another lacks."""
    train, val, test = ({item.label for item in items if item.split == split} for split in SPLITS)
    notes = [
        f"classes in {split} that train lacks, which no model can learn: {listed(sorted(labels - train), 8)}"
        for split, labels in (("val", val), ("test", test))
        if labels - train
    ]
    if test and train - test:
        notes.append(f"classes in train that test lacks, which no figure covers: {listed(sorted(train - test), 8)}")
    return notes

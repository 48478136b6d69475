"""Labelled items: which files they are, their splits, what was published about their set."""

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from earthtone.data.dealing import linked, same_content, without_silence
from earthtone.data.manifest import listed
from earthtone.errors import ConfigError, DataError, did_you_mean
from earthtone.files import regular_file


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """One item and its class; `group` names what must not be divided between splits, such as one recording."""

    id: str
    label: str
    image: Path | None = None
    audio: Path | None = None
    split: str | None = None
    """train, val or test; for sets with folds `fold` says more."""
    fold: int | None = None
    """The official fold, from 1."""
    group: str | None = None
    image_gsd_m: float | None = None
    """Metres a pixel of the image, where known; models with `scale_input` are told them."""


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


IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2", ".gif")
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aac", ".m4a")
SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


def folders(path: Path) -> list[Path]:
    """Return the folders inside a folder, by name; hidden ones and those that archivers leave are passed over."""
    return sorted(child for child in children(path) if child.is_dir())


def files(path: Path) -> list[Path]:
    """Return the files inside a folder, by name, without hidden ones."""
    return sorted(child for child in children(path) if child.is_file())


def children(path: Path) -> Iterator[Path]:
    """Yield what is visible inside a folder. Raises DataError."""
    try:
        yield from (child for child in path.iterdir() if not child.name.startswith((".", "__")))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a readable folder was expected") from error


def kind(path: Path) -> str | None:
    """Return "image" or "audio" by a file's suffix; None for others."""
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGES else "audio" if suffix in SOUNDS else None


def counted(count: int, what: str, names: list[str]) -> list[str]:
    """Return a note such as `3 files ...: 'a', 'b', 'c'`, or no note."""
    return [f"{count} {what}: {listed(sorted(names), 5)}"] if count else []


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
        return [made[member.id] for member in members], notes + _small_classes(members)
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
    single = [label for label, count in sorted(Counter(member.label for member in members).items()) if count == 1]
    if single:
        raise DataError(
            f"{what}: {'class' if len(single) == 1 else 'classes'} {listed(single, 8)} of one item alone cannot be in "
            "train, val and test; add items (3 or more), take the class out, or give a split of your own"
        )


def _small_classes(members: Sequence[Member]) -> list[str]:
    small = [label for label, count in sorted(Counter(member.label for member in members).items()) if count == 2]
    return [f"classes of two items are in train and test, not in val: {listed(small, 8)}"] if small else []


def _quotas(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return how many of `count` items go to each split; the first split takes what rounding leaves."""
    first, *others = shares
    if count < len(shares):
        kept = [first, *reversed(others)][:count]
        return {split: int(split in kept) for split in shares}
    quotas = {split: max(1, round(shares[split] * count)) for split in others}
    return {first: count - sum(quotas.values())} | quotas


def _joined(members: Sequence[Member]) -> list[Member]:
    """The members with one group for all that are linked by a group or by the same file."""
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
    families: dict[str, dict[str, Path]] = {}
    for file in files(path):
        parts = _LIST.fullmatch(file.name)
        if parts is not None:
            families.setdefault(parts[1], {})[parts[2]] = file
    families = {name: lists for name, lists in families.items() if "train" in lists and len(lists) > 1}
    if not families:
        return list(items), []
    name = min(families, key=lambda family: (len(family), family))
    splits = _split_of_stem(families[name])
    return _matched(items, splits, _notes(name, families, items, splits))


def _split_of_stem(lists: Mapping[str, Path]) -> dict[str, str]:
    found: dict[str, str] = {}
    for split, file in lists.items():
        try:
            lines = regular_file(file).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: {error}; a text file with a file name a line was expected") from error
        for stem in (_stem(line.strip()) for line in lines if line.strip()):
            if found.setdefault(stem, split) != split:
                raise DataError(f"{file.parent}: {stem!r} is in the lists of {found[stem]} and {split}; one expected")
    return found


def _notes(
    name: str, families: Mapping[str, object], items: Sequence[LabelledItem], splits: Mapping[str, str]
) -> list[str]:
    notes = [f"divided by the lists {name}-train.txt and so on" + _others(name, families)]
    lost = [*splits.keys() - {_stem(item.id) for item in items}]
    if lost:
        notes.append(f"{len(lost)} names in the lists have no file: {listed(sorted(lost), 5)}")
    return notes


def _others(name: str, families: Mapping[str, object]) -> str:
    others = sorted(families.keys() - {name})
    return f", not by {listed([f'{other}-train.txt' for other in others])}" if others else ""


def _matched(
    items: Sequence[LabelledItem], splits: Mapping[str, str], notes: list[str]
) -> tuple[list[LabelledItem], list[str]]:
    stems = Counter(_stem(item.id) for item in items)
    twice = [stem for stem in splits if stems[stem] > 1]
    if twice:
        return list(items), [f"lists of splits are not used: several files are called {listed(sorted(twice), 3)}"]
    return [replace(item, split=splits.get(_stem(item.id))) for item in items], notes


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


_TIFF = (".tif", ".tiff")


class _Extent(NamedTuple):
    """An image's rectangle in the units of its coordinate system."""

    item: MaskedItem
    left: float
    bottom: float
    right: float
    top: float


def overlapping(items: Iterable[MaskedItem]) -> list[str]:
    """Return one note that counts and names pairs of images in different splits whose rectangles overlap, or no note.

    Only GeoTIFFs with a place are compared, within one coordinate system each, by a sweep from west to east.
    """
    systems: dict[str, list[_Extent]] = {}
    for item in items:
        if item.split is not None and item.image.suffix.lower() in _TIFF:
            placed = _extent(item)
            if placed is not None:
                systems.setdefault(placed[0], []).append(placed[1])
    pairs = [f"{a.item.id} and {b.item.id}" for extents in systems.values() for a, b in _crossing(extents)]
    if not pairs:
        return []
    what = "images of different splits overlap on the ground, which flatters every figure"
    return [f"{what}: {len(pairs)} pairs, such as {'; '.join(pairs[:3])}"]


def _crossing(extents: list[_Extent]) -> Iterable[tuple[_Extent, _Extent]]:
    """Yield the pairs of different splits that share more than an edge."""
    extents = sorted(extents, key=lambda extent: extent.left)
    active: list[_Extent] = []
    for extent in extents:
        active = [other for other in active if other.right > extent.left]
        for other in active:
            if other.item.split != extent.item.split and other.bottom < extent.top and extent.bottom < other.top:
                yield other, extent
        active.append(extent)


def _extent(item: MaskedItem) -> tuple[str, _Extent] | None:
    """Return the coordinate system and the rectangle of a file, None where it has none or cannot be read."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    from earthtone.signal.raster import warnings_as

    try:
        with warnings_as("ignore", NotGeoreferencedWarning), rasterio.open(Path(item.image), driver="GTiff") as file:
            if file.crs is None:
                return None
            bounds = file.bounds
            return str(file.crs), _Extent(item, bounds.left, bounds.bottom, bounds.right, bounds.top)
    except RasterioIOError:  # the task that reads it counts it and names it
        return None


_LOG = logging.getLogger(__name__)


@dataclass
class Found:
    """What a loader found: items in any order, and what it has to say about the rest."""

    items: list[LabelledItem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def finished(path: Path, name: str, found: Found, published: Published | None = None) -> LabelledSet:
    """Return the set of what was found, sorted by class and file, every item with a split or a fold. Raises DataError.

    What differs from the published set, and labels that train or test lack, become warnings and log lines.
    """
    if not found.items:
        raise DataError(f"{path}: no labelled item found; {'; '.join(found.notes) or 'images or sounds were expected'}")
    items = sorted(found.items, key=lambda item: (item.label, str(item.image or item.audio)))
    _refuse_same_ids(path, items)
    refuse_case_twins(path, {item.label for item in items})
    notes = [*found.notes]
    if published is not None:
        notes += published.differences(len({item.label for item in items}), len(items))
    if not all(item.fold is not None for item in items):
        items, more = _with_splits(path, items)
        notes += more
    for note in notes:
        _LOG.warning("%s: %s", path, note)
    return LabelledSet(name, tuple(items), tuple(notes))


def refuse_case_twins(path: Path, labels: set[str]) -> None:
    """Raise DataError when two classes differ by case or outer spaces alone: they are nearly always one."""
    twins = defaultdict(list)
    for label in sorted(labels):
        twins[label.strip().casefold()].append(label)
    for same in twins.values():
        if len(same) > 1:
            raise DataError(f"{path}: classes {listed(same)} differ by case or spaces alone; rename all but one")


def _refuse_same_ids(path: Path, items: Sequence[LabelledItem]) -> None:
    counts = Counter(item.id for item in items)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise DataError(f"{path}: ids occur twice: {listed(twice, 5)}; every item needs its own")


def _torn(same: Sequence[int], splits: Sequence[str | None]) -> str:
    """How many of the groups of identical items lie in several splits, which those of the set itself may do."""
    inside = defaultdict(set)
    for number, split in zip(same, splits, strict=True):
        if number >= 0 and split is not None:
            inside[number].add(split)
    torn = sum(len(found) > 1 for found in inside.values())
    return f", {torn} groups of them in several splits" if torn else "; they are in one split each"


def _with_splits(path: Path, items: list[LabelledItem]) -> tuple[list[LabelledItem], list[str]]:
    dealt = not {item.split for item in items} >= {"train", "val", "test"}
    same = linked_files([item.image for item in items], [item.audio for item in items]) if dealt else [-1] * len(items)
    members = [Member(item.id, item.label, item.group, number) for item, number in zip(items, same, strict=True)]
    splits, notes = completed(members, [item.split for item in items], str(path))
    if count := sum(number >= 0 for number in same):
        notes.append(f"{count} items have the same image or sound as others{_torn(same, splits)}")
    items = [replace(item, split=split) for item, split in zip(items, splits, strict=True)]
    labels = {split: {item.label for item in items if item.split == split} for split in ("train", "val", "test")}
    for split in ("val", "test"):
        unknown = sorted(labels[split] - labels["train"])
        if unknown:
            notes.append(f"classes in {split} that train lacks, which no model can learn: {listed(unknown, 8)}")
    untested = sorted(labels["train"] - labels["test"])
    if untested and labels["test"]:
        notes.append(f"classes in train that test lacks, which no figure covers: {listed(untested, 8)}")
    return items, notes

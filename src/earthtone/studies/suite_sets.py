"""Which labelled sets lie below a folder, for which kind of task each is, and what its files are."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from earthtone.data.labelled import open_labelled, open_masked
from earthtone.data.labelled.classes import LAYOUTS, labelled_manifest
from earthtone.data.labelled.items import (
    LABELLED,
    MASKED,
    LabelledItem,
    LabelledSet,
    MaskedItem,
    MaskedSet,
    Published,
    folders,
    known_set,
    recognised,
)
from earthtone.data.labelled.masked_sets import masked_manifest
from earthtone.encode.store import file_state
from earthtone.errors import ConfigError, DataError, did_you_mean

IMAGES, SOUNDS, PAIRS, MASKS = "images", "sounds", "pairs", "masks"
#: Of the named sets, those that are not images with a class each.
_KINDS = {"advance": PAIRS, "esc50": SOUNDS, "urbansound8k": SOUNDS, **dict.fromkeys(MASKED, MASKS)}


@dataclass(frozen=True)
class FoundSet:
    """One data set in its folder."""

    name: str
    """As the table shows it: its published name, or its folder's."""
    path: Path
    known: str | None
    """Its published name."""
    kind: str
    """`images`, `sounds`, `pairs` of both, or `masks`."""
    data: LabelledSet | MaskedSet
    fingerprint: str
    """Of ids, labels, splits and files; not of where they lie."""

    @cached_property
    def groups(self) -> Mapping[str, str] | None:
        """Return the group of each item that has one, by id; None without groups."""
        items = self.data.items if isinstance(self.data, LabelledSet) else ()
        return {item.id: item.group for item in items if item.group is not None} or None


@dataclass(frozen=True)
class Search:
    """What was found below a folder, and lines on all that was not."""

    sets: tuple[FoundSet, ...]
    missing: tuple[str, ...]
    """Named sets of the wanted kinds that are not there."""
    unusable: tuple[str, ...]
    """Sets that are there and cannot be opened, with the reason."""
    others: tuple[str, ...]
    """Folders that hold no labelled set."""

    root: Path
    """Where it was looked for."""

    def remarks(self) -> list[str]:
        """Return a line on the sets that are not there, and one on the folders that hold none."""
        missing = [f"not found under {self.root}: {', '.join(self.missing)}"]
        aside = [f"left aside, neither a named set nor a manifest with labels or masks: {', '.join(self.others)}"]
        return [*(missing if self.missing else []), *(aside if self.others else [])]

    def lines(self) -> list[str]:
        """Return a line for each set that is missing or cannot be opened, and the remarks."""
        missing = [f"{name}: not found under {self.root}" for name in self.missing]
        return [*missing, *self.unusable, *self.remarks()[bool(missing) :]]


def find_sets(root: Path, kinds: Iterable[str], names: Sequence[str] = ()) -> Search:
    """Return the sets of these kinds in the folders directly below `root`, by name.

    A set is known by its folder's name (`UCMerced_LandUse`, also with a size behind it: `deepglobe256`) or layout; a
    folder with a manifest that has labels or masks is one too. `names` chooses some. Nothing is decoded. Raises
    DataError without a folder, ConfigError for a name that is neither known nor there.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; one with a folder a data set was expected: --data_root FOLDER")
    wanted = [_checked_name(root, name) for name in names]
    kinds = set(kinds)
    sets: list[FoundSet] = []
    unusable, others = [], []
    for folder in folders(root):
        known, masked = _recognise(folder)
        if wanted and not {folder.name, known} & set(wanted):
            continue
        if masked is None:
            others.append(folder.name)
            continue
        if known is not None and _KINDS.get(known, IMAGES) not in kinds:
            continue  # as large sets are not to be listed for nothing
        try:
            found = _opened(folder, known, masked)
        except DataError as error:
            unusable.append(f"{known or folder.name}: cannot be opened: {error}")
            continue
        if found.kind in kinds:
            sets.append(found)
    there = {found.known for found in sets} | {line.split(":")[0] for line in unusable}
    missing = [
        name
        for name in (*LABELLED, *MASKED)
        if name not in there and _KINDS.get(name, IMAGES) in kinds and (not wanted or name in wanted)
    ]
    return Search(_unique_names(sets), tuple(missing), tuple(unusable), tuple(others), root)


def set_fingerprint(data: LabelledSet | MaskedSet) -> str:
    """Return a hash of ids, labels, splits, folds, groups, colours, and of what all files are."""
    digest = hashlib.blake2b(digest_size=16)
    for item in data.items:
        digest.update(repr(_item_identity(item)).encode("utf-8", "surrogateescape"))
    if isinstance(data, MaskedSet):
        palette = data.palette
        values, colours = sorted(palette.values.items()), sorted(palette.colours.items())
        identity = (palette.names, values, colours, palette.binarised), sorted(map(str, palette.ignored))
        digest.update(repr(identity).encode())
    return digest.hexdigest()


def _item_identity(item: LabelledItem | MaskedItem) -> tuple[object, ...]:
    if isinstance(item, MaskedItem):
        return (item.id, item.split, file_state(item.image), file_state(item.mask))
    pixel = () if item.image_gsd_m is None else (item.image_gsd_m,)
    files = file_state(item.image), file_state(item.audio)
    return (item.id, item.label, item.split, item.fold, item.group, *files, *pixel, *(item.seconds or ()))


def _checked_name(root: Path, name: str) -> str:
    if (root / name).is_dir() and Path(name).name == name:
        return name
    try:
        return known_set(name, {**LABELLED, **MASKED})
    except ConfigError:
        there = [folder.name for folder in folders(root)]
        hint = did_you_mean(name, [*LABELLED, *MASKED, *there])
        raise ConfigError(
            f"--datasets {name}; {hint}a folder below {root} or one of {', '.join((*LABELLED, *MASKED))} expected"
        ) from None


def _recognise(folder: Path) -> tuple[str | None, bool | None]:
    """The published name if there is one, and whether it has masks; (None, None) for a folder of something else."""
    name = _by_name(folder, MASKED)
    if name is not None:
        return name, True
    layout = next((known for known, (fits, _) in LAYOUTS.items() if fits(folder)), None)
    name = layout or _by_name(folder, LABELLED)
    if name is not None:
        return name, False
    try:
        if masked_manifest(folder) is not None or {"images", "masks"} <= {inside.name for inside in folders(folder)}:
            return None, True
        return None, False if labelled_manifest(folder, None, None) is not None else None
    except DataError:
        return None, False  # its error is reported when it is opened


def _by_name(folder: Path, sets: dict[str, Published]) -> str | None:
    full = folder.resolve()
    shorter = full.name.rstrip("0123456789")
    return recognised(full, sets) or (recognised(full.with_name(shorter), sets) if shorter.strip("._- ") else None)


def _opened(folder: Path, known: str | None, masked: bool) -> FoundSet:
    data: LabelledSet | MaskedSet
    data = open_masked(folder, dataset=known) if masked else open_labelled(folder, dataset=known)
    if isinstance(data, MaskedSet):
        kind = MASKS
    else:
        images, sounds = (any(getattr(item, name) is not None for item in data.items) for name in ("image", "audio"))
        kind = PAIRS if images and sounds else SOUNDS if sounds else IMAGES
    return FoundSet(known or folder.name, folder, known, kind, data, set_fingerprint(data))


def _unique_names(sets: list[FoundSet]) -> tuple[FoundSet, ...]:
    """The sets by name; those of one name get their folder's behind it."""
    names = [found.name for found in sets]
    unique = (
        replace(found, name=f"{found.name} ({found.path.name})") if names.count(found.name) > 1 else found
        for found in sets
    )
    return tuple(sorted(unique, key=lambda found: found.name))

"""The last steps of every loader of a labelled set: order, published figures, splits, warnings."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from earthtone.data.datasets.published import Published
from earthtone.data.datasets.splits import Member, completed, linked_files
from earthtone.data.labelled import LabelledItem, LabelledSet
from earthtone.data.manifest import listed
from earthtone.errors import DataError

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

"""The last steps of every loader of a set with masks: order, published figures, splits, warnings."""

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from earthtone.data.datasets.overlap import overlapping
from earthtone.data.datasets.published import Published
from earthtone.data.datasets.splits import Member, completed, linked_files
from earthtone.data.labelled import MaskedItem, MaskedSet, Palette
from earthtone.data.manifest import listed
from earthtone.errors import DataError

_LOG = logging.getLogger(__name__)


@dataclass
class FoundMasks:
    """What a loader found: images in any order, and what it has to say about the rest."""

    items: list[MaskedItem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def finished_masked(
    path: Path, name: str, found: FoundMasks, palette: Palette, published: Published | None = None
) -> MaskedSet:
    """Return the set of what was found, sorted by file; every image with a mask has a split. Raises DataError.

    Images without a mask have no split: only predictions can be made of them.
    """
    if not found.items:
        raise DataError(f"{path}: no image found; {'; '.join(found.notes) or 'images and masks were expected'}")
    items = sorted(found.items, key=lambda item: str(item.image))
    twice = sorted(name for name, count in Counter(item.id for item in items).items() if count > 1)
    if twice:
        raise DataError(f"{path}: ids occur twice: {listed(twice, 5)}; every image needs its own")
    masked = [item for item in items if item.mask is not None]
    notes = [*found.notes]
    if published is not None:
        notes += published.differences(len(palette.names), len(masked))
    if len(masked) < len(items):
        notes.append(f"{len(items) - len(masked)} images have no mask and are in no split")
    splits, more = _splits(path, masked)
    whole = tuple(replace(item, split=splits.get(item.id)) for item in items)
    notes += more + overlapping(whole)
    for note in notes:
        _LOG.warning("%s: %s", path, note)
    return MaskedSet(name, whole, palette, tuple(notes))


def _splits(path: Path, masked: list[MaskedItem]) -> tuple[dict[str, str | None], list[str]]:
    if len(masked) < 2 and not any(item.split for item in masked):
        return dict.fromkeys((item.id for item in masked), "test"), []  # one scene can be looked at, not learned from
    dealt = not {item.split for item in masked} >= {"train", "val", "test"}
    same = linked_files([item.image for item in masked], [None] * len(masked)) if dealt else [-1] * len(masked)
    members = [Member(item.id, "", None, number) for item, number in zip(masked, same, strict=True)]
    splits, notes = completed(members, [item.split for item in masked], str(path))
    return {member.id: split for member, split in zip(members, splits, strict=True)}, notes

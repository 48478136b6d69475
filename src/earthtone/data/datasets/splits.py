"""Train, val and test for sets that bring none: the same share of every class, decided by the items' ids alone."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from earthtone.data.links import linked, same_content, without_silence
from earthtone.data.manifest import listed
from earthtone.errors import DataError

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

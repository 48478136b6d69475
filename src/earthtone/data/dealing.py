"""Splits of rows that belong together: whole groups are dealt out, and rows packed before decide for their groups."""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthtone.data.hub import is_hub
from earthtone.data.links import is_id, linked, recording_id_columns, same_content, text_number, without_silence
from earthtone.data.pair import SPLITS, FileOrBytes, Pair
from earthtone.data.row import MEDIA
from earthtone.data.source import Source, items_skipping
from earthtone.progress import progress

NONE = len(SPLITS)  # the number of "in no split"

#: Numbers of `SPLITS`, or NONE, a row each.
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Dealt:
    """What came of dealing out N rows."""

    codes: Codes
    """(N,) of every row."""
    grouped: NDArray[np.bool_]
    """(N,) whether a row is linked to another one."""
    parted: int
    """How many rows are in no split because they link rows of several splits, which were not dealt out here."""


def deal(
    base: Codes, keys: Iterable[NDArray[np.int64]], order: NDArray[np.uint64], fixed: Codes, *, strict: bool
) -> Dealt:
    """Return the splits of N rows of which those of equal numbers in one of `keys` (N,) stay together, also via others.

    `base` (N,) is where each would go by itself, `fixed` where it is already (else NONE): by its own table, or packed.
    A group goes where its fixed rows are, else where its first row by `order` would go. A row that links fixed rows of
    several splits is in none. With `strict` no row is moved: one that would go elsewhere than its group is in none. The
    order of the rows does not matter.
    """
    keys = list(keys)
    group = linked(keys) if keys else np.full(len(base), -1)
    codes = np.where(fixed != NONE, fixed, base)
    rows = np.flatnonzero(group >= 0)
    rows = rows[np.lexsort((order[rows], group[rows]))]
    parted = 0
    for members in np.split(rows, np.flatnonzero(np.diff(group[rows])) + 1) if len(rows) else []:
        anchored = np.unique(fixed[members][fixed[members] != NONE])
        free = members[fixed[members] == NONE]
        if len(anchored) > 1:
            codes[free] = _between(members, fixed, keys)[np.isin(members, free)]
            parted += int((codes[free] == NONE).sum())
        else:
            placed = base[members][base[members] != NONE]
            codes[free] = anchored[0] if len(anchored) else placed[0] if len(placed) else NONE
        if strict:
            codes[free] = np.where(base[free] == codes[free], codes[free], NONE)
    return Dealt(codes, group >= 0, parted)


def _between(members: NDArray[np.int64], fixed: Codes, keys: list[NDArray[np.int64]]) -> Codes:
    """The splits of a group's rows, some of which are fixed in several splits: from neighbour to neighbour."""
    codes = fixed[members].copy()
    shared = [key[members] for key in keys]
    waiting: list[int] = np.flatnonzero(codes == NONE).tolist()
    seen: dict[tuple[int, int], set[int]] = {}

    def note(at: int) -> None:
        for number, key in enumerate(shared):
            if key[at] >= 0:
                seen.setdefault((number, int(key[at])), set()).add(int(codes[at]))

    for decided in np.flatnonzero(codes != NONE).tolist():
        note(decided)
    while waiting:
        left: list[int] = []
        for at in waiting:
            near = set().union(*(seen.get((number, int(key[at])), ()) for number, key in enumerate(shared)))
            if len(near) == 1:
                codes[at] = near.pop()
                note(at)
            elif not near:
                left.append(at)
        if len(left) == len(waiting):
            break  # they are linked through a row that is in no split
        waiting = left
    return codes


class SourceRows:
    """The rows of a source as dealing sees them; a pass over its table, and more where files must be compared.

    Memory is about 100 bytes a row.
    """

    def __init__(self, source: Source, base: Callable[[Pair], str | None], fixed: Callable[[Pair], str | None]) -> None:
        self._source = source
        ids, codes, there, placeless = array("Q"), array("B"), array("B"), array("B")
        columns = recording_id_columns(source.extra_columns)
        names = [array("q") for _ in columns]
        for pair in source_pairs(source):
            ids.append(id_number(pair.id))
            codes.append(split_code(base(pair)))
            there.append(split_code(fixed(pair)))
            placeless.append(pair.longitude is None or pair.latitude is None)
            for column, found in zip(columns, names, strict=True):
                found.append(text_number(pair.extra.get(column, "")))
        self.ids = np.array(ids, np.uint64)
        self.order = self.ids >> np.uint64(1) | np.array(placeless, np.uint64) << np.uint64(63)
        """Who decides for a group: the least of these numbers, which is that of a row with a place if there is one."""
        self.base, self.fixed = np.array(codes, np.uint8), np.array(there, np.uint8)
        numbers = [np.array(found, np.int64) for found in names]
        self._names = [found for name, found in zip(columns, numbers, strict=True) if is_id(name, found)]

    def keys(self) -> list[NDArray[np.int64]]:
        """Return the numbers (N,) that linked rows share: of image, recording, and each column of recordings' ids.

        Media that would have to be downloaded twice are not compared here; packing compares them as they come.
        """
        if is_hub(self._source.path):
            return self._names
        image, audio = same_content(lambda: self._media(*MEDIA)).reshape(-1, len(MEDIA)).T
        if not self._source.ready_spectrograms:
            audio = without_silence(audio, lambda: self._media("audio"))
        return [image, audio, *self._names]

    def _media(self, *names: str) -> Iterator[FileOrBytes | None]:
        return (getattr(pair, name) for pair in source_pairs(self._source, media=True) for name in names)


def source_pairs(source: Source, *, media: bool = False) -> Iterator[Pair]:
    """Yield the pairs that can be read, without their media where those are not wanted and that saves work."""
    items = iter(source) if media else items_skipping(source, lambda number, name: True)
    return (item for item in progress(items, total=len(source), label="split") if isinstance(item, Pair))


class Packed:
    """Which splits the images and recordings that are packed already lie in, by their hashes; about 250 bytes a row.

    What cannot be seen before files are decoded - a PNG and a BMP of the same pixels - and rows of other manifests in
    the same table are seen here: no row joins a split beside an identical one in another split.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def settle(self, split: str | None, hashes: Iterable[str], *, movable: bool) -> str | None:
        """Return the split of a new row with these hashes (empty: of nothing), and remember it.

        That is `split` where nothing identical lies elsewhere; the split of what is identical where the row is
        `movable`, and there is one such split; else none.
        """
        names = [name for name in hashes if name]
        near = 0
        for name in names:
            near |= self._seen.get(name, 0)
        if split is not None and near not in (0, _bit(split)):
            split = next((name for name in SPLITS if movable and near == _bit(name)), None)
        self.note(split, names)
        return split

    def note(self, split: str | None, hashes: Iterable[str]) -> None:
        """Remember a row that is where it is."""
        for name in hashes:
            if name and split is not None:
                self._seen[name] = self._seen.get(name, 0) | _bit(split)


def split_code(split: str | None) -> int:
    """Return the number of a split, NONE for none."""
    return NONE if split is None else SPLITS.index(split)


def split_of_code(code: int) -> str | None:
    """Return the split of a number."""
    return None if code == NONE else SPLITS[code]


def id_number(name: str) -> int:
    """Return 64 bits of an id."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _bit(split: str) -> int:
    return 1 << SPLITS.index(split)

"""Rows that belong together - one image, one recording, one id - found and dealt to one split.

Nothing is decoded, and hardly anything is read twice: files are the same when they are one file, or have one size and
then one hash.
"""

import hashlib
import io
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from earthtone.data.pair import MEDIA, SPLITS, FileOrBytes, Pair, is_unknown
from earthtone.data.remote import is_hub
from earthtone.data.source import Source, items_skipping
from earthtone.errors import DataError
from earthtone.files import content_digest, regular_file
from earthtone.progress import progress
from earthtone.signal.excerpt import Excerpt, source_of

Numbers = NDArray[np.int64]
#: Gives the same files or cells in the same order each time it is called; None where a row has none.
Media = Callable[[], Iterable[FileOrBytes | None]]

_SAMPLE = 4096  # bytes at the beginning, the middle and the end
_BLOCK = 65_536  # samples
_RECORDING_ID = re.compile(
    r"((source|parent|original)_)?(rec|recording|audio|sound|clip|freesound|fs|xc|xeno_canto)_?(id|nr|no|num|number|key)"
    r"|(source|parent|original)_(recording|audio|sound)|(group|recording_group)(_id)?|recording"
)


def recording_id_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns that by their names hold the id of a recording: `recording_id`, `audio_id`, `group` ..."""
    return tuple(name for name in names if _RECORDING_ID.fullmatch(re.sub(r"[\s.-]+", "_", name.strip().lower())))


def is_id(column: str, numbers: Numbers) -> bool:
    """Return whether a column that `recording_id_columns` found holds ids: `recording` and `group` may hold anything,
    such as the same word in most rows (numbers as of `text_number`)."""
    if column.strip().lower() not in ("recording", "group"):
        return True
    counts = np.unique(numbers[numbers >= 0], return_counts=True)[1]
    return len(numbers) < 4 or int(counts.max(initial=0)) <= len(numbers) / 2


def text_number(text: str) -> int:
    """Return 63 bits of a text; -1 where it says that there is none: an empty one, `NA`, `null`, `-` ..."""
    return -1 if is_unknown(text) else _number(text.strip().encode("utf-8", "surrogatepass"))


def same_content(media: Media) -> Numbers:
    """Return a number each, equal where the bytes are equal; -1 where there are none, or none that can be read.

    Reads the state of every file; 12 kB of those of one size; and whole only those that are equal in these. Memory is
    48 bytes each. Raises DataError when `media` gives another number of them the next time.
    """
    found, sizes = array("q"), array("q")
    for item in media():
        number, size = _first_look(item)
        found.append(number)
        sizes.append(size)
    numbers = np.array(found, np.int64)
    keys = np.array(sizes, np.int64)  # what files that may be equal share: at first their size
    for look in (_sampled, _whole):
        again = np.isin(keys, in_several(keys, numbers))  # the same file under two paths is one
        if not again.any():
            break
        # a file that is no other's size, or beginning, middle and end, is not looked at again
        for row, item in _numbered(media, len(numbers)):
            if again[row]:
                keys[row] = -1  # of what is no file any more, or none that can be read
                with suppress(OSError, ValueError):
                    keys[row] = look(item) if isinstance(item, Path) else -1
        if look is _whole:
            numbers = np.where(again, keys, numbers)
    return numbers


def linked(keys: Sequence[Numbers]) -> Numbers:
    """Return for N rows the number of their group, -1 for a row alone; each of `keys` (N,) links rows of equal numbers.

    Links count through others: a row that shares its image with one and its recording with another joins both. The
    number is that of the group's first row.
    """
    from scipy.sparse import coo_array  # slow to import
    from scipy.sparse.csgraph import connected_components

    count = len(keys[0])
    if count == 0:
        return np.empty(0, np.int64)
    links = []
    for key in keys:
        order = np.argsort(key, kind="stable")
        same = (key[order[1:]] == key[order[:-1]]) & (key[order[1:]] >= 0)
        links.append(np.stack([order[:-1][same], order[1:][same]]))
    pairs = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, first, of_row, sizes = np.unique(component, return_index=True, return_inverse=True, return_counts=True)
    return np.where(sizes[of_row] > 1, first[of_row], -1)


def without_silence(numbers: Numbers, media: Media) -> Numbers:
    """Return the numbers of recordings, -1 for silent ones: silence is equal to any other and links nothing.

    Only recordings that occur twice are looked at, one of each, and no further than to its first sound.
    """
    values, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    twice = (counts > 1) & (values >= 0)
    asked = dict(zip(first[twice].tolist(), values[twice].tolist(), strict=True))
    if not asked:
        return numbers
    looked = ((row, item) for row, item in _numbered(media, len(numbers)) if row in asked)
    silent = [asked[row] for row, item in looked if item is not None and is_silent(item)]
    return np.where(np.isin(numbers, silent), -1, numbers)


def is_silent(source: FileOrBytes) -> bool:
    """Return whether a recording is one value throughout, its channels mixed; False where it cannot be decoded."""
    first: np.float32 | None = None
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                mixed = block.mean(axis=1)
                first = mixed[0] if first is None else first
                if (mixed != first).any():
                    return False
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError):
        return False
    return first is not None


def _first_look(item: FileOrBytes | None) -> tuple[int, int]:
    """Return a number that is equal for one and the same file, and its size; of a cell its bytes' hash and no size."""
    if item is None:
        return -1, -1
    if not isinstance(item, Path):
        return (_number(b"bytes" + hashlib.blake2b(item, digest_size=16).digest()) if item else -1), -1
    try:
        state = item.stat()
    except (OSError, ValueError):
        return -1, -1
    if state.st_size == 0:
        return -1, -1
    return _number(f"file {state.st_dev} {state.st_ino}".encode()), state.st_size


def in_several(numbers: Numbers, parts: Numbers) -> Numbers:
    """Return those of `numbers` (N,) that occur in more than one of `parts` (N,); negative ones are nothing."""
    known = numbers >= 0
    pairs = np.unique(np.stack([numbers[known], parts[known]], axis=1), axis=0)
    found, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.asarray(found[counts > 1], np.int64)


def _numbered(media: Media, count: int) -> Iterator[tuple[int, FileOrBytes | None]]:
    row = -1
    for row, item in enumerate(media()):
        if row >= count:
            break
        yield row, item
    if row + 1 != count:
        raise DataError(f"the table changed while it was read: {count} rows before, now {row + 1}; try again at rest")


def _sampled(path: Path) -> int:
    """Return a hash of a file's size, beginning, middle and end. Raises OSError."""
    with regular_file(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        parts = [str(size).encode()]
        for at in (0, size // 2, max(0, size - _SAMPLE)):
            file.seek(at)
            parts.append(file.read(_SAMPLE))
    return _number(b"\0".join(parts))


def _whole(path: Path) -> int:
    """Return the number that a file's bytes have in a cell. Raises OSError."""
    return _number(b"bytes" + content_digest(path))


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


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
    """Return the splits of a group's rows, some of which are fixed in several splits: from neighbour to neighbour."""
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

    Memory is about 110 bytes a row.
    """

    def __init__(self, source: Source, base: Callable[[Pair], str | None], fixed: Callable[[Pair], str | None]) -> None:
        self._source = source
        ids, codes, there, placeless = array("Q"), array("B"), array("B"), array("B")
        columns = recording_id_columns(source.extra_columns)
        names = [array("q") for _ in columns]
        self._numbers = array("Q")
        for number, pair in numbered_pairs(source):
            self._numbers.append(number)
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

    def pairs(self) -> Iterator[Pair | None]:
        """Yield the N rows with their media; None for one that lacks a medium it needs."""
        return pairs_at(self._source, self._numbers, "split")

    def _media(self, *names: str) -> Iterator[FileOrBytes | None]:
        return (whole_medium(pair, name) for pair in self.pairs() for name in names)


def source_pairs(source: Source) -> Iterator[Pair]:
    """Yield the pairs that can be read, without their media where that saves work."""
    return (pair for _, pair in numbered_pairs(source))


def numbered_pairs(source: Source) -> Iterator[tuple[int, Pair]]:
    """Yield the same pairs, each with the number of its row."""
    items = items_skipping(source, lambda number, name: True)
    for number, item in enumerate(progress(items, total=len(source), label="split")):
        if isinstance(item, Pair):
            yield number, item


def pairs_at(source: Source, numbers: Sequence[int], label: str) -> Iterator[Pair | None]:
    """Yield the rows of these rising numbers with their media: one item a number, None for a row that has none.

    A row that is a pair while its media are not looked at can lack one of them.
    """
    at = 0
    for number, item in enumerate(progress(iter(source), total=len(source), label=label)):
        if at < len(numbers) and number == numbers[at]:
            at += 1
            yield item if isinstance(item, Pair) else None
    yield from [None] * (len(numbers) - at)  # of a table that has become shorter


def whole_medium(pair: Pair | None, name: str) -> FileOrBytes | None:
    """Return a pair's medium; of an excerpt the whole recording, since the excerpts of one belong together."""
    medium = None if pair is None else getattr(pair, name)
    return source_of(medium) if isinstance(medium, Excerpt) else medium


class PackedHashes:
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
        """Add a row that is where it is."""
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

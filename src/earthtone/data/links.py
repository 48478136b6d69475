"""Rows that belong together: with the same image, the same recording, or the same id of a recording.

Nothing is decoded, and hardly anything is read twice: files are the same when they are one file, or have one size and
then one hash.
"""

import hashlib
import io
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from earthtone.data.cell import is_unknown
from earthtone.data.pair import FileOrBytes
from earthtone.errors import DataError
from earthtone.files import content_digest, regular_file

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
        again = _in_question(numbers, keys)
        if not again.any():
            break
        # a file that is no other's size, or beginning, middle and end, is not looked at again
        for row, item in _numbered(media, len(numbers)):
            if again[row]:
                keys[row] = look(item)
        if look is _whole:
            numbers = np.where(again, keys, numbers)
    return numbers


def linked(keys: Sequence[Numbers]) -> Numbers:
    """Return for N rows the number of their group, -1 for a row alone; each of `keys` (N,) links rows of equal numbers.

    Links count through others: a row that shares its image with one and its recording with another joins both.
    """
    count = len(keys[0])
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for key in keys:
        order = np.argsort(key, kind="stable")
        same = (key[order[1:]] == key[order[:-1]]) & (key[order[1:]] >= 0)
        for at in np.flatnonzero(same):
            one, two = root(int(order[at])), root(int(order[at + 1]))
            parent[max(one, two)] = min(one, two)
    roots = np.array([root(row) for row in range(count)], np.int64)
    sizes = np.bincount(roots, minlength=count) if count else roots
    return np.where(sizes[roots] > 1, roots, -1) if count else roots


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
    """Return whether a recording is one value throughout, its channels mixed; False where that cannot be told."""
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
    """A number that is equal for one and the same file, and its size; of a cell the hash of its bytes and no size."""
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


def _in_question(numbers: Numbers, keys: Numbers) -> NDArray[np.bool_]:
    """Which files share their key with another file: the same file under two paths is none."""
    known = keys >= 0
    pairs = np.unique(np.stack([keys[known], numbers[known]], axis=1), axis=0)
    shared, counts = np.unique(pairs[:, 0], return_counts=True)
    found: NDArray[np.bool_] = known & np.isin(keys, shared[counts > 1])
    return found


def _numbered(media: Media, count: int) -> Iterator[tuple[int, FileOrBytes | None]]:
    row = -1
    for row, item in enumerate(media()):
        if row >= count:
            break
        yield row, item
    if row + 1 != count:
        raise DataError(f"the table changed while it was read: {count} rows before, now {row + 1}; try again at rest")


def _sampled(item: FileOrBytes | None) -> int:
    """A hash of a file's size, beginning, middle and end."""
    return _read(item, whole=False)


def _whole(item: FileOrBytes | None) -> int:
    """The number that the same bytes in a cell have."""
    return _read(item, whole=True)


def _read(item: FileOrBytes | None, *, whole: bool) -> int:
    if not isinstance(item, Path):
        return -1
    try:
        if whole:
            return _number(b"bytes" + content_digest(item))
        with regular_file(item).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            parts = [str(size).encode()]
            for place in (0, size // 2, max(0, size - _SAMPLE)):
                file.seek(place)
                parts.append(file.read(_SAMPLE))
            return _number(b"\0".join(parts))
    except (OSError, ValueError):
        return -1


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1

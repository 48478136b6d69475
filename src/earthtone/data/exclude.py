"""Rows that are to be in no split, since something else measures on them: a file of their ids and images, and who is
named by it.

A benchmark is made of published data, so a model that is trained on those has seen its answers. The file, a CSV, names
the benchmark's entries in any of these ways: `id`, further columns of the data, such as `mp3name`, and `image_hash`,
that of the whole picture's pixels. An entry may have several lines, which then share a value of `entry`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.data.grouped_split import SourceRows, linked, source_pairs
from earthtone.data.pair import FileOrBytes, Pair, is_unknown
from earthtone.data.remote import is_hub
from earthtone.data.source import Source
from earthtone.data.tables import CsvTable
from earthtone.errors import ConfigError, DataError, SignalError, did_you_mean, one_line
from earthtone.progress import decoding_threads, ordered_map
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import image_hash, read_picture

ENTRY = "entry"
IMAGE_HASH = "image_hash"
_SHOWN = 5


@dataclass(frozen=True)
class Exclusion:
    """The entries of a file."""

    path: Path
    digest: str
    """Of what is in it, whatever the order of its lines."""
    entries: tuple[str, ...]
    named: Mapping[str, Mapping[str, tuple[int, ...]]]
    """Column -> cell -> the numbers of the entries that have it."""

    @property
    def record(self) -> Mapping[str, object]:
        """What a packed table and a model's card tell of it."""
        return {"file": self.path.name, "entries": len(self.entries), "digest": self.digest}


@dataclass(frozen=True)
class ExcludedRows:
    """Which rows of a source are in no split."""

    rows: NDArray[np.bool_]
    """(N,) of the pairs that can be read, in their order; also those that share an image or a recording with one."""
    ids: NDArray[np.uint64]
    """(N,) `id_number` of each."""
    lines: tuple[str, ...]
    """What was matched, by what, and what was not: for `check`, `pack` and a log."""


def picture_hash(image: FileOrBytes) -> str | None:
    """Return the hash of a whole picture's pixels by which entries are found; None where it cannot be read."""
    try:
        return image_hash(read_picture(image, ImageConfig()).pixels)
    except SignalError:
        return None


def read_exclusion(path: str | Path) -> Exclusion:
    """Return the entries of a CSV file. Raises DataError where it is none, or names nothing."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; a CSV with a column id or {IMAGE_HASH} expected (--exclude)")
    table = CsvTable(path)
    columns = [name for name in table.columns if name != ENTRY]
    numbers: dict[str, int] = {}
    named: dict[str, dict[str, list[int]]] = {name: {} for name in columns}
    said = []
    for row in table.rows(table.columns):
        if row.fault is not None:
            raise DataError(f"{path}, {row.where}: {row.fault[1]}")
        cells = {name: str(row.cells[name]).strip() for name in table.columns}
        cells = {name: text for name, text in cells.items() if not is_unknown(text)}
        if not any(name in cells for name in columns):
            raise DataError(f"{path}, {row.where}: names nothing; an id, an {IMAGE_HASH} or both expected")
        number = numbers.setdefault(cells.get(ENTRY) or row.where, len(numbers))
        said.append("\0".join(f"{name}={cells[name]}" for name in sorted(cells)))
        for name in columns:
            if name in cells:
                named[name].setdefault(cells[name], []).append(number)
    if not numbers:
        raise DataError(f"{path}: no entry; a line for each row that is to be left out expected")
    digest = hashlib.blake2b("\n".join(sorted(said)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    cells_of = {name: {cell: tuple(found) for cell, found in cells.items()} for name, cells in named.items() if cells}
    return Exclusion(path, digest, tuple(numbers), cells_of)


def excluded_rows(exclusion: Exclusion, source: Source) -> ExcludedRows:
    """Return which rows of a source an exclusion names, and those that share an image or a recording with one.

    Each picture is decoded whole once, where pictures are named. Raises DataError for a column that the data lack, and
    ConfigError for pictures of the hub, which would be downloaded twice.
    """
    known = ("id", IMAGE_HASH, *source.extra_columns)
    for name in exclusion.named:
        if name not in known:
            raise DataError(
                f"{exclusion.path}: column {name!r:.80} is none of {source.path}; {did_you_mean(name, known)}"
                f"id, {IMAGE_HASH} or one of its own columns ({', '.join(source.extra_columns) or 'none'}) expected"
            )
    if IMAGE_HASH in exclusion.named and is_hub(source.path):
        raise ConfigError(
            f"{source.path}: its pictures would be downloaded twice to be compared with {exclusion.path}; download "
            f"them first, with earthtone fetch, or leave the column {IMAGE_HASH} out of that file"
        )
    found: dict[str, dict[int, list[int]]] = {name: {} for name in exclusion.named}  # column -> entry -> rows
    hit = []
    rows = SourceRows(source, lambda pair: None, lambda pair: None)
    for row, cells in enumerate(_cells(exclusion, source, rows)):
        entries = [(name, n) for name, cell in cells.items() for n in exclusion.named[name].get(cell or "", ())]
        for name, number in entries:
            found[name].setdefault(number, []).append(row)
        hit.append(bool(entries))
    named = np.array(hit, bool)
    group = linked(rows.keys()) if named.any() else np.full(len(named), -1)
    whole = named | ((group >= 0) & np.isin(group, group[named]))
    return ExcludedRows(whole, rows.ids, tuple(_lines(exclusion, found, named, whole)))


def _cells(exclusion: Exclusion, source: Source, rows: SourceRows) -> Iterator[Mapping[str, str | None]]:
    """Yield what each row has in the columns that are looked at."""
    others = [name for name in exclusion.named if name not in ("id", IMAGE_HASH)]
    pictures = IMAGE_HASH in exclusion.named

    def look(pair: Pair | None) -> Mapping[str, str | None]:
        if pair is None:  # it lacks a medium, and is left out anyhow
            return {}
        cells: dict[str, str | None] = {name: pair.extra.get(name, "").strip() for name in others}
        if "id" in exclusion.named:
            cells["id"] = pair.id
        if pictures:
            cells[IMAGE_HASH] = None if pair.image is None else picture_hash(pair.image)
        return cells

    if pictures:
        return iter(ordered_map(look, rows.pairs(), decoding_threads()))
    return map(look, source_pairs(source))


def _lines(
    exclusion: Exclusion,
    found: Mapping[str, Mapping[int, list[int]]],
    named: NDArray[np.bool_],
    whole: NDArray[np.bool_],
) -> Iterator[str]:
    """Yield what was matched: counts by column, entries that are nowhere, and those whose columns name other rows."""
    file = exclusion.path.name
    there = Counter(number for entries in found.values() for number in entries)
    by = ", ".join(f"{len(entries):,} by {name}" for name, entries in found.items())
    twins = int(whole.sum() - named.sum())
    also = f", {twins:,} of them since they share an image or a recording" if twins else ""
    yield (
        f"{file}: {len(there):,} of {len(exclusion.entries):,} entries are in the data ({by}); "
        f"{int(whole.sum()):,} rows are in no split{also}"
    )
    if missing := [name for number, name in enumerate(exclusion.entries) if number not in there]:
        yield f"{file}: not found: {_some(missing)}"
    odd = []
    for number, columns in there.items():
        rows = [set(entries[number]) for entries in found.values() if number in entries]
        if columns > 1 and not set.intersection(*rows):
            odd.append(exclusion.entries[number])
    if odd:
        yield (
            f"{file}: {len(odd):,} entries have an id of one row and the image of another ({_some(odd)}): their ids "
            "may be other numbers than the data's; all of these rows are left out"
        )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(one_line(name, 60) for name in names[:_SHOWN]) + more

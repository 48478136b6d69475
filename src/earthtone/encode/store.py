"""Features on disk: named by the model and the data that they came from, whole or absent; a stopped call goes on."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import numpy as np

from earthtone.data.labelled.items import LabelledItem
from earthtone.errors import DataError, MissingExtraError
from earthtone.files import FORMATS, atomic_path, format_of, regular_file, write_text_atomic
from earthtone.models.batches import Rows, collected
from earthtone.progress import progress_bar
from earthtone.signal.readers import reader_source

Notes = dict[str, Any]
"""What is said of features: `broken`, why items cannot be read, by id; `short`, ids of recordings filled up."""
RowsOf = Callable[[Sequence[LabelledItem], Notes], Iterator[Rows]]
"""(items, notes to fill) to a row (F,) each, NaN for an item that cannot be read."""

PART_ITEMS = 4096  # kept at once while more are made
_SAMPLE = 4096  # bytes


def data_fingerprint(items: Sequence[LabelledItem], medium: Literal["image", "audio"] = "image") -> str:
    """Return a hash of which files these are, in order: ids, what `file_state` says, scale; not where they lie.

    A folder that is moved whole keeps its fingerprint; a changed, replaced or renamed file does not.
    """
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        file = item.image if medium == "image" else item.audio
        state, reader = file_state(file), reader_source(file, medium)
        told: tuple[object, ...] = (item.image_gsd_m,) if medium == "image" and item.image_gsd_m is not None else ()
        told += () if medium == "image" or item.seconds is None else item.seconds
        told += () if reader is None else (reader,)  # one that comes later reads what could not be read before
        digest.update(repr((item.id, state, *told)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def file_state(file: Path | None) -> tuple[int, int, str] | None:
    """Return size, time of change and a hash of the beginning, middle and end of a file; None without one.

    Archives and copies keep times, and formats that do not compress keep sizes: the two do not tell files apart. A file
    that cannot be read now has a state of its own, so that what is kept of it does not outlive that.
    """
    if file is None:
        return None
    try:
        with regular_file(file).open("rb") as opened:
            stat = os.fstat(opened.fileno())
            digest = hashlib.blake2b(opened.read(_SAMPLE), digest_size=16)
            for place in (stat.st_size // 2, stat.st_size - _SAMPLE):
                if place > _SAMPLE:
                    opened.seek(place)
                    digest.update(opened.read(_SAMPLE))
    except (OSError, ValueError):
        return (-1, -1, "")  # a missing file is told when it is read
    return (stat.st_size, stat.st_mtime_ns, digest.hexdigest())


def content_fingerprint(media: Path | bytes) -> str | None:
    """Return `SIZE-HASH` of a file by what `file_state` reads of it, not by its time; of bytes by all of them.

    So a copy has the same. None for a file that cannot be read.
    """
    if isinstance(media, bytes):
        return f"{len(media)}-{hashlib.blake2b(media, digest_size=16).hexdigest()}"
    state = file_state(media)
    return f"{state[0]}-{state[2]}" if state is not None and state[0] >= 0 else None


def kept_features(
    folder: Path | None, key: Mapping[str, Any], items: Sequence[LabelledItem], rows: RowsOf, width: int, unit: str
) -> tuple[Rows, Notes, bool]:
    """Return the features (N, width) of items, what was noted of them, and whether `folder` had them already.

    `rows` is asked for what is not there, behind a bar. Many items are kept in parts until all are there, so that a
    stopped call loses no more than one part; what is returned is mapped from disk, and one row is held at once.
    Features of which files were left out for want of an optional package are made again: it may be here now. Without a
    folder nothing is kept. Raises DataError for a folder that cannot be written.
    """
    with progress_bar(len(items), "features", unit) as bar:

        def counted(part: Sequence[LabelledItem], notes: Notes) -> Iterator[Rows]:
            for row in rows(part, notes):
                yield row
                bar.update()

        def kept(path: Path, key: Mapping[str, Any], part: Sequence[LabelledItem]) -> tuple[Rows, Notes]:
            if (found := _read(path, key)) is not None:
                bar.update(len(part))
                return found
            notes: Notes = {"broken": {}, "short": []}
            return _write(path, key, counted(part, notes), (len(part), width), notes)

        if folder is None:
            notes: Notes = {"broken": {}, "short": []}
            return collected(counted(items, notes), len(items), slice(0, width)), notes, False
        name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=12).hexdigest()
        path = Path(folder) / f"features-{name}.npy"
        if (found := _read(path, key)) is not None:
            return *found, True
        if len(items) <= PART_ITEMS:
            return *kept(path, key, items), False
        parts = path.with_suffix(".parts")
        starts = range(0, len(items), PART_ITEMS)
        made = [
            kept(parts / f"{start}.npy", {**key, "start": start}, items[start : start + PART_ITEMS]) for start in starts
        ]
        whole: Notes = {
            "broken": {name: why for _, notes in made for name, why in notes["broken"].items()},
            "short": [name for _, notes in made for name in notes["short"]],
        }
        found = _write(path, key, (values for values, _ in made), (len(items), width), whole)
        rmtree(parts, ignore_errors=True)
        return *found, False


def _read(path: Path, key: Mapping[str, Any], *, remade: bool = True) -> tuple[Rows, Notes] | None:
    """Return an array, mapped from disk, and its notes; None where there is none, or a damaged or another one.

    With `remade` also where an optional package was missing.
    """
    try:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    format_of(said, "kept features", path)
    if said.get("key") != dict(key) or said.get("shape") != list(values.shape):
        return None
    notes = {"broken": {}, "short": [], **said["notes"]}
    lacking = remade and any(MissingExtraError.SAID in reason for reason in notes["broken"].values())
    return None if lacking or values.dtype != np.float32 else (values, notes)


def _write(
    path: Path, key: Mapping[str, Any], rows: Iterator[Rows], shape: tuple[int, int], notes: Notes
) -> tuple[Rows, Notes]:
    if path.parent.exists() and not path.parent.is_dir():
        raise DataError(f"{path.parent} is a file; a folder for features was expected: --cache FOLDER")
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for row in rows:
                file.write(np.ascontiguousarray(row, "<f4").data)
            file.flush()
            os.fsync(file.fileno())
        said = {"format": FORMATS["kept features"], "key": dict(key), "shape": list(shape), "notes": notes}
        write_text_atomic(path.with_suffix(".json"), json.dumps(said, ensure_ascii=False) + "\n")
    if (found := _read(path, key, remade=False)) is None:
        raise DataError(f"{path} cannot be read back; choose another --cache or free the disk")
    return found

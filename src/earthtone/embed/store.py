"""Features on disk: named by the model and the data that they came from, whole or absent."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from earthtone.data.labelled.items import LabelledItem
from earthtone.errors import DataError, MissingExtraError
from earthtone.files import atomic_path, regular_file, write_text_atomic
from earthtone.models.batches import Rows, collected

_SAMPLE = 4096  # bytes


def data_fingerprint(items: Sequence[LabelledItem], medium: Literal["image", "audio"] = "image") -> str:
    """Return a hash of which files these are, in order: ids, what `file_state` says, scale; not where they lie.

    A folder that is moved whole keeps its fingerprint; a changed, replaced or renamed file does not.
    """
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        state = file_state(item.image if medium == "image" else item.audio)
        told = (item.image_gsd_m,) if medium == "image" and item.image_gsd_m is not None else ()
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


def kept_features(
    folder: Path | None, key: Mapping[str, Any], rows: Iterator[Rows], shape: tuple[int, int], notes: dict[str, Any]
) -> tuple[Rows, dict[str, Any], bool]:
    """Return an array (N, F), its notes, and whether both were kept in `folder` already; without one, nothing is kept.

    `rows` (F,) is run only where the array is not there, and may fill `notes`; one row is held at once and the array is
    mapped from disk. An array of which files were left out for want of an optional package is made again: it may be
    here now. Raises DataError for a folder that cannot be written.
    """
    if folder is None:
        return collected(rows, shape[0], slice(0, shape[1])), notes, False
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=12).hexdigest()
    path = Path(folder) / f"features-{name}.npy"
    kept = _read(path, key)
    reasons = kept[1].get("broken", {}).values() if kept is not None else ()
    if kept is not None and not any(MissingExtraError.SAID in reason for reason in reasons):
        return *kept, True
    _write(path, key, rows, shape, notes)
    if (kept := _read(path, key)) is None:
        raise DataError(f"{path} cannot be read back; choose another --cache or free the disk")
    return *kept, False


def _read(path: Path, key: Mapping[str, Any]) -> tuple[Rows, dict[str, Any]] | None:
    """Return an array, mapped from disk, and its notes; None where there is none, or a damaged or another one."""
    try:
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, RecursionError):
        return None
    fits = isinstance(said, dict) and said.get("key") == dict(key) and said.get("shape") == list(values.shape)
    return (values, said["notes"]) if fits and values.dtype == np.float32 else None


def _write(
    path: Path, key: Mapping[str, Any], rows: Iterator[Rows], shape: tuple[int, int], notes: dict[str, Any]
) -> None:
    if path.parent.exists() and not path.parent.is_dir():
        raise DataError(f"{path.parent} is a file; a folder for features was expected: --cache FOLDER")
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for row in rows:
                file.write(np.ascontiguousarray(row, "<f4").data)
            file.flush()
            os.fsync(file.fileno())
        said = {"key": dict(key), "shape": list(shape), "notes": notes}
        write_text_atomic(path.with_suffix(".json"), json.dumps(said, ensure_ascii=False) + "\n")

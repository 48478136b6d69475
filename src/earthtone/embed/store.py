"""Features on disk: named by the model and the data that they came from, whole or absent."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled.items import LabelledItem
from earthtone.errors import DataError, MissingExtraError
from earthtone.files import atomic_path, regular_file, write_text_atomic

Chunk = NDArray[np.float32]
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


class FeatureCache:
    """Arrays of features in a folder, each with what was said of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, key: Mapping[str, Any]) -> Path:
        """Return where the array of a key lies, whether it is there or not."""
        text = json.dumps(key, sort_keys=True)
        return self.folder / f"features-{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.npy"

    def read(self, key: Mapping[str, Any]) -> tuple[Chunk, dict[str, Any]] | None:
        """Return the array (N, F), mapped from disk, and its notes; None where there is none, or a damaged one."""
        path = self.path(key)
        try:
            notes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, RecursionError):
            return None
        fits = isinstance(notes, dict) and notes.get("key") == dict(key) and notes.get("shape") == list(values.shape)
        return (values, notes["notes"]) if fits and values.dtype == np.float32 else None

    def kept(self, key: Mapping[str, Any]) -> tuple[Chunk, dict[str, Any]] | None:
        """Return what `read` does, but None where files were left out for want of an optional package: it may be here
        now.
        """
        there = self.read(key)
        reasons = there[1].get("broken", {}).values() if there is not None else ()
        return None if any(MissingExtraError.SAID in reason for reason in reasons) else there

    def write(
        self, key: Mapping[str, Any], chunks: Iterator[Chunk], shape: tuple[int, int], notes: dict[str, Any]
    ) -> None:
        """Write an array of a known shape chunk by chunk; `notes` may be filled while the chunks are made.

        Nothing is held but one chunk. Raises DataError when the folder cannot be written.
        """
        path = self.path(key)
        if path.parent.exists() and not path.parent.is_dir():
            raise DataError(f"{path.parent} is a file; a folder for features was expected: --cache FOLDER")
        with atomic_path(path) as temporary:
            with temporary.open("wb") as file:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in chunks:
                    file.write(np.ascontiguousarray(chunk, "<f4").data)
                file.flush()
                os.fsync(file.fileno())
            told = {"key": dict(key), "shape": list(shape), "notes": notes}
            write_text_atomic(path.with_suffix(".json"), json.dumps(told, ensure_ascii=False) + "\n")


def kept_features(
    folder: Path | None, key: Mapping[str, Any], chunks: Iterator[Chunk], shape: tuple[int, int], notes: dict[str, Any]
) -> tuple[Chunk, dict[str, Any], bool]:
    """Return an array (N, F), its notes, and whether both were there already; without a folder nothing is kept.

    `chunks` is run only where the array is not there; it may fill `notes`. Raises DataError as `FeatureCache.write`.
    """
    if folder is None:
        return np.concatenate([np.zeros((0, shape[1]), np.float32), *chunks]), notes, False
    cache = FeatureCache(folder)
    there = cache.kept(key)
    if there is not None:
        return *there, True
    cache.write(key, chunks, shape, notes)
    there = cache.read(key)
    if there is None:
        raise DataError(f"{cache.path(key)} cannot be read back; choose another --cache or free the disk")
    return *there, False

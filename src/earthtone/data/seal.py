"""What a packed table holds when its packing has ended: rows, version, size and hash of its files; a file inside it.

Lance opens what is there: a copy that lacks the newest version, or the end of a file, is a smaller or another table.
The file travels with the folder, also into object stores; tables of before there was one are opened as they are.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from earthtone.atomic import sync, write_text_atomic
from earthtone.errors import DataError

SEAL_FILE = "earthtone.json"
_FORMAT = 1
_CHEAP_BYTES = 256 * 2**20  # of data files, hashed whole whenever a table is opened: a quarter of a second
LOST = "an unfinished or damaged copy; copy the whole folder again, or pack it again"


@dataclass(frozen=True)
class Seal:
    """A whole table: its rows, its version, and what each of its data files is."""

    rows: int
    version: int
    files: Mapping[str, tuple[int, str]]
    """Path in the table -> bytes and BLAKE2b."""


def write_seal(table: Path, dataset: Any) -> None:
    """Write down what the Lance dataset in the folder `table` is now; files that were written down before are kept."""
    try:
        before = read_seal(table)
    except DataError:
        before = None  # a broken one is made again
    known = before.files if before is not None else {}
    files = {}
    for name in _data_files(dataset):
        size = (table / name).stat().st_size
        if name in known and known[name][0] == size:
            files[name] = known[name]
        else:
            files[name] = size, _digest(table / name)
            sync(table / name)
    seal = Seal(dataset.count_rows(), dataset.version, files)
    if seal != before:
        versions = table / "_versions"
        sync(*versions.glob("*.manifest"), versions, table / "data", table)
        write_text_atomic(table / SEAL_FILE, json.dumps({"format": _FORMAT, **asdict(seal)}, indent=1) + "\n")


def read_seal(table: Path | str) -> Seal | None:
    """Return the seal of a table on a disk or in an object store, None where there is none. Raises DataError."""
    try:
        text = _local_text(table) if isinstance(table, Path) else _remote_text(table)
        if text is None:
            return None
        told = json.loads(text)
        if told["format"] != _FORMAT:
            raise ValueError(f"format {told['format']}, {_FORMAT} expected")
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in told["files"].items()}
        return Seal(int(told["rows"]), int(told["version"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{table}: {SEAL_FILE} cannot be read ({reason}): {LOST}") from error


def check_opened(table: Path | str, dataset: Any) -> None:
    """Raise DataError where an opened table is not what was packed, as far as that is cheap to tell.

    Rows and version always, on a disk sizes of all files and the content of small tables too.
    """
    seal = read_seal(table)
    if seal is None:
        return
    if dataset.version < seal.version or (dataset.version == seal.version and dataset.count_rows() != seal.rows):
        raise DataError(f"{table}: {dataset.count_rows():,} rows are there, {seal.rows:,} were packed: {LOST}")
    if isinstance(table, Path):
        cheap = sum(size for size, _ in seal.files.values()) <= _CHEAP_BYTES
        if fault := next(file_faults(table, seal, whole=cheap), None):
            raise DataError(f"{table}: {fault}: {LOST}")


def file_faults(
    table: Path, seal: Seal, *, whole: bool, progress: Callable[[int], None] = lambda _: None
) -> Iterator[str]:
    """Yield what is wrong with each data file: missing, another size, with `whole` another content.

    `progress` gets the bytes that were looked at.
    """
    for name, (size, digest) in seal.files.items():
        path = table / name
        try:
            state = path.stat()
            if state.st_size != size:
                yield f"{name} has {state.st_size:,} bytes, {size:,} were packed"
            elif whole and _known_digest(path, size, state.st_mtime_ns) != digest:
                yield f"{name} has another content than was packed"
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"
        progress(size)


def _data_files(dataset: Any) -> list[str]:
    return [f"data/{file.path}" for fragment in dataset.get_fragments() for file in fragment.data_files()]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@lru_cache(maxsize=4096)
def _known_digest(path: Path, size: int, changed_ns: int) -> str:
    """Return the hash of a file, of one that has not changed since without reading it again."""
    return _digest(path)


def _local_text(table: Path) -> str | None:
    path = table / SEAL_FILE
    return path.read_text(encoding="utf-8") if path.exists() else None


def _remote_text(address: str) -> str | None:
    from lance.file import LanceFileSession

    session = LanceFileSession(address)
    if not session.contains(SEAL_FILE):
        return None
    with tempfile.TemporaryDirectory(prefix="earthtone-") as folder:
        path = Path(folder) / SEAL_FILE
        session.download_file(SEAL_FILE, str(path))
        return path.read_text(encoding="utf-8")

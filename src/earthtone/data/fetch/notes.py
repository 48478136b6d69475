"""What a folder of fetched data remembers: `checksums.json` beside the data, and lists of unpacked files."""

import hashlib
import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from earthtone.atomic import write_text_atomic
from earthtone.data.fetch.catalogue import RemoteFile
from earthtone.data.fetch.paths import STATE
from earthtone.data.fetch.unpack import Members
from earthtone.errors import DataError
from earthtone.progress import progress_bar

CHECKSUMS = "checksums.json"
_CHUNK = 1 << 22
_LARGE = 200_000_000  # takes about a second


@dataclass(frozen=True)
class Note:
    """One file as it was downloaded. `confirmed` names what its checksum was held against."""

    url: str
    bytes: int
    sha256: str
    confirmed: str
    complete: bool = False
    unpacked_files: int | None = None
    unpacked_bytes: int | None = None


class Notes:
    """The notes of one output folder, written after each change. Raises DataError when they are another set's."""

    def __init__(self, out: Path, name: str) -> None:
        self.out, self.state, self._name = out, out / STATE, name
        self._path = out / CHECKSUMS
        self.files: dict[str, Note] = {}
        if self._path.exists():
            self._read()

    def _read(self) -> None:
        try:
            values: Any = json.loads(self._path.read_text(encoding="utf-8"))
            owner = values["set"]
            self.files = {name: Note(**note) for name, note in values["files"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"{self._path} cannot be read ({error}); delete it to fetch anew, or choose another --out"
            ) from error
        if owner != self._name:
            raise DataError(f"{self.out} holds the data set {owner!r}, not {self._name!r}; choose another --out")

    def put(self, file: str, note: Note) -> None:
        """Remember a file."""
        self.files[file] = note
        self._write()

    def forget(self, file: str) -> None:
        """Forget a file that turned out to be no good."""
        if self.files.pop(file, None) is not None:
            self._write()

    def _write(self) -> None:
        values = {"set": self._name, "files": {name: asdict(one) for name, one in sorted(self.files.items())}}
        write_text_atomic(self._path, json.dumps(values, indent=1) + "\n")

    def complete(self, file: str, members: Members | None = None) -> None:
        """Remember that a file is in its place, and what came out of it."""
        note = replace(self.files[file], complete=True)
        if members is not None:
            size = sum(bytes_ for bytes_, _ in members.values())
            note = replace(note, unpacked_files=len(members), unpacked_bytes=size)
        self.put(file, note)

    def at(self, file: str, kind: str = "") -> Path:
        """Return the path of something that belongs to a file, inside the state folder."""
        return self.state / f"{quote(file, safe='')}{kind}"

    def write_members(self, file: str, members: Members) -> None:
        """Write the list of an archive's files, whole or not at all."""
        write_text_atomic(self.at(file, ".members.json"), json.dumps(members))

    def members(self, file: str, kind: str = ".members.json") -> Members | None:
        """Return the list of an archive's files, or null when there is none that can be read."""
        try:
            values = json.loads(self.at(file, kind).read_text(encoding="utf-8"))
            return {str(path): (int(one[0]), str(one[1])) for path, one in values.items()}
        except (OSError, ValueError, TypeError, AttributeError, IndexError):
            return None

    def placed(self, file: RemoteFile) -> Members:
        """Return what lies in the output folder because of a file; empty when its list is lost."""
        note = self.files[file.name]
        if file.unpack is None:
            return {file.name: (note.bytes, note.sha256)}
        return self.members(file.name) or {}

    def is_there(self, file: RemoteFile) -> bool:
        """Return whether a file was fetched completely and what came of it still has its sizes."""
        note = self.files.get(file.name)
        if note is None or not note.complete or file.sha256 not in (None, note.sha256):
            return False
        placed = self.placed(file)
        return bool(placed) and all(_has_size(self.out / path, size) for path, (size, _) in placed.items())


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def digests(path: Path, algorithms: tuple[str, ...], label: str) -> dict[str, str]:
    """Return checksums of a file by algorithm, behind a bar for a large one. Raises OSError."""
    hashes = [hashlib.new(algorithm, usedforsecurity=False) for algorithm in algorithms]
    size = path.stat().st_size
    with path.open("rb") as data, ExitStack() as stack:
        bar = stack.enter_context(progress_bar(size, f"verify {label}", "B")) if size > _LARGE else None
        while chunk := data.read(_CHUNK):
            for one in hashes:
                one.update(chunk)
            if bar is not None:
                bar.update(len(chunk))
    return {algorithm: one.hexdigest() for algorithm, one in zip(algorithms, hashes, strict=True)}

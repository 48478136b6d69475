"""Look again at what was fetched: every file's size and checksum against the notes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earthtone.data.fetch.catalogue import CATALOGUE, find_set, read_catalogue
from earthtone.data.fetch.fetch import claimed
from earthtone.data.fetch.notes import CHECKSUMS, Notes, digests
from earthtone.errors import DataError
from earthtone.progress import progress_bar


@dataclass(frozen=True)
class Recheck:
    """What a second look found; `damaged` and `missing` are paths below `out`, `unfinished` are downloads."""

    name: str
    out: Path
    files: int
    bytes: int
    damaged: tuple[str, ...]
    missing: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all that was fetched is as it was."""
        return self.files > 0 and not (self.damaged or self.missing or self.unfinished)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"ok": self.ok, **asdict(self), "out": str(self.out)}


def recheck(name: str, out: str | Path | None = None, *, catalogue: str | Path = CATALOGUE) -> Recheck:
    """Return how what was fetched compares with its notes; nothing is downloaded or changed. Raises DataError."""
    find_set(read_catalogue(catalogue), name)
    folder = Path(out) if out is not None else Path("data") / name
    if not (folder / CHECKSUMS).is_file():
        raise DataError(f"{folder} has no {CHECKSUMS}: nothing was fetched there; type: earthtone fetch {name}")
    with claimed(folder):
        return _recheck(name, folder)


def _recheck(name: str, folder: Path) -> Recheck:
    notes = Notes(folder, name)
    damaged, missing, unfinished = [], [], []
    expected: dict[str, tuple[int, str]] = {}
    for file, note in notes.files.items():
        if not note.complete:
            unfinished.append(file)
        elif note.unpacked_files is None:
            expected[file] = (note.bytes, note.sha256)
        elif (members := notes.members(file)) is None:
            unfinished.append(file)
        else:
            expected |= members
    total = sum(size for size, _ in expected.values())
    with progress_bar(total, "check", "B") as bar:
        for path, (size, sha256) in expected.items():
            target = folder / path
            if not target.is_file():
                missing.append(path)
            elif target.stat().st_size != size or digests(target, ("sha256",), path)["sha256"] != sha256:
                damaged.append(path)
            bar.update(size)
    return Recheck(name, folder, len(expected), total, tuple(damaged), tuple(missing), tuple(unfinished))

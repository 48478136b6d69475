"""The verb: one public data set into one folder, whole or to be continued, and checked again later."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx
from filelock import FileLock, Timeout

from earthtone.build.fetch.catalogue import (
    CATALOGUE,
    STATE,
    PublicSet,
    RemoteFile,
    allowed_url,
    find_set,
    read_catalogue,
)
from earthtone.build.fetch.download import Patience, discard, download, listed_files, make_client, need_room, size_text
from earthtone.build.fetch.unpack import BadArchiveError, Members, unpack
from earthtone.data.remote import HUB, hub_endpoint
from earthtone.errors import ConfigError, DataError, did_you_mean, one_line_each, shell_line
from earthtone.files import write_text_atomic
from earthtone.options import FetchOptions
from earthtone.progress import progress_bar
from earthtone.value_types import takes

# A catalogue's entries in words: for the terminal and for the page in the documentation.


def sets_text(sets: Mapping[str, PublicSet]) -> str:
    """Return a table of data sets, or all that is known of a single one."""
    if len(sets) == 1:
        return long_text(next(iter(sets.values())))
    rows = [("NAME", "DOWNLOAD", "LICENCE", "ITEMS", "WHAT"), *(row(entry) for entry in sets.values())]
    widths = [max(len(cells[column]) for cells in rows) for column in range(4)]
    lines = ["  ".join([*(cells[k].ljust(widths[k]) for k in range(4)), cells[4]]) for cells in rows]
    return one_line_each(
        [*lines, "", "earthtone fetch NAME --list tells more; earthtone fetch NAME brings it to data/NAME"]
    )


def plain_sets(sets: Mapping[str, PublicSet]) -> list[dict[str, Any]]:
    """Return data sets as plain values for JSON."""
    return [{**asdict(entry), "bytes": entry.bytes, "part_names": entry.part_names} for entry in sets.values()]


def row(entry: PublicSet) -> tuple[str, str, str, str, str]:
    """Return name, download, licence, items and what, as the table shows them."""
    return entry.name, download_text(entry), entry.licence or "not found", entry.items, entry.what


def download_text(entry: PublicSet) -> str:
    """Return how large a download is, as far as it is known, and whether it goes by hand."""
    if entry.by_hand:
        return "by hand"
    if not entry.files:
        return "host tells"
    if entry.bytes is not None or not entry.known_bytes:
        return size_text(entry.bytes)
    largest_known = any(file.bytes for file in entry.files if file.unpack)
    return f"{'' if largest_known else 'over '}{size_text(entry.known_bytes)}"


def long_text(entry: PublicSet) -> str:
    """Return all that the catalogue knows of a set, in lines."""
    lines = [f"{entry.name}: {entry.title}", f"  {entry.what}", f"  items: {entry.items}"]
    lines.append(f"  licence: {entry.licence or 'not found; look at the homepage'}")
    lines += [f"  {entry.licence_note}"] if entry.licence_note else []
    lines += [f"  cite: {entry.citation}", f"  homepage: {entry.homepage}"]
    lines.append(f"  parts for --subset: {', '.join(entry.part_names)}")
    lines += [f"  file: {file_text(file)}" for file in entry.files]
    if not entry.files:
        lines.append("  files: their names, sizes and checksums are asked of the host when the set is fetched")
    lines += [f"  note: {note}" for note in entry.notes]
    lines += [f"  by hand {number}: {step}" for number, step in enumerate(entry.by_hand, 1)]
    return one_line_each(lines)


def file_text(file: RemoteFile) -> str:
    """Return a file's name, size and checksum, or that they were not found."""
    checksum = f"sha256 {file.sha256}" if file.sha256 else f"md5 {file.md5}" if file.md5 else "checksum not found"
    size = f"{file.bytes} bytes" if file.bytes is not None else "size not found"
    return f"{file.name} ({file.part}), {size}, {checksum}"


def markdown_table(sets: Mapping[str, PublicSet]) -> str:
    """Return the catalogue as a table of the documentation."""
    lines = ["| name | what | items | download | checksum | licence | cite |", "|---|---|---|---|---|---|---|"]
    for entry in sets.values():
        known = sum(1 for file in entry.files if file.sha256 or file.md5)
        checks = f"{known} of {len(entry.files)} files" if entry.files else "host tells"
        licence = f"{entry.licence or 'not found'}{'. ' + entry.licence_note if entry.licence_note else ''}"
        cells = (f"[`{entry.name}`]({entry.homepage})", entry.what, entry.items, download_text(entry), checks)
        lines.append(f"| {' | '.join((*cells, licence, entry.citation))} |")
    return "\n".join(lines)


# What a folder of fetched data remembers: `checksums.json` beside the data, and lists of unpacked files.


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


# Which files of a set `--subset` means.


def chosen(files: Sequence[RemoteFile], subset: str | None, name: str) -> tuple[RemoteFile, ...]:
    """Return the files of the named parts; a number keeps the first so many Parquet files of each part.

    `images,metadata` names parts, `train,2` the first two Parquet files of `train`, `2` those of every part.
    Raises ConfigError naming the parts that there are.
    """
    if subset is None:
        return tuple(files)
    words = [word.strip() for word in subset.split(",") if word.strip()]
    numbers = [int(word) for word in words if word.isascii() and word.isdigit()]
    parts = [word for word in words if not (word.isascii() and word.isdigit())]
    known = list(dict.fromkeys(file.part for file in files))
    for part in parts:
        if part not in known:
            raise ConfigError(f"{name} has no part {part!r}; {did_you_mean(part, known)}its parts: {', '.join(known)}")
    if not words or len(numbers) > 1 or 0 in numbers:
        raise ConfigError(f"--subset {subset}; names of parts ({', '.join(known)}) and at most one number expected")
    kept = [file for file in files if not parts or file.part in parts]
    if not numbers:
        return tuple(kept)
    if not any(file.name.endswith(".parquet") for file in kept):
        raise ConfigError(f"--subset {subset}: {name} has no Parquet files to count; its parts: {', '.join(known)}")
    return tuple(file for part in known for file in [one for one in kept if one.part == part][: numbers[0]])


# Look again at what was fetched: every file's size and checksum against the notes.


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

    def to_text(self, catalogue: str | Path | None = None) -> str:
        """Return lines for a terminal; the last says what to type where files are damaged."""
        lines = [f"{self.out}: {self.files} files, {size_text(self.bytes)}, checked against their SHA-256"]
        for label, paths in (("damaged", self.damaged), ("missing", self.missing), ("unfinished", self.unfinished)):
            lines += [f"  {label}: {path}" for path in paths[:20]]
            lines += [f"  {label}: {len(paths) - 20} more; --json names all"] if len(paths) > 20 else []
        again = ["fetch", self.name, "--out", self.out, *([] if catalogue is None else ["--catalogue", catalogue])]
        repair = f"delete the damaged ones and type: {shell_line('earthtone', *again)}"
        return one_line_each([*lines, "all is as it was fetched" if self.ok else repair])


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


# From a verified download to its place: unpacked aside, moved in, noted; a stop at any point is gone on from.


def place(whole: Path, file: RemoteFile, notes: Notes) -> int:
    """Put a verified download where it belongs and return how many files of operating systems were left out."""
    if file.unpack is not None:
        return _unpack_into(whole, file.unpack, file, notes)
    target = notes.out / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    whole.replace(target)
    notes.complete(file.name)
    return 0


def go_on(file: RemoteFile, notes: Notes) -> bool:
    """Finish what a stopped process had verified already, without its download; return whether it is complete."""
    note = notes.files.get(file.name)
    if note is None or note.complete or file.sha256 not in (None, note.sha256):
        return False
    if file.unpack is None:
        target = notes.out / file.name
        if not target.is_file() or digests(target, ("sha256",), file.name)["sha256"] != note.sha256:
            return False
        notes.complete(file.name)
        return True
    members = notes.members(file.name)
    if members is None:
        return False
    staging = notes.at(file.name, ".unpacked")
    if not all((staging / path).is_file() or (notes.out / path).is_file() for path in members):
        return False
    _move_in(members, file, notes)
    return True


def _unpack_into(whole: Path, kind: str, file: RemoteFile, notes: Notes) -> int:
    """Unpack beside the data, then move in: a reader of the folder never sees half a file."""
    staging, bare = notes.at(file.name, ".unpacked"), notes.at(file.name, ".bare")
    for half in (staging, bare):
        if half.exists():
            shutil.rmtree(half)  # of an earlier try
    if notes.members(file.name) is not None:
        notes.at(file.name, ".members.json").replace(notes.at(file.name, ".before.json"))
    bare.mkdir(parents=True)
    try:
        found = unpack(whole, kind, bare, strip=file.strip, unpacked_bytes=file.unpacked_bytes)
        prefix = _prefix(found.members, file)
        members = {str(prefix / path): one for path, one in found.members.items()}
        (staging / prefix).parent.mkdir(parents=True, exist_ok=True)
        bare.replace(staging / prefix)
        _refuse_conflicts(members, file, notes)
    except DataError:
        for half in (staging, bare):
            shutil.rmtree(half, ignore_errors=True)
        raise
    notes.write_members(file.name, members)
    _move_in(members, file, notes)
    return found.junk


def _prefix(members: Members, file: RemoteFile) -> PurePosixPath:
    """Return the folder to add: `into`, unless all of the archive lies in a folder of that name already."""
    if file.into is None or all(path.startswith(f"{file.into}/") for path in members):
        return PurePosixPath()
    return PurePosixPath(file.into)


def _refuse_conflicts(members: Members, file: RemoteFile, notes: Notes) -> None:
    """Raise DataError before anything is moved, where a different file that is not ours is in the way."""
    ours = notes.members(file.name, ".before.json") or {}
    for path, (_, sha256) in members.items():
        target = notes.out / path
        if not target.exists() and not target.is_symlink():
            continue
        if target.is_dir() or (path not in ours and digests(target, ("sha256",), path)["sha256"] != sha256):
            raise DataError(
                f"{target} is there already and is not what {file.name} holds; move it away or choose another --out"
            )


def _move_in(members: Members, file: RemoteFile, notes: Notes) -> None:
    staging = notes.at(file.name, ".unpacked")
    if staging.exists():
        _merge(staging, notes.out)
    notes.complete(file.name, members)
    notes.at(file.name).unlink(missing_ok=True)
    notes.at(file.name, ".before.json").unlink(missing_ok=True)


def _merge(source: Path, target: Path) -> None:
    """Move a folder's content; whole folders by one rename where nothing is in their place."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        return
    for one in source.iterdir():
        if one.is_dir():
            _merge(one, target / one.name)
        else:
            one.replace(target / one.name)
    source.rmdir()


# The verb: one data set into one folder, whole or to be continued.


_LOG = logging.getLogger(__name__)


@dataclass
class Fetched:
    """What lies where after a fetch; `remarks` are facts that a user should know."""

    name: str
    out: Path
    next: str
    fetched: list[str] = field(default_factory=list)
    already_there: list[str] = field(default_factory=list)
    first_use: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "out": str(self.out)}

    def to_text(self) -> str:
        """Return lines for a terminal: what was done, where it lies, what to type next."""
        lines = [f"{self.name}: {len(self.fetched)} files fetched, {len(self.already_there)} were there already"]
        lines += [f"  note: {remark}" for remark in self.remarks]
        return one_line_each([*lines, f"it lies in {self.out}", f"next: {self.next}"])


@takes(FetchOptions)
def fetch(options: FetchOptions) -> Fetched:
    """Bring a public data set to the folder `out` (default: data/NAME) and return what lies there.

    A repeated call goes on where an earlier one was stopped, and downloads nothing that is complete. `subset` names
    parts (`images,metadata`) and, for Parquet releases, how many files of each (`train,2`). `downloaded` is a folder
    with files that were downloaded by hand. Raises ConfigError, DataError.
    """
    if options.name is None:
        raise ConfigError("fetch needs a data set's name; earthtone fetch lists them")
    name = options.name
    entry = find_set(read_catalogue(options.catalogue or CATALOGUE), name)
    if entry.by_hand and options.downloaded is None:
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(entry.by_hand, 1))
        raise DataError(f"{name} cannot be fetched by a program; what to do by hand:\n{steps}")
    folder = Path(options.out) if options.out is not None else Path("data") / name
    patience = options.patience or Patience(retries=options.retries, read_seconds=options.timeout_seconds)
    with claimed(folder):
        return _Fetch(entry, folder, patience, options.downloaded).run(options.subset)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold a folder; another process that fetches into it is waited for. Raises DataError."""
    try:
        (out / STATE).mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / STATE / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _LOG.warning("another process fetches into %s; waiting for it", out)
            lock.acquire()
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{out}: {error.strerror or error} ({error.filename}); free the disk or choose another --out, and type "
            "the same again"
        ) from error
    finally:
        lock.release()


class _Fetch:
    def __init__(self, entry: PublicSet, out: Path, patience: Patience, downloaded: str | Path | None) -> None:
        self._entry, self._patience = entry, patience
        self._notes = Notes(out, entry.name)
        self._downloaded = Path(downloaded) if downloaded is not None else None
        self._result = Fetched(entry.name, out, entry.next.replace("{out}", shell_line(out)))

    def run(self, subset: str | None) -> Fetched:
        listed = listed_files(self._entry, self._notes.at("listing.json"), self._patience)
        files = chosen(listed, subset, self._entry.name)
        missing = [file for file in files if not self._there(file)]
        if missing:
            self._need_room(missing)
            with make_client(self._patience) as client:
                for file in missing:
                    self._bring(client, file)
        if self._result.first_use:
            self._result.remarks.append(
                f"no checksum is known for {', '.join(self._result.first_use)}: what came is trusted and its SHA-256 "
                f"recorded in {self._notes.out / CHECKSUMS}; another download that differs from it will be refused"
            )
        return self._result

    def _there(self, file: RemoteFile) -> bool:
        if self._notes.is_there(file) or go_on(file, self._notes):
            self._result.already_there.append(file.name)
            return True
        return False

    def _need_room(self, files: list[RemoteFile]) -> None:
        """Ask for the downloads and, as unpacked images and sounds hardly shrink, as much again for archives."""
        needed = 0
        for file in files:
            have = next((path.stat().st_size for path in self._parts(file) if path.exists()), 0)
            needed += max(0, (file.bytes or 0) - have)
            if file.unpack:
                needed += file.unpacked_bytes if file.unpacked_bytes is not None else file.bytes or 0
        need_room(self._notes.out, needed, f"{self._entry.name} (download and unpacked)")
        unknown = [file.name for file in files if file.bytes is None]
        if unknown:
            self._result.remarks.append(f"the size of {', '.join(unknown)} was not known beforehand")

    def _parts(self, file: RemoteFile) -> tuple[Path, Path]:
        return self._notes.at(file.name), self._notes.at(file.name, ".part")

    def _bring(self, client: httpx.Client, file: RemoteFile) -> None:
        """Download, verify, note, put into place; each step is repeated safely after a stop."""
        self._refuse_stranger(file)
        whole, _ = self._parts(file)
        if not (whole.exists() and self._is_right(whole, file, file.urls[0] if file.urls else "")):
            whole.unlink(missing_ok=True)
            self._obtain(client, file, whole)
        try:
            junk = place(whole, file, self._notes)
        except BadArchiveError:
            whole.unlink(missing_ok=True)
            self._notes.forget(file.name)
            raise
        if junk:
            self._result.remarks.append(f"{file.name}: {junk} files of operating systems were left out")
        if self._notes.files[file.name].confirmed == "first use":
            self._result.first_use.append(file.name)
        self._result.fetched.append(file.name)

    def _refuse_stranger(self, file: RemoteFile) -> None:
        """Raise DataError where a file of a plain download's name is there that nothing here has fetched."""
        target = self._notes.out / file.name
        if file.unpack is None and file.name.casefold() == CHECKSUMS:
            raise DataError(f"{self._entry.name} has a file {file.name}, where our own notes are; it cannot be fetched")
        if file.unpack is None and target.exists() and file.name not in self._notes.files:
            raise DataError(f"{target} is there already and was not fetched; move it away or choose another --out")

    def _obtain(self, client: httpx.Client, file: RemoteFile, whole: Path) -> None:
        if self._downloaded is not None:
            self._copy(file, self._downloaded, whole)
            return
        problems: list[str] = []
        for url in map(_by_mirror, file.urls):
            try:
                self._from(client, url, file, whole)
                return
            except DataError as error:
                problems.append(str(error))
        raise DataError("; ".join(problems))

    def _from(self, client: httpx.Client, url: str, file: RemoteFile, whole: Path) -> None:
        part = self._parts(file)[1]
        one_go = download(client, url, file, part, self._patience)
        if not self._is_right(part, file, url):
            found = self._mismatch(part, file)
            discard(part)
            if one_go:
                raise DataError(f"{url}: {found}; the download is discarded, {self._advice(file)}")
            _LOG.warning("%s: pieced together from several connections, %s; once more from the start", url, found)
            download(client, url, file, part, self._patience)
            if not self._is_right(part, file, url):
                found = self._mismatch(part, file)
                discard(part)
                raise DataError(f"{url}: {found}; the download is discarded, {self._advice(file)}")
        with part.open("r+b") as data:
            os.fsync(data.fileno())
        part.replace(whole)
        discard(part)

    def _copy(self, file: RemoteFile, folder: Path, whole: Path) -> None:
        """Take a file that was downloaded by hand, after the same checks."""
        source = folder / Path(file.name).name
        if not source.is_file():
            raise DataError(f"{source} is missing; save {file.name} there, or leave it out with --subset")
        part = self._parts(file)[1]
        discard(part)
        need_room(part.parent, source.stat().st_size, file.name)
        shutil.copyfile(source, part)
        if not self._is_right(part, file, str(source)):
            found = self._mismatch(part, file)
            discard(part)
            raise DataError(f"{source}: {found}; {self._advice(file)}")
        part.replace(whole)

    def _is_right(self, path: Path, file: RemoteFile, url: str = "") -> bool:
        """Return whether a download is what it should be; if so, note it."""
        if file.bytes is not None and path.stat().st_size != file.bytes:
            return False
        found = digests(path, ("sha256", "md5") if file.md5 else ("sha256",), file.name)
        expected, confirmed = self._expected(file)
        if any(found[algorithm] != value for algorithm, value in expected.items()):
            return False
        before = self._notes.files.get(file.name)
        url = url or (before.url if before else "")
        self._notes.put(file.name, Note(url, path.stat().st_size, found["sha256"], confirmed))
        return True

    def _expected(self, file: RemoteFile) -> tuple[dict[str, str], str]:
        """Return the checksums to hold a download against, and where they come from."""
        known = {algorithm: value for algorithm in ("sha256", "md5") if (value := getattr(file, algorithm))}
        if known:
            return known, next(iter(known))
        note = self._notes.files.get(file.name)
        return ({"sha256": note.sha256}, "first use") if note else ({}, "first use")

    def _mismatch(self, path: Path, file: RemoteFile) -> str:
        size = path.stat().st_size
        if file.bytes is not None and size != file.bytes:
            return f"it has {size} bytes, {file.bytes} were expected"
        expected, _ = self._expected(file)
        algorithm, value = next(iter(expected.items()))
        return f"its {algorithm} is {digests(path, (algorithm,), file.name)[algorithm]}, {value} was expected"

    def _advice(self, file: RemoteFile) -> str:
        if file.sha256 or file.md5:
            return "type the same again, or take another mirror"
        return (
            f"as {CHECKSUMS} has it from the first use; if the source has a new version, fetch it to another --out "
            f"({size_text(file.bytes)})"
        )


def _by_mirror(url: str) -> str:
    """Return a URL of the hub at HF_ENDPOINT. Raises ConfigError for one that is not https://."""
    mirrored = f"{hub_endpoint()}/{url.removeprefix(f'{HUB}/')}" if url.startswith(f"{HUB}/") else url
    if mirrored != url and not allowed_url(mirrored, sha256_known=False):
        raise ConfigError(f"HF_ENDPOINT is {hub_endpoint()!r}; https:// was expected")
    return mirrored

"""The verb: one public data set into one folder, whole or to be continued, and verified again later."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx2
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
from earthtone.build.fetch.download import discard, download, listed_files, require_free_space
from earthtone.build.fetch.unpack import BadArchiveError, Members, unpack
from earthtone.build.web import RetryPolicy, make_client
from earthtone.data.remote import HUB, hub_endpoint
from earthtone.errors import ConfigError, DataError, did_you_mean, one_line_each, shell_line
from earthtone.files import FORMATS, format_of, write_text_atomic
from earthtone.options import FetchOptions
from earthtone.progress import progress_bar, size_text
from earthtone.value_types import takes

CHECKSUMS = "checksums.json"
_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 22
_LARGE = 200_000_000  # takes about a second


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
    policy = options.patience or RetryPolicy(retries=options.retries, read_seconds=options.timeout_seconds)
    with _locked(folder):
        return _Fetch(entry, folder, policy, options.downloaded).run(options.subset)


@dataclass(frozen=True)
class Verification:
    """What was found of fetched files; `damaged` and `missing` are paths below `out`, `unfinished` are downloads."""

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


def verify(name: str, out: str | Path | None = None, *, catalogue: str | Path = CATALOGUE) -> Verification:
    """Return how what was fetched compares with its records; nothing is downloaded or changed. Raises DataError."""
    find_set(read_catalogue(catalogue), name)
    folder = Path(out) if out is not None else Path("data") / name
    if not (folder / CHECKSUMS).is_file():
        raise DataError(f"{folder} has no {CHECKSUMS}: nothing was fetched there; type: earthtone fetch {name}")
    with _locked(folder):
        records = _Records(folder, name)
        damaged, missing, unfinished = [], [], []
        expected: Members = {}
        for file, record in records.files.items():
            members = records.members(file) if record.unpacked_files is not None else {file: record.size_and_hash}
            if record.complete and members is not None:
                expected |= members
            else:
                unfinished.append(file)
        total = sum(size for size, _ in expected.values())
        with progress_bar(total, "check", "B") as bar:
            for path, (size, sha256) in expected.items():
                if not (folder / path).is_file():
                    missing.append(path)
                elif (folder / path).stat().st_size != size or not _holds(folder / path, sha256, path):
                    damaged.append(path)
                bar.update(size)
    return Verification(name, folder, len(expected), total, tuple(damaged), tuple(missing), tuple(unfinished))


@contextmanager
def _locked(out: Path) -> Iterator[None]:
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


@dataclass(frozen=True)
class _Record:
    """One file as it was downloaded. `confirmed` names what its checksum was compared with."""

    url: str
    bytes: int
    sha256: str
    confirmed: str
    complete: bool = False
    unpacked_files: int | None = None
    unpacked_bytes: int | None = None

    @property
    def size_and_hash(self) -> tuple[int, str]:
        return self.bytes, self.sha256


class _Records:
    """What a folder remembers of its files: `checksums.json` beside the data, and lists of unpacked files.

    Written after each change. Raises DataError when they are another set's.
    """

    def __init__(self, out: Path, name: str) -> None:
        self.out, self._name, self._path = out, name, out / CHECKSUMS
        self.files: dict[str, _Record] = {}
        if not self._path.exists():
            return
        try:
            values: Any = json.loads(self._path.read_text(encoding="utf-8"))
            format_of(values, "record of downloads", self._path)
            owner = values["set"]
            self.files = {file: _Record(**record) for file, record in values["files"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"{self._path} cannot be read ({error}); delete it to fetch anew, or choose another --out"
            ) from error
        if owner != name:
            raise DataError(f"{out} holds the data set {owner!r}, not {name!r}; choose another --out")

    def put(self, file: str, record: _Record | None) -> None:
        """Remember a file; null forgets one that turned out to be no good."""
        if record is None:
            self.files.pop(file, None)
        else:
            self.files[file] = record
        values: dict[str, Any] = {"format": FORMATS["record of downloads"], "set": self._name}
        values["files"] = {name: asdict(one) for name, one in sorted(self.files.items())}
        write_text_atomic(self._path, json.dumps(values, indent=1) + "\n")

    def complete(self, file: str, members: Members | None = None) -> None:
        """Remember that a file is in its place, and what came out of it."""
        record = replace(self.files[file], complete=True)
        if members is not None:
            size = sum(bytes_ for bytes_, _ in members.values())
            record = replace(record, unpacked_files=len(members), unpacked_bytes=size)
        self.put(file, record)

    def at(self, file: str, kind: str = "") -> Path:
        """Return the path of something that belongs to a file, inside the state folder."""
        return self.out / STATE / f"{quote(file, safe='')}{kind}"

    def members(self, file: str, kind: str = ".members.json") -> Members | None:
        """Return the list of an archive's files, or null when there is none that can be read."""
        try:
            values = json.loads(self.at(file, kind).read_text(encoding="utf-8"))
            return {str(path): (int(one[0]), str(one[1])) for path, one in values.items()}
        except (OSError, ValueError, TypeError, AttributeError, IndexError):
            return None

    def is_there(self, file: RemoteFile) -> bool:
        """Return whether a file was fetched completely and what came of it still has its sizes."""
        record = self.files.get(file.name)
        if record is None or not record.complete or file.sha256 not in (None, record.sha256):
            return False
        placed = {file.name: record.size_and_hash} if file.unpack is None else self.members(file.name)
        return all(_has_size(self.out / path, size) for path, (size, _) in placed.items()) if placed else False


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False


def _holds(path: Path, sha256: str, label: str) -> bool:
    return _digests(path, ("sha256",), label)["sha256"] == sha256


def _digests(path: Path, algorithms: tuple[str, ...], label: str) -> dict[str, str]:
    """Return checksums of a file by algorithm, behind a bar for a large one. Raises OSError."""
    hashes = {algorithm: hashlib.new(algorithm, usedforsecurity=False) for algorithm in algorithms}
    size = path.stat().st_size
    with path.open("rb") as data, ExitStack() as stack:
        bar = stack.enter_context(progress_bar(size, f"verify {label}", "B")) if size > _LARGE else None
        while chunk := data.read(_CHUNK):
            for one in hashes.values():
                one.update(chunk)
            if bar is not None:
                bar.update(len(chunk))
    return {algorithm: one.hexdigest() for algorithm, one in hashes.items()}


class _Fetch:
    """One data set on its way into one folder."""

    def __init__(self, entry: PublicSet, out: Path, policy: RetryPolicy, downloaded: str | Path | None) -> None:
        self._entry, self._policy = entry, policy
        self._records = _Records(out, entry.name)
        self._downloaded = Path(downloaded) if downloaded is not None else None
        self._result = Fetched(entry.name, out, entry.next.replace("{out}", shell_line(out)))

    def run(self, subset: str | None) -> Fetched:
        listed = listed_files(self._entry, self._records.at("listing.json"), self._policy)
        missing = []
        for file in _chosen(listed, subset, self._entry.name):
            if self._records.is_there(file) or _finish_placing(file, self._records):
                self._result.already_there.append(file.name)
            else:
                missing.append(file)
        if missing:
            self._need_room(missing)
            with make_client(self._policy) as client:
                for file in missing:
                    self._bring(client, file)
        if self._result.first_use:
            self._result.remarks.append(
                f"no checksum is known for {', '.join(self._result.first_use)}: what came is trusted and its SHA-256 "
                f"recorded in {self._records.out / CHECKSUMS}; another download that differs from it will be refused"
            )
        return self._result

    def _need_room(self, files: list[RemoteFile]) -> None:
        """Ask for the downloads and, as unpacked images and sounds hardly shrink, as much again for archives."""
        needed = 0
        for file in files:
            paths = (self._records.at(file.name), self._records.at(file.name, ".part"))
            have = next((path.stat().st_size for path in paths if path.exists()), 0)
            needed += max(0, (file.bytes or 0) - have)
            if file.unpack:
                needed += file.unpacked_bytes if file.unpacked_bytes is not None else file.bytes or 0
        require_free_space(self._records.out, needed, f"{self._entry.name} (download and unpacked)")
        unknown = [file.name for file in files if file.bytes is None]
        if unknown:
            self._result.remarks.append(f"the size of {', '.join(unknown)} was not known beforehand")

    def _bring(self, client: httpx2.Client, file: RemoteFile) -> None:
        """Download, verify, record, put into place; each step is repeated safely after a stop."""
        target = self._records.out / file.name
        if file.unpack is None and file.name.casefold() == CHECKSUMS:
            raise DataError(f"{self._entry.name} has a file {file.name}, where our own notes are; it cannot be fetched")
        if file.unpack is None and target.exists() and file.name not in self._records.files:
            raise DataError(f"{target} is there already and was not fetched; move it away or choose another --out")
        whole = self._records.at(file.name)
        if not whole.exists() or self._problem(whole, file, file.urls[0] if file.urls else ""):
            whole.unlink(missing_ok=True)
            if self._downloaded is not None:
                self._copy(file, self._downloaded, whole)
            else:
                self._download(client, file, whole)
        try:
            junk = _put_in_place(whole, file, self._records)
        except BadArchiveError:
            whole.unlink(missing_ok=True)
            self._records.put(file.name, None)
            raise
        if junk:
            self._result.remarks.append(f"{file.name}: {junk} files of operating systems were left out")
        if self._records.files[file.name].confirmed == "first use":
            self._result.first_use.append(file.name)
        self._result.fetched.append(file.name)

    def _download(self, client: httpx2.Client, file: RemoteFile, whole: Path) -> None:
        """Take a file from the first of its addresses that has it."""
        problems: list[str] = []
        for url in map(_at_hub_endpoint, file.urls):
            try:
                self._download_from(client, url, file, whole)
                return
            except DataError as error:
                problems.append(str(error))
        raise DataError("; ".join(problems))

    def _download_from(self, client: httpx2.Client, url: str, file: RemoteFile, whole: Path) -> None:
        part = self._records.at(file.name, ".part")
        one_go = download(client, url, file, part, self._policy)
        problem = self._problem(part, file, url)
        if problem and not one_go:
            discard(part)
            _LOG.warning("%s: pieced together from several connections, %s; once more from the start", url, problem)
            download(client, url, file, part, self._policy)
            problem = self._problem(part, file, url)
        if problem:
            discard(part)
            raise DataError(f"{url}: {problem}; the download is discarded, {_advice(file)}")
        with part.open("r+b") as data:
            os.fsync(data.fileno())
        part.replace(whole)
        discard(part)

    def _copy(self, file: RemoteFile, folder: Path, whole: Path) -> None:
        """Take a file that was downloaded by hand, after the same checks."""
        source, part = folder / Path(file.name).name, self._records.at(file.name, ".part")
        if not source.is_file():
            raise DataError(f"{source} is missing; save {file.name} there, or leave it out with --subset")
        discard(part)
        require_free_space(part.parent, source.stat().st_size, file.name)
        shutil.copyfile(source, part)
        if problem := self._problem(part, file, str(source)):
            discard(part)
            raise DataError(f"{source}: {problem}; {_advice(file)}")
        part.replace(whole)

    def _problem(self, path: Path, file: RemoteFile, url: str) -> str | None:
        """Return what is wrong with a download; one that is right is recorded."""
        size, before = path.stat().st_size, self._records.files.get(file.name)
        if file.bytes not in (None, size):
            return f"it has {size} bytes, {file.bytes} were expected"
        expected = {algorithm: value for algorithm in ("sha256", "md5") if (value := getattr(file, algorithm))}
        confirmed = next(iter(expected), "first use")
        if not expected and before is not None:
            expected = {"sha256": before.sha256}
        found = _digests(path, ("sha256", "md5") if file.md5 else ("sha256",), file.name)
        for algorithm, value in expected.items():
            if found[algorithm] != value:
                return f"its {algorithm} is {found[algorithm]}, {value} was expected"
        url = url or (before.url if before else "")
        self._records.put(file.name, _Record(url, size, found["sha256"], confirmed))
        return None


def _advice(file: RemoteFile) -> str:
    if file.sha256 or file.md5:
        return "type the same again, or take another mirror"
    return (
        f"as {CHECKSUMS} has it from the first use; if the source has a new version, fetch it to another --out "
        f"({size_text(file.bytes)})"
    )


def _at_hub_endpoint(url: str) -> str:
    """Return a URL of the hub at HF_ENDPOINT. Raises ConfigError for one that is not https://."""
    mirrored = f"{hub_endpoint()}/{url.removeprefix(f'{HUB}/')}" if url.startswith(f"{HUB}/") else url
    if mirrored != url and not allowed_url(mirrored, sha256_known=False):
        raise ConfigError(f"HF_ENDPOINT is {hub_endpoint()!r}; https:// was expected")
    return mirrored


def _chosen(files: Sequence[RemoteFile], subset: str | None, name: str) -> tuple[RemoteFile, ...]:
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


# From a verified download to its place: unpacked aside, moved in, recorded; a repeated call continues after any stop.


def _put_in_place(whole: Path, file: RemoteFile, records: _Records) -> int:
    """Put a verified download where it belongs and return how many files of operating systems were left out."""
    if file.unpack is not None:
        return _unpack_into(whole, file.unpack, file, records)
    target = records.out / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    whole.replace(target)
    records.complete(file.name)
    return 0


def _finish_placing(file: RemoteFile, records: _Records) -> bool:
    """Finish what a stopped process had verified already, without its download; return whether it is complete."""
    record = records.files.get(file.name)
    if record is None or record.complete or file.sha256 not in (None, record.sha256):
        return False
    if file.unpack is None:
        target = records.out / file.name
        if not target.is_file() or not _holds(target, record.sha256, file.name):
            return False
        records.complete(file.name)
        return True
    members = records.members(file.name)
    staging = records.at(file.name, ".unpacked")
    if members is None or not all((staging / one).is_file() or (records.out / one).is_file() for one in members):
        return False
    _move_in(members, file, records)
    return True


def _unpack_into(whole: Path, kind: str, file: RemoteFile, records: _Records) -> int:
    """Unpack beside the data, then move in: a reader of the folder never sees half a file."""
    staging, bare = records.at(file.name, ".unpacked"), records.at(file.name, ".bare")
    for half in (staging, bare):
        if half.exists():
            shutil.rmtree(half)  # of an earlier try
    if records.members(file.name) is not None:
        records.at(file.name, ".members.json").replace(records.at(file.name, ".before.json"))
    bare.mkdir(parents=True)
    try:
        found = unpack(whole, kind, bare, strip=file.strip, unpacked_bytes=file.unpacked_bytes)
        # `into` is added unless all of the archive lies in a folder of that name already
        prefix = PurePosixPath(file.into or "")
        if all(path.startswith(f"{file.into}/") for path in found.members):
            prefix = PurePosixPath()
        members = {str(prefix / path): one for path, one in found.members.items()}
        (staging / prefix).parent.mkdir(parents=True, exist_ok=True)
        bare.replace(staging / prefix)
        _refuse_conflicts(members, file, records)
    except DataError:
        for half in (staging, bare):
            shutil.rmtree(half, ignore_errors=True)
        raise
    write_text_atomic(records.at(file.name, ".members.json"), json.dumps(members))
    _move_in(members, file, records)
    return found.junk


def _refuse_conflicts(members: Members, file: RemoteFile, records: _Records) -> None:
    """Raise DataError before anything is moved, where a different file that is not ours is in the way."""
    ours = records.members(file.name, ".before.json") or {}
    for path, (_, sha256) in members.items():
        target = records.out / path
        if not target.exists() and not target.is_symlink():
            continue
        if target.is_dir() or (path not in ours and not _holds(target, sha256, path)):
            raise DataError(
                f"{target} is there already and is not what {file.name} holds; move it away or choose another --out"
            )


def _move_in(members: Members, file: RemoteFile, records: _Records) -> None:
    staging = records.at(file.name, ".unpacked")
    if staging.exists():
        _merge(staging, records.out)
    records.complete(file.name, members)
    records.at(file.name).unlink(missing_ok=True)
    records.at(file.name, ".before.json").unlink(missing_ok=True)


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

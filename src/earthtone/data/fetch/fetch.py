"""The verb: one data set into one folder, whole or to be continued."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock, Timeout

from earthtone.data.fetch.catalogue import CATALOGUE, PublicSet, RemoteFile, allowed_url, find_set, read_catalogue
from earthtone.data.fetch.choose import chosen
from earthtone.data.fetch.connection import Patience, make_client
from earthtone.data.fetch.disk import need_room, size_text
from earthtone.data.fetch.download import discard, download
from earthtone.data.fetch.listing import listed_files
from earthtone.data.fetch.notes import CHECKSUMS, Note, Notes, digests
from earthtone.data.fetch.paths import STATE
from earthtone.data.fetch.place import go_on, place
from earthtone.data.fetch.unpack import BadArchiveError
from earthtone.data.hub_endpoint import HUB, hub_endpoint
from earthtone.errors import ConfigError, DataError
from earthtone.wording import shell_line

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


def fetch(
    name: str,
    out: str | Path | None = None,
    *,
    subset: str | None = None,
    catalogue: str | Path = CATALOGUE,
    downloaded: str | Path | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Bring a public data set to the folder `out` (default: data/NAME) and return what lies there.

    A repeated call goes on where an earlier one was stopped, and downloads nothing that is complete. `subset` names
    parts (`images,metadata`) and, for Parquet releases, how many files of each (`train,2`). `downloaded` is a folder
    with files that were downloaded by hand. Raises ConfigError, DataError.
    """
    entry = find_set(read_catalogue(catalogue), name)
    if entry.by_hand and downloaded is None:
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(entry.by_hand, 1))
        raise DataError(f"{name} cannot be fetched by a program; what to do by hand:\n{steps}")
    folder = Path(out) if out is not None else Path("data") / name
    with claimed(folder):
        return _Fetch(entry, folder, patience or Patience(), downloaded).run(subset)


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

"""Archives from strangers: unpacked into an empty folder, or refused as a whole.

Refused are absolute names, `..`, links, devices, encrypted members, two names that one file system may take for one,
and more bytes than were declared, than fit the disk, or than any honest archive holds for its size.
"""

import bz2
import errno
import gzip
import hashlib
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tarfile import EmptyHeaderError, InvalidHeaderError, TruncatedHeaderError  # type: ignore[attr-defined]  # the stubs lack them
from typing import IO, Any

from earthtone.build.fetch.catalogue import safe_relative, same_name_key
from earthtone.build.fetch.download import free_bytes
from earthtone.errors import DataError
from earthtone.progress import progress_bar, size_text

#: Unpacked bytes for each byte of an archive; a CSV of measurements packs 10 to 30 times, a bomb a thousand times.
MAX_RATIO = 200
_SLACK = 1.05  # published sizes are rounded
_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db")
_CHUNK = 1 << 20
_LONGEST_EXTENSION = 1_000_000
#: What one unpacked file is: its size in bytes and its SHA-256.
Members = dict[str, tuple[int, str]]


class BadArchiveError(DataError):
    """An archive that is broken, hostile or another than was expected; the disk and the folder are not at fault."""


@dataclass(frozen=True)
class Unpacked:
    """What an archive held, by path below the folder, and how many files of operating systems were left out."""

    members: Members
    junk: int


#: One file in an archive: its name, its size in bytes, its content.
_Member = tuple[str, int, IO[bytes]]


def unpack(archive: Path, kind: str, folder: Path, *, strip: int = 0, unpacked_bytes: int | None = None) -> Unpacked:
    """Unpack a zip or tar into an empty `folder` and return its files with size and SHA-256.

    `strip` leading folders of the names are dropped. Raises DataError; what was written by then stays in `folder`,
    which is the caller's to remove.
    """
    limit = _limit(archive, folder, unpacked_bytes)
    members: Members = {}
    seen: dict[str, str] = {}
    junk = written = 0
    try:
        with ExitStack() as stack:
            bar = stack.enter_context(progress_bar(None, f"unpack {archive.name}", "file"))
            for name, size, data in (_zip_members if kind == "zip" else _tar_members)(archive, limit, stack):
                path = _safe(name, archive)
                if any(part in _JUNK for part in path.parts):
                    junk += 1
                    continue
                if strip and len(path.parts) <= strip:
                    raise BadArchiveError(
                        f"{archive.name} holds {str(path)!r} outside a folder; one to drop was expected"
                    )
                path = PurePosixPath(*path.parts[strip:])
                _refuse_same_name(path, seen, archive)
                members[str(path)] = _write(data, folder / path, written, limit, archive)
                if members[str(path)][0] != size:
                    raise EOFError(f"{name[:200]!r} ends after {members[str(path)][0]} of {size} bytes")
                written += members[str(path)][0]
                bar.update()
    except DataError:
        raise
    except Exception as error:  # broken archives fail in many ways, also where tarfile and zipfile do not expect it
        # decoders raise OSError without a number, seeks to nowhere EINVAL; all else of that kind is the disk's
        of_disk = isinstance(error, OSError) and (error.filename or error.errno not in (None, errno.EINVAL))
        if isinstance(error, UnicodeEncodeError) or of_disk:
            raise DataError(f"{archive.name} cannot be unpacked into {folder}: {error}") from error
        reason = str(error)[:200] or type(error).__name__
        raise BadArchiveError(f"{archive.name} is no whole {kind} archive: {reason}") from error
    if not members:
        raise BadArchiveError(f"{archive.name} holds no files; it is not the archive that was expected")
    return Unpacked(members, junk)


@dataclass(frozen=True)
class _Limit:
    """How many bytes may come out of an archive, and what says so."""

    size: int
    reason: str
    by_disk: bool = False

    def exceeded(self, archive: Path) -> DataError:
        """Return the error; the disk's is no fault of the archive, which is kept."""
        text = f"{archive.name} unpacks to more than {size_text(self.size)}, which is {self.reason}"
        if self.by_disk:
            return DataError(f"{text}; free the disk and type the same again")
        return BadArchiveError(f"{text}; refused and discarded, take another mirror")


def _limit(archive: Path, folder: Path, unpacked_bytes: int | None) -> _Limit:
    free = free_bytes(folder)
    if unpacked_bytes is not None:
        honest = _Limit(int(unpacked_bytes * _SLACK), "the size that the catalogue declares")
    else:
        honest = _Limit(archive.stat().st_size * MAX_RATIO, f"{MAX_RATIO} times the archive")
    return honest if honest.size <= free else _Limit(free, "the room on the disk", by_disk=True)


def _zip_members(archive: Path, limit: _Limit, stack: ExitStack) -> Iterator[_Member]:
    opened = stack.enter_context(zipfile.ZipFile(archive))
    infos = opened.infolist()
    if sum(info.file_size for info in infos) > limit.size:
        raise limit.exceeded(archive)
    for info in infos:
        mode = info.external_attr >> 16
        if info.flag_bits & 1:
            raise BadArchiveError(f"{archive.name} is encrypted at {info.filename[:200]!r}; unpack it by hand")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile unpacks others unbounded
            raise BadArchiveError(
                f"{archive.name} holds {info.filename[:200]!r} by compression {info.compress_type}; stored or deflate "
                "were expected, unpack it by hand"
            )
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _not_a_file(archive, info.filename)
        if info.is_dir():
            _safe(info.filename, archive)
            continue
        with opened.open(info) as data:
            yield info.filename, info.file_size, data


def _tar_members(archive: Path, limit: _Limit, stack: ExitStack) -> Iterator[_Member]:
    raw = stack.enter_context(archive.open("rb"))
    magic = raw.read(6)
    raw.seek(0)
    unpacked = next((stack.enter_context(make(raw)) for start, make in _PACKED.items() if magic.startswith(start)), raw)
    most = limit.size + archive.stat().st_size * MAX_RATIO  # headers and what is left out come on top of the files
    stream: Any = _Bounded(unpacked, most, archive)
    opened: Any = stack.enter_context(tarfile.open(fileobj=stream, mode="r:", tarinfo=_CarefulTarInfo))  # noqa: SIM115
    for info in opened:
        opened.members = []  # it is never gone back: keep no list of what was read
        if info.isdir():
            if info.name.strip("./"):
                _safe(info.name, archive)
            continue
        if not info.isreg():
            raise _not_a_file(archive, info.name)
        yield info.name, info.size, opened.extractfile(info)


#: How files of these first bytes are unpacked as they are read, never more than is asked for.
_PACKED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0\x80": lzma.open,
}


class _Bounded:
    """A stream in which nobody gets beyond `most` bytes, be it by reading or by skipping."""

    def __init__(self, stream: IO[bytes], most: int, archive: Path) -> None:
        self._stream, self._most, self._archive = stream, most, archive
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        self._check(self.tell() + size)
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        self._check(place)
        return self._stream.seek(place)

    def _check(self, place: int) -> None:
        if place > self._most:
            raise BadArchiveError(
                f"{self._archive.name} unpacks to more than {size_text(self._most)} of headers and files; refused and "
                "discarded, take another mirror"
            )


class _CarefulTarInfo(tarfile.TarInfo):
    """A header whose extensions (long names, pax) must be small, as they are read into memory; an end must be marked.

    tarfile itself takes a file that is cut between two members, or in a later header, for a whole one.
    """

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> "_CarefulTarInfo":
        try:
            return super().fromtarfile(tarfile)
        except EmptyHeaderError as error:
            raise EOFError("it ends without the mark of an end") from error
        except (TruncatedHeaderError, InvalidHeaderError) as error:
            raise EOFError(f"it breaks off in a header ({error})") from error

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        extensions = (*b"xgXLK",)
        if self.type[0] in extensions and not 0 <= self.size <= _LONGEST_EXTENSION:
            raise BadArchiveError(f"{tar.name!r} has a header of {self.size} bytes; nothing of it was used")
        return super()._proc_member(tar)  # type: ignore[misc]


def _safe(name: str, archive: Path) -> PurePosixPath:
    try:
        return safe_relative(name, archive.name)
    except DataError as error:
        raise BadArchiveError(str(error)) from error


def _not_a_file(archive: Path, name: str) -> BadArchiveError:
    return BadArchiveError(f"{archive.name} holds {name[:200]!r}, a link or device; nothing of it was used")


def _refuse_same_name(path: PurePosixPath, seen: dict[str, str], archive: Path) -> None:
    """Remember a file and its folders; refuse names that some file system cannot hold beside each other."""
    for one, name in (*((folder, f"{folder}/") for folder in list(path.parents)[:-1]), (path, str(path))):
        other = seen.setdefault(key := same_name_key(one), "")
        if other and (other != name or one is path):
            raise BadArchiveError(
                f"{archive.name} holds both {other!r} and {str(one)!r}, which may be one file here; nothing was used"
            )
        seen[key] = name


def _write(data: IO[bytes], path: Path, written: int, limit: _Limit, archive: Path) -> tuple[int, str]:
    """Write one member and return its size and SHA-256; never more than is left of the limit after `written`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as out:
        while chunk := data.read(_CHUNK):
            size += len(chunk)
            if written + size > limit.size:
                raise limit.exceeded(archive)
            digest.update(chunk)
            out.write(chunk)
    return size, digest.hexdigest()

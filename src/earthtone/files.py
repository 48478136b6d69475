"""Files that others name: plain ones, or a line that says what is there instead; nothing waits for a pipe."""

import errno
import hashlib
import os
import stat
from functools import cache
from pathlib import Path

from earthtone.errors import DataError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_HASHED_WHOLE = 4 * 2**30
_PART, _PARTS = 2**20, 256
_TOO_MANY = os.strerror(errno.EMFILE)
_MADE_BY_SYSTEM = ("/proc", "/sys")  # their files have no end, no size, or change under the reader


def regular_file(path: str | Path) -> Path:
    """Return the path of a plain file that can be opened, links followed.

    Raises OSError, with a `strerror` for messages, for all that is no plain file: it could hang, or never end.
    Raises DataError when the system has no room for another open file, which is no fault of this one.
    """
    path = Path(path)
    try:
        found = path.stat()
        if problem := _other_than_plain(found):
            raise OSError(errno.EINVAL, f"{problem}, no plain file", str(path))
        os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))  # a pipe may have come in between
    except OSError as error:
        refuse_full_system(error)
        raise
    except ValueError as error:  # half a character, which this system's names cannot have
        raise OSError(errno.ENOENT, "no name that a file can have here", str(path)) from error
    return path


def content_digest(path: str | Path) -> bytes:
    """Return a 16-byte hash of a plain file's bytes; of one above 4 GiB its size and 256 MiB, evenly spread.

    So a file of any size costs seconds. Raises OSError, DataError as `regular_file`.
    """
    with regular_file(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= _HASHED_WHOLE:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        for part in range(_PARTS):
            file.seek((size - _PART) * part // (_PARTS - 1))
            digest.update(file.read(_PART))
        return digest.digest()


def system_name(path: Path) -> str | bytes:
    """Return a path for libraries that encode names themselves, and fail where one is not in the system's encoding."""
    return os.fsencode(path) if os.name == "posix" else str(path)


def refuse_undecodable(path: str | Path) -> None:
    """Raise DataError for a path whose bytes are no text: tables cannot be there."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: holds bytes that are no UTF-8; rename the folder, or choose another path") from error


def refuse_full_system(error: Exception, path: object = None) -> None:
    """Raise DataError when an error is none of the file's own: the process may open no more. `path` is for messages."""
    full = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    if full or _TOO_MANY in str(error):  # the latter as Lance passes it on
        name = getattr(error, "filename", None) if path is None else path
        raise DataError(f"{name}: {_TOO_MANY}; allow this program more of them (type: ulimit -n 1024)") from error


def _other_than_plain(found: os.stat_result) -> str | None:
    for test, name in _KINDS:
        if test(found.st_mode):
            return name
    return "a file that the system makes up" if found.st_dev in _system_devices() else None


@cache
def _system_devices() -> frozenset[int]:
    """Return the devices of the file systems that hold no files of anybody."""
    root = Path("/").stat().st_dev
    there = (path.stat().st_dev for path in map(Path, _MADE_BY_SYSTEM) if path.is_dir())
    return frozenset(device for device in there if device != root)

"""Files that are either whole or absent: written under a temporary name in the same folder, then renamed.

They have the permissions that any new file gets there, and are on the disk, not only on their way to it, when they have
their name: a loss of power leaves the old file or the new one. Folders that one process at a time may write into.
"""

import errno
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from inspect import signature
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from earthtone.errors import ConfigError, DataError

LOCK_FILE = ".run.lock"
_LEFT = re.compile(r"\..+\.[0-9a-f]{8}(\.[A-Za-z0-9]+)*|\.tmp[A-Za-z0-9]{6}")  # ours, and what safetensors writes first
_OLD_SECONDS = 24 * 3600.0
#: Of newer versions of filelock: a file alone, where a file system has no locks, outlives a process that is killed.
_REAL_LOCK: dict[str, Any] = (
    {"fallback_to_soft": False} if "fallback_to_soft" in signature(FileLock.__init__).parameters else {}
)
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextmanager
def atomic_path(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on any error.

    What killed calls left of the same file a day ago or more is removed. Without `sync` neither that is done, nor is
    it awaited that it is on the disk: for many files that can be made again. Raises DataError when the folder cannot
    be written or its disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        made = _made_folders(path.parent)
        if sync:
            ours = f".{path.stem}."
            _sweep(path.parent, lambda name: name.startswith(ours) and name.endswith(path.suffix), _OLD_SECONDS)
            mode = _new_mode(temporary)
        yield temporary
        if sync:
            if temporary.stat().st_mode != mode:
                temporary.chmod(mode & 0o7777)  # safetensors: for the owner alone, whatever the umask says
            _sync(temporary)
        temporary.replace(path)
        if sync:
            for folder in (path.parent, *made):
                _sync_folder(folder)
    except OSError as error:
        if error.filename is not None and Path(error.filename) not in (temporary, path, *path.parents):
            raise
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; choose another --out or free the disk"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text_atomic(path: Path, text: str, *, sync: bool = True) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all; what no UTF-8 has, of undecodable names, as `\\udcff`."""
    with atomic_path(path, sync=sync) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def only_writer(folder: Path, doing: str, *inside: str) -> Iterator[None]:
    """Hold a folder, made if need be, for this process; what killed processes left half-written in it, and
    in the folders `inside`, is removed.

    The lock goes with its process, however that ends. Raises ConfigError while another process holds it, DataError
    when the folder cannot be written. Where a file system has no locks it is left to the caller to be alone.
    """
    lock, new = FileLock(folder / LOCK_FILE, **_REAL_LOCK), not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"{folder}: another process is {doing} into it; wait until it has ended, or choose another --out"
        ) from error
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise DataError(f"cannot write {folder}: {error.strerror}; choose another --out") from error
    try:
        if lock.is_locked:
            for each in (folder, *(folder / name for name in inside)):
                _sweep(each, lambda _: True, 0.0)
        yield
    finally:
        if new and lock.is_locked and [path.name for path in folder.iterdir()] == [LOCK_FILE]:
            (folder / LOCK_FILE).unlink()  # nothing was written
        lock.release()
        if new:
            with suppress(OSError):  # something was
                folder.rmdir()


def _sweep(folder: Path, of: Callable[[str], bool], age_seconds: float) -> None:
    """Remove files with temporary names that nobody has written to for so long."""
    before = time.time() - age_seconds
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and _LEFT.fullmatch(entry.name) and of(entry.name):
                with suppress(OSError):
                    if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime <= before:
                        Path(entry.path).unlink()


def _made_folders(folder: Path) -> list[Path]:
    """Make a folder with all above it; return the folders that hold a new one."""
    holders = []
    for above in (folder, *folder.parents):
        if above.is_dir():
            break
        holders.append(above.parent)
    folder.mkdir(parents=True, exist_ok=True)
    return holders


def _new_mode(path: Path) -> int:
    """Return the mode that a new file gets here, by umask and by the folder's own rules."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return os.fstat(file).st_mode
    finally:
        os.close(file)
        path.unlink()  # not every writer takes a file that is there


def sync(*paths: Path) -> None:
    """Wait until files, and the names in folders, are on the disk."""
    for path in paths:
        if path.is_dir():
            _sync_folder(path)
        else:
            _sync(path)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some systems cannot open a folder
        _sync(folder)

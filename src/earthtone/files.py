"""Files that users name and files that we write: regular ones only, whole or absent, YAML without aliases."""

import errno
import hashlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from earthtone.errors import ConfigError, DataError, FormatError, NewerFormatError

# Versions of what is written (docs/stability.md). Every file of ours says its own as `format`; one that says none is
# older than that and counts as 1. A version is raised where an earlier earthtone could not read the file, or would read
# it wrongly; what has a default where it lacks raises nothing.

#: What is written -> its version.
FORMATS: Mapping[str, int] = {
    "packed table": 2,
    "seal of a packed table": 1,
    "recipe": 1,
    "run": 1,
    "checkpoint": 1,
    "model": 2,
    "backbone": 1,
    "kept features": 1,
    "result of a task": 1,
    "result of a seed": 1,
    "view of features": 1,
    "figures of a run": 1,
    "result of a step": 1,
    "record of downloads": 1,
    "embeddings": 1,
    "record of tiles": 1,
    "recordings": 1,
    "blocks of a search": 1,
    "clusters of a search": 1,
    "training images": 1,
    "export": 1,
    "split": 1,
    "list of recordings": 1,
    "fetched recordings": 1,
    "curation": 1,
    "recipe of a data set": 1,
    "step of a build": 1,
}


def format_of(values: Mapping[str, Any], kind: str, path: Path | str) -> int:
    """Return the version that a file of a kind in `FORMATS` says it has, 1 where it says none.

    Raises NewerFormatError for one of a later earthtone, FormatError for what is no version.
    """
    from earthtone import __version__

    found, ours = values.get("format", 1), FORMATS[kind]
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise FormatError(f"{path}: its format is {found!r:.40}; a {kind} has a whole number: a damaged file")
    if found > ours:
        raise NewerFormatError(
            f"{path}: {kind} of format {str(found)[:20]}, but earthtone {__version__} reads formats up to {ours}; "
            "install a newer earthtone"
        )
    return found


# Files that are either whole or absent: written under a temporary name in the same folder, then renamed. They have the
# permissions that any new file gets there, and are on the disk, not only on their way to it, when they have their name:
# a loss of power leaves the old file or the new one.

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
            wait_for_disk(temporary)
        temporary.replace(path)
        if sync:
            wait_for_disk(path.parent, *made)
    except OSError as error:
        if error.filename is not None and Path(error.filename) not in (temporary, path, *path.parents):
            raise
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; choose another --out or free the disk"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which must be absent or empty; rename it at the end, remove it on any error.

    Raises DataError when it cannot be written or its disk is full.
    """
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        made = _made_folders(folder.parent)
        temporary.mkdir()
        yield temporary
        wait_for_disk(*temporary.rglob("*"), temporary)
        temporary.replace(folder)  # an empty folder is replaced, one that holds something is not
        wait_for_disk(folder.parent, *made)
    except OSError as error:
        if error.filename is not None and not Path(error.filename).is_relative_to(folder.parent):
            raise
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}; choose another --out or free the disk"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_used(folder: Path) -> None:
    """Raise ConfigError where a folder is to be written, and something is there already."""
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty; choose another --out")


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


_APPEND_SECONDS = 30.0


def append_lines(path: Path, header: str, lines: Sequence[str]) -> None:
    """Append lines, each with its end, to a text file, as one write under a lock; all are there, or none.

    A file that is not there, or is empty, begins with `header`. A last line without its end, which a killed writer or
    a full disk left, is ended first. Raises DataError where the file cannot be written or another process holds it for
    half a minute.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"), **_REAL_LOCK)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(NotImplementedError):  # a file system without locks: one write is whole beside others, mostly
            try:
                lock.acquire(timeout=_APPEND_SECONDS)
            except OSError as error:
                if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
                    raise
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, "no plain file")
            size = os.fstat(file).st_size
            start = header if not size else "" if os.pread(file, 1, size - 1) == b"\n" else "\n"
            data = (start + "".join(lines)).encode("utf-8", "backslashreplace")
            try:
                if os.write(file, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
    except Timeout as error:
        raise DataError(f"{path}: another process has held it for {_APPEND_SECONDS:.0f} s; try again") from error
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; choose another file or free the disk"
        ) from error
    finally:
        lock.release()


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


def wait_for_disk(*paths: Path) -> None:
    """Wait until files, and the names in folders, are on the disk."""
    for path in paths:
        with suppress(OSError) if path.is_dir() else nullcontext():  # some systems cannot open a folder
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


# YAML of strangers: plain values only, and no aliases, with which a few lines can stand for more than any memory.

_MOST_BYTES = 2**20  # of a file: recipes and grids have a few thousand
_LONGEST_NUMBER = 1000  # letters
_DEEPEST = 100  # mappings and lists in each other; parsers call themselves for each
_FAULTS = (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
# ValueError: a 13th month, 5,000 digits; the others: what the parser itself does not foresee


class _Plain(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in names:
                        at = key.start_mark.line + 1
                        raise yaml.YAMLError(f"line {at}: {key.value} is there twice; each key once expected")
                    names.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: Any) -> Any:
        """A number that Python reads in no time: not in base 60, nor of thousands of digits."""
        if ":" in node.value or len(node.value) > _LONGEST_NUMBER:
            at = node.start_mark.line + 1
            raise yaml.YAMLError(f"line {at}: {node.value[:40]} is no plain number; quote it where it is a text")
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Plain.add_constructor(f"tag:yaml.org,2002:{_kind}", _Plain.construct_number)


def read_yaml(text: str) -> Any:
    """Return the plain values of a YAML text. Raises ValueError, on one line, for anything else."""
    try:
        _refuse_hostile(text)
        return yaml.load(text, _Plain)  # noqa: S506 - a safe loader
    except _FAULTS as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error


def read_yaml_file(path: Path) -> Any:
    """Return the plain values of a YAML file. Raises OSError; ValueError, on one line, for anything else."""
    with regular_file(path).open("rb") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES:,} bytes; a small text file expected")
    return read_yaml(text.decode("utf-8"))


def _refuse_hostile(text: str) -> None:
    """Raise YAMLError for aliases and for endless nesting, before anything is built."""
    depth = 0
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"line {line}: an alias (*); write the value itself")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"line {line}: nested deeper than {_DEEPEST}")


# Files that others name: plain ones, or a line that says what is there instead; nothing waits for a pipe.

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

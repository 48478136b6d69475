"""From a verified download to its place: unpacked aside, moved in, noted; a stop at any point is gone on from."""

import shutil
from pathlib import Path, PurePosixPath

from earthtone.data.fetch.catalogue import RemoteFile
from earthtone.data.fetch.notes import Notes, digests
from earthtone.data.fetch.unpack import Members, unpack
from earthtone.errors import DataError


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

"""Room on the disk, asked before it is used."""

import shutil
from pathlib import Path

from earthtone.errors import DataError

#: Never filled: other programs need some room.
RESERVE_BYTES = 128_000_000


def free_bytes(folder: Path) -> int:
    """Return the bytes that may be written below `folder` (which need not exist yet); never negative."""
    while not folder.exists():
        folder = folder.parent
    return max(0, shutil.disk_usage(folder).free - RESERVE_BYTES)


def need_room(folder: Path, needed: int, what: str) -> None:
    """Raise DataError unless `needed` bytes fit on the disk of `folder`."""
    free = free_bytes(folder)
    if needed > free:
        raise DataError(
            f"{what} needs {size_text(needed)}, and {folder} has room for {size_text(free)}; "
            "free the disk, choose another --out, or take less with --subset"
        )


def size_text(count: int | None) -> str:
    """Return bytes as people say them: `4.0 GB`, `17 kB`; `unknown` for null."""
    if count is None:
        return "unknown"
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"

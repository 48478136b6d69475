"""Names of files that strangers give: inside archives, in listings, in catalogues."""

import re
import unicodedata
from pathlib import PurePosixPath

from earthtone.errors import DataError

#: Where the downloader keeps what is not ready yet, inside the output folder.
STATE = ".fetch"
_DEEPEST = 100
_DRIVE = re.compile(r"^[A-Za-z]:")


def safe_relative(name: str, where: str) -> PurePosixPath:
    """Return `name` as a relative path that stays below its folder. Raises DataError; `where` says who gave it."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    absolute = name.startswith(("/", "\\")) or _DRIVE.match(name)
    odd = any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
    if absolute or odd or not parts or ".." in parts or parts[0].casefold() == STATE:
        raise DataError(f"{where} holds the name {name[:200]!r}, which could leave its folder; nothing of it was used")
    if len(parts) > _DEEPEST:
        raise DataError(f"{where} holds the name {name[:200]!r}, {len(parts)} folders deep; nothing of it was used")
    return PurePosixPath(*parts)


def same_name_key(path: PurePosixPath) -> str:
    """Return what is equal for paths that a case-insensitive file system takes for one."""
    return unicodedata.normalize("NFC", str(path)).casefold()

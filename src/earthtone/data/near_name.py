"""The file that a table may mean where it names none: told in the message, never opened instead."""

import os
import unicodedata
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

_MOST_ENTRIES = 500_000  # names of files that are kept to be compared, 100 MB at most
_MOST_PARTS = 32  # folders in a path; a hostile one may have thousands


class NearNames:
    """Looks for files by nearly their names; it lists each folder once, and at most half a million names in all."""

    def __init__(self) -> None:
        self._listed: dict[Path, tuple[dict[str, str], dict[str, str]]] = {}
        self._room = _MOST_ENTRIES

    def hint(self, folder: Path, name: str) -> str:
        """Return what to say after "is not a file": the file below `folder` that is nearly `name`, or nothing."""
        try:
            found = self._found(folder, name)
        except (OSError, ValueError):  # a folder that cannot be listed, a name that the system refuses
            return ""
        return "" if found is None else f"; {found!r} is there ({_difference(name, found)}): write it so"

    def _found(self, folder: Path, name: str) -> str | None:
        plain = name.strip().strip("'\"").strip().replace("\\", "/")
        parts = PurePosixPath(plain).parts
        if not parts or len(parts) > _MOST_PARTS:
            return None
        for wanted in dict.fromkeys((plain, unquote(plain))):
            if (found := self._nearest(folder, PurePosixPath(wanted))) is not None:
                return found.as_posix()
        tails = [PurePosixPath(*parts[count:]) for count in range(1, len(parts))]
        elsewhere = [*tails, PurePosixPath("..", *parts)]
        return next((path.as_posix() for path in elsewhere if (folder / path).is_file()), None)

    def _nearest(self, folder: Path, name: PurePosixPath) -> PurePosixPath | None:
        """Return the path of the file with nearly this name, part by part, or None."""
        here = PurePosixPath()
        for place, part in enumerate(name.parts, 1):
            last = place == len(name.parts)
            step = here / part
            if not ((folder / step).is_file() if last else (folder / step).is_dir()):
                names, stems = self._names(folder / here)
                near = names.get(_key(part)) or (stems.get(_key(PurePosixPath(part).stem)) if last else None)
                if near is None:
                    return None
                step = here / near
            here = step
        return here if (folder / here).is_file() else None

    def _names(self, folder: Path) -> tuple[dict[str, str], dict[str, str]]:
        """Return the names in a folder by their keys, and those of files by the keys of their stems."""
        if folder not in self._listed:
            with os.scandir(folder) as entries:
                found = sorted(entry.name for entry in islice(entries, self._room))
            self._room -= len(found)
            names = {_key(name): name for name in reversed(found)}
            self._listed[folder] = names, {_key(PurePosixPath(name).stem): name for name in reversed(found)}
        return self._listed[folder]


def _key(name: str) -> str:
    """Return what is the same of names that differ in case, in blanks, or in how Unicode composes their letters."""
    return "".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def _difference(name: str, found: str) -> str:
    """Return in what the name of the table and that of the file differ; the two may look the same."""
    if name.strip() == found:
        return "without the blanks around it"
    if "\\" in name:
        return "with / between folders"
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", found):
        form = "NFC" if unicodedata.is_normalized("NFC", found) else "NFD"
        return f"its letters are composed otherwise, as Unicode {form}"
    if unicodedata.normalize("NFC", name).casefold() == unicodedata.normalize("NFC", found).casefold():
        return "with other capital letters"
    if PurePosixPath(name).name == PurePosixPath(found).name:
        return "in another folder"
    if PurePosixPath(name).stem == PurePosixPath(found).stem:
        return "with another ending"
    return "with nearly this name"

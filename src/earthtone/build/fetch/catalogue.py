"""The catalogue of public data sets, read from a YAML file and checked key by key; its entries as texts.

Also which names and addresses of strangers, from catalogues, listings and archives, may be used.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from earthtone.build.web import shown_url
from earthtone.errors import ConfigError, DataError, did_you_mean, one_line_each
from earthtone.files import read_yaml, regular_file
from earthtone.progress import size_text

#: Where the downloader keeps what is not ready yet, inside the output folder.
STATE = ".fetch"
_DEEPEST = 100
_DRIVE = re.compile(r"^[A-Za-z]:")
#: The catalogue that comes with the package.
CATALOGUE = Path(__file__).with_name("catalogue.yaml")
ARCHIVES = ("zip", "tar")
_HASHES = {"md5": 32, "sha256": 64}
_COMMAND = re.compile(r"earthtone [\w ./,:=@{}\[\]-]+")  # it is printed to be copied: nothing that a shell would act on
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class RemoteFile:
    """One file to download. `urls` are alternatives, the first is asked first; null sizes and hashes are unknown."""

    name: str
    urls: tuple[str, ...]
    bytes: int | None
    part: str
    md5: str | None = None
    sha256: str | None = None
    unpack: str | None = None
    strip: int = 0
    into: str | None = None
    unpacked_bytes: int | None = None


@dataclass(frozen=True)
class Part:
    """Which of a listing's files (shell patterns) are one part of the set, and the folder they end up in."""

    files: tuple[str, ...]
    into: str | None = None


@dataclass(frozen=True)
class Zenodo:
    """A record whose files, sizes and checksums Zenodo tells."""

    record: str
    endpoint: str = "https://zenodo.org"


@dataclass(frozen=True)
class HuggingFace:
    """A repository of Parquet files whose sizes and checksums the hub tells."""

    repository: str
    revision: str = "main"


@dataclass(frozen=True)
class PublicSet:
    """One data set; `next` is the command that follows, with `{out}` for the folder."""

    name: str
    title: str
    what: str
    items: str
    licence: str | None
    licence_note: str | None
    citation: str
    homepage: str
    next: str
    notes: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    files: tuple[RemoteFile, ...] = ()
    parts: dict[str, Part] = field(default_factory=dict)
    zenodo: Zenodo | None = None
    huggingface: HuggingFace | None = None

    @property
    def bytes(self) -> int | None:
        """The size of the whole download, or null when any file's is unknown."""
        sizes = [file.bytes for file in self.files]
        return sum(size or 0 for size in sizes) if sizes and None not in sizes else None

    @property
    def known_bytes(self) -> int:
        """The sizes that are known, added up."""
        return sum(file.bytes or 0 for file in self.files)

    @property
    def part_names(self) -> tuple[str, ...]:
        """What `--subset` may name, as far as the catalogue knows."""
        if self.huggingface:
            return ("train", "validation", "test")
        return tuple(dict.fromkeys([*self.parts, *(file.part for file in self.files)]))


def read_catalogue(path: str | Path = CATALOGUE) -> dict[str, PublicSet]:
    """Return the sets of a catalogue by name. Raises DataError naming the entry and the key that is wrong."""
    path = Path(path)
    try:
        entries = read_yaml(regular_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a catalogue: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path} is no catalogue; a mapping from names to data sets was expected")
    sets = {}
    for name, entry in entries.items():
        where = f"{path.name}: {name}"
        sets[str(name)] = _typed(PublicSet, {"name": str(name), **_mapping(entry, where)}, where)
        _check(sets[str(name)], where)
    return sets


def find_set(sets: Mapping[str, PublicSet], name: str) -> PublicSet:
    """Return the set called `name`. Raises ConfigError naming the nearest."""
    if name not in sets:
        raise ConfigError(f"no data set {name!r}; {did_you_mean(name, sets)}earthtone fetch --list shows all")
    return sets[name]


def allowed_url(url: str, sha256_known: bool) -> bool:
    """Return whether a URL may be asked: https, or http on this machine, or http where a SHA-256 tells forgeries.

    A name or a password in it is refused: it would be sent, printed, and written beside the data.
    """
    try:
        split = urlsplit(url)
    except ValueError:
        return False
    if "@" in split.netloc:
        return False
    if split.scheme == "http":
        return split.hostname in _LOOPBACK or sha256_known
    return split.scheme == "https" and bool(split.hostname)


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


def sets_text(sets: Mapping[str, PublicSet]) -> str:
    """Return a table of data sets, or all that is known of a single one."""
    if len(sets) == 1:
        return _set_text(next(iter(sets.values())))
    rows = [
        (entry.name, download_text(entry), entry.licence or "not found", entry.items, entry.what)
        for entry in sets.values()
    ]
    rows.insert(0, ("NAME", "DOWNLOAD", "LICENCE", "ITEMS", "WHAT"))
    widths = [max(len(cells[column]) for cells in rows) for column in range(4)]
    lines = ["  ".join([*(cells[k].ljust(widths[k]) for k in range(4)), cells[4]]) for cells in rows]
    return one_line_each(
        [*lines, "", "earthtone fetch NAME --list tells more; earthtone fetch NAME brings it to data/NAME"]
    )


def plain_sets(sets: Mapping[str, PublicSet]) -> list[dict[str, Any]]:
    """Return data sets as plain values for JSON."""
    return [{**asdict(entry), "bytes": entry.bytes, "part_names": entry.part_names} for entry in sets.values()]


def download_text(entry: PublicSet) -> str:
    """Return how large a download is, as far as it is known, or that a person must download it."""
    if entry.by_hand:
        return "by hand"
    if not entry.files:
        return "host tells"
    if entry.bytes is not None or not entry.known_bytes:
        return size_text(entry.bytes)
    largest_known = any(file.bytes for file in entry.files if file.unpack)
    return f"{'' if largest_known else 'over '}{size_text(entry.known_bytes)}"


def _set_text(entry: PublicSet) -> str:
    """Return all that the catalogue knows of a set, in lines."""
    lines = [f"{entry.name}: {entry.title}", f"  {entry.what}", f"  items: {entry.items}"]
    lines.append(f"  licence: {entry.licence or 'not found; look at the homepage'}")
    lines += [f"  {entry.licence_note}"] if entry.licence_note else []
    lines += [f"  cite: {entry.citation}", f"  homepage: {entry.homepage}"]
    lines.append(f"  parts for --subset: {', '.join(entry.part_names)}")
    lines += [f"  file: {_file_text(file)}" for file in entry.files]
    if not entry.files:
        lines.append("  files: their names, sizes and checksums are asked of the host when the set is fetched")
    lines += [f"  note: {note}" for note in entry.notes]
    lines += [f"  by hand {number}: {step}" for number, step in enumerate(entry.by_hand, 1)]
    return one_line_each(lines)


def _file_text(file: RemoteFile) -> str:
    """Return a file's name, size and checksum, or that they were not found."""
    checksum = f"sha256 {file.sha256}" if file.sha256 else f"md5 {file.md5}" if file.md5 else "checksum not found"
    size = f"{file.bytes} bytes" if file.bytes is not None else "size not found"
    return f"{file.name} ({file.part}), {size}, {checksum}"


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DataError(f"{where} is {value!r:.80}; a mapping was expected")
    return value


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return a value in its declared type: a text, a whole number, a list, a mapping, or a dataclass, key by key.

    By hand, so that it is said which entry of a list is wrong.
    """
    if get_origin(kind) is UnionType:
        inner = next(one for one in get_args(kind) if one is not type(None))
        return None if value is None else _typed(inner, value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise DataError(f"{where} is {value!r:.80}; a list was expected")
        return tuple(_typed(get_args(kind)[0], one, f"{where}[{n}]") for n, one in enumerate(value))
    if kind in (str, int):
        if type(value) is not kind or value == "" or (kind is int and value < 0):
            raise DataError(f"{where} is {value!r:.80}; {'a text' if kind is str else 'a whole number'} was expected")
        return value
    values = _mapping(value, where)
    if get_origin(kind) is dict:
        return {key: _typed(get_args(kind)[1], one, f"{where}: {key}") for key, one in values.items()}
    types = get_type_hints(kind)
    for key in values:
        if key not in types:
            raise DataError(f"{where} has the unknown key {key!r}; {did_you_mean(key, types)}known: {[*types]}")
    for one in fields(kind):
        if one.default is MISSING and one.default_factory is MISSING and one.name not in values:
            raise DataError(f"{where} lacks {one.name!r}; write it, null where it is not known and null is allowed")
    return kind(**{key: _typed(types[key], one, f"{where}: {key}") for key, one in values.items()})


def _check(entry: PublicSet, where: str) -> None:
    """Raise DataError where values do not fit each other."""
    sources = [bool(entry.files), entry.zenodo is not None, entry.huggingface is not None]
    if sum(sources) != 1:
        raise DataError(f"{where} must have exactly one of files, zenodo and huggingface")
    if not _COMMAND.fullmatch(entry.next):
        raise DataError(
            f"{where}: next is {entry.next!r:.80}; a command of earthtone was expected, {{out}} for the folder"
        )
    names = [file.name for file in entry.files]
    if len(set(names)) < len(names):
        raise DataError(f"{where} names a file twice: {names}")
    for file in entry.files:
        _check_file(file, entry, f"{where}: {file.name}")
    if entry.zenodo and not allowed_url(entry.zenodo.endpoint, False):
        raise DataError(
            f"{where}: endpoint is {shown_url(entry.zenodo.endpoint)}; https:// without a name was expected"
        )


def _check_file(file: RemoteFile, entry: PublicSet, where: str) -> None:
    safe_relative(file.name, where)
    if file.into is not None:
        safe_relative(file.into, where)
    if file.unpack not in (None, *ARCHIVES):
        raise DataError(f"{where}: unpack is {file.unpack!r}; one of {[*ARCHIVES]} or null was expected")
    if not file.urls and not entry.by_hand:
        raise DataError(f"{where} has no urls; give one, or say under by_hand what a person must do")
    for algorithm, length in _HASHES.items():
        value = getattr(file, algorithm)
        if value is not None and not re.fullmatch(rf"[0-9a-f]{{{length}}}", value):
            raise DataError(f"{where}: {algorithm} is {value!r:.80}; {length} hexadecimal digits were expected")
    for url in file.urls:
        if not allowed_url(url, file.sha256 is not None):
            raise DataError(
                f"{where}: {shown_url(url)} is not https:// without a name or a password; http:// is allowed on this "
                "machine, or with the file's sha256"
            )

"""What is to be embedded: images and sounds of any data, each with its id, its columns and where its media lie.

A packed table, a manifest or a release, a published labelled set, a folder of files. Items are told in a fixed order,
again and again, without being decoded; what decodes them is in `reading.py`.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from earthtone.atlas.embeddings import is_own
from earthtone.data.labelled.classes import LAYOUTS, media_columns
from earthtone.data.labelled.items import SPLIT_FOLDERS, LabelledItem
from earthtone.data.manifest import TABLES, listed, manifest_table
from earthtone.data.packed import Table, unfinished_marker
from earthtone.data.pair import (
    DUPLICATE_ID,
    EXCERPT_COLUMNS,
    MISSING_AUDIO,
    MISSING_IMAGE,
    Pair,
    Problem,
    UnreadableCell,
    number,
)
from earthtone.data.parquet import parquet_names
from earthtone.data.releases import looks_like_release
from earthtone.data.remote import is_hub, is_remote
from earthtone.data.source import Source, check_input, is_packed, items_skipping, open_source, preferred_audio
from earthtone.encode.engine import Medium, check_signal
from earthtone.errors import ConfigError, DataError, shell_line
from earthtone.models.two_tower import TwoTower
from earthtone.signal.excerpt import Excerpt, Sound, source_of
from earthtone.signal.raster import warnings_as
from earthtone.signal.readers import kind

Skip = Callable[[str], bool]
"""Whether the item of an id is not wanted now: its media need not be read."""

_MEDIA: tuple[Medium, ...] = ("image", "audio")
_TILE = ("west", "south", "east", "north")
_PLACED = ("longitude", "latitude", "datetime", "source", "license", "attribution")
_RASTERS = (".tif", ".tiff", ".vrt", ".jp2")
_EMPTY = {MISSING_IMAGE: "the image cell is empty", MISSING_AUDIO: "the audio cell is empty"}
_SCENE_PIXELS = 2048  # along the shorter side of a raster, above which it is hardly a tile
_SCENES_LOOKED_AT = 8
_ROWS = 1024  # of a packed table, whose columns are read at once
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """One image or recording."""

    id: str
    media: Sound | int | None
    """Its file, its bytes, an excerpt of a recording, or its row in a packed table; None where it was to be skipped."""
    columns: Mapping[str, object]
    """By the names of a table of embeddings; what is not there is null."""
    gsd_m: float | None = None
    fingerprint: str | None = None
    """Of what lies in a packed table; of files it is taken when they are read."""


class Items(Protocol):
    """Images and sounds in a fixed order."""

    @property
    def media(self) -> tuple[Medium, ...]:
        """Which there are."""

    @property
    def extra(self) -> tuple[str, ...]:
        """Free text columns that items carry."""

    @property
    def verified(self) -> bool:
        """Whether fingerprints are to be had without bringing everything from far away."""

    def count(self, medium: Medium) -> int:
        """Return how many items there are at most."""

    def items(self, medium: Medium, skip: Skip) -> Iterator[Item | Problem]:
        """Yield the images or the sounds, and problems of rows that cannot be used."""


def open_items(
    data: str | Path, model: TwoTower, *, modality: str | None = None, columns: Mapping[str, str] | None = None,
    leave_out: Path | None = None,
) -> Items:  # fmt: skip
    """Return the items in `data` that a model can embed: images, sounds, or what is there.

    `columns` maps a manifest's columns; `leave_out` is a folder below `data` that is not looked into. Raises DataError,
    ConfigError, ModelError for a table that was packed for another model.
    """
    asked = tuple(medium for medium in _MEDIA if modality in (None, "both", medium))
    wanted = tuple(medium for medium in asked if medium in model.config.media)
    if not wanted or (modality == "both" and len(wanted) < len(asked)):
        _ = model.image_tower.features, model.audio_tower.features  # one of them says that it is not there
    found: Items
    if is_packed(data):
        found = _packed(data, model, columns, wanted)
    elif is_hub(data):
        found = SourceItems(_sources(data, model, columns, wanted))
    else:
        found = _local(Path(data), model, columns, wanted, leave_out)
    lacking = [medium for medium in wanted if medium not in found.media]
    if lacking and (modality is not None or len(lacking) == len(wanted)):
        there = f"; {' and '.join(found.media)} is there" if found.media else ""
        raise DataError(f"{data} has no {' and no '.join(lacking)} to embed{there}")
    return found


def _local(
    path: Path, model: TwoTower, columns: Mapping[str, str] | None, wanted: tuple[Medium, ...], leave_out: Path | None
) -> Items:
    if not path.exists():
        raise DataError(f"{path} does not exist; a manifest, a folder, a packed table or a release was expected")
    if path.is_dir():
        fits = (read for is_there, read in LAYOUTS.values() if is_there(path))
        if (read := next(fits, None)) is not None:
            _refuse_columns(path, columns)
            loaded = read(path)
            for line in loaded.notes:
                _log.warning("%s: %s", path, line)
            return LabelledItems(loaded.items, wanted)
        if _has_manifest(path) or looks_like_release(path) or any(parquet_names(path)):
            return SourceItems(_sources(path, model, columns, wanted))
        _refuse_columns(path, columns)
        found = FolderItems(path, wanted, leave_out)
        if "image" in wanted:
            found.tell_scenes()
        return found
    if path.suffix.lower() in TABLES:
        return SourceItems(_sources(path, model, columns, wanted))
    _refuse_columns(path, columns)
    if path.suffix.lower() in _RASTERS:
        tiles = shell_line("earthtone", "tiles", "--raster", path, "--out", "TILES")
        raise DataError(
            f"{path} is a raster, which is embedded tile by tile; type: {tiles}, then embed with --data TILES "
            "(a folder of rasters that are tiles already is taken as it is)"
        )
    if kind(path) is None:
        raise DataError(
            f"{path}: {path.suffix or 'no suffix'}; a manifest ({', '.join(TABLES)}), a folder, an image or a sound "
            "was expected"
        )
    return FolderItems(path, wanted, None)


def _refuse_columns(path: Path, columns: Mapping[str, str] | None) -> None:
    if columns:
        raise ConfigError(f"--columns names those of a manifest; {path} is none")


def _has_manifest(folder: Path) -> bool:
    names = [f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in TABLES]
    return any((folder / name).is_file() for name in names)


# Manifests, releases, data sets on the hub.


def _sources(
    data: str | Path, model: TwoTower, columns: Mapping[str, str] | None, wanted: tuple[Medium, ...]
) -> dict[Medium, Source]:
    """Return a source for each medium that is there: a row may lack the other one. Raises DataError without any."""
    found: dict[Medium, Source] = {}
    prefer = preferred_audio(data, model.signal)
    given = dict(columns or {})
    path = Path(str(data)) if is_hub(data) else _manifest_in(Path(data))
    if path.is_file() and path.suffix.lower() in TABLES and not _is_parquet_release(path):
        there, given = media_columns(manifest_table(path), given)
        data = path
        media = [medium for medium in wanted if medium in there]
        if not media:
            raise DataError(f"{path} has columns of {' and '.join(there)}, none of {' and '.join(wanted)}")
        for medium in media:
            with _quiet(bool(found)):
                found[medium] = open_source(data, columns=given, need=(medium,), prefer=prefer)
    else:
        refused: list[DataError] = []
        for medium in wanted:
            try:
                with _quiet(bool(found)):
                    found[medium] = open_source(data, columns=given, need=(medium,), prefer=prefer)
            except DataError as error:
                refused.append(error)
        if not found:
            raise refused[0]
    if "audio" in found:
        check_input(found["audio"], model.signal)
    return found


def _manifest_in(path: Path) -> Path:
    """Return the one manifest in a folder; the path itself where it is none, or where `open_source` has to choose."""
    if not path.is_dir() or looks_like_release(path):
        return path
    names = [f"{stem}{suffix}" for stem in ("manifest", "metadata") for suffix in TABLES]
    inside = [path / name for name in names if (path / name).is_file()]
    if len(inside) > 1:
        raise DataError(f"{path} holds {listed([file.name for file in inside])}; type the path of one of them")
    return inside[0] if inside else path


def _is_parquet_release(path: Path) -> bool:
    from earthtone.data.releases import is_release_file

    return path.suffix.lower() == ".parquet" and is_release_file(path)


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """Have the second source of the same rows not repeat what the first has said."""
    log = logging.getLogger("earthtone.data")
    before = log.level
    if quiet:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


class SourceItems:
    """The rows of a manifest or a release: first its images, then its sounds."""

    def __init__(self, sources: Mapping[Medium, Source]) -> None:
        self.media = tuple(sources)
        self._sources = sources
        first = next(iter(sources.values()))
        self.verified = not is_hub(first.path)
        placed = {*_TILE, "crs"} <= set(first.extra_columns)
        self._own = (*_TILE, "crs") if placed else ()
        told = (*self._own, *EXCERPT_COLUMNS)  # `start_s` and `seconds` of a table of embeddings say the same
        self._carried = _carried([name for name in first.extra_columns if name not in told], str(first.path))
        self.extra = ("split", *self._carried.values())
        self.without = dict.fromkeys(sources, 0)

    def count(self, medium: Medium) -> int:
        return len(self._sources[medium])

    def items(self, medium: Medium, skip: Skip) -> Iterator[Item | Problem]:
        """Yield them; rows whose cell of this medium is empty are no problem, since they may have the other one."""
        source = self._sources[medium]
        for pair in items_skipping(source, lambda _, name: skip(name)):
            if isinstance(pair, Problem):
                if len(self.media) > 1 and _EMPTY.get(pair.kind, "\0") in pair.detail:
                    continue
                yield pair
            else:
                yield self._item(pair, source, pair.image if medium == "image" else pair.audio)

    def _item(self, pair: Pair, source: Source, media: Sound | None) -> Item:
        columns: dict[str, object] = {name: getattr(pair, name) for name in _PLACED}
        file = None if media is None else source_of(media)
        columns["media"] = str(file.absolute()) if isinstance(file, Path) else f"{_address(source.path)}#{pair.id}"
        if isinstance(media, Excerpt):
            columns["start_s"] = media.start_s
        columns["split"] = pair.split
        columns |= {name: _bound(pair.extra.get(name)) for name in self._own if name != "crs"}
        if "crs" in self._own:
            columns["crs"] = pair.extra.get("crs") or None
        columns |= {own: pair.extra.get(name) or None for name, own in self._carried.items()}
        return Item(pair.id, media, columns, pair.image_gsd_m)


def _address(path: Path | str) -> str:
    return str(path) if is_hub(path) or is_remote(path) else str(Path(path).absolute())


def _bound(text: str | None) -> float | None:
    try:
        return number(text)
    except UnreadableCell:
        return None


def _carried(names: Sequence[str], where: str) -> dict[str, str]:
    """Return under which names free columns are carried: none that a table of embeddings uses itself."""
    found: dict[str, str] = {}
    for name in names:
        own = name
        while is_own(own) or own == "split" or (own != name and own in names):
            own += "_"
        found[name] = own
    if changed := [f"{name!r} as {own!r}" for name, own in found.items() if own != name]:
        _log.warning("%s: carries %s, since a table of embeddings has its own", where, ", ".join(changed[:30]))
    return found


# Published labelled sets with a layout of their own, and folders of files.


class LabelledItems:
    """The items of a published set whose layout is known."""

    verified = True
    extra: tuple[str, ...] = ("split", "label", "fold", "group")

    def __init__(self, items: Sequence[LabelledItem], wanted: tuple[Medium, ...]) -> None:
        self._items = items
        self.media = tuple(m for m in wanted if any(self._file(item, m) is not None for item in items))

    def count(self, medium: Medium) -> int:
        return sum(self._file(item, medium) is not None for item in self._items)

    def items(self, medium: Medium, skip: Skip) -> Iterator[Item | Problem]:
        seen = set[str]()
        for item in self._items:
            if (file := self._file(item, medium)) is not None:
                if item.id in seen:
                    yield Problem(item.id, DUPLICATE_ID, "its id occurred before; the first one is kept")
                    continue
                seen.add(item.id)
                told = {"split": item.split, "label": item.label, "group": item.group}
                fold = None if item.fold is None else str(item.fold)
                told |= {"fold": fold, "media": str(file.absolute())}
                sound = item.sound if medium == "audio" else None
                columns = told | ({"start_s": sound.start_s} if isinstance(sound, Excerpt) else {})
                yield Item(item.id, sound or file, columns, item.image_gsd_m)

    @staticmethod
    def _file(item: LabelledItem, medium: Medium) -> Path | None:
        return item.image if medium == "image" else item.audio


def _raster_size(path: Path) -> tuple[int, int] | None:
    """Return width and height of a raster, None where they cannot be told: reading it will say why."""
    try:
        import rasterio  # of an extra
        from rasterio.errors import NotGeoreferencedWarning

        from earthtone.build.imagery import driver_of, rasterio_errors

        with (
            warnings_as("ignore", NotGeoreferencedWarning),
            rasterio_errors(path),
            rasterio.open(path, driver=driver_of(path)) as file,
        ):
            return int(file.width), int(file.height)
    except (ImportError, DataError):
        return None


@cache
def _kind(suffix: str) -> str | None:
    return kind(Path(f"x{suffix}"))


@dataclass
class FolderItems:
    """All images and sounds below a folder, or one file; ids are paths below it.

    Hidden files and folders (`.`, `__`) are passed over, links followed. Where every file lies in a folder a class, the
    class is its label.
    """

    path: Path
    wanted: tuple[Medium, ...]
    leave_out: Path | None
    verified: bool = field(default=True, init=False)

    @property
    def media(self) -> tuple[Medium, ...]:
        return tuple(medium for medium in self.wanted if self._shape[0].get(medium))

    @property
    def extra(self) -> tuple[str, ...]:
        return ("split", "label") if self._shape[1] is not None else ()

    def count(self, medium: Medium) -> int:
        return self._shape[0].get(medium, 0)

    def items(self, medium: Medium, skip: Skip) -> Iterator[Item | Problem]:
        depth = self._shape[1]
        for name in self._names():
            if _kind(Path(name).suffix) != medium:
                continue
            try:
                name.encode()
            except UnicodeEncodeError:
                shown = name.encode("utf-8", "backslashreplace").decode()
                yield Problem(shown, "name is no UTF-8", "its name holds bytes that are no UTF-8; rename it")
                continue
            file = self.path if self.path.is_file() else self.path / name
            columns: dict[str, object] = {"media": str(file.absolute())}
            if depth is not None:
                parts = PurePosixPath(name).parts
                columns["label"] = parts[-2]
                columns["split"] = SPLIT_FOLDERS.get(parts[-3].lower()) if depth == 3 else None
            yield Item(name, file, columns)

    def tell_scenes(self) -> None:
        """Tell of rasters that are scenes rather than tiles, looking at the first few: each becomes one image."""
        for name in self._shape[2]:
            if (size := _raster_size(self.path / name)) is not None and min(size) > _SCENE_PIXELS:
                tiles = shell_line("earthtone", "tiles", "--raster", self.path / name, "--out", "TILES")
                _log.warning(
                    "%s has %d x %d pixels and becomes one image; to embed it tile by tile, type: %s, then --data "
                    "TILES", self.path / name, *size, tiles,
                )  # fmt: skip
                return

    @cached_property
    def _shape(self) -> tuple[dict[str, int], int | None, list[str]]:
        """How many images and sounds there are, and how many parts every name has from the folder of classes on where
        it ends CLASS/FILE (2) or SPLIT/CLASS/FILE (3), else None; and the first few rasters."""
        counts: dict[str, int] = {}
        rasters: list[str] = []
        depths, tops, seconds = set[int](), set[str](), set[str]()
        for name in self._names():
            medium = _kind(Path(name).suffix)
            if medium is not None:
                counts[medium] = counts.get(medium, 0) + 1
                if len(rasters) < _SCENES_LOOKED_AT and name.lower().endswith(_RASTERS):
                    rasters.append(name)
                parts = name.split("/")
                depths.add(len(parts))
                tops.add(parts[0])
                seconds.add(parts[1] if len(parts) > 2 else "")
        if depths == {2}:
            return counts, 2, rasters
        if depths == {3} and all(top.lower() in SPLIT_FOLDERS for top in tops):
            return counts, 3, rasters
        if depths == {3} and len(tops) == 1:  # as archives unpack
            return counts, 2, rasters
        if depths == {4} and len(tops) == 1 and all(name.lower() in SPLIT_FOLDERS for name in seconds):
            return counts, 3, rasters
        return counts, None, rasters

    def _names(self) -> Iterator[str]:
        """Yield the files, folder after folder by name, each as a path with slashes."""
        if self.path.is_file():
            yield self.path.name
        else:
            yield from self._below(self.path, "", ())

    def _below(self, folder: Path, before: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
        try:
            state = folder.stat()
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror or error}; a readable folder was expected") from error
        here = (state.st_dev, state.st_ino)
        if here in above or (self.leave_out is not None and folder.absolute() == self.leave_out):
            return  # a link back, or what is being written
        for entry in entries:
            if entry.name.startswith((".", "__")):
                continue
            if entry.is_dir():
                yield from self._below(folder / entry.name, f"{before}{entry.name}/", (*above, here))
            else:
                yield f"{before}{entry.name}"


# Packed tables.


def _packed(
    data: str | Path, model: TwoTower, columns: Mapping[str, str] | None, wanted: tuple[Medium, ...]
) -> "PackedItems":
    if columns:
        raise ConfigError(f"{data} is packed: --columns has no effect on it; leave it out")
    if not is_remote(data) and (marker := unfinished_marker(Path(data))).exists():
        raise DataError(
            f"{data}: its packing has not ended; wait for it or repeat the earthtone pack that was stopped "
            f"(to use what is there, delete {marker.name})"
        )
    table = Table(data)
    check_signal(model, table)
    return PackedItems(table, wanted)


class PackedItems:
    """The rows of a packed table."""

    verified = True

    def __init__(self, table: Table, wanted: tuple[Medium, ...]) -> None:
        self.table = table
        self._has: dict[Medium, NDArray[np.bool_]] = {medium: table.has(medium) for medium in wanted}
        self.media = tuple(medium for medium in wanted if self._has[medium].any() or table.need == "both")
        self._carried = _carried(table.extra_columns, str(table.path))
        self.extra = ("split", *self._carried.values())

    def count(self, medium: Medium) -> int:
        return int(self._has[medium].sum())

    def items(self, medium: Medium, skip: Skip) -> Iterator[Item | Problem]:
        """Yield the rows that have the medium."""
        names = ["id", "split", *_PLACED, f"{medium}_hash", *self._carried]
        address = _address(self.table.path)
        there = np.flatnonzero(self._has[medium]).tolist()
        blocks = (there[start : start + _ROWS] for start in range(0, len(there), _ROWS))
        found = chain.from_iterable(self.table.records(rows, names) for rows in blocks)
        for row, record in zip(there, found, strict=True):
            columns = {name: record[name] for name in (*_PLACED, "split")}
            columns |= {own: record[name] or None for name, own in self._carried.items()}
            columns["media"] = f"{address}#row={row}"
            yield Item(record["id"], row, columns, None, record[f"{medium}_hash"] or None)

"""What one server serves: the index, its model, what the page is told of them, and rows as items.

Read once when the server starts, and shared by all requests.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyproj.exceptions import ProjError

from earthtone import __version__
from earthtone.atlas.embeddings import CLUSTER, COLUMNS
from earthtone.atlas.maps import in_toy_world, says_synthetic
from earthtone.atlas.marks import Marks, read_marks
from earthtone.atlas.search import COSINE, DISTANCE, open_index
from earthtone.build.tile_grid import to_lonlat
from earthtone.data.packed import read_seal
from earthtone.errors import ConfigError, DataError, EarthtoneError, ModelError, one_line
from earthtone.files import regular_file
from earthtone.models.storage import model_name
from earthtone.serve.answers import (
    About,
    Basemap,
    IndexFacts,
    Item,
    Layer,
    Limits,
    MarksFacts,
    ModelFacts,
    Sound,
)
from earthtone.serve.batching import ModelWorker
from earthtone.serve.media import Media, MediaStore
from earthtone.serve.options import ServeOptions
from earthtone.serve.points import bounds_of, column_names, has_plane, places, read_column

MOST_HITS = 1000
MOST_MARKS_BYTES = 2**24  # of the file of marks, beyond which nothing is appended
log = logging.getLogger("earthtone.serve")
_NO_MODEL = "the model of these vectors is not where it lay; whoever runs the page says where it is: --model RUN"
_MOST_BYTES = 2**24  # of a map.json
_SAID_OF_OUTLINE = "Made with Natural Earth (public domain)"


class Served:
    """An index that is open, its model where there is one, and the maps beside it."""

    def __init__(self, options: ServeOptions) -> None:
        """Raises DataError where there is no index, or a map of another model; ModelError for another model."""
        self.options = options
        self.index = open_index(options.index, model=options.model, device=options.device)
        self.table = self.index.table
        if not len(self.table):
            raise DataError(f"{self.index.folder}: an empty index, nothing was embedded; embed some data first")
        self.maps = _maps(options, self.table.card.model_fingerprint)
        self.marks = Path(options.marks) if options.marks is not None else self.index.folder / "marks.csv"
        self.media = MediaStore()
        self.layers: Sequence[Layer] = ()
        """Set by who reads them (layers.py)."""
        self.model_state: Literal["loading", "ready", "none"] = "loading"
        self.model_missing: str | None = None
        self._model_lock = threading.Lock()
        self._marks_lock = threading.Lock()
        self._marks_read: tuple[object, Marks] | None = None
        self.worker = ModelWorker(self.index.model, options.queue)

    def marks_bytes(self) -> int:
        """Return how large the file of marks is, 0 where there is none."""
        try:
            return self.marks.stat().st_size
        except OSError:
            return 0

    def read_marks(self) -> Marks:
        """Return all marks; the file is read again when it has changed. Raises DataError for one that is too large."""
        if not self.marks.exists():
            return Marks(())
        state = self.marks.stat()
        if state.st_size > 2 * MOST_MARKS_BYTES:
            raise DataError(f"{self.marks.name} has {state.st_size:,} bytes; at most {2 * MOST_MARKS_BYTES:,} are read")
        with self._marks_lock:  # one reader at a time, others find what it read
            key = (state.st_size, state.st_mtime_ns, state.st_ino)
            if self._marks_read is None or self._marks_read[0] != key:
                self._marks_read = key, read_marks(self.marks)
            return self._marks_read[1]

    def load_model(self) -> None:
        """Open the model, so that no visitor waits for it. Raises ModelError where one was named and does not fit."""
        with self._model_lock:
            try:
                self.index.model()
                self.model_state = "ready"
            except EarthtoneError as error:
                self.model_state, self.model_missing = "none", _NO_MODEL  # the error names folders: not for visitors
                log.warning("no model: %s", one_line(str(error), 400))
                if self.options.model is not None:
                    raise

    def prepare(self) -> None:
        """Read what the first visitor would wait for, and open the model where it lay."""
        self.about()
        if self.model_state == "loading":
            with suppress(EarthtoneError):
                self.load_model()

    @property
    def model_name(self) -> str:
        """Return how the model is called, without its folder."""
        given = self.options.model
        return Path(model_name(self.table.card.model if given is None else given)).name

    def close(self) -> None:
        """Remove what was made for listening."""
        self.worker.close()
        self.media.close()

    def without_folders(self, text: str) -> str:
        """Return a message without the folders of this machine: files by their names alone."""
        for folder in self._folders:
            text = text.replace(f"{folder}/", "")
        return text

    @cached_property
    def _folders(self) -> list[str]:
        paths = [self.table.path, self.index.folder, self.marks, *(folder for folder, _ in self.maps)]
        parents = {str(each) for path in paths for each in (path.parent, path.parent.resolve())}
        parents |= {str(self.index.folder), str(self.index.folder.resolve())}
        return sorted(parents - {".", "/"}, key=len, reverse=True)

    # What the page is told.

    @cached_property
    def title(self) -> str:
        """Return what stands above the page."""
        return one_line(self.options.title or self.index.folder.resolve().name or "earthtone", 120)

    @cached_property
    def synthetic(self) -> bool:
        """Return whether any row is of the toy world."""
        for name in ("source", "attribution"):
            values = pc.unique(self.table.columns([name])[name]).to_pylist()
            if any(says_synthetic(value) for value in values if value):
                return True
        media = pc.unique(self.table.columns(["media"])["media"])
        some = [value for value in media.slice(0, 3).to_pylist() if value]
        return any(in_toy_world(Path(value)) for value in some) or any(self._map_facts("synthetic"))

    def _map_facts(self, name: str) -> list[Any]:
        return [facts.get(name) for _, facts in self.maps]

    @cached_property
    def _still(self) -> About:
        """Return what does not change while the server runs."""
        table, options, card = self.table, self.options, self.table.card
        east, north = places(table)
        columns = [found.described() for name in column_names(table) if (found := read_column(table, name))]
        seal = read_seal(table.path)
        said = f"{card.model_fingerprint} {len(table)} {seal.files if seal else ''}"
        return About(
            version=__version__,
            title=self.title,
            synthetic=self.synthetic,
            items={"image": 0, "audio": 0} | {name: len(rows) for name, rows in self.index.catalogue.media.items()},
            rows=len(table),
            coordinates=bool((~np.isnan(east)).any()),
            plane=self.has_plane,
            media=table.columns(["media"])["media"].null_count < len(table),
            bounds=bounds_of(east, north),
            metric="cosine" if card.unit else "distance",
            score_is=COSINE if card.unit else DISTANCE,
            model=None,
            index=IndexFacts(
                fingerprint=hashlib.blake2b(said.encode(), digest_size=8).hexdigest(),
                model=Path(model_name(card.model)).name,
                dimensions=card.dimensions, windows=card.windows,
            ),
            columns=columns,
            limits=Limits(
                upload_bytes=options.upload_mb * 2**20, sound_seconds=options.sound_seconds,
                image_pixels=options.image_mpx * 10**6, hits=MOST_HITS, queue=options.queue,
            ),
            layers=[],
            marks=MarksFacts(writable=_writable(self.marks), name=self.marks.name),
            basemap=Basemap(kind="outline", attribution=_SAID_OF_OUTLINE)
            if options.basemap is None
            else Basemap(kind="tiles", url=options.basemap, attribution=options.basemap_attribution or ""),
            who=one_line(options.who or "", 80),
        )  # fmt: skip

    @property
    def has_plane(self) -> bool:
        """Return whether the rows have a place on the plane."""
        return has_plane(self.table)

    def about(self) -> About:
        """Return what is served, as things stand."""
        state, card = self.model_state, self.table.card
        facts = None
        if state != "none":
            queries: list[Literal["sound", "image", "place"]] = ["sound", "image", "place"]
            facts = ModelFacts(
                name=self.model_name, fingerprint=card.model_fingerprint, ready=state == "ready",
                card="api/card" if state == "ready" else None, queries=queries,
            )  # fmt: skip
        changed = {"model": facts, "model_missing": self.model_missing, "layers": list(self.layers)}
        return self._still.model_copy(update=changed)

    # Rows.

    def items(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Item]:
        """Return rows as the page shows them, in the order given. Raises DataError for rows that are not there."""
        wanted = np.asarray(rows, np.int64)
        if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) < len(self.table):
            raise DataError(f"the index has rows 0 to {len(self.table) - 1:,}; one of these expected")
        if not len(wanted):
            return []
        free = [*self.table.free_names, *([CLUSTER] if self.table.has_clusters else [])]
        try:
            cells = self.table.columns([*COLUMNS, *free], wanted).to_pylist()
        except (OverflowError, ValueError) as error:
            raise DataError(f"{self.table.path}: a datetime beyond all years; embed the data again") from error
        keys = self.index.catalogue.keys(wanted)
        return [self._item(row, key, cell, free) for row, key, cell in zip(wanted.tolist(), keys, cells, strict=True)]

    def media_of(self, row: int) -> Media:
        """Return where the media of a row lie. Raises DataError for a row that is not there."""
        if not 0 <= row < len(self.table):
            raise DataError(f"the index has rows 0 to {len(self.table) - 1:,}; one of these expected")
        names = ["modality", "media", "west", "south", "east", "north", "crs"]
        [cell] = self.table.columns(names, np.array([row], np.int64)).to_pylist()
        west, south, east, north = (_number(cell[name]) for name in names[2:6])
        bounds = None
        if west is not None and south is not None and east is not None and north is not None:
            bounds = (west, south, east, north)
        return Media(cell["modality"], cell["media"], bounds, cell["crs"])

    def _item(self, row: int, key: str, cell: dict[str, Any], free: Sequence[str]) -> Item:
        bounds = [_number(cell[name]) for name in ("west", "south", "east", "north")]
        missing = self.media.missing(cell["media"], cell["modality"])
        at = f"api/items/{row}"
        sound = Sound(url=f"{at}/sound", peaks=f"{at}/peaks", spectrogram=f"{at}/spectrogram")
        return Item(
            row=row, id=cell["id"], key=key, modality=cell["modality"], longitude=_number(cell["longitude"]),
            latitude=_number(cell["latitude"]),
            datetime=None if cell["datetime"] is None else cell["datetime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            source=cell["source"], license=cell["license"], attribution=cell["attribution"],
            start_s=_number(cell["start_s"]), seconds=_number(cell["seconds"]),
            bounds=None if None in bounds else [side for side in bounds if side is not None], crs=cell["crs"],
            footprint=_footprint(bounds, cell["crs"]),
            picture=f"{at}/picture" if cell["modality"] == "image" and missing is None else None,
            sound=sound if cell["modality"] == "audio" and missing is None else None, missing=missing,
            more={name: None if cell[name] is None else str(cell[name]) for name in free},
        )  # fmt: skip


def _footprint(bounds: Sequence[float | None], crs: str | None) -> list[tuple[float, float]] | None:
    """Return (longitude, latitude) of a tile's corners, west first; None without bounds or a CRS that is known."""
    west, south, east, north = bounds
    if west is None or south is None or east is None or north is None or not crs:
        return None
    try:
        found = np.stack(to_lonlat(crs).transform([west, east, east, west], [south, south, north, north]), axis=1)
    except ProjError:
        return None
    if not np.isfinite(found).all():
        return None
    found[:, 0] = found[0, 0] + (found[:, 0] - found[0, 0] + 180) % 360 - 180  # on across the antimeridian
    return [(float(longitude), float(latitude)) for longitude, latitude in found]


def _writable(path: Path) -> bool:
    """Return whether a file can be appended to; one that is not there, whether it can be made."""
    nearest = next((each for each in (path, *path.absolute().parents) if each.exists()), path)
    return os.access(nearest, os.W_OK)


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _maps(options: ServeOptions, fingerprint: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return the folders of maps, each with what map.json tells. Raises DataError, ModelError."""
    found: list[tuple[Path, dict[str, Any]]] = []
    given = [options.map] if isinstance(options.map, Path) else options.map
    for folder in map(Path, given):
        path = folder / "map.json"
        try:
            with regular_file(path).open("rb") as file:
                facts = json.loads(file.read(_MOST_BYTES))
            made_by = facts["facts"]["model fingerprint"]
            files = facts["files"]
        except OSError as error:
            raise DataError(f"--map {folder}: no map.json there; a folder that earthtone map wrote expected") from error
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise DataError(f"{path}: no facts of a map; draw it again with earthtone map") from error
        if not isinstance(files, dict):
            raise DataError(f"{path}: no list of files; draw it again with earthtone map")
        if made_by != fingerprint:
            raise ModelError(
                f"--map {folder} was drawn with another model ({one_line(str(facts['facts'].get('model')), 60)}, "
                f"fingerprint {one_line(str(made_by), 40)}) than that of the index (fingerprint {fingerprint}): their "
                "scores cannot stand beside each other; draw it anew with the index's model, or leave it out"
            )
        if any(folder.resolve() == other.resolve() for other, _ in found):
            raise ConfigError(f"--map {folder} is given twice; once expected")
        found.append((folder, facts))
    return found

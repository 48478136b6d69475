"""What a search is asked with: sounds, images, places, ids, vectors, several with + and -, as one vector.

A text means, in this order: `id:ID`, `at:LON,LAT` and `near:LON,LAT`, `file:PATH` exactly that; `LON,LAT` the tile
there, as `at:`; the name of a file that is there that file (`.npy`: vectors); anything else an id of the index.

Several are one query as in Qdrant's recommendations (strategy `average_vector`): q = p + (p - n), where p is the mean
of what hits should be like and n the mean of what they should not; without the latter q = p. Where vectors have length
1 each is brought to length 1 before the mean, and q after it.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from earthtone.atlas.embeddings import EmbeddingTable
from earthtone.encode.store import content_fingerprint
from earthtone.errors import ConfigError, DataError, SignalError, did_you_mean, needed_by, one_line
from earthtone.files import regular_file
from earthtone.geo import great_circle_km, says_crs
from earthtone.models.inputs import given_sound
from earthtone.models.two_tower import TwoTower
from earthtone.signal.audio import read_recording, recording_of
from earthtone.signal.config import AudioConfig
from earthtone.signal.readers import image_suffixes, kind, sound_suffixes
from earthtone.signal.remarks import SILENT
from earthtone.signal.spectrogram import Spectrogram, log_mel, ready_spectrogram, windows

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Medium = Literal["image", "audio"]
OTHER: Mapping[str, Medium] = {"image": "audio", "audio": "image"}
_PLACE = re.compile(r"\s*([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\s*,\s*([-+]?\d+(?:\.\d*)?|[-+]?\.\d+)\s*")
_WINDOW = re.compile(r"(.+)@(\d+(?:\.\d+)?)")
_SAME_S = 1e-4
_KM_A_DEGREE = 111.2
_SMALLEST = 1e-9  # length of a query whose parts cancel


@dataclass(frozen=True)
class Example:
    """One thing that hits should be like, or not."""

    name: str
    """As results call it."""
    vector: Floats
    """(D,)"""
    medium: Medium | None
    """None of a vector, and of an id that is an image and a sound."""
    rows: Rows
    """Those it is made of, which are no hits."""
    said: str | None = None
    """What is to be said of it, such as how far away it lies."""


class Place(NamedTuple):
    """One row by its name."""

    row: int
    medium: str
    start_s: float | None


class Catalogue:
    """The rows of a table by id, and by place; columns are read when they are first asked for."""

    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table

    @cached_property
    def media(self) -> Mapping[str, Rows]:
        """Return the rows of each medium that the table has."""
        column = self._table.columns(["modality"])["modality"]
        names = column.unique().to_pylist()
        if odd := [name for name in names if name not in OTHER]:
            raise DataError(
                f"{self._table.path}: rows of the modality {one_line(str(odd[0]), 40)!r}; image or audio expected: a "
                "damaged table; embed the data again"
            )
        found = {str(name): pc.equal(column, name).to_numpy() for name in names}
        return {name: np.flatnonzero(found[name]) for name in sorted(found)}

    @cached_property
    def _ids(self) -> Any:
        return self._table.columns(["id"])["id"]

    def named(self, ids: Iterable[str]) -> dict[str, list[Place]]:
        """Return the rows of each id that is there."""
        wanted = pa.array(sorted(name for name in set(ids) if _is_text(name)), pa.string())
        rows = np.flatnonzero(pc.is_in(self._ids, value_set=wanted).to_numpy())
        found: dict[str, list[Place]] = {}
        if len(rows):
            columns = self._table.columns(["id", "modality", "start_s"], rows).to_pydict()
            for row, name, medium, start in zip(
                rows.tolist(), columns["id"], columns["modality"], columns["start_s"], strict=True
            ):
                found.setdefault(name, []).append(Place(row, medium, start))
        return found

    def of_keys(self, keys: Sequence[str]) -> dict[str, list[Place]]:
        """Return the rows of each key that names some: an id, `image:ID`, `audio:ID`, `ID@START`, in this order."""
        readings = {key: _readings(key) for key in keys}
        there = self.named(name for each in readings.values() for name, _, _ in each)
        found: dict[str, list[Place]] = {}
        for key, each in readings.items():
            for name, medium, start in each:
                places = [
                    place
                    for place in there.get(name, ())
                    if (medium is None or place.medium == medium)
                    and (start is None or (place.start_s is not None and abs(place.start_s - start) < _SAME_S))
                ]
                if places:
                    found[key] = places
                    break
        return found

    def of_file(self, path: Path) -> Rows:
        """Return the rows that were made of a file with this content, wherever it lies."""
        fingerprint = content_fingerprint(path)
        if fingerprint is None:
            return _no_rows()
        return np.flatnonzero(pc.equal(self._fingerprints, fingerprint).fill_null(False).to_numpy())

    @cached_property
    def _fingerprints(self) -> Any:
        return self._table.columns(["file_fingerprint"])["file_fingerprint"]

    def keys(self, rows: Rows) -> list[str]:
        """Return what each row is called: its id, with its medium where the index has both, and its start."""
        columns = self._table.columns(["id", "modality", "start_s"], rows).to_pydict()
        if None in columns["id"]:
            raise DataError(f"{self._table.path}: rows without an id: a damaged table; embed the data again")
        several = {
            name for name, places in self.named(columns["id"]).items() if len({place.medium for place in places}) > 1
        } if len(self.media) > 1 else set()  # fmt: skip
        return [
            f"{f'{medium}:' if name in several else ''}{name}{'' if start is None else f'@{seconds_text(start)}'}"
            for name, medium, start in zip(columns["id"], columns["modality"], columns["start_s"], strict=True)
        ]

    def near(self, longitude: float, latitude: float, medium: str) -> tuple[int, float] | None:
        """Return the row of a medium that lies nearest, and how many km away; None where none has a place."""
        rows = self.media.get(medium, np.zeros(0, np.int64))
        if not len(rows):
            return None
        east, north = self._places
        km = great_circle_km(longitude, latitude, east[rows], north[rows])
        if np.isnan(km).all():
            return None
        at = int(np.nanargmin(km))
        return int(rows[at]), float(km[at])

    @cached_property
    def _places(self) -> tuple[Floats, Floats]:
        """Longitude and latitude (N) of all rows."""
        columns = self._table.columns(["longitude", "latitude"])
        return _floats(columns["longitude"]), _floats(columns["latitude"])

    @cached_property
    def _tiles(self) -> "_Tiles":
        """The images that have bounds."""
        rows = self.media.get("image", np.zeros(0, np.int64))
        columns = self._table.columns(["west", "south", "east", "north", "crs"], rows) if len(rows) else None
        if columns is None or columns["west"].null_count == len(rows):
            return _Tiles(np.zeros(0, np.int64), np.zeros((4, 0)), np.zeros(0, np.int64), ())
        coded = pc.dictionary_encode(columns["crs"].combine_chunks())
        coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
        codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        sides = np.stack([_floats(columns[name]) for name in ("west", "south", "east", "north")])
        return _Tiles(rows, sides, codes, tuple(map(str, coded.dictionary.to_pylist())))

    def at(self, longitude: float, latitude: float) -> int | None:
        """Return the tile whose bounds hold a place, of several the one whose centre is nearest; None for none."""
        tiles = self._tiles
        if not len(tiles.rows):
            return None
        west, south, east, north = tiles.sides
        middle_x, middle_y = self._places
        km = great_circle_km(longitude, latitude, middle_x[tiles.rows], middle_y[tiles.rows])
        inside = np.zeros(len(tiles.rows), bool)
        for code, name in enumerate(tiles.names):
            x, y, geographic = _projected(name, longitude, latitude)
            end = np.where(geographic & (east < west), east + 360, east)  # tiles across 180 degrees
            across = np.hypot(end - west, north - south) * (_KM_A_DEGREE if geographic else 1e-3)
            turns = (-360.0, 0.0, 360.0) if geographic else (0.0,)
            holds = np.any([(west <= x + turn) & (x + turn <= end) for turn in turns], axis=0)
            # far from where a projection is meant for it may give any number: the centre must be near, too
            inside |= (tiles.crs == code) & holds & (south <= y) & (y <= north) & ~(km > across + 1)
        if not inside.any():
            return None
        order = np.lexsort((tiles.rows[inside], np.nan_to_num(km[inside], nan=np.inf)))
        return int(tiles.rows[inside][order[0]])


class _Tiles(NamedTuple):
    """Images (N) with bounds."""

    rows: Rows
    sides: Floats
    """(4, N) west, south, east, north, each in its CRS."""
    crs: Rows
    """(N) places in `names`, -1 for none."""
    names: tuple[str, ...]


def _is_text(name: str) -> bool:
    """Return whether a table can hold it: undecodable bytes of a name it cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _readings(key: str) -> list[tuple[str, str | None, float | None]]:
    """Return what a key may mean, the plainest first: (id, medium or None, start or None)."""
    found: list[tuple[str, str | None, float | None]] = [(key, None, None)]
    prefix, colon, rest = key.partition(":")
    medium = prefix if colon and prefix in OTHER and rest else None
    if medium is not None:
        found.append((rest, medium, None))
    for name, kept in ((key, None), (rest, medium)) if medium is not None else ((key, None),):
        if match := _WINDOW.fullmatch(name):
            found.append((match[1], kept, float(match[2])))
    return found


def seconds_text(seconds: float) -> str:
    """Return `12.5` for 12.5: no more digits than it has."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _floats(column: Any) -> Floats:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def _projected(crs: str, longitude: float, latitude: float) -> tuple[float, float, bool]:
    """Return a place in a CRS, and whether that is one of degrees; NaN where it has no such place."""
    with needed_by("a place as a query"):
        from rasterio.crs import CRS
        from rasterio.errors import RasterioError
        from rasterio.warp import transform
    try:
        if not says_crs(crs):
            raise ValueError("no CRS")
        known = CRS.from_user_input(crs)
        [x], [y] = transform(CRS.from_epsg(4326), known, [longitude], [latitude])
    except (RasterioError, ValueError) as error:
        raise DataError(f"the index has tiles in {crs!r:.60}, which is no known CRS: a damaged table") from error
    there = math.isfinite(x) and math.isfinite(y)
    return (x if there else math.nan), (y if there else math.nan), bool(known.is_geographic)


# Texts and objects to examples.


class Reader:
    """Makes examples of what a user gives; the model is opened when a file must be embedded."""

    def __init__(
        self, table: EmbeddingTable, catalogue: Catalogue, model: Callable[[], TwoTower], gsd_m: float | None,
        find: str | None,
    ) -> None:  # fmt: skip
        self._table, self._catalogue, self._model = table, catalogue, model
        self._gsd_m, self._find = gsd_m, find
        self.pictures = 0
        """How many images were embedded."""

    def read(self, given: Any) -> Example:
        """Return the example that a text, path, place, array, picture or (samples, hz) is; an Example as it is.

        Raises ConfigError, DataError, SignalError, each one line.
        """
        if isinstance(given, Example):
            return given
        if isinstance(given, Path):
            return self._file(given)
        if isinstance(given, str):
            return self._text(given)
        if isinstance(given, tuple) and len(given) == 2 and all(_is_number(part) for part in given):
            return self._at(float(given[0]), float(given[1]))
        if isinstance(given, Image.Image) or (isinstance(given, np.ndarray) and given.dtype == np.uint8):
            return self._image(given, "a picture")
        if isinstance(given, (np.ndarray, Tensor)):
            values = given.detach().cpu().numpy() if isinstance(given, Tensor) else given
            return self._vectors(values, "a vector")
        return self._sound(given, "a sound")

    def _text(self, text: str) -> Example:
        prefix, colon, rest = text.partition(":")
        if colon and prefix == "id":
            return self._id(rest)
        if colon and prefix == "file":
            return self._file(Path(rest))
        if colon and prefix in ("at", "near"):
            place = _PLACE.fullmatch(rest)
            if place is None:
                raise ConfigError(f"{text}; {prefix}:LON,LAT expected, such as {prefix}:-54.59,-25.41")
            return (self._at if prefix == "at" else self._near)(float(place[1]), float(place[2]))
        if place := _PLACE.fullmatch(text):
            return self._at(float(place[1]), float(place[2]))
        return self._file(Path(text)) if _is_there(text) else self._id(text)

    def _file(self, path: Path) -> Example:
        medium = "vectors" if path.suffix.lower() == ".npy" else kind(path)
        try:
            regular_file(path)
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror or error}; a sound, an image, vectors (.npy), LON,LAT or an id expected"
            ) from error
        if medium == "vectors":
            return self._vectors(_loaded(path), str(path))
        if medium == "audio":
            return self._sound(path, str(path))
        if medium == "image":
            return self._image(path, str(path))
        raise ConfigError(
            f"{path}: neither an image ({', '.join(image_suffixes())}) nor a sound ({', '.join(sound_suffixes())}) nor "
            "vectors (.npy)"
        )

    def _sound(self, given: Any, name: str) -> Example:
        model = self._model()
        heard = heard_windows(given, model.signal.audio, name)
        return self._of_file(given, name, model.embed_windows([heard])[0], "audio")

    def _image(self, given: Any, name: str) -> Example:
        self.pictures += 1
        vectors = self._model().embed_images([given], gsd_m=self._gsd_m)
        return self._of_file(given, name, vectors[0], "image")

    def _of_file(self, given: Any, name: str, vector: NDArray[Any], medium: Medium) -> Example:
        """Return the example that a file is; rows of that file in the index are its own, as those of an id are."""
        rows = self._catalogue.of_file(given) if isinstance(given, Path) else _no_rows()
        said = None
        if len(rows):
            [key] = self._catalogue.keys(rows[:1])
            said = f"{name} is in the index itself, as {key.partition('@')[0]}: no hit of this search"
        return Example(name, self._unit(vector), medium, rows, said)

    def _vectors(self, values: NDArray[Any], name: str) -> Example:
        width = self._table.card.dimensions
        rows = values[None] if values.ndim == 1 else values
        if values.dtype.kind not in "fiu" or rows.ndim != 2 or not len(rows) or rows.shape[1] != width:
            raise DataError(
                f"{name}: {values.dtype} of shape {values.shape}; vectors of {width} numbers, as the index has them, "
                "expected"
            )
        numbers = rows.astype(np.float64)
        if not np.isfinite(numbers).all() or not np.linalg.norm(numbers, axis=1).all():
            raise DataError(f"{name}: holds vectors that are not finite or have no length; vectors of a model expected")
        return Example(name, self._mean(numbers), None, _no_rows())

    def _id(self, name: str) -> Example:
        places = self._catalogue.of_keys([name]).get(name)
        if places is None:
            what = "is no id of the index, no LON,LAT"
            raise ConfigError(f"{one_line(name, 120)} {what}, and no file of that name is there{self._hint(name)}")
        media = {place.medium for place in places}
        if len(media) > 1 and self._find in OTHER:
            places = [place for place in places if place.medium == OTHER[str(self._find)]]
            media = {place.medium for place in places}
        rows = np.array(sorted(place.row for place in places), np.int64)
        [medium] = media if len(media) == 1 else [None]
        return Example(name, self._mean(self._table.vectors(rows)), medium, rows)  # type: ignore[arg-type]

    def _hint(self, name: str) -> str:
        prefix = name.partition(":")[0]
        near = did_you_mean(prefix, ("id", "at", "near", "file", "image", "audio")) if ":" in name else ""
        return f"; {near}" if near else ""

    def _at(self, longitude: float, latitude: float) -> Example:
        name = _checked_place(longitude, latitude)
        row = self._catalogue.at(longitude, latitude)
        if row is None:
            found = self._catalogue.near(longitude, latitude, "image")
            if found is None:
                raise DataError(f"{name}: no image of the index has a place")
            key = one_line(self._catalogue.keys(np.array([found[0]]))[0], 80)
            turned = abs(longitude) <= 90 and self._catalogue.at(latitude, longitude) is not None
            what = (
                f"longitude comes first: {_checked_place(latitude, longitude)} does"
                if turned
                else f"type near:{name} for it"
            )
            raise DataError(
                f"{name}: no tile of the index holds this place; the nearest image, {key}, lies {_km(found[1])} away; "
                f"{what}"
            )
        return self._of_row(name, row, None)

    def _near(self, longitude: float, latitude: float) -> Example:
        name = _checked_place(longitude, latitude)
        order = [OTHER[str(self._find)]] if self._find in OTHER else []
        for medium in (*order, "image", "audio"):
            if found := self._catalogue.near(longitude, latitude, medium):
                return self._of_row(f"near:{name}", found[0], found[1])
        raise DataError(f"{name}: no row of the index has a place")

    def _of_row(self, name: str, row: int, km: float | None) -> Example:
        rows = np.array([row], np.int64)
        [key] = self._catalogue.keys(rows)
        [medium] = self._table.columns(["modality"], rows)["modality"].to_pylist()
        said = f"{name} is {key}" + ("" if km is None else f", {_km(km)} away")
        return Example(name, self._mean(self._table.vectors(rows)), medium, rows, said)

    def _mean(self, vectors: NDArray[Any]) -> Floats:
        return self._unit(np.mean([self._unit(vector) for vector in vectors], axis=0))

    def _unit(self, vector: NDArray[Any]) -> Floats:
        return unit_vector(vector) if self._table.card.unit else np.asarray(vector, np.float64)


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists() and not Path(text).is_dir()
    except OSError:  # longer than a name can be
        return False


def _no_rows() -> Rows:
    return np.zeros(0, np.int64)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _checked_place(longitude: float, latitude: float) -> str:
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        swapped = (
            f"; did you mean {latitude:g},{longitude:g}?" if -180 <= latitude <= 180 and abs(longitude) <= 90 else ""
        )
        raise ConfigError(f"{longitude:g},{latitude:g} is no place; longitude,latitude in degrees expected{swapped}")
    return f"{longitude:.7g},{latitude:.7g}"


def _km(km: float) -> str:
    return f"{km:,.0f} km" if km >= 1000 else f"{km:.3g} km"


def _loaded(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged header can raise nearly anything
        raise DataError(
            f"{path}: {one_line(' '.join(str(error).split()), 120)}; a whole .npy array expected"
        ) from error
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path}: an archive; one array (.npy) expected")
    return found


def heard_windows(given: Any, config: AudioConfig, name: str) -> Spectrogram:
    """Return the windows (windows, frames, mels) of a query's sound, by the same steps as in embedding.

    Raises SignalError for silence: a vector of it is near to something, which means nothing.
    """
    sound = given_sound(given)
    if config.input == "spectrogram":
        if isinstance(sound, tuple):
            raise SignalError(f"{name}: this model was trained on ready spectrogram pictures and knows only those")
        found = windows(ready_spectrogram(sound, config), config)
    else:
        hz, channel = config.sample_rate_hz, config.channel
        recording = (
            recording_of(*sound, hz, channel) if isinstance(sound, tuple) else read_recording(sound, hz, channel)
        )
        if silent := next((remark for remark in recording.remarks if remark.kind == SILENT), None):
            raise SignalError(f"{name}: silence ({silent.detail}); nothing is ranked by it: give a sound")
        found = windows(log_mel(recording.samples, config), config)
    # of white noise at the last bit of 16 no frame reaches this; a narrow call does
    if float(found.mean(axis=2).max()) < 1:
        raise SignalError(
            f"{name}: near silence: nowhere louder than the faintest that this model hears ({config.floor_db:g} dB, "
            "signal.audio.floor_db); nothing is ranked by it: give a louder sound"
        )
    return found


def unit_vector(vector: NDArray[Any]) -> Floats:
    """Return a vector (D,) brought to length 1."""
    wide = np.asarray(vector, np.float64)
    return np.asarray(wide / max(float(np.linalg.norm(wide)), 1e-12))


def combined(positive: Sequence[Floats], negative: Sequence[Floats], unit: bool) -> Floats:
    """Return q = p + (p - n) of the means p and n, or p without negatives; see the top. Raises ConfigError."""
    if not positive:
        raise ConfigError("nothing to search by; give --like a sound, an image, LON,LAT, an id or vectors (.npy)")
    query = np.mean(positive, axis=0)
    if negative:
        query = 2 * query - np.mean(negative, axis=0)
    if unit and float(np.linalg.norm(query)) < _SMALLEST:
        raise ConfigError("--like and --unlike cancel each other wholly; change one of them")
    return unit_vector(query) if unit else np.asarray(query, np.float64)


def query_text(positive: Sequence[str], negative: Sequence[str]) -> str:
    """Return how a query is written in marks and results: `a.wav`, or `+ a.wav + b.jpg - c.jpg`."""
    if len(positive) == 1 and not negative:
        return positive[0]
    return " ".join([*(f"+ {name}" for name in positive), *(f"- {name}" for name in negative)])

"""Published sets of recordings with overhead images: SoundingEarth's folder, and sets as Parquet files."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earthtone.data.manifest import check_need, extra_columns, listed, nearest, own_columns, refuse_unread
from earthtone.data.pair import (
    BAD_NUMBER,
    EXCERPT_COLUMNS,
    MEDIA,
    NO_ID,
    PAIR_COLUMNS,
    Pair,
    Problem,
    Row,
    RowReader,
    clipped,
    is_file,
)  # fmt: skip
from earthtone.data.parquet import ShardTable, Skip
from earthtone.data.tables import CsvTable
from earthtone.errors import ConfigError, DataError

#: SoundingEarth's pictures are 1024 x 1024 pixels of Google Earth. The metres a pixel are the published value, the
#: same for all of them; they were not measured, and Google Earth's own vary with the latitude.
GOOGLE_EARTH_GSD_M = 0.2
SOUNDINGEARTH_LICENSE = "CC-BY-4.0 (Zenodo 5600379); imagery: Google Earth"
SOUNDINGEARTH_ATTRIBUTION = "SoundingEarth (Heidler et al.); recordings: Radio Aporee; imagery: Google Earth"


@dataclass(frozen=True)
class Release:
    """A set that is published as Parquet files: where a pair's own values are, and what is the same for all rows.

    `columns` maps a pair's names to the release's columns, each of which must be there; `gsd_m` are the metres a pixel
    of each image column; `aside` are columns that are known and not carried.
    """

    name: str
    columns: Mapping[str, str]
    carried: tuple[str, ...]
    gsd_m: Mapping[str, float]
    license: str
    attribution: str
    aside: tuple[str, ...]
    source: str | None = None


#: As the data sets' own build scripts lay them out (github.com/mvrl/sat2sound, data_prep/build_hf_*.py).
RELEASES = (
    Release(
        name="MVRL/SoundingEarth",
        columns={
            "id": "sample_id", "image": "googleearth_image", "audio": "audio",
            "longitude": "longitude", "latitude": "latitude", "datetime": "date_recorded",
        },
        carried=("short_id", "audio_caption", "audio_caption_source", "llava_caption_googleearth_zl1"),
        gsd_m={"googleearth_image": GOOGLE_EARTH_GSD_M},
        license="research use only",
        attribution=f"MVRL/SoundingEarth (Khanal et al.), after {SOUNDINGEARTH_ATTRIBUTION}",
        aside=("mel_features",),
        source="aporee",
    ),
    Release(
        name="MVRL/GeoSound",
        columns={
            "id": "sample_id", "image": "bingmap_image", "audio": "audio", "source": "source",
            "longitude": "longitude", "latitude": "latitude", "datetime": "date",
        },
        carried=(
            "audio_caption", "audio_caption_source",
            *(f"llava_caption_{sky}_zl{zoom}" for sky in ("bingmap", "sentinel") for zoom in (1, 3, 5)),
            "description", "tags", "title", "scientific_name", "common_name", "sound_format", "text", "address",
            "original_sampling_rate", "bin_id",
        ),
        gsd_m={"bingmap_image": 0.6, "sentinel_image": 10.0},
        license="research use only",
        attribution="MVRL/GeoSound (Khanal et al.); recordings: iNaturalist, YFCC100M, Radio Aporee, Freesound; "
        "imagery: Bing Maps, Sentinel-2",
        aside=("mel_features", "sentinel_image"),
    ),
)  # fmt: skip


def release_with(columns: Collection[str]) -> Release | None:
    """Return the release that a table with these columns is of, also when one of them has another name; or None."""
    found = set(columns)
    for release in RELEASES:
        own = set(release.columns.values()) | set(release.gsd_m)
        # names that nobody else gives: a licence must not be put on another set
        telling = {*release.gsd_m, *(name for name in release.carried if name.startswith("llava_caption_"))}
        if len(own & found) > len(own) / 2 and found & telling:
            return release
    return None


# The SoundingEarth release (Zenodo 5600379): a folder with metadata.csv, images/ and spectrograms/ or recordings.
METADATA = "metadata.csv"
RELEASE_COLUMNS = (
    "key", "long_key", "latitude", "longitude", "title", "description", "mp3name", "mp3samplerate", "date_recorded",
)  # fmt: skip
RAW_FOLDERS = ("audio", "raw", "raw_audio", "mp3", "recordings")
RAW_SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a")
PREFERENCES = ("auto", "raw", "spectrogram")
_SAME = {
    "source": "aporee", "license": SOUNDINGEARTH_LICENSE, "attribution": SOUNDINGEARTH_ATTRIBUTION,
    "image_gsd_m": GOOGLE_EARTH_GSD_M,
}  # fmt: skip
_OWN = ("id", "image", "audio", "longitude", "latitude", "datetime", "split", *_SAME)


class SoundingEarth:
    """A source of the release's pairs: `id` is the key, the split is the key's last digit, the source is "aporee".

    `license`, `attribution` and `image_gsd_m` (0.2: as published, not measured) are the same for all rows.

    The audio is either always the raw recording or always the ready 8-bit spectrogram: `prefer` says which; "auto"
    takes raw recordings if there is any, and rows without one are then problems. A recording lies in `audio/`,
    `raw/`, `raw_audio/`, `mp3/` or `recordings/` as `<mp3name>`, `<long_key>/<mp3name>` or `<key>.<suffix>`.
    An unreadable `date_recorded` gives no datetime, and a remark; columns of a pair in `unread` stay empty.
    Raises DataError, ConfigError.
    """

    gives_splits = True
    extra_columns: tuple[str, ...] = ("title", "description", "long_key", "mp3name", "mp3samplerate")

    def __init__(
        self,
        path: str | Path,
        *,
        need: tuple[str, ...] = MEDIA,
        also: tuple[str, ...] = (),
        prefer: str = "auto",
        unread: Collection[str] = (),
    ) -> None:
        check_need(need, also)
        refuse_unread(unread, need)
        if prefer not in PREFERENCES:
            raise ConfigError(f"prefer is {prefer!r}; one of {listed(PREFERENCES)} expected")
        self.path = Path(path)
        self.name = self.path.resolve().name
        self._need, self._also = need, also
        self._own = {name: name for name in _OWN if name not in unread}
        self._table = CsvTable(self.path / METADATA)
        missing = [name for name in RELEASE_COLUMNS if name not in self._table.columns]
        if missing:
            others = [name for name in self._table.columns if name not in RELEASE_COLUMNS]
            raise DataError(
                f"{self._table.path} lacks the SoundingEarth columns {listed(missing)};{nearest(missing[0], others)}; "
                "take the release's own metadata.csv, or write a manifest with the columns id, image and audio"
            )
        heard = "audio" in need or "audio" in also
        self._raw = _raw_folder(self.path, prefer) if heard else None
        self.ready_spectrograms = heard and self._raw is None

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Pair | Problem]:
        """Yield one item a row, in the file's order: a pair, or the problem that leaves the row out."""
        extra = {name: name for name in self.extra_columns}
        reader = RowReader(self.path, self._own, extra, self._need, self._also)
        for row in self._table.rows(RELEASE_COLUMNS):
            yield reader.read(row if row.fault is not None else self._own_row(row))

    def _own_row(self, row: Row) -> Row:
        """Return the row under a pair's own names."""
        text = {name: str(row.cells[name]) for name in RELEASE_COLUMNS}
        key = text["key"].strip()
        if not (key.isascii() and key.isdigit()):
            kind = BAD_NUMBER if key else NO_ID
            return Row(row.where, {}, fault=(kind, f"key {clipped(key)}; a whole number was expected"))
        key = str(int(key)) if len(key) < 20 else key
        own = {
            "id": key, "image": f"images/{key}.jpg", "audio": self._audio(key, text),
            "datetime": text["date_recorded"], "split": key_digit_split(int(key[-1])),
        }  # fmt: skip
        return Row(row.where, {**text, **own, **_SAME})

    def _audio(self, key: str, text: Mapping[str, str]) -> str:
        """Return where the row's audio is, or where it was expected, relative to the release's folder."""
        if self._raw is None:
            return f"spectrograms/{key}.jpg"
        name, folder = text["mp3name"], text["long_key"]
        stems = [name, f"{name}.mp3", f"{folder}/{name}", f"{folder}/{name}.mp3"] if name else []
        candidates = [f"{self._raw}/{stem}" for stem in (*stems, *(f"{key}{suffix}" for suffix in RAW_SUFFIXES))]
        return next((path for path in candidates if is_file(self.path / path)), candidates[0])


def looks_like_release(folder: Path) -> bool:
    """Return whether `folder` has the release's layout: its metadata, without columns that name the files."""
    if not (is_file(folder / METADATA) and (folder / "images").is_dir()):
        return False
    found = set(CsvTable(folder / METADATA).columns)
    return len(found.intersection(RELEASE_COLUMNS)) >= len(RELEASE_COLUMNS) / 2 and not found.intersection(MEDIA)


def _raw_folder(folder: Path, prefer: str) -> str | None:
    """Return the name of the folder with recordings, or None for spectrograms. Raises DataError."""
    raw = [name for name in RAW_FOLDERS if _has_recording(folder / name)]
    if prefer != "spectrogram":
        if len(raw) > 1:
            raise DataError(f"{folder} has recordings in {listed(raw)}; keep them in one of these folders")
        if raw:
            return raw[0]
        if prefer == "raw":
            raise DataError(f"{folder} has no recordings in {listed(RAW_FOLDERS)}; put them in audio/ as <mp3name>")
    if not (folder / "spectrograms").is_dir():
        raise DataError(f"{folder} has neither spectrograms/ nor recordings in audio/; unpack spectrograms.zip there")
    return None


def _has_recording(folder: Path) -> bool:
    """Return whether any recording lies in the folder or, as downloads from the archive do, one level deeper."""
    return any(path.suffix.lower() in RAW_SUFFIXES for pattern in ("*", "*/*") for path in folder.glob(pattern))


def key_digit_split(key: int) -> str:
    """Return SoundingEarth's published split: keys ending in 2 or 5 test, in 7 validate. Its sites have neighbours
    in other splits: figures on it say how well a model remembers places."""
    return {2: "test", 5: "test", 7: "val"}.get(key % 10, "train")


class ParquetRelease:
    """A source of the pairs in a set's Parquet files; the media are bytes in them.

    The columns of a release that is known need no `columns`; other sets are read like a manifest. Splits are those of
    the files' names (`validation` is val) unless there is a column `split`. GeoSound's images are those of
    `bingmap_image`; `columns={"image": "sentinel_image"}` takes the others. What is the same for a whole release
    (`license`, `attribution`, `image_gsd_m`) is given to every row. The text of a release's date is
    carried: not every one can be read. Raises DataError.
    """

    ready_spectrograms = False

    def __init__(
        self,
        path: Path | str,
        *,
        columns: Mapping[str, str] | None = None,
        need: tuple[str, ...] = MEDIA,
        also: tuple[str, ...] = (),
    ) -> None:
        check_need(need, also)
        self.path = path
        self.name = str(path).rstrip("/").rsplit("/", 1)[-1]
        self._need, self._also = need, also
        self._wanted = (*need, *also)
        self._table = ShardTable(path)
        self._release = release_with(self._table.columns)
        self._columns = self._own_columns(columns or {})
        self.gives_splits = "split" not in self._columns and self._table.has_splits
        self._media = tuple(self._columns[name] for name in self._wanted if name in self._columns)
        self._constants = self._same_for_all()
        self._extra = self._extra_columns()
        self.extra_columns = tuple(self._extra)
        own = [column for name, column in self._columns.items() if name not in MEDIA]
        self._light = list(dict.fromkeys((*own, *self._extra.values())))
        self._table.require([*self._light, *self._media])
        for name in self._media:
            _check_bytes(self._table, name)

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Pair | Problem]:
        """Yield one item a row, in the order of the files: a pair, or the problem that leaves the row out."""
        return self.skipping(None)

    def skipping(self, skip: Skip | None) -> Iterator[Pair | Problem]:
        """Yield the same items; pairs of which `skip(number of the row, id)` is true may come without their media.

        A row group (often 100 rows) in which nothing else is wanted is then not read from the disk or the network.
        """
        named = {name: name for name in (*PAIR_COLUMNS, *EXCERPT_COLUMNS)}
        reader = RowReader(Path(), named, {name: name for name in self._extra}, self._need, self._also)
        for row, split, whole in self._table.read(self._light, self._media, self._columns["id"], skip):
            own: dict[str, object] = {name: row.cells[column] for name, column in self._extra.items()}
            own |= self._constants | {"split": split}
            own |= {name: row.cells[column] for name, column in self._columns.items() if column in row.cells}
            own |= {name: _bytes(own.get(name)) for name in self._wanted}
            yield reader.read(Row(row.where, own), media_read=whole)

    def _own_columns(self, columns: Mapping[str, str]) -> dict[str, str]:
        known = self._release.columns if self._release is not None else {}
        preset = {name: column for name, column in known.items() if name not in columns}
        for name, column in preset.items():
            if column not in self._table.columns and (name not in MEDIA or name in self._need):
                others = [other for other in self._table.columns if other not in known.values()]
                raise DataError(
                    f"{self.path} has no column {column!r} ({name} of {self._release.name if self._release else ''});"
                    f"{nearest(column, others)}; type --columns {name}=NAME with the column to use"
                )
        there = {name: column for name, column in preset.items() if column in self._table.columns}
        found = own_columns(self._table, there | dict(columns), self._need, self._also)
        if "split" not in found:
            _ = self._table.has_splits  # refused now, not after hours of work
        return {name: column for name, column in found.items() if name not in MEDIA or name in self._wanted}

    def _same_for_all(self) -> dict[str, object]:
        release = self._release
        if release is None:
            return {}
        gsd_m = release.gsd_m.get(self._columns.get("image", ""))
        same = {"license": release.license, "attribution": release.attribution, "source": release.source}
        return {name: value for name, value in (same | {"image_gsd_m": gsd_m}).items() if name not in self._columns}

    def _extra_columns(self) -> dict[str, str]:
        used = self._columns | {name: name for name in self._constants}
        if self._release is None:
            return extra_columns(self._table, used)
        used.pop("datetime", None)  # its text is carried: not every date can be read
        return extra_columns(self._table, used, (*self._release.aside, *self._release.gsd_m, "audio"))


def is_release_file(path: Path) -> bool:
    """Return whether one Parquet file is part of a release that is known; a broken one is not."""
    try:
        return release_with(pq.read_schema(path).names) is not None
    except (pa.ArrowException, OSError, ValueError):
        return False


def _check_bytes(table: ShardTable, name: str) -> None:
    """Raise DataError unless a column holds bytes: paths in published files would name any file of this machine."""
    kind: Any = table.schema.field(name).type
    inner = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(inner) or pa.types.is_large_binary(inner)):
        raise DataError(
            f"{table.path}: column {name!r} is of type {kind}; bytes, or a struct with bytes, were expected "
            "(name a manifest itself, such as pairs.parquet, when its cells are paths)"
        )


def _bytes(value: object) -> bytes | None:
    """Return the bytes of a cell; never a path."""
    if isinstance(value, Mapping):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None

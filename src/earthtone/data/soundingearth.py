"""The SoundingEarth release (Zenodo 5600379): a folder with metadata.csv, images/ and spectrograms/ or recordings."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from earthtone.data.cell import clipped
from earthtone.data.manifest import check_need, listed, nearest, refuse_unread
from earthtone.data.pair import Pair, Problem
from earthtone.data.read_csv import CsvTable
from earthtone.data.releases import GOOGLE_EARTH_GSD_M, SOUNDINGEARTH_ATTRIBUTION, SOUNDINGEARTH_LICENSE
from earthtone.data.row import BAD_NUMBER, MEDIA, NO_ID, Row, RowReader, is_file
from earthtone.data.split import key_digit_split
from earthtone.errors import ConfigError, DataError

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
        self, path: str | Path, *, need: tuple[str, ...] = MEDIA, prefer: str = "auto", unread: Collection[str] = ()
    ) -> None:
        check_need(need)
        refuse_unread(unread, need)
        if prefer not in PREFERENCES:
            raise ConfigError(f"prefer is {prefer!r}; one of {listed(PREFERENCES)} expected")
        self.path = Path(path)
        self.name = self.path.resolve().name
        self._need = need
        self._own = {name: name for name in _OWN if name not in unread}
        self._table = CsvTable(self.path / METADATA)
        _check_columns(self._table)
        self._raw = _raw_folder(self.path, prefer) if "audio" in need else None
        self.ready_spectrograms = "audio" in need and self._raw is None

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Pair | Problem]:
        """Yield one item a row, in the file's order: a pair, or the problem that leaves the row out."""
        extra = {name: name for name in self.extra_columns}
        reader = RowReader(self.path, self._own, extra, self._need)
        for row in self._table.rows(RELEASE_COLUMNS):
            yield reader.read(row if row.fault is not None else self._own_row(row))

    def _own_row(self, row: Row) -> Row:
        """Return the row under a pair's own names."""
        text = {name: str(row.cells[name]) for name in RELEASE_COLUMNS}
        key = text["key"].strip()
        if not (key.isascii() and key.isdigit()):
            kind = BAD_NUMBER if key else NO_ID
            return Row(row.place, {}, fault=(kind, f"key {clipped(key)}; a whole number was expected"))
        key = str(int(key)) if len(key) < 20 else key
        own: dict[str, object] = {name: text[name] for name in (*self.extra_columns, "longitude", "latitude")}
        own |= {
            "id": key,
            "image": f"images/{key}.jpg",
            "audio": self._audio(key, text),
            "datetime": text["date_recorded"],
        }
        own |= {**_SAME, "split": key_digit_split(int(key[-1]))}
        return Row(row.place, own)

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


def _check_columns(table: CsvTable) -> None:
    missing = [name for name in RELEASE_COLUMNS if name not in table.columns]
    if missing:
        others = [name for name in table.columns if name not in RELEASE_COLUMNS]
        raise DataError(
            f"{table.path} lacks the SoundingEarth columns {listed(missing)};{nearest(missing[0], others)}; take the "
            "release's own metadata.csv, or write a manifest with the columns id, image and audio"
        )


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

"""Sources of pairs, and how the right reader is chosen for a file or a folder."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from earthtone.data.manifest import TABLES, Manifest, listed
from earthtone.data.pair import MEDIA, Pair, Problem
from earthtone.data.parquet import parquet_names
from earthtone.data.releases import METADATA, ParquetRelease, SoundingEarth, is_release_file, looks_like_release
from earthtone.data.remote import is_hub, is_remote
from earthtone.errors import ConfigError, DataError
from earthtone.files import regular_file
from earthtone.signal.config import SignalConfig


class Source(Protocol):
    """Rows in a fixed order, one item each: a pair, or the problem that leaves the row out.

    One with `gives_splits` true gives every row a split of its own. May be iterated again and again; memory
    is bounded (a GeoJSON file alone is held whole).
    """

    @property
    def path(self) -> Path | str:
        """The file or folder, or the address on the hub."""

    @property
    def name(self) -> str:
        """The last part of the path, for reports."""

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Free columns that every pair carries in `extra`."""

    @property
    def ready_spectrograms(self) -> bool:
        """Whether the pairs' audio are 8-bit spectrogram pictures in place of recordings."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Pair | Problem]: ...


@runtime_checkable
class SkippingSource(Source, Protocol):
    """A source whose media are costly to read, and can be left out where they are not wanted."""

    def skipping(self, skip: Callable[[int, str], bool] | None) -> Iterator[Pair | Problem]:
        """Yield all items; pairs of which `skip(number of the row, id)` is true may come without their media."""


def items_skipping(source: Source, skip: Callable[[int, str], bool]) -> Iterator[Pair | Problem]:
    """Yield a source's items; the media of those that `skip(number, id)` tells are not read where that saves work."""
    return source.skipping(skip) if isinstance(source, SkippingSource) else iter(source)


def preferred_audio(path: str | Path, signal: SignalConfig) -> str:
    """Return which audio of a release a signal config asks for; of all other sources there is only one."""
    return "spectrogram" if signal.audio.input == "spectrogram" and looks_like_release(Path(path)) else "auto"


def check_input(source: Source, signal: SignalConfig) -> None:
    """Raise ConfigError when the data's kind of sound is not the config's."""
    if source.ready_spectrograms and signal.audio.input != "spectrogram":
        raise ConfigError(
            f"{source.path} holds ready spectrograms, no recordings; type --recipe soundingearth-spectrograms "
            "(signal.audio.input: spectrogram)"
        )
    if not source.ready_spectrograms and signal.audio.input != "waveform":
        raise ConfigError(f"{source.path} holds recordings; signal.audio.input: waveform expected, not spectrogram")


def open_source(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    need: tuple[str, ...] = MEDIA,
    also: tuple[str, ...] = (),
    prefer: str = "auto",
) -> Source:
    """Return the source in a manifest, in a folder with one manifest, or in a release: that of SoundingEarth, or
    Parquet files in a folder or on the hub (`hf://datasets/OWNER/NAME[@REVISION][/FOLDER]`).

    `columns` maps a pair's column names to those of the file; `need` are the media that a row must have, `also` those
    that are read where it has them; `prefer` ("auto", "raw", "spectrogram") chooses a release's audio. Raises
    DataError, or ConfigError for useless options.

    >>> for item in open_source("metadata.csv", columns={"id": "file", "audio": "file"}, need=("audio",)):
    ...     print(item.id)  # doctest: +SKIP
    """
    if is_hub(path):
        return ParquetRelease(path, columns=columns, need=need, also=also)
    there = _existing(str(path), columns)
    if there.is_dir() and looks_like_release(there):
        return SoundingEarth(there, need=need, also=also, prefer=prefer, unread=columns or ())
    if prefer != "auto":
        raise ConfigError(
            f"prefer={prefer!r} is for SoundingEarth releases (a folder with metadata.csv); {path} is none"
        )
    if there.is_dir() or (there.suffix.lower() == ".parquet" and is_release_file(there)):
        return ParquetRelease(there, columns=columns, need=need, also=also)
    return Manifest(there, columns=columns, need=need, also=also)


def _existing(text: str, columns: Mapping[str, str] | None) -> Path:
    """Return the manifest that a path means, or the folder of a release. Raises DataError."""
    path = Path(text)
    if path.is_dir():
        return _in_folder(path, columns)
    if is_remote(text):
        raise DataError(
            f"{text}: of object stores packed tables alone are read, by pretrain and evaluate; check and pack read "
            "files on a disk, or hf://datasets/OWNER/NAME"
        )
    if "://" in text:
        raise DataError(f"{text} is an address; only hf://datasets/OWNER/NAME is read, download others first")
    expected = f"a manifest ({', '.join(TABLES)})"
    if not path.exists():
        raise DataError(f"{path} does not exist; {expected}, its folder or that of a release was expected")
    try:
        return regular_file(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {expected} was expected") from error


def _in_folder(folder: Path, columns: Mapping[str, str] | None) -> Path:
    """Return the folder's only manifest, or the folder where it is a release. Raises DataError."""
    release = not any((columns or {}).values()) and looks_like_release(folder)
    names = [f"manifest{suffix}" for suffix in TABLES] + [METADATA] * (not release)
    manifests = [folder / name for name in names if (folder / name).is_file()]
    if len(manifests) + release == 1:
        return folder if release else manifests[0]
    if manifests:
        several = [path.name for path in manifests] + ["a SoundingEarth release"] * release
        raise DataError(f"{folder} holds {listed(several)}; type the path of one of them, such as {manifests[0]}")
    if any(parquet_names(folder)):
        return folder
    raise DataError(
        f"{folder} holds {listed(sorted(path.name for path in folder.iterdir()), 12)}; a manifest (manifest.csv, .tsv, "
        ".geojson, .parquet, or metadata.csv) or a release (metadata.csv and images/, or data/*.parquet) was "
        f"expected; type the path of a manifest{_packed_there(folder)}"
    )


def _packed_there(folder: Path) -> str:
    tables = sorted(path for path in folder.iterdir() if is_packed(path))
    return f", or of the packed table {tables[0]}" if tables else ""


#: In the folder of a packed table, beside what Lance writes; here, since opening a table costs a second of imports.
SEAL_FILE = "earthtone.json"


def is_packed(data: str | Path) -> bool:
    """Return whether `data` is a packed table, not something to pack; in object stores nothing else is looked for."""
    return is_remote(data) or (Path(data) / "_versions").is_dir() or (Path(data) / SEAL_FILE).is_file()

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
    prefer: str = "auto",
) -> Source:
    """Return the source in a manifest, in a folder with one manifest, or in a release: that of SoundingEarth, or
    Parquet files in a folder or on the hub (`hf://datasets/OWNER/NAME[@REVISION][/FOLDER]`).

    `columns` maps a pair's column names to those of the file; `need` are the media that a row must have; `prefer`
    ("auto", "raw", "spectrogram") chooses a release's audio. Raises DataError, or ConfigError for useless options.

    >>> for item in open_source("metadata.csv", columns={"id": "file", "audio": "file"}, need=("audio",)):
    ...     print(item.id)  # doctest: +SKIP
    """
    found = path if is_hub(path) else _found(str(path), columns)
    if isinstance(found, Path) and found.is_dir() and looks_like_release(found):
        return SoundingEarth(found, need=need, prefer=prefer, unread=columns or ())
    if prefer != "auto":
        raise ConfigError(
            f"prefer={prefer!r} is for SoundingEarth releases (a folder with metadata.csv); {path} is none"
        )
    if isinstance(found, Path) and found.is_file() and not _in_release(found):
        return Manifest(found, columns=columns, need=need)
    return ParquetRelease(found, columns=columns, need=need)


def _found(text: str, columns: Mapping[str, str] | None) -> Path:
    """Return the manifest that a path means, or the folder of a release. Raises DataError."""
    path = Path(text)
    if not path.is_dir():
        if is_remote(text):
            raise DataError(
                f"{text}: of object stores packed tables alone are read, by pretrain and evaluate; check and pack read "
                "files on a disk, or hf://datasets/OWNER/NAME"
            )
        if "://" in text:
            raise DataError(f"{text} is an address; only hf://datasets/OWNER/NAME is read, download others first")
        if not path.exists():
            raise DataError(
                f"{path} does not exist; a manifest ({', '.join(TABLES)}), its folder or that of a release was expected"
            )
        return _plain(path)
    release = not any((columns or {}).values()) and looks_like_release(path)
    manifests = _manifests(path, with_metadata=not release)
    if len(manifests) + release == 1:
        return path if release else manifests[0]
    if not manifests and not release and any(parquet_names(path)):
        return path
    raise DataError(_undecided(path, manifests, release))


def _plain(path: Path) -> Path:
    try:
        return regular_file(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; a manifest ({', '.join(TABLES)}) was expected") from error


def _in_release(path: Path) -> bool:
    if path.suffix.lower() != ".parquet":
        return False
    return is_release_file(path)


def _manifests(folder: Path, *, with_metadata: bool) -> list[Path]:
    names = [f"manifest{suffix}" for suffix in TABLES] + [METADATA] * with_metadata
    return [folder / name for name in names if (folder / name).is_file()]


def _undecided(folder: Path, manifests: list[Path], release: bool) -> str:
    if manifests:
        names = [path.name for path in manifests] + ["a SoundingEarth release"] * release
        return f"{folder} holds {listed(names)}; type the path of one of them, such as {manifests[0]}"
    found = sorted(path.name for path in folder.iterdir())
    return (
        f"{folder} holds {listed(found, 12)}; a manifest (manifest.csv, .tsv, .geojson, .parquet, or metadata.csv) or "
        f"a release (metadata.csv and images/, or data/*.parquet) was expected; type the path of a manifest"
    )


#: In the folder of a packed table, beside what Lance writes; here, since opening a table costs a second of imports.
SEAL_FILE = "earthtone.json"


def is_packed(data: str | Path) -> bool:
    """Whether `data` is a packed table rather than something to pack; in object stores nothing else is looked for."""
    return is_remote(data) or (Path(data) / "_versions").is_dir() or (Path(data) / SEAL_FILE).is_file()

"""Sources of pairs, and how the right reader is chosen for a file or a folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from earthtone.data.manifest import TABLES, Manifest, listed
from earthtone.data.pair import Pair, Problem
from earthtone.data.row import MEDIA
from earthtone.data.soundingearth import METADATA, SoundingEarth, looks_like_release
from earthtone.errors import ConfigError, DataError


class Source(Protocol):
    """Rows in a fixed order, one item each: a pair, or the problem that leaves the row out.

    May be iterated again and again; memory is bounded (a GeoJSON file alone is held whole).
    """

    @property
    def path(self) -> Path:
        """The file or folder."""

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


def open_source(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    need: tuple[str, ...] = MEDIA,
    prefer: str = "auto",
) -> Source:
    """Return the source in a manifest, in a folder with one manifest, or in a SoundingEarth release's folder.

    `columns` maps a pair's column names to those of the file; `need` are the media that a row must have; `prefer`
    ("auto", "raw", "spectrogram") chooses a release's audio. Raises DataError, or ConfigError for useless options.

    >>> for item in open_source("metadata.csv", columns={"id": "file", "audio": "file"}, need=("audio",)):
    ...     print(item.id)  # doctest: +SKIP
    """
    path = Path(path)
    if path.is_dir():
        release = not columns and looks_like_release(path)
        manifests = _manifests(path, with_metadata=not release)
        if release and not manifests:
            return SoundingEarth(path, need=need, prefer=prefer)
        if len(manifests) + release != 1:
            raise DataError(_undecided(path, manifests, release))
        path = manifests[0]
    elif not path.exists():
        raise DataError(f"{path} does not exist; a manifest ({', '.join(TABLES)}) or its folder was expected")
    if prefer != "auto":
        raise ConfigError(f"prefer={prefer!r} is for SoundingEarth releases; {path} is a manifest")
    return Manifest(path, columns=columns, need=need)


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
        f"a SoundingEarth release (metadata.csv and images/) was expected; type the path of a manifest"
    )

"""The recipe of a data set: a YAML file whose sections are the options of the verbs that `earthtone build` calls.

A section that is left out is a step that is not done; `{}` is one with all defaults. Options that the build gives
itself, such as where a step's rows lie, cannot be said.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import date
from importlib import import_module, resources
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_origin
from urllib.parse import urlsplit

from earthtone.build.options import CurateOptions, DescribeOptions, RecordingsOptions, SplitRowsOptions, TilesOptions
from earthtone.build.sources.source import RecordingSource
from earthtone.errors import ConfigError, did_you_mean
from earthtone.files import format_of, read_yaml, read_yaml_file
from earthtone.options import ColumnOptions, PackOptions
from earthtone.signal.config import SignalConfig, check_signal_config
from earthtone.value_types import NOT_TYPED, Options, PositiveFloat, PositiveInt, is_empty, section_of, type_hints

#: What is at the top of a recipe.
SECTIONS = ("recordings", "imagery", "curate", "split", "pack", "describe")
#: Where recordings come from; one of them is in the section.
ORIGINS = ("folder", "table", "source")
#: Archives by their names -> where the dataclass of what they can be asked lies, below build/sources.
SOURCES: Mapping[str, str] = {
    "freesound": "freesound:Freesound", "gbif": "gbif:Gbif", "hub-copy": "hub_copy:HubCopy",
    "inaturalist": "inaturalist:INaturalist", "internet-archive": "internet_archive:InternetArchive",
    "xeno-canto": "xeno_canto:XenoCanto",
}  # fmt: skip
#: Options that are paths, from the recipe's own folder.
_PATHS = ("folder", "table", "deployments", "raster", "cache", "exclude")
_MOST_SCALES = 8
_ROWS = "recordings.parquet"


@dataclass(frozen=True)
class TableOptions(ColumnOptions):
    """Recordings that a table names."""

    table: str | Path
    """manifest (CSV, GeoJSON, Parquet, GeoParquet), release folder, or a table of `earthtone recordings`"""


@dataclass(frozen=True)
class ArchiveOptions(Options):
    """Recordings of an archive."""

    source: Any
    """a RecordingSource"""
    _: KW_ONLY
    most: PositiveInt | None = None
    """so many recordings are enough"""
    fresh_days: PositiveFloat = 30.0
    """a list that has been whole for longer is asked for anew: what has come since is added"""

    def folder(self, out: Path) -> Path:
        """Return where the list of this query lies; another query has one of its own."""
        return out / "listing" / str(self.source.query_id)


@dataclass(frozen=True)
class Scale:
    """How large a tile is."""

    metres: float
    pixels: int = 256


@dataclass(frozen=True)
class BuildRecipe:
    """What is built, as the options of each step; paths that the build gives are still those of the step alone."""

    path: Path
    text: str
    """The file itself, for the report."""
    recordings: RecordingsOptions | TableOptions | ArchiveOptions
    scales: tuple[TilesOptions, ...] = ()
    """Of the imagery; empty: recordings bring pictures of their own."""
    curate: CurateOptions | None = None
    split: SplitRowsOptions | None = None
    pack: PackOptions | None = None
    describe: DescribeOptions | None = None
    sections: Mapping[str, Any] = field(default_factory=dict)
    """The plain values of the file."""


def read_build_recipe(path: str | Path) -> BuildRecipe:
    """Return the recipe in a YAML file. Raises ConfigError, one line, for whatever is wrong with it."""
    path = Path(path)
    try:
        values, text = read_yaml_file(path), path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read ({error.strerror or error}); a YAML file expected") from error
    except ValueError as error:
        raise ConfigError(f"recipe {path} is no YAML of plain values: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"recipe {path}: a mapping of sections expected: {', '.join(SECTIONS)}")
    format_of(values, "recipe of a data set", path)
    values = {name: _days_as_texts(value) for name, value in values.items() if name != "format"}
    for name, value in values.items():
        if name not in SECTIONS:
            hint = did_you_mean(str(name), SECTIONS)
            raise ConfigError(f"{path}: unknown section {str(name)!r:.40}; {hint}known: {', '.join(SECTIONS)}")
        if not isinstance(value, dict):
            found = "empty" if is_empty(value) else f"{value!r:.60}"
            raise ConfigError(f"{path}: {name} is {found}; a mapping of options expected, {{}} for all defaults")
    if "recordings" not in values:
        raise ConfigError(f"{path}: no section recordings; one with {', '.join(ORIGINS)} expected")
    return _Reader(path, text, values).recipe()


def _days_as_texts(value: Any) -> Any:
    """Return values of YAML with days and moments, which need no quotes there, as the texts that options are."""
    if isinstance(value, dict):
        return {name: _days_as_texts(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_days_as_texts(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value  # a moment is a day, too


def _source_kind(name: str) -> Any:
    """Return the dataclass of what a source can be asked."""
    module, _, kind = SOURCES[name].partition(":")
    return getattr(import_module(f"earthtone.build.sources.{module}"), kind)


class _Reader:
    """Makes the options of each section, whose own checks tell what is wrong."""

    def __init__(self, path: Path, text: str, values: Mapping[str, dict[str, Any]]) -> None:
        self._path, self._text, self._values = path, text, values

    def recipe(self) -> BuildRecipe:
        recordings = self._recordings(self._values["recordings"])
        scales = tuple(self._scales(self._values["imagery"])) if "imagery" in self._values else ()
        return BuildRecipe(
            self._path, self._text, recordings, scales,
            curate=self._curate(scales),
            split=self._whole(SplitRowsOptions, "split", data="pairs", out="split", keep=None, columns=None,
                              metadata_only=False),
            pack=self._pack(),
            describe=self._whole(DescribeOptions, "describe", data="pairs", out="describe", columns=None,
                                 metadata_only=False),
            sections=self._values,
        )  # fmt: skip

    def _whole(self, kind: Any, section: str, **given: Any) -> Any:
        """Return a section as the options of a verb, None where it is left out; `given` are those of the build."""
        return self._options(kind, section, self._values[section], **given) if section in self._values else None

    def _options(self, kind: Any, section: str, values: Mapping[str, Any], **given: Any) -> Any:
        hints = type_hints(kind)
        known = [name for name, hint in hints.items() if name not in given and not _python_only(hint)]
        made = {}
        for name, value in values.items():
            if name not in known:
                raise ConfigError(f"{self._unknown(section, name, known)}")
            made[name] = self._path_of(name, None if is_empty(value) else value)
        with _told_as(self._path, section):
            return kind(**given, **made)

    def _unknown(self, section: str, name: object, known: list[str]) -> str:
        key = f"{section}.{str(name)[:40]}"
        hint = did_you_mean(key, [f"{section}.{one}" for one in known])
        return f"{self._path}: unknown key {key}; {hint}known: {', '.join(known)}"

    def _path_of(self, name: str, value: Any) -> Any:
        """Return a path from the recipe's own folder; what is none as it is."""
        if not isinstance(value, str) or "://" in value:
            return value
        there = self._path.parent / value
        if name == "region":
            with suppress(OSError):  # a polygon as text may be too long for a name
                return str(there) if there.is_file() else value
            return value
        return there if name in _PATHS else value

    def _recordings(self, values: dict[str, Any]) -> RecordingsOptions | TableOptions | ArchiveOptions:
        origins = [name for name in ORIGINS if name in values]
        if len(origins) != 1:
            found = " and ".join(f"recordings.{name}" for name in origins) or "no origin of recordings"
            raise ConfigError(f"{self._path}: {found}; one of {', '.join(ORIGINS)} expected in recordings")
        if origins == ["folder"]:
            return cast(RecordingsOptions, self._options(RecordingsOptions, "recordings", values, out=_ROWS))
        if origins == ["table"]:
            return cast(TableOptions, self._options(TableOptions, "recordings", values))
        return self._archive(values)

    def _archive(self, values: dict[str, Any]) -> ArchiveOptions:
        """Return what is asked of an archive: fields of its source, with filters in a section of their own."""
        name = values["source"]
        if name not in SOURCES:
            hint = did_you_mean(str(name), SOURCES)
            known = ", ".join(SOURCES)
            raise ConfigError(f"{self._path}: recordings.source {name!r:.40}; {hint}one of {known} expected")
        own = {key: values[key] for key in ("most", "fresh_days") if not is_empty(values.get(key))}
        asked = {key: value for key, value in values.items() if key not in ("source", "most", "fresh_days")}
        if (asked_host := urlsplit(str(asked.get("endpoint") or "")).hostname) not in (None, "127.0.0.1", "localhost"):
            raise ConfigError(
                f"{self._path}: recordings.endpoint is at {asked_host!r:.80}; a recipe cannot send your keys to "
                "another host than the archive's own: leave it out, or ask from Python"
            )
        with _told_as(self._path, "recordings"):
            source: RecordingSource = section_of(
                _source_kind(name), asked, str(self._path), "recordings.", checked=True
            )
            return ArchiveOptions(source, **own)

    def _scales(self, values: dict[str, Any]) -> Iterator[TilesOptions]:
        given = {"places": "places.parquet", "out": "imagery", "region": None, "stride": None, "model": None,
                 "columns": None, "parquet": True, "contact": None, "cache": None}  # fmt: skip
        scales = values.get("scales")
        if not isinstance(scales, list) or not 1 <= len(scales) <= _MOST_SCALES:
            raise ConfigError(
                f"{self._path}: imagery.scales expected, a list of 1 to {_MOST_SCALES} such as "
                "[{metres: 1024, pixels: 512}]"
            )
        seen: list[float] = []
        for number, said in enumerate(scales):
            if not isinstance(said, Mapping) or is_empty(said.get("metres")):
                raise ConfigError(f"{self._path}: imagery.scales[{number}].metres expected, the side of a tile")
            scale = section_of(Scale, said, str(self._path), f"imagery.scales[{number}].", checked=True)
            if scale.metres in seen:
                raise ConfigError(f"{self._path}: imagery.scales has {scale.metres:g} m twice; each once expected")
            seen.append(scale.metres)
            rest = {name: value for name, value in values.items() if name != "scales"}
            yield self._options(TilesOptions, "imagery", rest, **given, metres=scale.metres, pixels=scale.pixels)

    def _curate(self, scales: tuple[TilesOptions, ...]) -> CurateOptions | None:
        if "curate" not in self._values:
            return None
        values = dict(self._values["curate"])
        if scales:
            values.setdefault("tile_m", scales[0].metres)
        found: CurateOptions = self._options(CurateOptions, "curate", values, data="pairs", out="curate", columns=None)
        return found

    def _signal_of(self, name: Any) -> dict[str, Any]:
        """Return the section `signal` of a recipe of training, a shipped one by its name or a YAML file."""
        shipped = resources.files("earthtone") / "recipes" / f"{name}.yaml"
        path = self._path.parent / str(name)
        try:
            if path.suffix in (".yaml", ".yml"):
                found = read_yaml_file(path)
            else:
                found = read_yaml(shipped.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._path}: pack.recipe {str(name)!r:.60}; a recipe of training such as small, or its file, "
                "expected"
            ) from error
        return dict(found.get("signal") or {}) if isinstance(found, dict) else {}

    def _pack(self) -> PackOptions | None:
        if "pack" not in self._values:
            return None
        values = dict(self._values["pack"])
        said = values.pop("signal", {})
        if "recipe" in values:
            said = _merged(self._signal_of(values.pop("recipe")), said)
        signal = section_of(SignalConfig, said, str(self._path), "pack.signal.", checked=True)
        with _told_as(self._path, "pack"):
            check_signal_config(signal)
        given = {"data": "pairs", "out": "pairs.lance", "columns": None, "split_by": None, "buffer_km": None}
        found: PackOptions = self._options(PackOptions, "pack", values, **given)
        return replace(found, signal=signal)


def _merged(below: Mapping[str, Any], above: Any) -> Any:
    """Return nested plain values, those of `above` first."""
    if not isinstance(above, Mapping):
        return above
    found = dict(below)
    for name, value in above.items():
        before = found.get(name)
        found[name] = _merged(before, value) if isinstance(before, Mapping) else value
    return found


class _told_as:  # noqa: N801 - a context manager with the name of a function
    """Turns errors about `--option` into ones about a recipe's `section.option`."""

    def __init__(self, path: Path, section: str) -> None:
        self._path, self._section = path, section

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, ConfigError) and not str(error).startswith(f"{self._path}: "):
            told = re.sub(r"--([a-z][a-z0-9_.]*)", rf"{self._section}.\1", str(error))
            raise ConfigError(f"{self._path}: {told}") from error
        if isinstance(error, TypeError):  # an option that has no default is missing
            raise ConfigError(f"{self._path}: {self._section}: {error}") from error


def _python_only(hint: Any) -> bool:
    return get_origin(hint) is Annotated and NOT_TYPED in get_args(hint)

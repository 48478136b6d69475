"""The sounds that a map is asked for: files, or a CSV of them with names, months and hours."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earthtone.atlas.queries import heard_windows
from earthtone.data.tables import CsvTable
from earthtone.errors import DataError, one_line
from earthtone.models.two_tower import Embeddings, TwoTower

MOST_QUERIES = 64
_MOST_WINDOWS = 256  # of a recording whose spread is looked at
_COLUMNS = ("file", "name", "month", "hour")
_TAKEN = ("likeliest", "margin", "png", "tiles", "facts", "page")  # what a map calls files of its own


@dataclass(frozen=True)
class MapQuery:
    """One sound."""

    file: Path
    name: str
    slug: str
    """The name that its files have."""
    month: int | None = None
    """1 to 12."""
    hour: float | None = None
    """0 to 24."""

    @property
    def title(self) -> str:
        """Return the name with month and hour."""
        when = [f"month {self.month}"] if self.month is not None else []
        when += [f"{self.hour:g} h"] if self.hour is not None else []
        return ", ".join([self.name, *when])


@dataclass(frozen=True)
class Heard:
    """What a model made of a sound."""

    vector: Embeddings
    """(D,) of the whole recording."""
    windows: Embeddings
    """(W, D) of each of its windows, at most 256 of them, evenly taken."""


def read_queries(given: Sequence[str]) -> list[MapQuery]:
    """Return the sounds of a line of files, or of one CSV; each has a slug of its own. Raises DataError."""
    if len(given) == 1 and Path(given[0]).suffix.lower() == ".csv":
        found = _of_csv(Path(given[0]))
    else:
        found = [(Path(file), Path(file).stem, None, None) for file in given]
    if not 1 <= len(found) <= MOST_QUERIES:
        raise DataError(f"{len(found)} sounds; 1 to {MOST_QUERIES} on one map expected: --query a.wav b.wav")
    once = Counter((file.absolute(), month, hour) for file, _, month, hour in found)
    if twice := next((file for (file, *_), times in once.items() if times > 1), None):
        raise DataError(f"--query: {twice} is given twice; each sound once expected, there is nothing to compare")
    slugs: dict[str, int] = dict.fromkeys(_TAKEN, 1)
    queries = []
    for file, name, month, hour in found:
        said = MapQuery(file, one_line(name, 80), "", month, hour)
        slug = slug_of(said.title)
        slugs[slug] = slugs.get(slug, 0) + 1
        again = f"-{slugs[slug]}" if slugs[slug] > 1 else ""
        queries.append(MapQuery(file, said.name, slug + again, month, hour))
    if len({query.slug for query in queries}) < len(queries):
        raise DataError("two sounds whose names differ in signs alone; name them otherwise (a CSV has a column name)")
    return queries


def slug_of(name: str) -> str:
    """Return a name of small letters, digits and dashes that any file may have.

    >>> slug_of("Morning, Surf!")
    'morning-surf'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "sound"


def _of_csv(path: Path) -> list[tuple[Path, str, int | None, float | None]]:
    table = CsvTable(path)
    columns = [name for name in _COLUMNS if name in table.columns]
    if "file" not in columns:
        raise DataError(f"{path}: columns {', '.join(table.columns)[:200]}; file expected, and name, month, hour")
    found = []
    for row in table.rows(columns):
        if row.fault is not None:
            raise DataError(f"{path}, {row.where}: {row.fault[1]}")
        values: Mapping[str, str] = {name: str(value).strip() for name, value in row.cells.items() if value is not None}
        if not values.get("file"):
            raise DataError(f"{path}, {row.where}: no file")
        file = path.parent / values["file"]
        month = _number(values.get("month"), 1, 12, f"{path}, {row.where}: month")
        hour = _number(values.get("hour"), 0, 24, f"{path}, {row.where}: hour")
        if month is not None and month != int(month):
            raise DataError(f"{path}, {row.where}: month is {month:g}; a whole number from 1 to 12 expected")
        found.append((file, values.get("name") or file.stem, None if month is None else int(month), hour))
    return found


def _number(text: str | None, low: float, high: float, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise DataError(f"{where} is {one_line(text, 40)}; a number from {low:g} to {high:g} expected")
    return value


def hear(model: TwoTower, query: MapQuery) -> Heard:
    """Return vectors of a sound, as `embed_audio` makes them, and of its windows.

    Raises SignalError for what cannot be heard, and for silence, which sounds like no place.
    """
    windows = heard_windows(query.file, model.signal.audio, f"--query {query.file}")
    whole = model.embed_windows([windows])[0]
    if len(windows) == 1:
        return Heard(whole, whole[None])
    some = np.unique(np.linspace(0, len(windows) - 1, min(len(windows), _MOST_WINDOWS)).round().astype(int))
    return Heard(whole, model.embed_windows([windows[at : at + 1] for at in some]))

"""How much there is in a split: rows count for little when they are of one place, or of one recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.dealing import NONE, split_code
from earthtone.data.pair import SPLITS

if TYPE_CHECKING:
    from earthtone.data.table import Table  # imports torch and lance, which check can do without

LEAST_PLACES = 5
LEAST_FILES = 10
MEASURED = ("val", "test")
_ROUNDED = 1000  # a place is a thousandth of a degree, about 100 m


@dataclass(frozen=True)
class Contents:
    """What rows hold. `images` and `recordings` are distinct ones (silence is none), None where rows have none."""

    rows: int
    images: int | None = None
    recordings: int | None = None
    places: int | None = None
    """Distinct to about 100 m; None where a row has no coordinates."""

    def __str__(self) -> str:
        return f"{_counted(self.rows, 'row')}" + (f" of {self.files_text}" if self.files_text else "")

    @property
    def files_text(self) -> str:
        """How many distinct images, recordings and places there are."""
        named = (("image", self.images), ("recording", self.recordings), ("place", self.places))
        return ", ".join(_counted(count, name) for name, count in named if count is not None)

    @property
    def is_little(self) -> bool:
        """Whether figures on these rows say next to nothing."""
        files = [count for count in (self.images, self.recordings) if count is not None]
        places = LEAST_PLACES if self.places is None else self.places
        return self.rows > 0 and (min(files, default=self.rows) < LEAST_FILES or places < LEAST_PLACES)


def little_text(split: str, contents: Contents) -> str:
    """Return a line on a split on which next to nothing can be measured; empty for any other."""
    if not contents.is_little:
        return ""
    return (
        f"{split} holds {contents}: a figure measured on so little says next to nothing ({LEAST_FILES} images and "
        f"recordings of {LEAST_PLACES} places are the least)"
    )


def contents_of(
    images: NDArray[Any] | None, recordings: NDArray[Any] | None, places: NDArray[np.int64] | None, rows: int
) -> Contents:
    """Return what rows hold, given a number each (N,): equal ones are identical, negative ones are nothing."""
    whole = places is not None and len(places) > 0 and bool((places >= 0).all())
    return Contents(rows, _distinct(images), _distinct(recordings), _distinct(places) if whole else None)


def place_numbers(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a number for each place (N,), equal within about 100 m; -1 where there is none (NaN)."""
    there = ~(np.isnan(longitude) | np.isnan(latitude))
    east = np.where(there, np.round((np.nan_to_num(longitude) + 180) * _ROUNDED), 0).astype(np.int64) % (360 * _ROUNDED)
    north = np.where(there, np.round((np.nan_to_num(latitude) + 90) * _ROUNDED), 0).astype(np.int64)
    return np.where(there, north * (360 * _ROUNDED) + east, -1)


def table_contents(table: "Table", rows: Mapping[str, NDArray[np.int64]] | None = None) -> dict[str, Contents]:
    """Return what each of some parts of a table's rows holds; by default of its splits, those without rows left out."""
    if rows is None:
        splits = np.array([str(split) for split in table.column("split")], np.str_)
        rows = {name: np.flatnonzero(splits == name) for name in SPLITS}
    images, recordings = table.groups("image_hash"), table.groups("audio_hash")
    places = place_numbers(table.numbers("longitude"), table.numbers("latitude"))
    return {
        name: contents_of(images[part], recordings[part], places[part], len(part))
        for name, part in rows.items()
        if len(part)
    }


def little_lines(contents: Mapping[str, Contents], splits: Sequence[str] = MEASURED) -> list[str]:
    """Return a line for each of the measured splits that holds next to nothing."""
    lines = [little_text(name, contents[name]) for name in splits if name in contents]
    return [line for line in lines if line]


def torn_lines(table: "Table") -> list[str]:
    """Return a line where images or recordings of a table lie in several splits, which its own or a published one may
    have brought about.
    """
    splits = np.array([split_code(split) for split in table.column("split")], np.int64)
    counts = []
    for name, column in (("image", "image_hash"), ("recording", "audio_hash")):
        group = table.groups(column)
        known = (group >= 0) & (splits != NONE)
        pairs = np.unique(np.stack([group[known], splits[known]], axis=1), axis=0)
        torn = int((np.unique(pairs[:, 0], return_counts=True)[1] > 1).sum())
        counts += [_counted(torn, name)] * bool(torn)
    if not counts:
        return []
    return [f"{' and '.join(counts)} in more than one split, as the data's own or a published split has it: see check"]


def _distinct(numbers: NDArray[Any] | None) -> int | None:
    if numbers is None:
        return None
    return len(np.unique(numbers[numbers >= 0] if numbers.dtype.kind == "i" else numbers))


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"

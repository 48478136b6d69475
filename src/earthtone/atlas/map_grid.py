"""A map's grid and its numbers: which cell a tile is, scores, percentiles, spreads, differences, the likeliest sound.

Pure functions of arrays; N is tiles, Q queries, D dimensions, V views of a tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import DataError, one_line
from earthtone.models.two_tower import Embeddings

#: The bands of a map, in order, and what each says.
BANDS = {
    "score": "how well sound and tile go together",
    "percentile": "share of tiles with a lower score, in %",
    "window_spread": "standard deviation of the score over the sound's windows",
    "view_spread": "standard deviation of the score over views of the tile",
    "unlike": "how unlike the training's images the tile is; above 1: more than 99 in 100 of them",
}
NO_CLASS = 255
_ON_LATTICE = 0.02  # of a step that a centre may lie off its cell's
_SAME_PLACE = 1e-3  # of a tile: centres nearer than this along an axis are one
_MOST_PARTS = 4  # steps of which the smallest gap between tiles may be made, where many lack
_MOST_CELLS = 2**28
_SCATTERED = 1000  # cells a tile has on a grid that is none


@dataclass(frozen=True)
class MapGrid:
    """Cells of `step_x` by `step_y`, in units of `crs`; a cell's centre is its tile's, row 0 is the north."""

    crs: str
    west: float
    """Left border of the first column."""
    north: float
    """Upper border of the first row."""
    step_x: float
    step_y: float
    width: int
    height: int
    tile_x: float
    """Width of a tile: more than `step_x` where tiles overlap."""
    tile_y: float

    @property
    def east(self) -> float:
        """Right border; beyond 180 in degrees where the grid crosses the antimeridian."""
        return self.west + self.width * self.step_x

    @property
    def south(self) -> float:
        """Lower border."""
        return self.north - self.height * self.step_y

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north."""
        return self.west, self.south, self.east, self.north

    def filled(self, values: NDArray[Any], cells: "Cells", empty: float = np.nan) -> NDArray[Any]:
        """Return an image (height, width) of values (N,), `empty` where no tile is."""
        out = np.full((self.height, self.width), empty, values.dtype)
        out[cells.rows, cells.columns] = values
        return out


@dataclass(frozen=True)
class Cells:
    """Which cell each tile is."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


def tile_bounds(
    grid: MapGrid, cells: Cells
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return west, south, east and north (N) of tiles in the CRS of their grid."""
    x = grid.west + (cells.columns.astype(np.float64) + 0.5) * grid.step_x
    y = grid.north - (cells.rows.astype(np.float64) + 0.5) * grid.step_y
    half_x, half_y = grid.tile_x / 2, grid.tile_y / 2
    return x - half_x, y - half_y, x + half_x, y + half_y


def grid_of(
    west: NDArray[np.float64], south: NDArray[np.float64], east: NDArray[np.float64], north: NDArray[np.float64],
    crs: Sequence[str | None], geographic: bool, name: str,
) -> tuple[MapGrid, Cells]:  # fmt: skip
    """Return the grid on which tiles with these bounds (N,) in `crs` lie, and the cell of each.

    Tiles may lack anywhere, and overlap where the stride is smaller than a tile. In degrees (`geographic`) tiles on
    both sides of the antimeridian lie side by side. Raises DataError, which begins with `name`, where tiles have no
    CRS, several, or lie on no grid.
    """
    known = sorted({text or "" for text in crs})
    if known == [""] or not known:
        raise DataError(f"{name}: its tiles have no CRS, so nothing says where they are; embed tiles of a raster")
    if len(known) > 1:
        shown = ", ".join(one_line(text, 40) or "none" for text in known[:3])
        raise DataError(f"{name}: tiles of {len(known)} CRSs ({shown}); a map has one grid in one CRS: choose one zone")
    if not all(np.isfinite(side).all() for side in (west, south, east, north)):
        raise DataError(f"{name}: tiles whose bounds are no numbers; a damaged table: embed the tiles again")
    if geographic:
        east = np.where(east < west, east + 360.0, east)  # a tile on the antimeridian
    tile_x, tile_y = float(np.median(east - west)), float(np.median(north - south))
    if not (tile_x > 0 and tile_y > 0):
        raise DataError(f"{name}: tiles without a size; west < east and south < north expected")
    x, y = (west + east) / 2, (south + north) / 2
    if geographic:
        x = _unwrapped(x, tile_x)
    (first_x, step_x, columns), (first_y, step_y, up) = _lattice(x, tile_x, name), _lattice(y, tile_y, name)
    width, height = int(columns.max()) + 1, int(up.max()) + 1
    if width * height > min(_MOST_CELLS, max(_SCATTERED * len(x), 4)):
        raise DataError(
            f"{name}: {len(x)} tiles lie scattered over {width} x {height} cells, on no grid; make tiles on one with: "
            "earthtone tiles"
        )
    rows = height - 1 - up
    _refuse_twins(rows * width + columns, name)
    grid = MapGrid(
        known[0], first_x - step_x / 2, first_y + (height - 0.5) * step_y, step_x, step_y, width, height, tile_x, tile_y
    )
    return grid, Cells(rows, columns)


def _unwrapped(x: NDArray[np.float64], tile: float) -> NDArray[np.float64]:
    """Return longitudes without the jump at 180 where the tiles' widest gap is elsewhere."""
    x = (x + 180.0) % 360.0 - 180.0
    found = np.unique(x)
    gaps = np.diff(found)
    if not len(gaps) or gaps.max() <= max(360.0 - (found[-1] - found[0]), tile):
        return x
    return np.where(x > found[int(gaps.argmax())], x, x + 360.0)


def _lattice(centres: NDArray[np.float64], tile: float, name: str) -> tuple[float, float, NDArray[np.int64]]:
    """Return the first centre along an axis, the step, and each centre's number. Raises DataError."""
    ordered = np.sort(centres)
    gaps = np.diff(ordered)
    gaps = gaps[gaps > _SAME_PLACE * tile]
    first = float(ordered[0])
    if not len(gaps):
        return first, tile, np.zeros(len(centres), np.int64)
    smallest, extent = float(gaps.min()), float(ordered[-1]) - first
    rough = float(np.median(gaps[gaps < 1.5 * smallest]))
    for part in range(1, _MOST_PARTS + 1):
        last = round(extent / (rough / part))
        step = extent / last  # the mean of all: the smallest has the largest error of rounding
        numbers = np.rint((centres - first) / step).astype(np.int64)
        off = np.abs(centres - first - numbers * step) / step
        if off.max() <= _ON_LATTICE:
            return first, step, numbers
    raise DataError(f"{name}: its tiles lie on no regular grid; make tiles on one with: earthtone tiles")


def _refuse_twins(cell: NDArray[np.int64], name: str) -> None:
    places, counts = np.unique(cell, return_counts=True)
    if len(places) < len(cell):
        raise DataError(
            f"{name}: {int((counts > 1).sum())} places have more than one tile; each once expected: one year, one layer"
        )


# Numbers of tiles.


def similarity(vectors: Embeddings, queries: Embeddings, *, unit: bool) -> NDArray[np.float32]:
    """Return scores (N, Q): dot products of vectors of length 1, else negative squared Euclidean distances."""
    if unit:
        return np.asarray(vectors @ queries.T, np.float32)
    wide, other = vectors.astype(np.float64), queries.astype(np.float64)
    squares = np.square(wide).sum(axis=1)[:, None] + np.square(other).sum(axis=1) - 2 * wide @ other.T
    return np.asarray(-np.maximum(squares, 0.0), np.float32)


def spread(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the standard deviation (N,) of scores (N, W) over W windows or views, NaN of a single one.

    Of a sample: divided by W - 1.
    """
    if scores.shape[1] < 2:
        return np.full(len(scores), np.nan, np.float32)
    return np.asarray(scores.std(axis=1, ddof=1, dtype=np.float64), np.float32)


def percentiles(scores: NDArray[np.float32], among: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the share (N,) of the scores `among` (M,) that lie below each, in %; an equal one counts half.

    NaN counts nowhere and stays NaN. A score drawn from `among` at random has 50 in the mean, whatever the ties.
    """
    ordered = np.sort(among[~np.isnan(among)])
    if not len(ordered):
        return np.full(scores.shape, np.nan, np.float32)
    below, up_to = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    found = 50.0 * (below + up_to) / len(ordered)
    return np.where(np.isnan(scores), np.nan, found).astype(np.float32)


def likeliest(scores: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return which of Q sounds has the highest score (N,) of (N, Q), and by how much it leads the next.

    Of equal ones the first; 255 and NaN where a score is NaN.
    """
    whole = ~np.isnan(scores).any(axis=1)
    best = np.full(len(scores), NO_CLASS, np.uint8)
    margin = np.full(len(scores), np.nan, np.float32)
    best[whole] = scores[whole].argmax(axis=1)
    ordered = np.sort(scores[whole], axis=1)
    margin[whole] = ordered[:, -1] - ordered[:, -2]
    return best, margin

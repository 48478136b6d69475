"""Noise on the map: smooth random fields and random cells, functions of the absolute position.

Positions are map metres in broadcastable arrays: either (1, n) and (m, 1), a grid whose rows and columns are worked on
separately, or two arrays of one shape, for any points. Both give the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from earthtone.data.toyworld.exact import CIRCUMFERENCE_M, SINE, SINE_STEPS
from earthtone.data.toyworld.hashing import Float32s, UInts, mix, mix_array, unit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_EAST = np.uint64(0xD6E8FEB86659FD93)
_NORTH = np.uint64(0xA0761D6478BD642F)
_TWO, _THREE = np.float32(2), np.float32(3)


def around(wavelength_m: float) -> int:
    """Return how many cells of about this size go around the planet, so that no seam is at longitude 180."""
    return max(2, round(CIRCUMFERENCE_M / wavelength_m))


def lattice(key: int, east: Ints, north: Ints, cells: int) -> UInts:
    """Return 64 random bits of each lattice point; `east` repeats after `cells`."""
    wrapped = (east % cells).astype(np.uint64) * _EAST
    mixed: UInts = wrapped + north.astype(np.uint64) * _NORTH + np.uint64(key)
    return mix_array(mixed)


def value_noise(key: int, x: Floats, y: Floats, wavelength_m: float) -> Float32s:
    """Return smooth noise in [-1, 1): random values on a lattice, joined by smooth steps."""
    cells = around(wavelength_m)
    column, across = _split(x, cells)
    row, up = _split(y, cells)
    first_column, last_column = int(column.min()), int(column.max())
    first_row, last_row = int(row.min()), int(row.max())
    if (last_column - first_column + 2) * (last_row - first_row + 2) > 4 * max(column.size, row.size) + 4096:
        return _scattered(key, cells, column, across, row, up)
    table = lattice(
        key,
        np.arange(first_column, last_column + 2, dtype=np.int64)[None, :],
        np.arange(first_row, last_row + 2, dtype=np.int64)[:, None],
        cells,
    )
    values = unit(table) * _TWO - np.float32(1)
    column = column - first_column
    row = row - first_row
    if column.shape[0] == 1 and row.shape[-1] == 1 and column.ndim == row.ndim == 2:
        flat = column[0]
        rows = _blend(values[:, flat], values[:, flat + 1], across)
        down = row[:, 0]
        return _blend(rows[down], rows[down + 1], up)
    width = values.shape[1]
    index = row * width + column
    flat_values = values.ravel()
    south = _blend(flat_values[index], flat_values[index + 1], across)
    north = _blend(flat_values[index + width], flat_values[index + width + 1], across)
    return _blend(south, north, up)


def _split(position: Floats, cells: int) -> tuple[Ints, Float32s]:
    scaled = position * (cells / CIRCUMFERENCE_M)
    whole = np.floor(scaled)
    part = (scaled - whole).astype(np.float32)
    return whole.astype(np.int64), part * part * (_THREE - _TWO * part)


def _scattered(key: int, cells: int, column: Ints, across: Float32s, row: Ints, up: Float32s) -> Float32s:
    corners = [
        unit(lattice(key, column + east, row + north, cells)) * _TWO - np.float32(1)
        for north in (0, 1)
        for east in (0, 1)
    ]
    return _blend(_blend(corners[0], corners[1], across), _blend(corners[2], corners[3], across), up)


def _blend(start: Float32s, end: Float32s, share: Float32s) -> Float32s:
    difference: Float32s = end - start
    difference *= share
    difference += start
    return difference


def layered(key: int, x: Floats, y: Floats, layers: Sequence[tuple[float, float]]) -> Float32s:
    """Return a sum of value noises; `layers` are (wavelength in metres, amplitude)."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
    for number, (wavelength_m, amplitude) in enumerate(layers):
        layer = value_noise(mix(key + number), x, y, wavelength_m)
        layer *= np.float32(amplitude)
        total += layer
    return total


@dataclass(frozen=True)
class Cells:
    """Square cells of the map with random properties: where each position lies in its own cell."""

    dx: Floats
    """Metres east of the cell's centre."""
    dy: Floats
    """Metres north of the cell's centre."""
    bits: UInts
    """64 random bits of the cell, of the smallest shape that broadcasts over the positions."""

    def draw(self, number: int, low: float = 0.0, high: float = 1.0) -> Float32s:
        """Return the cell's property `number`, uniform between `low` and `high`."""
        return unit(mix_array(self.bits + np.uint64(number))) * np.float32(high - low) + np.float32(low)

    def turned(self, number: int, east: Float32s | float = 0.0, north: Float32s | float = 0.0) -> tuple[Floats, Floats]:
        """Return (u, v), metres from a point of the cell along axes turned by the cell's property `number`."""
        turn = (mix_array(self.bits + np.uint64(number)) >> np.uint64(58)).astype(np.int64) * (SINE_STEPS // 64)
        sin, cos = SINE[turn].astype(np.float64), SINE[(turn + SINE_STEPS // 4) % SINE_STEPS].astype(np.float64)
        dx, dy = self.dx - east, self.dy - north
        return cos * dx + sin * dy, cos * dy - sin * dx


def cells_of(key: int, x: Floats, y: Floats, size_m: float) -> Cells:
    """Return the cells that positions lie in; one cell for all is kept as a single number, which is fast."""
    count = around(size_m)
    size_m = CIRCUMFERENCE_M / count
    column, row = np.floor(x / size_m), np.floor(y / size_m)
    dx, dy = x - (column + 0.5) * size_m, y - (row + 0.5) * size_m
    east, north = column.astype(np.int64), row.astype(np.int64)
    return Cells(dx, dy, cell_bits(key, east, north, count))


def cell_bits(key: int, east: Ints, north: Ints, count: int) -> UInts:
    """Return `lattice`, worked out once a cell where positions share cells; one value when all share one."""
    west, south = int(east.min()), int(north.min())
    wide, high = int(east.max()) - west + 1, int(north.max()) - south + 1
    if wide * high > 1024 or max(east.size, north.size) <= 64:
        return lattice(key, east, north, count)
    columns = np.arange(west, west + wide, dtype=np.int64)[None, :]
    rows = np.arange(south, south + high, dtype=np.int64)[:, None]
    table = lattice(key, columns, rows, count)
    if wide == high == 1:
        return table.reshape((1,) * east.ndim)
    return table[north - south, east - west]

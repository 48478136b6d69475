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
#: Stacks of noises are used where the finest has fewer lattice cells than this along a side.
_STACKED_CELLS = 40
_TWO, _THREE = np.float32(2), np.float32(3)


def around(wavelength_m: float) -> int:
    """Return how many cells of about this size go around the planet, so that no seam is at longitude 180."""
    return max(2, round(CIRCUMFERENCE_M / wavelength_m))


def lattice(key: int | UInts | np.uint64, east: Ints, north: Ints, cells: int | Ints | np.int64) -> UInts:
    """Return 64 random bits of each lattice point; `east` repeats after `cells`."""
    wrapped = (east % cells).astype(np.uint64) * _EAST
    mixed: UInts = wrapped + north.astype(np.uint64) * _NORTH + (np.uint64(key) if isinstance(key, int) else key)
    return mix_array(mixed)


def value_noise(key: int, x: Floats, y: Floats, wavelength_m: float) -> Float32s:
    """Return smooth noise in [-1, 1): random values on a lattice, joined by smooth steps."""
    cells = around(wavelength_m)
    column, across = _split(x, cells)
    row, up = _split(y, cells)
    is_grid = x.ndim == y.ndim == 2 and x.shape[0] == y.shape[1] == 1
    if is_grid:  # x rises and y falls
        west, east, south, north = column[0, 0], column[0, -1], row[-1, 0], row[0, 0]
    else:
        west, east, south, north = column.min(), column.max(), row.min(), row.max()
    if (east - west + 2) * (north - south + 2) > 4 * max(column.size, row.size) + 4096:
        return _scattered(np.uint64(key), np.int64(cells), column, across, row, up)
    values = _signed(lattice(key, np.arange(west, east + 2)[None, :], np.arange(south, north + 2)[:, None], cells))
    column -= west
    row -= south
    if is_grid:
        flat, down = column[0], row[:, 0]
        rows = _blend(values[:, flat], values[:, flat + 1], across)
        return _blend(rows[down], rows[down + 1], up)
    width = values.shape[1]
    index = row * width + column
    flat_values = values.ravel()
    lower = _blend(flat_values[index], flat_values[index + 1], across)
    index += width
    upper = _blend(flat_values[index], flat_values[index + 1], across)
    return _blend(lower, upper, up)


def _signed(bits: UInts) -> Float32s:
    return unit(bits) * _TWO - np.float32(1)


def _split(position: Floats, cells: int | Ints) -> tuple[Ints, Float32s]:
    scaled = position * (cells / CIRCUMFERENCE_M)
    whole = np.floor(scaled)
    part = (scaled - whole).astype(np.float32)
    return whole.astype(np.int64), part * part * (_THREE - _TWO * part)


def _scattered(
    key: UInts | np.uint64, cells: Ints | np.int64, column: Ints, across: Float32s, row: Ints, up: Float32s
) -> Float32s:
    """Return noise of positions too far apart to share a lattice."""
    corners = [_signed(lattice(key, column + east, row + north, cells)) for north in (0, 1) for east in (0, 1)]
    return _blend(_blend(corners[0], corners[1], across), _blend(corners[2], corners[3], across), up)


def _blend(start: Float32s, end: Float32s, share: Float32s) -> Float32s:
    difference: Float32s = end - start
    difference *= share
    difference += start
    return difference


def layered(key: int, x: Floats, y: Floats, layers: Sequence[tuple[float, float]]) -> Float32s:
    """Return a sum of value noises; `layers` are (wavelength in metres, amplitude)."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
    noises = noise_stack([mix(key + n) for n in range(len(layers))], x, y, [wavelength_m for wavelength_m, _ in layers])
    for noise, (_, amplitude) in zip(noises, layers, strict=True):
        noise *= np.float32(amplitude)
        total += noise
    return total


def noise_stack(keys: Sequence[int], x: Floats, y: Floats, wavelengths_m: Sequence[float]) -> Sequence[Float32s]:
    """Return `value_noise` of each key and wavelength, worked out together: for small squares, steps are what costs."""
    if x.ndim == y.ndim == 1:
        counts = np.array([[around(wavelength_m)] for wavelength_m in wavelengths_m], dtype=np.int64)
        key_column = np.array(keys, dtype=np.uint64)[:, None]
        return list(_scattered(key_column, counts, *_split(x, counts), *_split(y, counts)))
    if x.shape[0] == y.shape[-1] == 1 and x.ndim == y.ndim == 2:
        extent = max(float(x[0, -1] - x[0, 0]), float(y[0, 0] - y[-1, 0]))
        if extent / min(wavelengths_m) < _STACKED_CELLS:
            return list(_grid_stack(keys, x, y, wavelengths_m))
    return [value_noise(key, x, y, wavelength_m) for key, wavelength_m in zip(keys, wavelengths_m, strict=True)]


def _grid_stack(keys: Sequence[int], x: Floats, y: Floats, wavelengths_m: Sequence[float]) -> Float32s:
    """Return noises (layers, m, n) of a grid; all layers get a lattice as large as the finest one needs."""
    counts = np.array([[around(wavelength_m)] for wavelength_m in wavelengths_m], dtype=np.int64)
    column, across = _split(x, counts)  # (layers, n), rising
    row, up = _split(y[:, 0], counts)  # (layers, m), falling
    west, south = column[:, :1].copy(), row[:, -1:].copy()
    column -= west
    row -= south
    east = (west + np.arange(int(column.max()) + 2))[:, None, :]
    north = (south + np.arange(int(row.max()) + 2))[:, :, None]
    key_cube = np.array(keys, dtype=np.uint64)[:, None, None]
    values = _signed(lattice(key_cube, east, north, counts[:, :, None]))
    layer = np.arange(len(keys))[:, None]
    # Lattice columns first, so that one index array picks whole columns: (layers, n, lattice rows)
    columns = values.swapaxes(1, 2)
    rows = _blend(columns[layer, column], columns[layer, column + 1], across[:, :, None])
    rows = np.ascontiguousarray(rows.swapaxes(1, 2))  # (layers, lattice rows, n)
    return _blend(rows[layer, row], rows[layer, row + 1], up[:, :, None])


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

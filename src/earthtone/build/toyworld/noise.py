"""Random numbers and noise that are the same on every machine, from integers and plain arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInts = npt.NDArray[np.uint64]
Float32s = npt.NDArray[np.float32]


# Sines, logarithms and map projection with additions, multiplications and divisions only.
#
# The C library's `sin` and `log` differ in their last bit between machines; IEEE 754 fixes the four operations and the
# square root. One bit can move the edge of a pixel, so the toy world uses nothing else.


#: Metres around the equator in the coordinates of the Web Mercator map (EPSG:3857), which are the planet's own.
CIRCUMFERENCE_M = 40_075_016.685578488
_RADIUS_M = 6_378_137.0
_PI = 3.141592653589793
_LN2 = 0.6931471805599453

SINE_STEPS = 4096


def sine(radians: float) -> float:
    """Return the sine of an angle in [-pi, pi] (Taylor series, error below 1e-15)."""
    if radians > _PI / 2:
        radians = _PI - radians
    elif radians < -_PI / 2:
        radians = -_PI - radians
    square = radians * radians
    total = 1.0
    for k in range(12, 0, -1):
        total = 1.0 - square / ((2 * k) * (2 * k + 1)) * total
    return radians * total


def cosine_of_latitude(latitude: float) -> float:
    """Return the cosine of a latitude in degrees: the size on the ground of one metre on the map."""
    return sine(_PI / 2 - abs(latitude) * (_PI / 180))


def logarithm(value: float) -> float:
    """Return the natural logarithm of a positive number (Gregory's series of the mantissa, error below 1e-15)."""
    mantissa, exponent = math.frexp(value)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    total = 0.0
    for k in range(41, 0, -2):
        total = total * square + 1.0 / k
    return exponent * _LN2 + 2.0 * ratio * total


def to_world(longitude: float, latitude: float) -> tuple[float, float]:
    """Return (x, y) in map metres east and north of longitude 0, latitude 0."""
    x = longitude / 360.0 * CIRCUMFERENCE_M
    s = sine(latitude * (_PI / 180))
    return x, _RADIUS_M * 0.5 * logarithm((1.0 + s) / (1.0 - s))


def from_world(x: float, y: float) -> tuple[float, float]:
    """Return (longitude, latitude) in degrees of map metres (Newton's method on `to_world`)."""
    latitude = 0.0
    for _ in range(12):
        missing = y - to_world(0.0, latitude)[1]
        latitude += missing * cosine_of_latitude(latitude) / _RADIUS_M * (180 / _PI)
        latitude = min(89.0, max(-89.0, latitude))
    return x / CIRCUMFERENCE_M * 360.0, latitude


def _sine_table() -> Float32s:
    angles = [2.0 * _PI * k / SINE_STEPS for k in range(SINE_STEPS // 2)]
    half = [sine(angle) for angle in angles]
    return np.array(half + [-value for value in half], dtype=np.float32)


#: One turn of the sine in SINE_STEPS steps.
SINE = _sine_table()


# Random numbers that are the same on every machine and with every NumPy: a 64-bit integer mix, nothing else.
#
# The mix is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).


_MASK = 0xFFFFFFFFFFFFFFFF
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def mix(value: int) -> int:
    """Return 64 well-mixed bits of a whole number."""
    value = (value + _STEP) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def mix_array(values: UInts) -> UInts:
    """Return `mix` of every element."""
    mixed = values + np.uint64(_STEP)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(_FIRST)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(_SECOND)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@lru_cache(maxsize=4096)
def key_of(*parts: int | str) -> int:
    """Return one 64-bit key of numbers and names; the order counts."""
    key = 0
    for part in parts:
        for number in part.encode() if isinstance(part, str) else (part,):
            key = mix(key ^ mix(number & _MASK))
    return key


def unit(values: UInts) -> Float32s:
    """Return the upper 24 bits of every element as a number in [0, 1)."""
    return (values >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


class Stream:
    """A sequence of random numbers that depends on its key alone."""

    def __init__(self, *parts: int | str) -> None:
        self._key = key_of(*parts)
        self._drawn = 0

    def _next(self) -> int:
        self._drawn += 1
        return mix(self._key + self._drawn * _STEP)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * ((self._next() >> 11) * 2.0**-53)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform() < probability

    def below(self, count: int) -> int:
        """Return a whole number in 0 ... count - 1."""
        return self._next() % count

    def units(self, count: int) -> Float32s:
        """Return `count` numbers in [0, 1) with 24 bits each."""
        return unit(mix_array(self._counters(count)))

    def white(self, count: int) -> Float32s:
        """Return `count` numbers in [-1, 1) with 16 bits each: cheap white noise."""
        words = mix_array(self._counters((count + 3) // 4)).astype("<u8", copy=False)
        return words.view("<i2")[:count].astype(np.float32) * np.float32(2.0**-15)

    def _counters(self, count: int) -> UInts:
        counters = np.arange(count, dtype=np.uint64)
        counters += np.uint64(self._next())
        # A second mix of distinct counters cannot collide within one array.
        counters *= np.uint64(_STEP)
        return counters


# Noise on the map: smooth random fields and random cells, functions of the absolute position.
#
# Positions are map metres in broadcastable arrays: either (1, n) and (m, 1), a grid whose rows and columns are worked
# on separately, or two arrays of one shape, for any points. Both give the same bits.


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

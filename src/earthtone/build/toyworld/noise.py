"""Random numbers and noise that are the same on every machine, from integers and plain arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInts = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

# Sines, logarithms and map projection with additions, multiplications and divisions only: the C library's `sin` and
# `log` differ in their last bit between machines, while IEEE 754 fixes the four operations and the square root. One
# bit can move the edge of a pixel.

#: Metres around the equator in the coordinates of the Web Mercator map (EPSG:3857), which are the planet's own.
CIRCUMFERENCE_M = 40_075_016.685578488
_RADIUS_M = 6_378_137.0
SINE_STEPS = 4096


def sine(radians: float) -> float:
    """Return the sine of an angle in [-pi, pi] (Taylor series, error below 1e-15)."""
    if abs(radians) > math.pi / 2:
        radians = math.copysign(math.pi, radians) - radians
    square = radians * radians
    total = 1.0
    for k in range(12, 0, -1):
        total = 1.0 - square / ((2 * k) * (2 * k + 1)) * total
    return radians * total


def cosine_of_latitude(latitude: float) -> float:
    """Return the cosine of a latitude in degrees: the size on the ground of one metre on the map."""
    return sine(math.pi / 2 - abs(latitude) * (math.pi / 180))


def logarithm(value: float) -> float:
    """Return the natural logarithm of a positive number (Gregory's series of the mantissa, error below 1e-15)."""
    mantissa, exponent = math.frexp(value)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    total = 0.0
    for k in range(41, 0, -2):
        total = total * square + 1.0 / k
    return exponent * 0.6931471805599453 + 2.0 * ratio * total


def to_world(longitude: float, latitude: float) -> tuple[float, float]:
    """Return (x, y) in map metres east and north of longitude 0, latitude 0."""
    x = longitude / 360.0 * CIRCUMFERENCE_M
    s = sine(latitude * (math.pi / 180))
    return x, _RADIUS_M * 0.5 * logarithm((1.0 + s) / (1.0 - s))


def from_world(x: float, y: float) -> tuple[float, float]:
    """Return (longitude, latitude) in degrees of map metres (Newton's method on `to_world`)."""
    latitude = 0.0
    for _ in range(12):
        missing = y - to_world(0.0, latitude)[1]
        latitude += missing * cosine_of_latitude(latitude) / _RADIUS_M * (180 / math.pi)
        latitude = min(89.0, max(-89.0, latitude))
    return x / CIRCUMFERENCE_M * 360.0, latitude


_HALF_TURN = [sine(2.0 * math.pi * k / SINE_STEPS) for k in range(SINE_STEPS // 2)]
#: One turn of the sine in SINE_STEPS steps.
SINE: Float32s = np.array([*_HALF_TURN, *(-value for value in _HALF_TURN)], dtype=np.float32)

# Random numbers that are the same with every NumPy: a 64-bit integer mix, nothing else. It is the finaliser of
# SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).

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


def draw(bits: UInts, number: int, low: float = 0.0, high: float = 1.0) -> Float32s:
    """Return property `number` of what each element's bits name, uniform between `low` and `high`."""
    return unit(mix_array(bits + np.uint64(number))) * np.float32(high - low) + np.float32(low)


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


# Noise on the map: smooth random fields and random cells, functions of the absolute position. Positions are map metres:
# either (1, n) rising and (m, 1) falling, a grid whose rows and columns are worked on separately, or two arrays of one
# shape, for any points. Both give the same bits.

_EAST = np.uint64(0xD6E8FEB86659FD93)
_NORTH = np.uint64(0xA0761D6478BD642F)
#: Stacks of noises are used where the finest has fewer lattice cells than this along a side.
_STACKED_CELLS = 40
#: Any number of cells around a frame that never wraps.
NO_WRAP = 1 << 40


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
    return noise_stack([key], x, y, [wavelength_m])[0]


def layered(key: int, x: Floats, y: Floats, layers: Sequence[tuple[float, float]]) -> Float32s:
    """Return a sum of value noises; `layers` are (wavelength in metres, amplitude)."""
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
    noises = noise_stack([mix(key + n) for n in range(len(layers))], x, y, [wavelength_m for wavelength_m, _ in layers])
    for noise, (_, amplitude) in zip(noises, layers, strict=True):
        noise *= np.float32(amplitude)
        total += noise
    return total


def noise_stack(keys: Sequence[int], x: Floats, y: Floats, wavelengths_m: Sequence[float]) -> list[Float32s]:
    """Return `value_noise` of each key and wavelength, worked out together: for small squares, steps are what costs."""
    if not (x.ndim == y.ndim == 2 and x.shape[0] == y.shape[1] == 1):
        stacked = (-1,) + (1,) * x.ndim
        counts = np.array([around(wavelength_m) for wavelength_m in wavelengths_m]).reshape(stacked)
        keys_column = np.array(keys, dtype=np.uint64).reshape(stacked)
        return list(_scattered(keys_column, counts, *_split(x, counts), *_split(y, counts)))
    extent = max(float(x[0, -1] - x[0, 0]), float(y[0, 0] - y[-1, 0]))
    if len(keys) == 1 or extent / min(wavelengths_m) < _STACKED_CELLS:
        return list(_on_grid(keys, x, y, wavelengths_m))
    pairs = zip(keys, wavelengths_m, strict=True)
    return [_on_grid([key], x, y, [wavelength_m])[0] for key, wavelength_m in pairs]


def _signed(bits: UInts) -> Float32s:
    return unit(bits) * np.float32(2) - np.float32(1)


def _split(position: Floats, cells: Ints) -> tuple[Ints, Float32s]:
    """Return the lattice cell of each position, and the smooth step of its place in it."""
    scaled = position * (cells / CIRCUMFERENCE_M)
    cell = np.floor(scaled)
    part = (scaled - cell).astype(np.float32)
    return cell.astype(np.int64), part * part * (np.float32(3) - np.float32(2) * part)


def _scattered(keys: UInts, cells: Ints, column: Ints, across: Float32s, row: Ints, up: Float32s) -> Float32s:
    """Return noise of positions too far apart to share a lattice."""
    corners = [_signed(lattice(keys, column + east, row + north, cells)) for north in (0, 1) for east in (0, 1)]
    return _blend(_blend(corners[0], corners[1], across), _blend(corners[2], corners[3], across), up)


def _blend(start: Float32s, end: Float32s, share: Float32s) -> Float32s:
    difference: Float32s = end - start
    difference *= share
    difference += start
    return difference


def _on_grid(keys: Sequence[int], x: Floats, y: Floats, wavelengths_m: Sequence[float]) -> Float32s:
    """Return noises (layers, m, n) of a grid; all layers get a lattice as large as the finest one needs."""
    counts = np.array([[around(wavelength_m)] for wavelength_m in wavelengths_m])
    keys_cube = np.array(keys, dtype=np.uint64)[:, None, None]
    column, across = _split(x, counts)  # (layers, n), rising
    row, up = _split(y[:, 0], counts)  # (layers, m), falling
    west, south = column[:, :1].copy(), row[:, -1:].copy()
    wide, high = int((column[:, -1:] - west).max()) + 2, int((row[:, :1] - south).max()) + 2
    if wide * high > 4 * max(x.size, y.size) + 4096:
        positions = column[:, None], across[:, None], row[:, :, None], up[:, :, None]
        return _scattered(keys_cube, counts[:, :, None], *positions)
    column -= west
    row -= south
    east = (west + np.arange(wide))[:, None, :]
    north = (south + np.arange(high))[:, :, None]
    values = _signed(lattice(keys_cube, east, north, counts[:, :, None]))
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
        return draw(self.bits, number, low, high)

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

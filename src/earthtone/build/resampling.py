"""A tile's pixels, looked up where they lie in a layer of pixels, whatever that layer's coordinate system, its
direction (also south up or turned) and its longitudes (also across 180).

Where the layer's own pixels fit the tile they are taken as they are. GDAL's warper could do the rest, but it knows
nothing of the date line, and stretches it over the globe; the tests compare the two elsewhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.windows import Window

from earthtone.build.tile_grid import Tile, between
from earthtone.errors import ConfigError
from earthtone.signal.raster import MAX_BYTES

Mask = NDArray[np.bool_]
Positions = NDArray[np.float64]

_NODES = 17  # along a tile's side, between which coordinates are interpolated
_NEAR = 0.02  # of a pixel: how far that may lead astray


@dataclass(frozen=True)
class Layer:
    """A plane of pixels in a coordinate system, of which windows can be read."""

    crs: str
    transform: Affine
    """Takes (column, row) to (x, y) in `crs`, corners of pixels being whole numbers."""
    width: int
    height: int
    read: Callable[[Window, tuple[int, int]], tuple[NDArray[np.float32], NDArray[np.float32]]]
    """Returns values (height, width, bands) and where they hold data (height, width), 0 to 1, of a window at a size of
    (height, width)."""
    around: float | None = None
    """Columns once around the globe, of a layer in degrees or of one that covers it all."""


def resampled(layer: Layer, tile: Tile, pixels: int) -> tuple[NDArray[np.float32], Mask] | None:
    """Return a tile's values (pixels, pixels, bands) and where they hold data; None where the layer has nothing of it.

    Where the layer is finer than the tile, what it reads is a mean (through overviews where it has such), and the last
    factor below 2 is a mean of 2 x 2 linear samples; else the samples are linear. Pixels that coincide stay as they
    are.
    """
    columns, rows = _positions(layer, tile, pixels)
    found: tuple[NDArray[np.float32], Mask] | None = None
    for turn in (0, -1, 1) if layer.around else (0,):
        moved = columns if not turn else columns + turn * float(layer.around or 0)
        part = _sampled(layer, moved, rows)
        if part is None:
            continue
        if found is None:
            found = part
        else:
            fill = part[1] & ~found[1]
            found[0][fill] = part[0][fill]
            found[1][fill] = True
    return found


def _positions(layer: Layer, tile: Tile, pixels: int) -> tuple[Positions, Positions]:
    """Return where a tile's pixels (pixels, pixels) have their middles, in columns and rows of the layer."""
    west, south, east, north = tile.bounds
    inverse = ~layer.transform
    middles = (np.arange(pixels) + 0.5) / pixels
    x, y = west + middles * (east - west), north - middles * (north - south)
    if layer.crs == tile.crs:
        across, down = np.meshgrid(x, y)
        return applied(inverse, across, down)
    nodes = np.linspace(0, 1, _NODES)
    at_x, at_y = np.meshgrid(west + nodes * (east - west), north - nodes * (north - south))
    found = _in_layer(layer, tile, inverse, at_x, at_y)
    columns, rows = (_between_nodes(node, middles, middles) for node in found)
    halves = (nodes[:-1] + nodes[1:]) / 2  # where interpolation is worst
    half_x, half_y = np.meshgrid(west + halves * (east - west), north - halves * (north - south))
    exact = _in_layer(layer, tile, inverse, half_x, half_y)
    wrong = max(float(np.abs(_between_nodes(a, halves, halves) - b).max()) for a, b in zip(found, exact, strict=True))
    if wrong <= _NEAR:
        return columns, rows
    return _in_layer(layer, tile, inverse, *np.meshgrid(x, y))


def _in_layer(layer: Layer, tile: Tile, inverse: Affine, x: Positions, y: Positions) -> tuple[Positions, Positions]:
    across, down = between(tile.crs, layer.crs).transform(x, y)
    columns, rows = applied(inverse, np.asarray(across), np.asarray(down))
    if layer.around:  # one side of the date line for the whole tile
        columns = columns - layer.around * np.round((columns - columns[0, 0]) / layer.around)
        columns = columns - layer.around * math.floor(float(columns[0, 0]) / layer.around)
    return columns, rows


def applied(transform: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    """Return where a transform takes (x, y); also arrays, whatever the version of its library."""
    return transform.a * x + transform.b * y + transform.c, transform.d * x + transform.e * y + transform.f


def _between_nodes(values: Positions, down: Positions, across: Positions) -> Positions:
    """Return what lies between nodes (N, N) at shares of the way, by linear interpolation."""
    last = len(values) - 1
    rows, columns = (np.minimum((share * last).astype(int), last - 1) for share in (down, across))
    low, left = (down * last - rows)[:, None], (across * last - columns)[None]
    top = values[rows][:, columns] * (1 - left) + values[rows][:, columns + 1] * left
    bottom = values[rows + 1][:, columns] * (1 - left) + values[rows + 1][:, columns + 1] * left
    mixed: Positions = top * (1 - low) + bottom * low
    return mixed


def _sampled(layer: Layer, columns: Positions, rows: Positions) -> tuple[NDArray[np.float32], Mask] | None:
    """Return values and their mask at positions in a layer; None where all lie outside it or nowhere."""
    usable = np.isfinite(columns) & np.isfinite(rows)
    inside = usable & (columns >= 0) & (columns <= layer.width) & (rows >= 0) & (rows <= layer.height)
    if not inside.any():
        return None
    if exact := _as_they_are(layer, columns, rows):
        return exact
    wide, tall = _ratio(columns), _ratio(rows)
    across, down = max(1, int(wide + 1e-6)), max(1, int(tall + 1e-6))
    fine = 2 if max(wide / across, tall / down) > 1 + 1e-6 else 1
    window, shape = _window(layer, columns[inside], rows[inside], across, down)
    values, data = layer.read(window, shape)
    scale_x, scale_y = window.width / shape[1], window.height / shape[0]
    at_x, at_y = (np.nan_to_num(_finer(at, fine), nan=-1.0, posinf=-1.0, neginf=-1.0) for at in (columns, rows))
    there = (at_x >= 0) & (at_x <= layer.width) & (at_y >= 0) & (at_y <= layer.height)
    at_x = np.clip((at_x - window.col_off) / scale_x - 0.5, 0, shape[1] - 1).astype(np.float32)
    at_y = np.clip((at_y - window.row_off) / scale_y - 0.5, 0, shape[0] - 1).astype(np.float32)
    weight = there * cv2.remap(data, at_x, at_y, cv2.INTER_LINEAR)
    weighted = [np.ascontiguousarray(values[..., n] * data) for n in range(values.shape[2])]
    bands = [cv2.remap(band, at_x, at_y, cv2.INTER_LINEAR) for band in weighted]
    mixed = np.stack(bands, axis=-1) * there[..., None]
    side = len(columns)
    if fine > 1:
        mixed = mixed.reshape(side, fine, side, fine, -1).mean(axis=(1, 3))
        weight = weight.reshape(side, fine, side, fine).mean(axis=(1, 3))
    valid = weight >= 0.5
    with np.errstate(invalid="ignore", divide="ignore"):
        result = np.where(valid[..., None], mixed / weight[..., None], 0)
    return np.asarray(result, np.float32), valid


def _as_they_are(layer: Layer, columns: Positions, rows: Positions) -> tuple[NDArray[np.float32], Mask] | None:
    """Return a window's own pixels where the tile's coincide with them, those beyond the layer being no data."""
    side = len(columns)
    first_x, first_y = columns[0, 0] - 0.5, rows[0, 0] - 0.5
    left, top = round(first_x), round(first_y)
    steps = np.arange(side)
    flip = rows[-1, 0] < rows[0, 0]  # south up
    there = np.abs(columns - (left + 0.5 + steps)).max() < 1e-3
    if not there or np.abs(rows - (top + 0.5 + (-steps if flip else steps))[:, None]).max() >= 1e-3:
        return None
    top = top - side + 1 if flip else top
    x0, x1 = max(0, left), min(layer.width, left + side)
    y0, y1 = max(0, top), min(layer.height, top + side)
    values, data = layer.read(Window(x0, y0, x1 - x0, y1 - y0), (y1 - y0, x1 - x0))
    whole = np.zeros((side, side, values.shape[2]), np.float32)
    valid = np.zeros((side, side), bool)
    place = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    whole[place], valid[place] = values, data >= 0.5
    whole[~valid] = 0
    return (whole[::-1], valid[::-1]) if flip else (whole, valid)


def _ratio(positions: Positions) -> float:
    """Return how many of a layer's pixels, along one of its axes, a pixel of the tile is wide; at least one."""
    if len(positions) < 2:
        return 1.0
    steps = [np.diff(positions, axis=axis) for axis in (0, 1)]
    found = math.hypot(*(float(np.median(np.abs(step[np.isfinite(step)]))) for step in steps if step.size))
    return max(1.0, found)


def _finer(positions: Positions, fine: int) -> Positions:
    """Return positions of the quarters of pixels, given those of their middles."""
    if fine == 1:
        return positions
    across, down = np.gradient(positions, axis=1), np.gradient(positions, axis=0)
    offsets = [(-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)]
    parts = [positions + dy * down + dx * across for dy, dx in offsets]
    side = len(positions)
    together = np.stack(parts, axis=-1).reshape(side, side, 2, 2)
    return together.transpose(0, 2, 1, 3).reshape(2 * side, 2 * side)


def _window(
    layer: Layer, columns: Positions, rows: Positions, across: int, down: int
) -> tuple[Window, tuple[int, int]]:
    """Return the window of a layer about positions, on multiples of the factors by which it is read smaller, and the
    size it is read at."""
    x0, x1 = _multiples(columns, across, layer.width)
    y0, y1 = _multiples(rows, down, layer.height)
    shape = max(1, round((y1 - y0) / down)), max(1, round((x1 - x0) / across))
    if shape[0] * shape[1] * 16 > MAX_BYTES:
        raise ConfigError(f"a tile needs {shape[1]} x {shape[0]} pixels of its raster; choose fewer --pixels")
    return Window(x0, y0, x1 - x0, y1 - y0), shape


def _multiples(positions: Positions, factor: int, size: int) -> tuple[int, int]:
    low = math.floor(float(positions.min()) / factor - 1.5) * factor
    high = math.ceil(float(positions.max()) / factor + 1.5) * factor
    return max(0, low), min(size, high)

"""A map as pictures: colours of numbers, a PNG with legends, scale bar and attribution, tiles for web maps."""

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image
from pmtiles.tile import Compression, TileType, zxy_to_tileid
from pmtiles.writer import Writer
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject, transform

from earthtone.atlas.map_grid import NO_CLASS, MapGrid
from earthtone.data.labelled.masks import default_colours
from earthtone.errors import one_line
from earthtone.files import atomic_path
from earthtone.geo import great_circle_km

Rgba = NDArray[np.uint8]
FAINT = 96  # of 255: how opaque a tile is that is unlike the training's images
_COLOURS = 256


@dataclass(frozen=True)
class Layer:
    """Numbers (height, width) with the colours they are shown in; NaN, and 255 of classes, is nothing."""

    title: str
    values: NDArray[Any]
    label: str
    """What the legend says of the numbers."""
    low: float = 0.0
    high: float = 100.0
    ramp: str = "viridis"
    classes: tuple[str, ...] = ()
    """Names of classes, whose numbers are the values."""
    key: str = ""
    """Of the band that holds the values."""
    told: tuple[str, ...] = ()
    """Keys of the bands that a page tells of the tile below the pointer."""
    unlike: NDArray[np.bool_] | None = field(default=None, repr=False)
    """Where tiles are unlike the training's images; they are shown faintly."""

    @property
    def colours(self) -> NDArray[np.uint8]:
        """Return the colours (K, 3): one a class, or those of the ramp from low to high."""
        return class_colours(len(self.classes)) if self.classes else ramp_colours(self.ramp)

    def rgba(self) -> Rgba:
        """Return the picture (height, width, 4)."""
        return coloured(self.values, self)


@lru_cache
def ramp_colours(name: str) -> NDArray[np.uint8]:
    """Return 256 colours (256, 3) of a map of matplotlib's."""
    colours: NDArray[np.uint8] = np.rint(mpl.colormaps[name](np.linspace(0, 1, _COLOURS))[:, :3] * 255).astype(np.uint8)
    return colours


def class_colours(count: int) -> NDArray[np.uint8]:
    """Return a colour (3,) for each class: eight that the colour-blind tell apart (Okabe and Ito 2008), then others."""
    known = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66))
    return np.array([*known, *default_colours(max(0, count - len(known)))][:count], np.uint8).reshape(-1, 3)


def coloured(values: NDArray[Any], layer: Layer, unlike: NDArray[np.bool_] | None = None) -> Rgba:
    """Return values (height, width) of a layer as red, green, blue and opacity; `unlike` in place of the layer's own.

    From low to high in 256 equal steps, what is beyond as the last; 0, wholly clear, where there is no data.
    """
    unlike = layer.unlike if unlike is None else unlike
    if layer.classes:
        there = values != NO_CLASS
        numbers = np.where(there, values, 0).astype(np.int64)
    else:
        there = ~np.isnan(values)
        width = layer.high - layer.low
        share = (np.where(there, values, layer.low) - layer.low) / (width if width > 0 else 1.0)
        numbers = np.clip(np.floor(share * _COLOURS), 0, _COLOURS - 1).astype(np.int64)
    out = np.zeros((*values.shape, 4), np.uint8)
    out[..., :3] = layer.colours[numbers]
    out[..., 3] = 255
    if unlike is not None:
        out[..., 3][unlike] = FAINT
    out[~there] = 0
    return out


def limits(values: Sequence[NDArray[np.float32]]) -> tuple[float, float]:
    """Return what low and high are of numbers without a natural scale: their 2nd and 98th percentile."""
    known = np.concatenate([part[~np.isnan(part)] for part in values])
    if not len(known):
        return 0.0, 1.0
    low, high = (float(value) for value in np.quantile(known, (0.02, 0.98)))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def cell_size_m(grid: MapGrid) -> tuple[float, float]:
    """Return how many metres on the ground a cell is wide and high in the middle of the grid."""
    x, y = grid.west + grid.width / 2 * grid.step_x, grid.north - grid.height / 2 * grid.step_y
    east, north = transform(
        CRS.from_user_input(grid.crs), "EPSG:4326", [x, x + grid.step_x, x], [y, y, y - grid.step_y]
    )
    metres = 1000 * great_circle_km(east[0], north[0], east[1:], north[1:])
    wide, high = (float(length) if np.isfinite(length) and length > 0 else 1.0 for length in metres)
    return wide, high


def scale_bar(width_m: float) -> float:
    """Return a round number of metres, about a quarter of a width.

    >>> scale_bar(5000.0)
    1000.0
    """
    rough = max(width_m / 4, 1e-3)
    power = 10.0 ** math.floor(math.log10(rough))
    return float(max(step * power for step in (1, 2, 5) if step * power <= rough * 1.0001))


def length_text(metres: float) -> str:
    """Return `500 m` or `2 km`."""
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"


_MOST_PANELS = 24
_TEXT = 8.0


def write_png(
    path: Path,
    layers: Sequence[Layer | None],
    grid: MapGrid,
    title: str,
    lines: Sequence[str],
    columns: int | None = None,
    ground: NDArray[np.uint8] | None = None,
) -> None:
    """Write layers side by side, each with its legend and a scale bar, null left blank; `lines` of text below.

    `ground`, RGB, is what lies under them. Of more than 24 layers the first are drawn.
    """
    shown = layers[:_MOST_PANELS]
    across = min(columns or math.ceil(math.sqrt(len(shown))), len(shown))
    down = math.ceil(len(shown) / across)
    size = cell_size_m(grid)
    ratio = min(3.0, max(0.33, grid.height * size[1] / (grid.width * size[0])))
    wide = 5.2 if len(shown) < 3 else 3.7
    foot = 0.17 * len(lines) + 0.15
    figure = Figure(figsize=(max(6.4, wide * across), (wide * ratio + 0.95) * down + 0.45 + foot), dpi=110)
    FigureCanvasAgg(figure)
    height = figure.get_figheight()
    _write(figure, 0.012, 1 - 0.22 / height, title, size=_TEXT + 3.5, weight="bold")
    for number, line in enumerate(lines):
        _write(figure, 0.012, (foot - 0.12 - 0.17 * number) / height, line, size=_TEXT - 0.5, colour="#444444")
    area = figure.add_gridspec(
        down, across, left=0.02, right=0.98, top=1 - 0.62 / height, bottom=(foot + 0.45) / height, hspace=0.3,
        wspace=0.06,
    )  # fmt: skip
    for number, layer in enumerate(shown):
        if layer is not None:
            _draw(figure.add_subplot(area[number // across, number % across]), layer, grid, size, ground)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters that the font lacks
        data = io.BytesIO()
        figure.savefig(data, format="png", metadata={"Software": "earthtone", "Title": one_line(title, 200)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.getvalue())


def _write(
    figure: Figure, x: float, y: float, text: str, size: float, weight: str = "normal", colour: str = "black"
) -> None:
    figure.text(x, y, one_line(text, 220), size=size, weight=weight, color=colour, va="center", parse_math=False)


def _draw(axes: Any, layer: Layer, grid: MapGrid, size: tuple[float, float], ground: NDArray[np.uint8] | None) -> None:
    extent = (0.0, float(grid.width), float(grid.height), 0.0)  # in cells, so that degrees have no say in the legend
    axes.set_facecolor("#f2efe9")
    if ground is not None:
        axes.imshow(ground, extent=extent, interpolation="bilinear", zorder=0)
    axes.imshow(layer.rgba(), extent=extent, interpolation="nearest", zorder=1)
    axes.set_xlim(0, grid.width)
    axes.set_ylim(grid.height, 0)
    metres, high = size
    axes.set_aspect(high / metres if grid.width * metres < 3 * grid.height * high < 9 * grid.width * metres else "auto")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(one_line(layer.title, 60), fontsize=_TEXT + 0.5, parse_math=False)
    bar = scale_bar(metres * grid.width)
    left, low, thick = 0.03 * grid.width, 0.965 * grid.height, 0.014 * grid.height
    back: dict[str, Any] = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "zorder": 2}
    axes.add_patch(Rectangle((0.0, 0.875 * grid.height), left * 2 + bar / metres, 0.125 * grid.height, **back))
    axes.add_patch(Rectangle((left, low - thick), bar / metres, thick, facecolor="black", zorder=3))
    axes.text(left, low - 1.6 * thick, length_text(bar), size=_TEXT - 1.5, va="bottom", zorder=3)
    marks = []
    if layer.unlike is not None and layer.unlike.any():
        marks = [Patch(facecolor="#f2efe9", edgecolor="#777777", label="faint: unlike the training's images")]
    if layer.classes:
        patches = [
            Patch(facecolor=colour / 255, label=one_line(name, 40).replace("$", r"\$").lstrip("_") or "-")
            for name, colour in zip(layer.classes, layer.colours, strict=True)
        ]
        axes.legend(handles=[*patches, *marks], fontsize=_TEXT - 1.5, loc="upper left", bbox_to_anchor=(0, -0.01),
                    ncols=3, frameon=False, handlelength=1.2, columnspacing=1.0)  # fmt: skip
        return
    colours = ScalarMappable(Normalize(layer.low, layer.high), ListedColormap(layer.colours / 255))
    legend = axes.figure.colorbar(colours, ax=axes, orientation="horizontal", fraction=0.045, pad=0.03, aspect=32)
    legend.ax.tick_params(labelsize=_TEXT - 1.5, length=2)
    legend.set_label(one_line(layer.label, 70), size=_TEXT - 1, parse_math=False)
    legend.outline.set_visible(False)
    if marks:
        axes.legend(handles=marks, fontsize=_TEXT - 1.5, loc="upper right", framealpha=0.8, borderpad=0.3)


# Tiles for web maps, in one file: PMTiles, version 3 of its specification.

_TILE = 256  # pixels along a side
_EARTH_M = 40_075_016.685578488  # around the equator of Web Mercator
_MOST_ZOOM, _MOST_LATITUDE = 22, 85.05
_CELL_PIXELS = 8  # at the largest zoom a cell has at least so many, of large maps fewer
_LARGE = 2048  # pixels that a map may have a side then
_MERCATOR = CRS.from_epsg(3857)


@dataclass(frozen=True)
class _Pyramid:
    """Which tiles of Web Mercator a grid touches."""

    longitude: NDArray[np.float64]
    """(corners) in degrees, -180 to 180."""
    latitude: NDArray[np.float64]
    least_zoom: int
    most_zoom: int

    def tiles(self, zoom: int) -> list[tuple[int, int]]:
        """Return columns and rows of the tiles at a zoom."""
        count = 2**zoom
        x = (self.longitude + 180.0) / 360.0 * count
        sine = np.sin(np.radians(np.clip(self.latitude, -_MOST_LATITUDE, _MOST_LATITUDE)))
        y = (0.5 - np.log((1 + sine) / (1 - sine)) / (4 * np.pi)) * count
        edge = 1e-9 * count  # a corner on a border belongs to the tiles of both sides
        found: set[tuple[int, int]] = set()
        for by_x in (-edge, edge):
            for by_y in (-edge, edge):
                columns = np.floor(x + by_x).astype(np.int64) % count
                rows = np.clip(np.floor(y + by_y).astype(np.int64), 0, count - 1)
                keys = np.unique(columns * count + rows)
                found |= {(int(key // count), int(key % count)) for key in keys}
        return sorted(found)


def _pyramid(grid: MapGrid, there: NDArray[np.bool_]) -> _Pyramid:
    """Return the tiles of those cells that have data."""
    rows, columns = np.nonzero(there)
    x = np.concatenate([grid.west + (columns + side) * grid.step_x for side in (0, 0, 1, 1)])
    y = np.concatenate([grid.north - (rows + side) * grid.step_y for side in (0, 1, 0, 1)])
    longitude, latitude = transform(CRS.from_user_input(grid.crs), "EPSG:4326", x, y)
    east, north = np.asarray(longitude), np.asarray(latitude)
    east = (east + 180.0) % 360.0 - 180.0
    known = np.isfinite(east) & np.isfinite(north)
    east, north = east[known], north[known]
    middle = math.cos(math.radians(min(85.0, float(np.abs(north).min(initial=85.0)))))
    cell_pixels = min(_CELL_PIXELS, max(2, _LARGE // max(grid.width, grid.height)))
    pixel = cell_size_m(grid)[0] / cell_pixels / middle  # at the scale of the map itself
    most = min(_MOST_ZOOM, max(0, math.ceil(math.log2(_EARTH_M / _TILE / max(pixel, 1e-3)))))
    cells = max(grid.width, grid.height) * cell_pixels
    return _Pyramid(east, north, max(0, most - math.ceil(math.log2(max(cells / _TILE, 1))) - 1), most)


def mercator_bounds(zoom: int, column: int, row: int) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a tile in metres of EPSG:3857."""
    side = _EARTH_M / 2**zoom
    west, north = column * side - _EARTH_M / 2, _EARTH_M / 2 - row * side
    return west, north - side, west + side, north


def warped(values: NDArray[Any], grid: MapGrid, zoom: int, column: int, row: int, empty: float) -> NDArray[Any]:
    """Return the numbers (256, 256) of a tile of Web Mercator: each of the cell below the pixel's middle."""
    west, south, east, north = mercator_bounds(zoom, column, row)
    target = from_origin(west, north, (east - west) / _TILE, (north - south) / _TILE)
    source = CRS.from_user_input(grid.crs)
    out = np.full((_TILE, _TILE), empty, values.dtype)
    for turn in (0.0, 360.0) if source.is_geographic and grid.east > 180.0 else (0.0,):
        part = np.full((_TILE, _TILE), empty, values.dtype)
        reproject(
            values, part, src_transform=from_origin(grid.west - turn, grid.north, grid.step_x, grid.step_y),
            src_crs=source, src_nodata=empty, dst_transform=target, dst_crs=_MERCATOR, dst_nodata=empty,
            resampling=Resampling.nearest, tolerance=0.0,
        )  # fmt: skip
        there = ~np.isnan(part) if np.isnan(empty) else part != empty
        out[there] = part[there]
    return out


def write_pmtiles(path: Path, layer: Layer, grid: MapGrid, about: Mapping[str, Any]) -> bool:
    """Write a layer as PNG tiles of Web Mercator, coloured as everywhere; `about` is the file's metadata.

    Return whether there is anything to write: Web Mercator ends at 85 degrees.
    """
    empty = NO_CLASS if layer.classes else math.nan
    there = layer.values != NO_CLASS if layer.classes else ~np.isnan(layer.values)
    pyramid = _pyramid(grid, there)
    if not len(pyramid.latitude) or np.abs(pyramid.latitude).min() > _MOST_LATITUDE:
        return False
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        writer = Writer(file)
        for number, data in _png_tiles(layer, grid, pyramid, empty):
            writer.write_tile(number, data)
        bounds = _lonlat_bounds(pyramid)
        header = {
            "tile_type": TileType.PNG, "tile_compression": Compression.NONE,
            **{f"{name}_e7": round(value * 1e7) for name, value in bounds.items()},
            "center_zoom": pyramid.least_zoom,
            "center_lon_e7": round(sum(bounds[name] for name in ("min_lon", "max_lon")) / 2 * 1e7),
            "center_lat_e7": round(sum(bounds[name] for name in ("min_lat", "max_lat")) / 2 * 1e7),
        }  # fmt: skip
        writer.finalize(header, dict(about))
        file.flush()
    return True


def _lonlat_bounds(pyramid: _Pyramid) -> dict[str, float]:
    return {
        "min_lon": float(pyramid.longitude.min()), "min_lat": float(pyramid.latitude.min()),
        "max_lon": float(pyramid.longitude.max()), "max_lat": float(pyramid.latitude.max()),
    }  # fmt: skip


def _png_tiles(layer: Layer, grid: MapGrid, pyramid: _Pyramid, empty: float) -> Iterator[tuple[int, bytes]]:
    """Yield number and PNG of each tile that shows anything, ascending."""
    faint = None if layer.unlike is None else layer.unlike.astype(np.uint8)
    for zoom in range(pyramid.least_zoom, pyramid.most_zoom + 1):
        places = sorted((zxy_to_tileid(zoom, column, row), column, row) for column, row in pyramid.tiles(zoom))
        for number, column, row in places:
            values = warped(layer.values, grid, zoom, column, row, empty)
            unlike = None if faint is None else warped(faint, grid, zoom, column, row, 255) == 1
            picture = coloured(values, layer, np.zeros(values.shape, bool) if unlike is None else unlike)
            if picture[..., 3].any():
                yield number, png_bytes(picture)


def png_bytes(picture: Rgba) -> bytes:
    """Return a picture as PNG."""
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG", compress_level=6)
    return data.getvalue()

"""A map as files that other programs open: cloud-optimised GeoTIFFs and GeoParquet, each whole or absent."""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.shutil import copy as copy_raster
from rasterio.transform import from_origin

from earthtone.atlas.map_grid import NO_CLASS, Cells, MapGrid
from earthtone.errors import DataError, one_line
from earthtone.files import atomic_path
from earthtone.geo import says_crs

_BLOCK = 256  # pixels along a side of a GeoTIFF's tiles
_SMALLEST = 32  # of an overview


def read_crs(text: str, name: str) -> CRS:
    """Return the coordinate system of a text. Raises DataError, which begins with `name`."""
    try:
        if says_crs(text):
            return CRS.from_user_input(text)
        found = None
    except CRSError as error:
        found = error
    raise DataError(f"{name}: its CRS is {one_line(text, 60)!r}; such as EPSG:32621 expected") from found


def overview_count(width: int, height: int) -> int:
    """Return how often a picture is halved until its longer side has at most 32 pixels; once at least."""
    return max(1, math.ceil(math.log2(max(width, height, 2) / _SMALLEST)))


def write_cog(
    path: Path,
    bands: NDArray[Any],
    grid: MapGrid,
    names: Mapping[str, str],
    tags: Mapping[str, str],
    colours: Mapping[int, tuple[int, int, int]] | None = None,
) -> None:
    """Write bands (B, height, width) as a cloud-optimised GeoTIFF with overviews.

    Floats have NaN for no data, and overviews of means; classes, uint8, have 255, the commonest of four, and a table of
    `colours`. `names` are the bands' with what they say, `tags` go with the file. Raises DataError.
    """
    classes = bands.dtype == np.uint8
    profile = {
        "driver": "GTiff", "width": grid.width, "height": grid.height, "count": len(bands), "dtype": bands.dtype,
        "crs": CRS.from_user_input(grid.crs), "nodata": NO_CLASS if classes else np.nan,
        "transform": from_origin(grid.west, grid.north, grid.step_x, grid.step_y),
    }  # fmt: skip
    options = {
        "BLOCKSIZE": _BLOCK, "COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BIGTIFF": "IF_SAFER",
        "OVERVIEW_COUNT": overview_count(grid.width, grid.height),
        "OVERVIEW_RESAMPLING": "MODE" if classes else "AVERAGE",
    }  # fmt: skip
    with atomic_path(path) as temporary, _told(path), rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(bands)
            for number, (name, text) in enumerate(names.items(), 1):
                file.set_band_description(number, name)
                file.update_tags(number, meaning=text)
            file.update_tags(**tags)
            if colours is not None:
                file.write_colormap(1, {number: (*colour, 255) for number, colour in colours.items()})
        copy_raster(memory.name, str(temporary), driver="COG", **options)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what GDAL says of a file that cannot be written into a DataError."""
    try:
        yield
    except RasterioError as error:
        reason = one_line(" ".join(str(error).split()), 160)
        raise DataError(f"cannot write {path} ({reason}); choose another --out or free the disk") from error


# GeoParquet 1.1.


def write_geoparquet(
    path: Path, grid: MapGrid, cells: Cells, columns: Mapping[str, Sequence[object] | NDArray[Any]]
) -> None:
    """Write a row a tile: `columns` (N) and its square as `geometry`, in the grid's CRS. Raises DataError."""
    x = grid.west + (cells.columns + 0.5) * grid.step_x
    y = grid.north - (cells.rows + 0.5) * grid.step_y
    half_x, half_y = grid.tile_x / 2, grid.tile_y / 2
    squares = [bytes(square) for square in polygons(x - half_x, y - half_y, x + half_x, y + half_y)]
    bounds = [float(side) for side in (x.min() - half_x, y.min() - half_y, x.max() + half_x, y.max() + half_y)]
    said = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB", "geometry_types": ["Polygon"], "edges": "planar", "bbox": bounds,
                "orientation": "counterclockwise", "crs": CRS.from_user_input(grid.crs).to_dict(projjson=True),
            }
        },
    }  # fmt: skip
    table = pa.table({**columns, "geometry": pa.array(squares, pa.binary())})
    table = table.replace_schema_metadata({"geo": json.dumps(said)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def polygons(west: NDArray[Any], south: NDArray[Any], east: NDArray[Any], north: NDArray[Any]) -> NDArray[np.uint8]:
    """Return rectangles (N) as well-known binary (N, 93): one ring, counterclockwise from the south-west."""
    head = struct.pack("<BIII", 1, 3, 1, 5)
    ring = np.stack([west, south, east, south, east, north, west, north, west, south], axis=1).astype("<f8")
    out = np.empty((len(west), len(head) + 80), np.uint8)
    out[:, : len(head)] = np.frombuffer(head, np.uint8)
    out[:, len(head) :] = ring.view(np.uint8).reshape(len(west), 80)
    return out

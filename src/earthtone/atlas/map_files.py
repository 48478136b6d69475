"""A map as files that other programs open: cloud-optimised GeoTIFFs, each whole or absent."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.shutil import copy as copy_raster
from rasterio.transform import from_origin

from earthtone.atlas.map_grid import NO_CLASS, MapGrid
from earthtone.errors import DataError, one_line
from earthtone.files import atomic_path

_BLOCK = 256  # pixels along a side of a GeoTIFF's tiles
_SMALLEST = 32  # of an overview


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

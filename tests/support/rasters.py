"""Rasters that tests write, and a plain loop that says what a tile of one shows."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio import Affine


def write_raster(path: Path, values: np.ndarray, crs: str | None, transform: Affine, **more: Any) -> Path:
    """Write values (bands, height, width) as a GeoTIFF; `mask` (height, width), `alpha`, `gcps` as they are named."""
    mask, colours = more.pop("mask", None), more.pop("colours", None)
    overviews = more.pop("overviews", ())
    count, height, width = values.shape
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype=values.dtype, crs=crs,
        transform=transform, **more,
    ) as file:  # fmt: skip
        file.write(values)
        if colours is not None:
            file.colorinterp = colours
        if mask is not None:
            file.write_mask(mask)
        if overviews:
            file.build_overviews(overviews, rasterio.enums.Resampling.average)
    return path


def noise_values(bands: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, (bands, height, width), dtype=np.uint8)


def position_values(height: int, width: int) -> np.ndarray:
    """Three bands that say where a pixel is: its column, its row, their sum, from 0 to 250, smooth."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    bands = [columns / width, rows / height, (columns / width + rows / height) / 2]
    return np.rint(250 * np.stack(bands)).astype(np.uint8)


def nearest_tile(path: Path, bounds: tuple[float, ...], crs: str, pixels: int) -> np.ndarray:
    """What lies nearest to the middle of each pixel of a tile (pixels, pixels, bands), one by one; 0 beyond."""
    west, south, east, north = bounds
    with rasterio.open(path) as file:
        values, inverse = file.read(), ~file.transform
        to_raster = Transformer.from_crs(crs, file.crs.to_wkt(), always_xy=True)
        found = np.zeros((pixels, pixels, file.count), values.dtype)
        for row in range(pixels):
            for column in range(pixels):
                x = west + (column + 0.5) * (east - west) / pixels
                y = north - (row + 0.5) * (north - south) / pixels
                at_column, at_row = inverse * to_raster.transform(x, y)
                i, j = int(np.floor(at_row)), int(np.floor(at_column))
                if 0 <= i < file.height and 0 <= j < file.width:
                    found[row, column] = values[:, i, j]
    return found

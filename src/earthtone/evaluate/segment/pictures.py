"""Class maps as pictures: beside the image and the truth for people, georeferenced for maps."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from earthtone.atomic import atomic_path
from earthtone.data.datasets.masks import IGNORED
from earthtone.data.labelled import Palette
from earthtone.errors import DataError
from earthtone.files import regular_file
from earthtone.signal.image import Pixels
from earthtone.signal.raster import TIFF_MAGIC

_SIDE = 256  # of each picture in a row
_GAP = 6


def coloured(classes: NDArray[np.uint8], palette: Palette) -> Pixels:
    """Return (H, W, 3): the palette's colour of each class, black where the truth is ignored."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette.names)] = class_colours(palette)
    return colours[classes]


def class_colours(palette: Palette) -> list[tuple[int, int, int]]:
    """Return one colour a class: the palette's own, or well-spaced hues."""
    if palette.shown:
        return list(palette.shown)
    count = len(palette.names)
    hues = np.array([[[round(180 * i / count), 170, 230] for i in range(count)]], np.uint8)
    return [tuple(map(int, colour)) for colour in cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0]]  # type: ignore[misc]


def write_comparison(
    path: Path, image: Pixels, truth: NDArray[np.uint8] | None, predicted: NDArray[np.uint8], palette: Palette
) -> None:
    """Write image, truth (where known) and prediction side by side as PNG."""
    panels = [image, *([] if truth is None else [coloured(truth, palette)]), coloured(predicted, palette)]
    height, width = image.shape[:2]
    size = (max(1, round(width * _SIDE / max(height, width))), max(1, round(height * _SIDE / max(height, width))))
    smooth = [cv2.INTER_AREA, *[cv2.INTER_NEAREST] * (len(panels) - 1)]
    shown = [cv2.resize(panel, size, interpolation=how) for panel, how in zip(panels, smooth, strict=True)]
    gap = np.full((size[1], _GAP, 3), 255, np.uint8)
    row = np.concatenate([part for panel in shown for part in (panel, gap)][:-1], axis=1)
    _write_png(path, row)


def write_class_map(path: Path, source: Path, predicted: NDArray[np.uint8], palette: Palette) -> Path:
    """Write a class map as wide as its image: a GeoTIFF at the image's place, or a PNG in the palette's colours.

    The GeoTIFF's values are class numbers from 0 (names in its tags, colours in its colour table), 255 is no data.
    """
    with regular_file(source).open("rb") as file:
        is_tiff = file.read(4) in TIFF_MAGIC
    if not is_tiff:
        path = path.with_suffix(".png")
        _write_png(path, coloured(predicted, palette))
        return path
    path = path.with_suffix(".tif")
    _write_geotiff(path, source, predicted, palette)
    return path


def legend(palette: Palette) -> Sequence[tuple[str, str]]:
    """Return (name, CSS colour) of each class."""
    return [
        (name, "#{:02x}{:02x}{:02x}".format(*colour))
        for name, colour in zip(palette.names, class_colours(palette), strict=True)
    ]


def _write_geotiff(path: Path, source: Path, predicted: NDArray[np.uint8], palette: Palette) -> None:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    from earthtone.signal.raster import warnings_as

    colours = {number: (*colour, 255) for number, colour in enumerate(class_colours(palette))}
    with warnings_as("ignore", NotGeoreferencedWarning):
        with rasterio.open(source, driver="GTiff") as opened:
            crs, transform = opened.crs, opened.transform
        with atomic_path(path, sync=False) as temporary, rasterio.open(
            temporary, "w", driver="GTiff", height=predicted.shape[0], width=predicted.shape[1], count=1,
            dtype="uint8", crs=crs, transform=transform, nodata=IGNORED, compress="deflate", tiled=True,
        ) as out:  # fmt: skip
            out.write(predicted, 1)
            out.write_colormap(1, colours)
            out.update_tags(**{f"class_{number}": name for number, name in enumerate(palette.names)})


def _write_png(path: Path, pixels: Pixels) -> None:
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise DataError(f"{path}: a picture of {pixels.shape} cannot be encoded")
    with atomic_path(path, sync=False) as temporary:
        temporary.write_bytes(data.tobytes())

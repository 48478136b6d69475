"""The values that stand in a picture file, untouched: for masks, whose numbers name classes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthtone.errors import SignalError
from earthtone.signal.image import MAX_PIXELS, TIFF_MAGIC, bytes_of, opened_picture, warnings_as


def read_stored_values(source: Path | bytes, colour: bool = False) -> NDArray[Any]:
    """Return (height, width) values of one channel, or (height, width, 3) 8-bit colours; transparency is dropped.

    Pictures with a colour table give their table's numbers, or with `colour` the colours. Raises SignalError.
    """
    data, name = bytes_of(source)
    if data.startswith(TIFF_MAGIC):
        return _of_tiff(data, name, colour)
    with opened_picture(data, name) as picture:
        return _of_picture(picture, colour)


def _of_picture(picture: Image.Image, colour: bool) -> NDArray[Any]:
    if picture.mode == "P":
        return np.asarray(picture.convert("RGB") if colour else picture)
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    if picture.mode in ("LA", "La"):
        return np.asarray(picture.getchannel(0))
    if picture.mode in ("L", "F") or picture.mode.startswith("I"):
        return np.asarray(picture)
    return np.asarray(picture.convert("RGB"))


def _of_tiff(data: bytes, name: str, colour: bool) -> NDArray[Any]:
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import NotGeoreferencedWarning

    try:
        with rasterio.MemoryFile(data) as memory:
            with warnings_as("ignore", NotGeoreferencedWarning):
                file = memory.open(driver="GTiff")
            with file:
                if file.width * file.height > MAX_PIXELS:
                    raise SignalError(f"{name}: {file.width} x {file.height} pixels; cut it into tiles first")
                table = file.colormap(1) if file.colorinterp[0] == ColorInterp.palette else None
                count = file.count
                values = file.read(1) if count < 3 else np.moveaxis(file.read([1, 2, 3]), 0, -1)
    except SignalError:
        raise
    except Exception as error:  # GDAL's errors have several bases
        raise SignalError(f"{name}: broken TIFF ({' '.join(str(error).split())}); a whole file was expected") from error
    if count > 4:
        raise SignalError(f"{name}: {count} bands; a mask of one band, or of three in colour, was expected")
    if values.ndim == 3 and values.dtype != np.uint8:
        raise SignalError(f"{name}: colours of {values.dtype}; a mask in colour has 8 bits a channel")
    if table is not None and colour:
        colours = np.array([table[index][:3] for index in sorted(table)], np.uint8)
        return np.asarray(colours[values])
    return np.asarray(values)

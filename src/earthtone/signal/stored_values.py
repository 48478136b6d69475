"""The values that stand in a picture file, untouched: for masks, whose numbers name classes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthtone.errors import SignalError
from earthtone.signal.image import bytes_of, decoders, opened_picture, refuse_cut_bits
from earthtone.signal.raster import Raster, exif_orientation, gdal_driver, opened_raster, read_raster, turned


class StoredValues(NamedTuple):
    """What `read_stored_values` returns, where it counts (None: everywhere), and the value declared to be no data."""

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    nodata: float | None = None


def read_stored_values(source: Path | bytes, colour: bool = False) -> NDArray[Any]:
    """Return (height, width) values of one channel, or (height, width, 3) 8-bit colours; transparency is dropped.

    They are turned as EXIF says, and never scaled: grey of 1, 2, 4 or 16 bits keeps its numbers.
    Pictures with a colour table give their table's numbers, or with `colour` the colours. Raises SignalError.
    """
    return read_labels(source, colour).values


def read_labels(source: Path | bytes, colour: bool = False) -> StoredValues:
    """Return what `read_stored_values` does, and where a TIFF says that there is no data. Raises SignalError."""
    data, name = bytes_of(source)
    driver = gdal_driver(data)
    if driver is not None:
        return _of_raster(data, name, driver, colour)
    with opened_picture(data, name) as picture:
        refuse_cut_bits(picture, name, data)
        most = _largest(picture, data)
        values = _of_picture(picture, colour)
        if most not in (0, 255) and values.ndim == 2 and picture.mode == "L":  # Pillow made it 255
            values = np.asarray(np.rint(values * (most / 255)), np.uint8)
        return StoredValues(turned(values, exif_orientation(picture.getexif)))


def _largest(picture: Image.Image, data: bytes) -> int:
    """Return the largest number that a grey picture of few bits can hold, 0 where its format has none such."""
    if picture.format == "PNG":
        return int(2 ** data[24]) - 1  # bits a channel, in the header
    if picture.format == "PPM":
        numbers = [word for codec, words in decoders(picture) if codec.startswith("ppm") for word in words]
        return next((number for number in numbers if isinstance(number, int)), 0)
    return 0


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


def _of_raster(data: bytes, name: str, driver: str, colour: bool) -> StoredValues:
    with opened_raster(data, name, driver) as file:
        alphas = sum(meaning.name == "alpha" for meaning in file.colorinterp)
        if file.count - alphas not in (1, 3):
            raise SignalError(f"{name}: {file.count} bands; a mask of one band, or of three in colour, was expected")
    raster = read_raster(data, name, driver)
    values, valid = raster.values, raster.valid
    if values.shape[2] == 1:
        values = values[..., 0]
    elif values.dtype != np.uint8:
        raise SignalError(f"{name}: colours of {values.dtype}; a mask in colour has 8 bits a channel")
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        valid = finite if valid is None else valid & finite
    if raster.table is not None and colour:
        values = raster.table[:, :3][values]
    turn = raster.orientation
    return StoredValues(turned(values, turn), None if valid is None else turned(valid, turn), _shown(raster))


def _shown(raster: Raster) -> float | None:
    return None if raster.valid is None else raster.nodata

"""Picture files as GDAL reads them: GeoTIFFs, and colour of more than 8 bits that Pillow would cut down to 8.

What is read are the numbers in the file, which bands of it are red, green and blue, and where it holds data at all.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from earthtone.errors import SignalError, needed_by

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JP2_MAGIC = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_PNM_MAGIC = (b"P5", b"P6")

#: One limit for all formats, that of Pillow; a picture of 8-bit RGB with so many pixels has MAX_BYTES.
MAX_PIXELS = 89_478_485
MAX_BYTES = 256 * 2**20
_ORIENTATION = 274  # a tag of TIFF and of EXIF

Bands = tuple[int, int, int]
_FILTERS = threading.Lock()


@dataclass(frozen=True)
class Raster:
    """The stored numbers of a picture file, one band for grey or colour tables, three for colours."""

    values: NDArray[Any]
    """(height, width, bands), any kind of number."""
    valid: NDArray[np.bool_] | None = None
    """(height, width): where there is data; None: everywhere."""
    nodata: float | None = None
    """The value that is no data, where the file names one."""
    bits: int = 8
    """How many bits a number has."""
    table: NDArray[np.uint8] | None = None
    """(colours, 4): red, green, blue, alpha of each number, where there is a colour table."""
    white_is_zero: bool = False
    orientation: int = 1
    """How the picture is to be turned, as EXIF and TIFF number it."""
    left_out: int = 0
    """Bands that were neither read nor asked for."""


def gdal_driver(data: bytes) -> str | None:
    """Return the GDAL driver that reads a file's numbers as they are, None where Pillow does."""
    if data.startswith(TIFF_MAGIC):
        return "GTiff"
    if data.startswith(PNG_MAGIC):
        return "PNG" if data[24:25] == b"\x10" else None  # bits a channel
    if data.startswith(_JP2_MAGIC):
        depths = _jp2_depths(data)
        return "JP2OpenJPEG" if depths and (len(depths) > 4 or set(depths) != {8}) else None
    if data.startswith(_PNM_MAGIC) and (head := _pnm_head(data)) is not None and head[0] > 255:
        return "PNM"
    return None


def read_raster(data: bytes, name: str, driver: str, bands: Bands | None = None) -> Raster:
    """Return a file's numbers; `bands` are 1-based, else the file says which are red, green and blue.

    Raises SignalError for broken and too large files, and where nothing says which bands are colours.
    """
    with opened_raster(data, name, driver) as file:
        chosen, left_out = _chosen_bands(file, name, bands)
        _refuse_large(name, file, driver, len(chosen))
        if driver == "PNM" and len(data) < (_pnm_head(data) or (0, 0))[1] + file.width * file.height * file.count * 2:
            raise SignalError(f"{name}: broken image (it ends too early); a whole file was expected")
        coloured = file.colorinterp[0].name == "palette" and set(chosen) == {1}
        chosen = [1] if coloured else chosen
        values = np.moveaxis(file.read(chosen), 0, -1)
        dtype = values.dtype
        bits = int(file.tags(chosen[0], ns="IMAGE_STRUCTURE").get("NBITS", 8 * dtype.itemsize))
        table = file.colormap(1) if coloured else None
        return Raster(
            values,
            valid=_valid(file, chosen),
            nodata=_nodata(file.nodatavals[chosen[0] - 1], dtype),
            bits=bits,
            table=None if table is None else np.array([table[index] for index in sorted(table)], np.uint8),
            white_is_zero=table is None and "MINISWHITE" in file.tags(ns="IMAGE_STRUCTURE"),
            orientation=_orientation(data, name, driver, file),
            left_out=left_out,
        )


def raster_header(data: bytes, name: str, driver: str) -> tuple[int, int, str]:
    """Return width and height as shown, and "3 bands uint16". Raises SignalError, as reading would, for large files."""
    with opened_raster(data, name, driver) as file:
        _refuse_large(name, file, driver, 3 if file.count > 2 else 1)
        width, height = int(file.width), int(file.height)
        if _orientation(data, name, driver, file) > 4:
            width, height = height, width
        return width, height, f"{file.count} band{'s' * (file.count > 1)} {file.dtypes[0]}"


@contextmanager
def opened_raster(data: bytes, name: str, driver: str) -> Iterator[Any]:
    """Yield a file that rasterio opens from memory; whatever goes wrong with it is a SignalError."""
    kind = "TIFF" if driver == "GTiff" else "image"
    with needed_by(f"{name}: this {'TIFF' if driver == 'GTiff' else driver}"):
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

    try:
        with rasterio.MemoryFile(data) as memory:
            with warnings_as("ignore", NotGeoreferencedWarning):
                file = memory.open(driver=driver)
            with file:
                if any("complex" in dtype for dtype in file.dtypes):
                    raise SignalError(
                        f"{name}: complex numbers ({file.dtypes[0]}), as of radar; a picture of their amplitudes, "
                        "written as floats, was expected"
                    )
                yield file
    except SignalError:
        raise
    except Exception as error:  # GDAL's errors have several bases
        found = " ".join(str(error.__cause__ or error).split())  # rasterio's own text may only point to the cause
        found = re.sub(r"[0-9a-f-]{36}\.tif, ", "", found)  # its name for what lies in memory
        raise SignalError(f"{name}: broken {kind} ({found}); a whole file was expected") from error


@contextmanager
def warnings_as(action: Literal["error", "ignore"], category: type[Warning]) -> Iterator[None]:
    """Treat a warning otherwise; the filters belong to the process, so one thread at a time may change them."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter(action, category)
        yield


def refuse_bytes(name: str, width: int, height: int, pixel_bytes: int) -> None:
    """Raise SignalError for a picture whose numbers would fill more than MAX_BYTES."""
    if width * height * pixel_bytes > MAX_BYTES:
        raise SignalError(
            f"{name}: {width} x {height} pixels; cut it into tiles first: at most {MAX_BYTES // 2**20} MiB expected, "
            f"it has {pixel_bytes} bytes a pixel"
        )


def opaque(alpha: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Return where an alpha channel (height, width) lets something be seen, None for everywhere.

    A fourth channel that is neither 0 nor full in most pixels is no transparency: pictures with near infrared are
    often saved as RGBA, and dark water would be hidden.
    """
    shown = alpha != 0
    if shown.all():
        return None
    return shown if np.mean(~shown | (alpha == alpha.max())) >= 0.5 else None


def _refuse_large(name: str, file: Any, driver: str, bands: int) -> None:
    """Raise SignalError for what would take too much memory: in all, or in one of the blocks that GDAL decodes."""
    if file.width * file.height > MAX_PIXELS:
        raise SignalError(
            f"{name}: {file.width} x {file.height} pixels; cut it into tiles first: {MAX_PIXELS:,} at most"
        )
    number_bytes = np.dtype(file.dtypes[0]).itemsize
    if driver == "JP2OpenJPEG":  # decodes to 32 bits
        number_bytes = max(number_bytes, 4)
    refuse_bytes(name, file.width, file.height, bands * number_bytes)
    tall, wide = file.block_shapes[0]
    together = file.count if file.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "PIXEL" else 1
    refuse_bytes(name, min(wide, file.width), min(tall, file.height), together * number_bytes)


def _chosen_bands(file: Any, name: str, bands: Bands | None) -> tuple[list[int], int]:
    """Return the bands to read, grey or red, green and blue, and how many others are left out unasked."""
    count = file.count
    if bands is not None:
        if min(bands) < 1 or max(bands) > count:
            raise SignalError(f"{name}: bands {bands} asked for, the file has 1 to {count}")
        return list(bands), 0
    meanings = [meaning.name for meaning in file.colorinterp]
    data = [number for number, meaning in enumerate(meanings, 1) if meaning != "alpha"] or [1]
    colours = [[number for number in data if meanings[number - 1] == colour] for colour in ("red", "green", "blue")]
    if all(len(found) == 1 for found in colours):
        return [found[0] for found in colours], len(data) - 3
    if len(data) == 1:
        return data, 0
    declared = ", ".join(meanings)
    if not set(meanings) <= {"undefined", "gray", "alpha"}:
        raise SignalError(
            f"{name}: bands declared as {declared}; red, green and blue expected once each, or a choice, such as "
            f"signal.image.bands: [1, 2, 3]{_elsewhere(1, 2, 3)}"
        )
    if len(data) == 2:
        raise SignalError(
            f"{name}: 2 bands ({declared}), as of radar; grey with alpha expected, or a choice of which are red, green "
            f"and blue, such as signal.image.bands: [1, 2, 2]{_elsewhere(1, 2, 2)}"
        )
    if len(data) > 4:
        raise SignalError(
            f"{name}: {count} bands; choose three, such as signal.image.bands: [4, 3, 2]{_elsewhere(4, 3, 2)}"
        )
    return data[:3], len(data) - 3


def _elsewhere(*bands: int) -> str:
    """Return what else chooses bands: for a model that was trained without, nothing can be said to it any more."""
    named = ",".join(map(str, bands))
    written = " ".join(f"-b {band}" for band in bands)
    return (
        f" of a model to be trained; for one that is there earthtone embed or tiles with --bands {named}, or a file of "
        f"these: gdal_translate {written}"
    )


def _valid(file: Any, chosen: Sequence[int]) -> NDArray[np.bool_] | None:
    """Return where any of the chosen bands holds data and nothing makes it transparent; None for everywhere."""
    valid: NDArray[np.bool_] | None = None
    for band in dict.fromkeys(chosen):
        flags = {flag.name for flag in file.mask_flag_enums[band - 1]}
        if "all_valid" in flags or "alpha" in flags:
            valid = None
            break
        here = file.read_masks(band) > 0
        valid = here if valid is None else valid | here
    alphas = [number for number, meaning in enumerate(file.colorinterp, 1) if meaning.name == "alpha"]
    shown = opaque(file.read(alphas[0])) if alphas and alphas[0] not in chosen else None
    if shown is not None:
        valid = shown if valid is None else valid & shown
    return None if valid is None or valid.all() else valid


def _nodata(value: float | None, dtype: np.dtype[Any]) -> float | None:
    """Return the declared value where numbers of this kind can hold it."""
    if value is None or dtype.kind == "f":
        return value
    bounds = np.iinfo(dtype)
    return value if float(value).is_integer() and bounds.min <= value <= bounds.max else None


def _orientation(data: bytes, name: str, driver: str, file: Any) -> int:
    if driver == "PNG":
        return _png_orientation(data)
    found = exif_orientation(partial(_tiff_tags, data)) if driver == "GTiff" else 1
    if found > 1 and file.crs is not None:
        raise SignalError(
            f"{name}: georeferenced, and to be turned (orientation {found}); one of both was expected: write it anew "
            "with gdal_translate, which drops the orientation"
        )
    return found


def _tiff_tags(data: bytes) -> ImageFileDirectory_v2:
    """Return the tags in the first directory of a TIFF or BigTIFF."""
    tags = ImageFileDirectory_v2(data[: 16 if b"+" in data[2:4] else 8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    with warnings_as("ignore", UserWarning):  # of a directory that breaks off
        tags.load(file)
    return tags


def _png_orientation(data: bytes) -> int:
    at = len(PNG_MAGIC)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"eXIf":
            return exif_orientation(partial(_exif, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return 1


def _exif(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


def exif_orientation(exif: Callable[[], Image.Exif | ImageFileDirectory_v2]) -> int:
    """Return the orientation (1 to 8) in the EXIF block that `exif` reads; 1 where it is broken or says nothing."""
    try:
        found = exif().get(_ORIENTATION, 1)
    except Exception:  # a broken block beside a whole picture
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def turned(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return an array (height, width, ...) as a viewer shows it that heeds EXIF's orientation."""
    if orientation in (5, 6, 7, 8):
        values = np.swapaxes(values, 0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values


def _jp2_depths(data: bytes) -> list[int]:
    """Return the bits of each component of a JPEG 2000 file, from the first marker of its code stream."""
    at = 0 if data.startswith(_JP2_MAGIC[1]) else _jp2_stream(data)
    count = int.from_bytes(data[at + 40 : at + 42], "big")
    return [(byte & 0x7F) + 1 for byte in data[at + 42 : at + 42 + 3 * count : 3]]


def _jp2_stream(data: bytes) -> int:
    """Return where the code stream begins within a file's boxes; the file's end where none does."""
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        head = 16 if length == 1 else 8
        if kind == b"jp2c":
            return at + head
        length = int.from_bytes(data[at + 8 : at + 16], "big") if length == 1 else length
        if length < head:
            break
        at += length
    return len(data)


def _pnm_head(data: bytes) -> tuple[int, int] | None:
    """Return the largest number that a PGM or PPM says it holds, and where its numbers begin; None if it is broken."""
    gap = rb"(?:\s|#[^\n]*\n)+"
    head = re.match(rb"P[56]" + gap + rb"\d+" + gap + rb"\d+" + gap + rb"(\d{1,9})\s", data[:4096])
    return None if head is None else (int(head[1]), head.end())

"""Image files to square 8-bit RGB tiles: decode, crop, warp. Nothing here is a float until the batch."""

import hashlib
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from earthtone.errors import SignalError
from earthtone.signal.config import ImageConfig
from earthtone.signal.remarks import Remark
from earthtone.signal.scale import check_gsd_m, with_scale

Pixels = NDArray[np.uint8]
Positions = NDArray[np.float64]

MAX_PIXELS = 200_000_000  # larger pictures are scenes to be cut into tiles, or decompression bombs
_FILTERS = threading.Lock()
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: RGB `pixels` (height, width, 3), how many of the file's pixels one of them is wide (`shrunk`),
    and what was noticed about it."""

    pixels: Pixels
    shrunk: float = 1.0
    remarks: tuple[Remark, ...] = ()


def read_picture(source: Path | bytes, config: ImageConfig, min_side: int | None = None) -> Picture:
    """Return a picture as `config` has it read, with remarks; see `read_image`. Raises SignalError."""
    pixels, shrunk = read_shrunk(source, config.bands, min_side)
    return Picture(pixels, shrunk)


def read_image(source: Path | bytes, bands: tuple[int, int, int] | None = None, min_side: int | None = None) -> Pixels:
    """Return RGB pixels (height, width, 3) of any format that Pillow reads, or of a GeoTIFF.

    Grey becomes RGB, transparency is dropped, palettes are resolved. Data of more than 8 bits is stretched linearly
    from its 2nd to its 98th percentile. `bands` chooses 1-based bands of a GeoTIFF. `min_side` allows a JPEG to be
    decoded at a fraction of its size, never below that many pixels a side. Raises SignalError.
    """
    return read_shrunk(source, bands, min_side)[0]


def read_shrunk(
    source: Path | bytes, bands: tuple[int, int, int] | None = None, min_side: int | None = None
) -> tuple[Pixels, float]:
    """Return what `read_image` does, and how many of the file's pixels one of these is wide. Raises SignalError."""
    data, name = bytes_of(source)
    if data.startswith(TIFF_MAGIC):
        return _read_tiff(data, name, bands), 1.0
    with opened_picture(data, name) as image:
        whole = min(image.size)
        if min_side is not None:
            image.draft("RGB", (min_side, min_side))
        pixels = _pillow_pixels(image)
        return pixels, whole / min(pixels.shape[:2])


def read_grey(source: Path | bytes) -> Pixels:
    """Return the values (height, width) of an 8-bit picture, such as a ready spectrogram. Raises SignalError."""
    data, name = bytes_of(source)
    with opened_picture(data, name) as image:
        if image.mode.startswith(("I", "F")):
            raise SignalError(f"{name}: picture of mode {image.mode}; 8 bits a pixel expected")
        return np.asarray(image.convert("L"), np.uint8)


def image_hash(pixels: Pixels) -> str:
    """Return a 128-bit hash (32 hex digits) of shape and pixels; equal for identical pictures only."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def stored_tile(pixels: Pixels, config: ImageConfig, gsd_m: float | None = None) -> Pixels:
    """Return the square that a table keeps: the centre or `footprint_m` of it, at most `stored_pixels` a side.

    Raises SignalError for metres a pixel that no image has, or that lack where `footprint_m` needs them.
    """
    check_gsd_m(gsd_m)
    side = _kept_side(pixels, config, gsd_m)
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return square if side <= config.stored_pixels else resized(square, config.stored_pixels)


def tile_side_m(pixels: Pixels, config: ImageConfig, gsd_m: float | None) -> float | None:
    """Return the metres along a side of the `stored_tile` of pixels of `gsd_m`, None where that is unknown."""
    return None if gsd_m is None else _kept_side(pixels, config, gsd_m) * gsd_m


def _kept_side(pixels: Pixels, config: ImageConfig, gsd_m: float | None) -> int:
    """Return how many of these pixels a side are kept."""
    side = int(min(pixels.shape[:2]))
    if config.footprint_m is None:
        return side
    if gsd_m is None:
        raise SignalError("image_gsd_m is unknown; signal.image.footprint_m needs it (or set footprint_m to null)")
    return max(1, min(side, round(config.footprint_m / gsd_m)))


def seen(tile: Pixels, config: ImageConfig, side_m: float | None = None) -> Pixels:
    """Return what an encoder sees of a stored tile outside training: the centre's share `view`, at `pixels` a side.

    With `side_m`, the metres along the tile's side, the view's metres a pixel are its fourth channel (scale.py).
    """
    size = tile.shape[0]
    side = max(1, round(size * config.view))
    start = (size - side) // 2
    view = resized(tile[start : start + side, start : start + side], config.pixels)
    return view if side_m is None else with_scale(view, side_m * side / size / config.pixels)


def resized(pixels: Pixels, side: int) -> Pixels:
    """Return a square picture at `side` pixels: area mean when it shrinks, linear when it grows."""
    if pixels.shape[0] == side == pixels.shape[1]:
        return pixels
    method = cv2.INTER_AREA if min(pixels.shape[:2]) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=method), np.uint8)


def encode_tile(tile: Pixels, config: ImageConfig) -> bytes:
    """Return a tile as JPEG bytes with full colour resolution."""
    options = [cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR), options)
    return bytes(data)


def decode_tile(data: bytes) -> Pixels:
    """Return the pixels (side, side, 3) of a packed tile. Raises SignalError when the table is damaged."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if pixels is None:
        raise SignalError(f"a packed tile of {len(data)} bytes is no JPEG: the table is damaged; pack it again")
    return np.asarray(pixels, np.uint8)


def warped(
    tile: Pixels,
    side: int,
    *,
    area: float,
    centre: tuple[float, float],
    degrees: float,
    mirrored: bool,
    ratio: float = 1.0,
    bends: tuple[Positions, Positions] | None = None,
) -> Pixels:
    """Return a random view (side, side, 3) by one warp: crop, rotation, flip, resize and distortion at once.

    `area` is the share of the tile inside the crop, `ratio` its width over its height; `centre` in 0-1 moves the crop
    within the room that is left; outside the tile its mirror image is seen. `bends` says for each column and each row
    (side,) of the view at which column and row of the straight view it looks.
    """
    size = tile.shape[0]
    width, height = size * (area * ratio) ** 0.5, size * (area / ratio) ** 0.5
    middle_x = width / 2 + centre[0] * (size - width)
    middle_y = height / 2 + centre[1] * (size - height)
    scale_x, scale_y = width / side, height / side  # tile pixels a view pixel
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    flip = -1.0 if mirrored else 1.0
    half = (side - 1) / 2
    # view (u, v) -> tile (x, y): turn and scale about the middles of both
    matrix = np.array(
        [
            [flip * scale_x * cos, -scale_x * sin, middle_x - 0.5 - half * scale_x * (flip * cos - sin)],
            [flip * scale_y * sin, scale_y * cos, middle_y - 0.5 - half * scale_y * (flip * sin + cos)],
        ]
    )
    if bends is None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(tile, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    else:
        columns, rows = bends[0][None, :], bends[1][:, None]
        x, y = ((line[0] * columns + line[1] * rows + line[2]).astype(np.float32) for line in matrix)
        view = cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, np.uint8)


def bytes_of(source: Path | bytes) -> tuple[bytes, str]:
    """Return a file's content and its name for messages."""
    name = f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise SignalError(f"{name}: {error.strerror}; an image was expected") from error
    if not data:
        raise SignalError(f"{name}: zero bytes; an image was expected")
    return data, name


@cache
def image_formats() -> tuple[str, ...]:
    """All formats of Pillow but PostScript, which it hands to another program."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in ("EPS", "WMF"))


@contextmanager
def opened_picture(data: bytes, name: str) -> Iterator[Image.Image]:
    """Yield a picture that Pillow opens; whatever goes wrong with it is a SignalError."""
    try:
        with warnings_as("error", Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(data), formats=image_formats())
        with image:
            yield image
    except SignalError:
        raise
    except UnidentifiedImageError as error:
        raise SignalError(f"{name}: not an image; JPEG, PNG, WebP, GeoTIFF ... expected") from error
    except Exception as error:  # each format's decoder has its own errors for broken data
        raise SignalError(
            f"{name}: broken image ({' '.join(str(error).split())}); a whole file was expected"
        ) from error


@contextmanager
def warnings_as(action: Literal["error", "ignore"], category: type[Warning]) -> Iterator[None]:
    """Treat a warning otherwise; the filters belong to the process, so one thread at a time may change them."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter(action, category)
        yield


def _pillow_pixels(image: Image.Image) -> Pixels:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return _grey_to_rgb(_stretched(np.asarray(image, np.float32)[..., None]))
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"), np.uint8)


def _read_tiff(data: bytes, name: str, bands: tuple[int, int, int] | None) -> Pixels:
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
                chosen = _chosen_bands(file.count, name, bands)
                values = np.moveaxis(file.read(chosen), 0, -1)
                valid = file.dataset_mask() > 0
                one_bit = "NBITS" in file.tags(1, ns="IMAGE_STRUCTURE")
                palette = file.colormap(1) if file.colorinterp[0] == ColorInterp.palette else None
    except SignalError:
        raise
    except Exception as error:  # GDAL's errors have several bases
        raise SignalError(f"{name}: broken TIFF ({' '.join(str(error).split())}); a whole file was expected") from error
    if palette is not None:
        colours = np.array([palette[index][:3] for index in sorted(palette)], np.uint8)
        return np.asarray(colours[values[..., 0]], np.uint8)
    if values.dtype != np.uint8 or one_bit:
        values = _stretched(values.astype(np.float32), valid)
    return _grey_to_rgb(values)


def _chosen_bands(count: int, name: str, bands: tuple[int, int, int] | None) -> list[int]:
    if bands is not None:
        if min(bands) < 1 or max(bands) > count:
            raise SignalError(f"{name}: bands {bands} asked for, the file has 1 to {count}")
        return list(bands)
    if count in (1, 2):
        return [1]
    if count in (3, 4):
        return [1, 2, 3]
    raise SignalError(f"{name}: {count} bands; choose three, such as signal.image.bands: [4, 3, 2]")


def _stretched(values: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> Pixels:
    """Return 8 bits from more: 2nd to 98th percentile of the valid finite values, over all bands together."""
    finite = np.isfinite(values)
    usable = finite if valid is None else finite & valid[..., None]
    if not usable.any():
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(values[usable], (2, 98))
    scaled = (np.where(finite, values, low) - low) * (255.0 / max(high - low, 1e-6))
    return np.asarray(np.clip(np.rint(scaled), 0, 255), np.uint8)


def _grey_to_rgb(values: Pixels) -> Pixels:
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values

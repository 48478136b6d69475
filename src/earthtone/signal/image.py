"""Image files to square 8-bit RGB tiles, and masks to the values stored in them. Floats begin in the batch."""

import hashlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from earthtone.errors import SignalError
from earthtone.files import regular_file
from earthtone.signal.config import ImageConfig, named_range
from earthtone.signal.raster import (
    PNG_MAGIC,
    Raster,
    exif_orientation,
    gdal_driver,
    opaque,
    opened_raster,
    raster_header,
    read_raster,
    refuse_bytes,
    turned,
    warnings_as,
)
from earthtone.signal.readers import read_image_by_plugin, reader_source
from earthtone.signal.remarks import (
    BANDS_LEFT_OUT,
    BLANK,
    OUTSIDE_VALUE_RANGE,
    PARTLY_EMPTY,
    SMALL_FOOTPRINT,
    STRETCHED,
    TURNED,
    Remark,
)

# Metres a pixel as one more channel of a picture: a constant plane of bytes, which goes wherever pixels go.
#
# A byte is a sixteenth of an octave: byte = round(16 (log2(metres a pixel) + 6)), from 1.6 cm to 980 m. The model takes
# (byte - 96) / 64 = log2(metres a pixel) / 4, about the range of its normalised colours; 0 is one metre.
# A convolution can read from such a plane what pixels do not tell (CoordConv, Liu et al., arXiv 1807.03247); that the
# ground sample distance is worth telling: Scale-MAE (Reed et al., arXiv 2212.14532), there in position encodings.

SCALE_CENTRE, SCALE_WIDTH = 96.0, 64.0
_STEPS = 16  # bytes an octave
#: Metres a pixel of an image that are believed: a millimetre to 100 km.
LEAST_GSD_M, MOST_GSD_M = 1e-3, 1e5

Pixels = NDArray[np.uint8]


def check_gsd_m(gsd_m: float | None) -> None:
    """Raise SignalError for metres a pixel that no image has; None is unknown."""
    if gsd_m is not None and not LEAST_GSD_M <= gsd_m <= MOST_GSD_M:  # also NaN
        raise SignalError(f"image_gsd_m is {gsd_m:g}; {LEAST_GSD_M:g} to {MOST_GSD_M:,g} metres a pixel expected")


def scale_byte(gsd_m: float) -> int:
    """Return the byte of so many metres a pixel, the nearest end's beyond the range. Raises SignalError."""
    if not (math.isfinite(gsd_m) and gsd_m > 0):
        raise SignalError(f"{gsd_m:g} metres a pixel; more than 0 expected")
    return min(max(round(_STEPS * math.log2(gsd_m) + SCALE_CENTRE), 0), 255)


def with_scale(pixels: Pixels, gsd_m: float) -> Pixels:
    """Return pictures (..., side, side, 4) of such (..., side, side, 3), their metres a pixel as fourth channel."""
    plane = np.full((*pixels.shape[:-1], 1), scale_byte(gsd_m), np.uint8)
    return np.concatenate([pixels, plane], axis=-1)


Positions = NDArray[np.float64]

_AS_DECLARED = ImageConfig()
_MOST_FILE_BYTES = 2**30
_CHUNK = 2**22  # numbers that are scaled to 8 bits at once
_SAMPLE = 2**24  # numbers, evenly spread over a picture, that percentiles are taken of


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: RGB `pixels` (height, width, 3), how many of the file's pixels one of them is wide (`shrunk`),
    what was noticed about it, and where it is `empty` (height, width), None for nowhere."""

    pixels: Pixels
    shrunk: float = 1.0
    remarks: tuple[Remark, ...] = ()
    empty: NDArray[np.bool_] | None = None


def read_picture(
    source: Path | bytes | Image.Image, config: ImageConfig = _AS_DECLARED, min_side: int | None = None
) -> Picture:
    """Return a picture of any format that Pillow reads, of a GeoTIFF, or one that Pillow has opened, with remarks.

    A file whose suffix a plug-in reads is that plug-in's.

    It is turned as EXIF says. Grey becomes RGB, palettes are resolved; where there is no data, and where it is fully
    transparent, it is black. Of a GeoTIFF `config.bands`, else the bands that it declares to be red, green and blue.
    Data of more than 8 bits is scaled by `config.value_range`, else from its own 2nd to its 98th percentile.
    `min_side` allows a JPEG to be decoded at a fraction of its size, never below that many pixels a side.
    Raises SignalError, also for pictures without any data.
    """
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "picture")
        with _named_errors(name):
            return _picture(_of_pillow(source, name), name, config)
    if isinstance(source, Path) and reader_source(source, "image") is not None:
        return _picture(Raster(_by_plugin(source)), str(source), config)
    data, name = bytes_of(source)
    driver = gdal_driver(data)
    if driver is not None:
        return _picture(read_raster(data, name, driver, config.bands), name, config)
    with opened_picture(data, name) as image:
        whole = min(image.size)
        if min_side is not None:
            image.draft("RGB", (min_side, min_side))
        raster = _of_pillow(image, name, data)
    return _picture(raster, name, config, whole / min(raster.values.shape[:2]))


def picture_of_array(values: NDArray[Any], config: ImageConfig, name: str = "array") -> Picture:
    """Return the picture that numbers (height, width, 1 or 3) are, by the same steps as a file that holds them.

    Of more than 8 bits they are scaled, and NaN is no data. `name` stands in messages. Raises SignalError.
    """
    return _picture(Raster(values, bits=8 * values.dtype.itemsize), name, config)


def picture_header(source: Path | bytes) -> tuple[int, int, str]:
    """Return width and height as shown, and the mode ("RGB", "12 bands uint16"), without decoding pixels.

    Raises SignalError where reading would, as far as a header tells: unknown formats and too large pictures.
    """
    if isinstance(source, Path) and reader_source(source, "image") is not None:
        height, width, _ = _by_plugin(source).shape
        return width, height, "RGB"
    data, name = bytes_of(source)
    driver = gdal_driver(data)
    if driver is not None:
        return raster_header(data, name, driver)
    with opened_picture(data, name) as image:
        _refuse_large(image, name)
        late = image.format == "PNG" and "exif" not in image.info  # to be found by decoding only
        sideways = not late and exif_orientation(image.getexif) > 4
        width, height = reversed(image.size) if sideways else image.size
        return width, height, image.mode


def _by_plugin(path: Path) -> Pixels:
    pixels = read_image_by_plugin(path)
    refuse_bytes(str(path), pixels.shape[1], pixels.shape[0], 3)
    return pixels


def read_grey(source: Path | bytes) -> Pixels:
    """Return the values (height, width) of an 8-bit picture, such as a ready spectrogram. Raises SignalError."""
    data, name = bytes_of(source)
    with opened_picture(data, name) as image:
        if not _shallow(image) or _cut_to_8_bits(image, data):
            raise SignalError(f"{name}: picture of mode {image.mode} and more than 8 bits; 8 bits a pixel expected")
        _refuse_large(image, name)
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


def kept_remarks(picture: Picture, config: ImageConfig, gsd_m: float | None = None) -> list[Remark]:
    """Return remarks on the square of a picture that `stored_tile` keeps.

    Raises SignalError where that square holds no data at all, though the picture does.
    """
    check_gsd_m(gsd_m)
    height, width = picture.pixels.shape[:2]
    side = _kept_side(picture.pixels, config, gsd_m)
    top, left = (height - side) // 2, (width - side) // 2
    if picture.empty is not None and picture.empty[top : top + side, left : left + side].all():
        raise SignalError(f"no data in the {side} x {side} pixels at its centre; a tile with valid pixels was expected")
    if config.footprint_m is None or gsd_m is None or round(config.footprint_m / gsd_m) <= side:
        return []
    found = f"{side * gsd_m:.4g} m a side; signal.image.footprint_m {config.footprint_m:g} expected"
    return [Remark(SMALL_FOOTPRINT, found)]


def cut_tile(
    picture: Picture, config: ImageConfig, gsd_m: float | None = None
) -> tuple[Pixels, float | None, list[Remark]]:
    """Return the `stored_tile` of a picture, the metres along its side (None: unknown) and its `kept_remarks`.

    `gsd_m` are the metres a pixel of the file. Raises SignalError.
    """
    remarks = kept_remarks(picture, config, gsd_m)
    tile = stored_tile(picture.pixels, config, gsd_m)
    if gsd_m is None:
        return tile, None, remarks
    gsd_m *= picture.shrunk
    return tile, _kept_side(picture.pixels, config, gsd_m) * gsd_m, remarks


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

    With `side_m`, the metres along the tile's side, the view's metres a pixel are its fourth channel (`with_scale`).
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
        if isinstance(source, Path) and (size := regular_file(source).stat().st_size) > _MOST_FILE_BYTES:
            raise SignalError(f"{name}: {size:,} bytes; cut it into tiles first: {_MOST_FILE_BYTES:,} at most")
        data = source if isinstance(source, bytes) else source.read_bytes()
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        raise SignalError(f"{name}: {getattr(error, 'strerror', error)}; an image was expected") from error
    if not data:
        raise SignalError(f"{name}: zero bytes; an image was expected")
    return data, name


@cache
def image_formats() -> tuple[str, ...]:
    """Return all formats of Pillow but PostScript, which it hands to another program."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in ("EPS", "WMF"))


@contextmanager
def opened_picture(data: bytes, name: str) -> Iterator[Image.Image]:
    """Yield a picture that Pillow opens; whatever goes wrong with it is a SignalError."""
    with _named_errors(name):
        with warnings_as("error", Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(data), formats=image_formats())
        with image:
            yield image


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    try:
        yield
    except SignalError:
        raise
    except UnidentifiedImageError as error:
        raise SignalError(f"{name}: not an image; JPEG, PNG, WebP, GeoTIFF ... expected") from error
    except Exception as error:  # each format's decoder has its own errors for broken data
        reason = " ".join(str(error).split())
        raise SignalError(f"{name}: broken image ({reason}); a whole file was expected") from error


def _refuse_large(image: Image.Image, name: str) -> None:
    refuse_bytes(name, *image.size, 3 if _shallow(image) else np.dtype(_DEEP.get(image.mode, np.uint16)).itemsize)


_DEEP: dict[str, type[np.generic]] = {"I": np.int32, "F": np.float32}


def _shallow(image: Image.Image) -> bool:
    """Return whether a picture of Pillow's has 8 bits a channel; those of more are grey."""
    return not image.mode.startswith(("I", "F"))


def _of_pillow(image: Image.Image, name: str, data: bytes = b"") -> Raster:
    """Return a picture that Pillow has opened as numbers: grey of more than 8 bits as stored, all else as RGB."""
    if image.format == "AVIF" and _cut_to_8_bits(image, data):
        return _deep_avif(image, name, data)
    _refuse_cut_bits(image, name, data)
    _refuse_large(image, name)
    shown = None
    if not _shallow(image):
        values = np.asarray(image)[..., None]
    elif image.mode in ("P", "RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        whole = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"), np.uint8)
        values, shown = whole[..., :3], opaque(whole[..., 3])
    else:
        values = np.asarray(image if image.mode == "RGB" else image.convert("RGB"), np.uint8)
    bits = 8 * values.dtype.itemsize
    return Raster(values, valid=shown, bits=bits, orientation=exif_orientation(image.getexif))


def _refuse_cut_bits(image: Image.Image, name: str, data: bytes) -> None:
    """Raise SignalError for a picture of more than 8 bits a channel of which Pillow would give the upper 8."""
    if _cut_to_8_bits(image, data):
        raise SignalError(
            f"{name}: {image.format} of more than 8 bits a channel, of which 8 would be read; write it as PNG or TIFF"
        )


def _cut_to_8_bits(image: Image.Image, data: bytes) -> bool:
    """Return whether Pillow would cut colours of more bits to 8: 16-bit formats that it reads so, and deep AVIF."""
    if image.format == "AVIF":
        flags = data.partition(b"av1C")[2][2:3]  # after marker and version, profile and level
        return bool(flags) and flags[0] & 0x40 > 0
    words = [word for codec, arguments in _decoders(image) for word in (codec, *arguments)]
    if image.format in ("ICO", "ICNS"):  # hold PNGs
        return data.partition(PNG_MAGIC)[2][16:17] == b"\x10"
    if image.format == "PPM":  # the plain kinds; GDAL reads the others
        return any(isinstance(word, int) and word > 255 for word in words)
    deep = (word == "SGI16" or str(word)[-4:] in (";16B", ";16L", ";16N") for word in words)
    return any(deep) and _shallow(image)


def _decoders(image: Image.Image) -> list[tuple[str, tuple[Any, ...]]]:
    """Return by which of its decoders, with which arguments, Pillow will read an opened file."""
    tiles = getattr(image, "tile", [])
    return [(tile[0], tile[3] if isinstance(tile[3], tuple) else (tile[3],)) for tile in tiles]


def _deep_avif(image: Image.Image, name: str, data: bytes) -> Raster:
    refuse_bytes(name, *image.size, 2 * len(image.getbands()))
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise SignalError(f"{name}: AVIF of more than 8 bits a channel cannot be read here; write it as PNG or TIFF")
    values = values[..., None] if values.ndim == 2 else values
    shown = opaque(values[..., 3]) if values.shape[2] == 4 else None
    colours = values if values.shape[2] == 1 else values[..., 2::-1]
    return Raster(colours, valid=shown, bits=16, orientation=exif_orientation(image.getexif))


def _picture(raster: Raster, name: str, config: ImageConfig, shrunk: float = 1.0) -> Picture:
    """Return numbers of any kind as a picture of 8 bits, turned, with black where there is no data."""
    remarks: list[Remark] = []
    valid = raster.valid
    values = raster.values
    if raster.table is not None:
        clear = raster.table[:, 3][values[..., 0]] > 0
        valid = clear if valid is None else valid & clear
        pixels = raster.table[:, :3][values[..., 0]]
    elif values.dtype == np.uint8:
        pixels = values
        if raster.bits < 8:  # white is the largest number
            steps = np.minimum(np.arange(256) * 255 // (2**raster.bits - 1), 255).astype(np.uint8)
            pixels = steps[values]
    else:
        pixels, valid, remarks = _eight_bits(raster, config)
    pixels = turned(255 - pixels if raster.white_is_zero else pixels, raster.orientation)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    valid = None if valid is None or valid.all() else turned(valid, raster.orientation)
    if raster.orientation > 1:
        remarks.append(Remark(TURNED, f"orientation {raster.orientation}; shown upright"))
    if raster.left_out:
        remarks.append(Remark(BANDS_LEFT_OUT, f"{raster.left_out} beside red, green and blue"))
    pixels = np.ascontiguousarray(pixels)
    if valid is not None:
        share = 1 - valid.mean()
        if share == 1:
            width, height = pixels.shape[1], pixels.shape[0]
            raise SignalError(f"{name}: no data in any of its {width} x {height} pixels; some were expected")
        pixels = pixels if pixels.flags.writeable and pixels.base is None else pixels.copy()
        pixels[~valid] = 0
        remarks.append(Remark(PARTLY_EMPTY, f"{100 * share:.3g} % of the pixels hold no data; they are black"))
    elif _blank(pixels):
        remarks.append(Remark(BLANK, f"every pixel is {tuple(pixels[0, 0].tolist())}"))
    return Picture(pixels, shrunk, tuple(remarks), None if valid is None else ~valid)


def _blank(pixels: Pixels) -> bool:
    first, rows = pixels[:1, :1], 256  # at once
    return all((pixels[start : start + rows] == first).all() for start in range(0, len(pixels), rows))


def _eight_bits(raster: Raster, config: ImageConfig) -> tuple[Pixels, NDArray[np.bool_] | None, list[Remark]]:
    """Return 8 bits from more, where any band of a pixel holds a number, and how they were scaled."""
    ranges = None if config.value_range is None else named_range(config.value_range, "signal.image.value_range")
    if ranges is None:
        low, high = _percentiles(raster)
        lows, highs = np.full(1, low), np.full(1, high)
    else:
        lows, highs = np.array(ranges, np.float32).reshape(-1, 2).T
    count = max(raster.values.shape[2], len(lows))
    factors = np.float32(255.0) / np.maximum(highs - lows, 1e-6, dtype=np.float32)
    height, width = raster.values.shape[:2]
    pixels = np.empty((height, width, count), np.uint8)
    there = np.ones((height, width), bool)
    for rows, values, usable in _chunks(raster):
        with np.errstate(over="ignore"):  # what lies far outside is clipped
            scaled = (np.where(usable, values, lows) - lows) * factors
        pixels[rows] = np.where(usable, np.clip(np.rint(scaled), 0, 255), 0)
        there[rows] = usable.any(axis=2)
    if ranges is not None:
        return pixels, there, _out_of_range(pixels, there, ranges)
    scaling = f"{raster.values.dtype} values {low:g} to {high:g} (2nd and 98th percentile) became 0 and 255"
    return pixels, there, [Remark(STRETCHED, f"{scaling}; signal.image.value_range scales all pictures alike")]


def _chunks(raster: Raster) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield rows, their values as floats (rows, width, bands), and which of these can be used."""
    values, valid, nodata = raster.values, raster.valid, raster.nodata
    step = max(1, _CHUNK // max(1, values.shape[1] * values.shape[2]))
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        part = values[rows]
        floats = part.astype(np.float32)
        usable = np.isfinite(floats)
        if valid is not None:
            usable &= valid[rows, :, None]
        if nodata is not None:
            usable &= part != np.asarray(nodata, part.dtype)
        yield rows, floats, usable


def _percentiles(raster: Raster) -> tuple[np.float32, np.float32]:
    """Return the 2nd and 98th percentile of what can be used, over all bands together; of a large picture, of many."""
    step = -(-raster.values.size // _SAMPLE)
    found = [floats[usable][::step] for _, floats, usable in _chunks(raster)]
    usable = np.concatenate(found)
    if not len(usable):
        return np.float32(0), np.float32(1)
    low, high = np.percentile(usable, (2, 98))
    return low, high


def _out_of_range(pixels: Pixels, there: NDArray[np.bool_], ranges: Any) -> list[Remark]:
    shown = pixels[there]
    share = float(np.mean((shown == 0) | (shown == 255))) if len(shown) else 0.0
    if share <= 0.5:
        return []
    found = f"{100 * share:.3g} % of the values become 0 or 255 with signal.image.value_range {ranges}"
    return [Remark(OUTSIDE_VALUE_RANGE, f"{found}; a range that holds the values was expected")]


class StoredValues(NamedTuple):
    """What `read_stored_values` returns, where it counts (None: everywhere), and the value declared to be no data."""

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None
    nodata: float | None = None


def read_stored_values(source: Path | bytes, colour: bool = False) -> StoredValues:
    """Return the values that stand in a picture file, untouched: for masks, whose numbers name classes.

    They are (height, width) of one channel, or (height, width, 3) 8-bit colours; transparency is dropped. They are
    turned as EXIF says, and never scaled: grey of 1, 2, 4 or 16 bits keeps its numbers. Pictures with a colour table
    give their table's numbers, or with `colour` the colours. Raises SignalError.
    """
    data, name = bytes_of(source)
    driver = gdal_driver(data)
    if driver is not None:
        return _of_raster(data, name, driver, colour)
    with opened_picture(data, name) as picture:
        _refuse_cut_bits(picture, name, data)
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
        numbers = [word for codec, words in _decoders(picture) if codec.startswith("ppm") for word in words]
        return next((number for number in numbers if isinstance(number, int)), 0)
    return 0


def _of_picture(picture: Image.Image, colour: bool) -> NDArray[Any]:
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    if picture.mode in ("LA", "La"):
        return np.asarray(picture.getchannel(0))
    as_stored = picture.mode in ("L", "F") or picture.mode.startswith("I") or (picture.mode == "P" and not colour)
    return np.asarray(picture if as_stored else picture.convert("RGB"))


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
    nodata = None if raster.valid is None else raster.nodata
    return StoredValues(turned(values, turn), None if valid is None else turned(valid, turn), nodata)

"""Pictures of every depth and declaration show what their file says: colours, data and gaps, the right way up."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rasterio.enums import ColorInterp

from earthtone.errors import SignalError
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import (
    Picture,
    kept_remarks,
    picture_header,
    read_picture,
    read_stored_values,
    stored_tile,
)
from earthtone.signal.raster import MAX_BYTES, MAX_PIXELS, turned
from earthtone.signal.remarks import (
    BANDS_LEFT_OUT,
    BLANK,
    OUTSIDE_VALUE_RANGE,
    PARTLY_EMPTY,
    SMALL_FOOTPRINT,
    STRETCHED,
    TURNED,
)


def read_image(source: Path | bytes, bands: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    return read_picture(source, ImageConfig(bands=bands)).pixels


def stored(source: Path | bytes, colour: bool = False) -> NDArray[Any]:
    return read_stored_values(source, colour).values


pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
CONFIG = ImageConfig()
RNG = np.random.default_rng(0)
RED, GREEN, BLUE, ALPHA, GREY, NONE = (
    ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha, ColorInterp.gray, ColorInterp.undefined,
)  # fmt: skip


def raster(
    values: NDArray[Any], meanings: list[ColorInterp] | None = None, driver: str = "GTiff", **options: Any
) -> bytes:
    """A file of (bands, height, width)."""
    profile = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver=driver, **profile, **options) as file:
            if meanings:
                file.colorinterp = meanings
            file.write(values)
        return bytes(memory.read())


def png(values: NDArray[Any], bits: int = 16, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of (height, width, channels), 1 to 4 of them, with more chunks before the data."""
    height, width, channels = values.shape
    if bits < 8:
        shifts = bits * np.arange(8 // bits)[::-1]
        rows = (values.reshape(height, -1, 8 // bits).astype(int) << shifts).sum(-1).astype(np.uint8)
    else:
        rows = values.astype(">u2" if bits == 16 else np.uint8).reshape(height, -1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), *more, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def kinds(picture: Picture) -> list[str]:
    return [remark.kind for remark in picture.remarks]


DEEP = (np.cumsum(RNG.integers(0, 9, (3, 40, 56)), axis=2) * 7 + 300).astype(np.uint16)  # 300 to about 2,000
AS_TIFF = read_image(raster(DEEP))


# --- more than 8 bits


def ppm(values: NDArray[np.uint16], most: int) -> bytes:
    height, width = values.shape[1:]
    return b"P6\n# by hand\n%d %d\n%d\n" % (width, height, most) + np.moveaxis(values, 0, -1).astype(">u2").tobytes()


def avif(values: NDArray[np.uint16]) -> bytes:
    done, data = cv2.imencode(
        ".avif", np.moveaxis(values, 0, -1)[..., ::-1], [cv2.IMWRITE_AVIF_DEPTH, 12, cv2.IMWRITE_AVIF_QUALITY, 100]
    )
    assert done
    return data.tobytes()


LOSSLESS = {"QUALITY": "100", "REVERSIBLE": "YES"}


@pytest.mark.parametrize(
    "data",
    [
        png(np.moveaxis(DEEP, 0, -1)),
        png(np.dstack([*DEEP, np.full(DEEP.shape[1:], 65535)])),
        raster(DEEP, driver="JP2OpenJPEG", NBITS=12, **LOSSLESS),
        raster(DEEP, driver="JP2OpenJPEG", **LOSSLESS),
        raster(DEEP, driver="JP2OpenJPEG", CODEC="J2K", **LOSSLESS),
        ppm(DEEP, 4095),
        ppm(DEEP, 65535),
        raster(DEEP[::-1], [BLUE, GREEN, RED]),
        raster(DEEP.astype(np.float64)),
        raster(DEEP.astype(np.int32)),
    ],
    ids=["png", "png-alpha", "jp2-12", "jp2-16", "j2k", "ppm-12", "ppm-16", "bgr", "float", "int"],
)
def test_deep_colours_show_what_a_tiff_of_the_same_numbers_shows(data: bytes) -> None:
    found = read_picture(data, CONFIG)
    np.testing.assert_array_equal(found.pixels, AS_TIFF)
    assert kinds(found) == [STRETCHED]


def test_deep_grey_with_alpha_and_without() -> None:
    expected = read_image(raster(DEEP[:1]))
    opaque = np.full(DEEP.shape[1:], 65535)
    for data in (
        png(DEEP[0][..., None]),
        png(np.dstack([DEEP[0], opaque])),
        raster(DEEP[:1], driver="JP2OpenJPEG", **LOSSLESS),
    ):
        np.testing.assert_array_equal(read_image(data), expected)
    with pytest.raises(SignalError, match=r"2 bands .*grey with alpha expected.*signal.image.bands: \[1, 2, 2\]"):
        read_image(raster(DEEP[:2], driver="JP2OpenJPEG"))


def test_deep_avif() -> None:
    found = read_picture(avif(DEEP), CONFIG)
    assert kinds(found) == [STRETCHED] and np.abs(found.pixels.astype(int) - AS_TIFF).mean() < 6
    assert kinds(read_picture(saved(Image.fromarray(AS_TIFF), "AVIF"), CONFIG)) == []


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(AS_TIFF), "SGI", bpc=2),
        b"P3\n2 1\n4095\n1 2 3 4 5 4000\n",
        struct.pack("<HHHBBBBHHII", 0, 1, 1, 56, 40, 0, 0, 1, 48, 99, 22) + png(np.moveaxis(DEEP, 0, -1)),  # an icon
    ],
)
def test_deep_colours_that_nothing_reads_are_refused(data: bytes) -> None:
    with pytest.raises(SignalError, match=r"more than 8 bits a channel.*; write it as PNG or TIFF"):
        read_image(data)
    with pytest.raises(SignalError, match="more than 8 bits a channel"):
        stored(data)


@pytest.mark.parametrize(
    "data", [png(np.moveaxis(DEEP, 0, -1)), raster(DEEP, driver="JP2OpenJPEG", **LOSSLESS), ppm(DEEP, 4095)]
)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_broken_deep_pictures_are_one_line(data: bytes, share: float) -> None:
    said = set()
    for _ in range(2):
        with pytest.raises(SignalError, match="broken image") as error:
            read_image(data[: int(share * len(data))])
        said.add(str(error.value))
    assert len(said) == 1 and "\n" not in said.pop()


# --- a fixed range of values


def test_a_range_of_values_gives_equal_ground_equal_colours() -> None:
    config = ImageConfig(value_range=(0, 3000))
    bright = np.concatenate([DEEP, np.full_like(DEEP, 2900)], axis=1)
    found = read_picture(raster(DEEP), config)
    np.testing.assert_array_equal(found.pixels, read_picture(raster(bright), config).pixels[:40])
    expected = np.clip(np.rint(np.moveaxis(DEEP, 0, -1) * (255 / 3000)), 0, 255)
    np.testing.assert_allclose(found.pixels, expected, atol=1)
    assert kinds(found) == []
    np.testing.assert_array_equal(read_picture(png(np.moveaxis(DEEP, 0, -1)), config).pixels, found.pixels)


def test_a_range_for_each_colour() -> None:
    ranges = ((300.0, 1300.0), (0.0, 2000.0), (500.0, 2500.0))
    found = read_picture(raster(DEEP), ImageConfig(value_range=ranges)).pixels
    for band, (low, high) in enumerate(ranges):
        expected = np.clip((DEEP[band].astype(float) - low) * 255 / (high - low), 0, 255)
        np.testing.assert_allclose(found[..., band], expected, atol=1)


def test_a_range_leaves_eight_bits_alone_and_says_where_it_does_not_fit() -> None:
    config = ImageConfig(value_range=(0, 3000))
    shallow = RNG.integers(0, 256, (3, 8, 8), np.uint8)
    np.testing.assert_array_equal(read_picture(raster(shallow), config).pixels, np.moveaxis(shallow, 0, -1))
    found = read_picture(raster(RNG.random((3, 8, 8), np.float32)), config)  # reflectances as shares of 1
    assert kinds(found)[0] == OUTSIDE_VALUE_RANGE and "100 % of the values" in found.remarks[0].detail


# --- which band is which


TRUE = np.stack([np.full((8, 8), value, np.uint8) for value in (200, 120, 30)])
NEAR = np.full((1, 8, 8), 77, np.uint8)


@pytest.mark.parametrize(
    ("values", "meanings", "left_out"),
    [
        (TRUE[[2, 1, 0]], [BLUE, GREEN, RED], 0),
        (np.concatenate([TRUE[[2, 1, 0]], NEAR]), [BLUE, GREEN, RED, NONE], 1),
        (np.concatenate([NEAR, TRUE]), [ColorInterp.nir, RED, GREEN, BLUE], 1),
        (np.concatenate([NEAR, NEAR, TRUE[[1, 0, 2]], NEAR]), [NONE, NONE, GREEN, RED, BLUE, NONE], 3),
        (np.concatenate([NEAR * 0 + 255, TRUE]), [ALPHA, RED, GREEN, BLUE], 0),
        (TRUE, [GREY, NONE, NONE], 0),
        (np.concatenate([TRUE, NEAR]), [GREY, NONE, NONE, NONE], 1),
    ],
)
def test_declared_colours_are_found(values: NDArray[Any], meanings: list[ColorInterp], left_out: int) -> None:
    found = read_picture(raster(values, meanings), CONFIG)
    assert found.pixels[3, 3].tolist() == [200, 120, 30]
    assert [kind for kind in kinds(found) if kind != BLANK] == [BANDS_LEFT_OUT] * (left_out > 0)
    assert read_image(raster(values, meanings), bands=(1, 1, 2))[0, 0].tolist() == values[[0, 0, 1], 0, 0].tolist()


@pytest.mark.parametrize(
    "meanings",
    [
        [ColorInterp.nir, RED, GREEN],
        [RED, RED, BLUE],
        [NONE, GREEN, RED],
        [ColorInterp.Y, ColorInterp.Cb, ColorInterp.Cr],
    ],
)
def test_colours_that_are_not_all_there_are_refused(meanings: list[ColorInterp]) -> None:
    data = raster(TRUE, meanings)
    with pytest.raises(SignalError, match=r"bands declared as .*; red, green and blue expected once each"):
        read_image(data)
    assert read_image(data, bands=(3, 2, 1))[0, 0].tolist() == [30, 120, 200]


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_numbers_are_refused(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "sar.tif"
    path.write_bytes(raster(np.ones((3, 8, 8), dtype)))
    for bands in (None, (1, 2, 3)):
        with pytest.raises(SignalError, match=r"sar.tif: complex numbers .*amplitudes"):
            read_image(path, bands)


@pytest.mark.parametrize(("dtype", "options"), [(np.uint8, {}), (np.uint8, {"nbits": 4}), (np.uint16, {})])
def test_white_is_zero(dtype: type, options: dict[str, int]) -> None:
    ramp = np.tile(np.arange(16, dtype=dtype), (1, 16, 1))
    found = read_image(raster(ramp, photometric="MINISWHITE", **options)).astype(int)
    plain = read_image(raster(ramp, **options)).astype(int)
    np.testing.assert_array_equal(found, 255 - plain)
    assert np.array_equal(stored(raster(ramp, photometric="MINISWHITE", **options)), ramp[0])


def test_tiffs_of_other_colour_spaces() -> None:
    picture = Image.fromarray(np.full((16, 16, 3), (200, 120, 30), np.uint8))
    for mode in ("YCbCr", "CMYK"):
        found = read_image(saved(picture.convert(mode), "TIFF"))
        assert np.abs(found.astype(int) - (200, 120, 30)).max() < 4


def test_few_bits_are_scaled_by_what_they_can_hold() -> None:
    few = np.zeros((1, 16, 16), np.uint8) + 14
    few[0, 0, 0] = 1  # nearly one value: a stretch would make it black
    found = read_image(raster(few, nbits=4))
    assert found[5, 5].tolist() == [238] * 3 and found[0, 0].tolist() == [17] * 3


# --- no data


def gap(dtype: type, fill: float, high: float) -> NDArray[Any]:
    values = RNG.uniform(0.1 * high, high, (3, 20, 20)).astype(dtype)
    values[:, :5] = fill
    return values


@pytest.mark.parametrize(
    ("values", "nodata"),
    [
        (gap(np.uint8, 0, 200), 0),
        (gap(np.uint8, 255, 200), 255),
        (gap(np.uint8, 7, 200), 7),
        (gap(np.uint16, 0, 4000), 0),
        (gap(np.uint16, 65535, 4000), 65535),
        (gap(np.int16, -9999, 4000), -9999),
        (gap(np.float32, np.nan, 1), np.nan),
        (gap(np.float32, np.nan, 1), None),
        (gap(np.float32, -3.4e38, 1), np.float32(-3.4e38)),
    ],
)
def test_a_gap_is_black_however_it_is_coded(values: NDArray[Any], nodata: float | None) -> None:
    if values.dtype == np.uint8:
        values[:, 5:][values[:, 5:] == nodata] -= 1
    for config in (CONFIG, ImageConfig(value_range=(0, float(np.nanmax(values[:, 5:]))))):
        found = read_picture(raster(values, nodata=nodata), config)
        assert not found.pixels[:5].any() and found.pixels[5:].mean() > 60
        detail = next(remark.detail for remark in found.remarks if remark.kind == PARTLY_EMPTY)
        assert detail.startswith("25 % of the pixels")
        assert found.empty is not None and found.empty[:5].all() and not found.empty[5:].any()


def test_a_value_that_is_no_data_in_one_band_only_stays_a_colour() -> None:
    values = np.tile(np.array([255, 0, 0], np.uint8)[:, None, None], (1, 6, 6))
    values[:, 0] = 0
    assert read_image(raster(values, nodata=0))[3, 3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("fill", [0, 128, 255])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "deep", "palette", "mask"])
def test_what_is_transparent_is_black(format: str, fill: int) -> None:
    colours = RNG.integers(60, 200, (16, 16, 3), np.uint8)
    colours[:4] = fill
    alpha = np.full((16, 16, 1), 255, np.uint8)
    alpha[:4] = 0
    whole = Image.fromarray(np.dstack([colours, alpha]))
    if format == "deep":
        data = png(np.dstack([colours, alpha]).astype(np.uint16) * 257)
    elif format == "palette":
        index = Image.fromarray(np.where(alpha[..., 0] == 0, 1, 0).astype(np.uint8), "P")
        index.putpalette([90, 90, 90, fill, fill, fill])
        data = saved(index, "PNG", transparency=1)
    elif format == "mask":
        with rasterio.MemoryFile() as memory, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with memory.open(driver="GTiff", count=3, height=16, width=16, dtype="uint8") as file:
                file.write(np.moveaxis(colours, -1, 0))
                file.write_mask(alpha[..., 0])
            data = bytes(memory.read())
    else:
        data = saved(whole, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    found = read_picture(data, CONFIG)
    assert not found.pixels[:4].any() and found.pixels[4:].mean() > 20
    assert PARTLY_EMPTY in kinds(found)


def test_a_wholly_transparent_picture_is_refused() -> None:
    with pytest.raises(SignalError, match="no data in any of its 9 x 5 pixels"):
        read_image(saved(Image.new("RGBA", (9, 5), (200, 10, 10, 0)), "PNG"))


def test_near_infrared_in_the_place_of_alpha_hides_nothing() -> None:
    colours = RNG.integers(1, 256, (16, 16, 4), np.uint8)
    colours[:2, :, 3] = 0  # water
    for data in (saved(Image.fromarray(colours), "PNG"), raster(np.moveaxis(colours, -1, 0))):
        found = read_picture(data, CONFIG)
        np.testing.assert_array_equal(found.pixels, colours[..., :3])
        assert kinds(found) == []


def test_a_tile_cut_from_the_gap_of_a_picture_is_refused() -> None:
    values = np.full((3, 40, 40), 90, np.uint8)
    values[0, 0] += 1
    values[:, 10:30, 10:30] = 0
    picture = read_picture(raster(values, nodata=0), CONFIG)
    assert kept_remarks(picture, ImageConfig(footprint_m=400), gsd_m=10) == []
    with pytest.raises(SignalError, match="no data in the 20 x 20 pixels at its centre"):
        kept_remarks(picture, ImageConfig(footprint_m=200), gsd_m=10)


@pytest.mark.parametrize(("gsd_m", "small"), [(10.0, False), (9.99, False), (8.0, True), (25.0, False)])
def test_a_picture_smaller_than_the_footprint_is_told(gsd_m: float, small: bool) -> None:
    picture = Picture(RNG.integers(0, 255, (40, 50, 3), np.uint8))
    config = ImageConfig(footprint_m=400.0)
    found = kept_remarks(picture, config, gsd_m)
    assert [remark.kind for remark in found] == [SMALL_FOOTPRINT] * small
    if small:
        assert "320 m a side" in found[0].detail and "400 expected" in found[0].detail
    stored_tile(picture.pixels, config, gsd_m)


def test_one_colour_is_told() -> None:
    assert kinds(read_picture(saved(Image.new("RGB", (9, 9)), "JPEG"), CONFIG)) == [BLANK]
    assert kinds(read_picture(raster(np.zeros((3, 9, 9), np.uint16)), CONFIG)) == [STRETCHED, BLANK]


# --- the right way up


UPRIGHT = np.zeros((24, 40, 3), np.uint8) + 40
UPRIGHT[:8, :16] = (250, 200, 160)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[274] = orientation
    return found


def on_its_side(format: str, orientation: int) -> bytes:
    """UPRIGHT as a camera stores it that is held as `orientation` says."""
    back = {6: 8, 8: 6}.get(orientation, orientation)
    stored = Image.fromarray(np.ascontiguousarray(turned(UPRIGHT, back)))
    if format == "deep":
        block = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
        return png(np.asarray(stored).astype(np.uint16) * 257, 16, (b"eXIf", block))
    return saved(stored, format, exif=exif(orientation), **({"quality": 95} if format == "JPEG" else {}))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "deep"])
def test_every_orientation_is_shown_upright(format: str, orientation: int) -> None:
    data = on_its_side(format, orientation)
    found = read_picture(data, ImageConfig(value_range=(0, 65535)))
    assert found.pixels.shape == UPRIGHT.shape
    assert np.abs(found.pixels.astype(int) - UPRIGHT).mean() < 6
    assert (TURNED in kinds(found)) == (orientation > 1)
    assert picture_header(data)[:2] == (40, 24)
    if format == "PNG":
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(found.pixels, np.asarray(ImageOps.exif_transpose(image)))
    if format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(stored(data), UPRIGHT)


def test_orientation_in_tiffs_of_other_builds() -> None:
    deep = UPRIGHT[..., 0].astype(">u2") * 200
    swapped = Image.frombytes("I;16B", (40, 24), deep.tobytes())
    for magic, data in (
        (b"MM\0*", saved(swapped, "TIFF", exif=exif(3))),
        (b"II+\0", saved(Image.fromarray(UPRIGHT), "TIFF", exif=exif(3), big_tiff=True)),
    ):
        found = read_picture(data, CONFIG).pixels
        assert data.startswith(magic) and found[-1, -1, 0] > 200 > found[0, 0, 0]


def test_a_draft_is_turned_too() -> None:
    large = Image.fromarray(UPRIGHT).resize((400, 240)).transpose(Image.Transpose.ROTATE_90)
    found = read_picture(saved(large, "JPEG", exif=exif(6)), CONFIG, min_side=30)
    assert found.pixels.shape == (30, 50, 3) and found.shrunk == 8 and found.pixels[2, 2, 0] > 200


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_exif_block_costs_nothing() -> None:
    data = saved(Image.fromarray(UPRIGHT), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=95)
    assert kinds(read_picture(data, CONFIG)) == []
    assert kinds(read_picture(saved(Image.fromarray(UPRIGHT), "PNG", exif=exif(99)), CONFIG)) == []


def test_a_georeferenced_tiff_that_is_to_be_turned_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(saved(Image.fromarray(UPRIGHT), "TIFF", exif=exif(6)))
    with rasterio.open(path, "r+") as file:
        file.crs, file.transform = "EPSG:32633", rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)
    if b"\x01\x12\x00\x03" not in path.read_bytes() and b"\x12\x01\x03\x00" not in path.read_bytes():
        pytest.skip("GDAL drops the orientation when it rewrites the directory")
    with pytest.raises(SignalError, match="georeferenced, and to be turned"):
        read_image(path)


# --- limits


def sparse(dtype: str, side: int, count: int = 3, **options: Any) -> bytes:
    profile = {"driver": "GTiff", "count": count, "height": side, "width": side, "dtype": dtype, "sparse_ok": True}
    with rasterio.MemoryFile() as memory:
        memory.open(**profile, tiled=True, **options).close()
        return bytes(memory.read())


BOMBS = {
    "float64": sparse("float64", 8000),
    "uint16": sparse("uint16", 9000),
    "one block": sparse("float32", 1024, count=3000, interleave="pixel", blockxsize=1024, blockysize=1024),
    "png": png(np.zeros((1, 1, 3), np.uint16)).replace(struct.pack(">II", 1, 1), struct.pack(">II", 8000, 8000)),
    "grey png": png(np.zeros((1, 1, 1), np.uint16)).replace(struct.pack(">II", 1, 1), struct.pack(">II", 40000, 8000)),
    "ppm": b"P6 8000 8000 65535\n" + bytes(100),
    "tiff": sparse("uint8", 9600),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_large_pictures_are_refused_alike_by_header_and_reading(kind: str) -> None:
    said = []
    tracemalloc.start()
    for read in (picture_header, lambda data: read_picture(data, CONFIG), read_stored_values):
        with pytest.raises(SignalError) as error:
            read(BOMBS[kind])
        said.append(str(error.value))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20 and ("cut it into tiles first" in said[0] or "broken image" in said[0])
    if kind != "one block":
        assert said[0] == said[1]


def test_the_limits_are_one() -> None:
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS and MAX_PIXELS * 3 <= MAX_BYTES < (MAX_PIXELS + 1) * 3


def test_the_header_tells_what_reading_finds() -> None:
    for data in (saved(Image.fromarray(UPRIGHT), "JPEG"), png(np.moveaxis(DEEP, 0, -1)), raster(DEEP)):
        pixels = read_image(data)
        assert picture_header(data)[:2] == (pixels.shape[1], pixels.shape[0])
    assert (
        picture_header(raster(DEEP))[2] == "3 bands uint16" and picture_header(raster(DEEP[:1]))[2] == "1 band uint16"
    )
    with pytest.raises(SignalError, match="not an image"):
        picture_header(b"a text")


@pytest.mark.slow
def test_large_deep_pictures_are_scaled_in_parts() -> None:
    values = np.random.default_rng(1).integers(0, 4000, (1, 4000, 5000), np.uint16)  # 20 million numbers
    data = raster(values)
    tracemalloc.start()
    found = read_image(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 14 * values.size
    expected = np.clip((values[0].astype(np.float32) - 80) * (255 / (3919 - 80)), 0, 255)
    np.testing.assert_allclose(found[..., 1], expected, atol=1.5)


# --- masks


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_masks_keep_their_numbers(bits: int) -> None:
    values = (np.arange(16 * 16).reshape(16, 16) % min(2**bits, 5000)).astype(np.uint16)
    np.testing.assert_array_equal(stored(png(values[..., None], bits)), values)
    np.testing.assert_array_equal(stored(raster(values[None], nbits=bits) if bits == 16 else raster(
        values[None].astype(np.uint8), nbits=bits)), values)  # fmt: skip


@pytest.mark.parametrize("most", [3, 15, 255, 4095])
def test_pgm_masks_keep_their_numbers(most: int) -> None:
    values = np.arange(12) % (most + 1)
    plain = b"P2\n4 3\n%d\n%s\n" % (most, b" ".join(b"%d" % value for value in values))
    binary = b"P5\n4 3\n%d\n" % most + values.astype(">u2" if most > 255 else np.uint8).tobytes()
    for data in (binary, plain) if most < 256 else (binary,):
        assert stored(data).ravel().tolist() == values.tolist()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_masks_with_a_colour_table_of_any_depth(bits: int) -> None:
    values = (np.arange(64).reshape(8, 8) % 2**bits).astype(np.uint8)
    image = Image.fromarray(values, "P")
    image.putpalette([value for n in range(2**bits) for value in (n, 255 - n, 7)])
    data = saved(image, "PNG", bits=bits)
    assert data[24] == bits
    np.testing.assert_array_equal(stored(data), values)
    assert stored(data, colour=True)[0, 1].tolist() == [1, 254, 7]


@pytest.mark.parametrize(("nodata", "dtype"), [(0, np.uint8), (255, np.uint8), (-1, np.int16), (np.nan, np.float32)])
def test_no_data_in_a_mask_is_told(nodata: float, dtype: type) -> None:
    values = np.ones((1, 4, 4), dtype)
    values[0, 0] = nodata
    found = read_stored_values(raster(values, nodata=nodata))
    assert found.valid is not None and not found.valid[0].any() and found.valid[1:].all()
    assert np.isnan(found.nodata or 0) if np.isnan(nodata) else found.nodata == nodata
    assert read_stored_values(raster(np.ones((1, 4, 4), np.uint8)))[1:] == (None, None)


def test_a_mask_in_colour_heeds_its_declared_bands() -> None:
    assert stored(raster(TRUE[::-1], [BLUE, GREEN, RED]))[0, 0].tolist() == [200, 120, 30]
    for bands in (2, 5):
        with pytest.raises(SignalError, match=f"{bands} bands; a mask of one band"):
            read_stored_values(raster(np.zeros((bands, 4, 4), np.uint8), [NONE] * bands))

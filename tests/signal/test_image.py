"""Every kind of picture becomes the RGB it shows, every broken one is named, and a warp does what it says."""

import io
import math
import re
import struct
import threading
import tracemalloc
import warnings
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from earthtone.errors import ConfigError, SignalError
from earthtone.signal.config import ImageConfig, SignalConfig, check_signal_config
from earthtone.signal.image import (
    decode_tile,
    encode_tile,
    image_hash,
    read_grey,
    read_picture,
    resized,
    seen,
    stored_tile,
    warped,
)


def read_image(source: Path | bytes, bands: tuple[int, int, int] | None = None) -> NDArray[np.uint8]:
    return read_picture(source, ImageConfig(bands=bands)).pixels


Pixels = NDArray[np.uint8]
PLACE = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}


def smooth(height: int = 48, width: int = 60) -> Pixels:
    """A picture without hard edges, so that lossy formats stay near it."""
    y, x = np.mgrid[0:height, 0:width]
    parts = [127 + 100 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(3)]
    return np.stack(parts, axis=-1).astype(np.uint8)


def saved(picture: Image.Image | NDArray[Any], format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(out, format, **options)
    return out.getvalue()


def geotiff(values: NDArray[Any], **options: Any) -> bytes:
    """A GeoTIFF of (bands, height, width)."""
    profile = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", **profile, **PLACE, **options) as file:
            file.write(values)
        return bytes(memory.read())


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "TGA", "PCX"])
def test_formats_that_keep_the_pixels(tmp_path: Path, format: str) -> None:
    path = tmp_path / "picture"  # known by its content, not by its suffix
    path.write_bytes(saved(smooth(), format))
    np.testing.assert_array_equal(read_image(path), smooth())
    np.testing.assert_array_equal(read_image(path.read_bytes()), smooth())


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"quality": 95}),
        ("JPEG2000", {}),
        ("GIF", {}),
    ],
)
def test_formats_that_lose_a_little(format: str, options: dict[str, Any]) -> None:
    picture = Image.fromarray(smooth()).convert("P", palette=Image.Palette.ADAPTIVE) if format == "GIF" else smooth()
    found = read_image(saved(picture, format, **options))
    assert found.shape == (48, 60, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - smooth()).mean() < 6


GREY = Image.fromarray(smooth()[..., 0])
COLOUR = Image.fromarray(smooth())


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_pngs_become_rgb(mode: str) -> None:
    picture = GREY.convert(mode)
    found = read_image(saved(picture, "PNG"))
    np.testing.assert_array_equal(found, np.repeat(np.asarray(picture.convert("L"))[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "P", "PA"])
def test_transparency_is_dropped_and_palettes_resolved(mode: str) -> None:
    if mode == "RGBA":
        picture = COLOUR.copy()
        picture.putalpha(GREY)
        expected = smooth()
    else:
        picture = COLOUR.convert("P", palette=Image.Palette.ADAPTIVE)
        expected = np.array(picture.convert("RGB"))
    options = {"transparency": 3} if mode == "PA" else {}
    if mode == "PA":
        expected[np.asarray(picture) == 3] = 0  # nothing is seen there, whatever its colour
    np.testing.assert_array_equal(read_image(saved(picture, "PNG", **options)), expected)


def test_sixteen_bit_grey_is_stretched() -> None:
    deep = (3000 + np.linspace(0, 500, 48 * 60)).reshape(48, 60).astype(np.uint16)
    found = read_image(saved(deep, "PNG"))
    low, high = np.percentile(deep, (2, 98))
    expected = np.clip(np.rint((deep - low) * 255 / (high - low)), 0, 255)
    np.testing.assert_allclose(found, np.repeat(expected[..., None], 3, axis=2), atol=1)


def test_cmyk_jpeg() -> None:
    found = read_image(saved(COLOUR.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - smooth()).mean() < 3


def test_the_first_picture_of_an_animation() -> None:
    data = saved(GREY, "GIF", save_all=True, append_images=[GREY.point(lambda value: 255 - value)])
    np.testing.assert_array_equal(read_image(data)[..., 0], smooth()[..., 0])


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_geotiffs_of_eight_bits_are_taken_as_they_are(bands: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (bands, 20, 30), np.uint8)
    found = read_image(geotiff(values))
    expected = np.repeat(values, 3, axis=0) if bands == 1 else values[:3]
    np.testing.assert_array_equal(found, np.moveaxis(expected, 0, -1))


@pytest.mark.parametrize("kind", ["1", "P"])
def test_tiffs_of_few_colours(kind: str) -> None:
    picture = GREY.convert("1") if kind == "1" else COLOUR.convert("P", palette=Image.Palette.ADAPTIVE)
    np.testing.assert_array_equal(read_image(saved(picture, "TIFF")), np.asarray(picture.convert("RGB")))


def test_deep_geotiffs_are_stretched_over_what_is_valid() -> None:
    values = np.random.default_rng(0).integers(400, 3000, (3, 40, 40)).astype(np.uint16)
    values[:, :10] = 0  # no data: a quarter of the scene must not be the black point
    found = read_image(geotiff(values, nodata=0))
    low, high = np.percentile(values[:, 10:], (2, 98))
    expected = np.clip((values[:, 10:].astype(float) - low) * 255 / (high - low), 0, 255)
    np.testing.assert_allclose(found[10:], np.moveaxis(expected, 0, -1), atol=1)
    assert not found[:10].any()


def test_floating_point_geotiff_with_gaps() -> None:
    values = np.linspace(-1, 1, 3 * 400).reshape(3, 20, 20).astype(np.float32)
    values[:, 3, 4] = np.nan
    values[:, 5, 6] = np.inf
    found = read_image(geotiff(values, nodata=np.nan))
    assert found.min() == 0 and found.max() == 255 and not found[3, 4].any()


@pytest.mark.parametrize(("fill", "dtype"), [(0, np.uint8), (65535, np.uint16), (np.nan, np.float32)])
def test_a_scene_without_valid_pixels_is_refused(fill: float, dtype: type) -> None:
    with pytest.raises(SignalError, match="no data in any of its 8 x 6 pixels"):
        read_image(geotiff(np.full((3, 6, 8), fill, dtype), nodata=fill))


def test_multispectral_needs_a_choice(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (12, 16, 16), np.uint8)
    path = tmp_path / "scene.tif"
    path.write_bytes(geotiff(values))
    with pytest.raises(
        SignalError,
        match=r"scene.tif: 12 bands; choose three, such as signal.image.bands: \[4, 3, 2\].* -b 4 -b 3 -b 2",
    ):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, bands=(4, 3, 2)), np.moveaxis(values[[3, 2, 1]], 0, -1))
    with pytest.raises(SignalError, match=r"bands \(4, 3, 13\) asked for, the file has 1 to 12"):
        read_image(path, bands=(4, 3, 13))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims any size in a few bytes."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99)))]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)  # fmt: skip


@pytest.mark.parametrize(("width", "height"), [(40_000, 40_000), (10_000, 10_000)])
def test_a_decompression_bomb_is_refused_unopened(width: int, height: int) -> None:
    tracemalloc.start()
    with pytest.raises(SignalError, match="decompression bomb"):
        read_image(png_header(width, height))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_a_scene_too_large_is_refused_unread() -> None:
    options = {"driver": "GTiff", "count": 1, "height": 20_000, "width": 20_000, "dtype": "uint8", "sparse_ok": True}
    with rasterio.MemoryFile() as memory:
        memory.open(**options, **PLACE, tiled=True).close()
        with pytest.raises(SignalError, match="20000 x 20000 pixels; cut it into tiles first"):
            read_image(bytes(memory.read()))


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "zero bytes"),
        (b"this is a text", "not an image"),
        (saved(NOISE, "JPEG")[:1500], "broken image"),
        (saved(NOISE, "PNG")[:1500], "broken image"),
        (saved(NOISE, "WEBP")[:1500], "broken image|not an image"),
        (geotiff(np.moveaxis(NOISE, -1, 0))[:4000], "broken TIFF"),
        (b"II*\0" + bytes(60), "broken TIFF"),
    ],
)
def test_broken_pictures_are_named_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(SignalError, match=f"{re.escape(str(path))}: .*({message}).*expected") as error:
        read_image(path)
    assert "\n" not in str(error.value)


def test_a_missing_picture(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match=r"none.png: No such file or directory; an image was expected"):
        read_image(tmp_path / "none.png")


Image.init()
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "TGA", "ICO", "AVIF", "DDS", "SGI")
WHOLE = [saved(smooth(), format) for format in FORMATS if format in Image.SAVE]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from(WHOLE),
    cut=st.floats(0.01, 1),
    changes=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own remarks on some of them
def test_whatever_is_broken_is_a_signal_error(data: bytes, cut: float, changes: list[tuple[int, int]]) -> None:
    broken = bytearray(data)
    for place, value in changes:
        broken[place] = value
    try:
        found = read_image(bytes(broken[: max(1, int(cut * len(broken)))]))
    except SignalError as error:
        assert "\n" not in str(error)
    else:
        assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3


def test_reading_in_threads_leaves_the_warning_filters_alone() -> None:
    before = list(warnings.filters)
    pictures = [saved(smooth(), "PNG"), geotiff(np.moveaxis(smooth(), -1, 0))]
    threads = [
        threading.Thread(target=lambda data=data: [read_image(data) for _ in range(40)]) for data in pictures * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


@pytest.mark.parametrize("side", [1200, 900, 601])
@pytest.mark.parametrize("min_side", [64, 150, 288, 600, 2000])
def test_jpegs_are_never_decoded_below_what_is_needed(side: int, min_side: int) -> None:
    whole = np.asarray(Image.fromarray(smooth()).resize((side + 50, side)))
    found = read_picture(saved(whole, "JPEG", quality=90), min_side=min_side).pixels
    assert min(found.shape[:2]) >= min(min_side, side)
    assert min(found.shape[:2]) < max(2 * min_side + 2, side + 1)
    there = np.asarray(Image.fromarray(found).resize((60, 48), Image.Resampling.BOX)).astype(int)
    assert np.abs(there - smooth()).mean() < 4


def test_equal_pictures_have_equal_hashes() -> None:
    assert image_hash(smooth()) == image_hash(smooth().copy())
    assert len(image_hash(smooth())) == 32
    assert image_hash(smooth()) != image_hash(np.ascontiguousarray(smooth()[:, ::-1]))
    assert image_hash(np.zeros((4, 6, 3), np.uint8)) != image_hash(np.zeros((6, 4, 3), np.uint8))


def test_grey_values_of_a_picture() -> None:
    np.testing.assert_array_equal(read_grey(saved(GREY, "PNG")), smooth()[..., 0])


@pytest.mark.parametrize(("height", "width"), [(40, 70), (70, 40), (41, 40), (40, 40)])
def test_the_stored_tile_is_the_centre(height: int, width: int) -> None:
    picture = smooth(height, width)
    found = stored_tile(picture, ImageConfig(pixels=32, stored_pixels=40))
    top, left = (height - 40) // 2, (width - 40) // 2
    np.testing.assert_array_equal(found, picture[top : top + 40, left : left + 40])


def test_large_tiles_shrink_and_small_ones_stay() -> None:
    config = ImageConfig(pixels=32, stored_pixels=40)
    assert stored_tile(smooth(200, 300), config).shape == (40, 40, 3)
    assert stored_tile(smooth(20, 30), config).shape == (20, 20, 3)
    halved = stored_tile(smooth(80, 80), config)
    np.testing.assert_allclose(halved, smooth(80, 80).reshape(40, 2, 40, 2, 3).mean(axis=(1, 3)), atol=1)


@pytest.mark.parametrize(("gsd_m", "side"), [(10.0, 32), (5.0, 64), (1.0, 100), (1000.0, 1)])
def test_a_footprint_in_metres(gsd_m: float, side: int) -> None:
    picture = smooth(100, 120)
    found = stored_tile(picture, ImageConfig(footprint_m=320.0), gsd_m)
    assert found.shape == (side, side, 3)
    top, left = (100 - side) // 2, (120 - side) // 2
    np.testing.assert_array_equal(found, picture[top : top + side, left : left + side])


def test_a_footprint_needs_the_ground_sample_distance() -> None:
    with pytest.raises(SignalError, match="image_gsd_m is unknown"):
        stored_tile(smooth(), ImageConfig(footprint_m=320.0))


@pytest.mark.parametrize("gsd_m", [0.0, -1.0, 5e-324, 1e308, math.nan, math.inf])
@pytest.mark.parametrize("footprint_m", [None, 320.0])
def test_metres_a_pixel_that_no_image_has(gsd_m: float, footprint_m: float | None) -> None:
    with pytest.raises(SignalError, match=r"image_gsd_m is .*; 0.001 to 100,000 metres a pixel expected"):
        stored_tile(smooth(), ImageConfig(footprint_m=footprint_m), gsd_m)


def test_packed_tiles_stay_near_the_picture() -> None:
    tile = smooth(48, 48)
    found = decode_tile(encode_tile(tile, ImageConfig()))
    assert found.shape == tile.shape and np.abs(found.astype(int) - tile).max() <= 6
    np.testing.assert_array_equal(found, read_image(encode_tile(tile, ImageConfig())))  # an ordinary JPEG, in RGB
    assert len(encode_tile(NOISE, ImageConfig(jpeg_quality=30))) < len(encode_tile(NOISE, ImageConfig()))


def whole_view(tile: Pixels, *, degrees: float = 0.0, mirrored: bool = False) -> Pixels:
    return warped(tile, len(tile), area=1.0, centre=(0.5, 0.5), degrees=degrees, mirrored=mirrored)


@pytest.mark.parametrize("side", [32, 33])
def test_warps_by_right_angles_are_exact(side: int) -> None:
    tile = NOISE[:side, :side].copy()
    np.testing.assert_array_equal(whole_view(tile), tile)
    np.testing.assert_array_equal(whole_view(tile, mirrored=True), tile[:, ::-1])
    for quarter in (-1, 1, 2):  # counter-clockwise, as seen
        np.testing.assert_array_equal(whole_view(tile, degrees=90 * quarter), np.rot90(tile, quarter))
        turned = whole_view(tile, degrees=90 * quarter, mirrored=True)  # turned, then mirrored
        np.testing.assert_array_equal(turned, np.rot90(tile, quarter)[:, ::-1])


@pytest.mark.parametrize(("centre", "corner"), [((0.0, 0.0), (0, 0)), ((1.0, 0.0), (0, 32)), ((0.5, 1.0), (32, 16))])
def test_the_centre_moves_the_crop_within_its_room(centre: tuple[float, float], corner: tuple[int, int]) -> None:
    found = warped(NOISE, 32, area=0.25, centre=centre, degrees=0.0, mirrored=False)
    top, left = corner
    np.testing.assert_array_equal(found, NOISE[top : top + 32, left : left + 32])


@pytest.mark.parametrize(("ratio", "height", "width"), [(4.0, 16, 64), (0.25, 64, 16)])
def test_a_crop_of_another_ratio(ratio: float, height: int, width: int) -> None:
    found = warped(NOISE, 64, area=0.25, centre=(0.5, 0.5), degrees=0.0, mirrored=False, ratio=ratio)
    top, left = (64 - height) // 2, (64 - width) // 2
    part = NOISE[top : top + height, left : left + width]
    by_pillow = Image.fromarray(part).resize((64, 64), Image.Resampling.BILINEAR)
    inner = np.s_[4:-4, 4:-4]  # Pillow ends at the crop's edge, a warp looks beyond it
    np.testing.assert_allclose(found[inner].astype(int), np.asarray(by_pillow)[inner], atol=6)


STRAIGHT = np.arange(64.0)


@pytest.mark.parametrize("degrees", [0.0, 37.0, 90.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_straight_lines_bend_nothing(degrees: float, mirrored: bool) -> None:
    options = {"area": 0.6, "centre": (0.3, 0.9), "degrees": degrees, "mirrored": mirrored, "ratio": 1.2}
    bent = warped(NOISE, 64, **options, bends=(STRAIGHT, STRAIGHT))  # type: ignore[arg-type]
    straight = warped(NOISE, 64, **options)  # type: ignore[arg-type]
    difference = np.abs(bent.astype(int) - straight)  # both round places to 1/32 pixel, each in its own way
    assert difference.mean() < 2 and difference.max() < 30


def test_columns_and_rows_look_where_the_bends_say() -> None:
    columns, rows = STRAIGHT[::-1].copy(), np.minimum(STRAIGHT, 20)
    found = warped(NOISE, 64, area=1.0, centre=(0.5, 0.5), degrees=0.0, mirrored=False, bends=(columns, rows))
    np.testing.assert_array_equal(found, NOISE[np.minimum(np.arange(64), 20)][:, ::-1])


@settings(max_examples=40, deadline=None)
@given(
    area=st.floats(0.05, 1.0),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    degrees=st.floats(-180, 180),
    mirrored=st.booleans(),
    ratio=st.floats(0.5, 2.0),
    bent=st.booleans(),
)
def test_any_view_is_a_view_of_the_tile(
    area: float, x: float, y: float, degrees: float, mirrored: bool, ratio: float, bent: bool
) -> None:
    tile = np.full((40, 40, 3), 90, np.uint8)
    bends = (np.linspace(0, 23, 24) ** 1.1, np.linspace(0, 23, 24)) if bent else None
    found = warped(tile, 24, area=area, centre=(x, y), degrees=degrees, mirrored=mirrored, ratio=ratio, bends=bends)
    assert found.shape == (24, 24, 3) and (found == 90).all()  # beyond the edge its mirror image, never black


def test_resizing() -> None:
    assert resized(NOISE, 64) is NOISE
    np.testing.assert_allclose(resized(NOISE, 32), NOISE.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)), atol=1)
    assert resized(NOISE, 100).shape == (100, 100, 3)


@pytest.mark.parametrize(("pixels", "stored"), [(8, 40), (64, 40), (0, 0)])
def test_impossible_sizes_are_explained(pixels: int, stored: int) -> None:
    with pytest.raises(ConfigError, match=r"signal\.image\.pixels"):
        check_signal_config(SignalConfig(image=ImageConfig(pixels=pixels, stored_pixels=stored)))


def test_the_view_is_the_centre_of_the_tile() -> None:
    """512 stored pixels, the centre 384 seen at 192: halved, two by two."""
    tile = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    centre = tile[64:448, 64:448].reshape(192, 2, 192, 2, 3).mean(axis=(1, 3))
    found = seen(tile, ImageConfig(pixels=192, stored_pixels=512, view=0.75))
    assert found.shape == (192, 192, 3) and np.abs(found - centre).max() <= 0.5
    whole = ImageConfig(pixels=192, stored_pixels=512)
    np.testing.assert_array_equal(seen(tile, whole), resized(tile, 192))
    assert seen(tile[:9, :9], replace(whole, view=0.01)).shape == (192, 192, 3)

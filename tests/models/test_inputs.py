"""Files, bytes, arrays and tensors reach a model as the same uint8 that packing would store."""

import io
import warnings
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
import rasterio
import soundfile
import torch
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from earthtone.errors import SignalError
from earthtone.models.inputs import measured_tile, recording_windows
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig

CONFIG = ImageConfig(pixels=32, stored_pixels=40)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def write_geotiff(path: Path, values: np.ndarray) -> None:
    height, width, count = values.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", "GTiff", width=width, height=height, count=count, dtype=values.dtype, photometric="MINISBLACK"
        ) as file:
            file.write(values.transpose(2, 0, 1))


def tones(hz: int, seconds: float) -> np.ndarray:
    time = np.arange(int(hz * seconds)) / hz
    return np.stack([0.2 * np.sin(2000 * time), 0.1 * np.sin(5000 * time)], axis=1).astype(np.float32)


def test_a_picture_is_the_same_as_path_text_bytes_and_array(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise(50, 60, 3)).save(path)
    expected = measured_tile(noise(50, 60, 3), CONFIG)[0]
    assert expected.shape == (40, 40, 3) and expected.dtype == np.uint8
    for given in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(measured_tile(given, CONFIG)[0], expected)


def test_a_footprint_is_cut_from_the_whole_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(400, 400, 3)).resize((800, 800)).save(path, quality=95)
    config = ImageConfig(pixels=32, stored_pixels=40, footprint_m=60.0)
    found, side_m = measured_tile(path, config, gsd_m=2.0)
    assert found.shape == (30, 30, 3) and side_m == 60
    centre = np.asarray(Image.open(path))[385:415, 385:415]
    assert np.abs(found.astype(int) - centre).mean() < 6
    with pytest.raises(SignalError, match="image_gsd_m is unknown"):
        measured_tile(path, config)


@pytest.mark.parametrize(
    "array",
    [noise(40, 40, 4), noise(1, 40, 40, 3), noise(40, 40, 3) / np.float32(255), noise(40, 40, 3) > 9],
)
def test_other_arrays_are_no_pictures(array: Any) -> None:
    with pytest.raises(SignalError, match=r"image array .*; uint8 \(height, width, 3\) expected"):
        measured_tile(array, CONFIG)


def test_a_picture_is_the_same_as_tensor_of_pillow_and_as_dict(tmp_path: Path) -> None:
    pixels, path = noise(50, 60, 3), tmp_path / "a.png"
    expected = measured_tile(pixels, CONFIG)[0]
    Image.fromarray(pixels).save(path)
    tensor = torch.from_numpy(pixels)
    with Image.open(path) as opened:
        given = [
            opened, Image.fromarray(pixels), tensor, tensor.permute(2, 0, 1), pixels[:, ::-1][:, ::-1],
            {"bytes": path.read_bytes(), "path": None}, {"bytes": None, "path": str(path)},
            {"bytes": path.read_bytes(), "path": "elsewhere.png"}, bytearray(path.read_bytes()), PurePath(path),
        ]  # fmt: skip
        for image in given:
            np.testing.assert_array_equal(measured_tile(image, CONFIG)[0], expected)


def test_a_picture_of_pillows_is_read_as_its_file() -> None:
    deep = Image.fromarray(noise(50, 60).astype(np.uint16) * 9)
    out = io.BytesIO()
    deep.save(out, "PNG")
    np.testing.assert_array_equal(measured_tile(deep, CONFIG)[0], measured_tile(out.getvalue(), CONFIG)[0])
    turned = Image.fromarray(noise(50, 60, 3))
    turned.getexif()[274] = 6
    expected = measured_tile(np.rot90(noise(50, 60, 3), -1), CONFIG)[0]
    np.testing.assert_array_equal(measured_tile(turned, CONFIG)[0], expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (noise(40, 40, 40), r"image array uint8 \(40, 40, 40\); .* with fewer channels than pixels a side"),
        (noise(9, 40, 40, 3), "a batch of pictures is given as it is, not in a list"),
        (np.ma.masked_less(noise(40, 50, 3), 9), r"hidden pixels, .*: type image.filled\(0\)"),
        (noise(40, 50, 3) > 9, "image array bool"),
        (noise(40, 50, 3).astype(np.uint16), "since this model has no signal.image.value_range"),
        (noise(2, 40, 50), "has no signal.image.bands, which says which of 2 bands"),
        (noise(0, 40, 3), "image array"),
        (noise(40, 3), "as of one row of a picture"),
        (torch.rand(3, 40, 50), r"image tensor torch.float32 .*type \(image \* 255\).round\(\)"),
        (torch.zeros(4, 40, 50, dtype=torch.uint8), r"image tensor torch.uint8 \(4, 40, 50\).* which of 4 bands"),
        (torch.zeros(40, 50, 3, dtype=torch.int64), "image tensor torch.int64"),
        (torch.zeros(40, 50, 3, dtype=torch.uint8).to_sparse(), r"\(40, 50, 3\) is no array \(.*; uint8"),
        (torch.zeros(40, 50, 3, device="meta"), "is no array"),
        (torch.zeros(40, 50, 3, dtype=torch.complex64).conj(), "is no array"),
        ({"bytes": None, "path": None}, "image dict with an empty bytes and path; 'bytes' or 'path' expected"),
        ({"image": 3}, r"image dict with the keys .*; of a row, give row\[.image.\]"),
        (None, "image of type NoneType"),
        ([1, 2], "image of type list"),
        ("a\0b.png", "no name that a file can have"),
        ("", "an image was expected"),
        (Image.new("RGBA", (9, 9), (1, 2, 3, 0)), "no data in any of its 9 x 9 pixels"),
    ],
)
def test_what_is_no_picture_is_one_line(image: Any, message: str) -> None:
    with pytest.raises(SignalError, match=message) as error:
        measured_tile(image, CONFIG)
    assert "\n" not in str(error.value)


def test_grey_numbers_are_the_picture_that_their_file_is() -> None:
    """What Pillow gives for a grey file is such an array, so that the file and its array give one vector."""
    grey, out = noise(50, 60), io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    expected = measured_tile(out.getvalue(), CONFIG)[0]
    for given in (grey, grey[..., None], grey[None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        np.testing.assert_array_equal(measured_tile(given, CONFIG)[0], expected)


RANGES = [(0, 3000), "sentinel2-offset", ((0, 3000), (100, 2500), (50, 4000))]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 3, 13])
def test_bands_and_deep_numbers_are_read_as_a_geotiff_of_them(dtype: str, count: int, tmp_path: Path) -> None:
    values = np.random.default_rng(count).integers(1, 4000, (50, 60, count)).astype(dtype)
    if values.dtype.kind == "f":
        values[:9, :9] = np.nan  # no data
        values[20, 20, 0] = np.nan
    write_geotiff(tmp_path / "a.tif", values)
    for value_range in RANGES:
        bands = (4, 3, 2) if count == 13 else (3, 1, 2) if count == 3 and value_range == RANGES[0] else None
        config = ImageConfig(pixels=32, stored_pixels=40, bands=bands, value_range=value_range)  # type: ignore[arg-type]
        expected = measured_tile(tmp_path / "a.tif", config)[0]
        assert len(np.unique(expected)) > 50
        first = np.ascontiguousarray(values.transpose(2, 0, 1))
        for given in (values, first, torch.from_numpy(values), torch.from_numpy(first), values.astype(f">{dtype[0]}8")):
            np.testing.assert_array_equal(measured_tile(given, config)[0], expected)


def test_bands_of_8_bits_are_chosen_and_red_green_and_blue_are_not(tmp_path: Path) -> None:
    config = ImageConfig(pixels=32, stored_pixels=40, bands=(4, 3, 2))
    bands = noise(50, 60, 5)
    write_geotiff(tmp_path / "a.tif", bands)
    expected = measured_tile(tmp_path / "a.tif", config)[0]
    np.testing.assert_array_equal(measured_tile(bands, config)[0], expected)
    rgb = np.ascontiguousarray(bands[..., [3, 2, 1]])
    np.testing.assert_array_equal(measured_tile(rgb, config)[0], expected)  # as a PNG of them
    with pytest.raises(SignalError, match=r"has 2 bands; this model sees the bands \[4, 3, 2\]"):
        measured_tile(noise(50, 60, 2), config)


def test_half_floats_and_those_of_torch_alone() -> None:
    config = ImageConfig(pixels=32, stored_pixels=40, value_range=(0, 256))
    values = noise(50, 60, 3).astype(np.float32)
    expected = measured_tile(values, config)[0]
    for given in (values.astype(np.float16), torch.from_numpy(values).bfloat16(), torch.from_numpy(values).half()):
        np.testing.assert_array_equal(measured_tile(given, config)[0], expected)


def test_floats_to_1_are_not_taken_for_a_black_picture() -> None:
    config = ImageConfig(pixels=32, stored_pixels=40, value_range="sentinel2")
    values = noise(50, 60, 3).astype(np.float32) / 255
    with pytest.raises(SignalError, match=r"float32 \(50, 60, 3\) of 0 to 1; .* up to 3000: .* image \* 10000"):
        measured_tile(values, config)
    assert measured_tile(values * 10_000, config)[0].mean() > 100
    unit = ImageConfig(pixels=32, stored_pixels=40, value_range=(0, 1))
    assert measured_tile(values, unit)[0].mean() > 100


@pytest.mark.parametrize("gsd_m", [0.0, -1.0, float("nan"), 1e9])
def test_metres_that_no_image_has_are_one_line(gsd_m: float) -> None:
    for footprint_m in (None, 60.0):
        config = ImageConfig(pixels=32, stored_pixels=40, footprint_m=footprint_m)
        with pytest.raises(SignalError, match="metres a pixel expected"):
            measured_tile(noise(50, 60, 3), config, gsd_m)


def test_a_closed_picture_is_one_line(tmp_path: Path) -> None:
    Image.fromarray(noise(50, 60, 3)).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    with pytest.raises(SignalError, match=r"a.png: broken image"):
        measured_tile(image, CONFIG)


@pytest.mark.parametrize("hz", [16_000, 44_100])
def test_a_recording_is_the_same_as_path_text_bytes_and_samples(
    tmp_path: Path, tiny_signal: SignalConfig, hz: int
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tones(hz, 2.3), hz, subtype="FLOAT")
    expected = recording_windows((tones(hz, 2.3), hz), tiny_signal.audio)
    assert expected.shape == (3, 50, 32) and expected.dtype == np.uint8
    mono = tones(hz, 2.3).mean(axis=1)
    for given in (path, str(path), path.read_bytes(), (mono, hz), (mono.astype(np.float64), hz)):
        np.testing.assert_array_equal(recording_windows(given, tiny_signal.audio), expected)


@pytest.mark.parametrize(
    ("samples", "hz", "message"),
    [
        (np.zeros(0, np.float32), 16_000, "no samples"),
        (np.full(20_000, np.nan, np.float32), 16_000, "NaN"),
        (np.zeros((9, 9, 9), np.float32), 16_000, r"\(samples,\) or \(samples, channels\)"),
        (np.float32(0.5), 16_000, r"\(samples,\) or \(samples, channels\)"),
        (np.zeros(20_000, np.float32), 0, "hz > 0 expected"),
        (np.zeros(20_000, np.int16), 16_000, "samples int16 .*floats with full scale 1"),
        (np.zeros(1_600, np.float32), 16_000, "0.10 s of sound; at least 0.5 s expected"),
        (np.zeros((200, 20_000), np.float32), 16_000, "at most 64 channels"),
    ],
)
def test_other_samples_are_no_recording(samples: Any, hz: int, message: str, tiny_signal: SignalConfig) -> None:
    with pytest.raises(SignalError, match=message):
        recording_windows((samples, hz), tiny_signal.audio)


def test_ready_spectrograms(tmp_path: Path) -> None:
    config = AudioConfig(sample_rate_hz=16_000, window_seconds=1.0, mels=32, hop_seconds=0.02, input="spectrogram")
    out = io.BytesIO()
    Image.fromarray(noise(32, 120)).save(out, "PNG")
    found = recording_windows(out.getvalue(), config)
    assert found.shape == (3, 50, 32)
    np.testing.assert_array_equal(found[-1], noise(32, 120).T[70:])

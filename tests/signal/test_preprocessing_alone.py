"""docs/preprocessing.md read a second time: its words in plain NumPy, without our code, give the values beside it."""

import base64
import io
import json
import math
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

FOLDER = Path(__file__).parents[2] / "docs" / "preprocessing"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def decoded(file: Path, options: Mapping[str, Any]) -> Pixels:
    """Step 1: RGB of 8 bits, upright, black where nothing is."""
    with Image.open(file) as image:
        if image.mode.startswith("I"):
            values = np.asarray(image).astype(float)
            low, high = options.get("value_range") or np.percentile(values, (2, 98))
            grey = np.clip(np.rint((values - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
            return np.stack([grey] * 3, axis=-1)
        upright = ImageOps.exif_transpose(image)
        pixels = np.asarray(upright.convert("RGBA")).copy()
    pixels[pixels[..., 3] == 0] = 0
    return pixels[..., :3]


def centre(pixels: Pixels, side: int) -> Pixels:
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def resized(pixels: Pixels, side: int) -> Pixels:
    weights = (area if side < pixels.shape[0] else linear)(pixels.shape[0], side)
    across = np.einsum("jx,yxc->yjc", weights, pixels.astype(float))
    mean = np.einsum("iy,yjc->ijc", weights, across)
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8)


def area(size: int, side: int) -> Floats:
    """How much of each pixel lies in [i size / side, (i + 1) size / side)."""
    edges = np.arange(side + 1) * size / side
    low, high = np.maximum(edges[:-1, None], np.arange(size)), np.minimum(edges[1:, None], np.arange(size) + 1)
    return np.maximum(0.0, high - low) * side / size


def linear(size: int, side: int) -> Floats:
    """Linear between the two pixels nearest to (i + 0.5) size / side - 0.5; beyond the ends the last one."""
    place = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    weights = np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(size)))
    return np.asarray(weights)


def jpeg(tile: Pixels, quality: int) -> Pixels:
    """Another encoder and decoder than ours, with the same tables."""
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=quality, subsampling=0)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("name", EXPECTED["images"])
def test_an_image_becomes_the_same_view(name: str) -> None:
    case = EXPECTED["images"][name]
    options = case["options"]
    pixels = decoded(FOLDER / case["file"], options)
    assert_near(pixels, case["decoded"], 0)
    side = min(pixels.shape[:2])
    if options["footprint_m"] is not None:
        side = max(1, min(side, round(options["footprint_m"] / options["image_gsd_m"])))
    square = centre(pixels, side)
    tile = resized(square, options["stored_pixels"]) if side > options["stored_pixels"] else square
    assert_near(tile, case["tile"], 1)
    share = options.get("view", 1.0)
    seen = max(1, round(len(tile) * share))
    plain = resized(centre(tile, seen), options["pixels"])
    view = resized(centre(jpeg(tile, options["jpeg_quality"]), seen), options["pixels"])
    if options["scale_input"]:
        metres = side * options["image_gsd_m"] * seen / len(tile) / options["pixels"]
        byte = min(max(round(16 * math.log2(metres) + 96), 0), 255)
        plain, view = (np.concatenate([each, np.full_like(each[..., :1], byte)], axis=-1) for each in (plain, view))
    assert_near(plain, case["view_without_jpeg"], 1)
    assert_near(view, case["view"], 3)
    mean, std = [0.485, 0.456, 0.406, 96 / 255], [0.229, 0.224, 0.225, 64 / 255]
    channels = view.shape[2]
    inputs = (view - 255 * np.array(mean[:channels])) / (255 * np.array(std[:channels]))
    assert_near(inputs.transpose(2, 0, 1), case["input"], 3 / 57)


def one_channel(file: Path, channel: str) -> tuple[Floats, int]:
    with wave.open(str(file)) as opened:
        values = np.frombuffer(opened.readframes(opened.getnframes()), "<i2") / 32768
        channels = values.reshape(-1, opened.getnchannels())
        hz = opened.getframerate()
    return (channels.mean(axis=1) if channel == "mean" else channels[:, -1]), hz


def resampled(samples: Floats, hz: int, to_hz: int) -> Floats:
    """A low pass by a Kaiser window: passes 0.9136 of the lower half rate, stops at it by 120 dB; zeros all around."""
    if hz == to_hz:
        return samples
    stop, decibel = min(hz, to_hz) / 2, 120.4
    edge, wide = 0.5 * (1 + 0.9136) * stop, (1 - 0.9136) * stop
    half = math.ceil((decibel - 7.95) / (2.285 * 2 * math.pi * wide / hz) / 2)
    beta = 0.1102 * (decibel - 8.7)
    centres = np.arange(round(len(samples) * to_hz / hz)) * hz / to_hz
    places = np.floor(centres)[:, None] + np.arange(-half, half + 1)
    away = places - centres[:, None]
    window = np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (away / half) ** 2))) / np.i0(beta)
    there = (places >= 0) & (places < len(samples))
    taken = np.where(there, samples[np.clip(places, 0, len(samples) - 1).astype(int)], 0.0)
    return np.asarray((taken * 2 * edge / hz * np.sinc(2 * edge / hz * away) * window).sum(axis=1))


def mel_filters(options: Mapping[str, Any], n_fft: int) -> Floats:
    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)

    rate = options["sample_rate_hz"]
    high = options["max_hz"] or rate / 2
    steps = np.linspace(mel(options["min_hz"]), mel(high), options["mels"] + 2)
    edges = np.where(steps < 15, steps * 200 / 3, 1000 * 6.4 ** ((steps - 15) / 27))
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    rows = []
    for low, middle, top in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        rise, fall = (bins - low) / (middle - low), (top - bins) / (top - middle)
        rows.append(np.maximum(0.0, np.minimum(rise, fall)) * 2 / (top - low))
    return np.array(rows)


def log_mel(samples: Floats, options: Mapping[str, Any]) -> Pixels:
    rate = options["sample_rate_hz"]
    hop, size = round(options["hop_seconds"] * rate), round(options["fft_seconds"] * rate)
    n_fft = 2 ** math.ceil(math.log2(size))
    frames = max(len(samples) // hop, round(options["window_seconds"] / options["hop_seconds"]))
    padded = np.zeros((frames - 1) * hop + n_fft)
    kept = samples[: len(padded) - n_fft // 2]
    padded[n_fft // 2 : n_fft // 2 + len(kept)] = kept
    hann = np.zeros(n_fft)
    begin = (n_fft - size) // 2
    hann[begin : begin + size] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    cut = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    power = np.abs(np.fft.rfft(cut * hann, axis=1)) ** 2
    decibel = 10 * np.log10(np.maximum(power @ mel_filters(options, n_fft).T, 1e-12))
    low, high = options["floor_db"], options["ceiling_db"]
    return np.rint(np.clip((decibel - low) * 255 / (high - low), 0, 255)).astype(np.uint8)


def starts(frames: int, size: int) -> list[int]:
    count = max(1, math.ceil(frames / size))
    return [round(i * (frames - size) / (count - 1)) for i in range(count)] if count > 1 else [0]


@pytest.mark.parametrize("name", EXPECTED["sounds"])
def test_a_sound_becomes_the_same_bytes(name: str) -> None:
    case = EXPECTED["sounds"][name]
    options, rate = case["options"], case["options"]["sample_rate_hz"]
    mono, hz = one_channel(FOLDER / case["file"], options["channel"])
    assert hz == case["file_hz"]
    assert_near(mono, case["one_channel"], 1e-6)
    samples = resampled(mono, hz, rate)
    assert_near(samples, case["resampled"], 0.005)
    bytes_ = log_mel(samples, options)
    assert list(bytes_.shape) == case["spectrogram"]["shape"]
    heard = case["frames_with_sound"]
    assert not bytes_[heard + 1 :].any()
    known = np.frombuffer(base64.b64decode(case["frames"]), np.uint8).reshape(heard, -1)
    away = np.abs(bytes_[:heard].astype(int) - known)
    filters, n_fft = mel_filters(options, case["n_fft"]), case["n_fft"]
    kept = 0.9 * min(hz, rate) / 2 if hz != rate else rate  # what another resampler passes alike
    below = ~(filters * (np.arange(n_fft // 2 + 1) * rate / n_fft > kept)).any(axis=1)
    assert away[:, below].max() <= 1 and away.max() <= 8 and (away > 0).mean() < 0.05
    size = round(options["window_seconds"] / options["hop_seconds"])
    assert starts(len(bytes_), size) == case["window_starts"]
    last = bytes_[case["window_starts"][-1] :][:size]
    assert_near((last.T[None] - 110.0) / 45.0, case["last_window_as_input"], 1 / 45)


@pytest.mark.parametrize("name", EXPECTED["sounds"])
def test_the_filters_are_librosas(name: str) -> None:
    options = EXPECTED["sounds"][name]["options"]
    rate, n_fft = options["sample_rate_hz"], EXPECTED["sounds"][name]["n_fft"]
    slaney = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=options["mels"], fmin=options["min_hz"], fmax=options["max_hz"], htk=False,
        norm="slaney",
    )  # fmt: skip
    np.testing.assert_allclose(mel_filters(options, n_fft), slaney, atol=1e-7)


def assert_near(found: Any, known: Mapping[str, Any], most: float) -> None:
    assert list(found.shape) == known["shape"]
    for place, value in known["sampled"]:
        assert float(found.reshape(-1)[place]) == pytest.approx(value, abs=most), place
    if "base64" in known:
        whole = np.frombuffer(base64.b64decode(known["base64"]), np.uint8).reshape(found.shape)
        assert np.abs(found.astype(int) - whole).max() <= most
    assert "mean" not in known or float(found.mean()) == pytest.approx(known["mean"], abs=0.3)

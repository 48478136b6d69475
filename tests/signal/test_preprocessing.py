"""docs/preprocessing.md, the values beside it and the code agree.

`python tests/signal/test_preprocessing.py` writes the inputs and the values.
A second reading of the page, in plain NumPy, is in test_preprocessing_alone.py.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image

from earthtone.errors import flat
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.audio import read_recording
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig, signal_to_dict
from earthtone.signal.image import cut_tile, decode_tile, encode_tile, read_picture, seen
from earthtone.signal.spectrogram import LogMel, log_mel, mel_filters, window_starts

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FOLDER = DOCS / "preprocessing.md", DOCS / "preprocessing"
EXPECTED = FOLDER / "expected.json"

SMALL = ImageConfig(pixels=64, stored_pixels=96)
#: file, options, metres a pixel
IMAGES: dict[str, tuple[str, ImageConfig, float | None]] = {
    "shrunk": ("field.png", SMALL, None),
    "defaults": ("field.png", ImageConfig(), None),
    "footprint": ("field.png", replace(SMALL, footprint_m=45.0, view=0.75), 0.5),
    "turned, partly transparent": ("clear.png", ImageConfig(pixels=24, stored_pixels=24), None),
    "16 bits by a range": ("deep.png", ImageConfig(pixels=24, stored_pixels=32, value_range=(1000.0, 4000.0)), None),
    "16 bits by percentiles": ("deep.png", ImageConfig(pixels=24, stored_pixels=32), None),
}
SOUNDS: dict[str, tuple[str, AudioConfig]] = {
    "padded": ("mono-32k.wav", AudioConfig()),
    "several windows": ("mono-32k.wav", AudioConfig(window_seconds=0.3)),
    "stereo, to more samples": ("stereo-22k.wav", AudioConfig()),
    "right channel": ("stereo-22k.wav", AudioConfig(channel="right")),
    "to fewer samples": ("mono-48k.wav", AudioConfig()),
    "other bands": (
        "mono-48k.wav",
        AudioConfig(sample_rate_hz=16_000, mels=32, fft_seconds=0.04, hop_seconds=0.02, max_hz=7000.0),
    ),
}


def image_values(file: str, config: ImageConfig, gsd_m: float | None) -> dict[str, Any]:
    """What each step makes of an image file."""
    picture = read_picture(FOLDER / file, config)
    tile, side_m, _ = cut_tile(picture, config, gsd_m)
    after = decode_tile(encode_tile(tile, config))
    told = side_m is not None
    model = TwoTower(ModelConfig("test_efficientnet", "test_efficientnet", 8, scale_input=told), SignalConfig())
    view = seen(after, config, side_m)
    inputs = model.image_input(torch.from_numpy(view[None]))[0].numpy()
    options = {**signal_to_dict(SignalConfig(image=config))["image"], "image_gsd_m": gsd_m, "scale_input": told}
    return {
        "file": file, "options": options, "tile_side_m": side_m,
        "decoded": _bytes(picture.pixels), "tile": _bytes(tile), "tile_after_jpeg": _bytes(after),
        "view_without_jpeg": _bytes(seen(tile, config, side_m)), "view": _bytes(view, whole=config.pixels <= 64),
        "input": _floats(inputs),
    }  # fmt: skip


def sound_values(file: str, config: AudioConfig) -> dict[str, Any]:
    """What each step makes of a sound file."""
    own, resampled = (read_recording(FOLDER / file, hz, config.channel) for hz in (None, config.sample_rate_hz))
    spectrogram = log_mel(resampled.samples, config)
    starts = window_starts(len(spectrogram), config)
    heard = 1 + int(np.flatnonzero(spectrogram.any(axis=1))[-1])
    model = TwoTower(ModelConfig("test_efficientnet", "test_efficientnet", 8), SignalConfig(audio=config))
    window = spectrogram[starts[-1] : starts[-1] + config.window_frames]
    transform = LogMel(config)
    return {
        "file": file, "options": signal_to_dict(SignalConfig(audio=config))["audio"] | {"channel": config.channel},
        "file_hz": own.facts.hz, "file_channels": own.facts.channels,
        "one_channel": _floats(own.samples), "resampled": _floats(resampled.samples),
        "n_fft": transform.n_fft, "window_samples": transform.window_samples, "hop_samples": transform.hop,
        "spectrogram": _bytes(spectrogram), "frames_with_sound": heard,
        "frames": base64.b64encode(spectrogram[:heard].tobytes()).decode(),
        "window_starts": starts, "last_window_as_input": _floats(model.sound_input(torch.from_numpy(window[None]))[0]),
    }  # fmt: skip


def filter_values(config: AudioConfig) -> dict[str, Any]:
    """The mel filters of the default options, and the analysis window."""
    transform = LogMel(config)
    return {
        "filters": _floats(mel_filters(config, transform.n_fft)),
        "sum_of_each_filter": [round(float(value), 9) for value in transform.filters.sum(dim=1)],
        "hann": _floats(transform.window),
    }


def _bytes(values: NDArray[np.uint8], whole: bool = False) -> dict[str, Any]:
    """Shape, hash, mean and a few of the numbers, in C order."""
    plain = np.ascontiguousarray(values)
    found = {
        "shape": list(plain.shape), "sha256": hashlib.sha256(plain.tobytes()).hexdigest(),
        "mean": round(float(plain.mean()), 4), "sampled": _sampled(plain, int),
    }  # fmt: skip
    return found | ({"base64": base64.b64encode(plain.tobytes()).decode()} if whole else {})


def _floats(values: Any) -> dict[str, Any]:
    plain = np.ascontiguousarray(values, np.float32)
    return {"shape": list(plain.shape), "sampled": _sampled(plain, lambda value: float(f"{value:.7g}"))}


def _sampled(values: NDArray[Any], kind: Any) -> list[list[Any]]:
    """Eleven pairs (place in C order, value), evenly spread."""
    places = np.linspace(0, values.size - 1, 11).astype(int).tolist()
    return [[place, kind(values.reshape(-1)[place])] for place in places]


@pytest.fixture(scope="module")
def expected() -> Any:
    return json.loads(EXPECTED.read_text())


@pytest.mark.parametrize("name", IMAGES)
def test_each_step_of_an_image(name: str, expected: Any) -> None:
    file, config, gsd_m = IMAGES[name]
    found, known = image_values(file, config, gsd_m), expected["images"][name]
    assert json.loads(json.dumps(found["options"])) == known["options"]
    assert found["decoded"] == known["decoded"]  # whole numbers all the way
    for step, most in (("tile", 1), ("view_without_jpeg", 1), ("tile_after_jpeg", 3), ("view", 3)):
        assert_near(found[step], known[step], most)
    assert_near(found["input"], known["input"], 3 / 50)


@pytest.mark.parametrize("name", SOUNDS)
def test_each_step_of_a_sound(name: str, expected: Any) -> None:
    found, known = sound_values(*SOUNDS[name]), expected["sounds"][name]
    exact = ("options", "file_hz", "file_channels", "n_fft", "window_samples", "hop_samples", "window_starts")
    assert {key: found[key] for key in exact} == {key: known[key] for key in exact}
    assert_near(found["one_channel"], known["one_channel"], 1e-7)
    assert_near(found["resampled"], known["resampled"], 1e-5)
    assert_near(found["spectrogram"], known["spectrogram"], 1)
    frames = [np.frombuffer(base64.b64decode(each["frames"]), np.uint8).astype(int) for each in (found, known)]
    assert np.abs(frames[0] - frames[1]).max() <= 1
    assert_near(found["last_window_as_input"], known["last_window_as_input"], 1 / 45)


def test_filters_and_window(expected: Any) -> None:
    found, known = filter_values(AudioConfig()), expected["filters"]
    assert_near(found["filters"], known["filters"], 1e-7)
    assert_near(found["hann"], known["hann"], 1e-6)
    np.testing.assert_allclose(found["sum_of_each_filter"], known["sum_of_each_filter"], rtol=1e-5)


def assert_near(found: Mapping[str, Any], known: Mapping[str, Any], most: float) -> None:
    assert found["shape"] == known["shape"]
    if found.get("sha256") == known.get("sha256", "none"):
        return
    for (place, value), (same, other) in zip(found["sampled"], known["sampled"], strict=True):
        assert place == same and value == pytest.approx(other, abs=most)
    assert abs(found.get("mean", 0) - known.get("mean", 0)) < 0.25


def page_values() -> dict[str, str]:
    """What the page's tables say: first column -> second."""
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE)
    return {re.sub(r"^`([^`]+)`$", r"\1", name): value for name, value in rows}


def test_the_page_names_every_option_with_its_default() -> None:
    said = page_values()
    for key, value in flat(asdict(SignalConfig()), "signal.").items():
        shown = "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        assert said.get(key) == shown, key


def test_the_page_names_the_constants_of_the_code() -> None:
    from earthtone.models.encoders import IMAGENET_MEAN, IMAGENET_STD
    from earthtone.models.two_tower import _SOUND_SCALES
    from earthtone.signal.image import _STEPS, SCALE_CENTRE, SCALE_WIDTH

    def words(*values: float) -> str:
        return ", ".join(f"{value:.7g}" for value in values)

    transform = LogMel(AudioConfig())
    assert (
        page_values().items()
        >= {
            "mean of red, green, blue": words(*IMAGENET_MEAN),
            "std of red, green, blue": words(*IMAGENET_STD),
            "fourth channel: centre, width": words(SCALE_CENTRE, SCALE_WIDTH),
            "fourth channel: bytes an octave": words(_STEPS),
            "sound, `standard`: centre, width": words(*_SOUND_SCALES["standard"]),
            "sound, `soundingearth`: centre, width": words(*_SOUND_SCALES["soundingearth"]),
            "samples a frame, a hop": words(transform.window_samples, transform.hop),
            "n_fft": words(transform.n_fft),
            "least power": "1e-12",
        }.items()
    )
    deep = LogMel(AudioConfig(floor_db=-200.0, ceiling_db=0.0))  # silence is -120 dB, the least power
    assert float(deep(torch.zeros(2048)).max()) == pytest.approx(255 * 80 / 200)


def _inputs(folder: Path) -> None:
    """Write the inputs: pictures and sounds by formula, the same on every machine."""
    y, x = np.mgrid[:120, :150]
    field = np.stack([(x * y) // 71 % 256, (3 * x + (y // 16 % 2) * 90) % 256, 255 - (x // 25 * 40 + y) % 256], axis=-1)
    Image.fromarray(field.astype(np.uint8)).save(folder / "field.png", optimize=True)
    y, x = np.mgrid[:30, :40]
    clear = np.stack([6 * x, 8 * y, (x + y) * 3, np.where(x + y < 20, 0, 255)], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # to be turned a quarter clockwise
    Image.fromarray(clear).save(folder / "clear.png", optimize=True, exif=exif)
    y, x = np.mgrid[:40, :48]
    Image.fromarray((500 + 61 * x + 37 * y + (x * y) % 97).astype(np.uint16)).save(folder / "deep.png", optimize=True)
    for name, hz, seconds, channels in (("mono-32k", 32_000, 0.75, 1), ("stereo-22k", 22_050, 0.6, 2),
                                        ("mono-48k", 48_000, 0.55, 1)):  # fmt: skip
        samples = np.stack([_sound(hz, round(hz * seconds), seed) for seed in range(channels)], axis=-1)
        soundfile.write(folder / f"{name}.wav", samples, hz, subtype="PCM_16")


def _sound(hz: int, count: int, seed: int) -> NDArray[np.int16]:
    """A rising tone over noise of a linear congruential generator."""
    noise, state = np.empty(count), 12345 + seed
    for n in range(count):
        state = (1103515245 * state + 12345) % 2**31
        noise[n] = (state >> 16) % 2001 - 1000
    t = np.arange(count) / hz
    return np.rint(9000 * np.sin(2 * np.pi * (300 * t + (3000 + 2000 * seed) * t**2)) + noise).astype(np.int16)


def _write() -> None:
    _inputs(FOLDER)
    values = {
        "about": "what each step of docs/preprocessing.md makes of the files beside this one",
        "images": {name: image_values(*case) for name, case in IMAGES.items()},
        "sounds": {name: sound_values(*case) for name, case in SOUNDS.items()},
        "filters": filter_values(AudioConfig()),
    }
    text = json.dumps(values, indent=1)
    short = re.sub(r"\[\s+([-\d.e]+),\s+([-\d.e]+)\s+\]", r"[\1, \2]", text)  # a sampled value a line
    EXPECTED.write_text(short + "\n")


if __name__ == "__main__":
    _write()

"""Log-mel spectrograms against librosa's, and the windows that cover a recording."""

import io
import math
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from earthtone.errors import ConfigError, SignalError
from earthtone.signal.config import AudioConfig
from earthtone.signal.spectrogram import (
    LogMel,
    log_mel,
    mel_filters,
    spectrogram_from_picture,
    window_starts,
    windows,
)

CONFIGS = [
    AudioConfig(),
    AudioConfig(mels=128),
    AudioConfig(sample_rate_hz=16_000, mels=128),
    AudioConfig(sample_rate_hz=16_000, mels=64, hop_seconds=0.005, fft_seconds=0.064),
    AudioConfig(hop_seconds=0.016, min_hz=0.0, max_hz=14_000.0),
    AudioConfig(sample_rate_hz=22_050, mels=40, hop_seconds=0.02, fft_seconds=0.025),
]


def noise(config: AudioConfig, seconds: float) -> NDArray[np.float32]:
    """Noise that swells from nothing to full scale, with a tone in it."""
    time = np.arange(round(seconds * config.sample_rate_hz)) / config.sample_rate_hz
    swell = 10 ** (-4 + 3.5 * time / time[-1])
    return (swell * np.random.default_rng(0).normal(0, 1, len(time)) + 0.1 * np.sin(6000 * time)).astype(np.float32)


def librosa_bytes(samples: NDArray[np.float32], config: AudioConfig) -> NDArray[np.float64]:
    transform = LogMel(config)
    mel = librosa.feature.melspectrogram(
        y=samples.astype(np.float64), sr=config.sample_rate_hz, n_fft=transform.n_fft, hop_length=transform.hop,
        win_length=transform.window_samples, window="hann", center=True, pad_mode="constant", power=2.0,
        n_mels=config.mels, fmin=config.min_hz, fmax=config.max_hz,
    )  # fmt: skip
    decibel = 10 * np.log10(np.maximum(mel.T, 1e-12))
    return np.clip((decibel - config.floor_db) * 255 / (config.ceiling_db - config.floor_db), 0, 255)


@pytest.mark.parametrize("config", CONFIGS)
def test_filters_are_librosas(config: AudioConfig) -> None:
    n_fft = LogMel(config).n_fft
    expected = librosa.filters.mel(
        sr=config.sample_rate_hz, n_fft=n_fft, n_mels=config.mels, fmin=config.min_hz, fmax=config.max_hz
    )
    np.testing.assert_allclose(mel_filters(config, n_fft), expected, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_log_mel_is_librosas_within_quantisation(config: AudioConfig) -> None:
    samples = noise(config, 11.3)
    found = log_mel(samples, config)
    expected = librosa_bytes(samples, config)
    assert found.dtype == np.uint8 and found.shape == (len(samples) // LogMel(config).hop, config.mels)
    assert len(np.unique(found)) > 60  # the scale is used
    np.testing.assert_allclose(found, expected[: len(found)], atol=0.51)


@pytest.mark.slow
def test_a_long_recording_is_computed_in_chunks_without_seams() -> None:
    config = AudioConfig(sample_rate_hz=8_000, mels=16)
    samples = noise(config, 90.0)  # 9000 frames
    np.testing.assert_allclose(log_mel(samples, config), librosa_bytes(samples, config)[:9000], atol=0.51)


def test_bytes_do_not_depend_on_the_number_of_threads() -> None:
    samples, before = noise(AudioConfig(), 12.0), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(log_mel(samples, AudioConfig()))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_silence_is_zero_and_a_tone_is_in_its_band() -> None:
    config = AudioConfig()
    assert log_mel(np.zeros(320_000, np.float32), config).max() == 0
    tone = np.sin(2 * np.pi * 3000 * np.arange(320_000) / 32_000).astype(np.float32)
    band = int(log_mel(tone, config)[500].argmax())
    centres = librosa.mel_frequencies(n_mels=66, fmin=50.0, fmax=16_000)[1:-1]
    assert band == int(np.abs(centres - 3000).argmin())


def test_the_scale_is_decibels_of_power() -> None:
    config = AudioConfig()
    quiet = noise(config, 10.0) * 0.01
    steps = log_mel(10 * quiet, config).astype(int) - log_mel(quiet, config)
    loud = log_mel(quiet, config) > 5
    np.testing.assert_allclose(steps[loud], 20 * 255 / 120, atol=1)  # ten times the amplitude are 20 dB


@pytest.mark.parametrize("seconds", [0.5, 3.0, 9.99])
def test_short_recordings_are_padded_with_silence(seconds: float) -> None:
    config = AudioConfig()
    found = log_mel(noise(config, seconds), config)
    assert found.shape == (1000, 64)
    end = math.ceil(seconds / config.hop_seconds) + 2  # a frame reaches half an analysis window ahead
    assert found[end:].size == 0 or found[end:].max() == 0
    assert windows(found, config).shape == (1, 1000, 64)


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.49])
def test_shorter_ones_are_refused(seconds: float) -> None:
    with pytest.raises(SignalError, match=rf"{seconds:.2f} s of sound; at least 0.5 s expected"):
        log_mel(np.zeros(round(32_000 * seconds), np.float32), AudioConfig())


@settings(max_examples=200, deadline=None)
@given(frames=st.integers(1, 5000), size=st.integers(1, 700))
def test_windows_cover_the_recording(frames: int, size: int) -> None:
    config = AudioConfig(window_seconds=size * 0.01)
    starts = window_starts(frames, config)
    assert config.window_frames == size
    assert starts[0] == 0 and len(starts) == math.ceil(frames / size)
    heard = np.zeros(max(frames, size), bool)
    for start in starts:
        assert start + size <= len(heard)  # no window but a lone one reaches beyond the end
        heard[start : start + size] = True
    assert heard[:frames].all()
    steps = np.diff(starts)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1  # evenly spaced


def test_windows_are_slices() -> None:
    config = AudioConfig(window_seconds=1.0, mels=16)
    spectrogram = np.random.default_rng(0).integers(0, 256, (256, 16), np.uint8)
    found = windows(spectrogram, config)
    assert found.shape == (3, 100, 16)
    for window, start in zip(found, (0, 78, 156), strict=True):
        np.testing.assert_array_equal(window, spectrogram[start : start + 100])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AudioConfig(hop_seconds=0.05), "0 < hop_seconds <= fft_seconds"),
        (AudioConfig(hop_seconds=0.0), "0 < hop_seconds <= fft_seconds"),
        (AudioConfig(max_hz=20_000.0), "0 <= min_hz < max_hz <= sample_rate_hz / 2"),
        (AudioConfig(min_hz=500.0, max_hz=400.0), "0 <= min_hz < max_hz <= sample_rate_hz / 2"),
    ],
)
def test_impossible_configs_are_explained(config: AudioConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LogMel(config)


def picture(values: NDArray[np.uint8] | NDArray[np.uint16], format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, format)
    return out.getvalue()


def test_a_ready_spectrogram_is_read_with_time_first(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (64, 1234), np.uint8)
    path = tmp_path / "mel.png"
    path.write_bytes(picture(values))
    found = spectrogram_from_picture(path, AudioConfig())
    np.testing.assert_array_equal(found, values.T)
    assert found.flags.c_contiguous


def test_a_short_ready_spectrogram_fills_one_window() -> None:
    values = np.full((64, 300), 7, np.uint8)
    found = spectrogram_from_picture(picture(values), AudioConfig())
    assert found.shape == (1000, 64) and (found[:300] == 7).all() and not found[300:].any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (picture(np.zeros((128, 300), np.uint8)), r"128 rows, 64 mel bands expected \(signal.audio.mels\)"),
        (picture(np.zeros((64, 300), np.uint16)), "8 bits a pixel expected"),
        (b"", "zero bytes"),
        (b"text", "not an image"),
        (picture(np.random.default_rng(0).integers(0, 256, (64, 900), np.uint8), "JPEG")[:3000], "broken image"),
    ],
)
def test_what_is_no_ready_spectrogram(content: bytes, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        spectrogram_from_picture(content, AudioConfig())


def test_a_missing_spectrogram(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match=r"none.png: No such file or directory"):
        spectrogram_from_picture(tmp_path / "none.png", AudioConfig())

"""Samples to 8-bit log-mel spectrograms, their windows, and ready spectrograms from files."""

import io
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from earthtone.errors import ConfigError, SignalError
from earthtone.signal.audio import Samples
from earthtone.signal.config import AudioConfig
from earthtone.signal.image import bytes_of, read_grey
from earthtone.signal.sound_streams import source_name

Spectrogram = NDArray[np.uint8]

_CHUNK_FRAMES = 8192  # spectrogram frames computed at once
_RESAMPLED_AWAY = 2  # samples


class LogMel(nn.Module):
    """Log-mel power on the scale of the packed bytes: 0 is `floor_db`, 255 is `ceiling_db`.

    Hann window, power spectrum, Slaney's mel scale and area norm (as librosa's defaults), 10 log10.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.hop = round(config.hop_seconds * config.sample_rate_hz)
        self.window_samples = round(config.fft_seconds * config.sample_rate_hz)
        if self.hop < 1 or self.window_samples < self.hop:
            raise ConfigError(
                f"hop {config.hop_seconds} s, frame {config.fft_seconds} s: 0 < hop_seconds <= fft_seconds expected"
            )
        self.n_fft = 2 ** math.ceil(math.log2(self.window_samples))
        self.register_buffer("window", torch.hann_window(self.window_samples), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters(config, self.n_fft)), persistent=False)

    def forward(self, padded: Tensor) -> Tensor:
        """Return (..., frames, mels) for samples (..., n) that carry n_fft / 2 zeros at each end."""
        spectrum = torch.stft(
            padded, self.n_fft, self.hop, self.window_samples, self.window, center=False, return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()  # (..., bins, frames)
        mel = power.transpose(-1, -2) @ self.filters.T  # (..., frames, mels)
        decibel = 10.0 * torch.log10(mel.clamp_min(1e-12))
        low, high = self.config.floor_db, self.config.ceiling_db
        scaled: Tensor = (decibel - low) * (255.0 / (high - low))
        return scaled.clamp(0.0, 255.0)


def mel_filters(config: AudioConfig, n_fft: int) -> NDArray[np.float32]:
    """Return triangular filters (mels, n_fft / 2 + 1), each of unit area in hertz (Slaney, Auditory Toolbox, 1998)."""
    high_hz = config.max_hz or config.sample_rate_hz / 2
    if not 0 <= config.min_hz < high_hz <= config.sample_rate_hz / 2:
        raise ConfigError(
            f"mel bands from {config.min_hz} to {high_hz} Hz at {config.sample_rate_hz} samples a second: "
            "0 <= min_hz < max_hz <= sample_rate_hz / 2 expected"
        )
    edges = _mel_to_hz(np.linspace(_hz_to_mel(config.min_hz), _hz_to_mel(high_hz), config.mels + 2))
    bins = np.linspace(0.0, config.sample_rate_hz / 2, n_fft // 2 + 1)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rise, fall))
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def refuse_short(seconds: float, config: AudioConfig) -> None:
    """Raise SignalError for a recording shorter than `min_seconds`; `seconds` are its own, before it is resampled."""
    if seconds < config.min_seconds:
        shown = f"{seconds:.2f}" if round(seconds, 2) < config.min_seconds else f"{seconds:.7g}"
        raise SignalError(f"{shown} s of sound; at least {config.min_seconds} s expected (signal.audio.min_seconds)")


def log_mel(samples: Samples, config: AudioConfig) -> Spectrogram:
    """Return the 8-bit spectrogram (frames, mels) of mono samples at the config's rate; one frame a hop.

    A recording shorter than one window is padded with silence to one window. Raises SignalError below `min_seconds`,
    but for a sample or two: resampling may cost them. Where the recording's own length is known, `refuse_short` it.
    """
    if len(samples) + _RESAMPLED_AWAY < config.min_seconds * config.sample_rate_hz:
        refuse_short(len(samples) / config.sample_rate_hz, config)
    transform = _transform(config)
    frames = max(len(samples) // transform.hop, config.window_frames)
    half = transform.n_fft // 2
    out = np.empty((frames, config.mels), np.uint8)
    with torch.inference_mode():
        for start in range(0, frames, _CHUNK_FRAMES):
            stop = min(start + _CHUNK_FRAMES, frames)
            first, end = start * transform.hop - half, (stop - 1) * transform.hop + half
            before, piece = max(0, -first), samples[max(0, first) : end]
            piece = np.pad(piece, (before, end - first - before - len(piece)))  # silence before and after
            out[start:stop] = transform(torch.from_numpy(piece)).round().to(torch.uint8).numpy()
    return out


def window_starts(frames: int, config: AudioConfig) -> list[int]:
    """Return the first frames of the windows that cover a recording: evenly spaced, the last one ends at its end."""
    size = config.window_frames
    count = max(1, math.ceil(frames / size))
    if count == 1:
        return [0]
    return [round(i * (frames - size) / (count - 1)) for i in range(count)]


def windows(spectrogram: Spectrogram, config: AudioConfig) -> Spectrogram:
    """Return the windows (windows, window_frames, mels) of a spectrogram (frames, mels); silence fills a short one."""
    size = config.window_frames
    spectrogram = at_least_one_window(spectrogram, config)
    return np.stack([spectrogram[start : start + size] for start in window_starts(len(spectrogram), config)])


def check_bands(rows: int, config: AudioConfig, source: Path | bytes) -> None:
    """Raise SignalError when a picture of so many rows is no spectrogram of the config's."""
    if rows != config.mels:
        raise SignalError(f"{source_name(source)}: {rows} rows, {config.mels} mel bands expected (signal.audio.mels)")


def spectrogram_from_picture(source: Path | bytes, config: AudioConfig) -> Spectrogram:
    """Return the (frames, mels) bytes of an 8-bit grey picture whose rows are mel bands (SoundingEarth's layout).

    A short one is padded with silence to one window. Raises SignalError.
    """
    picture = read_grey(source)
    check_bands(picture.shape[0], config, source)
    return at_least_one_window(np.ascontiguousarray(picture.T), config)


def at_least_one_window(spectrogram: Spectrogram, config: AudioConfig) -> Spectrogram:
    """Return a spectrogram (frames, mels) with silence added to one window where it is shorter."""
    lacking = max(0, config.window_frames - len(spectrogram))
    return np.pad(spectrogram, ((0, lacking), (0, 0))) if lacking else spectrogram


@lru_cache(maxsize=8)
def _transform(config: AudioConfig) -> LogMel:
    return LogMel(config).eval()


def _hz_to_mel(hz: float) -> float:
    """Return mel on Slaney's scale: linear below 1 kHz, logarithmic above."""
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))


_NPY_MAGIC = b"\x93NUMPY"
LOW, HIGH = math.exp(-15 / 10), math.exp(5 / 10)
"""What 0 and 255 of the release's pictures stand for: exp(decibel / 10) of -15 and of 5 dB."""


def ready_spectrogram(source: Path | bytes, config: AudioConfig) -> Spectrogram:
    """Return the (frames, mels) bytes of a picture or of an array in NumPy's format. Raises SignalError."""
    data, _ = bytes_of(source)
    is_array = data.startswith(_NPY_MAGIC)
    return spectrogram_from_array(source, config) if is_array else spectrogram_from_picture(source, config)


def spectrogram_from_array(source: Path | bytes, config: AudioConfig) -> Spectrogram:
    """Return the (frames, mels) bytes of decibels (mels, frames) in NumPy's format, on the scale of the pictures.

    The release makes x of its arrays (exp(d / 10) - LOW) / (HIGH - LOW), cut to 0-1, and x of its pictures u / 255: one
    scale, so the byte is 255 x, rounded. A short one is padded with silence to one window. Raises SignalError.
    """
    loud = np.rint(255 * loudness_from_array(source, config)).astype(np.uint8)
    return at_least_one_window(np.ascontiguousarray(loud.T), config)


def loudness_from_array(source: Path | bytes, config: AudioConfig) -> NDArray[np.float64]:
    """Return x (mels, frames) from 0 to 1 of such an array; see `spectrogram_from_array`. Raises SignalError."""
    data, name = bytes_of(source)
    try:
        decibel = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header can raise nearly anything
        raise SignalError(f"{name}: {' '.join(str(error).split())}; a whole .npy array was expected") from error
    if not isinstance(decibel, np.ndarray) or decibel.dtype.kind not in "fiu":
        raise SignalError(
            f"{name}: values of {getattr(decibel, 'dtype', 'an archive')}; an array of numbers was expected"
        )
    if decibel.ndim != 2 or decibel.shape[0] != config.mels or not decibel.shape[1]:
        raise SignalError(
            f"{name}: shape {decibel.shape}; ({config.mels} mel bands, frames) expected (signal.audio.mels)"
        )
    if not np.isfinite(decibel).all():
        raise SignalError(f"{name}: holds values that are no numbers; decibels were expected")
    loudness: NDArray[np.float64] = np.clip((np.exp(decibel.astype(np.float64) / 10) - LOW) / (HIGH - LOW), 0, 1)
    return loudness

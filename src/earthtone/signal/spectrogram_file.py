"""Ready spectrograms in files: the SoundingEarth release's pictures, and its arrays (`.npy`) for ADVANCE."""

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import SignalError
from earthtone.signal.config import AudioConfig
from earthtone.signal.image import bytes_of
from earthtone.signal.mel import Spectrogram, at_least_one_window, spectrogram_from_picture

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

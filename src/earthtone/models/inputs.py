"""What a user may hand to a model - files, bytes, arrays - to the uint8 that packed tables hold, by the same steps."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import SignalError
from earthtone.signal.audio import Samples, read_audio, resample
from earthtone.signal.config import AudioConfig, ImageConfig
from earthtone.signal.image import Pixels, decode_tile, encode_tile, read_shrunk, stored_tile, tile_side_m
from earthtone.signal.mel import Spectrogram, log_mel, windows
from earthtone.signal.spectrogram_file import ready_spectrogram

ImageInput = str | Path | bytes | NDArray[np.uint8]
SoundInput = str | Path | bytes | tuple[Samples, int]


def measured_tile(image: ImageInput, config: ImageConfig, gsd_m: float | None = None) -> tuple[Pixels, float | None]:
    """Return the tile that packing would store, after its JPEG, and the metres along its side, None without `gsd_m`.

    So a file and its packed row embed alike. Raises SignalError.
    """
    shrunk = 1.0
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise SignalError(f"image array {image.dtype} {image.shape}; uint8 (height, width, 3) expected")
        pixels = image
    else:
        whole = config.footprint_m is not None
        source = image if isinstance(image, bytes) else Path(image)
        pixels, shrunk = read_shrunk(source, config.bands, min_side=None if whole else config.stored_pixels)
    tile = decode_tile(encode_tile(stored_tile(pixels, config, gsd_m), config))
    return tile, tile_side_m(pixels, config, None if gsd_m is None else gsd_m * shrunk)


def recording_windows(sound: SoundInput, config: AudioConfig) -> Spectrogram:
    """Return all windows (windows, frames, mels) of a recording; stereo samples are (samples, channels)."""
    if isinstance(sound, tuple) and config.input == "spectrogram":
        raise SignalError("samples given; this model was trained on ready spectrogram pictures and knows only those")
    if isinstance(sound, tuple):
        samples, hz = np.asarray(sound[0]), sound[1]
        if samples.dtype.kind != "f" or samples.ndim not in (1, 2) or hz <= 0:
            raise SignalError(
                f"samples {samples.dtype} {samples.shape} at {hz} Hz; floats with full scale 1, (samples,) or "
                "(samples, channels), and hz > 0 expected"
            )
        mono = samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)
        return windows(log_mel(resample(mono, hz, config.sample_rate_hz), config), config)
    source = sound if isinstance(sound, bytes) else Path(sound)
    if config.input == "spectrogram":
        return windows(ready_spectrogram(source, config), config)
    return windows(log_mel(read_audio(source, config.sample_rate_hz), config), config)

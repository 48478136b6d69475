"""What a user may hand to a model - files, bytes, arrays - to the uint8 that packed tables hold, by the same steps."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from earthtone.errors import SignalError
from earthtone.models.sound_input import SoundInput, given_sound
from earthtone.signal.audio import read_audio, recording_of
from earthtone.signal.config import AudioConfig, ImageConfig
from earthtone.signal.image import (
    Picture,
    Pixels,
    decode_tile,
    encode_tile,
    kept_remarks,
    read_picture,
    stored_tile,
    tile_side_m,
)
from earthtone.signal.mel import Spectrogram, log_mel, windows
from earthtone.signal.spectrogram_file import ready_spectrogram

#: A file, its bytes, (height, width, 3) uint8, a picture of Pillow's, a tensor (3, height, width) or (height, width, 3)
#: uint8, or Hugging Face's {"bytes": ..., "path": ...}.
ImageInput = str | PathLike[str] | bytes | NDArray[np.uint8] | Image.Image | Tensor | Mapping[str, Any]


def measured_tile(image: ImageInput, config: ImageConfig, gsd_m: float | None = None) -> tuple[Pixels, float | None]:
    """Return the tile that packing would store, after its JPEG, and the metres along its side, None without `gsd_m`.

    So a file and its packed row embed alike. Raises SignalError.
    """
    picture = _picture(image, config)
    kept_remarks(picture, config, gsd_m)
    tile = decode_tile(encode_tile(stored_tile(picture.pixels, config, gsd_m), config))
    return tile, tile_side_m(picture.pixels, config, None if gsd_m is None else gsd_m * picture.shrunk)


def _picture(image: Any, config: ImageConfig) -> Picture:
    """Return what a user handed over as a picture. Raises SignalError."""
    if isinstance(image, Mapping):
        data, path = image.get("bytes"), image.get("path")
        if data is None and path is None:
            raise SignalError(f"image dict with the keys {sorted(map(str, image))}; 'bytes' or 'path' expected")
        return _picture(path if data is None else data, config)
    if isinstance(image, Tensor):
        return Picture(_of_tensor(image))
    if isinstance(image, np.ndarray):
        return Picture(_checked("array", image))
    min_side = None if config.footprint_m is not None else config.stored_pixels
    if isinstance(image, (str, PathLike)):
        return read_picture(Path(image), config, min_side)
    if isinstance(image, Image.Image):
        return read_picture(image, config)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return read_picture(bytes(image), config, min_side)
    raise SignalError(
        f"image of type {type(image).__name__}; a path, bytes, an array (height, width, 3) of uint8, a tensor, a "
        "picture of Pillow's or a dict with 'bytes' or 'path' expected"
    )


def _of_tensor(image: Tensor) -> Pixels:
    """Return (height, width, 3) of a tensor; channels may come first, as is usual there."""
    shape = tuple(image.shape)
    if image.dtype != torch.uint8:
        hint = "; type (image * 255).round().to(torch.uint8) if it is 0 to 1" if image.is_floating_point() else ""
        raise SignalError(f"image tensor {image.dtype} {shape}; uint8 (3, height, width) expected{hint}")
    values = image.detach().cpu().numpy()
    first = len(shape) == 3 and shape[0] == 3 and shape[2] != 3
    return _checked("tensor", values.transpose(1, 2, 0) if first else values)


def _checked(kind: str, values: NDArray[Any]) -> Pixels:
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] != 3 or not values.size:
        hint = ""
        if values.dtype == np.uint8 and values.ndim == 3 and values.shape[0] == 3:
            hint = "; type image.transpose(1, 2, 0)"
        elif values.dtype == np.uint8 and values.ndim == 2:
            hint = "; type np.stack([image] * 3, axis=-1)"
        raise SignalError(f"image {kind} {values.dtype} {values.shape}; uint8 (height, width, 3) expected{hint}")
    return np.ascontiguousarray(values)


def recording_windows(sound: SoundInput, config: AudioConfig) -> Spectrogram:
    """Return all windows (windows, frames, mels) of a recording; samples by the same steps as a file.

    Raises SignalError for what is no sound.
    """
    given = given_sound(sound)
    if isinstance(given, tuple) and config.input == "spectrogram":
        raise SignalError("samples given; this model was trained on ready spectrogram pictures and knows only those")
    if isinstance(given, tuple):
        samples, hz = given
        return windows(
            log_mel(recording_of(samples, hz, config.sample_rate_hz, config.channel).samples, config), config
        )
    if config.input == "spectrogram":
        return windows(ready_spectrogram(given, config), config)
    return windows(log_mel(read_audio(given, config.sample_rate_hz, config.channel), config), config)

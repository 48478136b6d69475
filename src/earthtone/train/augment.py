"""Random views of a pair in uint8: one warp and one colour matrix for the tile, gain and masks for the sound."""

from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator

from earthtone.signal.config import AudioConfig
from earthtone.signal.image import Pixels, warped
from earthtone.signal.mel import Spectrogram
from earthtone.train.recipe import AugmentConfig

_LUMA = np.array([0.299, 0.587, 0.114])


def random_view(tile: Pixels, side: int, config: AugmentConfig, draw: Generator) -> Pixels:
    """Return a random view (side, side, 3) of a stored tile."""
    view = warped(
        tile,
        side,
        area=draw.uniform(*config.crop_area),
        centre=(draw.uniform(), draw.uniform()),
        degrees=draw.uniform(-config.rotation_degrees, config.rotation_degrees),
        mirrored=config.mirror and draw.random() < 0.5,
    )
    return np.asarray(cv2.transform(view, colour_matrix(config, draw)), np.uint8)


def colour_matrix(config: AugmentConfig, draw: Generator) -> np.ndarray:
    """Return the 3 x 4 matrix of a random brightness, contrast, saturation and colour cast, applied to RGB in 0-255."""
    brightness = 1 + draw.uniform(-config.brightness, config.brightness)
    contrast = 1 + draw.uniform(-config.contrast, config.contrast)
    saturation = 1 + draw.uniform(-config.saturation, config.saturation)
    cast = 1 + draw.uniform(-config.colour_cast, config.colour_cast, 3)
    mix = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    matrix = np.empty((3, 4))
    matrix[:, :3] = brightness * contrast * cast[:, None] * mix
    matrix[:, 3] = 127.5 * (1 - contrast)  # contrast turns about middle grey
    return matrix


def random_starts(room: int, count: int, draw: Generator) -> list[int]:
    """Return the first frames of `count` windows of a recording, ascending, each from 0 to `room`.

    The possible starts are cut into `count` strata, equal to a frame, and one is drawn from each: windows are spread
    over the recording and differ wherever room + 1 >= count, yet all together they start anywhere equally often, as a
    single random window does.
    """
    edges = [stratum * (room + 1) // count for stratum in range(count + 1)]
    return [int(draw.integers(low, max(high, low + 1))) for low, high in pairwise(edges)]


def random_sound(window: Spectrogram, audio: AudioConfig, config: AugmentConfig, draw: Generator) -> Spectrogram:
    """Return a changed copy of a window (frames, mels): loudness, a masked stretch, a masked band."""
    frames, mels = window.shape
    steps = 255.0 / (audio.ceiling_db - audio.floor_db)  # bytes a decibel
    gain = round(draw.uniform(-config.gain_db, config.gain_db) * steps)
    out = np.clip(window.astype(np.int16) + gain, 0, 255).astype(np.uint8)
    if config.roll:
        out = np.roll(out, draw.integers(frames), axis=0)
    fill = int(out.mean())
    length = int(draw.uniform(0, config.time_mask) * frames)
    start = draw.integers(frames - length + 1)
    out[start : start + length] = fill
    width = int(draw.uniform(0, config.mel_mask) * mels)
    start = draw.integers(mels - width + 1)
    out[:, start : start + width] = fill
    return out

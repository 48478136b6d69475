"""What is added to a window of sound: another recording in the background, and noise; powers add."""

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from earthtone.signal.config import AudioConfig
from earthtone.signal.mel import Spectrogram
from earthtone.train.recipe import AugmentConfig

Power = NDArray[np.float32]

_MIX_DB = (-20.0, -5.0)  # where a recipe names no levels
_NOISE_DB = (-30.0, -10.0)


class Place(NamedTuple):
    """A stretch of a recording, from frame `start` on, that is to be mixed in at `decibel` of the own mean power."""

    row: int
    start: int
    decibel: float


class Background(NamedTuple):
    """A window (frames, mels) to be mixed in at `decibel` of the own mean power."""

    window: Spectrogram
    decibel: float


def random_place(
    row: int, rows: NDArray[np.int64], room: NDArray[np.int32], config: AugmentConfig, draw: Generator
) -> Place | None:
    """Return which part of which other of the training `rows` is mixed into a window of `row`; None for nothing.

    `room` are the last possible first frames of all rows of the table. Draws nothing without a `mix_share`.
    """
    if not config.mix_share or draw.random() >= config.mix_share:
        return None
    other = int(rows[draw.integers(len(rows) - 1)])  # one of the others: the last one stands in for the row itself
    other = int(rows[-1]) if other == row else other
    return Place(other, int(draw.integers(room[other] + 1)), draw.uniform(*config.mix_db or _MIX_DB))


def with_added(
    window: Spectrogram, audio: AudioConfig, config: AugmentConfig, background: Background | None, draw: Generator
) -> Spectrogram:
    """Return a window (frames, mels) with a background and with noise, where there are any; the window itself if not.

    The noise is white: as strong in every band, since those have unit area, and exponentially distributed over cells,
    as the power of Gaussian noise is. Both levels are relative to the window's own mean power. Draws nothing without a
    `noise_share`.
    """
    noisy = config.noise_share and draw.random() < config.noise_share
    if background is None and not noisy:
        return window
    power = _powers(audio)[window]
    mean = power.mean()
    if background is not None and background.window.any():  # silence has nothing that could be made louder
        other = _powers(audio)[background.window]
        power = power + other * (mean / other.mean() * _ratio(background.decibel))
    if noisy:
        level = _ratio(draw.uniform(*config.noise_db or _NOISE_DB))
        power = power + draw.standard_exponential(window.shape, np.float32) * (mean * level)
    steps = 255.0 / (audio.ceiling_db - audio.floor_db)  # bytes a decibel
    # no power is below that of byte 0, as the `Abs` would have it; twenty times as fast as NumPy's logarithm
    scaled = cv2.convertScaleAbs(cv2.log(power), alpha=steps * 10 / math.log(10), beta=-steps * audio.floor_db)
    return np.asarray(scaled, np.uint8)


@lru_cache(maxsize=8)
def _powers(audio: AudioConfig) -> Power:
    """Return the power (256) that each byte stands for."""
    decibel = audio.floor_db + np.arange(256) * ((audio.ceiling_db - audio.floor_db) / 255.0)
    return np.asarray(10 ** (decibel / 10), np.float32)


def _ratio(decibel: float) -> np.float32:
    return np.float32(10 ** (decibel / 10))

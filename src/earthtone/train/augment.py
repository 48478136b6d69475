"""Random views of a pair in uint8: of the tile by one warp, of the sound by gain, masks and a background."""

import math
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from earthtone.signal.config import AudioConfig
from earthtone.signal.image import Pixels, Positions, warped, with_scale
from earthtone.signal.spectrogram import Spectrogram
from earthtone.train.recipe import AugmentConfig

Power = NDArray[np.float32]

_MIX_DB = (-20.0, -5.0)  # where a recipe names no levels
_NOISE_DB = (-30.0, -10.0)
# NTSC's YIQ: brightness, and two axes of colour in which turning changes the hue alone
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)
_CELLS = 5  # columns and rows of the grid that is distorted
_FAINTEST_BLUR = 0.2  # sigma in pixels; below it 8 bits hardly change


class Background(NamedTuple):
    """A window (frames, mels) to be mixed in at `decibel` of the own mean power."""

    window: Spectrogram
    decibel: float


def random_background(
    row: int, rows: NDArray[np.int64], room: NDArray[np.int32], config: AugmentConfig, draw: Generator
) -> tuple[int, int, float] | None:
    """Return what is mixed into a window of `row`: another of the training `rows`, its first frame, decibel; or None.

    `room` are the last possible first frames of all rows of the table. Draws nothing without a `mix_share`.
    """
    if not config.mix_share or draw.random() >= config.mix_share:
        return None
    other = int(rows[draw.integers(len(rows) - 1)])  # one of the others: the last one stands in for the row itself
    other = int(rows[-1]) if other == row else other
    return other, int(draw.integers(room[other] + 1)), draw.uniform(*config.mix_db or _MIX_DB)


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
        power = power + other * (mean / other.mean() * _power_ratio(background.decibel))
    if noisy:
        level = _power_ratio(draw.uniform(*config.noise_db or _NOISE_DB))
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


def _power_ratio(decibel: float) -> np.float32:
    return np.float32(10 ** (decibel / 10))


def random_view(tile: Pixels, side: int, config: AugmentConfig, draw: Generator, side_m: float | None = None) -> Pixels:
    """Return a random view (side, side, 3) of a stored tile.

    What the recipe leaves at zero draws nothing: an option that is not used does not change the others' draws. With
    `side_m`, the metres along the tile's side, the view's metres a pixel are its fourth channel (`with_scale`): those
    of its mean over both directions, where `crop_ratio` stretches it.
    """
    area = draw.uniform(*config.crop_area)
    view = warped(
        tile,
        side,
        area=area,
        centre=(draw.uniform(), draw.uniform()),
        degrees=draw.uniform(-config.rotation_degrees, config.rotation_degrees),
        mirrored=config.mirror and draw.random() < 0.5,
        ratio=_ratio(area, config, draw),
        bends=_bends(side, config, draw),
    )
    if config.blur_sigma and (sigma := draw.uniform(0, config.blur_sigma)) > _FAINTEST_BLUR:
        view = np.asarray(cv2.GaussianBlur(view, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.uint8)
    view = np.asarray(cv2.transform(view, colour_matrix(config, draw)), np.uint8)
    return view if side_m is None else with_scale(view, side_m * area**0.5 / side)


def _ratio(area: float, config: AugmentConfig, draw: Generator) -> float:
    """Return the crop's width over its height: no longer and no wider than the tile, with the area kept."""
    low, high = config.crop_ratio
    if low == high == 1:
        return 1.0
    return float(np.clip(np.exp(draw.uniform(np.log(low), np.log(high))), area, 1 / area))


def _bends(side: int, config: AugmentConfig, draw: Generator) -> tuple[Positions, Positions] | None:
    """Return where a view's columns and rows look when the cells of a grid get random sizes; its edges stay."""
    if not config.grid_distortion:
        return None
    columns, rows = 1 + draw.uniform(-config.grid_distortion, config.grid_distortion, (2, _CELLS))
    return _bent(side, columns), _bent(side, rows)


def _bent(side: int, sizes: Positions) -> Positions:
    ends = np.append(0.0, sizes.cumsum())
    middles = np.arange(side) + 0.5
    bent = np.interp(middles, np.linspace(0, side, len(ends)), ends * (side / ends[-1])) - 0.5
    return np.asarray(bent, np.float64)


def colour_matrix(config: AugmentConfig, draw: Generator) -> np.ndarray:
    """Return the 3 x 4 matrix of a random brightness, contrast, saturation, cast and hue, applied to RGB in 0-255."""
    brightness = 1 + draw.uniform(-config.brightness, config.brightness)
    contrast = 1 + draw.uniform(-config.contrast, config.contrast)
    saturation = 1 + draw.uniform(-config.saturation, config.saturation)
    cast = 1 + draw.uniform(-config.colour_cast, config.colour_cast, 3)
    mix = saturation * np.eye(3) + (1 - saturation) * np.tile(_YIQ[0], (3, 1))
    if config.hue_degrees:
        mix = mix @ _hue_turn(draw.uniform(-config.hue_degrees, config.hue_degrees))
    matrix = np.empty((3, 4))
    matrix[:, :3] = brightness * contrast * cast[:, None] * mix
    matrix[:, 3] = 127.5 * (1 - contrast)  # contrast turns about middle grey
    return matrix


def _hue_turn(degrees: float) -> np.ndarray:
    """Return the 3 x 3 matrix on RGB that turns hues and leaves greys and brightness alone."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(_RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ)


def random_starts(room: int, count: int, draw: Generator) -> list[int]:
    """Return the first frames of `count` windows of a recording, ascending, each from 0 to `room`.

    The possible starts are cut into `count` strata, equal to a frame, and one is drawn from each: windows are spread
    over the recording and differ wherever room + 1 >= count, yet all together they start anywhere equally often, as a
    single random window does.
    """
    edges = [stratum * (room + 1) // count for stratum in range(count + 1)]
    return [int(draw.integers(low, max(high, low + 1))) for low, high in pairwise(edges)]


def random_sound(
    window: Spectrogram,
    audio: AudioConfig,
    config: AugmentConfig,
    draw: Generator,
    background: Background | None = None,
) -> Spectrogram:
    """Return a changed copy of a window (frames, mels): background and noise, loudness, a masked stretch and band."""
    window = with_added(window, audio, config, background, draw)
    frames, mels = window.shape
    steps = 255.0 / (audio.ceiling_db - audio.floor_db)  # bytes a decibel
    gain = round(draw.uniform(-config.gain_db, config.gain_db) * steps)
    out = np.clip(window.astype(np.int16) + gain, 0, 255).astype(np.uint8)
    if config.roll:
        out = np.roll(out, draw.integers(frames), axis=0)
    fill = int(cv2.sumElems(out)[0]) // out.size  # the mean, sixty times as fast as NumPy's over bytes
    length = int(draw.uniform(0, config.time_mask) * frames)
    start = draw.integers(frames - length + 1)
    out[start : start + length] = fill
    width = int(draw.uniform(0, config.mel_mask) * mels)
    start = draw.integers(mels - width + 1)
    out[:, start : start + width] = fill
    return out

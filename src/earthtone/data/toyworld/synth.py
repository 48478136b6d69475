"""Sounds from whole-number phases, tables and straight lines: noises, tones, envelopes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from earthtone.data.toyworld.exact import SINE
from earthtone.data.toyworld.hashing import Float32s, Stream

_PHASES = 2.0**32


def line(points: Sequence[float] | Float32s, count: int) -> Float32s:
    """Return `count` samples of straight lines through evenly spaced points."""
    values = np.asarray(points, dtype=np.float32)
    gaps = len(values) - 1
    step = -(-count // gaps)
    share = np.arange(step, dtype=np.int64).astype(np.float32) / np.float32(step)
    rise = (values[1:] - values[:-1])[:, None] * share
    rise += values[:-1, None]
    return rise.ravel()[:count]


def low_noise(stream: Stream, count: int, hz: int, below_hz: float) -> Float32s:
    """Return noise in [-1, 1) with most of its power below a frequency (lines between random values)."""
    step = max(1, round(hz / (2.0 * below_hz)))
    if step == 1:
        return stream.white(count)
    return line(stream.white(-(-count // step) + 1), step * -(-count // step))[:count]


def band_noise(stream: Stream, count: int, hz: int, centre_hz: float, width_hz: float) -> Float32s:
    """Return noise around a frequency: low noise that modulates a tone."""
    noise = low_noise(stream, count, hz, width_hz / 2)
    noise *= tone(count, hz, centre_hz, stream.uniform())
    return noise


def tone(count: int, hz: int, frequency_hz: float, turn: float = 0.0) -> Float32s:
    """Return a sine; `turn` in [0, 1) is where it begins."""
    step = np.uint32(int(frequency_hz / hz * _PHASES) & 0xFFFFFFFF)
    phases = np.arange(count, dtype=np.uint32)
    phases *= step
    phases += np.uint32(int(turn * _PHASES))
    return _sine(phases)


def _sine(phases: npt.NDArray[np.uint32]) -> Float32s:
    """Return the sine of phases of which 2**32 are one turn."""
    sines: Float32s = SINE[phases >> np.uint32(20)]
    return sines


def glide(frequencies_hz: Float32s, hz: int) -> Float32s:
    """Return a sine whose frequency is given for each sample (limited to half the rate)."""
    steps = np.clip(frequencies_hz, 0, np.float32(hz * 0.49)).astype(np.float64) * (_PHASES / hz)
    return _sine(np.cumsum(steps.astype(np.int64)).astype(np.uint32))


def voice(frequencies_hz: Float32s, hz: int, harmonics: Sequence[float]) -> Float32s:
    """Return a sound with harmonics; `harmonics` are the amplitudes of 1, 2, 3 ... times the frequency."""
    steps = np.clip(frequencies_hz, 0, np.float32(hz * 0.49)).astype(np.float64) * (_PHASES / hz)
    phases = np.cumsum(steps.astype(np.int64)).astype(np.uint32)
    highest = float(frequencies_hz.max())
    sound = np.zeros(len(phases), dtype=np.float32)
    for number, amplitude in enumerate(harmonics, 1):
        if amplitude and highest * number < hz * 0.49:
            sound += _sine(phases * np.uint32(number)) * np.float32(amplitude)
    return sound


def add_at(mix: Float32s, sound: Float32s, start: int) -> None:
    """Add a sound to the mix from sample `start`; what hangs over either end is cut."""
    first = max(0, -start)
    last = min(len(sound), len(mix) - start)
    if last > first:
        mix[start + first : start + last] += sound[first:last]

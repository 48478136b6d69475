"""What a user may hand over as a sound: a file, its bytes, samples with their rate, or a dict of Hugging Face."""

import math
import numbers
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import SignalError
from earthtone.signal.audio import LEAST_HZ

SoundInput = str | PathLike[str] | bytes | tuple[Any, int] | Mapping[str, Any]
"""A path, the bytes of a file, (samples, hz), or {"array": samples, "sampling_rate": hz} or {"bytes": .., "path": ..}.

Samples are floats with full scale 1: NumPy, torch or lists, (samples,), (samples, channels) or (channels, samples).
"""

_EXPECTED = 'a path, bytes, (samples, hz) or {"array": samples, "sampling_rate": hz} expected'
_MOST_CHANNELS = 64  # the longer side is time where the other is no longer than this
_MOST_HZ = 10_000_000


def given_sound(sound: object) -> Path | bytes | tuple[NDArray[np.floating[Any]], int]:
    """Return a file, its bytes, or samples (samples,) or (samples, channels) with their rate. Raises SignalError."""
    if isinstance(sound, (str, PathLike)):
        return Path(sound)
    if isinstance(sound, (bytes, bytearray, memoryview)):
        return bytes(sound)
    if isinstance(sound, Mapping):
        return _from_dict(sound)
    if isinstance(sound, tuple) and len(sound) == 2:
        samples, hz = sound
        if isinstance(samples, numbers.Real) and _has_axes(hz):
            raise SignalError(f"(hz, samples) given: {samples!r:.20} comes first; (samples, hz) expected")
        if hz is None or isinstance(hz, str):
            raise SignalError(f"hz is {hz!r:.40}; the samples a second expected, a number such as 48000")
        return _samples(samples), checked_hz(hz)
    if _has_axes(sound):
        raise SignalError(f"{type(sound).__name__} without its rate; {_EXPECTED}")
    raise SignalError(f"a sound is {_shown(sound)}; {_EXPECTED}")


def checked_hz(hz: object) -> int:
    """Return the samples a second as a whole number. Raises SignalError for what cannot be a rate."""
    value = hz.item() if hasattr(hz, "item") and getattr(hz, "ndim", 0) == 0 else hz
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SignalError(f"hz is {_shown(hz)}; the samples a second expected, a number such as 48000")
    if isinstance(value, int) and value > _MOST_HZ:
        raise SignalError(f"hz is {value!s:.40}; a whole number of samples a second expected, {_MOST_HZ} at most")
    if not math.isfinite(value) or value <= 0:
        raise SignalError(f"hz is {value}; hz > 0 expected, such as 48000")
    if value < LEAST_HZ:
        kilo = f", such as {round(1000 * value)} if {value:g} kHz were meant" if 4 <= value <= 400 else ""
        raise SignalError(f"{value:g} samples a second; hertz expected, {LEAST_HZ} or more{kilo}")
    if value != round(value) or value > _MOST_HZ:
        raise SignalError(f"hz is {value}; a whole number of samples a second expected, {_MOST_HZ} at most")
    return round(value)


def _from_dict(sound: Mapping[str, Any]) -> Path | bytes | tuple[NDArray[np.floating[Any]], int]:
    """The two forms that Hugging Face's datasets has: decoded, and not."""
    if sound.get("array") is not None:
        if "sampling_rate" not in sound:
            raise SignalError('a dict with "array" but without "sampling_rate"; both expected')
        return given_sound((sound["array"], sound["sampling_rate"]))
    for key in ("bytes", "path"):
        if isinstance(sound.get(key), (str, PathLike, bytes)):
            return given_sound(sound[key])
    raise SignalError(f"a dict with the keys {sorted(map(str, sound))!r:.80}; {_EXPECTED}")


def _samples(given: object) -> NDArray[np.floating[Any]]:
    """Return an array of floats, time first. Raises SignalError."""
    tensor: Any = given
    if hasattr(tensor, "detach"):  # torch, perhaps on a GPU or in bfloat16, which NumPy does not know
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
    try:
        samples = np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SignalError(f"samples are {_shown(given)}; an array of floats with full scale 1 expected") from error
    if samples.dtype.kind in "iu":
        raise SignalError(
            f"samples {samples.dtype} {samples.shape}; floats with full scale 1 expected: {_advice(samples)}"
        )
    if np.ma.is_masked(given):
        raise SignalError("samples are a masked array, whose hidden samples have no value; fill or leave them out")
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2):
        raise SignalError(
            f"samples {samples.dtype} {samples.shape}; floats with full scale 1, (samples,) or (samples, channels), "
            "expected"
        )
    if samples.ndim == 2 and min(samples.shape) > _MOST_CHANNELS:
        raise SignalError(
            f"samples of shape {samples.shape}; (samples, channels) or (channels, samples) expected, with at most "
            f"{_MOST_CHANNELS} channels"
        )
    if samples.ndim == 2 and samples.shape[0] <= _MOST_CHANNELS < samples.shape[1]:
        samples = samples.T
    elif samples.ndim == 2 and max(samples.shape) <= _MOST_CHANNELS:
        raise SignalError(f"samples of shape {samples.shape}; a recording was expected, which is longer on one side")
    return samples


def _advice(samples: NDArray[Any]) -> str:
    """How whole numbers become floats; wider types than 32 bits mostly hold narrower samples, as lists of int do."""
    bits = 8 * samples.dtype.itemsize - 1
    if samples.dtype.kind == "u":
        return f"subtract {2**bits} and divide by {2**bits}"
    if bits > 31:
        peak = max(-int(samples.min()), int(samples.max())) if samples.size else 0
        bits = next((bits for bits in (15, 23, 31) if peak <= 2**bits), bits)
    return f"divide by {2**bits}"


def _has_axes(value: object) -> bool:
    return getattr(value, "ndim", 0) > 0 or isinstance(value, list)


def _shown(value: object) -> str:
    """A value in an error: no more than a line of it."""
    return " ".join(f"{value!r:.60}".split()) if not _has_axes(value) else type(value).__name__

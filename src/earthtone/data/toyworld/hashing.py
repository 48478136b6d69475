"""Random numbers that are the same on every machine and with every NumPy: a 64-bit integer mix, nothing else.

The mix is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInts = npt.NDArray[np.uint64]
Float32s = npt.NDArray[np.float32]

_MASK = 0xFFFFFFFFFFFFFFFF
_STEP = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def mix(value: int) -> int:
    """Return 64 well-mixed bits of a whole number."""
    value = (value + _STEP) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def mix_array(values: UInts) -> UInts:
    """Return `mix` of every element."""
    mixed = values + np.uint64(_STEP)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(_FIRST)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(_SECOND)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@lru_cache(maxsize=4096)
def key_of(*parts: int | str) -> int:
    """Return one 64-bit key of numbers and names; the order counts."""
    key = 0
    for part in parts:
        for number in part.encode() if isinstance(part, str) else (part,):
            key = mix(key ^ mix(number & _MASK))
    return key


def unit(values: UInts) -> Float32s:
    """Return the upper 24 bits of every element as a number in [0, 1)."""
    return (values >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


class Stream:
    """A sequence of random numbers that depends on its key alone."""

    def __init__(self, *parts: int | str) -> None:
        self._key = key_of(*parts)
        self._drawn = 0

    def _next(self) -> int:
        self._drawn += 1
        return mix(self._key + self._drawn * _STEP)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * ((self._next() >> 11) * 2.0**-53)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform() < probability

    def below(self, count: int) -> int:
        """Return a whole number in 0 ... count - 1."""
        return self._next() % count

    def units(self, count: int) -> Float32s:
        """Return `count` numbers in [0, 1) with 24 bits each."""
        return unit(mix_array(self._counters(count)))

    def white(self, count: int) -> Float32s:
        """Return `count` numbers in [-1, 1) with 16 bits each: cheap white noise."""
        words = mix_array(self._counters((count + 3) // 4)).astype("<u8", copy=False)
        return words.view("<i2")[:count].astype(np.float32) * np.float32(2.0**-15)

    def _counters(self, count: int) -> UInts:
        counters = np.arange(count, dtype=np.uint64)
        counters += np.uint64(self._next())
        # A second mix of distinct counters cannot collide within one array.
        counters *= np.uint64(_STEP)
        return counters

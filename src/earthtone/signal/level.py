"""How loud a recording is, channel by channel: what its scale must be, and which recordings must be told of."""

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import SignalError
from earthtone.signal.remarks import CHANNELS_CANCEL, CLIPPED, DEAD_CHANNEL, OFFSET, SILENT, Remark

Block = NDArray[np.float32]

_STILL = 2.0**-16  # peak to peak, half a step of 16 bits: less is no sound
_CANCELLED = 0.01  # power of the mean against that of the channels: -20 dB; independent channels have -3 dB
_DEAD = 1e-6  # power of one channel against that of the loudest: -60 dB
_FULL = 0.9999  # of full scale, 32767 / 32768 and more
_CLIPPED_SHARE = 5e-3  # of a channel's samples
_OFFSET = 0.05  # of full scale; recorders with 0.03 are in use
_LOUDEST = 100.0  # times full scale, 40 dB above: no sound
LOUD = 4.0
_LOUD_SHARE = 1e-3


class Level:
    """What is known of the samples heard so far; `add` block by block, then ask for `remarks`."""

    def __init__(self, channels: int, name: str) -> None:
        self._name = name
        self._count = self._loud = 0
        self._low, self._high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self._sum, self._squares = np.zeros(channels), np.zeros(channels)
        self._full = np.zeros(channels, np.int64)
        self._mixed = (np.inf, -np.inf)
        self._mixed_sum = self._mixed_squares = 0.0

    def add(self, planes: Block, mixed: Block) -> None:
        """Count a block (channels, samples) and what became of it in mono. Raises SignalError for what is no sound."""
        if planes.shape[1] == 0:
            return
        low, high = planes.min(axis=1), planes.max(axis=1)
        peak = float(max(high.max(), -low.min()))
        if not np.isfinite(peak):
            raise SignalError(f"{self._name}: samples are NaN or infinite; finite sound was expected")
        if peak > _LOUDEST:
            raise out_of_scale(self._name, peak)
        wide = planes.astype(np.float64)
        self._count += planes.shape[1]
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self._sum += wide.sum(axis=1)
        self._squares += [np.dot(row, row) for row in wide]
        if peak >= _FULL:
            self._full += (np.abs(planes) >= _FULL).sum(axis=1)
            self._loud += int((np.abs(planes) > LOUD).sum())
        self._mixed = (min(self._mixed[0], float(mixed.min())), max(self._mixed[1], float(mixed.max())))
        if len(planes) > 1:
            mono = mixed.astype(np.float64)
            self._mixed_sum += float(mono.sum())
            self._mixed_squares += float(np.dot(mono, mono))

    def check_scale(self) -> None:
        """Raise SignalError where full scale cannot have been 1."""
        if self._loud > _LOUD_SHARE * self._count * len(self._sum):
            raise out_of_scale(self._name, float(max(self._high.max(), -self._low.min())))

    @property
    def loudest(self) -> int:
        """The channel of most power, a constant offset left out."""
        return int(np.argmax(self._power))

    @property
    def silent(self) -> bool:
        """Whether nothing but silence, or one constant, was left once the channels were mixed."""
        return self._mixed[1] - self._mixed[0] <= _STILL

    @property
    def _power(self) -> NDArray[np.float64]:
        count = max(1, self._count)
        return np.maximum(0.0, self._squares / count - np.square(self._sum / count))

    def remarks(self, averaged: bool) -> list[Remark]:
        """Return what was noticed; cancelling and dead channels only matter where they were `averaged`."""
        if self._count == 0:
            return []
        found = []
        power, still = self._power, self._high - self._low <= _STILL
        dead = still | (power < _DEAD * power.max())
        if averaged and not still.all() and len(power) > 1:
            mixed = self._mixed_squares / self._count - (self._mixed_sum / self._count) ** 2
            if dead.any():
                names = ", ".join(str(channel + 1) for channel in np.flatnonzero(dead))
                detail = f"channel {names} of {len(power)} is silent; mean of all was taken (signal.audio.channel)"
                found.append(Remark(DEAD_CHANNEL, detail))
            elif mixed < _CANCELLED * power.mean():
                down = f"{10 * np.log10(power.mean() / mixed):.0f} dB" if mixed > 1e-12 * power.mean() else "wholly"
                detail = f"the channels cancel each other {down} when averaged: one is inverted (signal.audio.channel)"
                found.append(Remark(CHANNELS_CANCEL, detail))
        if self.silent:
            value = 0.5 * sum(self._mixed)
            detail = "every sample is zero" if abs(value) <= _STILL else f"every sample is {value:.3g}"
            if self._mixed[0] < self._mixed[1]:
                detail = f"all samples lie between {self._mixed[0]:.3g} and {self._mixed[1]:.3g}"
            return [*found, Remark(SILENT, detail)]
        clipped = float((self._full / self._count).max())
        if clipped >= _CLIPPED_SHARE:
            found.append(Remark(CLIPPED, f"{100 * clipped:.1f} % of the samples stand at full scale"))
        mean = self._sum / self._count
        worst = float(mean[np.argmax(np.abs(mean))])
        if abs(worst) >= _OFFSET:
            found.append(Remark(OFFSET, f"the mean of the samples is {worst:+.3f} of full scale; 0 expected"))
        return found


def remarks_of(levels: list[Level], *, averaged: bool) -> list[Remark]:
    """Return what was noticed about the streams of one file; it is silent when all are. Raises SignalError on scale."""
    for level in levels:
        level.check_scale()
    heard = [level for level in levels if not level.silent]
    found = [remark for level in levels for remark in level.remarks(averaged)]
    return [remark for remark in found if remark.kind != SILENT or not heard]


def out_of_scale(name: str, peak: float) -> SignalError:
    """Return the error of samples up to `peak`, with what they may have to be divided by."""
    scale = next((f"divide by {2**bits}" for bits in (15, 23, 31) if peak <= 1.2 * 2**bits), "scale them to +-1")
    return SignalError(f"{name}: samples on another scale, up to {peak:.4g}; full scale is 1; {scale}")

"""Recordings to mono samples: any format libsndfile reads (WAV, FLAC, Ogg, Opus, MP3 ...), AAC with an extra.

What is there is heard; what a header promises and the file does not hold, and what else is odd, is a remark.
Memory a thread: the samples that are returned (4 bytes each; 2.8 GB for 6 h, the most, at 32 kHz) and some 50 MB,
whatever the header says; `survey_recording` keeps no samples. What a decoder is shown is made in `sound_streams.py`.
"""

import io
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from earthtone.errors import SignalError
from earthtone.signal.config import CHANNELS
from earthtone.signal.excerpt import Sound, sound_name, sound_streams
from earthtone.signal.remarks import DAMAGED_SOUND, SOUND_MISSING, WRONG_HEADER, Remark
from earthtone.signal.sound_headers import in_time
from earthtone.signal.sound_streams import Block, Level, Loudness, Opener, Stream, remarks_of

Samples = NDArray[np.float32]

LEAST_HZ = 1000  # slower "recordings" are sensors, or headers made to fill the memory
MOST_HZ = 10_000_000  # faster ones are headers, too, which keep the resampler busy for ever
_MAX_HOURS = 6  # mono float32 at 32 kHz: 2.8 GB


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """Length, sample rate and channels of a recording; of joined ones the rate and channels of the first."""

    seconds: float
    hz: int
    channels: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording: mono float32 `samples` (samples,) at the rate asked for, and what was noticed about it.

    `facts` are of what was decoded (length as heard), not of the header.
    """

    samples: Samples
    facts: AudioFacts
    remarks: tuple[Remark, ...] = ()


def probe_audio(source: Sound) -> AudioFacts:
    """Return length, sample rate and channels without decoding, where that can be.

    The length is that of what is there; of a cut or damaged FLAC and Ogg, of what it promises. AAC and FLAC of unknown
    length are decoded. Raises SignalError, also for what is too long to be read.
    """
    openers, _ = sound_streams(source)
    first, seconds = None, 0.0
    for opener in openers:
        with closing(_open(opener, source)) as stream:
            if stream.there is None:
                return survey_recording(source)[0]
            first = first or AudioFacts(0.0, stream.hz, stream.channels)
            seconds += stream.there / stream.hz
            _refuse_long(seconds, source)
    assert first is not None  # noqa: S101 - `streams` returns one or raises
    return AudioFacts(seconds, first.hz, first.channels)


def read_recording(source: Sound, hz: int | None = None, channel: str = "mean") -> Recording:
    """Return the decoded recording, resampled to `hz` (its own rate when null), with remarks.

    Joined files are heard one after another. `channel` is `mean`, `left`, `right` or `loudest` (the one of most power,
    for which the file is decoded twice). Raises SignalError when it is missing, empty, not a sound, too long, holds
    NaN, or cannot have a full scale of 1.
    """
    target = hz or probe_audio(source).hz
    kept = _Growing()
    facts, remarks, _ = _hear(source, target, channel, kept)
    return Recording(kept.finish(), facts, remarks)


def survey_recording(
    source: Sound,
    channel: str = "mean",
    each: Callable[[Samples], object] | None = None,
    watch: Callable[[Block, int], object] | None = None,
) -> tuple[AudioFacts, tuple[Remark, ...]]:
    """Return facts and remarks of a recording as decoding it tells them; no samples are kept.

    `each` is called with one block of mono samples after another, at their own rate; `watch` before it, with the block
    as it was decoded (samples, channels) and its rate: who wants no more raises there. Raises SignalError.
    """
    return _hear(source, None, channel, None, None if each is None else lambda _: each, watch)[:2]


def measure_recording(
    source: Sound, listen: Callable[[int], Callable[[Samples], object]], channel: str = "mean"
) -> tuple[AudioFacts, tuple[Remark, ...], tuple[Loudness, ...]]:
    """Return what `survey_recording` does, and how loud each stream is: mostly one, of joined files several.

    `listen` is called with the samples a second of each stream, and returns what hears its blocks. Raises SignalError.
    """
    facts, remarks, levels = _hear(source, None, channel, None, listen)
    return facts, remarks, tuple(level.loudness for level in levels)


def read_audio(source: Sound, hz: int, channel: str = "mean") -> Samples:
    """Return the mono samples of a file or of its bytes, resampled to `hz`; float32 (samples,), full scale is 1.

    As `read_recording`, without the remarks.
    """
    return read_recording(source, hz, channel).samples


def recording_of(samples: NDArray[np.floating[Any]], hz: int, to_hz: int, channel: str = "mean") -> Recording:
    """Return the recording that an array (samples,) or (samples, channels) is, by the same steps as a file."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused below
        block = np.asarray(samples, np.float32)
    planes = planes_of(block[:, None] if block.ndim == 1 else block)
    name = f"{len(block)} samples"
    if planes.size == 0:
        raise SignalError(f"{name}: no samples; a recording was expected")
    level, loudest = Level(len(planes), name), None
    if channel == "loudest":
        level.add(planes, planes[0])
        loudest, level = level.loudest, Level(len(planes), name)
    mono = mono_of(planes, channel, loudest)
    level.add(planes, mono)
    remarks = remarks_of([level], averaged=channel == "mean")
    return Recording(resample(mono, hz, to_hz), AudioFacts(len(mono) / hz, hz, len(planes)), tuple(remarks))


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return mono `samples` at another rate."""
    return samples if from_hz == to_hz else np.asarray(soxr.resample(samples, from_hz, to_hz, quality="HQ"), np.float32)


def planes_of(block: Block) -> Block:
    """Return samples (samples, channels) as (channels, samples), a channel a row: to count rows is ten times faster."""
    return np.ascontiguousarray(block.T)


def mono_of(planes: Block, channel: str, loudest: int | None = None) -> Samples:
    """Return one of the channels of planes (channels, samples), or the mean of all; a mono sound has only one."""
    last = len(planes) - 1
    if channel == "mean" and last:
        return np.asarray(planes.mean(axis=0, dtype=np.float32))
    chosen: Samples = planes[{"mean": 0, "left": 0, "right": min(1, last), "loudest": loudest or 0}[channel]]
    return chosen


def write_preview(samples: Samples, hz: int) -> bytes:
    """Return mono `samples` as an Ogg Vorbis file's bytes, for listening in a browser."""
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", hz, 1, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(samples), hz):  # in blocks: one long write crashes libsndfile's Vorbis encoder
            file.write(np.clip(samples[start : start + hz], -1.0, 1.0))
    return out.getvalue()


class _Growing:
    """Samples that come in blocks, in one array that is never copied whole where the length is known before."""

    def __init__(self) -> None:
        self._values = np.empty(0, np.float32)
        self._count = 0

    def expect(self, count: int) -> None:
        """Make room at once: memory that is never written to costs nothing."""
        if self._count == 0:
            self._values = np.empty(count, np.float32)

    def add(self, samples: Samples) -> None:
        end = self._count + len(samples)
        if end > len(self._values):
            self._values.resize(max(end, len(self._values) * 5 // 4), refcheck=False)
        self._values[self._count : end] = samples
        self._count = end

    def finish(self) -> Samples:
        self._values.resize(self._count, refcheck=False)
        return self._values


@dataclass
class _Sum:
    """Seconds of all streams of a file so far: found, promised by headers, lost to damage."""

    found: float = 0.0
    promised: float = 0.0
    lost: float = 0.0


def _hear(
    source: Sound,
    hz: int | None,
    channel: str,
    kept: _Growing | None,
    listen: Callable[[int], Callable[[Samples], object]] | None = None,
    watch: Callable[[Block, int], object] | None = None,
) -> tuple[AudioFacts, tuple[Remark, ...], list[Level]]:
    """Return facts, remarks and levels of a file, its streams decoded, mixed, resampled into `kept` or heard."""
    if channel not in CHANNELS:
        raise SignalError(f"channel is {channel!r:.40}; {', '.join(CHANNELS)} expected")
    openers, remarks = sound_streams(source)
    total, first, broken, tolerance = _Sum(), None, "", 0.0
    levels: list[Level] = []
    for number, opener in enumerate(openers, 1):
        in_time()
        try:
            stream = _open(opener, source)
        except SignalError as error:
            if first is None and number == len(openers):
                raise
            remarks.append(Remark(DAMAGED_SOUND, f"stream {number} of {len(openers)} cannot be heard ({error})"))
            continue
        with closing(stream):
            first = first or AudioFacts(0.0, stream.hz, stream.channels)
            _refuse_long(total.found + (stream.there or 0) / stream.hz, source)
            if kept is not None and hz is not None and len(openers) == 1 and stream.there is not None:
                kept.expect(int(stream.there / stream.hz * hz) + 64)
            loudest = _loudest(opener, source) if channel == "loudest" else None
            mix = partial(mono_of, channel=channel, loudest=loudest)
            each = kept.add if kept is not None else None if listen is None else listen(stream.hz)
            levels.append(_decode(stream, source, total, mix, hz, each, watch))
            broken, tolerance = stream.broken or broken, max(tolerance, stream.tolerance_seconds)
    if total.found == 0 or first is None:
        why = f"sound breaks off at once ({broken})" if broken else "no samples"
        raise SignalError(f"{sound_name(source)}: {why}; a recording was expected")
    facts = AudioFacts(total.found, first.hz, first.channels)
    lacking = _of_length(total, tolerance)
    if broken and not lacking and not remarks:
        lacking = [Remark(DAMAGED_SOUND, f"{_seconds(total.found)} are heard, the rest cannot be decoded ({broken})")]
    # a stream without its end does not tell how much is missing, but what is there
    there = f"; {_seconds(total.found)} are there"
    remarks = lacking + [Remark(kind, f"{detail}{there * (kind == SOUND_MISSING)}") for kind, detail in remarks]
    remarks += remarks_of(levels, averaged=channel == "mean")
    first_of_kind = {remark.kind: remark for remark in reversed(remarks)}  # streams of one file may have the same
    return facts, tuple(first_of_kind.values())[::-1], levels


def _open(opener: Opener, source: Sound) -> Stream:
    stream = opener()
    if not LEAST_HZ <= stream.hz <= MOST_HZ:
        stream.close()
        wanted = f"at least {LEAST_HZ} were" if stream.hz < LEAST_HZ else f"at most {MOST_HZ:,} were"
        raise SignalError(f"{sound_name(source)}: {stream.hz!s:.40} samples a second; {wanted} expected; write it anew")
    return stream


def _loudest(opener: Opener, source: Sound) -> int:
    """Return the channel of most power; the stream is decoded for it alone."""
    with closing(_open(opener, source)) as stream:
        level = Level(stream.channels, sound_name(source))
        for block in stream.blocks():
            level.add(planes := planes_of(block), planes[0])
    return level.loudest


def _decode(
    stream: Stream,
    source: Sound,
    total: _Sum,
    mix: Callable[[Block], Samples],
    hz: int | None,
    each: Callable[[Samples], object] | None,
    watch: Callable[[Block, int], object] | None = None,
) -> Level:
    """Return how loud a stream is, decoded for `each` at `hz`; the resampler keeps its state between blocks."""
    level, count = Level(stream.channels, sound_name(source)), 0
    resampler = None
    if hz is not None and stream.hz != hz:
        resampler = soxr.ResampleStream(stream.hz, hz, 1, dtype="float32", quality="HQ")
    for block in stream.blocks():
        in_time()
        if watch is not None:
            watch(block, stream.hz)
        planes = planes_of(block)
        mono = mix(planes)
        level.add(planes, mono)
        count += len(block)
        _refuse_long(total.found + count / stream.hz, source)
        if each is not None:
            each(mono if resampler is None else resampler.resample_chunk(mono))
    if each is not None and resampler is not None:
        each(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    found = count / stream.hz
    total.found += found
    total.promised += found if stream.promised is None else stream.promised / stream.hz
    total.lost += stream.lost / stream.hz
    return level


def _refuse_long(seconds: float, source: Sound) -> None:
    if seconds > _MAX_HOURS * 3600:
        hours = seconds / 3600
        advice = "cut it, or have a row for each part (start_s, end_s)"
        name = sound_name(source)
        raise SignalError(f"{name}: {hours:.3g} h of sound, at most {_MAX_HOURS} h expected; {advice}")


def _of_length(total: _Sum, tolerance_seconds: float) -> list[Remark]:
    """Return remarks on seconds that were promised and are not there, or are there without a promise."""
    found, promised = _seconds(total.found), _seconds(total.promised)
    remarks = []
    if total.lost > 0:
        detail = f"{_seconds(total.lost)} of {promised} cannot be decoded, and are left out"
        remarks.append(Remark(DAMAGED_SOUND, detail))
    missing = total.promised - total.found - total.lost
    if missing > tolerance_seconds:
        detail = f"{found} of {promised} are there, the rest was cut off or is lost; a whole copy was expected"
        remarks.append(Remark(SOUND_MISSING, detail))
    elif -missing > tolerance_seconds:
        remarks.append(Remark(WRONG_HEADER, f"the header promises {promised}, {found} are there and are heard"))
    return remarks


def _seconds(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") + " s"

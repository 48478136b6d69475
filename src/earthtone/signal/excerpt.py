"""Excerpts: from second a to second b of a recording, heard as recordings of their own; nothing else is kept of it.

Where a decoder can go to any sample (PCM, floats, FLAC) it does; elsewhere what lies before is decoded and forgotten.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from earthtone.errors import SignalError
from earthtone.signal.remarks import Remark
from earthtone.signal.sound_streams import Block, Opener, Stream, source_name, streams


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Seconds `start_s` to `end_s` of a recording, to its end where that is null. Raises SignalError for no stretch."""

    source: Path | bytes
    start_s: float = 0.0
    end_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < float("inf"):
            raise SignalError(f"start_s is {self.start_s:g}; 0 or more seconds from the recording's beginning expected")
        if self.end_s is not None and not self.start_s < self.end_s < float("inf"):
            raise SignalError(f"end_s is {self.end_s:g}, start_s {self.start_s:g}; an end after the start expected")


Sound = Path | bytes | Excerpt
"""A recording: a file, the bytes of one, or an excerpt of either."""


def source_of(sound: Sound) -> Path | bytes:
    """Return the file, or its bytes, that a sound lies in."""
    return sound.source if isinstance(sound, Excerpt) else sound


def no_excerpt(sound: Sound) -> Path | bytes:
    """Return a sound that is a picture of a spectrogram. Raises SignalError for an excerpt: its rows are no seconds."""
    if isinstance(sound, Excerpt):
        raise SignalError(f"{sound_name(sound)}: start_s and end_s are of recordings; a whole spectrogram expected")
    return sound


def sound_name(sound: Sound) -> str:
    """Return how messages call a sound."""
    if not isinstance(sound, Excerpt):
        return source_name(sound)
    end = "its end" if sound.end_s is None else f"{sound.end_s:g} s"
    return f"{source_name(sound.source)} from {sound.start_s:g} s to {end}"


def sound_streams(sound: Sound) -> tuple[list[Opener], list[Remark]]:
    """Return what opens each stream of a sound, and what was noticed about its file. Raises SignalError.

    Joined files are one recording: the seconds of an excerpt count from the beginning of the first.
    """
    if not isinstance(sound, Excerpt):
        return streams(sound)
    openers, noticed = _streams_of(sound.source)
    remarks = list(noticed)
    if len(openers) == 1:
        return [partial(_ExcerptStream, openers[0], sound, 0.0)], remarks
    found: list[Opener] = []
    before = 0.0
    for opener in openers:
        stream = opener()
        seconds = None if stream.there is None else stream.there / stream.hz
        stream.close()
        if seconds is None:
            raise SignalError(f"{sound_name(sound)}: joined files of unknown length; take them apart, then cut them")
        if before + seconds > sound.start_s and (sound.end_s is None or before < sound.end_s):
            found.append(partial(_ExcerptStream, opener, sound, before))
        before += seconds
    if not found:
        raise _beyond(sound, before)
    return found, remarks


def _streams_of(source: Path | bytes) -> tuple[Sequence[Opener], Sequence[Remark]]:
    """Return the streams of a recording, looked for once for its many excerpts: that may read the whole of it."""
    return streams(source) if isinstance(source, bytes) else _known_streams(source, file_time(source))


@lru_cache(maxsize=32)
def _known_streams(path: Path, time: tuple[int, int] | None) -> tuple[tuple[Opener, ...], tuple[Remark, ...]]:
    openers, remarks = streams(path)
    return tuple(openers), tuple(remarks)


class _ExcerptStream(Stream):
    """The part of a stream, which begins `before_s` seconds into its file, that belongs to an excerpt."""

    def __init__(self, opener: Opener, excerpt: Excerpt, before_s: float) -> None:
        self._stream, self._excerpt = opener(), excerpt
        self.hz, self.channels = self._stream.hz, self._stream.channels
        self.tolerance_seconds = self._stream.tolerance_seconds
        self._first = max(0, round((excerpt.start_s - before_s) * self.hz))
        self._end = None if excerpt.end_s is None else round((excerpt.end_s - before_s) * self.hz)
        there = self._stream.there
        if there is not None and self._first >= there:
            self._stream.close()
            raise _beyond(excerpt, before_s + there / self.hz)
        if self._end is not None and self._end <= self._first:
            self._stream.close()
            raise SignalError(f"{sound_name(excerpt)}: not one sample at {self.hz} a second; a longer part expected")
        self.there = None if there is None else min(there, self._end or there) - self._first
        # an end was asked for and counts as promised, joined files excepted; what the header says has no part in it
        joined = there is not None and self._end is not None and self._end > there and before_s > 0
        self.promised = self.there if self._end is None or joined else self._end - self._first

    def blocks(self) -> Iterator[Block]:
        at = self._stream.seek(self._first)
        lost = self._stream.lost
        for block in self._stream.blocks():
            at += self._stream.lost - lost  # what cannot be decoded takes its time too
            self.lost += self._overlap(at - (self._stream.lost - lost), at)
            lost = self._stream.lost
            first, end = max(0, self._first - at), len(block) if self._end is None else max(0, self._end - at)
            part = block[first:end]
            at += len(block)
            if len(part):
                yield part
            if self._end is not None and at >= self._end:
                return
        self.broken = self._stream.broken

    def _overlap(self, start: int, end: int) -> int:
        """Return how many of the samples from `start` to `end` belong to the excerpt."""
        return max(0, min(end, self._end or end) - max(start, self._first))

    def close(self) -> None:
        self._stream.close()


def _beyond(excerpt: Excerpt, seconds: float) -> SignalError:
    return SignalError(f"{sound_name(excerpt)}: the recording ends at {seconds:.2f} s; a start before that expected")


def file_time(path: Path) -> tuple[int, int] | None:
    """Return size and time of change of a file, None where they cannot be asked."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def size_on_disk(sound: Sound) -> int:
    """Return the bytes of the file, or of the cell, that a sound lies in, 0 where they cannot be asked."""
    source = source_of(sound)
    return len(source) if isinstance(source, bytes) else (file_time(source) or (0, 0))[0]

"""One file looked at: what its name and headers say, how long it is, and what is wrong with it. Nothing is decoded.

The faults are those that recorders are known for; a file that cannot be heard at all is no row.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from earthtone.build.recordings.chunks import header_facts
from earthtone.build.recordings.facts import Facts
from earthtone.build.recordings.names import name_facts
from earthtone.errors import MissingExtraError, SignalError
from earthtone.files import refuse_full_system, regular_file
from earthtone.signal.excerpt import sound_streams
from earthtone.signal.sound_frames import flac_length, flac_streams, id3v2_bytes
from earthtone.signal.sound_headers import only_zeros, read_at, read_layouts

# Files that are no row.
EMPTY = "empty file"
NUL_BYTES = "only NUL bytes"
NO_SOUND = "not a sound"
PARTIAL = "partial file without a suffix"
BAD_NAME = "name is no UTF-8"
#: Every reason for which a file is left out, with what may be done.
LEFT_OUT = {
    EMPTY: "nothing was recorded: a full card or an empty battery",
    NUL_BYTES: "nothing but NUL bytes: a battery that ran low",
    NO_SOUND: "rubbish, damaged, or of a kind that is not read",
    PARTIAL: "what a recorder leaves that was switched off; rename it if it is a sound",
    BAD_NAME: "rename it",
}
# Faults of rows.
NO_LENGTH = "length 0 in the header"
STALE_LENGTH = "stale length in the header"
TOO_SHORT = "shorter than the header says"
SILENT_DATA = "samples are NUL bytes"
WRONG_DURATION = "wrong duration"
OVERLAP = "overlaps the next recording"
TWICE = "starts with another recording"
CLOCK = "clock was not set"
WRONG_RATE = "another sample rate is told"
JOINED = "joined files"
UNREADABLE = "unreadable time or place"
#: Every fault of a row, with what was done about it.
FAULTS = {
    NO_LENGTH: "read by the bytes that are there",
    STALE_LENGTH: "read by the bytes that are there",
    TOO_SHORT: "read as far as it goes",
    SILENT_DATA: "silence; pack leaves a note",
    WRONG_DURATION: "the samples that are there count",
    OVERLAP: "kept; the clock or a length is wrong",
    TWICE: "kept; a copy, or two recorders of one name",
    CLOCK: "the time is left out",
    WRONG_RATE: "read at the rate of the file; a time-expanded recording is slower than life",
    JOINED: "read one after another",
    UNREADABLE: "left out; the others count",
}
_DURATION_S = 1.0  # of difference, and 1 % of the length, that is no fault


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file is; `left_out`, a reason of `LEFT_OUT` and its detail, where it is no row."""

    path: Path
    folder: str
    size: int
    facts: tuple[Facts, ...] = ()
    seconds: float = 0.0
    hz: int = 0
    channels: int = 0
    faults: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, str] | None = None


def examine(path: Path, folder: str) -> Examined:
    """Return what a file is; `folder` is that of the file below the one that is looked through."""
    try:
        size = regular_file(path).stat().st_size
        with path.open("rb") as file:
            return _examined(path, folder, file, size)
    except MissingExtraError as error:
        if path.suffix.lower() not in (".m4a", ".aac", ".mp4"):
            raise
        return Examined(path, folder, 0, left_out=(NO_SOUND, str(error)))
    except OSError as error:
        refuse_full_system(error)
        return Examined(path, folder, 0, left_out=(NO_SOUND, error.strerror or str(error)))


def _examined(path: Path, folder: str, file: BinaryIO, size: int) -> Examined:
    if size == 0:
        return Examined(path, folder, size, left_out=(EMPTY, "0 bytes"))
    if not any(read_at(file, 0, 4096)) and only_zeros(file, 0, size):
        return Examined(path, folder, size, left_out=(NUL_BYTES, f"{size} bytes"))
    if not path.suffix:
        return Examined(path, folder, size, left_out=(PARTIAL, f"{size} bytes"))
    try:
        seconds, hz, channels, several = _length(path)
    except SignalError as error:
        if isinstance(error, MissingExtraError):
            raise
        said = str(error).removeprefix(f"{path}: ")
        return Examined(path, folder, size, left_out=(NO_SOUND, said))
    facts = (name_facts(path.name), *header_facts(path, file, size))
    faults = [(JOINED, f"{several} streams")] if several > 1 else []
    faults += _header_faults(file, size)
    if several == 1 and (counted := _flac_faults(file, size)) is not None:
        faults.append((WRONG_DURATION, counted[1]))
        seconds = counted[0]
    faults += _told_faults(facts, seconds, hz)
    faults += [(UNREADABLE, text) for said in facts for text in said.unreadable]
    return Examined(path, folder, size, facts, seconds, hz, channels, tuple(faults))


def _length(path: Path) -> tuple[float, int, int, int]:
    """Return seconds, rate, channels and the number of streams, of any length. Raises SignalError.

    What does not tell its length is decoded for it, block by block.
    """
    openers, _ = sound_streams(path)
    seconds, first = 0.0, None
    for opener in openers:
        stream = opener()
        try:
            first = first or (stream.hz, stream.channels)
            count = stream.there
            if count is None:
                count = sum(len(block) for block in stream.blocks())
            seconds += count / max(1, stream.hz)
        finally:
            stream.close()
    if first is None or seconds == 0:
        raise SignalError(f"{path}: no samples; a recording was expected")
    return seconds, *first, len(openers)


def _header_faults(file: BinaryIO, size: int) -> list[tuple[str, str]]:
    """Return in what the lengths of a header and the bytes of the file differ."""
    found = []
    for layout in read_layouts(file, size):
        there, per_sample = max(0, layout.end - layout.start), max(layout.sample_bytes, 1e-9)
        if layout.promised is not None and there - layout.promised >= per_sample:
            kind = NO_LENGTH if layout.promised == 0 else STALE_LENGTH
            found.append((kind, f"{layout.promised} bytes of sound promised, {there} are there"))
        elif layout.promised is not None and layout.promised - there >= per_sample:
            found.append((TOO_SHORT, f"{layout.promised} bytes of sound promised, {there} are there"))
        if there and only_zeros(file, layout.start, layout.end):
            found.append((SILENT_DATA, f"{there} bytes"))
    return found


def _flac_faults(file: BinaryIO, size: int) -> tuple[float, str] | None:
    """Return the seconds of a FLAC by its last frame, and what to say, where its header tells others; else None."""
    tag = id3v2_bytes(file, size)
    stream = next(iter(flac_streams(file, tag, size)), None) if read_at(file, tag, 4) == b"fLaC" else None
    count = None if stream is None else flac_length(file, stream)
    if stream is None or count is None or stream.promised is None or not _differ(count, stream.promised, stream.hz):
        return None
    told, there = stream.promised / stream.hz, count / stream.hz
    return there, f"the FLAC promises {told:.2f} s, its last frame ends at {there:.2f} s"


def _differ(one: float, other: float, hz: float = 1.0) -> bool:
    return abs(one - other) / hz > max(_DURATION_S, 0.01 * max(one, other) / hz)


def _told_faults(facts: Sequence[Facts], seconds: float, hz: int) -> list[tuple[str, str]]:
    """Return in what durations and rates that are told differ from those of the file."""
    found = []
    for said in facts:
        told = said.seconds
        if told is None and said.time is not None and said.end is not None:
            with suppress(TypeError):  # one with a zone and one without
                told = (said.end - said.time).total_seconds()
        if told is not None and _differ(told, seconds):
            found.append((WRONG_DURATION, f"{said.source} tells {told:.2f} s, {seconds:.2f} s are there"))
        if said.hz is not None and said.hz > 0 and abs(said.hz - hz) > 0.01 * hz:
            found.append((WRONG_RATE, f"{said.source} tells {said.hz:g} samples a second, the file {hz}"))
    return found

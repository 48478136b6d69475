"""The streams of a sound file decoded block by block, and how loud their channels are."""

import io
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from earthtone.errors import SignalError, needed_by
from earthtone.files import refuse_full_system, regular_file, system_name
from earthtone.signal.readers import read_sound_by_plugin, reader_source
from earthtone.signal.remarks import CHANNELS_CANCEL, CLIPPED, DEAD_CHANNEL, OFFSET, SILENT, SOUND_MISSING, Remark
from earthtone.signal.sound_frames import (
    FlacStream,
    flac_length,
    flac_streams,
    frame_after,
    id3v2_bytes,
    mp3_parts,
    ogg_parts,
    scan_frames,
)
from earthtone.signal.sound_headers import Layout, Memory, Part, Piece, open_source, read_at, read_layouts, spliced

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


@dataclass(frozen=True, slots=True)
class Loudness:
    """How loud the samples of a recording are; full scale is 1, decibels are those of a mean square of 1.

    Silence has -200 dB. A constant offset has no part in levels.
    """

    samples: int
    level_db: float
    """Of the channels mixed to one."""
    loudest_db: float
    """Of the loudest channel."""
    span: float
    """Highest less lowest sample of the mix."""
    clipped_share: float
    """Of a channel's samples, those at full scale; of the channel with most."""
    offset: float
    """The mean of the samples of the channel whose mean is farthest from 0."""


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
        self._squares += np.einsum("cs,cs->c", wide, wide)  # not np.dot: BLAS would start threads beside ours
        if peak >= _FULL:
            self._full += (np.abs(planes) >= _FULL).sum(axis=1)
            self._loud += int((np.abs(planes) > LOUD).sum())
        self._mixed = (min(self._mixed[0], float(mixed.min())), max(self._mixed[1], float(mixed.max())))
        if len(planes) > 1:
            mono = mixed.astype(np.float64)
            self._mixed_sum += float(mono.sum())
            self._mixed_squares += float(np.einsum("s,s->", mono, mono))

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
    def loudness(self) -> Loudness:
        """How loud all of it is."""
        count, mean = max(1, self._count), self._sum / max(1, self._count)
        power = self._power
        mixed = power[0]
        if len(power) > 1:
            mixed = self._mixed_squares / count - (self._mixed_sum / count) ** 2
        return Loudness(
            samples=self._count,
            level_db=10 * math.log10(max(float(mixed), 1e-20)),
            loudest_db=10 * math.log10(max(float(power.max()), 1e-20)),
            span=max(0.0, self._mixed[1] - self._mixed[0]),
            clipped_share=float((self._full / count).max()),
            offset=float(mean[np.argmax(np.abs(mean))]),
        )

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


# The streams of a sound file, each ready to be decoded block by block: by libsndfile, AAC by FFmpeg (PyAV).
#
# libsndfile says how many samples it expects, not how many it finds: only what a read has filled is passed on.

_BLOCK_SECONDS = 10  # decoded at once, so that a long multichannel recording never lies in memory whole
_BLOCK_VALUES = 1 << 22  # samples of all channels decoded at once where there are many channels, 16 MB
_AAC_CONTAINERS = {".m4a": "mov", ".mp4": "mov", ".aac": "aac", ".webm": "matroska", ".mka": "matroska"}
_UNKNOWN_FRAMES = 2**60  # libsndfile says 2^63 - 1 where the header does not tell a length
_MPEG_IN_WAV = (0x50, 0x55)
_MPEG_SUFFIXES = (".mp3", ".mp2", ".mpga")
#: Formats and codes of libsndfile in which it goes to any sample: others have blocks, or frames that need those before.
_SEEKABLE = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")
_SEEKABLE_CODES = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
_MOST_GAPS = 1000  # damaged stretches of one FLAC after which the rest is given up


class Stream(ABC):
    """An opened stream. Counts are in samples: `there`, `promised` (null: unknown), `lost` to damage so far.

    `broken` is why decoding ended early. A difference below `tolerance_seconds` is no missing sound.
    """

    hz: int
    channels: int
    there: int | None = None
    promised: int | None = None
    lost = 0
    broken = ""
    tolerance_seconds = 0.01

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Yield blocks (samples, channels) of float32, valid until the next one."""

    def seek(self, sample: int) -> int:
        """Have `blocks` begin at a sample, or before it; return where it will. To be called first, if at all."""
        return 0

    @abstractmethod
    def close(self) -> None: ...


Opener = Callable[[], Stream]


def streams(source: Path | bytes) -> tuple[list[Opener], list[Remark]]:
    """Return what opens each stream of a file, one at least, and what was noticed about it. Raises SignalError."""
    _refuse_empty(source)
    if isinstance(source, Path) and reader_source(source, "audio") is not None:
        return [partial(_ReadStream, source)], []
    if _is_aac(source):
        return [partial(_AacStream, source)], _another_mp4(source)
    try:
        with open_source(source) as file:
            size = file.seek(0, io.SEEK_END)
            tag = id3v2_bytes(file, size)
            magic = read_at(file, tag, 12)
            if magic[:4] == b"fLaC" and (found := flac_streams(file, tag, size)):
                return [partial(_FlacStream, source, stream) for stream in found], []
            if magic[:4] == b"OggS":
                parts, remarks = ogg_parts(file, tag, size)
                return [partial(_SndfileStream, source, part) for part in parts], remarks
            if layouts := read_layouts(file, size):
                return _of_layouts(file, source, layouts)
            plain: list[Opener] = [partial(_SndfileStream, source, Part())]
            named = isinstance(source, Path) and source.suffix.lower() in _MPEG_SUFFIXES
            if named or tag or magic[:1] == b"\xff" or not _opens(plain[0]):
                return _mpeg(file, source, 0, size, sure=named or tag > 0) or (plain, [])
            return plain, []
    except OSError as error:
        refuse_full_system(error)
        raise _no_sound(source, error.strerror or "cannot be read") from error


def source_name(source: Path | bytes) -> str:
    """Return how messages call a file or a cell's bytes."""
    return f"{len(source)} bytes" if isinstance(source, bytes) else str(source)


class _Libsndfile(Stream):
    """What libsndfile decodes of some pieces of a file, or of the whole of it."""

    def __init__(self, source: Path | bytes, pieces: tuple[Piece, ...] | None) -> None:
        self._source, self._pieces = source, pieces
        self._file = _sndfile(source, pieces)
        self.hz, self.channels = self._file.samplerate, self._file.channels

    def close(self) -> None:
        self._file.close()

    def _sought(self, sample: int) -> int:
        """Go to a sample where each can be found exactly; return where the decoder is."""
        if sample and self._file.format in _SEEKABLE and self._file.subtype in _SEEKABLE_CODES:
            try:
                if self._file.seek(sample) == sample:
                    return sample
            except (soundfile.LibsndfileError, RuntimeError):
                pass
            self._file.close()  # where it stands is not known
            self._file = _sndfile(self._source, self._pieces)
        return 0

    def _decoded(self) -> Iterator[Block]:
        """Yield what can be decoded, in one buffer that is used again; `broken` is the reason of an early end."""
        size = max(1, min(_BLOCK_SECONDS * self.hz, _BLOCK_VALUES // self.channels))
        buffer = np.empty((size, self.channels), np.float32)
        count = size
        while count == size:
            before = _position(self._file)
            try:
                count = self._file.buffer_read_into(buffer, "float32")
            except (soundfile.LibsndfileError, RuntimeError) as error:
                count = max(0, min(_position(self._file) - before, size))
                self.broken = _short(error)
            if count:
                yield buffer[:count]
            if self.broken:
                return


class _SndfileStream(_Libsndfile):
    """What libsndfile decodes of one part of a file."""

    def __init__(self, source: Path | bytes, part: Part) -> None:
        super().__init__(source, part.pieces)
        self._part, self._peak = part, 0.0
        counted = self._file.frames if self._file.frames < _UNKNOWN_FRAMES else None
        self.there = counted if part.there is None else part.there
        self.promised = self.there if part.promised is None else part.promised

    def seek(self, sample: int) -> int:
        # what is dropped or judged by frames is counted from the beginning
        plain = self._part.skip == 0 and self._part.keep is None and self._part.frame is None
        return self._sought(sample) if plain else 0

    def blocks(self) -> Iterator[Block]:
        skip, left, seen = self._part.skip, self._part.keep, 0
        for block in self._decoded():
            kept = block[skip:] if left is None else block[skip : skip + left]
            skip = max(0, skip - len(block))
            if left is not None:
                left -= len(kept)
            seen += len(kept)
            if self._part.frame is not None:
                kept = self._without_bursts(kept, self._part.frame)
            if len(kept):
                yield kept
            if left == 0:
                break
        if 2 * self.lost > seen:  # not damaged: made so
            raise out_of_scale(source_name(self._source), self._peak)

    def _without_bursts(self, block: Block, frame: int) -> Block:
        """Leave out damaged frames: a wrong bit in an MP3's gain makes a sound a thousand times as loud as can be."""
        if not len(block) or max(float(block.max()), -float(block.min())) <= LOUD:  # over all channels at once: fast
            return block
        peaks = np.abs(block).max(axis=1)
        self._peak = max(self._peak, float(peaks.max()))
        bad = np.zeros(len(block) // frame + 3, bool)
        for number in np.unique(np.flatnonzero(~(peaks <= LOUD)) // frame):
            bad[number : number + 3] = True  # frames overlap with their neighbours
        whole = ~np.repeat(bad[1:-1], frame)[: len(block)]
        self.lost += int(np.count_nonzero(~whole))
        kept: Block = block[whole]
        return kept


class _FlacStream(_Libsndfile):
    """One FLAC stream; after a damaged frame it goes on with the next whole one."""

    def __init__(self, source: Path | bytes, stream: FlacStream) -> None:
        super().__init__(source, stream.pieces(stream.frames))
        self._stream, self._at = stream, 0
        self.promised = stream.promised
        self.there = None if stream.promised is None or stream.promised > stream.most else stream.promised
        if self.there is not None and self._goes_on(self.there):
            self.there = None

    def _goes_on(self, promised: int) -> bool:
        """Return whether there are frames behind the length that the header promises."""
        with open_source(self._source) as file:
            return (flac_length(file, self._stream) or 0) > promised

    def seek(self, sample: int) -> int:
        # without a length that can be true, damage on the way is not seen
        self._at = 0 if self.there is None else self._sought(sample)
        return self._at

    def blocks(self) -> Iterator[Block]:
        at = self._at
        for _ in range(_MOST_GAPS):
            self.broken = ""
            for block in self._decoded():
                at += len(block)
                yield block
            goes_on = bool(self.broken) or (self.promised is not None and at < self.promised)
            with open_source(self._source) as file:
                following = frame_after(file, self._stream, at) if goes_on else None
            if following is None:
                self.broken = self.broken if goes_on and self.promised is None else ""
                return
            offset, first = following
            self.lost += first - at
            at = first
            self._file.close()
            self._file = _sndfile(self._source, self._stream.pieces(offset))


class _AacStream(Stream):
    """What FFmpeg decodes of an AAC file, by PyAV."""

    tolerance_seconds = 0.1  # containers count the encoder's delay in or out

    def __init__(self, source: Path | bytes) -> None:
        with needed_by(f"{source_name(source)}: AAC"):
            import av
        self._av, self._source = av, source
        self._file = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        try:
            # an opened file and a named container: FFmpeg would follow addresses and playlists
            kind = "mov" if isinstance(source, bytes) else _AAC_CONTAINERS[source.suffix.lower()]
            self._container = av.open(self._file, format=kind)
            self._stream = self._container.streams.audio[0]
            self.hz, self.channels = int(self._stream.rate), int(self._stream.channels)
        except Exception as error:  # FFmpeg's errors have many bases, and PyAV has faults of its own
            self._file.close()
            raise _no_sound(source, _short(error), "AAC expected") from error
        length = self._stream.duration
        has_length = kind == "mov" and length is not None and self._stream.time_base is not None
        self.promised = round(float(length * self._stream.time_base) * self.hz) if has_length else None

    def blocks(self) -> Iterator[Block]:
        planes = self._av.AudioResampler(format="fltp", rate=self.hz)  # FFmpeg's own mono is no mean: it adds 3 dB
        packets, damaged = self._container.demux(self._stream), 0
        while True:
            try:
                packet = next(packets, None)
            except Exception as error:  # see above
                self.broken = _short(error)
                return
            if packet is None:
                return
            try:
                found = [out.to_ndarray().T for frame in packet.decode() for out in planes.resample(frame)]
            except Exception:  # a packet of damaged bytes; the next one may be whole
                damaged += 1
                self.broken = f"packets that cannot be decoded: {damaged}"
                continue
            yield from found

    def close(self) -> None:
        self._container.close()
        self._file.close()


class _Straight(soundfile.SoundFile):  # type: ignore[misc] # without types
    """A file that is read from its beginning to its end.

    soundfile seeks after each read, which not all can, and upon which libmpg123 begins a frame without those before.
    """

    def seekable(self) -> bool:
        return False


def _sndfile(source: Path | bytes, pieces: tuple[Piece, ...] | None) -> soundfile.SoundFile:
    # a whole path: libsndfile takes a bare "-" for standard input
    shown: Any = Memory(source) if isinstance(source, bytes) else system_name(source.absolute())
    try:
        if pieces is not None:
            shown = spliced(source, pieces)
        return _Straight(shown)
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError) as error:
        raise _no_sound(source, _short(error)) from error


def _position(file: soundfile.SoundFile) -> int:
    """Return how many samples were read; 0 with codecs in which libsndfile cannot seek (GSM, G.721, NMS)."""
    try:
        return int(file.tell())
    except soundfile.LibsndfileError:
        return 0


def _of_layouts(file: BinaryIO, source: Path | bytes, layouts: list[Layout]) -> tuple[list[Opener], list[Remark]]:
    """Return the streams of a WAV or its like; within each there may be an MP3."""
    openers: list[Opener] = []
    remarks: list[Remark] = []
    for layout in layouts:
        mpeg = _mpeg(file, source, layout.start, layout.end, sure=True) if layout.codec in _MPEG_IN_WAV else None
        found, noticed = mpeg or ([partial(_SndfileStream, source, layout.part)], [])
        openers += found
        remarks += noticed
    return openers, remarks


def _mpeg(
    file: BinaryIO, source: Path | bytes, start: int, end: int, *, sure: bool
) -> tuple[list[Opener], list[Remark]] | None:
    """Return the streams of an MP3 between two offsets, None where it is none. Raises SignalError for free format."""
    frames = scan_frames(file, start, end, sure=sure)
    if frames.free_format and not frames.segments:
        raise SignalError(
            f"{source_name(source)}: an MP3 of free format (its frames tell no bit rate), which is not read; "
            "write it anew, such as: ffmpeg -i OLD NEW.flac"
        )
    if not frames.segments:
        return None
    parts, remarks = mp3_parts(frames, file)
    return [partial(_SndfileStream, source, part) for part in parts], remarks


class _ReadStream(Stream):
    """What a plug-in reads, whole in memory."""

    tolerance_seconds = 0.0

    def __init__(self, source: Path) -> None:
        self._samples, self.hz = read_sound_by_plugin(source)
        self.there = self.promised = len(self._samples)
        self.channels = self._samples.shape[1]

    def blocks(self) -> Iterator[Block]:
        rows = max(1, min(_BLOCK_SECONDS * self.hz, _BLOCK_VALUES // self.channels))
        for start in range(0, len(self._samples), rows):
            yield self._samples[start : start + rows]

    def close(self) -> None:
        self._samples = self._samples[:0]


def _opens(opener: Opener) -> bool:
    try:
        opener().close()
    except SignalError:
        return False
    return True


def _refuse_empty(source: Path | bytes) -> None:
    try:
        size = len(source) if isinstance(source, bytes) else regular_file(source).stat().st_size
    except OSError as error:
        raise SignalError(f"{source_name(source)}: {error.strerror}; a recording was expected") from error
    if size == 0:
        raise SignalError(f"{source_name(source)}: zero bytes; a recording was expected")


def _is_aac(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        return source[4:8] == b"ftyp"
    return source.suffix.lower() in _AAC_CONTAINERS


def _another_mp4(source: Path | bytes) -> list[Remark]:
    """Return a remark where a second MP4 stands behind the first, which FFmpeg does not look at."""
    try:
        with open_source(source) as file:
            size, at, begun = file.seek(0, io.SEEK_END), 0, False
            while at + 16 <= size:
                head = read_at(file, at, 16)
                length, name = int.from_bytes(head[:4], "big"), head[4:8]
                length = int.from_bytes(head[8:], "big") if length == 1 else length
                if name == b"ftyp" and begun:
                    return [Remark(SOUND_MISSING, "joined files: of M4A only the first is heard; take them apart")]
                begun = begun or name == b"ftyp"
                if length < 8 or not begun:
                    break
                at += length
    except OSError:  # raised by who opens it next
        pass
    return []


def _no_sound(source: Path | bytes, why: str, expected: str = "WAV, FLAC, Ogg, Opus or MP3 expected") -> SignalError:
    return SignalError(f"{source_name(source)}: not a sound file ({why}); {expected}")


def _short(error: Exception) -> str:
    """Return the last, telling part of a decoder's message, on one line."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(said.split(": ")[-1].split()).rstrip(".")

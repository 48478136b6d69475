"""Recordings to mono samples: any format libsndfile reads (WAV, FLAC, Ogg, Opus, MP3 ...), AAC with an extra."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from earthtone.errors import MissingExtraError, SignalError
from earthtone.files import regular_file, system_name
from earthtone.signal.remarks import Remark

Samples = NDArray[np.float32]

_BLOCK_SECONDS = 10  # decoded at once, so that a long multichannel recording never lies in memory whole
_AAC_CONTAINERS = {".m4a": "mov", ".mp4": "mov", ".aac": "aac", ".webm": "matroska", ".mka": "matroska"}
_LEAST_HZ = 1000  # slower "recordings" are sensors, or headers made to fill the memory
_MAX_HOURS = 6  # mono float32 at 32 kHz: 2.8 GB
_UNKNOWN_FRAMES = 2**60  # a FLAC written to a pipe does not know its length; libsndfile says 2^63 - 1


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What the header of a recording says."""

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


def probe_audio(source: Path | bytes) -> AudioFacts:
    """Return length, sample rate and channels from the header alone. Raises SignalError."""
    if _is_aac(source):
        samples, hz, channels = _decode_aac(source)
        return AudioFacts(len(samples) / hz, hz, channels)
    with _open(source) as file:
        return AudioFacts(file.frames / file.samplerate, file.samplerate, file.channels)


def read_recording(source: Path | bytes, hz: int | None = None) -> Recording:
    """Return the decoded recording, resampled to `hz` (its own rate when null), with remarks. Raises SignalError."""
    facts = probe_audio(source)
    samples = read_audio(source, hz or facts.hz)
    seconds = len(samples) / (hz or facts.hz)
    whole = abs(seconds - facts.seconds) < 0.01  # but for what resampling adds
    return Recording(samples, facts if whole else AudioFacts(seconds, facts.hz, facts.channels))


def read_audio(source: Path | bytes, hz: int) -> Samples:
    """Return the mono samples of a file or of its bytes, resampled to `hz`; float32 (samples,), full scale is 1.

    Channels are averaged. Raises SignalError when it is missing, empty, not a sound, or holds NaN.
    """
    if _is_aac(source):
        samples, file_hz, _ = _decode_aac(source)
        return resample(samples, file_hz, hz)
    with _open(source) as file:
        if file.frames > _MAX_HOURS * 3600 * file.samplerate:
            hours = file.frames / file.samplerate / 3600
            raise SignalError(f"{_name(source)}: {hours:.0f} h of sound, at most {_MAX_HOURS} h expected; cut it")
        try:
            parts = list(_mono_blocks(file, hz))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            reason = _short(error)
            raise SignalError(f"{_name(source)}: sound breaks off ({reason}); a whole file was expected") from error
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return checked_samples(samples, _name(source))


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return mono `samples` at another rate; checked for NaN."""
    samples = checked_samples(np.asarray(samples, np.float32), "samples")
    if from_hz == to_hz:
        return samples
    return np.asarray(soxr.resample(samples, from_hz, to_hz, quality="HQ"), np.float32)


def checked_samples(samples: Samples, name: str) -> Samples:
    """Return `samples` unchanged, or raise SignalError when they are empty or not finite."""
    if samples.size == 0:
        raise SignalError(f"{name}: no samples; a recording was expected")
    if not np.isfinite(samples).all():
        raise SignalError(f"{name}: samples are NaN or infinite; finite sound was expected")
    return samples


def write_preview(samples: Samples, hz: int) -> bytes:
    """Return mono `samples` as an Ogg Vorbis file's bytes, for listening in a browser."""
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", hz, 1, format="OGG", subtype="VORBIS") as file:
        for start in range(0, len(samples), hz):  # in blocks: one long write crashes libsndfile's Vorbis encoder
            file.write(np.clip(samples[start : start + hz], -1.0, 1.0))
    return out.getvalue()


def _mono_blocks(file: soundfile.SoundFile, hz: int) -> Iterator[Samples]:
    """Yield mono blocks at `hz`; the resampler keeps its state from block to block."""
    resampler = None
    if file.samplerate != hz:
        resampler = soxr.ResampleStream(file.samplerate, hz, 1, dtype="float32", quality="HQ")
    for block in file.blocks(_BLOCK_SECONDS * file.samplerate, dtype="float32", always_2d=True):
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        yield mono if resampler is None else resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _open(source: Path | bytes) -> soundfile.SoundFile:
    name = _name(source)
    _refuse_empty(source)
    try:
        # a whole path: libsndfile takes a bare "-" for standard input
        file = soundfile.SoundFile(_Memory(source) if isinstance(source, bytes) else system_name(source.absolute()))
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError) as error:
        raise SignalError(
            f"{name}: not a sound file ({_short(error)}); WAV, FLAC, Ogg, Opus or MP3 expected"
        ) from error
    if file.samplerate < _LEAST_HZ:
        file.close()
        raise SignalError(
            f"{name}: {file.samplerate} samples a second; at least {_LEAST_HZ} were expected; write it anew"
        )
    if file.frames > _UNKNOWN_FRAMES:
        file.close()
        raise SignalError(
            f"{name}: its header does not tell its length; write it anew, such as: ffmpeg -i OLD NEW.flac"
        )
    return file


class _Memory(io.BytesIO):
    """Bytes as a file; libsndfile seeks before the start of some broken ones, where an error could only be printed."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return super().seek(max(0, offset) if whence == io.SEEK_SET else offset, whence)


def _refuse_empty(source: Path | bytes) -> None:
    try:
        size = len(source) if isinstance(source, bytes) else regular_file(source).stat().st_size
    except OSError as error:
        raise SignalError(f"{_name(source)}: {error.strerror}; a recording was expected") from error
    if size == 0:
        raise SignalError(f"{_name(source)}: zero bytes; a recording was expected")


def _decode_aac(source: Path | bytes) -> tuple[Samples, int, int]:
    """Return mono samples, their rate and the number of channels, decoded with PyAV."""
    name = _name(source)
    _refuse_empty(source)
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(f"{name}: AAC", "aac") from error
    parts: list[Samples] = []
    try:
        # an opened file and a named container: FFmpeg would follow addresses and playlists
        kind = "mov" if isinstance(source, bytes) else _AAC_CONTAINERS[source.suffix.lower()]
        with (
            io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file,
            av.open(file, format=kind) as container,
        ):
            stream = container.streams.audio[0]
            hz, channels = int(stream.rate), int(stream.channels)
            planes = av.AudioResampler(format="fltp", rate=hz)  # FFmpeg's own mono is no mean: it adds 3 dB
            room = _MAX_HOURS * 3600 * hz
            for frame in container.decode(stream):
                for out in planes.resample(frame):
                    parts.append(out.to_ndarray().mean(axis=0, dtype=np.float32))
                    room -= len(parts[-1])
                if room < 0:
                    raise SignalError(f"{name}: more than {_MAX_HOURS} h of sound; cut it")
    except SignalError:
        raise
    except Exception as error:  # FFmpeg's errors have many bases, and PyAV has faults of its own
        reason = getattr(error, "strerror", None) or _short(error)
        raise SignalError(f"{name}: not a sound file ({reason}); AAC expected") from error
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return checked_samples(samples, name), hz, channels


def _is_aac(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        return source[4:8] == b"ftyp"
    return source.suffix.lower() in _AAC_CONTAINERS


def _name(source: Path | bytes) -> str:
    return f"{len(source)} bytes" if isinstance(source, bytes) else str(source)


def _short(error: Exception) -> str:
    """The last, telling part of libsndfile's message, on one line."""
    return str(error).split(": ")[-1].strip().rstrip(".")

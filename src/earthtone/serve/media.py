"""Pictures and sounds of the index's rows, as a browser shows and plays them.

An index names any file of this computer, so nothing leaves it as it lies there unless it is a sound by its content:
pictures are decoded and written anew. Recordings that no browser plays become WAV, once; waveform and
spectrogram come of one decoding of the file, and are kept.
"""

import io
import math
import os
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from PIL import Image

from earthtone.atlas.media import RASTERS, write_tile
from earthtone.data.packed import Table
from earthtone.errors import DataError, SignalError, one_line
from earthtone.files import regular_file
from earthtone.processors import usable_processors
from earthtone.serve.answers import Peaks, Tick
from earthtone.serve.guard import refused
from earthtone.signal.audio import planes_of, probe_audio
from earthtone.signal.config import AudioConfig
from earthtone.signal.image import read_picture
from earthtone.signal.sound_streams import Stream, streams
from earthtone.signal.spectrogram import mel_filters

Source = Path | bytes
T = TypeVar("T")

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}([^/?#\\\s]*)")
SIZES = (16, 1024)
"""Pixels of a picture's longer side that can be asked for."""
_PICTURE_BYTES, _VIEW_BYTES, _WAV_BYTES = 2**26, 2**27, 2**31
_MOST_WAV_SECONDS = 2 * 3600  # mono of 16 bits at 48 kHz: 690 MB
_MONO_FROM_SECONDS = 1200
_PLAYED_HZ = (8_000, 96_000)  # what sound cards play; beyond, browsers differ
_WAV_HZ = 48_000
POINTS = 4000  # of a waveform; a screen shows fewer
_COLUMNS = 2000  # of a spectrogram
_FRAMES_A_COLUMN = 2
_MELS = 128
_FRAME_SECONDS = 0.023
_LOUDEST_DB, _FAINTEST_DB = 0.0, -90.0  # below the loudest cell
_WAITING = 24  # who wait for a decoder; more are told to come again
_PLAYED = {
    ("WAV", "PCM_16"): "audio/wav", ("WAV", "PCM_U8"): "audio/wav", ("WAV", "PCM_24"): "audio/wav",
    ("WAV", "FLOAT"): "audio/wav", ("WAVEX", "PCM_16"): "audio/wav", ("FLAC", "PCM_16"): "audio/flac",
    ("FLAC", "PCM_24"): "audio/flac", ("FLAC", "PCM_S8"): "audio/flac", ("OGG", "VORBIS"): "audio/ogg",
    ("OGG", "OPUS"): "audio/ogg", ("MP3", "MPEG_LAYER_III"): "audio/mpeg", ("MPEG", "MPEG_LAYER_III"): "audio/mpeg",
}  # fmt: skip


class Kept(Generic[T]):
    """Costly things by key: made once at a time, at most so many bytes kept; the longest unasked goes first."""

    def __init__(
        self, most_bytes: int, size: Callable[[T], int], gone: Callable[[T], object] = lambda value: None
    ) -> None:
        """`size` tells a value's bytes; `gone` is called with each that goes."""
        self._most_bytes, self._size, self._gone = most_bytes, size, gone
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._making: dict[Hashable, Future[T]] = {}
        self.bytes = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; the first who asks makes it, others wait. What `make` raises reaches all."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.get(key)
            mine = making is None
            if making is None:
                making = self._making[key] = Future()
        if not mine:
            return making.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            making.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._values[key] = value
            self.bytes += self._size(value)
            while self.bytes > self._most_bytes and len(self._values) > 1:
                _, old = self._values.popitem(last=False)
                self.bytes -= self._size(old)
                self._gone(old)
        making.set_result(value)
        return value

    def clear(self) -> None:
        """Let all go."""
        with self._lock:
            for value in self._values.values():
                self._gone(value)
            self._values.clear()
            self.bytes = 0


class Media(NamedTuple):
    """Where the media of a row lie, as the index tells."""

    modality: str
    media: str | None
    bounds: tuple[float, float, float, float] | None
    crs: str | None


def told_place(media: str) -> str:
    """Return what visitors are told of where media lie: scheme and host of an address, of a file its name alone.

    Paths and what follows them may hold keys.

    >>> told_place("https://user:word@example.org/a.wav?key=1"), told_place("/home/me/a.wav")
    ('https://example.org', 'a.wav')
    """
    if found := _ADDRESS.search(media):
        return one_line(f"{found[1]}://{found[2].rpartition('@')[2]}", 100)
    return one_line(re.split(r"[/\\]", media)[-1], 100)


class Playable(NamedTuple):
    """A sound that a browser plays."""

    source: Source
    kind: str
    """Its media type."""


@dataclass(frozen=True)
class View:
    """A recording as it is seen: least and greatest sample of each point, spectrogram as PNG."""

    seconds: float
    points: NDArray[np.float32]
    """(channels, points, 2)"""
    spectrogram: bytes
    hz: tuple[float, float]
    """Of the spectrogram's lower and upper edge."""
    notes: tuple[str, ...] = ()

    def peaks(self, points: int) -> Peaks:
        """Return the waveform at that many points at most."""
        by = max(1, math.ceil(self.points.shape[1] / points))
        kept = _reduced(self.points, by)
        listed = [np.round(channel.reshape(-1).astype(np.float64), 4).tolist() for channel in kept]
        return Peaks(
            seconds=self.seconds, channels=len(kept), peaks=listed, notes=list(self.notes), ticks=ticks(*self.hz)
        )


def ticks(low_hz: float, high_hz: float) -> list[Tick]:
    """Return round frequencies with their places on a mel axis."""
    low, high = (float(_mel(np.array(hz))) for hz in (low_hz, high_hz))
    round_hz = [m * 10.0**e for e in range(1, 7) for m in (1, 2, 5)]
    return [
        Tick(hz=hz, at=round((float(_mel(np.array(hz))) - low) / (high - low), 4))
        for hz in round_hz
        if low_hz < hz <= high_hz and hz >= high_hz / 100
    ]


def _mel(hz: NDArray[Any]) -> NDArray[np.float64]:
    """Return mel on Slaney's scale, as `signal.spectrogram` has it."""
    safe = np.maximum(hz, 1.0)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(safe / 1000) / math.log(6.4))


class MediaStore:
    """Media as they are asked for; what was costly is kept."""

    def __init__(self) -> None:
        self._pictures: Kept[tuple[bytes, str]] = Kept(_PICTURE_BYTES, lambda found: len(found[0]))
        self._views: Kept[View] = Kept(_VIEW_BYTES, lambda view: view.points.nbytes + len(view.spectrogram))
        self._waves: Kept[Path] = Kept(_WAV_BYTES, lambda path: path.stat().st_size, lambda path: path.unlink())
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._decoders = threading.BoundedSemaphore(max(2, usable_processors()))
        self._waiting = threading.BoundedSemaphore(_WAITING)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Remove the files that were made."""
        with self._lock:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def missing(self, media: str | None, modality: str) -> str | None:
        """Return why there is nothing to be seen or heard of a row, None where there is, as far as names tell."""
        what = "recording" if modality == "audio" else "picture"
        if not media:
            return f"the index does not tell where this {what} lies"
        if "://" in media:
            return f"this {what} lies at {told_place(media)}, which this page does not fetch: open it there"
        try:
            self._located(media, modality)
        except DataError as error:
            return str(error)
        return None

    def _located(self, media: str, modality: str) -> Source | tuple[Table, int]:
        """Return the file, or the packed table and the row in it. Raises DataError."""
        what = "recording" if modality == "audio" else "picture"
        table, _, name = media.rpartition("#")
        if table and Path(table).suffix == ".lance" and Path(table).is_dir():
            packed, rows = _packed(table, (Path(table) / "_versions").stat().st_mtime_ns)
            if name not in rows:
                raise DataError(f"the packed table {Path(table).name} has no row {one_line(name, 80)!r} any more")
            return packed, rows[name]
        if table and not os.path.exists(media) and Path(table).is_file():  # noqa: PTH110 - of any text
            raise DataError(f"this {what} lies within {told_place(table)}, out of which it is not taken")
        try:
            return regular_file(media)
        except OSError as error:
            raise DataError(
                f"the file {told_place(media)} is not where it was when it was embedded "
                f"({error.strerror or 'no such name'}): bring it back there, or embed it again"
            ) from error

    @contextmanager
    def _decoder(self) -> Iterator[None]:
        """Hold one of the few decoders; refuse where many wait."""
        if not self._waiting.acquire(blocking=False):
            raise refused(503, "too many recordings and pictures are being read; try again in a moment", retry_after=2)
        try:
            with self._decoders:
                yield
        finally:
            self._waiting.release()

    # Pictures.

    def picture(self, of: Media, size: int) -> tuple[bytes, str]:
        """Return a row's picture as a browser shows it, and its media type; its longer side has `size` pixels at most.

        Raises DataError, SignalError.
        """
        found = self._found(of)
        key = (of, size, _state(found))
        return self._pictures.get(key, lambda: self._drawn(of, found, size))

    def _found(self, of: Media) -> Source | tuple[Table, int]:
        if (said := self.missing(of.media, of.modality)) is not None:
            raise refused(404, said)
        assert of.media is not None  # noqa: S101 - it would be missing
        return self._located(of.media, of.modality)

    def _drawn(self, of: Media, found: Source | tuple[Table, int], size: int) -> tuple[bytes, str]:
        with self._decoder():
            if isinstance(found, tuple):
                table, row = found
                data = table.images([row])[0]
                picture = read_picture(data)
                if data[:2] == b"\xff\xd8" and max(picture.pixels.shape[:2]) <= size:
                    return data, "image/jpeg"
            elif isinstance(found, Path) and of.bounds is not None and found.suffix.lower() in RASTERS:
                with tempfile.TemporaryDirectory() as folder:
                    picture = read_picture(write_tile(found, Path(folder) / "tile", of.bounds, of.crs))
            else:
                picture = read_picture(found, min_side=size)
            pixels = _within(picture.pixels, size)
            out = io.BytesIO()
            if picture.empty is not None and bool(picture.empty.any()):  # where there is no data one sees through
                alpha = np.where(_within_mask(picture.empty, pixels.shape[:2]), 0, 255).astype(np.uint8)
                Image.fromarray(np.dstack([pixels, alpha])).save(out, "PNG", compress_level=3)
                return out.getvalue(), "image/png"
            Image.fromarray(pixels).save(out, "JPEG", quality=88)
            return out.getvalue(), "image/jpeg"

    # Sounds.

    def sound(self, of: Media) -> Playable:
        """Return a row's recording: the file's own bytes where browsers play them, else WAV. Raises SignalError."""
        source = self._heard(of)
        kind = played_kind(source)
        if kind is not None:
            return Playable(source, kind)
        key = source if isinstance(source, bytes) else (str(source), _state(source))
        return Playable(self._waves.get(key, lambda: self._as_wav(source)), "audio/wav")

    def view(self, of: Media) -> View:
        """Return how a row's recording looks. Raises SignalError."""
        source = self._heard(of)
        key = source if isinstance(source, bytes) else (str(source), _state(source))

        def make() -> View:
            with self._decoder():
                return view_of(source)

        return self._views.get(key, make)

    def _heard(self, of: Media) -> Source:
        found = self._found(of)
        if not isinstance(found, tuple):
            return found
        table, row = found
        preview = table.records([row], ["audio_preview"])[0]["audio_preview"]
        if preview is None:
            raise refused(404, f"the packed table {Path(str(table.path)).name} keeps no sound of this row")
        return bytes(preview)

    def _as_wav(self, source: Source) -> Path:
        with self._decoder():
            with self._lock:
                if self._folder is None:
                    self._folder = tempfile.TemporaryDirectory(prefix="earthtone-")
                file, name = tempfile.mkstemp(".wav", dir=self._folder.name)
            os.close(file)
            try:
                write_wav(source, Path(name))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            return Path(name)


@lru_cache(maxsize=8)
def _packed(path: str, _changed_ns: int) -> tuple[Table, dict[str, int]]:
    table = Table(path)
    return table, {str(name): row for row, name in enumerate(table.column("id"))}


def _state(found: Source | tuple[Table, int]) -> object:
    """Return what changes when a file does."""
    if not isinstance(found, Path):
        return None
    state = found.stat()
    return state.st_size, state.st_mtime_ns, state.st_ino


def _within(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    by = size / max(height, width)
    if by >= 1:
        return pixels
    shape = (max(1, round(width * by)), max(1, round(height * by)))
    return np.asarray(cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA), np.uint8)


def _within_mask(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask.shape == shape:
        return mask
    return np.asarray(cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8) > 0


# What browsers play.


def played_kind(source: Source) -> str | None:
    """Return the media type of a sound that every browser plays as it is, None of any other."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            head = file.read(12)
            file.seek(0)
            with soundfile.SoundFile(file) as sound:
                kind = _PLAYED.get((sound.format, sound.subtype))
                fine = _PLAYED_HZ[0] <= sound.samplerate <= _PLAYED_HZ[1] and sound.channels <= 2
    except (soundfile.SoundFileError, OSError, RuntimeError, TypeError):
        return None
    if kind == "audio/mpeg" and head[:4] == b"RIFF":  # MP3 within WAV
        return None
    return kind if fine else None


def write_wav(source: Source, path: Path) -> None:
    """Write a recording as WAV of 16 bits that browsers play; a long one in mono. Raises SignalError."""
    facts = probe_audio(source)
    if facts.seconds > _MOST_WAV_SECONDS:
        raise SignalError(
            f"{facts.seconds / 3600:.1f} h of a kind of sound that browsers do not play; at most "
            f"{_MOST_WAV_SECONDS // 3600} h are written anew for them: cut the recording, or store it as FLAC"
        )
    channels = 1 if facts.seconds > _MONO_FROM_SECONDS else min(2, facts.channels)
    hz = facts.hz if _PLAYED_HZ[0] <= facts.hz <= _WAV_HZ else _WAV_HZ
    with soundfile.SoundFile(path, "w", hz, channels, format="WAV", subtype="PCM_16") as out:
        for stream in _opened(source):
            change = soxr.ResampleStream(stream.hz, hz, channels, dtype="float32") if stream.hz != hz else None
            for block in stream.blocks():
                part = _channels(block, channels)
                out.write(np.clip(part if change is None else change.resample_chunk(part), -1.0, 1.0))
            if change is not None:
                rest = np.zeros((0, channels) if channels > 1 else 0, np.float32)
                out.write(np.clip(change.resample_chunk(rest, last=True), -1.0, 1.0))


def _opened(source: Source) -> Iterator[Stream]:
    for opener in streams(source)[0]:
        with closing(opener()) as stream:
            yield stream


def _channels(block: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    if channels == 1:
        return np.asarray(block.mean(axis=1, dtype=np.float32), np.float32)
    return np.ascontiguousarray(block[:, :channels] if block.shape[1] >= channels else block.repeat(channels, axis=1))


# How a recording looks.


def view_of(source: Source) -> View:
    """Return how a recording looks, by decoding it once; memory does not grow with its length. Raises SignalError."""
    facts = probe_audio(source)
    per_point = max(1, math.ceil(facts.seconds * facts.hz / POINTS))
    channels = min(2, facts.channels)
    found, spectra = [], None
    seconds, notes = 0.0, [f"{remark.kind}: {remark.detail}" for remark in streams(source)[1]]
    for number, stream in enumerate(_opened(source)):
        peaks = _PeakMeter(channels, per_point if stream.hz == facts.hz else round(per_point * stream.hz / facts.hz))
        meter = _SpectrumMeter(stream.hz, facts.seconds) if number == 0 else None
        if meter is None:
            notes.append("the spectrogram shows the first of several joined recordings")
        for block in stream.blocks():
            planes = planes_of(block)
            shown = planes[:channels] if len(planes) >= channels else planes.repeat(channels, axis=0)
            peaks.add(shown)
            if meter is not None:
                meter.add(shown[0] if channels == 1 else (shown[0] + shown[1]) / 2)
        seconds += peaks.count / stream.hz
        found.append(peaks.points())
        spectra = meter or spectra
        if stream.broken:
            notes.append(f"sound breaks off ({stream.broken})")
    if spectra is None or not sum(part.shape[1] for part in found):
        raise SignalError("no samples; a recording was expected")
    return View(
        seconds, np.concatenate(found, axis=1), spectra.picture(), (0.0, spectra.high_hz),
        tuple(one_line(note, 200) for note in dict.fromkeys(notes)),
    )  # fmt: skip


class _PeakMeter:
    """Least and greatest sample of every so many."""

    def __init__(self, channels: int, per_point: int) -> None:
        self._per_point = max(1, per_point)
        self._rest = np.zeros((channels, 0), np.float32)
        self._parts = [np.zeros((channels, 0, 2), np.float32)]
        self.count = 0

    def add(self, planes: NDArray[np.float32]) -> None:
        """Take samples (channels, samples)."""
        self.count += planes.shape[1]
        samples = np.concatenate([self._rest, planes], axis=1)
        whole = samples.shape[1] // self._per_point * self._per_point
        self._take(samples[:, :whole], self._per_point)
        self._rest = samples[:, whole:].copy()

    def _take(self, samples: NDArray[np.float32], by: int) -> None:
        if samples.shape[1]:
            cut = samples.reshape(len(samples), -1, by)
            self._parts.append(np.stack([cut.min(axis=2), cut.max(axis=2)], axis=-1))

    def points(self) -> NDArray[np.float32]:
        """Return (channels, points, 2)."""
        self._take(self._rest, self._rest.shape[1])
        whole = np.nan_to_num(np.concatenate(self._parts, axis=1))
        return np.asarray(np.clip(whole, -1.0, 1.0), np.float32)


def _reduced(points: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    """Return (channels, points / by, 2): least of the least, greatest of the greatest."""
    starts = np.arange(0, points.shape[1], by)
    low = np.minimum.reduceat(points[:, :, 0], starts, axis=1)
    return np.stack([low, np.maximum.reduceat(points[:, :, 1], starts, axis=1)], axis=-1)


class _SpectrumMeter:
    """Mel power of frames that are evenly spread over a recording, a few a column of the picture."""

    def __init__(self, hz: int, seconds: float) -> None:
        self._size = 2 ** max(5, round(math.log2(hz * _FRAME_SECONDS)))
        frames = _COLUMNS * _FRAMES_A_COLUMN
        self._hop = max(self._size // 4, math.ceil(seconds * hz / frames))
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        config = AudioConfig(sample_rate_hz=hz, mels=_MELS, min_hz=0.0, max_hz=None)
        self._filters = mel_filters(config, self._size).T
        self.high_hz = hz / 2
        self._rest = np.zeros(self._size // 2, np.float32)
        self._skip = 0
        self._mels: list[NDArray[np.float32]] = []

    def add(self, samples: NDArray[np.float32]) -> None:
        samples = np.concatenate([self._rest, samples])
        starts = np.arange(self._skip, len(samples) - self._size + 1, self._hop)
        if len(starts):
            frames = samples[starts[:, None] + np.arange(self._size)] * self._window
            self._mels.append((np.abs(np.fft.rfft(frames, axis=1)) ** 2).astype(np.float32) @ self._filters)
        begin = int(starts[-1]) + self._hop if len(starts) else self._skip
        cut = min(begin, len(samples))
        self._rest, self._skip = samples[cut:].copy(), begin - cut

    def picture(self) -> bytes:
        """Return the spectrogram as PNG, low frequencies below; its colours range over 90 dB below the loudest cell."""
        if not self._mels:  # shorter than a frame
            self.add(np.zeros(self._size, np.float32))
        power = np.nan_to_num(np.concatenate(self._mels))
        by = math.ceil(len(power) / _COLUMNS)
        if by > 1:
            sums = np.add.reduceat(power, np.arange(0, len(power), by), axis=0)
            power = np.asarray(sums / by, np.float32)
        decibel = 10 * np.log10(np.maximum(power, 1e-12))
        scaled = (decibel - max(float(decibel.max()), -60.0) - _FAINTEST_DB) / (_LOUDEST_DB - _FAINTEST_DB)
        grey = (np.clip(scaled, 0, 1) * 255).astype(np.uint8).T[::-1]
        done, png = cv2.imencode(".png", cv2.applyColorMap(np.ascontiguousarray(grey), cv2.COLORMAP_INFERNO))
        if not done:
            raise SignalError("the spectrogram cannot be drawn")
        return png.tobytes()

"""What is measured of a row's files, each decoded once for all rules; what was measured is kept in a folder.

Sound is heard block by block and none of it kept but 32 s at 16 kHz for the fingerprint.
"""

import base64
import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import soxr
from numpy.typing import NDArray

from earthtone.data.check import DECODER_FAULTS
from earthtone.data.pair import Pair
from earthtone.errors import ConfigError, DataError, MissingExtraError, SignalError
from earthtone.files import FORMATS, format_of
from earthtone.plugins import fault_text, find_plugin, plugins_of
from earthtone.signal.audio import Samples, measure_recording
from earthtone.signal.excerpt import Excerpt, Sound, file_time, source_of
from earthtone.signal.image import Pixels, read_picture
from earthtone.signal.remarks import BLANK, CHANNELS_CANCEL

Words = NDArray[np.uint32]
HZ = 16_000  # of the fingerprint, of speech and of taggers
#: Of the fingerprint: windows of a second, one each quarter of a second, so that the delay of an encoder (up to 60 ms)
#: hardly moves them; of the first 32 s.
WINDOW, HOP, HEARD_S = HZ, HZ // 4, 32
_BANDS, _BANDS_HZ = 33, (200.0, 6000.0)  # below MP3's and Ogg's own limits at 32 kbit/s
_QUIET_DB = -80.0  # in these bands: less is rounding
LEAST_WORDS = 8
STILL = 2.0**-16
"""Highest less lowest sample of what is no sound: half a step of 16 bits."""
_WIND_HZ, _RUMBLE_HZ, _SPECTRUM_S, _LEAST_MEANS = 100.0, 5.0, 4, 64
_PICTURE_SIDE = 64
_TAGGED_S = 10
_SPEECH_SAMPLES = 512  # that silero-vad takes at once
_SURE = 0.5


@dataclass(frozen=True)
class SoundFacts:
    """Of the sound of a row; None where it was not asked, or cannot be told."""

    seconds: float
    hz: int
    channels: int
    level_db: float
    loudest_db: float
    span: float
    clipped: float
    offset: float
    cancels: bool
    wind: float | None
    """Share of the power from 5 Hz on that lies below 100 Hz."""
    digest: str
    """Of the samples, whatever file they lie in."""
    print: str | None = None
    """The fingerprint's words, as base64; empty where there is too little sound."""
    speech: float | None = None
    tags: Mapping[str, float] | None = None


@dataclass(frozen=True)
class ImageFacts:
    """Of the picture of a row."""

    blank: bool
    bits: str
    """256 of the perceptual hash, as hexadecimal digits."""


@dataclass(frozen=True)
class Facts:
    """What was measured of a row's files."""

    sound: SoundFacts | None = None
    image: ImageFacts | None = None
    fault: str | None = None
    """Why a file cannot be decoded."""


@dataclass(frozen=True)
class Wanted:
    """What is measured beside what always is."""

    prints: bool = True
    speech: bool = False
    tagger: str | None = None

    def lacks(self, facts: Facts) -> bool:
        """Return whether a row must be heard again for it."""
        sound = facts.sound
        if sound is None:
            return False
        return (
            (self.prints and sound.print is None)
            or (self.speech and sound.speech is None)
            or (self.tagger is not None and sound.tags is None)
        )


def measure(pair: Pair, wanted: Wanted) -> tuple[Facts, bool]:
    """Return what a row's files are, and whether that holds: a package, memory or disk that lacks may come back."""
    try:
        image = None if pair.image is None else _image_facts(pair.image)
        sound = None if pair.audio is None else _sound_facts(pair.audio, wanted)
    except MissingExtraError as error:
        return Facts(fault=str(error)), False
    except SignalError as error:
        return Facts(fault=str(error)), not _of_the_machine(error)
    except DECODER_FAULTS as error:
        return Facts(fault=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"), not _of_the_machine(error)
    return Facts(sound, image), True


def _of_the_machine(error: BaseException | None) -> bool:
    """Return whether an error comes of memory or the system (EIO, ESTALE); decoders' OSErrors have no number."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            return True
        error = error.__cause__
    return False


# Pictures.


def _image_facts(image: Path | bytes) -> ImageFacts:
    picture = read_picture(image, min_side=2 * _PICTURE_SIDE)
    blank = any(remark.kind == BLANK for remark in picture.remarks)
    return ImageFacts(blank, np.packbits(picture_bits(picture.pixels)).tobytes().hex())


def picture_bits(pixels: Pixels) -> NDArray[np.bool_]:
    """Return 256 bits (256,) that stay when a picture is made smaller or encoded anew.

    The lowest 16 x 16 frequencies (DCT) of 64 x 64 grey pixels, each whether it is above the median: pHash (Zauner,
    "Implementation and benchmarking of perceptual image hash functions", 2010), with more bits.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_PICTURE_SIDE, _PICTURE_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:16, :16]
    return np.asarray((low > np.median(low)).ravel())


# Sounds.


def _sound_facts(sound: Sound, wanted: Wanted) -> SoundFacts:
    digest, wind, listeners = hashlib.sha256(), _Wind(), _listeners(wanted)  # processors have it built in
    at_16_khz: list[_At16kHz] = []

    def listen(hz: int) -> Callable[[Samples], None]:
        digest.update(str(hz).encode())
        wind.begin(hz)
        if listeners:
            at_16_khz.append(_At16kHz(hz, listeners))
        return hear

    def hear(mono: Samples) -> None:
        digest.update(np.ascontiguousarray(mono).data)
        wind.add(mono)
        for stream in at_16_khz[-1:]:
            stream.add(mono)

    facts, remarks, levels = measure_recording(sound, listen)
    for stream in at_16_khz[-1:]:
        stream.end()
    cancels = any(remark.kind == CHANNELS_CANCEL for remark in remarks)
    found = {name: listener.result() for name, listener in listeners.items()}
    if cancels and "print" in found:
        found["print"] = ""  # of the rest that is left
    return SoundFacts(
        seconds=facts.seconds,
        hz=facts.hz,
        channels=facts.channels,
        level_db=_mean_db([(level.samples, level.level_db) for level in levels]),
        loudest_db=max(level.loudest_db for level in levels),
        span=max(level.span for level in levels),
        clipped=max(level.clipped_share for level in levels),
        offset=max((level.offset for level in levels), key=abs),
        cancels=cancels,
        wind=None if cancels else wind.share(),
        digest=digest.hexdigest()[:32],
        **found,
    )


def _mean_db(levels: Sequence[tuple[int, float]]) -> float:
    total = sum(count for count, _ in levels)
    power = sum(count * 10 ** (level / 10) for count, level in levels) / max(1, total)
    return 10 * math.log10(max(power, 1e-20))


class _Wind:
    """The share of power below 100 Hz: wind at a microphone lies there, as does other rumble.

    Wind has its power below a few hundred hertz and falls from there on (Nelke and Vary, "Measurement, analysis and
    simulation of wind noise signals for mobile communication devices", IWAENC 2014). Samples are averaged to about
    4,000 a second first: what that folds down to below 100 Hz is 30 dB weaker.
    """

    def __init__(self) -> None:
        self._hz = 0
        self._held: list[Samples] = []
        self._low = self._all = 0.0

    def begin(self, hz: int) -> None:
        """Begin with a stream of so many samples a second."""
        self._settle()
        self._hz = hz

    def add(self, mono: Samples) -> None:
        if len(mono) >= _SPECTRUM_S * self._hz and not self._held:
            self._hear(mono)
            return
        self._held.append(mono.copy())  # decoders of AAC give a few milliseconds at once
        if sum(map(len, self._held)) >= _SPECTRUM_S * self._hz:
            self._settle()

    def share(self) -> float | None:
        """Return the share of all that was heard; None for silence."""
        self._settle()
        return None if self._all <= 0 else min(1.0, self._low / self._all)

    def _settle(self) -> None:
        if self._held:
            self._hear(np.concatenate(self._held))
            self._held.clear()

    def _hear(self, mono: Samples) -> None:
        step = max(1, self._hz // 4000)
        count = len(mono) // step
        if count < _LEAST_MEANS:
            return
        means = np.einsum("cs->c", mono[: count * step].reshape(count, step)) / np.float32(step)
        mean = float(means.mean(dtype=np.float64))
        size = 1 << (count - 1).bit_length()  # zeros behind: far faster than lengths with large factors
        spectrum = np.fft.rfft(means - np.float32(mean), size)
        power = (spectrum.real**2 + spectrum.imag**2) * (2 * step / size)
        hz = np.arange(len(power)) * (self._hz / step / size)
        self._low += float(power[(hz >= _RUMBLE_HZ) & (hz <= _WIND_HZ)].sum())
        rumble = float(power[hz < _RUMBLE_HZ].sum())
        total = float(np.einsum("s,s->", mono, mono, dtype=np.float64)) - len(mono) * mean**2
        self._all += max(0.0, total - rumble)


# What hears 16,000 samples a second: fingerprint, speech, tags.


class _Listener:
    """Gets all samples in turn until it has `enough`; then tells what it heard."""

    enough = False

    def add(self, samples: Samples) -> None: ...

    def result(self) -> Any: ...


class _At16kHz:
    """Samples of any rate for listeners at 16 kHz."""

    def __init__(self, hz: int, listeners: Mapping[str, _Listener]) -> None:
        self._listeners = list(listeners.values())
        self._stream = None if hz == HZ else soxr.ResampleStream(hz, HZ, 1, dtype="float32", quality="HQ")

    def add(self, mono: Samples, last: bool = False) -> None:
        hearing = [listener for listener in self._listeners if not listener.enough]
        if hearing:
            samples = mono if self._stream is None else self._stream.resample_chunk(mono, last=last)
            for listener in hearing:
                listener.add(samples)

    def end(self) -> None:
        self.add(np.zeros(0, np.float32), last=True)


def _listeners(wanted: Wanted) -> dict[str, _Listener]:
    found: dict[str, _Listener] = {}
    if wanted.prints:
        found["print"] = _Fingerprint()
    if wanted.speech:
        found["speech"] = _Speech()
    if wanted.tagger is not None:
        found["tags"] = _Tags(wanted.tagger)
    return found


class _Fingerprint(_Listener):
    """The first 32 s, kept to be made to words."""

    def __init__(self) -> None:
        self._parts: list[Samples] = []
        self._count = 0

    def add(self, samples: Samples) -> None:
        self._parts.append(samples[: HEARD_S * HZ - self._count].copy())
        self._count += len(self._parts[-1])
        self.enough = self._count >= HEARD_S * HZ

    def result(self) -> str:
        words = fingerprint(np.concatenate(self._parts)) if self._parts else np.zeros(0, np.uint32)
        told = np.count_nonzero(words) >= LEAST_WORDS
        return base64.b64encode(words.astype("<u4").tobytes()).decode() if told else ""


def fingerprint(samples: Samples) -> Words:
    """Return a word of 32 bits (words,) for each quarter of a second of mono samples at 16 kHz; 0: too quiet to tell.

    A bit is whether the difference of two neighbouring mel bands has grown since the window before (Haitsma and
    Kalker, "A highly robust audio fingerprinting system", ISMIR 2002), with windows of a second, which an encoder's
    delay hardly moves. So a bit tells what noise did just then, not what kind of noise it is.
    """
    count = (len(samples) - WINDOW) // HOP + 1
    if count < 2:
        return np.zeros(0, np.uint32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP][:count]
    window, filters = _bands()
    logs, levels = np.empty((count, _BANDS)), np.empty(count)
    for at, frame in enumerate(frames):
        spectrum = np.fft.rfft(frame * window)
        power = filters @ (spectrum.real**2 + spectrum.imag**2)
        levels[at], logs[at] = power.sum(), np.log(power + 1e-12)
    steps = np.diff(logs[:, :-1] - logs[:, 1:], axis=0) > 0
    words = np.packbits(steps, axis=1).view(">u4")[:, 0].astype(np.uint32)
    loud = levels > 10 ** (_QUIET_DB / 10)
    told: Words = np.where(loud[1:] & loud[:-1], words, 0).astype(np.uint32)
    return told


@cache
def _bands() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the window (WINDOW,) and triangles on the mel scale (33, WINDOW / 2 + 1), for mean squares of samples."""
    low, high = 2595 * np.log10(1 + np.array(_BANDS_HZ) / 700)
    edges = 700 * (10 ** (np.linspace(low, high, _BANDS + 2) / 2595) - 1)
    hz = np.arange(WINDOW // 2 + 1) * HZ / WINDOW
    rise = (hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hz) / np.diff(edges)[1:, None]
    window = np.hanning(WINDOW)
    filters = np.maximum(0, np.minimum(rise, fall)) * 2 / (WINDOW * np.square(window).sum())
    return window.astype(np.float32), filters.astype(np.float32)


class _Speech(_Listener):
    """The share of pieces of 32 ms that silero-vad takes for speech."""

    def __init__(self) -> None:
        self._model, self._rest = _speech_model(), np.zeros(0, np.float32)
        self._model.reset_states()
        self._heard = self._speech = 0

    def add(self, samples: Samples) -> None:
        import torch

        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // _SPEECH_SAMPLES * _SPEECH_SAMPLES
        self._rest = samples[whole:]
        with torch.inference_mode():
            for start in range(0, whole, _SPEECH_SAMPLES):
                piece = torch.from_numpy(samples[start : start + _SPEECH_SAMPLES])
                self._speech += float(self._model(piece, HZ)) >= _SURE
                self._heard += 1

    def result(self) -> float:
        return self._speech / max(1, self._heard)


_models = threading.local()


def _speech_model() -> Any:
    """Return the model of this thread: it has a state."""
    if not hasattr(_models, "speech"):
        import torch

        threads = torch.get_num_threads()
        from silero_vad import load_silero_vad

        torch.set_num_threads(threads)  # to import it means one thread for all that the process does
        _models.speech = load_silero_vad()
    return _models.speech


class _Tags(_Listener):
    """What a plug-in says of stretches of 10 s, averaged by their lengths."""

    def __init__(self, name: str) -> None:
        self._name, self._tag = name, tagger(name)
        self._rest = np.zeros(0, np.float32)
        self._sums: dict[str, float] = {}
        self._heard = 0

    def add(self, samples: Samples) -> None:
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // (_TAGGED_S * HZ) * (_TAGGED_S * HZ)
        for start in range(0, whole, _TAGGED_S * HZ):
            self._hear(samples[start : start + _TAGGED_S * HZ])
        self._rest = samples[whole:]

    def _hear(self, samples: Samples) -> None:
        found = _tagged(self._name, self._tag, samples.copy())
        for name, sure in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + sure * len(samples)
        self._heard += len(samples)

    def result(self) -> dict[str, float]:
        if len(self._rest) and (len(self._rest) >= HZ or not self._heard):
            self._hear(self._rest)
        return {name: total / max(1, self._heard) for name, total in sorted(self._sums.items())}


Tagger = Callable[[Samples, int], Mapping[str, float]]


def plugin_tagger(name: str, tag: object) -> Tagger:
    """Return a plug-in's tagger. Raises ConfigError for no function."""
    if not callable(tag):
        raise ConfigError(f"it is {tag!r:.80}; a function of (samples, hz) expected")
    return tag


def tagger(name: str) -> Tagger:
    """Return the tagger of a name. Raises ConfigError where there is none."""
    found: Tagger | None = find_plugin("tagger", name)
    if found is None:
        known = ", ".join(plugins_of("tagger")) or "none"
        raise ConfigError(f"--tagger {name}: no plug-in has this name; known: {known}; type --import MODULE")
    return found


def _tagged(name: str, tag: Tagger, samples: Samples) -> dict[str, float]:
    """Return how sure a tagger is of its tags. Raises ConfigError, whatever it does: the next row would fail too."""
    try:
        found = dict(tag(samples, HZ))
        sure = {str(key): float(value) for key, value in found.items()}
    except Exception as error:
        raise ConfigError(f"the tagger {name!r} failed: {fault_text(error, __file__)}") from error
    if not all(0 <= value <= 1 for value in sure.values()):
        raise ConfigError(f"the tagger {name!r} returned {found!r:.80}; numbers from 0 to 1 expected")
    return sure


# What was measured is kept: one line of JSON a row, written as soon as the row is measured.

FACTS_FILE = "facts.jsonl"
_KIND = "curation"
_MEASURED = 1  # raised where the same file would be measured otherwise; what was measured before is measured anew


@dataclass
class KeptFacts:
    """What was measured before, in a file that grows; a kill costs the rows that were being measured.

    In memory lie 16 bytes of each row's name and where its line is, about 150 bytes a row. `add` comes from one thread.
    """

    path: Path
    _places: dict[bytes, int] = field(default_factory=dict)
    _passing: set[bytes] = field(default_factory=set)
    """What held for an earlier call alone: to be measured anew."""
    _end: int = 0

    def __post_init__(self) -> None:
        head = json.dumps({"format": FORMATS[_KIND], "measured": _MEASURED}) + "\n"
        try:
            self._file = self.path.open("a+b")
            if not self._read(head):
                self._file.truncate(0)
                self._file.write(head.encode())
                self._file.flush()
                self._end = len(head)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}; choose another --out") from error

    def _read(self, head: str) -> bool:
        """Find the lines that are there; return whether they are of this version. What a kill cut off is cut away."""
        self._file.seek(0)
        first = self._file.readline()
        if head.encode().startswith(first) and not first.endswith(b"\n"):
            return False
        values = _json_of(first)
        if values is None:
            raise DataError(f"{self.path}: no file that earthtone curate has written; choose another --out")
        format_of(values, _KIND, self.path)
        if values.get("measured") != _MEASURED:
            return False
        self._end = len(first)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            found = _json_of(line)
            if found is not None and isinstance(found.get("key"), str) and len(found["key"]) == 32:
                key = bytes.fromhex(found["key"])
                self._places[key] = self._end
                (self._passing.discard if found.get("holds", True) else self._passing.add)(key)
            self._end += len(line)
        self._file.truncate(self._end)
        return True

    def find(self, key: bytes) -> Facts | None:
        """Return what was measured of a row; None where nothing was."""
        place = self._places.get(key)
        if place is None:
            return None
        self._file.seek(place)
        values = _json_of(self._file.readline()) or {}
        with suppress(TypeError, KeyError):
            sound, image = values["sound"], values["image"]
            return Facts(
                None if sound is None else SoundFacts(**sound),
                None if image is None else ImageFacts(**image),
                values["fault"],
            )
        return None

    def lacks(self, key: bytes, wanted: Wanted) -> bool:
        """Return whether a row must be measured."""
        facts = self.find(key)
        return facts is None or key in self._passing or wanted.lacks(facts)

    def add(self, key: bytes, facts: Facts, holds: bool) -> None:
        """Keep what was measured of a row; where it does not hold, until the next call. Raises DataError: disk full."""
        line = (json.dumps({"key": key.hex(), "holds": holds, **asdict(facts)}) + "\n").encode()
        try:
            self._file.seek(0, os.SEEK_END)
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}; free the disk, then go on") from error
        self._places[key] = self._end
        self._passing.discard(key)
        self._end += len(line)

    def close(self) -> None:
        self._file.close()


def _json_of(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def key_of(pair: Pair, wanted: Wanted) -> bytes:
    """Return 16 bytes that name a row's files as they are now: paths, sizes, times of change; of bytes their hash.

    The tagger has a part in it. The row's id has not: what is told of a file holds for all of its rows.
    """
    digest = hashlib.blake2b(repr(wanted.tagger).encode(), digest_size=16)
    for medium in (pair.audio, pair.image):
        if medium is None:
            digest.update(b"\0none")
            continue
        stretch = (medium.start_s, medium.end_s) if isinstance(medium, Excerpt) else None
        source = source_of(medium)
        if isinstance(source, bytes):
            digest.update(b"\0bytes" + hashlib.blake2b(source, digest_size=16).digest())
        else:
            digest.update(b"\0path" + os.fsencode(source.resolve()) + repr(file_time(source)).encode())
        digest.update(repr(stretch).encode())
    return digest.digest()


def measurer(wanted: Wanted) -> Callable[[tuple[bytes, Pair]], tuple[bytes, Facts, bool]]:
    """Return the function that threads call for each row that is not measured yet."""

    def work(item: tuple[bytes, Pair]) -> tuple[bytes, Facts, bool]:
        return (item[0], *measure(item[1], wanted))

    return work


def words_of(text: str) -> Words:
    """Return the fingerprint's words of their text."""
    return np.frombuffer(base64.b64decode(text), "<u4").astype(np.uint32)


def waiting(pairs: Iterator[Pair], kept: KeptFacts, wanted: Wanted) -> Iterator[tuple[bytes, Pair]]:
    """Yield the rows that must be measured, each file's once."""
    under_way: set[bytes] = set()
    for pair in pairs:
        key = key_of(pair, wanted)
        if key not in under_way and kept.lacks(key, wanted):
            under_way.add(key)
            yield key, pair

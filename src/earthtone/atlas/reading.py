"""Items to what the encoders take, read ahead in threads: from files and bytes, and from rows of packed tables.

By the steps of `embed_images` and `embed_audio`: a file has the same vector there, here, and from its packed row.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from earthtone.atlas.items import Item, Items, PackedItems
from earthtone.data.check import BROKEN_AUDIO, BROKEN_IMAGE, DECODER_FAULTS
from earthtone.data.pair import Problem
from earthtone.encode.engine import Medium, stored_tiles, tile_sides_m
from earthtone.encode.store import content_fingerprint
from earthtone.encode.training_images import image_look, look_text
from earthtone.errors import SignalError
from earthtone.models.inputs import measured_tile
from earthtone.models.two_tower import TwoTower
from earthtone.progress import decoding_threads, ordered_map
from earthtone.signal.audio import probe_audio, read_recording
from earthtone.signal.config import AudioConfig, ImageConfig
from earthtone.signal.excerpt import Excerpt, Sound, no_excerpt, size_on_disk, source_of
from earthtone.signal.spectrogram import Spectrogram, log_mel, ready_spectrogram, window_starts, windows

BROKEN = {"image": BROKEN_IMAGE, "audio": BROKEN_AUDIO}
_ROWS = 32  # of a packed table, read at once ...
_SOUND_BYTES = 32 * 2**20  # ... fewer where recordings are long
_SMALL_FILE = 8 * 2**20  # bytes of a file whose sound has room in any memory
_DECODED_BYTES = 3 * 2**30  # of sound that is decoded at a time: one recording of six hours


class Reading(NamedTuple):
    """What was read of an item."""

    inputs: NDArray[np.uint8]
    """A picture (side, side, C), or all windows of a recording (W, frames, mels)."""
    seconds: float | None = None
    """Length of the recording as it was decoded."""
    starts_s: tuple[float, ...] = ()
    """Of each window."""
    fingerprint: str | None = None
    look: str | None = None
    """What a picture looks like, as the table holds it."""


Read = tuple[Item, Reading] | Problem


def read_ahead(items: Iterable[Item | Problem], reader: "FileReader | PackedReader") -> Generator[Read, None, None]:
    """Yield each item with what is read of it, in order, or the problem that keeps it out."""
    threads = decoding_threads()
    for found in ordered_map(reader, reader.parts(items), threads, ahead=reader.ahead(threads)):
        yield from found


def reader_of(
    items: Items, model: TwoTower, medium: Medium, image: ImageConfig | None = None
) -> "FileReader | PackedReader":
    """Return what reads items of a medium for a model; `image` says how pictures are read, by default as the model."""
    if isinstance(items, PackedItems):
        return PackedReader(items, model, medium)
    return FileReader(model, medium, image)


class FileReader:
    """Reads files and bytes."""

    def __init__(self, model: TwoTower, medium: Medium, image: ImageConfig | None = None) -> None:
        self._model = model
        self._medium = medium
        self._config = image or model.signal.image
        self._room = _Room(_DECODED_BYTES)

    def parts(self, items: Iterable[Item | Problem]) -> Iterator[list[Item | Problem]]:
        """Yield items as they are read together: each alone."""
        return ([item] for item in items)

    def ahead(self, threads: int) -> int:
        """Return how many parts are read ahead: recordings may be long, and their windows lie in memory."""
        return (4 if self._medium == "image" else 2) * threads

    def __call__(self, items: Sequence[Item | Problem]) -> list[Read]:
        return [self._read(item) for item in items]

    def _read(self, item: Item | Problem) -> Read:
        if isinstance(item, Problem):
            return item
        try:
            if not isinstance(item.media, Path | bytes | Excerpt):
                raise SignalError("it has no media")  # asked for though it was to be skipped: never
            if self._medium == "audio":
                return item, self._sound(item.media)
            return item, self._image(item, no_excerpt(item.media))
        except SignalError as error:
            return Problem(item.id, BROKEN[self._medium], str(error))
        except DECODER_FAULTS as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            return Problem(item.id, BROKEN[self._medium], reason)

    def _image(self, item: Item, media: Path | bytes) -> Reading:
        tile, side_m = measured_tile(media, self._config, item.gsd_m)
        return _seen(self._model.views([tile], [side_m])[0])._replace(fingerprint=content_fingerprint(media))

    def _sound(self, media: Sound) -> Reading:
        config = self._model.signal.audio
        if config.input == "spectrogram":
            ready = no_excerpt(media)
            return _heard(ready_spectrogram(ready, config), config, None, content_fingerprint(ready))
        with self._room.taken(_decoded_bytes(media, config)):
            recording = read_recording(media, config.sample_rate_hz, config.channel)
            spectrogram = log_mel(recording.samples, config)
            seconds = recording.facts.seconds
            del recording
        return _heard(spectrogram, config, seconds, content_fingerprint(source_of(media)))


def _seen(view: NDArray[np.uint8]) -> Reading:
    return Reading(view, look=look_text(image_look(view)))


def _heard(spectrogram: Spectrogram, config: AudioConfig, seconds: float | None, fingerprint: str | None) -> Reading:
    hop_s = round(config.hop_seconds * config.sample_rate_hz) / config.sample_rate_hz
    starts = tuple(start * hop_s for start in window_starts(len(spectrogram), config))
    return Reading(windows(spectrogram, config), seconds, starts, fingerprint)


def _decoded_bytes(media: Sound, config: AudioConfig) -> int:
    """Return about how much memory a recording takes while it is decoded, 0 for a small file."""
    if size_on_disk(media) < _SMALL_FILE:
        return 0
    return int(probe_audio(media).seconds * config.sample_rate_hz) * 4


class _Room:
    """So many bytes at a time; who wants more than all of them waits to be alone."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


class PackedReader:
    """Reads rows of a packed table, some at once."""

    def __init__(self, items: PackedItems, model: TwoTower, medium: Medium) -> None:
        self._table = items.table
        self._model = model
        self._medium = medium
        self._sizes = items.table.frames().astype(np.int64) * items.table.signal.audio.mels

    def parts(self, items: Iterable[Item | Problem]) -> Iterator[list[Item | Problem]]:
        """Yield items as they are read together: few in rows and in bytes of sound."""
        part: list[Item | Problem] = []
        held = 0
        for item in items:
            row = item.media if isinstance(item, Item) and self._medium == "audio" else None
            size = int(self._sizes[row]) if isinstance(row, int) else 0
            if part and (len(part) == _ROWS or held + size > _SOUND_BYTES):
                yield part
                part, held = [], 0
            part.append(item)
            held += size
        if part:
            yield part

    def ahead(self, threads: int) -> int:
        """Return how many parts are read ahead."""
        return 2 * threads if self._medium == "image" else 2

    def __call__(self, items: Sequence[Item | Problem]) -> list[Read]:
        here = [item for item in items if isinstance(item, Item)]
        rows = np.array([item.media for item in here], np.int64)
        found = iter((self._images if self._medium == "image" else self._sounds)(rows) if len(rows) else ())
        fingerprints = iter(item.fingerprint for item in here)
        return [
            (item, next(found)._replace(fingerprint=next(fingerprints))) if isinstance(item, Item) else item
            for item in items
        ]

    def _images(self, rows: NDArray[np.int64]) -> list[Reading]:
        sides_m = tile_sides_m(self._model, self._table, rows)
        return [_seen(view) for view in self._model.views(stored_tiles(self._table, rows), sides_m)]

    def _sounds(self, rows: NDArray[np.int64]) -> list[Reading]:
        config = self._table.signal.audio
        records: list[dict[str, Any]] = self._table.records(rows.tolist(), ["audio_frames", "audio_seconds"])
        frames = [record["audio_frames"] for record in records]
        sounds = self._table.sound(rows.tolist(), [0] * len(rows), frames)
        return [
            _heard(sound, config, record["audio_seconds"], None) for sound, record in zip(sounds, records, strict=True)
        ]


def fingerprint_of(item: Item) -> str | None:
    """Return the fingerprint of an item's media as they are now. Raises nothing for a file that is gone: None."""
    if isinstance(item.media, Path | bytes | Excerpt):
        return content_fingerprint(source_of(item.media))
    return item.fingerprint

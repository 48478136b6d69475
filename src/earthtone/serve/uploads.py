"""What visitors search by: a sound or a picture that is sent, looked at, embedded and forgotten; its vectors stay.

What it is tells its bytes, not its name. It is written to a file that is removed, decoded block by block, a few at
once, and refused where it is too long, too large, too slow, silent or damaged. Vectors are kept by a hash of the bytes,
so that a shared link finds them again once the same file is sent.
"""

import asyncio
import hashlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import numpy as np

from earthtone.atlas.queries import Example, Floats, heard_windows, unit_vector
from earthtone.errors import EarthtoneError, one_line
from earthtone.models.inputs import measured_tile, with_metres
from earthtone.models.two_tower import TwoTower
from earthtone.serve.answers import Upload
from earthtone.serve.batching import Embedded, ModelWorker
from earthtone.serve.guard import UPLOADS_AT_ONCE, refused
from earthtone.serve.served import Served
from earthtone.signal.audio import survey_recording
from earthtone.signal.image import picture_header
from earthtone.signal.sound_headers import time_limit
from earthtone.signal.sound_streams import Block, streams

Kind = Literal["sound", "image"]
_DECODED_AT_ONCE = 2
_MOST_BYTES = 2**26  # of vectors
_MOST_WINDOWS = 256  # of a sound whose spread is looked at
_LONGEST_NAME = 120
_HEAD = 64
_MOST_SAMPLES = 2**29  # of all channels: 30 minutes of 6 channels at 48 kHz
_MOST_JOINED = 100  # recordings in one file
_DECODING_SECONDS = 60.0  # in all: a sound is decoded twice

#: What files begin with: (place, bytes, suffix).
_SOUNDS = (
    (0, b"RIFF", ".wav"), (0, b"RF64", ".wav"), (0, b"riff", ".wav"), (0, b"FORM", ".aiff"), (0, b"fLaC", ".flac"),
    (0, b"OggS", ".ogg"), (0, b"ID3", ".mp3"), (0, b"caff", ".caf"), (0, b".snd", ".au"), (4, b"ftyp", ".m4a"),
)  # fmt: skip
_PICTURES = (
    (0, b"\xff\xd8\xff", ".jpg"), (0, b"\x89PNG\r\n\x1a\n", ".png"), (0, b"GIF8", ".gif"), (0, b"II*\0", ".tif"),
    (0, b"MM\0*", ".tif"), (0, b"II+\0", ".tif"), (0, b"MM\0+", ".tif"), (0, b"BM", ".bmp"), (8, b"WEBP", ".webp"),
    (4, b"jP  \r\n", ".jp2"), (4, b"ftypavif", ".avif"), (4, b"ftypavis", ".avif"),
)  # fmt: skip


def sniffed(head: bytes) -> tuple[Kind, str]:
    """Return what bytes are the beginning of, and the suffix that such files have.

    Raises HTTPException 415 for what is neither sound nor picture.

    >>> sniffed(b"fLaC....")
    ('sound', '.flac')
    """
    for place, sign, suffix in _PICTURES:
        if head[place : place + len(sign)] == sign:
            return "image", suffix
    for place, sign, suffix in _SOUNDS:
        if head[place : place + len(sign)] == sign:
            return "sound", suffix
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "sound", ".mp3" if head[1] & 0x06 else ".aac"
    what = "WebM, as browsers record it" if head[:4] == b"\x1aE\xdf\xa3" else "neither a sound nor a picture"
    raise refused(
        415, f"{what if head else 'nothing was sent'}; a sound (WAV, FLAC, Ogg, Opus, MP3) or a picture (JPEG, PNG, "
        "TIFF, WebP) expected",
    )  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """What was sent, embedded."""

    name: str
    kind: Kind
    vector: Floats
    windows: Floats
    """(W, D)"""

    def example(self, token: str) -> Example:
        """Return it as a part of a query; its name tells files of one name apart."""
        medium: Literal["audio", "image"] = "audio" if self.kind == "sound" else "image"
        return Example(f"{self.name} [{token[:8]}]", self.vector, medium, np.zeros(0, np.int64))


class Uploads:
    """Takes what is sent, and keeps its vectors while there is room."""

    def __init__(self, served: Served, worker: ModelWorker) -> None:
        self._served, self._worker = served, worker
        self._kept: OrderedDict[str, tuple[Sent, Upload]] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = 0
        self._threads = ThreadPoolExecutor(UPLOADS_AT_ONCE, "earthtone upload")
        self._decoding = threading.BoundedSemaphore(_DECODED_AT_ONCE)

    def find(self, token: str) -> Sent:
        """Return what was sent before. Raises HTTPException 404 where it is forgotten."""
        with self._lock:
            if token not in self._kept:
                raise refused(404, f"the file of {token!r:.40} is not kept any more; send it again")
            self._kept.move_to_end(token)
            return self._kept[token][0]

    async def take(self, parts: AsyncIterator[bytes], said_name: str | None, gsd_m: float | None) -> Upload:
        """Return what became of a body. Raises HTTPException: 413, 415, 422, 503."""
        with tempfile.TemporaryDirectory(prefix="earthtone-") as folder:
            path, digest = Path(folder) / "sent", hashlib.blake2b(digest_size=12)
            head = b""
            with path.open("wb") as file:
                async for part in parts:
                    head = head if len(head) >= _HEAD else (head + part)[:_HEAD]
                    digest.update(part)
                    file.write(part)
            kind, suffix = sniffed(head)
            self._refuse_without_model()
            named = path.rename(path.with_suffix(suffix))
            if gsd_m is not None and kind == "image":
                digest.update(f" {gsd_m:.12g}".encode())
            name = shown_name(said_name, suffix)
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, self._embedded, named, digest.hexdigest(), kind, name, gsd_m
            )

    def _refuse_without_model(self) -> None:
        served = self._served
        if served.model_state == "loading":
            raise refused(503, "the model is being loaded; try again in a moment", retry_after=2)
        if served.model_state == "none":
            raise refused(409, "no model is open here, so only rows and places can be searched by; click one of them")

    def _embedded(self, path: Path, token: str, kind: Kind, name: str, gsd_m: float | None) -> Upload:
        with self._lock:
            known = self._kept.get(token)
        if known is None:
            model = self._served.index.model()
            try:
                found, facts = (self._sound if kind == "sound" else self._picture)(path, model, gsd_m)
            except EarthtoneError as error:  # names the file as it lay here
                raise refused(422, str(error).replace(str(path), name)) from error
            unit = self._served.table.card.unit
            vector = unit_vector(found.vector) if unit else found.vector.astype(np.float64)
            if not np.isfinite(vector).all():
                raise refused(422, f"{name}: the model makes no finite vector of it; send another one")
            some = np.unique(np.linspace(0, len(found.windows) - 1, _MOST_WINDOWS).round().astype(int))
            windows = found.windows[some].astype(np.float64)
            known = Sent(name, kind, vector, windows), facts
        return self._keep(token, replace(known[0], name=name), known[1].model_copy(update={"name": name}))

    def _keep(self, token: str, sent: Sent, facts: Upload) -> Upload:
        told = facts.model_copy(update={"upload": token})
        with self._lock:
            if token not in self._kept:
                self._bytes += sent.windows.nbytes + sent.vector.nbytes
            self._kept[token] = sent, told
            self._kept.move_to_end(token)
            while self._bytes > _MOST_BYTES and len(self._kept) > 1:
                _, (old, _) = self._kept.popitem(last=False)
                self._bytes -= old.windows.nbytes + old.vector.nbytes
        return told

    def _sound(self, path: Path, model: TwoTower, _: float | None) -> tuple[Embedded, Upload]:
        most = self._served.options.sound_seconds
        with self._decoding, time_limit(_DECODING_SECONDS):
            seconds, notes = _counted_seconds(path, most)
            windows = heard_windows(path, model.signal.audio, str(path))
        return self._worker.sound(windows), Upload(upload="", kind="sound", name="", seconds=seconds, notes=notes)

    def _picture(self, path: Path, model: TwoTower, gsd_m: float | None) -> tuple[Embedded, Upload]:
        config, most = model.signal.image, self._served.options.image_mpx * 10**6
        with self._decoding:
            width, height, _ = picture_header(path)
            if width * height > most:
                raise refused(
                    413, f"a picture of {width} x {height} pixels; at most {most:,} pixels expected: make it smaller"
                )
            if config.footprint_m is not None and gsd_m is None:
                raise refused(
                    422, f"this model sees {config.footprint_m:g} m of ground, and the picture does not say how large "
                    "its pixels are; send ?gsd_m=METRES with it",
                )  # fmt: skip
            [(given, metres)] = with_metres([path], gsd_m, config)
            tile, side_m = measured_tile(given, config, metres)
            [view] = model.views([tile], [side_m])
        return self._worker.picture(view), Upload(
            upload="", kind="image", name="", width=width, height=height, notes=[]
        )


def _counted_seconds(path: Path, most: float) -> tuple[float, list[str]]:
    """Return how long a sound is, as decoding tells it, and what was noticed; no samples are held.

    Raises HTTPException 413 as soon as there is more than is taken - seconds, samples of all channels, recordings
    in one file -, whatever a header tells; SignalError for what is no sound, or takes too long to be decoded.
    """
    seconds, samples = 0.0, 0
    if (joined := len(streams(path)[0])) > _MOST_JOINED:
        raise refused(
            413, f"{joined:,} recordings joined in one file; at most {_MOST_JOINED} expected: send one of them"
        )

    def watch(block: Block, hz: int) -> None:
        nonlocal seconds, samples
        seconds, samples = seconds + len(block) / hz, samples + block.size
        found = None
        if seconds > most:
            found = f"a sound of more than {most:g} s; at most {most:g} s"
        elif samples > _MOST_SAMPLES:
            found = f"more than {_MOST_SAMPLES:,} samples in {block.shape[1]} channels; at most so many"
        if found is not None:
            raise refused(413, f"{found} expected: send a part of it, or fewer channels")

    facts, remarks = survey_recording(path, watch=watch)
    return facts.seconds, [one_line(f"{remark.kind}: {remark.detail}", 200) for remark in remarks]


def shown_name(said: str | None, suffix: str) -> str:
    """Return how a file is called, of a header in per cent signs: its last part, one line, no control signs."""
    name = one_line(unquote(said or "", errors="replace").replace("\\", "/").rpartition("/")[2].strip(), _LONGEST_NAME)
    return name or f"sent{suffix}"

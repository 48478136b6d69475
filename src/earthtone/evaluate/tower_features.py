"""What the two towers of a frozen model make of labelled items: encoder features and embeddings, in bounded memory."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from earthtone.data.labelled import LabelledItem
from earthtone.data.manifest import listed
from earthtone.data.ordered import ordered_map
from earthtone.errors import DataError, SignalError
from earthtone.evaluate.feature_cache import data_fingerprint, kept_features
from earthtone.evaluate.pictures import picture_batches
from earthtone.evaluate.recordings import DECODING_THREADS, check_sounds, read_spectrogram
from earthtone.models.fingerprint import model_fingerprint
from earthtone.models.reducer import weighted_mean
from earthtone.models.two_tower import Embeddings, TwoTower, unit_rows
from earthtone.progress import progress_bar
from earthtone.signal.mel import Spectrogram, windows
from earthtone.train.precision import autocast, choose_precision

Medium = Literal["image", "audio"]
FORMAT = 1  # of what a key means; a change of how files are read or pooled raises it
_BATCH = 32
_ITEMS_AT_ONCE = 64
_BYTES_AT_ONCE = 64 * 2**20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TowerFeatures:
    """What one tower makes of N items."""

    values: NDArray[np.float32]
    """(N, F + D): encoder features, then embeddings; a row of NaN for an item that cannot be read."""
    width: int
    """F."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Why an item cannot be read, by id."""
    short: Sequence[str] = ()
    """Ids of recordings shorter than the model's `min_seconds`; silence was heard after them."""
    cached: bool = False
    """Whether the values were read from the cache."""

    @property
    def encoder(self) -> NDArray[np.float32]:
        """Return the pooled features (N, F) before the projection; of a recording the mean over its windows."""
        return self.values[:, : self.width]

    @property
    def embedding(self) -> NDArray[np.float32]:
        """Return the embeddings (N, D) in the shared space."""
        return self.values[:, self.width :]


def tower_features(
    model: TwoTower,
    items: Sequence[LabelledItem],
    medium: Medium,
    *,
    cache: Path | None = None,
    precision: str = "auto",
    batch: int = _BATCH,
) -> TowerFeatures:
    """Return features and embeddings of the items' images or sounds, from the cache where it has them.

    Of an image the centre square is seen whole, as in every task on labelled images; of a recording all windows, as in
    `TwoTower.embed_audio`, also where it is shorter than `min_seconds`. Every batch has the same size (the last is
    filled up), so that an item gives the same bits in any company. Files that cannot be read are counted and named in
    a warning. Raises DataError where none can be read, or where the sounds are not of the model's kind.
    """
    if medium == "audio":
        check_sounds(model, items)
    tower = model.image_tower if medium == "image" else model.audio_tower
    model.to(memory_format=torch.channels_last)
    chosen = choose_precision(precision, model.device.type)
    notes: dict[str, Any] = {"broken": {}, "short": []}
    key = {
        "format": FORMAT, "model": model_fingerprint(model), "data": data_fingerprint(items, medium), "medium": medium,
        "precision": chosen, "device": model.device.type, "batch": batch,
    }  # fmt: skip
    make = _image_chunks if medium == "image" else _sound_chunks
    shape = (len(items), tower.features + model.config.dimensions)
    values, notes, cached = kept_features(cache, key, make(model, items, chosen, batch, notes), shape, notes)
    tell_of_files(notes["broken"], notes["short"], len(items), "images" if medium == "image" else "sounds")
    return TowerFeatures(values, tower.features, notes["broken"], notes["short"], cached)


def tell_of_files(broken: Mapping[str, str], short: Sequence[str], count: int, what: str) -> None:
    """Warn of files left out and of recordings filled up. Raises DataError where all are broken."""
    if broken:
        first, reason = next(iter(broken.items()))
        if len(broken) == count:
            raise DataError(f"none of {count} {what} can be read; the first, {first!r}: {reason}")
        names = listed(list(broken), 5)
        _log.warning("%d of %d %s cannot be read and were left out: %s (%s)", len(broken), count, what, names, reason)
    if short:
        names = listed(list(short), 5)
        _log.warning("%d of %d recordings are very short and were filled up with silence: %s", len(short), count, names)


def _image_chunks(
    model: TwoTower, items: Sequence[LabelledItem], precision: str, batch: int, notes: dict[str, Any]
) -> Iterator[Embeddings]:
    config, width = model.signal.image, model.image_tower.features + model.config.dimensions
    with progress_bar(len(items), "images", "image") as bar:
        batches = picture_batches(
            items, config.pixels, batch, notes["broken"], config.bands, usual_gsd_m=model.usual_gsd_m,
            value_range=config.value_range,
        )  # fmt: skip
        for found in batches:
            out = np.full((found.count, width), np.nan, np.float32)
            if len(found.good):
                out[found.good] = _of_pixels(model, found.pixels, precision)[: len(found.good)]
            yield out
            bar.update(found.count)


@torch.inference_mode()
def _of_pixels(model: TwoTower, pixels: NDArray[np.uint8], precision: str) -> Embeddings:
    """(batch, F + D) of (batch, side, side, C)."""
    with autocast(precision, model.device.type):
        features = model.image_tower.encoder(model.image_input(torch.from_numpy(pixels).to(model.device)))
        projected = model.image_tower.projection(features)
    vectors = F.normalize(projected.float(), dim=1) if model.config.unit else projected.float()
    return np.asarray(torch.cat([features.float(), vectors], dim=1).cpu().numpy(), np.float32)


def _sound_chunks(
    model: TwoTower, items: Sequence[LabelledItem], precision: str, batch: int, notes: dict[str, Any]
) -> Iterator[Embeddings]:
    """Yield rows of at most `_ITEMS_AT_ONCE` items, fewer of long recordings."""
    config = model.signal.audio

    def read(item: LabelledItem) -> tuple[Spectrogram, bool] | str:
        try:
            return ("it has no sound") if item.audio is None else read_spectrogram(item.audio, config)
        except SignalError as error:
            return str(error)

    waiting: list[Spectrogram | None] = []
    with progress_bar(len(items), "sounds", "sound") as bar:
        for item, found in zip(items, ordered_map(read, items, DECODING_THREADS), strict=True):
            if isinstance(found, str):
                notes["broken"][item.id] = found
                waiting.append(None)
            else:
                waiting.append(windows(found[0], config))
                if found[1]:
                    notes["short"].append(item.id)
            if len(waiting) == _ITEMS_AT_ONCE or sum(w.nbytes for w in waiting if w is not None) >= _BYTES_AT_ONCE:
                yield _of_recordings(model, waiting, precision, batch)
                bar.update(len(waiting))
                waiting = []
        if waiting:
            yield _of_recordings(model, waiting, precision, batch)
            bar.update(len(waiting))


def _of_recordings(model: TwoTower, recordings: Sequence[Spectrogram | None], precision: str, batch: int) -> Embeddings:
    """(N, F + D) of the windows (windows, frames, mels) of N recordings; NaN where there is none."""
    width = model.audio_tower.features
    out = np.full((len(recordings), width + model.config.dimensions), np.nan, np.float32)
    flat = [window for recording in recordings if recording is not None for window in recording]
    rows = _of_windows(model, flat, precision, batch)
    start = 0
    for at, recording in enumerate(recordings):
        if recording is None:
            continue
        part = rows[start : start + len(recording)]
        start += len(recording)
        out[at, :width] = part[:, :width].mean(axis=0, dtype=np.float64)
        out[at, width:] = weighted_mean(part[:, width:-1], part[:, -1])
    return np.concatenate([out[:, :width], unit_rows(out[:, width:])], axis=1) if model.config.unit else out


@torch.inference_mode()
def _of_windows(model: TwoTower, flat: Sequence[Spectrogram], precision: str, batch: int) -> Embeddings:
    """(M, F + D + 1) of M windows (frames, mels): features, vectors, scores of the reducer."""
    out = np.zeros((len(flat), model.audio_tower.features + model.config.dimensions + 1), np.float32)
    for start in range(0, len(flat), batch):
        chunk = np.stack(flat[start : start + batch])
        count = len(chunk)
        filled = np.concatenate([chunk, np.zeros((batch - count, *chunk.shape[1:]), np.uint8)])
        with autocast(precision, model.device.type):
            features = model.audio_tower.encoder(model.sound_input(torch.from_numpy(filled).to(model.device)))
            projected = model.audio_tower.projection(features)
        vectors = F.normalize(projected.float(), dim=1) if model.config.unit else projected.float()
        parts = [features.float(), vectors, model.reducer.score(vectors).float()[:, None]]
        out[start : start + count] = torch.cat(parts, dim=1)[:count].cpu().numpy()
    return out

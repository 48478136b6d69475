"""Items to vectors: images and recordings read ahead in threads, embedded in batches, in bounded memory."""

import copy
import logging
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthtone.data.labelled.items import LabelledItem, kind
from earthtone.data.manifest import listed
from earthtone.data.packed import Table
from earthtone.device import autocast, choose_precision
from earthtone.embed.store import FeatureCache, data_fingerprint, kept_features
from earthtone.errors import ConfigError, DataError, ModelError, SignalError
from earthtone.models.backbone import Backbone
from earthtone.models.encoders import Tower, folded, warn_of_unknown_gsd
from earthtone.models.storage import model_fingerprint
from earthtone.models.two_tower import Embeddings, TwoTower, unit_rows, weighted_mean
from earthtone.progress import ordered_map, progress, progress_bar
from earthtone.signal.audio import read_audio
from earthtone.signal.config import AudioConfig, ImageConfig, ValueRange, plain_range
from earthtone.signal.image import (
    Pixels,
    cut_tile,
    decode_tile,
    read_picture,
    resized,
    with_scale,
)
from earthtone.signal.spectrogram import Spectrogram, log_mel, loudness_from_array, ready_spectrogram, windows

# Images of labelled items to batches of pixels: decoded in threads ahead, broken ones counted by name.


Bands = tuple[int, int, int]
_NAMED = 5

#: A square of at most so many pixels a side, and the metres along its side for a model that is told them, else None.
Square = tuple[Pixels, float | None]


@dataclass(frozen=True)
class PictureBatch:
    """Consecutive items, of which those that can be read are in `pixels`."""

    start: int
    """Position of the first item."""
    count: int
    """How many items, broken ones too."""
    good: NDArray[np.int64]
    """Positions, from `start`, of those that can be read."""
    pixels: Pixels
    """(batch, side, side, C): first the good ones, then zeros up to the size that all batches have; C is 3, or 4 for a
    model that is told metres a pixel."""


def picture_batches(
    items: Sequence[LabelledItem], side: int, batch: int, broken: MutableMapping[str, str], bands: Bands | None = None,
    resize: int | None = None, usual_gsd_m: float | None = None, value_range: ValueRange | None = None,
) -> Iterator[PictureBatch]:  # fmt: skip
    """Yield the centre squares of the items' images in batches; `broken` gets, by id, why one cannot be read.

    `usual_gsd_m` is that of a model that is told metres a pixel, as a fourth channel: it stands for unknown ones.

    With `resize` the square is brought to that side first and its middle of `side` is taken. All batches have one size,
    the last is filled up: kernels are chosen by shape, and another kernel rounds otherwise.
    """
    waiting: list[Pixels] = []
    good: list[int] = []
    start = 0
    shown = resize or side
    edge = (shown - side) // 2
    pictures = ordered_map(
        lambda item: read_square_of(item, shown, bands, usual_gsd_m, value_range), items, decoding_threads()
    )
    for position, (item, picture) in enumerate(zip(items, pictures, strict=True)):
        if isinstance(picture, str):
            broken[item.id] = picture
        else:
            good.append(position - start)
            waiting.append(shown_square(picture, shown)[edge : edge + side, edge : edge + side])
        if position + 1 - start == batch or position + 1 == len(items):
            pixels = np.zeros((batch, side, side, 3 if usual_gsd_m is None else 4), np.uint8)
            for row, square in enumerate(waiting):
                pixels[row] = square
            yield PictureBatch(start, position + 1 - start, np.array(good, np.int64), pixels)
            waiting, good, start = [], [], position + 1


def read_square_of(
    item: LabelledItem, side: int, bands: Bands | None = None, usual_gsd_m: float | None = None,
    value_range: ValueRange | None = None,
) -> Square | str:  # fmt: skip
    """Return the centre square of an item's image, at most `side` pixels a side, or why it cannot be read.

    With `usual_gsd_m` also the metres along its side; where they are unknown it is taken to be usual at `side` pixels.
    """
    if item.image is None:
        return "it has no image"
    try:
        return measured_square(item.image, side, bands, item.image_gsd_m, usual_gsd_m, value_range)
    except SignalError as error:
        return str(error)


def measured_square(
    path: Path, side: int, bands: Bands | None, gsd_m: float | None, usual_gsd_m: float | None,
    value_range: ValueRange | None = None,
) -> Square:  # fmt: skip
    """Return the centre square of an image of `gsd_m` metres a pixel; as `read_square_of`. Raises SignalError."""
    config = ImageConfig(pixels=side, stored_pixels=side, bands=bands, value_range=value_range)
    picture = read_picture(path, config, min_side=side)
    square, side_m, _ = cut_tile(picture, config, None if usual_gsd_m is None else gsd_m)
    if usual_gsd_m is not None and gsd_m is None:
        warn_of_unknown_gsd(usual_gsd_m)
        return square, usual_gsd_m * side
    return square, side_m


def shown_square(square: Square, side: int) -> Pixels:
    """Return a square at `side` pixels, its metres a pixel as fourth channel where they are told."""
    pixels, side_m = square
    view = resized(pixels, side)
    return view if side_m is None else with_scale(view, side_m / side)


def read_square(path: Path, side: int, bands: Bands | None = None, value_range: ValueRange | None = None) -> Pixels:
    """Return the centre square of an image, at most `side` pixels a side. Raises SignalError."""
    return measured_square(path, side, bands, None, None, value_range)[0]


def decoding_threads() -> int:
    """Return how many threads decode images."""
    return max(2, min(8, os.cpu_count() or 2))


def tell_of_broken(broken: MutableMapping[str, str] | dict[str, str], count: int) -> str | None:
    """Return a line on images that were left out, None where all could be read. Raises DataError where none could."""
    if not broken:
        return None
    first_id, reason = next(iter(broken.items()))
    if len(broken) == count:
        raise DataError(f"none of {count} images can be read; the first, {first_id!r}: {reason}")
    names = ", ".join(list(broken)[:_NAMED]) + (" ..." if len(broken) > _NAMED else "")
    return f"{len(broken)} of {count} images cannot be read and were left out: {names} (the first: {reason})"


# Sounds of labelled items to spectrograms: short ones too, since a published set's figures are over all its clips.


DECODING_THREADS = 2  # recordings may be long, and what is decoded ahead lies in memory


def check_sounds(model: TwoTower, items: Sequence[LabelledItem]) -> None:
    """Raise DataError where the sounds are recordings and the model reads spectrograms, or the reverse."""
    recordings = [item.audio for item in items if item.audio is not None and kind(item.audio) == "audio"]
    ready = [item.audio for item in items if item.audio is not None and kind(item.audio) != "audio"]
    if model.signal.audio.input == "spectrogram" and recordings:
        raise DataError(
            f"{len(recordings)} recordings, such as {recordings[0]}, but this model reads ready spectrograms alone: "
            f"pictures or .npy arrays of {model.signal.audio.mels} mel bands; give those, or a model of recordings"
        )
    if model.signal.audio.input == "waveform" and ready:
        raise DataError(
            f"{len(ready)} ready spectrograms, such as {ready[0]}, but this model reads recordings alone (WAV, FLAC, "
            "Ogg, MP3 ...); give those, or a model of spectrograms, such as a converted checkpoint of the release"
        )


def read_spectrogram(path: Path, config: AudioConfig) -> tuple[Spectrogram, bool]:
    """Return the whole spectrogram (frames, mels) of a file, and whether it was shorter than `min_seconds`.

    A published set's short clips are part of its figures: silence fills them up here. Raises SignalError.
    """
    if config.input == "spectrogram":
        return ready_spectrogram(path, config), False
    samples = read_audio(path, config.sample_rate_hz, config.channel)
    short = len(samples) < config.min_seconds * config.sample_rate_hz
    return log_mel(samples, replace(config, min_seconds=0.0)), short


# Features of images by a frozen backbone: fast, in bounded memory, the same for an image alone or among others.


_FORMAT = 3  # of what a key means; a change of how images are read or pooled raises it
_BATCH = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureOptions:
    """How features are taken."""

    stage: int | None = None
    """Spatial mean of this stage's map, from 0; the backbone's pooled features when null."""
    bands: Bands | None = None
    """1-based bands of GeoTIFFs used as red, green, blue."""
    value_range: ValueRange | None = None
    """Values of more than 8 bits that become black and white; each picture's own percentiles when null."""
    resize: int | None = None
    """Resize the centre square to this side first, and show the backbone the middle of it."""
    precision: str = "auto"
    """`auto`: bfloat16 where the device multiplies it itself; `bf16` or `32` to force one."""
    cache: Path | None = None
    """Folder where features are kept; not kept when null."""


@dataclass(frozen=True)
class Extracted:
    """Features of N images."""

    values: NDArray[np.float32]
    """(N, F); a row of NaN for an image that cannot be read."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Why, by id."""
    cached: bool = False
    """Whether they were read from the cache."""

    @property
    def usable(self) -> NDArray[np.int64]:
        """Return the positions of the images that could be read."""
        return np.flatnonzero(~np.isnan(self.values[:, 0])) if len(self.values) else np.zeros(0, np.int64)


def extract_features(
    backbone: Backbone, items: Sequence[LabelledItem], options: FeatureOptions | None = None, *, batch: int = _BATCH
) -> Extracted:
    """Return features of the items' images, from the cache where it has those of this model and these files.

    With a cache, one batch of images is held at once and the result is mapped from disk; without, the features lie in
    memory. Every batch has the same size (the last is filled up), so that an image gives the same bits in any company.
    Images that cannot be read are counted and named in a warning. Raises DataError where none can be read, ConfigError
    for a stage that the backbone lacks.
    """
    options = options or FeatureOptions()
    shape = (len(items), feature_width(backbone, options.stage))
    device = backbone.to(memory_format=torch.channels_last).device
    precision = choose_precision(options.precision, device.type)
    notes: dict[str, Any] = {"broken": {}}
    chunks = _chunks(backbone, items, options, precision, batch, notes["broken"])
    if options.cache is None:
        found = Extracted(np.concatenate([np.zeros((0, shape[1]), np.float32), *chunks]), notes["broken"])
    else:
        cache = FeatureCache(options.cache)
        key = {
            "format": _FORMAT, "model": backbone.fingerprint, "data": data_fingerprint(items), "stage": options.stage,
            "pixels": backbone.pixels, "bands": options.bands and list(options.bands), "resize": options.resize,
            "precision": precision, "device": device.type, "batch": batch,
        }  # fmt: skip
        if options.value_range is not None:
            key["value_range"] = plain_range(options.value_range)
        there = cache.kept(key)
        if there is None:
            cache.write(key, chunks, shape, notes)
            there = cache.read(key)
            assert there is not None, "a cache that was just written"  # noqa: S101
            found = Extracted(there[0], there[1]["broken"])
        else:
            found = Extracted(there[0], there[1]["broken"], cached=True)
    told = tell_of_broken(dict(found.broken), len(items))
    if told:
        _log.warning("%s", told)
    return found


def feature_width(backbone: Backbone, stage: int | None) -> int:
    """Return F. Raises ConfigError for a stage that the backbone lacks."""
    if stage is None:
        return int(backbone.features)
    if not 0 <= stage < len(backbone.channels):
        raise ConfigError(f"--stage {stage}; {backbone.name} has stages 0 to {len(backbone.channels) - 1}")
    return int(backbone.channels[stage])


def _chunks(
    backbone: Backbone, items: Sequence[LabelledItem], options: FeatureOptions, precision: str, batch: int,
    broken: dict[str, str],
) -> Iterator[NDArray[np.float32]]:  # fmt: skip
    """Yield the rows of each `batch` items; `broken` gets the reasons."""
    width = feature_width(backbone, options.stage)
    backbone = _for_inference(backbone)
    with progress_bar(len(items), "features", "image") as bar:
        batches = picture_batches(
            items, backbone.pixels, batch, broken, options.bands, options.resize, backbone.usual_gsd_m,
            options.value_range,
        )  # fmt: skip
        for found in batches:
            out = np.full((found.count, width), np.nan, np.float32)
            if len(found.good):
                out[found.good] = _forward(backbone, found.pixels, options.stage, precision)[: len(found.good)]
            yield out
            bar.update(found.count)


def _for_inference(backbone: Backbone) -> Backbone:
    """Return a backbone that says the same, faster; the one given stays as it is."""
    shape = (1, backbone.pixels, backbone.pixels, len(backbone.mean))  # metres a pixel too, where it is told them
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    quick = copy.copy(backbone)
    quick._modules = {**backbone._modules, "encoder": folded(backbone.encoder, backbone.prepare(noise))}
    return quick.to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def _forward(backbone: Backbone, pixels: NDArray[np.uint8], stage: int | None, precision: str) -> NDArray[np.float32]:
    """(batch, F) of (batch, side, side, C)."""
    device = backbone.device
    inputs = backbone.prepare(torch.from_numpy(pixels).to(device))
    with autocast(precision, device.type):
        found: Tensor = backbone.pooled(inputs) if stage is None else backbone.stages(inputs)[stage].mean(dim=(2, 3))
    values: NDArray[np.float32] = found.float().cpu().numpy()
    return values


# What the two towers of a frozen model make of labelled items: encoder features and embeddings, in bounded memory.


Medium = Literal["image", "audio"]
FORMAT = 1  # of what a key means; a change of how files are read or pooled raises it
_ITEMS_AT_ONCE = 64
_BYTES_AT_ONCE = 64 * 2**20


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


# Embeddings of pairs as the SoundingEarth release takes them for ADVANCE: whole images halved, whole spectrograms.


_RELEASE_FORMAT = 1

#: (item) -> what a tower takes, (1, channels, height, width). Raises SignalError.
Prepare = Callable[[LabelledItem], Tensor]


def release_view(
    model: TwoTower, items: Sequence[LabelledItem], medium: Medium, *, cache: Path | None = None, precision: str = "32"
) -> TowerFeatures:
    """Return embeddings (N, D), without encoder features, of whole images averaged 2 x 2 and of whole sounds.

    A release model hears an array of decibels at once, of any length and on a scale from 0 to 1, as the release's
    script for ADVANCE has it: its training had exp(-1.5) to exp(0.5). Any other model or file is heard as always, in
    the model's windows. After Heidler et al., arXiv 2108.00688. Raises DataError, ConfigError for an encoder that
    takes pictures of one size alone.
    """
    if medium == "audio" and not _hears_whole(model, items):
        found = tower_features(model, items, medium, cache=cache, precision=precision)
        return TowerFeatures(found.embedding, 0, found.broken, found.short, found.cached)
    chosen = choose_precision(precision, model.device.type)
    notes: dict[str, Any] = {"broken": {}, "short": []}
    key = {
        "release_view": _RELEASE_FORMAT, "model": model_fingerprint(model), "data": data_fingerprint(items, medium),
        "medium": medium, "precision": chosen, "device": model.device.type,
    }  # fmt: skip
    tower, prepare = _of(model, medium)
    chunks = _rows(model, tower, prepare, items, chosen, notes["broken"])
    values, notes, cached = kept_features(cache, key, chunks, (len(items), model.config.dimensions), notes)
    tell_of_files(notes["broken"], notes["short"], len(items), "images" if medium == "image" else "sounds")
    return TowerFeatures(values, 0, notes["broken"], notes["short"], cached)


def _hears_whole(model: TwoTower, items: Sequence[LabelledItem]) -> bool:
    release = model.config.sound_scale == "soundingearth" and model.config.audio_encoder.startswith("release_")
    arrays = all(item.audio is None or item.audio.suffix.lower() == ".npy" for item in items)
    return release and arrays and model.signal.audio.input == "spectrogram"


def _of(model: TwoTower, medium: Medium) -> tuple[Tower, Prepare]:
    def image(item: LabelledItem) -> Tensor:
        if item.image is None:
            raise SignalError("it has no image")
        pixels = read_picture(item.image, model.signal.image).pixels
        if min(pixels.shape[:2]) < 2:
            raise SignalError(f"{item.image}: {pixels.shape[1]} x {pixels.shape[0]} pixels cannot be halved")
        if model.usual_gsd_m is not None and item.image_gsd_m is not None:
            pixels = with_scale(pixels, 2 * item.image_gsd_m)  # as it is seen, halved
        return F.avg_pool2d(model.image_input(torch.tensor(pixels[None]).to(model.device)), 2)

    def sound(item: LabelledItem) -> Tensor:
        if item.audio is None:
            raise SignalError("it has no sound")
        loudness = loudness_from_array(item.audio, model.signal.audio).astype(np.float32)
        return torch.from_numpy(loudness)[None, None].to(model.device)

    return (model.image_tower, image) if medium == "image" else (model.audio_tower, sound)


def _rows(
    model: TwoTower, tower: Tower, prepare: Prepare, items: Sequence[LabelledItem], precision: str,
    broken: dict[str, str],
) -> Iterator[NDArray[np.float32]]:  # fmt: skip
    """Yield a row (1, D) an item, NaN where it is broken; one at a time, since they may differ in size."""

    def read(item: LabelledItem) -> Tensor | str:
        try:
            return prepare(item)
        except SignalError as error:
            return str(error)

    prepared = ordered_map(read, items, DECODING_THREADS)
    shown = progress(prepared, total=len(items), label="embeddings", unit="item")
    for item, inputs in zip(items, shown, strict=True):
        if isinstance(inputs, str):
            broken[item.id] = inputs
            yield np.full((1, model.config.dimensions), np.nan, np.float32)
        else:
            yield _embedding(model, tower, inputs, precision)


@torch.inference_mode()
def _embedding(model: TwoTower, tower: Tower, inputs: Tensor, precision: str) -> NDArray[np.float32]:
    was_training = model.training
    model.eval()
    try:
        with autocast(precision, model.device.type):
            projected = tower(inputs).float()
    except (RuntimeError, AssertionError, ValueError) as error:
        size = " x ".join(map(str, inputs.shape[2:]))
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"--protocol soundingearth shows an encoder {size} here, and this one cannot take that ({reason}); choose "
            "a model that takes any size, or leave --protocol soundingearth out"
        ) from error
    finally:
        model.train(was_training)
    vectors = F.normalize(projected, dim=1) if model.config.unit else projected
    return np.asarray(vectors.cpu().numpy(), np.float32)


# Rows of a packed table to embeddings, in bounded memory.


Read = TypeVar("Read")

_ROWS = 64  # rows read and embedded at once ...
_SOUND_BYTES = 64 * 2**20  # ... fewer where recordings are long


def embed_rows(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> tuple[Embeddings, Embeddings]:
    """Return unit image and sound vectors, each (len(rows), dimensions), of whole tiles and whole recordings.

    Raises ModelError when the table was packed with another signal config than the model was trained on.
    """
    check_signal(model, table)
    image = np.empty((len(rows), model.config.dimensions), np.float32)
    audio = np.empty_like(image)

    sides_m = tile_sides_m(model, table, rows)

    def read(chunk: NDArray[np.int64]) -> tuple[list[Pixels], list[Spectrogram]]:
        return stored_tiles(table, chunk), stored_windows(table, chunk)

    for start, (tiles, recordings) in _row_chunks(read, _by_length(table, rows), "embed"):
        given = None if sides_m is None else sides_m[start : start + len(tiles)]
        image[start : start + len(tiles)] = model.embed_tiles(tiles, sides_m=given)
        audio[start : start + len(tiles)] = model.embed_windows(recordings)
    return image, audio


def image_features(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> Embeddings:
    """Return the image encoder's last-stage features (len(rows), features) of whole tiles, before the projection."""
    check_signal(model, table)
    out = np.empty((len(rows), model.image_tower.features), np.float32)
    sides_m = tile_sides_m(model, table, rows)
    chunks = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    for start, tiles in _row_chunks(lambda chunk: stored_tiles(table, chunk), chunks, "features"):
        given = None if sides_m is None else sides_m[start : start + len(tiles)]
        out[start : start + len(tiles)] = model.image_features(tiles, sides_m=given)
    return out


def tile_sides_m(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> list[float] | None:
    """Return the metres along a side of some rows' tiles, NaN where unknown; None where the model is not told them."""
    return table.tile_sides_m[rows].tolist() if model.config.scale_input else None


def check_signal(model: TwoTower, table: Table) -> None:
    """Raise ModelError unless model and table agree on how sound and images become tensors."""
    if model.signal != table.signal:
        raise ModelError(
            f"{table.path} was packed with another signal config than the model was trained on; "
            f"pack the data again with: earthtone pack DATA --out NEW.lance --model RUN"
        )


def _row_chunks(
    read: Callable[[NDArray[np.int64]], Read], chunks: list[NDArray[np.int64]], label: str
) -> Iterator[tuple[int, Read]]:
    """Yield (position, what `read` returned) for chunks of rows; reading goes on in a thread meanwhile."""
    start = 0
    results = progress(ordered_map(read, chunks, threads=1), total=len(chunks), label=label, unit="chunk")
    for chunk, result in zip(chunks, results, strict=True):
        yield start, result
        start += len(chunk)


def _by_length(table: Table, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return `rows` in chunks that are small in rows and in bytes of sound; a single recording may be larger."""
    sizes = table.frames()[rows].astype(np.int64) * table.signal.audio.mels
    chunks, start, held = [], 0, 0
    for position, size in enumerate(sizes):
        if position > start and (position - start == _ROWS or held + size > _SOUND_BYTES):
            chunks.append(rows[start:position])
            start, held = position, 0
        held += int(size)
    return [*chunks, rows[start:]] if len(rows) else []


def stored_tiles(table: Table, rows: NDArray[np.int64]) -> list[Pixels]:
    """Return the tiles of some rows as they are stored, uint8 (side, side, 3)."""
    return [decode_tile(data) for data in table.images(rows.tolist())]


def stored_windows(table: Table, rows: NDArray[np.int64]) -> list[Spectrogram]:
    """Return the windows (windows, frames, mels) that cover each row's recording."""
    frames = [record["audio_frames"] for record in table.records(rows.tolist(), ["audio_frames"])]
    whole = table.sound(rows.tolist(), [0] * len(rows), frames)
    return [windows(spectrogram, table.signal.audio) for spectrogram in whole]

"""Labelled items and rows of packed tables to vectors: read ahead in threads, embedded in shared batches, kept.

Every way is the same: a source of inputs (`read_items`, `_stored`), the model's pass over batches of one constant size
(models/batches.py), and where it is wanted the cache (`kept_features`). So an item gives the same bits in any company,
and memory holds a few items and a batch.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.labelled.items import LabelledItem
from earthtone.data.manifest import listed
from earthtone.data.packed import Table
from earthtone.device import autocast, choose_precision
from earthtone.encode.store import Notes, RowsOf, data_fingerprint, kept_features
from earthtone.errors import ConfigError, DataError, ModelError, SignalError
from earthtone.models.backbone import Backbone
from earthtone.models.batches import collected, constant_batch, row_by_item
from earthtone.models.encoders import fold_batch_norms, warn_of_unknown_gsd
from earthtone.models.inputs import SOUND_THREADS
from earthtone.models.storage import model_fingerprint
from earthtone.models.two_tower import Embeddings, TwoTower
from earthtone.progress import decoding_threads, ordered_map, progress
from earthtone.signal.audio import read_audio
from earthtone.signal.config import AudioConfig, ImageConfig, ValueRange, plain_range
from earthtone.signal.excerpt import Sound, no_excerpt
from earthtone.signal.image import Pixels, cut_tile, decode_tile, read_picture, resized, with_scale
from earthtone.signal.raster import Bands
from earthtone.signal.readers import kind
from earthtone.signal.spectrogram import Spectrogram, log_mel, loudness_from_array, ready_spectrogram, windows

Medium = Literal["image", "audio"]
Broken = MutableMapping[str, str]
"""Why an item cannot be read, by id."""
#: A square of at most so many pixels a side, and the metres along its side for a model that is told them, else None.
Square = tuple[Pixels, float | None]
Input = TypeVar("Input")

_NAMED = 5
_log = logging.getLogger(__name__)

# What is read of labelled items.


def read_items(
    items: Sequence[LabelledItem], read: Callable[[LabelledItem], Input], broken: Broken, threads: int
) -> Iterator[Input | None]:
    """Yield what `read` returns of each item, read ahead in threads; None, and why in `broken`, for SignalError."""

    def attempted(item: LabelledItem) -> Input | SignalError:
        try:
            return read(item)
        except SignalError as error:
            return error

    for item, result in zip(items, ordered_map(attempted, items, threads), strict=True):
        if isinstance(result, SignalError):
            broken[item.id] = str(result)
        yield None if isinstance(result, SignalError) else result


def warn_of_files(broken: Mapping[str, str], short: Sequence[str], count: int, what: str) -> None:
    """Warn of files left out and of recordings filled up. Raises DataError where all of `count` are broken."""
    if broken:
        first, reason = next(iter(broken.items()))
        if len(broken) == count:
            raise DataError(f"none of {count} {what} can be read; the first, {first!r}: {reason}")
        names = listed(list(broken), _NAMED)
        _log.warning("%d of %d %s cannot be read and were left out: %s (%s)", len(broken), count, what, names, reason)
    if short:
        names = listed(list(short), _NAMED)
        _log.warning("%d of %d recordings are very short and were filled up with silence: %s", len(short), count, names)


def square_of_item(
    item: LabelledItem, side: int, bands: Bands | None = None, usual_gsd_m: float | None = None,
    value_range: ValueRange | None = None,
) -> Square:  # fmt: skip
    """Return the centre square of an item's image, at most `side` pixels a side. Raises SignalError.

    With `usual_gsd_m`, of a model that is told metres a pixel, also the metres along its side; where they are unknown
    it is taken to be usual at `side` pixels.
    """
    if item.image is None:
        raise SignalError("it has no image")
    return measured_square(item.image, side, bands, item.image_gsd_m, usual_gsd_m, value_range)


def measured_square(
    path: Path, side: int, bands: Bands | None, gsd_m: float | None = None, usual_gsd_m: float | None = None,
    value_range: ValueRange | None = None,
) -> Square:  # fmt: skip
    """Return the centre square of an image of `gsd_m` metres a pixel; as `square_of_item`. Raises SignalError."""
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


def check_sounds(model: TwoTower, items: Sequence[LabelledItem]) -> None:
    """Raise DataError where the sounds are recordings and the model reads spectrograms, or the reverse."""
    files = [item.audio for item in items if item.audio is not None]
    recordings = [file for file in files if kind(file) == "audio"]
    if model.signal.audio.input == "spectrogram" and recordings:
        raise DataError(
            f"{len(recordings)} recordings, such as {recordings[0]}, but this model reads ready spectrograms alone: "
            f"pictures or .npy arrays of {model.signal.audio.mels} mel bands; give those, or a model of recordings"
        )
    if model.signal.audio.input == "waveform" and len(recordings) < len(files):
        ready = [file for file in files if kind(file) != "audio"]
        raise DataError(
            f"{len(ready)} ready spectrograms, such as {ready[0]}, but this model reads recordings alone (WAV, FLAC, "
            "Ogg, MP3 ...); give those, or a model of spectrograms, such as a converted checkpoint of the release"
        )


def read_spectrogram(sound: Sound, config: AudioConfig) -> tuple[Spectrogram, bool]:
    """Return the whole spectrogram (frames, mels) of a sound, and whether it was shorter than `min_seconds`.

    A published set's short clips are part of its figures: silence fills them up here. Raises SignalError.
    """
    if config.input == "spectrogram":
        return ready_spectrogram(no_excerpt(sound), config), False
    samples = read_audio(sound, config.sample_rate_hz, config.channel)
    short = len(samples) < config.min_seconds * config.sample_rate_hz
    return log_mel(samples, replace(config, min_seconds=0.0)), short


# Features of images by a frozen backbone, of images and sounds by the two towers.


_FORMAT = 3  # of what a key of `extract_features` means; a change of how images are read or pooled raises it
_TOWER_FORMAT = 1  # the same of `tower_features` ...
_RELEASE_FORMAT = 1  # ... and of `release_view`


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
class ItemFeatures:
    """What a model makes of N items."""

    values: NDArray[np.float32]
    """(N, F + D): features, then the embeddings of a two-tower model; a row of NaN for an item that cannot be read."""
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

    @property
    def usable(self) -> NDArray[np.int64]:
        """Return the positions of the items that could be read."""
        return np.flatnonzero(~np.isnan(self.values[:, 0])) if len(self.values) else np.zeros(0, np.int64)


def extract_features(
    backbone: Backbone,
    items: Sequence[LabelledItem],
    options: FeatureOptions | None = None,
    *,
    batch: int | None = None,
) -> ItemFeatures:
    """Return features (N, F) of the items' images, from the cache where it has those of this model and these files.

    With a cache the result is mapped from disk; without, it lies in memory. Images that cannot be read are counted and
    named in a warning. Raises DataError where none can be read, ConfigError for a stage that the backbone lacks.
    """
    options = options or FeatureOptions()
    width = feature_width(backbone, options.stage)
    device = backbone.to(memory_format=torch.channels_last).device
    precision, batch = choose_precision(options.precision, device.type), batch or constant_batch(device)
    key: dict[str, Any] = {
        "format": _FORMAT, "model": backbone.fingerprint, "data": data_fingerprint(items), "stage": options.stage,
        "pixels": backbone.pixels, "bands": options.bands and list(options.bands), "resize": options.resize,
        "precision": precision, "device": device.type, "batch": batch,
    }  # fmt: skip
    if options.value_range is not None:
        key["value_range"] = plain_range(options.value_range)
    rows = _backbone_rows(backbone, options, precision, batch)
    values, notes, cached = kept_features(options.cache, key, items, rows, width, "image")
    warn_of_files(notes["broken"], (), len(items), "images")
    return ItemFeatures(values, width, notes["broken"], cached=cached)


def feature_width(backbone: Backbone, stage: int | None) -> int:
    """Return F. Raises ConfigError for a stage that the backbone lacks."""
    if stage is None:
        return int(backbone.features)
    if not backbone.channels:
        raise ConfigError(
            f"--stage {stage}; the encoder of {backbone.name} has no `forward_intermediates`, so no stages"
        )
    if not 0 <= stage < len(backbone.channels):
        raise ConfigError(f"--stage {stage}; {backbone.name} has stages 0 to {len(backbone.channels) - 1}")
    return int(backbone.channels[stage])


def _backbone_rows(backbone: Backbone, options: FeatureOptions, precision: str, batch: int) -> RowsOf:
    """Return what makes features (F,) of items."""
    width, side = feature_width(backbone, options.stage), backbone.pixels
    shown = options.resize or side
    edge = (shown - side) // 2

    def read(item: LabelledItem) -> Pixels:
        square = square_of_item(item, shown, options.bands, backbone.usual_gsd_m, options.value_range)
        return shown_square(square, shown)[edge : edge + side, edge : edge + side]

    def rows(items: Sequence[LabelledItem], notes: Notes) -> Iterator[Embeddings]:
        quick = _for_inference(backbone)

        def forward(pixels: Tensor) -> Tensor:
            inputs = quick.prepare(pixels)
            with autocast(precision, quick.device.type):
                if options.stage is None:
                    return quick.pooled(inputs)
                return quick.stages(inputs)[options.stage].mean(dim=(2, 3))

        pictures = read_items(items, read, notes["broken"], decoding_threads())
        return row_by_item(pictures, forward, model=quick, width=width, device=quick.device, batch=batch)

    return rows


def _for_inference(backbone: Backbone) -> Backbone:
    """Return a backbone that gives the same features, faster; the one given stays as it is."""
    shape = (1, backbone.pixels, backbone.pixels, len(backbone.mean))  # metres a pixel too, where it is told them
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    quick = copy.copy(backbone)
    quick._modules = {**backbone._modules, "encoder": fold_batch_norms(backbone.encoder, backbone.prepare(noise))}
    return quick.to(memory_format=torch.channels_last).eval()


def for_many_passes(model: TwoTower, precision: str) -> TwoTower:
    """Return a model that gives the same vectors, faster in bfloat16; the one given stays as it is.

    In float32 it is the model itself, whose bits are those of `embed_images`. In bfloat16 norms are folded into the
    convolutions before them, and weights are converted once, where autocast does it in every pass.
    """
    if precision != "bf16-mixed":
        return model
    image, audio, draw = model.signal.image, model.signal.audio, np.random.default_rng(0)
    pixels = draw.integers(0, 256, (2, image.pixels, image.pixels, model.config.image_channels), np.uint8)
    sounds = draw.integers(0, 256, (2, audio.window_frames, audio.mels), np.uint8)
    quick = copy.copy(model)
    inputs = {
        "image": model.image_input(torch.from_numpy(pixels).to(model.device)),
        "audio": model.sound_input(torch.from_numpy(sounds).to(model.device)),
    }
    towers = {f"{medium}_tower": _quick_tower(tower, inputs[medium]) for medium, tower in model.towers.items()}
    quick._modules = {**model._modules, **towers}
    return quick


def _quick_tower(tower: nn.Module, inputs: Tensor) -> nn.Module:
    encoder = fold_batch_norms(cast(nn.Module, tower.encoder), inputs)
    projection = copy.deepcopy(cast(nn.Module, tower.projection))
    for layer in (*encoder.modules(), *projection.modules()):
        if type(layer) in (nn.Conv2d, nn.Linear):  # not those derived from them, which may do other things as well
            layer.to(torch.bfloat16)
    quick = copy.copy(tower)
    quick._modules = {**tower._modules, "encoder": encoder, "projection": projection}
    return quick.to(memory_format=torch.channels_last).eval()


def tower_features(
    model: TwoTower, items: Sequence[LabelledItem], medium: Medium, *, cache: Path | None = None,
    precision: str = "auto",
) -> ItemFeatures:  # fmt: skip
    """Return features and embeddings (N, F + D) of the items' images or sounds, from the cache where it has them.

    Of an image the centre square is seen whole, as in every task on labelled images; of a recording all windows, as in
    `TwoTower.embed_audio`, also where it is shorter than `min_seconds`. Files that cannot be read are counted and named
    in a warning. Raises DataError where none can be read, or where the sounds are not of the model's kind.
    """
    if medium == "audio":
        check_sounds(model, items)
    model.to(memory_format=torch.channels_last)
    precision, batch = choose_precision(precision, model.device.type), constant_batch(model.device)
    config, sound = model.signal.image, model.signal.audio

    def picture(item: LabelledItem) -> Pixels:
        square = square_of_item(item, config.pixels, config.bands, model.usual_gsd_m, config.value_range)
        return shown_square(square, config.pixels)

    def recording(item: LabelledItem) -> tuple[Spectrogram, bool]:
        if item.sound is None:
            raise SignalError("it has no sound")
        return read_spectrogram(item.sound, sound)

    def recordings(items: Sequence[LabelledItem], notes: Notes) -> Iterator[Spectrogram | None]:
        for item, found in zip(items, read_items(items, recording, notes["broken"], SOUND_THREADS), strict=True):
            if found is not None and found[1]:
                notes["short"].append(item.id)
            yield None if found is None else windows(found[0], sound)

    def rows(items: Sequence[LabelledItem], notes: Notes) -> Iterator[Embeddings]:
        if medium == "audio":
            return model.encoded_sounds(recordings(items, notes), batch=batch, precision=precision)
        pictures = read_items(items, picture, notes["broken"], decoding_threads())
        return model.encoded_images(pictures, batch=batch, precision=precision)

    width = model.image_tower.features if medium == "image" else model.audio_tower.features
    key = {"format": _TOWER_FORMAT, "batch": batch}
    return _kept(model, items, medium, rows, width, key, precision, cache)


def _kept(
    model: TwoTower, items: Sequence[LabelledItem], medium: Medium, rows: RowsOf, width: int, key: Mapping[str, Any],
    precision: str, cache: Path | None,
) -> ItemFeatures:  # fmt: skip
    """Return rows (width + D,) of the items' images or sounds, from the cache where it has them."""
    full = {
        **key, "model": model_fingerprint(model), "data": data_fingerprint(items, medium), "medium": medium,
        "precision": precision, "device": model.device.type,
    }  # fmt: skip
    unit = "image" if medium == "image" else "sound"
    values, notes, cached = kept_features(cache, full, items, rows, width + model.config.dimensions, unit)
    warn_of_files(notes["broken"], notes["short"], len(items), f"{unit}s")
    return ItemFeatures(values, width, notes["broken"], notes["short"], cached)


def release_view(
    model: TwoTower, items: Sequence[LabelledItem], medium: Medium, *, cache: Path | None = None, precision: str = "32"
) -> ItemFeatures:
    """Return embeddings (N, D), without encoder features, of whole images averaged 2 x 2 and of whole sounds.

    A release model hears an array of decibels at once, of any length and on a scale from 0 to 1, as the release's
    script for ADVANCE has it: its training had exp(-1.5) to exp(0.5). Any other model or file is heard as always, in
    the model's windows. After Heidler et al., arXiv 2108.00688. Raises DataError, ConfigError for an encoder that
    takes pictures of one size alone.
    """
    if medium == "audio" and not _hears_whole(model, items):
        found = tower_features(model, items, medium, cache=cache, precision=precision)
        return replace(found, values=found.embedding, width=0)
    precision = choose_precision(precision, model.device.type)
    tower = model.image_tower if medium == "image" else model.audio_tower

    def read(item: LabelledItem) -> NDArray[Any]:
        if medium == "audio":
            if item.sound is None:
                raise SignalError("it has no sound")
            return loudness_from_array(no_excerpt(item.sound), model.signal.audio).astype(np.float32)
        if item.image is None:
            raise SignalError("it has no image")
        pixels = read_picture(item.image, model.signal.image).pixels
        if min(pixels.shape[:2]) < 2:
            raise SignalError(f"{item.image}: {pixels.shape[1]} x {pixels.shape[0]} pixels cannot be halved")
        if model.usual_gsd_m is not None and item.image_gsd_m is not None:
            pixels = with_scale(pixels, 2 * item.image_gsd_m)  # as it is seen, halved
        return pixels

    def forward(values: Tensor) -> Tensor:
        inputs = F.avg_pool2d(model.image_input(values), 2) if medium == "image" else values[:, None]
        try:
            with autocast(precision, model.device.type):
                projected = tower(inputs).float()
        except (RuntimeError, AssertionError, ValueError) as error:
            size = " x ".join(map(str, inputs.shape[2:]))
            reason = " ".join(str(error).split())[:120]
            raise ConfigError(
                f"--protocol soundingearth shows an encoder {size} here, and this one cannot take that ({reason}); "
                "choose a model that takes any size, or leave --protocol soundingearth out"
            ) from error
        return model.embedding(projected)

    def rows(items: Sequence[LabelledItem], notes: Notes) -> Iterator[Embeddings]:
        threads = decoding_threads() if medium == "image" else SOUND_THREADS
        inputs = read_items(items, read, notes["broken"], threads)
        width, device = model.config.dimensions, model.device  # inputs may differ in size: one at a time
        return row_by_item(inputs, forward, model=model, width=width, device=device, batch=1)

    return _kept(model, items, medium, rows, 0, {"release_view": _RELEASE_FORMAT}, precision, cache)


def _hears_whole(model: TwoTower, items: Sequence[LabelledItem]) -> bool:
    release = model.config.sound_scale == "soundingearth" and model.config.audio_encoder.startswith("release_")
    arrays = all(item.audio is None or item.audio.suffix.lower() == ".npy" for item in items)
    return release and arrays and model.signal.audio.input == "spectrogram"


# Rows of a packed table.


_ROWS = 64  # rows read at once ...
_SOUND_BYTES = 64 * 2**20  # ... fewer where recordings are long


def embed_rows(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> tuple[Embeddings, Embeddings]:
    """Return image and sound vectors, each (len(rows), dimensions), of whole tiles and whole recordings.

    Raises ModelError when the table was packed with another signal config than the model was trained on.
    """
    _ = model.image_tower.features, model.audio_tower.features  # one that lacks is told before the other's long work
    return embed_medium(model, table, rows, "image"), embed_medium(model, table, rows, "audio")


def embed_medium(model: TwoTower, table: Table, rows: NDArray[np.int64], medium: Medium) -> Embeddings:
    """Return vectors (len(rows), dimensions) of the rows' whole tiles, or of their whole recordings.

    Raises ModelError as `embed_rows`.
    """
    check_signal(model, table)
    if medium == "image":
        encoded, start = _encoded_tiles(model, table, rows), model.image_tower.features
    else:
        encoded = model.encoded_sounds(_stored(table, rows, stored_windows, "sounds"))
        start = model.audio_tower.features
    return collected(encoded, len(rows), slice(start, start + model.config.dimensions))


def image_features(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> Embeddings:
    """Return the image encoder's pooled features (len(rows), F) of whole tiles, before the projection.

    Raises ModelError as `embed_rows`.
    """
    check_signal(model, table)
    return collected(_encoded_tiles(model, table, rows), len(rows), slice(0, model.image_tower.features))


def _encoded_tiles(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> Iterator[Embeddings]:
    sides_m: Sequence[float | None] = tile_sides_m(model, table, rows) or [None] * len(rows)
    tiles = _stored(table, rows, stored_tiles, "images")
    return model.encoded_images(
        view for tile, side_m in zip(tiles, sides_m, strict=True) for view in model.views([tile], [side_m])
    )


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


def _stored(
    table: Table, rows: NDArray[np.int64], read: Callable[[Table, NDArray[np.int64]], list[Pixels]], label: str
) -> Iterator[Pixels]:
    """Yield what `read` returns for each row, read ahead in a thread, in chunks small in rows and in bytes of sound."""
    ends = [0]
    held = 0
    for position, size in enumerate(table.frames()[rows].astype(np.int64) * table.signal.audio.mels):
        if position > ends[-1] and (position - ends[-1] == _ROWS or held + size > _SOUND_BYTES):
            ends.append(position)
            held = 0
        held += int(size)
    chunks = [part for part in np.split(rows, ends[1:]) if len(part)]
    found = chain.from_iterable(ordered_map(lambda chunk: read(table, chunk), chunks, threads=1))
    return progress(found, total=len(rows), label=label)


def stored_tiles(table: Table, rows: NDArray[np.int64]) -> list[Pixels]:
    """Return the tiles of some rows as they are stored, uint8 (side, side, 3)."""
    return [decode_tile(data) for data in table.images(rows.tolist())]


def stored_windows(table: Table, rows: NDArray[np.int64]) -> list[Spectrogram]:
    """Return the windows (windows, frames, mels) that cover each row's recording."""
    frames = [record["audio_frames"] for record in table.records(rows.tolist(), ["audio_frames"])]
    whole = table.sound(rows.tolist(), [0] * len(rows), frames)
    return [windows(spectrogram, table.signal.audio) for spectrogram in whole]

"""Embeddings of pairs as the SoundingEarth release takes them for ADVANCE: whole images halved, whole spectrograms."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthtone.data.labelled import LabelledItem
from earthtone.data.ordered import ordered_map
from earthtone.errors import ConfigError, SignalError
from earthtone.evaluate.feature_cache import data_fingerprint, kept_features
from earthtone.evaluate.recordings import DECODING_THREADS
from earthtone.evaluate.tower_features import Medium, TowerFeatures, tell_of_files, tower_features
from earthtone.models.encoders import Tower
from earthtone.models.fingerprint import model_fingerprint
from earthtone.models.two_tower import TwoTower
from earthtone.progress import progress
from earthtone.signal.image import read_picture
from earthtone.signal.scale import with_scale
from earthtone.signal.spectrogram_file import loudness_from_array
from earthtone.train.precision import autocast, choose_precision

_FORMAT = 1

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
        "release_view": _FORMAT, "model": model_fingerprint(model), "data": data_fingerprint(items, medium),
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

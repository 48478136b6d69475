"""Features of images by a frozen backbone: fast, in bounded memory, the same for an image alone or among others."""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthtone.data.labelled import LabelledItem
from earthtone.errors import ConfigError
from earthtone.evaluate.feature_cache import FeatureCache, data_fingerprint
from earthtone.evaluate.pictures import Bands, picture_batches, tell_of_broken
from earthtone.models.backbone import Backbone
from earthtone.models.folded import folded
from earthtone.progress import progress_bar
from earthtone.signal.config import ValueRange, plain_range
from earthtone.train.precision import autocast, choose_precision

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


def cached_features(
    backbone: Backbone, items: Sequence[LabelledItem], *, stage: int | None = None, cache: Path | None = None
) -> NDArray[np.float32]:
    """Return features (N, F) of the items' images; see `extract_features`."""
    return extract_features(backbone, items, FeatureOptions(stage=stage, cache=cache)).values


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

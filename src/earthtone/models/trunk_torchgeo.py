"""Weights that torchgeo catalogues, such as SeCo, GASSL and MoCo, for encoders of red, green and blue pictures."""

import re
from pathlib import Path
from typing import Any

import torch

from earthtone.errors import ConfigError, MissingExtraError, ModelError
from earthtone.models.checkpoint_file import read_checkpoint
from earthtone.models.encoders import is_encoder
from earthtone.models.trunk import IMAGENET_MEAN, IMAGENET_STD, Colour, Trunk, fresh_trunk
from earthtone.models.trunk_timm import classifiers, load_trunk

_WHITE_REFLECTANCE = 0.3 * 10_000  # what an 8-bit white stands for where weights were trained on reflectances


def torchgeo_trunk(rest: str, pixels: int | None, output_stride: int) -> Trunk:
    """Return the encoder with torchgeo's weights `rest`, such as `ResNet50_Weights.SENTINEL2_RGB_SECO`.

    The file is taken from torch's cache (`TORCH_HOME`) or fetched into it, and read without running anything in it.
    Weights for three channels of a timm architecture only. Raises MissingExtraError, ConfigError, ModelError.
    """
    weights = _catalogued(rest)
    name, channels = str(weights.meta.get("model")), weights.meta.get("in_chans")
    if channels != 3 or not is_encoder(name):
        raise ConfigError(
            f"torchgeo:{rest} is a {name} for {channels} channels; a timm encoder for 3 channels was expected, such as "
            "torchgeo:ResNet50_Weights.SENTINEL2_RGB_SECO"
        )
    if weights.meta.get("ssl_method") == "seco":
        mean, std = IMAGENET_MEAN, IMAGENET_STD  # on stretched colours; torchgeo's transforms are for raw quantiles
    else:
        mean, std = _normalisation(weights.transforms)
    trunk = fresh_trunk(name, None, output_stride)
    file = _cached(weights.url, rest)
    load_trunk(trunk.encoder, read_checkpoint(file), file, classifiers(trunk.encoder))
    return Trunk(trunk.encoder, trunk.architecture, pixels or trunk.pixels, mean, std)


def _catalogued(rest: str) -> Any:
    try:
        from torchgeo.models import get_weight
    except ImportError as error:
        raise MissingExtraError(f"torchgeo:{rest}", "torchgeo") from error
    try:
        return get_weight(rest)
    except ValueError as error:
        raise ConfigError(
            f"torchgeo:{rest}: torchgeo knows no such weights; ResNet18_Weights.SENTINEL2_RGB_MOCO is one name"
        ) from error


def _normalisation(transforms: Any) -> tuple[Colour, Colour]:
    """Return mean and std, in 0-1, of what torchgeo's transforms do to 8-bit colours: an affine map of each channel."""
    normalise = [part for part in transforms.modules() if type(part).__name__ == "Normalize"]
    low, high = torch.zeros(3, 1, 1), torch.full((3, 1, 1), 255.0)
    for part in normalise:
        low, high = part(low.clone()), part(high.clone())
    span = high - low
    if float(span.max()) < 0.1:  # divided by 10,000: reflectances, not 8 bits
        span = span * (_WHITE_REFLECTANCE / 255.0)
    mean, std = (-low / span).flatten().tolist(), (1.0 / span).flatten().tolist()
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _cached(url: str, rest: str) -> Path:
    """Return the weights' file in torch's cache, fetched when it is not there."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if file.exists():
        return file
    digest = re.search(r"-([0-9a-f]{8,})\.", file.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), digest[1] if digest else None)
    except Exception as error:  # each layer of the way to the network has errors of its own
        raise ModelError(
            f"torchgeo:{rest}: {url} could not be had ({' '.join(str(error).split())[:120]}); get that file on another "
            f"machine and put it to {file}"
        ) from error
    return file

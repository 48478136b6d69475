"""What a backbone is made from: an encoder with its weights, and the pictures that it was trained to see."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from earthtone.errors import ConfigError
from earthtone.models.encoders import make_encoder
from earthtone.models.release_resnet import RELEASE_PIXELS, RELEASE_RESNETS

Colour = tuple[float, float, float]

IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_STD: Colour = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Trunk:
    """An image encoder that answers as timm's models do, pooled by its call."""

    encoder: nn.Module
    """Takes (N, 3, H, W), or four channels with `usual_gsd_m`; has `forward_intermediates`."""
    architecture: str
    """What it is, without saying where its weights came from."""
    pixels: int
    """Side of the pictures that it was trained to see."""
    mean: Colour = IMAGENET_MEAN
    """Taken off red, green and blue in 0-1."""
    std: Colour = IMAGENET_STD
    """What the difference is divided by."""
    usual_gsd_m: float | None = None
    """Metres a pixel that stand for unknown ones, of an encoder that is told them as a fourth channel; else None."""


def fresh_trunk(name: str, pixels: int | None, output_stride: int, seed: int = 0, channels: int = 3) -> Trunk:
    """Return an untrained encoder and the pictures its family is trained with. Raises ConfigError."""
    if name in RELEASE_RESNETS:
        side, mean, std = pixels or RELEASE_PIXELS, IMAGENET_MEAN, IMAGENET_STD
    else:
        side, mean, std = timm_pictures(name)
        side = pixels or side
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, _ = make_encoder(name, (channels, side, side), output_stride=output_stride)
    return Trunk(encoder, name, side, mean, std)


def timm_pictures(name: str) -> tuple[int, Colour, Colour]:
    """Return side, mean and std of the pictures that a timm model's own weights were trained with."""
    from timm.models import get_pretrained_cfg

    try:
        config: Any = get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ConfigError(f"encoder {name!r} cannot be made: {error}") from error
    if config is None:  # also for unknown names, which the maker of encoders explains
        return 224, IMAGENET_MEAN, IMAGENET_STD
    red, green, blue = config.mean
    return int(config.input_size[-1]), (red, green, blue), tuple(config.std)

"""The fourth channel of image encoders that are told metres a pixel: how it is normalised, what stands for unknown."""

import logging
from functools import cache

import torch
from torch import Tensor

from earthtone.models.trunk import Colour
from earthtone.signal.scale import SCALE_CENTRE, SCALE_WIDTH, scale_byte

_log = logging.getLogger(__name__)


def byte_statistics(mean: Colour, std: Colour, *, scale: bool) -> tuple[Tensor, Tensor]:
    """Return centre and width (C, 1, 1) of bytes, of colours' mean and std in 0-1; with `scale` also the channel's."""
    centre, width = torch.tensor(mean).view(3, 1, 1) * 255, torch.tensor(std).view(3, 1, 1) * 255
    if not scale:
        return centre, width
    plane = (1, 1, 1)
    return torch.cat([centre, torch.full(plane, SCALE_CENTRE)]), torch.cat([width, torch.full(plane, SCALE_WIDTH)])


def with_usual_scale(pixels: Tensor, gsd_m: float) -> Tensor:
    """Return uint8 pixels (N, H, W, 4) of such (N, H, W, 3): they are taken to be `gsd_m` metres, with a warning."""
    tell_of_usual(gsd_m)
    return torch.cat([pixels, torch.full_like(pixels[..., :1], scale_byte(gsd_m))], dim=3)


@cache
def tell_of_usual(gsd_m: float) -> None:
    """Warn, once, that pictures of unknown scale are taken for what was usual in training."""
    _log.warning(
        "model.scale_input: metres a pixel of pictures are unknown; what was usual in training is taken: %.3g m a "
        "pixel of what the encoder sees", gsd_m,
    )  # fmt: skip

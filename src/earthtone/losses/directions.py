"""Cross-entropy of finding the own partner: from image to sound, from sound to image, or both."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from earthtone.errors import ConfigError

#: What `directions` may be: one of them, or the mean or the sum of both.
DIRECTIONS = ("mean", "sum", "image_to_audio", "audio_to_image")


def check_directions(loss: str, directions: str) -> None:
    """Raise ConfigError for an unknown choice."""
    if directions not in DIRECTIONS:
        raise ConfigError(f"{loss}: directions is {directions!r}; one of {', '.join(DIRECTIONS)} expected")


def partner_cross_entropy(logits: Tensor, excluded: Tensor | None, directions: str) -> Tensor:
    """The scalar cross-entropy of the diagonal of logits (N images, N recordings); excluded entries do not count."""
    if excluded is not None:
        logits = logits.masked_fill(excluded, -math.inf)
    own = torch.arange(len(logits), device=logits.device)
    if directions == "image_to_audio":
        return F.cross_entropy(logits, own)
    if directions == "audio_to_image":
        return F.cross_entropy(logits.T, own)
    total = F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)
    return total / 2 if directions == "mean" else total

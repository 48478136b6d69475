"""Symmetric InfoNCE, the loss of CLIP: find the own partner among all of the batch, in both directions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss, cosine

MAX_SCALE = 100.0


class SymmetricInfoNCE(Loss):
    """The mean of the cross-entropies image to sound and sound to image of cosine / temperature.

    The temperature is learned as the logarithm of its inverse, which is kept at or below 100 as in CLIP. Twins are
    left out of the softmax of both directions.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
    arXiv 2103.00020, figure 3.
    """

    def __init__(self, temperature: float = 0.07, learnable_temperature: bool = True) -> None:
        super().__init__()
        if not 1 / MAX_SCALE <= temperature < math.inf:
            raise ConfigError(
                f"infonce: temperature is {temperature}; it must be at least {1 / MAX_SCALE}, such as 0.07"
            )
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable_temperature)

    def compute(self, image: Tensor, audio: Tensor, excluded: Tensor | None) -> Tensor:
        """The scalar loss; see the class."""
        with torch.no_grad():  # in place: a clamp inside the graph has no gradient and could never come back
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        logits = self.log_scale.to(image.dtype).exp() * cosine(image, audio)  # (N images, N recordings)
        if excluded is not None:
            logits = logits.masked_fill(excluded, -math.inf)
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

    @property
    def temperature(self) -> float:
        """The current temperature, at least 0.01."""
        return max(math.exp(-self.log_scale.item()), 1 / MAX_SCALE)

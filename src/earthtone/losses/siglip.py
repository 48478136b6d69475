"""SigLIP: every image and recording of the batch is one yes-or-no question, without a softmax."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss, cosine


class SigLIP(Loss):
    """The sum over all i, j of -log sigmoid(z[i, j] * (cosine / temperature + bias)), divided by N.

    z is 1 on the diagonal and -1 elsewhere. Temperature (as t' = log of its inverse) and bias are learned; the strong
    negative bias at the start makes up for N - 1 negatives to each positive. Entries of twins are left out.

    Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", arXiv 2303.15343, algorithm 1.
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ConfigError(f"siglip: temperature is {temperature}; it must be above 0, such as 0.1")
        if not math.isfinite(bias):
            raise ConfigError(f"siglip: bias is {bias}; it must be a finite number, such as -10")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def compute(self, image: Tensor, audio: Tensor, excluded: Tensor | None) -> Tensor:
        """The scalar loss; see the class."""
        logits = self.log_scale.to(image.dtype).exp() * cosine(image, audio) + self.bias.to(image.dtype)
        rows = len(logits)
        sign = 2 * torch.eye(rows, dtype=logits.dtype, device=logits.device) - 1
        losses = -F.logsigmoid(sign * logits)  # (N, N)
        if excluded is not None:
            losses = losses.masked_fill(excluded, 0.0)
        return losses.sum() / rows

    @property
    def temperature(self) -> float:
        """The current temperature."""
        return math.exp(-self.log_scale.item())

"""SigLIP: every image and recording of the batch is one yes-or-no question, without a softmax."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss, RowFacts, check_positive, cosine


class SigLIP(Loss):
    """The sum over all i, j of -log sigmoid(z[i, j] * (cosine / temperature + bias)), divided by N.

    z is 1 on the diagonal and -1 elsewhere. Temperature (as t' = log of its inverse) and bias are learned; the strong
    negative bias at the start makes up for N - 1 negatives to each positive. Entries of twins are left out, or
    have z = 1 as well.

    Memory: a few N x N matrices, each 64 MiB for N = 4,096 in float32.

    Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", arXiv 2303.15343, algorithm 1.
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0) -> None:
        super().__init__()
        check_positive("siglip", "temperature", temperature, 0.1)
        if not math.isfinite(bias):
            raise ConfigError(f"siglip: bias is {bias}; it must be a finite number, such as -10")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def compute(self, image: Tensor, audio: Tensor, facts: RowFacts) -> Tensor:
        """The scalar loss; see the class."""
        logits = self.log_scale.to(image.dtype).exp() * cosine(image, audio) + self.bias.to(image.dtype)
        rows = len(logits)
        positive = torch.eye(rows, dtype=torch.bool, device=logits.device)
        if facts.twins is not None and self.twin_rule.use == "positive":
            positive |= facts.twins
        losses = -F.logsigmoid(torch.where(positive, logits, -logits))  # (N, N)
        if facts.twins is not None and self.twin_rule.use == "mask":
            losses = losses.masked_fill(facts.twins, 0.0)
        return losses.sum() / rows

    @property
    def temperature(self) -> float:
        """The current temperature."""
        return math.exp(-self.log_scale.item())

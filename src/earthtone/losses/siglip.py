"""SigLIP: every image and recording of the batch is one yes-or-no question, without a softmax."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.losses import FiniteFloat
from earthtone.losses.base import Loss, unit
from earthtone.losses.blockwise import over_tiles
from earthtone.losses.twins import Twins
from earthtone.value_types import PositiveFloat


class SigLIP(Loss):
    """The sum over all i, j of -log sigmoid(z[i, j] * (cosine / temperature + bias)), divided by N.

    z is 1 on the diagonal and -1 elsewhere. Temperature (as t' = log of its inverse) and bias are learned; the strong
    negative bias at the start makes up for N - 1 negatives to each positive. Entries of twins are left out, or
    have z = 1 as well.

    Memory: a few N x N matrices, at most 1,024 x 1,024 at a time (4 MiB in float32).

    Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", arXiv 2303.15343, algorithm 1.
    """

    name = "siglip"
    in_tiles = True

    def __init__(self, temperature: PositiveFloat = 0.1, bias: FiniteFloat = -10.0) -> None:
        super().__init__(temperature=temperature, bias=bias)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        scale, bias = self.log_scale.to(image.dtype).exp(), self.bias.to(image.dtype)

        def of_tile(image: Tensor, audio: Tensor, rows: slice, columns: slice, *shared: Tensor) -> tuple[Tensor]:
            scale, bias = shared
            logits = scale * (image @ audio.T) + bias
            yes, ignored = twins.positives(rows, columns), twins.masks(rows, columns).ignored
            losses = -F.logsigmoid(-logits if yes is None else torch.where(yes, logits, -logits))
            return ((losses if ignored is None else losses.masked_fill(ignored, 0.0)).sum(),)

        tiles = over_tiles(of_tile, unit(image), unit(audio), [scale, bias])
        return torch.stack([total for (total,) in tiles.values()]).sum() / len(image)

    @property
    def temperature(self) -> float:
        """Return the current temperature."""
        return math.exp(-self.log_scale.item())

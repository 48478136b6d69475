"""InfoNCE on cosines, the loss of CLIP: find the own partner among all of the batch."""

import math

import torch
from torch import Tensor, nn

from earthtone.losses import MAX_SCALE, CosineTemperature, Directions, RobustLambda
from earthtone.losses.base import Loss, partner_loss, unit
from earthtone.losses.robust import check_robust, robust_term
from earthtone.losses.twins import Twins
from earthtone.value_types import Share


class InfoNCE(Loss):
    """The cross-entropies image to sound and sound to image of cosine / temperature; by default their mean.

    The temperature is learned as the logarithm of its inverse, which is kept at or below 100 as in CLIP. Twins are
    left out of the softmax of both directions, or are partners as well (`multi_partner`).

    The release's `ContrastiveLoss` is this with a temperature fixed at 0.2 and `directions="image_to_audio"`, its
    `SymmetricCL` the same with `directions="sum"`.

    `robust_q` above 0 makes of each cross-entropy the robust one (`robust_term`), for pairs of which some do not belong
    together; it needs a fixed temperature.

    Memory: a few N x N matrices, at most 1,024 x 1,024 at a time (4 MiB in float32).

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
    arXiv 2103.00020, figure 3; the published forms: Heidler et al., arXiv 2108.00688.
    """

    name = "infonce"
    in_tiles = True

    def __init__(
        self,
        temperature: CosineTemperature = 0.07,
        learnable_temperature: bool = True,
        directions: Directions = "mean",
        robust_q: Share = 0.0,
        robust_lambda: RobustLambda | None = None,
    ) -> None:
        super().__init__(temperature=temperature, directions=directions, robust_q=robust_q, robust_lambda=robust_lambda)
        self.directions = directions
        robust_lambda = check_robust("infonce", robust_q, robust_lambda, temperature, learned=learnable_temperature)
        self._term = robust_term(robust_q, robust_lambda)
        if robust_q:
            self.robust_q, self.robust_lambda = robust_q, robust_lambda
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable_temperature)

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the scalar loss; see the class."""
        with torch.no_grad():  # in place: a clamp inside the graph has no gradient and could never come back
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        scale = self.log_scale.to(image.dtype).exp()
        return partner_loss(_logits, unit(image), unit(audio), [scale], twins, self.directions, self._term)

    @property
    def temperature(self) -> float:
        """Return the current temperature, at least 0.01."""
        return max(math.exp(-self.log_scale.item()), 1 / MAX_SCALE)


def _logits(image: Tensor, audio: Tensor, scale: Tensor) -> Tensor:
    """Return the logits (n, m) of unit images (n, D) and recordings (m, D)."""
    return scale * (image @ audio.T)

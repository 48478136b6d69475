"""InfoNCE on cosines, the loss of CLIP: find the own partner among all of the batch."""

import math

import torch
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.losses import MAX_SCALE, CosineTemperature, Directions, RobustLambda
from earthtone.losses.base import Loss, Term, cross_entropy_term, partner_loss, unit
from earthtone.losses.twins import Twins
from earthtone.value_types import Share

DEFAULT_LAMBDA = 0.01
_LARGEST_POWER = 40.0  # the square of exp(40), as in a gradient's length, is still a float32


class InfoNCE(Loss):
    """The cross-entropies image to sound and sound to image of cosine / temperature; by default their mean.

    The temperature is learned as the logarithm of its inverse, which is kept at or below 100 as in CLIP. Twins are
    left out of the softmax of both directions, or are partners as well (`multi_partner`).

    The release's `ContrastiveLoss` is this with a temperature fixed at 0.2 and `directions="image_to_audio"`, its
    `SymmetricCL` the same with `directions="sum"`.

    `robust_q` above 0 makes of each cross-entropy the robust one (`_robust_term`), for pairs of which some do not
    belong together; it needs a fixed temperature.

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
        self._term: Term = cross_entropy_term
        if robust_q:
            self.robust_q, self.robust_lambda = robust_q, DEFAULT_LAMBDA if robust_lambda is None else robust_lambda
            self._term = _robust_term(robust_q, self.robust_lambda)
            if learnable_temperature:
                raise ConfigError(
                    "infonce: with robust_q a learned temperature would fall without end, and the loss with it; "
                    "set learnable_temperature to false"
                )
            if robust_q / temperature > _LARGEST_POWER:
                raise ConfigError(
                    f"infonce: robust_q / temperature is {robust_q / temperature:.0f}, above {_LARGEST_POWER:.0f} its "
                    "exponential leaves float32; raise the temperature or lower robust_q"
                )
        elif robust_lambda is not None:
            raise ConfigError("infonce: robust_lambda has no effect without robust_q; leave it out, or set robust_q")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learnable_temperature)

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        with torch.no_grad():  # in place: a clamp inside the graph has no gradient and could never come back
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        scale = self.log_scale.to(image.dtype).exp()

        def logits(image: Tensor, audio: Tensor, scale: Tensor) -> Tensor:
            return scale * (image @ audio.T)

        return partner_loss(logits, unit(image), unit(audio), [scale], twins, self.directions, self._term)

    @property
    def temperature(self) -> float:
        """Return the current temperature, at least 0.01."""
        return max(math.exp(-self.log_scale.item()), 1 / MAX_SCALE)


def _robust_term(robust_q: float, robust_lambda: float) -> Term:
    """Return what a positive costs in the robust loss, with logit l and the negatives' logits l_n.

    That is -exp(q l) / q + (lambda (exp l + sum_n exp l_n))^q / q.
    As q goes to 0 it becomes the cross-entropy plus log(lambda); at q = 1 it is (lambda - 1) exp l + lambda sum_n exp
    l_n, a symmetric loss, which is robust against noise in who is a positive.

    Source: Chuang et al., "Robust Contrastive Learning against Noisy Views", CVPR 2022, arXiv 2201.04309.
    """

    def term(logits: Tensor, against: Tensor) -> Tensor:
        every = torch.logaddexp(against, logits) + math.log(robust_lambda)
        # expm1: both have the same 1 taken away, which would swallow the digits of a small q
        return ((robust_q * every).expm1() - (robust_q * logits).expm1()) / robust_q

    return term

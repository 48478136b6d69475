"""VICReg: two views agree, every feature varies, no two features say the same; no negatives."""

import torch
from torch import Tensor

from earthtone.losses.base import Loss
from earthtone.losses.twins import Twins
from earthtone.value_types import NonNegativeFloat

_EPSILON = 1e-4  # the paper's, under the root of the variance


class VICReg(Loss):
    """invariance * s(X, Y) + variance * (v(X) + v(Y)) + covariance * (c(X) + c(Y)) of N rows of D features.

    s is the mean over rows of the squared distance ||x_i - y_i||^2; v the mean over features of relu(1 - sqrt(var +
    0.0001)), var being unbiased; c the sum of the squared covariances of different features, over D. Embeddings are
    taken as they are. There are no negatives that twins could be kept out of.

    Memory: N x D and D x D, nothing quadratic in N.

    Source: Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning",
    arXiv 2105.04906, equations 1 to 6, with the weights of its section 4.2. (The paper's code has the mean over
    features in s as well, and half of v.)
    """

    name = "vicreg"
    has_negatives = False

    def __init__(
        self, invariance: NonNegativeFloat = 25.0, variance: NonNegativeFloat = 25.0, covariance: NonNegativeFloat = 1.0
    ) -> None:
        super().__init__(invariance=invariance, variance=variance, covariance=covariance)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the scalar loss of first views (N, D) and second views (N, D)."""
        invariance = (image - audio).square().sum(dim=1).mean()
        (variance, covariance), others = _spread(image), _spread(audio)
        return (
            self.invariance * invariance
            + self.variance * (variance + others[0])
            + self.covariance * (covariance + others[1])
        )


def _spread(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the variance term and the covariance term of one side (N, D)."""
    count, features = rows.shape
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / max(1, count - 1)  # (D, D)
    variance = covariance.diagonal()
    hinge = (1 - (variance + _EPSILON).sqrt()).relu().mean()
    different = ~torch.eye(features, dtype=torch.bool, device=rows.device)
    return hinge, covariance[different].square().sum() / features

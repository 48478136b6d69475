"""Barlow Twins across modalities: every feature agrees with its counterpart and with no other; no negatives."""

import torch
from torch import Tensor

from earthtone.losses.base import Loss
from earthtone.losses.twins import Twins
from earthtone.value_types import NonNegativeFloat, PositiveFloat

_LEAST_VARIANCE = 1e-8  # a constant feature stays 0 when standardised, with a finite gradient


class BarlowTwins(Loss):
    """How far the features' cross-correlation is from the identity, and the embeddings from a unit normal.

    Both modalities are standardised together: m and v are the mean and the (unbiased) variance of each feature over
    all 2N rows, z = (embedding - m) / sqrt(v), C = z_image^T z_audio / N. Then, over D features,

        sum_i (C[i, i] - 1)^2 + redundancy * sum_(i != j) C[i, j]^2 + normality * mean_i (m_i^2 + v_i - log v_i - 1) / 2

    the last term being the KL divergence of N(m, v) from N(0, 1). There are no negatives, so there is nothing that
    twins could be kept out of: giving `twins` raises ConfigError, and a recipe must say `loss.twins: ignore`.

    Memory: N x D and D x D, nothing quadratic in N.

    Source: Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", arXiv 2103.03230;
    joint standardisation and the last term: the release of Heidler et al., arXiv 2108.00688.
    """

    name = "barlow_twins"
    has_negatives = False

    def __init__(self, redundancy: PositiveFloat = 5e-3, normality: NonNegativeFloat = 0.1) -> None:
        super().__init__(redundancy=redundancy, normality=normality)
        self.redundancy = redundancy
        self.normality = normality

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        variance, mean = torch.var_mean(torch.cat([image, audio]), dim=0)  # (D) each
        variance = variance.clamp(min=_LEAST_VARIANCE)
        deviation = variance.sqrt()
        image, audio = (image - mean) / deviation, (audio - mean) / deviation
        identity = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
        off = (image.T @ audio / len(image) - identity).square()  # (D, D)
        agreement = (off * torch.where(identity > 0, 1.0, self.redundancy)).sum()
        divergence = (mean.square() + variance - variance.log() - 1).mean() / 2
        return agreement + self.normality * divergence

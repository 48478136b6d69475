"""NT-Xent, the loss of SimCLR: each of two views finds the other among all views of the batch."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from earthtone.losses.base import Loss, check_positive, unit
from earthtone.losses.facts import RowFacts


class NTXent(Loss):
    """The mean over all 2N views of the cross-entropy of finding the other view of the same, by cosine / temperature.

    Both inputs are views of one modality. A view looks among all others of the batch, those of its own side too; the
    views of twins are left out, whatever the twin rule's `use`.

    Memory: a few 2N x 2N matrices.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", arXiv 2002.05709,
    equation 1; without the projection, which is the caller's.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        check_positive("simclr", "temperature", temperature, 0.2)
        self.fixed_temperature = temperature

    def compute(self, image: Tensor, audio: Tensor, facts: RowFacts) -> Tensor:
        """The scalar loss of first views (N, D) and second views (N, D)."""
        views, count = unit(torch.cat([image, audio])), len(image)
        never = torch.eye(2 * count, dtype=torch.bool, device=views.device)  # a view does not find itself
        twins = facts.marks().either
        if twins is not None:
            never = never | twins.repeat(2, 2)
        logits = (views @ views.T / self.fixed_temperature).masked_fill(never, -math.inf)
        return F.cross_entropy(logits, torch.arange(2 * count, device=views.device).roll(count))

    @property
    def temperature(self) -> float:
        """The fixed temperature."""
        return self.fixed_temperature

"""NT-Xent and InfoNCE behind a shared projection, as in SimCLR."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.losses import Directions
from earthtone.losses.base import Loss, partner_loss, unit
from earthtone.losses.twins import Twins
from earthtone.value_types import PositiveFloat, PositiveInt


class NTXent(Loss):
    """The mean over all 2N views of the cross-entropy of finding the other view of the same, by cosine / temperature.

    Both inputs are views of one modality. A view looks among all others of the batch, those of its own side too; the
    views of twins are left out, whatever the twin rule's `use`.

    Memory: a few 2N x 2N matrices.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", arXiv 2002.05709,
    equation 1; without the projection, which is the caller's.
    """

    name = "simclr"
    fixed_temperature: float

    def __init__(self, temperature: PositiveFloat = 0.2) -> None:
        super().__init__(temperature=temperature)
        self.fixed_temperature = temperature

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the scalar loss of first views (N, D) and second views (N, D)."""
        views, count = unit(torch.cat([image, audio])), len(image)
        never = torch.eye(2 * count, dtype=torch.bool, device=views.device)  # a view does not find itself
        either = twins.masks().either
        if either is not None:
            never = never | either.repeat(2, 2)
        logits = (views @ views.T / self.fixed_temperature).masked_fill(never, -math.inf)
        return F.cross_entropy(logits, torch.arange(2 * count, device=views.device).roll(count))


class SimCLR(Loss):
    """The cross-entropies of cosine(g(image), g(audio)) / temperature; by default the sum of both directions.

    The projection g (dimensions -> hidden -> ReLU -> dimensions) is shared by both modalities and is no part of the
    model: embeddings are taken before it. The temperature is fixed. Twins are left out of the softmax,
    or are partners as well (`multi_partner`).

    The release's `SymmetricSimCLR` is the default; its `SimCLRLoss` is `directions="audio_to_image"` (each recording
    looks for its image - the other way round than its `ContrastiveLoss`).

    Memory: a few N x N matrices, at most 1,024 x 1,024 at a time (4 MiB in float32), and 2 x N x hidden.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", arXiv 2002.05709;
    across modalities: Heidler et al., arXiv 2108.00688.
    """

    in_tiles = True
    name = "simclr"
    fixed_temperature: float

    def __init__(
        self,
        temperature: PositiveFloat = 0.2,
        directions: Directions = "sum",
        hidden: PositiveInt = 512,
        dimensions: PositiveInt = 128,
    ) -> None:
        super().__init__(temperature=temperature, directions=directions, hidden=hidden, dimensions=dimensions)
        self.fixed_temperature = temperature
        self.directions = directions
        self.dimensions = dimensions
        self.g = nn.Sequential(nn.Linear(dimensions, hidden), nn.ReLU(), nn.Linear(hidden, dimensions))

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the scalar loss; see the class. Raises ConfigError for embeddings not `dimensions` wide."""
        if image.shape[1] != self.dimensions:
            raise ConfigError(
                f"simclr: embeddings have {image.shape[1]} dimensions, its projection {self.dimensions}; "
                f"give it dimensions={image.shape[1]}"
            )
        image, audio = unit(self._projected(image)), unit(self._projected(audio))
        return partner_loss(lambda x, y: x @ y.T / self.fixed_temperature, image, audio, [], twins, self.directions)

    def _projected(self, embeddings: Tensor) -> Tensor:
        """Return g of (N, D) in the embeddings' own precision."""
        for layer in self.g:
            if isinstance(layer, nn.Linear):
                embeddings = F.linear(embeddings, layer.weight.to(embeddings.dtype), layer.bias.to(embeddings.dtype))
            else:
                embeddings = layer(embeddings)
        return embeddings

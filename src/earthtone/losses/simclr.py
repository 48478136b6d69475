"""InfoNCE behind a projection that both modalities share, as in SimCLR."""

import torch.nn.functional as F
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss, check_count, check_positive, unit
from earthtone.losses.directions import check_directions, partner_loss
from earthtone.losses.facts import RowFacts


class SimCLR(Loss):
    """The cross-entropies of cosine(g(image), g(audio)) / temperature; by default the sum of both directions.

    The projection g (dimensions -> hidden -> ReLU -> dimensions) is shared by both modalities and is no part of the
    model: embeddings are taken before it. The temperature is fixed. Twins are left out of the softmax,
    or are partners as well (`multi_partner` in directions.py).

    The release's `SymmetricSimCLR` is the default; its `SimCLRLoss` is `directions="audio_to_image"` (each recording
    looks for its image - the other way round than its `ContrastiveLoss`).

    Memory: a few N x N matrices, at most 1,024 x 1,024 at a time (4 MiB in float32), and 2 x N x hidden.

    Source: Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", arXiv 2002.05709;
    across modalities: Heidler et al., arXiv 2108.00688.
    """

    in_tiles = True

    def __init__(
        self, temperature: float = 0.2, directions: str = "sum", hidden: int = 512, dimensions: int = 128
    ) -> None:
        super().__init__()
        check_positive("simclr", "temperature", temperature, 0.2)
        check_directions("simclr", directions)
        check_count("simclr", "hidden", hidden, 512)
        check_count("simclr", "dimensions", dimensions, 128)
        self.fixed_temperature = temperature
        self.directions = directions
        self.dimensions = dimensions
        self.g = nn.Sequential(nn.Linear(dimensions, hidden), nn.ReLU(), nn.Linear(hidden, dimensions))

    def compute(self, image: Tensor, audio: Tensor, facts: RowFacts) -> Tensor:
        """The scalar loss; see the class. Raises ConfigError for embeddings of another width than `dimensions`."""
        if image.shape[1] != self.dimensions:
            raise ConfigError(
                f"simclr: embeddings have {image.shape[1]} dimensions, its projection {self.dimensions}; "
                f"give it dimensions={image.shape[1]}"
            )
        image, audio = unit(self._projected(image)), unit(self._projected(audio))
        return partner_loss(lambda x, y: x @ y.T / self.fixed_temperature, image, audio, [], facts, self.directions)

    def _projected(self, embeddings: Tensor) -> Tensor:
        """g of (N, D) in the embeddings' own precision."""
        for layer in self.g:
            if isinstance(layer, nn.Linear):
                embeddings = F.linear(embeddings, layer.weight.to(embeddings.dtype), layer.bias.to(embeddings.dtype))
            else:
                embeddings = layer(embeddings)
        return embeddings

    @property
    def temperature(self) -> float:
        """The fixed temperature."""
        return self.fixed_temperature

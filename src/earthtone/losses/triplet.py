"""The batch triplet loss: every other row of the batch is a negative, in both directions."""

import math

import torch
from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss


class BatchTriplet(Loss):
    """Hinge on L2 distances of embeddings that are not normalised.

    With D[i, j] = ||image_i - audio_j||, half the sum of the means over all i, j (the diagonal included) of
    relu(D[j, j] - D[i, j] + margin) and relu(D[i, i] - D[i, j] + margin); entries of twins are left out of the means.

    Source: Heidler et al., "Self-supervised Audiovisual Representation Learning for Remote Sensing Data",
    arXiv 2108.00688.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(margin) and margin > 0):
            raise ConfigError(f"batch_triplet: margin is {margin}; it must be a number above 0, such as 1.0")
        self.margin = margin

    def compute(self, image: Tensor, audio: Tensor, excluded: Tensor | None) -> Tensor:
        """The scalar loss; see the class."""
        distances, own = _distances(image, audio)
        hinge_for_audio = (own[None, :] - distances + self.margin).relu()
        hinge_for_image = (own[:, None] - distances + self.margin).relu()
        hinges = (hinge_for_audio + hinge_for_image) / 2
        if excluded is None:
            return hinges.mean()
        # the diagonal always stays, so that there is always something to divide by
        return hinges.masked_fill(excluded, 0.0).sum() / (~excluded).sum()

    def extra_repr(self) -> str:
        """Shown by `print(model)`."""
        return f"margin={self.margin}"


def _distances(image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """All L2 distances (N, N) and those of the pairs (N), with finite gradients also at distance 0.

    ||x||^2 + ||y||^2 - 2 x.y loses digits where x and y are close, so the embeddings are centred first, the pairs'
    own distances are subtracted directly, and what is left below rounding counts as 0 with no gradient.
    """
    own = torch.linalg.vector_norm(image - audio, dim=1)  # (N); its gradient at 0 is 0
    centre = ((image + audio) / 2).mean(dim=0, keepdim=True).detach()  # distances do not depend on it
    image, audio = image - centre, audio - centre
    scale = image.square().sum(dim=1)[:, None] + audio.square().sum(dim=1)[None, :]  # (N, N)
    squared = scale - 2 * (image @ audio.T)
    resolved = squared > 8 * torch.finfo(squared.dtype).eps * scale
    root = torch.where(resolved, squared, 1.0).sqrt()  # sqrt sees no 0: its infinite slope would become NaN
    distances = torch.where(resolved, root, 0.0)
    return torch.diagonal_scatter(distances, own), own

"""Triplet losses: every other row of the batch as a negative, or the recording of the row before."""

import torch
from torch import Tensor

from earthtone.losses.base import Loss
from earthtone.losses.twins import Twins
from earthtone.value_types import PositiveFloat


class MarginLoss(Loss):
    """A loss of distances, each of which is to be smaller than another one by `margin`."""

    def __init__(self, margin: PositiveFloat = 1.0) -> None:
        super().__init__(margin=margin)
        self.margin = margin


class BatchTriplet(MarginLoss):
    """Hinge on L2 distances of embeddings that are not normalised.

    With D[i, j] = ||image_i - audio_j||, half the sum of the means over all i, j (the diagonal included) of
    relu(D[j, j] - D[i, j] + margin) and relu(D[i, i] - D[i, j] + margin); entries of twins are left out of the means.
    Where there are positives beside the pair, a row's own distance D[i, i] or D[j, j] is the mean over all of them.
    The release's `TripletLoss`.

    Memory: a few N x N matrices, each 64 MiB for N = 4,096 in float32; the distances come from one matrix product, not
    from N x N x D differences (8 GiB for D = 128).

    Source: Heidler et al., "Self-supervised Audiovisual Representation Learning for Remote Sensing Data",
    arXiv 2108.00688.
    """

    name = "batch_triplet"

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        distances, own = pair_distances(image, audio)
        of_image = of_audio = own  # (N)
        masks, left_out = twins.masks(), twins.masks().either
        if masks.positive is not None:
            of_image, of_audio = (mean_to_positives(d, masks.positive) for d in (distances, distances.T))
        hinge_for_audio = (of_audio[None, :] - distances + self.margin).relu()
        hinge_for_image = (of_image[:, None] - distances + self.margin).relu()
        hinges = (hinge_for_audio + hinge_for_image) / 2
        if left_out is None:
            return hinges.mean()
        if masks.positive is not None:  # the diagonal is the margin as ever: a pair is no negative of itself
            hinges = torch.diagonal_scatter(hinges, torch.full_like(own, self.margin))
        # the diagonal always stays, so that there is always something to divide by
        return hinges.masked_fill(left_out, 0.0).sum() / (~left_out).sum()


def mean_to_positives(distances: Tensor, positive: Tensor) -> Tensor:
    """Return the mean (N) of each row of distances (N, N) over the diagonal and the positives (N, N)."""
    positive = positive | torch.eye(len(positive), dtype=torch.bool, device=positive.device)
    return distances.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)


def pair_distances(image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Return all L2 distances (N, N) and those of the pairs (N), with finite gradients also at distance 0.

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


class TripletMargin(MarginLoss):
    """The mean over i of relu(||image_i - audio_i|| - ||image_i - audio_(i-1)|| + margin); row 0 takes the last one.

    Embeddings are not normalised. A row whose one negative is its twin is left out of the mean (0 when none is left).
    Where twins are positives, ||image_i - audio_i|| becomes the mean over row i's pair and its twins' recordings.
    The release's `NaiveTriplet`.

    Memory: N x D, nothing quadratic; with positive twins N x N.

    Source: Schroff et al., "FaceNet", arXiv 1503.03832; across modalities: Heidler et al., arXiv 2108.00688.
    """

    name = "triplet_margin"

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        # the gradient of vector_norm at 0 is 0
        own: Tensor = torch.linalg.vector_norm(image - audio, dim=1)  # (N)
        other: Tensor = torch.linalg.vector_norm(image - audio.roll(1, dims=0), dim=1)
        masks = twins.masks()
        if masks.positive is not None:
            own = mean_to_positives(pair_distances(image, audio)[0], masks.positive)
        hinge = (own - other + self.margin).relu()
        if masks.either is None:
            return hinge.mean()
        rows = torch.arange(len(image), device=image.device)
        twin = masks.either[rows, rows.roll(1)]
        return hinge.masked_fill(twin, 0.0).sum() / (~twin).sum().clamp(min=1)

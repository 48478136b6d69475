"""The triplet loss with one negative a row: the recording of the row before."""

import torch
from torch import Tensor

from earthtone.losses.base import Loss, check_positive
from earthtone.losses.facts import RowFacts
from earthtone.losses.triplet import mean_to_positives, pair_distances


class TripletMargin(Loss):
    """The mean over i of relu(||image_i - audio_i|| - ||image_i - audio_(i-1)|| + margin); row 0 takes the last one.

    Embeddings are not normalised. A row whose one negative is its twin is left out of the mean (0 when none is left).
    Where twins are positives, ||image_i - audio_i|| becomes the mean over row i's pair and its twins' recordings.
    The release's `NaiveTriplet`.

    Memory: N x D, nothing quadratic; with positive twins N x N.

    Source: Schroff et al., "FaceNet", arXiv 1503.03832; across modalities: Heidler et al., arXiv 2108.00688.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        check_positive("triplet_margin", "margin", margin, 1.0)
        self.margin = margin

    def compute(self, image: Tensor, audio: Tensor, facts: RowFacts) -> Tensor:
        """The scalar loss; see the class."""
        # the gradient of vector_norm at 0 is 0
        own: Tensor = torch.linalg.vector_norm(image - audio, dim=1)  # (N)
        other: Tensor = torch.linalg.vector_norm(image - audio.roll(1, dims=0), dim=1)
        marks = facts.marks()
        if marks.positive is not None:
            own = mean_to_positives(pair_distances(image, audio)[0], marks.positive)
        hinge = (own - other + self.margin).relu()
        if marks.either is None:
            return hinge.mean()
        rows = torch.arange(len(image), device=image.device)
        twin = marks.either[rows, rows.roll(1)]
        return hinge.masked_fill(twin, 0.0).sum() / (~twin).sum().clamp(min=1)

    def extra_repr(self) -> str:
        """Shown by `print(model)`."""
        return f"margin={self.margin}"

"""Similarities that follow the places: the nearer two pairs lie, the more alike they shall be."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from earthtone.losses.queue import MemoryLoss, Queued, over_blocks
from earthtone.losses.twins import Masks, Twins
from earthtone.value_types import PositiveFloat, PositiveInt


class _Part(NamedTuple):
    """Of some columns, a row each: log sum exp of the logits and of the targets' logits, the targets' mean logit."""

    logits: Tensor
    closeness: Tensor
    expected: Tensor


class PlaceDistillation(MemoryLoss):
    """The sum of the cross-entropies image to sound and sound to image of cosines with soft targets from places.

    With unit embeddings x, y and unit position vectors p, over all columns j of the batch and of the queue,

        targets t[i, j] = softmax_j(p_i . p_j / nu)        loss = mean_i -sum_j t[i, j] log softmax_j(x_i . y_j)

    and the same with x and y exchanged. The cosines are divided by no temperature. nu = 0.1 lets the weight fall to
    1/e at 26 degrees of arc (2,900 km). Twins are left out of both softmaxes, in the batch and in the queue, or
    count as of the same place. The release's `SymmetricCLWithMemoryAndDistillation`.

    Memory: a few N x N matrices, each 64 MiB for N = 4,096 in float32, and a few N x 8,192 blocks of the queue, each
    128 MiB; the queue itself as in `InfoNCEMemory`.

    Source: the release of Heidler et al., arXiv 2108.00688; soft targets: Hinton et al., arXiv 1503.02531.
    """

    name = "place_distillation"
    needs_points = True

    def __init__(
        self,
        nu: PositiveFloat = 0.1,
        batches: PositiveInt = 128,
        batch_size: PositiveInt = 256,
        dimensions: PositiveInt = 128,
    ) -> None:
        super().__init__(batches, batch_size, dimensions, nu=nu)
        self.nu = nu

    def one_way(self, query: Tensor, keys: Tensor, twins: Twins, queued: Queued, queued_keys: str) -> Tensor:
        """Return the scalar cross-entropy with soft targets; see the class."""
        assert twins.groups.points is not None  # noqa: S101 - for the type checker: forward saw to it
        places = twins.groups.points.to(query.dtype)
        points = places / self.nu

        def part(logits: Tensor, closeness: Tensor, masks: Masks) -> _Part:
            if masks.positive is not None:
                closeness = closeness.masked_fill(masks.positive, 1 / self.nu)
            return _part(logits, closeness, masks.ignored)

        def of_block(block: Queued) -> _Part:
            closeness = points @ block.points.to(query.dtype).T
            return part(query @ getattr(block, queued_keys).T, closeness, self.queue_masks(twins, block))

        parts = [part(query @ keys.T, points @ places.T, twins.masks()), *over_blocks(of_block, queued)]
        logits, closeness, expected = (torch.stack(values) for values in zip(*parts, strict=True))  # (parts, N) each
        return (logits.logsumexp(dim=0) - (closeness.softmax(dim=0) * expected).sum(dim=0)).mean()


def _part(logits: Tensor, closeness: Tensor, excluded: Tensor | None) -> _Part:
    if excluded is not None:
        weighed, logits = logits.masked_fill(excluded, 0.0), logits.masked_fill(excluded, -math.inf)
        closeness = closeness.masked_fill(excluded, -math.inf)
    else:
        weighed = logits
    mass = closeness.logsumexp(dim=1)
    # a row whose columns are all twins has no mass: its weights are 0 instead of NaN
    weights = (closeness - mass.clamp(min=torch.finfo(mass.dtype).min)[:, None]).exp()
    return _Part(logits.logsumexp(dim=1), mass, (weights * weighed).sum(dim=1))

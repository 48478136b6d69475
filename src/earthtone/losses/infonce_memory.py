"""InfoNCE whose negatives are the batch and the batches before it."""

import math

import torch
from torch import Tensor

from earthtone.losses.base import partner_terms
from earthtone.losses.queue import MemoryLoss, Queued, over_blocks
from earthtone.losses.twins import Masks, Twins
from earthtone.value_types import PositiveFloat, PositiveInt


class InfoNCEMemory(MemoryLoss):
    """The sum of the cross-entropies image to sound and sound to image of cosine / temperature over batch and queue.

    The temperature is fixed. Twins are left out of the softmax, in the batch and in the queue - a row that comes again
    while it is still in the queue is no negative of itself - or are partners as well, in both (`multi_partner`). The
    release's `SymmetricCLWithMemory`; without `groups` the values are its values.

    Memory: a few N x N matrices, each 64 MiB for N = 4,096 in float32, and a few N x 8,192 blocks of the queue, each
    128 MiB; the queue itself is 2 x batches x N x D floats (512 MiB for 128 batches of 4,096 and D = 128), twice
    while the loss is computed.

    Source: He et al., "Momentum Contrast", arXiv 1911.05722 (the queue); Heidler et al., arXiv 2108.00688.
    """

    name = "infonce_memory"
    fixed_temperature: float

    def __init__(
        self,
        temperature: PositiveFloat = 0.1,
        batches: PositiveInt = 128,
        batch_size: PositiveInt = 256,
        dimensions: PositiveInt = 128,
    ) -> None:
        super().__init__(batches, batch_size, dimensions, temperature=temperature)
        self.fixed_temperature = temperature

    def one_way(self, query: Tensor, keys: Tensor, twins: Twins, queued: Queued, queued_keys: str) -> Tensor:
        """Return the scalar cross-entropy of finding the own key; see the class."""
        scaled = query / self.fixed_temperature
        if twins.has_positives():
            return self._multi_partner(scaled, keys, twins, queued, queued_keys)

        def of_block(block: Queued) -> Tensor:
            logits: Tensor = scaled @ getattr(block, queued_keys).T
            if (ignored := self.queue_masks(twins, block).ignored) is not None:
                logits = logits.masked_fill(ignored, -math.inf)
            return logits.logsumexp(dim=1)  # (N)

        logits = scaled @ keys.T  # (N, N)
        own = logits.diagonal()
        if (ignored := twins.masks().ignored) is not None:
            logits = logits.masked_fill(ignored, -math.inf)
        every = torch.stack([logits.logsumexp(dim=1), *over_blocks(of_block, queued)])
        return (every.logsumexp(dim=0) - own).mean()

    def _multi_partner(self, scaled: Tensor, keys: Tensor, twins: Twins, queued: Queued, queued_keys: str) -> Tensor:
        """Return `multi_partner` over batch and queue, in two passes: a row's negatives, then each partner alone."""
        logits, masks = scaled @ keys.T, twins.masks()  # (N, N)
        assert masks.positive is not None  # noqa: S101 - for the type checker
        masks = masks._replace(positive=masks.positive | twins.partners())

        def of_queue(block: Queued) -> tuple[Tensor, Masks]:
            return scaled @ getattr(block, queued_keys).T, self.queue_masks(twins, block)

        def negatives(logits: Tensor, masks: Masks) -> Tensor:
            assert masks.either is not None  # noqa: S101 - for the type checker
            return logits.masked_fill(masks.either, torch.finfo(logits.dtype).min).logsumexp(dim=1)

        def terms_of(logits: Tensor, masks: Masks, against: Tensor) -> tuple[Tensor, Tensor]:
            assert masks.positive is not None  # noqa: S101 - for the type checker
            return partner_terms(logits, masks.positive, against)

        against = torch.stack(
            [negatives(logits, masks), *over_blocks(lambda block: negatives(*of_queue(block)), queued)]
        ).logsumexp(dim=0)  # (N)
        terms = [
            terms_of(logits, masks, against),
            *over_blocks(lambda block: terms_of(*of_queue(block), against), queued),
        ]
        total, count = (torch.stack(parts).sum(dim=0) for parts in zip(*terms, strict=True))
        return (total / count).mean()

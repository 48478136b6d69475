"""The embeddings of all processes in each of them, with exact gradients."""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import Function

from earthtone.train.world import World


def gathered(own: Tensor, world: World) -> Tensor:
    """Return the (N, D) rows of the global batch; `own` (n, D) are rows rank, rank + size, rank + 2 size, ... of it.

    Each process then computes the loss of the whole batch, the same one. Its gradient with respect to the own rows is
    taken times `size`: DDP averages over processes what has to be summed, each having sent through its towers the part
    of the gradient that its rows have. Gradients of the loss's own weights are equal everywhere and their own average.
    """
    if world.size == 1:
        return own
    rows: Tensor = _Gather.apply(own, world.rank, world.size)
    return rows


class _Gather(Function):
    @staticmethod
    def forward(context: Any, own: Tensor, rank: int, size: int) -> Tensor:
        context.rank, context.size = rank, size
        own = own.contiguous()
        parts = [torch.empty_like(own) for _ in range(size)]
        distributed.all_gather(parts, own)
        return torch.stack(parts, dim=1).flatten(0, 1)  # (n, size, D) to (N, D): in the order of the global batch

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][context.rank :: context.size] * context.size, None, None

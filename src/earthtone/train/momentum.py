"""Encoders that follow the trained ones slowly, so that the rows of a queue come from nearly the same encoder."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from earthtone.train.sharded import own_part

_Module = TypeVar("_Module", bound=nn.Module)


def follower_of(model: _Module) -> _Module:
    """Return a copy of `model` without gradients, to be moved by `follow`."""
    follower = copy.deepcopy(model)
    return follower.requires_grad_(False)


@torch.no_grad()
def follow(follower: nn.Module, model: nn.Module, momentum: float) -> None:
    """Move each weight of `follower` to momentum * itself + (1 - momentum) * the one of `model`.

    Buffers are its own: its batch norms see its own activations. Source: He et al., "Momentum Contrast",
    arXiv 1911.05722, equation 2.
    """
    own: list[Tensor] = [own_part(value) for value in follower.parameters()]
    others: list[Tensor] = [own_part(value) for value in model.parameters()]
    torch._foreach_lerp_(own, others, 1 - momentum)

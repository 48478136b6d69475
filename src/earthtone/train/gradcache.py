"""A large batch with the memory of a small one: embedded chunk by chunk, and again when the gradient is known.

By hand: torch.utils.checkpoint keeps no random state on mps, and autocast's cast weights would be shared by chunks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import compress
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase


def embed_in_chunks(model: nn.Module, image: Tensor, audio: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Return what `model` gives for the whole batch, with activations of one chunk, at most `chunk` rows, at a time.

    The forward pass keeps embeddings, and the last chunk's activations. Once the gradients of the loss are known, the
    backward pass begins with these, and makes each other chunk's activations again, with the same random draws
    (dropout, stochastic depth) and the same autocast, and lets them go. The gradients are those of one forward pass
    over the same chunks; where rows do not see each other inside `model` - that is, without batch norms in training -
    they are those of the whole batch. They go to the weights of `model`, to each once, as their sum over the chunks:
    whatever waits for a weight's gradient, as DDP does, sees one backward pass. None goes to `image` and `audio`.

    Batch norms take the statistics of a chunk; their running statistics count a chunk once, not again when it is made
    again. Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
    arXiv 2101.06983.
    """
    count = math.ceil(len(image) / chunk)  # equal parts: a last chunk of one row would be too few for a batch norm
    weights = [value for value in model.parameters() if value.requires_grad]
    keeps = torch.is_grad_enabled() and bool(weights)
    images, sounds = _Chunks.apply(model, count, keeps, image, audio, *weights)
    return images, sounds


class _Chunks(Function):
    """The embeddings as a function of the weights; its backward pass makes all chunks but the last again."""

    @staticmethod
    def forward(
        context: Any, model: nn.Module, count: int, keeps: bool, image: Tensor, audio: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        context.model, context.autocast = model, _autocast_of(image.device)
        context.save_for_backward(image, audio)
        # stand-ins gather the sums of gradients: the weights themselves get theirs once, from autograd
        context.standins = {
            name: value.detach().requires_grad_() for name, value in model.named_parameters() if value.requires_grad
        }
        context.draws, parts = [], []
        *others, last = zip(image.tensor_split(count), audio.tensor_split(count), strict=True)
        with context.autocast():
            for rows in others:
                context.draws.append(_random_states(image.device))
                parts.append(model(*rows))
            with torch.set_grad_enabled(keeps):
                context.last = functional_call(model, context.standins, last)
        parts.append(tuple(part.detach() for part in context.last))
        images, sounds = zip(*parts, strict=True)
        return torch.cat(images), torch.cat(sounds)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        model, standins, count = context.model, context.standins, len(context.draws) + 1
        *others, last = zip(*(part.tensor_split(count) for part in (*context.saved_tensors, *gradients)), strict=True)
        _backward(context.last, last[2:])
        context.last = None  # its activations go before others come
        for states, (image, audio, *gradient) in zip(context.draws, others, strict=True):
            with _same_draws(image.device, states), _same_statistics(model), torch.enable_grad():
                with context.autocast():
                    embedded = functional_call(model, standins, (image, audio))
                _backward(embedded, gradient)
        return None, None, None, None, None, *(standin.grad for standin in standins.values())


def _backward(embedded: Sequence[Tensor], gradient: Sequence[Tensor]) -> None:
    for_grad = [part.requires_grad for part in embedded]  # a tower may be frozen
    torch.autograd.backward(list(compress(embedded, for_grad)), list(compress(gradient, for_grad)))


def _autocast_of(device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """Return what makes the autocast that is in force now, without its cache of weights.

    The cache would keep weights that were cast without gradients for a pass that needs them with gradients.
    """
    kind = device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return lambda: torch.autocast(kind, dtype, enabled, cache_enabled=False)


def _random_states(device: torch.device) -> dict[Any, Tensor]:
    """Return the states of the generators that a computation on `device` draws from: the CPU's, and its own."""
    modules: list[Any] = [torch] if device.type == "cpu" else [torch, torch.get_device_module(device)]
    return {module: module.get_rng_state() for module in modules}


@contextmanager
def _same_draws(device: torch.device, states: dict[Any, Tensor]) -> Iterator[None]:
    """Draw from `states` inside; afterwards the generators go on where they were."""
    before = _random_states(device)
    try:
        for module, state in states.items():
            module.set_rng_state(state)
        yield
    finally:
        for module, state in before.items():
            module.set_rng_state(state)


@contextmanager
def _same_statistics(model: nn.Module) -> Iterator[None]:
    """Give norms their running statistics back at the end."""
    norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    buffers = [buffer for norm in norms if norm.training for buffer in norm.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)

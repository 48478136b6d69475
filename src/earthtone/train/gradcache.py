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


def embed_in_chunks(
    model: nn.Module, image: Tensor | None, audio: Tensor | None, chunk: int
) -> tuple[Tensor | None, Tensor | None]:
    """Return what `model` gives for the whole batch, with activations of one chunk, at most `chunk` rows, at a time.

    The forward pass keeps embeddings, and the last chunk's activations. Once the gradients of the loss are known, the
    backward pass begins with these, and makes each other chunk's activations again, with the same random draws
    (dropout, stochastic depth) and the same autocast, and lets them go. The gradients are those of one forward pass
    over the same chunks; where rows do not see each other inside `model` - that is, without batch norms in training -
    they are those of the whole batch. They go to the weights of `model`, to each once, as their sum over the chunks:
    whatever waits for a weight's gradient, as DDP does, sees one backward pass. None goes to `image` and `audio`.

    Batch norms take the statistics of a chunk; their running statistics count a chunk once, not again when it is made
    again. Of `image` and `audio` one may be None, and so is its embedding then.
    Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv 2101.06983.
    """
    inputs = tuple(part for part in (image, audio) if part is not None)
    count = math.ceil(len(inputs[0]) / chunk)  # equal parts: a last chunk of one row would be too few for a batch norm
    weights = [value for value in model.parameters() if value.requires_grad]
    keeps = torch.is_grad_enabled() and bool(weights)
    given = (image is not None, audio is not None)
    found = iter(_Chunks.apply(model, count, keeps, given, *inputs, *weights))
    return tuple(next(found) if there else None for there in given)  # type: ignore[return-value]


class _Chunks(Function):
    """The embeddings as a function of the weights; its backward pass makes all chunks but the last again."""

    @staticmethod
    def forward(
        context: Any, model: nn.Module, count: int, keeps: bool, given: tuple[bool, bool], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        inputs, device = tensors[: sum(given)], tensors[0].device
        context.model, context.autocast, context.given = model, _autocast_of(device), given
        context.save_for_backward(*inputs)
        # stand-ins gather the sums of gradients: the weights themselves get theirs once, from autograd
        context.standins = {
            name: value.detach().requires_grad_() for name, value in model.named_parameters() if value.requires_grad
        }
        context.draws, parts = [], []
        *others, last = zip(*(part.tensor_split(count) for part in inputs), strict=True)
        with context.autocast():
            for rows in others:
                context.draws.append(_random_states(device))
                parts.append(_there(model(*_both(rows, given))))
            with torch.set_grad_enabled(keeps):
                context.last = _there(functional_call(model, context.standins, _both(last, given)))
        parts.append(tuple(part.detach() for part in context.last))
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        model, standins, given, count = context.model, context.standins, context.given, len(context.draws) + 1
        own = sum(given)
        *others, last = zip(*(part.tensor_split(count) for part in (*context.saved_tensors, *gradients)), strict=True)
        _backward(context.last, last[own:])
        context.last = None  # its activations go before others come
        for states, rows in zip(context.draws, others, strict=True):
            with _same_draws(rows[0].device, states), _same_statistics(model), torch.enable_grad():
                with context.autocast():
                    embedded = _there(functional_call(model, standins, _both(rows[:own], given)))
                _backward(embedded, rows[own:])
        return *(None for _ in range(4 + own)), *(standin.grad for standin in standins.values())


def _both(inputs: Sequence[Tensor], given: tuple[bool, bool]) -> tuple[Tensor | None, ...]:
    """Return inputs for images and sounds, None for the one that is not given."""
    found = iter(inputs)
    return tuple(next(found) if there else None for there in given)


def _there(embedded: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    return tuple(part for part in embedded if part is not None)


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

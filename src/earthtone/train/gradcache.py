"""A large batch with the memory of a small one: embedded chunk by chunk, and again when the gradient is known."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

#: Returns image and audio embeddings (n, D) of the rows of both inputs.
Embed = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def embed_in_chunks(model: nn.Module, embed: Embed, image: Tensor, audio: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """Return what `embed` gives for the whole batch, with activations of one chunk, at most `chunk` rows, at a time.

    The forward pass keeps embeddings only. Once the loss has told their gradients, the backward pass makes each
    chunk's activations again, with the same random draws (dropout, stochastic depth) and the same autocast, and lets
    them go. The gradients are those of one forward pass over the same chunks; where rows do not see each other inside
    `model` - that is, without batch norms in training - they are those of the whole batch.

    Batch norms take the statistics of a chunk; their running statistics count a chunk once, not again when it is made
    again. Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
    arXiv 2101.06983; recomputation: Chen et al., arXiv 1604.06174.
    """
    count = math.ceil(len(image) / chunk)  # equal parts: a last chunk of one row would be too few for a batch norm
    parts = [
        checkpoint(embed, *rows, use_reentrant=False, context_fn=lambda: _contexts(model))
        if torch.is_grad_enabled()
        else embed(*rows)
        for rows in zip(image.tensor_split(count), audio.tensor_split(count), strict=True)
    ]
    images, sounds = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(sounds)


def _contexts(model: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds the first pass over a chunk, and the second."""
    return nullcontext(), _same_statistics(model)


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

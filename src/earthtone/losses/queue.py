"""The rows of earlier batches, kept as buffers so that a checkpoint holds them and a resume goes on exactly."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from earthtone.losses.relation import GROUPS, whole_groups

BLOCK = 8192  # queue rows compared at once; bounds the memory whatever the queue's length
_Out = TypeVar("_Out")
_UNKNOWN = -1  # a group number that is nobody's
_NOWHERE = math.inf  # far from every place; unlike NaN, equal to itself in a checkpoint


class Queued(NamedTuple):
    """M rows of earlier batches: `image` and `audio` (M, D), `groups` int64 (M, 3), `points` float64 (M, 3), `pairs`
    int64 (M)."""

    image: Tensor
    audio: Tensor
    groups: Tensor
    points: Tensor
    pairs: Tensor

    def blocks(self) -> Iterator["Queued"]:
        """The rows in parts of at most `BLOCK`."""
        for start in range(0, len(self.groups), BLOCK):
            yield Queued(*(part[start : start + BLOCK] for part in self))


class EmbeddingQueue(nn.Module):
    """A ring of the newest `rows` rows; it keeps embeddings, twin groups, places and pairs, never gradients.

    Memory: rows x (2 D floats, 3 doubles and 4 integers), and once more while a loss is computed.

    Source of the idea: He et al., "Momentum Contrast", arXiv 1911.05722 (here without a momentum encoder).
    """

    image: Tensor
    audio: Tensor
    groups: Tensor
    points: Tensor
    pairs: Tensor
    pushed: Tensor

    def __init__(self, rows: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("image", torch.zeros(rows, dimensions))
        self.register_buffer("audio", torch.zeros(rows, dimensions))
        self.register_buffer("groups", torch.full((rows, GROUPS), _UNKNOWN))
        self.register_buffer("points", torch.full((rows, 3), _NOWHERE, dtype=torch.float64))
        self.register_buffer("pairs", torch.full((rows,), _UNKNOWN))
        self.register_buffer("pushed", torch.tensor(0))  # rows that ever came in

    def __len__(self) -> int:
        """Rows that are filled."""
        return min(int(self.pushed), len(self.image))

    def rows(self, dtype: torch.dtype) -> Queued:
        """A copy of the filled rows, in no order: autograd must not see the ring change before the backward pass."""
        count = len(self)
        image, audio = (part[:count].to(dtype, copy=True) for part in (self.image, self.audio))
        return Queued(image, audio, *(part[:count].clone() for part in (self.groups, self.points, self.pairs)))

    @torch.no_grad()
    def push(
        self,
        image: Tensor,
        audio: Tensor,
        groups: Tensor | None,
        points: Tensor | None,
        pairs: Tensor | None = None,
    ) -> None:
        """Keep the rows of a batch in place of the oldest ones."""
        size = len(self.image)
        batch = len(image)
        slots = (int(self.pushed) + torch.arange(batch, device=self.image.device))[-size:] % size
        self.image[slots] = image[-size:].to(self.image.dtype)
        self.audio[slots] = audio[-size:].to(self.audio.dtype)
        self.groups[slots] = _UNKNOWN if groups is None else whole_groups(groups)[-size:]
        self.points[slots] = _NOWHERE if points is None else points[-size:].to(self.points.dtype)
        self.pairs[slots] = _UNKNOWN if pairs is None else pairs[-size:]
        self.pushed += batch

    def extra_repr(self) -> str:
        """Shown by `print(model)`."""
        return f"rows={len(self.image)}, filled={len(self)}"


def over_blocks(function: Callable[[Queued], _Out], queued: Queued) -> list[_Out]:
    """`function` of each block; with several blocks their matrices are made again in the backward pass, not kept."""
    if len(queued.groups) <= BLOCK or not torch.is_grad_enabled():
        return [function(block) for block in queued.blocks()]
    return [checkpoint(function, block, use_reentrant=False, preserve_rng_state=False) for block in queued.blocks()]

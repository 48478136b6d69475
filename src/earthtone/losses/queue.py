"""The rows of earlier batches as further negatives, kept so that a resume goes on exactly."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss, unit
from earthtone.losses.twins import GROUPS, Masks, RowGroups, Twins, masks_between, padded_groups

BLOCK = 8192  # queue rows compared at once; bounds the memory whatever the queue's length
_Out = TypeVar("_Out")
_UNKNOWN = -1  # a group number that equals none
_NOWHERE = math.inf  # far from every place; unlike NaN, equal to itself in a checkpoint


class Queued(NamedTuple):
    """M rows of earlier batches: `image` and `audio` (M, D), `groups` int64 (M, 3), `points` float64 (M, 3), `pairs`
    int64 (M)."""

    image: Tensor
    audio: Tensor
    groups: Tensor
    points: Tensor
    pairs: Tensor


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
        """Return how many rows are filled."""
        return min(int(self.pushed), len(self.image))

    def rows(self, dtype: torch.dtype) -> Queued:
        """Return a copy of the filled rows, in no order: the ring may change before the backward pass."""
        count = len(self)
        image, audio = (part[:count].to(dtype, copy=True) for part in (self.image, self.audio))
        return Queued(image, audio, *(part[:count].clone() for part in (self.groups, self.points, self.pairs)))

    @torch.no_grad()
    def push(
        self, image: Tensor, audio: Tensor, groups: Tensor | None, points: Tensor | None, pairs: Tensor | None = None
    ) -> None:
        """Keep the rows of a batch in place of the oldest ones."""
        size = len(self.image)
        batch = len(image)
        slots = (int(self.pushed) + torch.arange(batch, device=self.image.device))[-size:] % size
        self.image[slots] = image[-size:].to(self.image.dtype)
        self.audio[slots] = audio[-size:].to(self.audio.dtype)
        self.groups[slots] = _UNKNOWN if groups is None else padded_groups(groups)[-size:]
        self.points[slots] = _NOWHERE if points is None else points[-size:].to(self.points.dtype)
        self.pairs[slots] = _UNKNOWN if pairs is None else pairs[-size:]
        self.pushed += batch

    def extra_repr(self) -> str:
        """Return what `print(model)` shows."""
        return f"rows={len(self.image)}, filled={len(self)}"


def over_blocks(function: Callable[[Queued], _Out], queued: Queued) -> list[_Out]:
    """Return `function` of each block; several blocks' matrices are made again in the backward pass, not kept."""
    starts = range(0, len(queued.groups), BLOCK)
    blocks = [Queued(*(part[start : start + BLOCK] for part in queued)) for start in starts]
    if len(blocks) <= 1 or not torch.is_grad_enabled():
        return [function(block) for block in blocks]
    return [checkpoint(function, block, use_reentrant=False, preserve_rng_state=False) for block in blocks]


class MemoryLoss(Loss):
    """The sum of a loss image to sound and one sound to image; both look for partners in the last batches too.

    The queue holds the unit embeddings of the last `batches` batches of `batch_size` rows, detached; the rows of a
    batch are pushed after the loss was computed, in training mode only. With `keys` from momentum encoders, those are
    what is looked for, in the batch and in the queue, as in He et al., "Momentum Contrast", arXiv 1911.05722, and Li et
    al., "Align before Fuse", arXiv 2107.07651: embeddings from many steps then come from nearly the same encoder.
    """

    has_queue = True

    def __init__(self, batches: int, batch_size: int, dimensions: int, **options: object) -> None:
        super().__init__(batches=batches, batch_size=batch_size, dimensions=dimensions, **options)
        self.dimensions = dimensions
        self.queue_rows = batches * batch_size
        self.queue = EmbeddingQueue(self.queue_rows, dimensions)

    @abstractmethod
    def one_way(self, query: Tensor, keys: Tensor, twins: Twins, queued: Queued, queued_keys: str) -> Tensor:
        """Return the scalar loss of unit queries (N, D), keys (N, D) and the queue's keys, its field `queued_keys`."""

    def queue_masks(self, twins: Twins, block: Queued) -> Masks:
        """Return the masks of the batch's rows against rows of the queue."""
        return masks_between(twins.groups, RowGroups(block.groups, block.points, block.pairs), twins.rule)

    def compute(self, image: Tensor, audio: Tensor, twins: Twins, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the scalar loss; see the class. Raises ConfigError for embeddings not `dimensions` wide."""
        if image.shape[1] != self.dimensions:
            raise ConfigError(
                f"{self.name}: embeddings have {image.shape[1]} dimensions, its queue {self.dimensions}; "
                f"give it dimensions={image.shape[1]}"
            )
        image, audio = unit(image), unit(audio)
        image_keys, audio_keys = (image, audio) if keys is None else map(unit, keys)
        queued = self.queue.rows(image.dtype)
        loss = self.one_way(image, audio_keys, twins, queued, "audio")
        loss = loss + self.one_way(audio, image_keys, twins, queued, "image")
        if self.training:
            self.queue.push(image_keys, audio_keys, *twins.groups)
        return loss

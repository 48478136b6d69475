"""Matrices of a large batch tile by tile: none is held whole, each is made again in the backward pass.

By hand: torch.utils.checkpoint tile by tile gives the same bits, but was measured to take twice the memory.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from earthtone.losses.twins import Twins, tile_slices

Tile = tuple[int, int]
"""Which block of rows and which block of columns."""
#: What is made of a tile: of some images (n, D), some recordings (m, D), which rows and columns they are, and `shared`.
OfTile = Callable[..., tuple[Tensor, ...]]


def over_tiles(
    function: OfTile, image: Tensor, audio: Tensor, shared: Sequence[Tensor] = (), *, diagonal: bool = False
) -> dict[Tile, tuple[Tensor, ...]]:
    """Return what `function` makes of each tile; tensors that it needs gradients for are its arguments.

    With `diagonal` only the tiles that the diagonal goes through. The backward pass makes each tile again; a batch that
    is one tile is computed as it is.
    """
    parts = tile_slices(len(image))
    if len(parts) == 1:
        return {(0, 0): function(image, audio, parts[0], parts[0], *shared)}
    tiles = [(a, b) for a in range(len(parts)) for b in range(len(parts)) if a == b or not diagonal]
    flat = _Tiles.apply(function, tiles, image, audio, *shared)
    each = len(flat) // len(tiles)
    return {tile: flat[number * each : (number + 1) * each] for number, tile in enumerate(tiles)}


class _Tiles(Function):
    """Keeps what goes in and what comes out."""

    @staticmethod
    def forward(
        context: Any, function: OfTile, tiles: list[Tile], image: Tensor, audio: Tensor, *shared: Tensor
    ) -> tuple[Tensor, ...]:
        context.function, context.tiles = function, tiles
        context.save_for_backward(image, audio, *shared)
        parts = tile_slices(len(image))
        found = [
            value for a, b in tiles for value in function(image[parts[a]], audio[parts[b]], parts[a], parts[b], *shared)
        ]
        context.mark_non_differentiable(*(value for value in found if not value.is_floating_point()))
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, audio, *shared = context.saved_tensors
        parts = tile_slices(len(image))
        # stand-ins gather the sums over the tiles
        images, sounds = ([side[part].detach().requires_grad_() for part in parts] for side in (image, audio))
        others = [
            value.detach().requires_grad_(needed)
            for value, needed in zip(shared, context.needs_input_grad[4:], strict=True)
        ]
        each = len(gradients) // len(context.tiles)
        with torch.enable_grad(), torch.autocast(image.device.type, enabled=False):
            for number, (a, b) in enumerate(context.tiles):
                found = context.function(images[a], sounds[b], parts[a], parts[b], *others)
                given = gradients[number * each : (number + 1) * each]
                ways = [(value, gradient) for value, gradient in zip(found, given, strict=True) if value.requires_grad]
                torch.autograd.backward([value for value, _ in ways], [gradient for _, gradient in ways])
        sums = [torch.cat([_gradient(part) for part in side]) for side in (images, sounds)]
        return None, None, *sums, *(other.grad for other in others)


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def joined(found: dict[Tile, tuple[Tensor, ...]], part: int, dim: int, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Return one vector (N) of the tiles' vectors number `part`: of all rows (`dim` 1), or of all columns (`dim` 0).

    `reduce` makes one (n) of the vectors (tiles, n) that have the same rows or columns.
    """
    lines: dict[int, list[Tensor]] = defaultdict(list)
    for tile, vectors in found.items():
        lines[tile[1 - dim]].append(vectors[part])
    return torch.cat([reduce(torch.stack(lines[number])) for number in sorted(lines)])


def negatives_in_tiles(
    logits: Callable[..., Tensor],
    image: Tensor,
    audio: Tensor,
    weights: Sequence[Tensor],
    twins: Twins,
    dims: tuple[int, ...],
) -> list[Tensor]:
    """Return, for each of `dims`, the log-sum-exp (N) of negatives' logits: of each image (1), each recording (0)."""

    def of_tile(image: Tensor, audio: Tensor, rows: slice, columns: slice, *weights: Tensor) -> tuple[Tensor, ...]:
        found, others = logits(image, audio, *weights), twins.non_negatives(rows, columns)
        if others is not None:
            found = found.masked_fill(others, torch.finfo(found.dtype).min)
        return tuple(found.logsumexp(dim=dim) for dim in dims)

    tiles = over_tiles(of_tile, image, audio, weights)
    return [joined(tiles, part, dim, lambda vectors: vectors.logsumexp(dim=0)) for part, dim in enumerate(dims)]

"""Training patches of images and masks: decoded in threads, mixed over several images, a function of the seed alone."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from earthtone.data.datasets.masks import IGNORED
from earthtone.data.ordered import ordered_map
from earthtone.evaluate.segment.tiled import tile_starts
from earthtone.signal.image import Pixels

Mask = NDArray[np.uint8]
#: An image (H, W, 3) and its classes (H, W), by the number of the item.
ReadTile = Callable[[int], tuple[Pixels, Mask]]

_POOL = 16  # images whose patches are mixed; bounds the memory


class Patches(NamedTuple):
    """`image` uint8 (N, side, side, 3), `mask` int64 (N, side, side)."""

    image: Tensor
    mask: Tensor


def epoch_of_patches(
    items: Sequence[int],
    read: ReadTile,
    *,
    side: int,
    batch: int,
    stride: int | None,
    seed: tuple[int, int],
    threads: int = 2,
) -> Iterator[Patches]:
    """Yield the batches of one epoch over `items` in an order that `seed` (seed, epoch) decides.

    With a `stride` patches lie on a regular grid, as they are; without one as many as cover an image lie at random
    places, turned and mirrored at random. A last batch of a single patch is left out: a batch norm needs two.
    """
    order = np.random.default_rng(seed).permutation(np.asarray(items))
    draws = {int(item): np.random.default_rng([*seed, int(item)]) for item in order}

    def cut(item: int) -> list[tuple[Pixels, Mask]]:
        image, mask = (_at_least(values, side, fill) for values, fill in zip(read(item), (None, IGNORED), strict=True))
        if stride is not None:
            return _grid(image, mask, side, stride)
        return _random(image, mask, side, draws[item])

    held: list[tuple[Pixels, Mask]] = []
    mix = np.random.default_rng([*seed, 1])
    images = ordered_map(cut, map(int, order), threads)
    while group := list(islice(images, _POOL)):
        held += [patch for patches in group for patch in patches]
        held = [held[i] for i in mix.permutation(len(held))]
        while len(held) >= batch:
            yield _joined(held[:batch])
            held = held[batch:]
    if len(held) > 1:
        yield _joined(held)


def _grid(image: Pixels, mask: Mask, side: int, stride: int) -> list[tuple[Pixels, Mask]]:
    """Patches at multiples of `stride`, the last ones at the borders."""
    overlap = 1 - min(stride, side) / side
    return [
        (image[y : y + side, x : x + side], mask[y : y + side, x : x + side])
        for y in tile_starts(image.shape[0], side, overlap)
        for x in tile_starts(image.shape[1], side, overlap)
    ]


def _random(image: Pixels, mask: Mask, side: int, draw: Generator) -> list[tuple[Pixels, Mask]]:
    height, width = mask.shape
    patches = []
    for _ in range(max(1, round(height * width / side**2))):
        y, x = int(draw.integers(height - side + 1)), int(draw.integers(width - side + 1))
        turns, mirrored = int(draw.integers(4)), bool(draw.integers(2))
        views = [np.rot90(values[y : y + side, x : x + side], turns) for values in (image, mask)]
        views = [np.flip(view, 1) if mirrored else view for view in views]
        bright = draw.uniform(0.8, 1.2)
        jittered = np.clip(views[0].astype(np.float32) * bright, 0, 255).astype(np.uint8)
        patches.append((jittered, np.ascontiguousarray(views[1])))
    return patches


def _at_least(values: NDArray[np.uint8], side: int, fill: int | None) -> NDArray[np.uint8]:
    """Fill a small picture up to `side`: an image by its mirror, a mask by `fill`."""
    lacking = [(0, max(0, side - length)) for length in values.shape[:2]]
    if not any(after for _, after in lacking):
        return values
    widths = [*lacking, *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, widths, "symmetric") if fill is None else np.pad(values, widths, constant_values=fill)


def _joined(patches: Sequence[tuple[Pixels, Mask]]) -> Patches:
    images, masks = zip(*patches, strict=True)
    return Patches(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)).long())

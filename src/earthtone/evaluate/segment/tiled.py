"""Class maps of pictures of any size: overlapping tiles, blended, a strip at a time."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.errors import ConfigError
from earthtone.signal.image import Pixels

#: Class probabilities (N, classes, H, W) of pixels (N, H, W, 3).
Predict = Callable[[torch.Tensor], torch.Tensor]

_BATCH = 4


def class_map(pixels: Pixels, predict: Predict, classes: int, *, tile: int, overlap: float = 0.25) -> NDArray[np.uint8]:
    """Return (H, W): the likeliest class of each pixel of (H, W, 3).

    Tiles overlap by at least the share `overlap` of their side; where they do, probabilities are averaged with weights
    that fall towards a tile's border, since a network knows least there. What is held at once is one strip of tiles:
    classes x tile x W numbers. A picture no larger than a tile is seen whole. Raises ConfigError.
    """
    if not 0 <= overlap < 1 or tile < 1:
        raise ConfigError(f"overlap is {overlap}, tile {tile}; a share from 0 to below 1 and at least 1 expected")
    out = np.empty(pixels.shape[:2], np.uint8)
    for top, rows in _strips(pixels, predict, classes, tile, overlap):
        out[top : top + len(rows)] = rows
    return out


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return where the tiles along one side begin: evenly spaced, the last one ends at the end.

    >>> tile_starts(2448, 1024, 0.25)
    [0, 712, 1424]
    """
    if length <= tile:
        return [0]
    step = max(1, int(tile * (1 - overlap)))
    count = -(-(length - tile) // step) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _strips(
    pixels: Pixels, predict: Predict, classes: int, tile: int, overlap: float
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (first row, class of each pixel) for rows that no later tile touches."""
    height, width = pixels.shape[:2]
    tall, wide = min(tile, height), min(tile, width)
    tops, lefts = tile_starts(height, tall, overlap), tile_starts(width, wide, overlap)
    weight = np.outer(_taper(tall), _taper(wide))
    held = np.zeros((classes, tall, width), np.float32)  # rows from `top` on
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        for first in range(0, len(lefts), _BATCH):
            at = lefts[first : first + _BATCH]
            views = np.stack([pixels[top : top + tall, left : left + wide] for left in at])
            for left, shares in zip(at, predict(torch.from_numpy(views)).numpy(), strict=True):
                held[:, :, left : left + wide] += shares * weight
        done = following - top
        yield top, held[:, :done].argmax(0).astype(np.uint8)
        held = np.concatenate([held[:, done:], np.zeros((classes, done, width), np.float32)], axis=1)


def _taper(side: int) -> NDArray[np.float32]:
    """Half a wave over a tile's side, nowhere zero."""
    return np.asarray(np.sin(np.pi * (np.arange(side) + 0.5) / side) + 1e-3, np.float32)

"""What a segmentation leaves for people: pictures of the best, middling and worst tiles, and class maps of all."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.evaluate.segment.pictures import write_class_map, write_comparison
from earthtone.evaluate.segment.tiles import Tiles
from earthtone.progress import progress
from earthtone.signal.image import Pixels

_PICTURES = 12


def write_outputs(
    folder: Path,
    tiles: Tiles,
    test: Sequence[int],
    mapped: Callable[[Pixels], NDArray[np.uint8]],
    reached: NDArray[np.float64],
) -> None:
    """Write `pictures/` of some test tiles, by `reached` (test tiles,), and `maps/` of all and of those without a mask.

    Names begin with the tile's number in the set, so that no two ids can share a file.
    """
    order = np.argsort(-np.nan_to_num(reached, nan=-1.0), kind="stable")
    chosen = {test[i] for i in order[np.linspace(0, len(order) - 1, min(_PICTURES, len(order))).round().astype(int)]}
    for number in progress([*test, *tiles.without_mask()], total=None, label="class maps", unit="tile"):
        item = tiles.items[number]
        pixels, truth = tiles.read(number)
        predicted = mapped(pixels)
        name = f"{number:05d}-{re.sub(r'[^A-Za-z0-9_-]', '_', Path(item.id).stem)[:60]}"
        write_class_map(folder / "maps" / name, item.image, predicted, tiles.palette)
        if number in chosen:
            write_comparison(folder / "pictures" / f"{name}.png", pixels, truth, predicted, tiles.palette)

"""Images of labelled items to batches of pixels: decoded in threads ahead, broken ones counted by name."""

import os
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled import LabelledItem
from earthtone.data.ordered import ordered_map
from earthtone.errors import DataError, SignalError
from earthtone.models.scale_channel import tell_of_usual
from earthtone.signal.config import ImageConfig, ValueRange
from earthtone.signal.image import Pixels, kept_remarks, read_picture, resized, stored_tile, tile_side_m
from earthtone.signal.scale import check_gsd_m, with_scale

Bands = tuple[int, int, int]
_NAMED = 5

#: A square of at most so many pixels a side, and the metres along its side for a model that is told them, else None.
Square = tuple[Pixels, float | None]


@dataclass(frozen=True)
class PictureBatch:
    """Consecutive items, of which those that can be read are in `pixels`."""

    start: int
    """Position of the first item."""
    count: int
    """How many items, broken ones too."""
    good: NDArray[np.int64]
    """Positions, from `start`, of those that can be read."""
    pixels: Pixels
    """(batch, side, side, C): first the good ones, then zeros up to the size that all batches have; C is 3, or 4 for a
    model that is told metres a pixel."""


def picture_batches(
    items: Sequence[LabelledItem], side: int, batch: int, broken: MutableMapping[str, str], bands: Bands | None = None,
    resize: int | None = None, usual_gsd_m: float | None = None, value_range: ValueRange | None = None,
) -> Iterator[PictureBatch]:  # fmt: skip
    """Yield the centre squares of the items' images in batches; `broken` gets, by id, why one cannot be read.

    `usual_gsd_m` is that of a model that is told metres a pixel, as a fourth channel: it stands for unknown ones.

    With `resize` the square is brought to that side first and its middle of `side` is taken. All batches have one size,
    the last is filled up: kernels are chosen by shape, and another kernel rounds otherwise.
    """
    waiting: list[Pixels] = []
    good: list[int] = []
    start = 0
    shown = resize or side
    edge = (shown - side) // 2
    pictures = ordered_map(
        lambda item: read_square_of(item, shown, bands, usual_gsd_m, value_range), items, decoding_threads()
    )
    for position, (item, picture) in enumerate(zip(items, pictures, strict=True)):
        if isinstance(picture, str):
            broken[item.id] = picture
        else:
            good.append(position - start)
            waiting.append(shown_square(picture, shown)[edge : edge + side, edge : edge + side])
        if position + 1 - start == batch or position + 1 == len(items):
            pixels = np.zeros((batch, side, side, 3 if usual_gsd_m is None else 4), np.uint8)
            for row, square in enumerate(waiting):
                pixels[row] = square
            yield PictureBatch(start, position + 1 - start, np.array(good, np.int64), pixels)
            waiting, good, start = [], [], position + 1


def read_square_of(
    item: LabelledItem, side: int, bands: Bands | None = None, usual_gsd_m: float | None = None,
    value_range: ValueRange | None = None,
) -> Square | str:  # fmt: skip
    """Return the centre square of an item's image, at most `side` pixels a side, or why it cannot be read.

    With `usual_gsd_m` also the metres along its side; where they are unknown it is taken to be usual at `side` pixels.
    """
    if item.image is None:
        return "it has no image"
    try:
        return measured_square(item.image, side, bands, item.image_gsd_m, usual_gsd_m, value_range)
    except SignalError as error:
        return str(error)


def measured_square(
    path: Path, side: int, bands: Bands | None, gsd_m: float | None, usual_gsd_m: float | None,
    value_range: ValueRange | None = None,
) -> Square:  # fmt: skip
    """Return the centre square of an image of `gsd_m` metres a pixel; as `read_square_of`. Raises SignalError."""
    config = ImageConfig(pixels=side, stored_pixels=side, bands=bands, value_range=value_range)
    picture = read_picture(path, config, min_side=side)
    kept_remarks(picture, config)
    square = stored_tile(picture.pixels, config)
    if usual_gsd_m is None:
        return square, None
    if gsd_m is None:
        tell_of_usual(usual_gsd_m)
        return square, usual_gsd_m * side
    check_gsd_m(gsd_m)
    return square, tile_side_m(picture.pixels, config, gsd_m * picture.shrunk)


def shown_square(square: Square, side: int) -> Pixels:
    """Return a square at `side` pixels, its metres a pixel as fourth channel where they are told."""
    pixels, side_m = square
    view = resized(pixels, side)
    return view if side_m is None else with_scale(view, side_m / side)


def read_square(path: Path, side: int, bands: Bands | None = None, value_range: ValueRange | None = None) -> Pixels:
    """Return the centre square of an image, at most `side` pixels a side. Raises SignalError."""
    return measured_square(path, side, bands, None, None, value_range)[0]


def decoding_threads() -> int:
    """Return how many threads decode images."""
    return max(2, min(8, os.cpu_count() or 2))


def tell_of_broken(broken: MutableMapping[str, str] | dict[str, str], count: int) -> str | None:
    """Return a line on images that were left out, None where all could be read. Raises DataError where none could."""
    if not broken:
        return None
    first_id, reason = next(iter(broken.items()))
    if len(broken) == count:
        raise DataError(f"none of {count} images can be read; the first, {first_id!r}: {reason}")
    names = ", ".join(list(broken)[:_NAMED]) + (" ..." if len(broken) > _NAMED else "")
    return f"{len(broken)} of {count} images cannot be read and were left out: {names} (the first: {reason})"

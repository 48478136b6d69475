"""Mask files to class indices; what the palette does not know is counted, named and ignored."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled import MaskedItem, Palette
from earthtone.errors import DataError
from earthtone.signal.image import Pixels, read_image
from earthtone.signal.stored_values import read_stored_values

IGNORED = 255
MOST_CLASSES = 254
_UNKNOWN = 254  # inside the look-up tables alone
_VALUES, _COLOURS = 1 << 16, 1 << 24  # lengths of the tables
_MOST_NAMED = 6

Value = int | tuple[int, int, int]
Classes = NDArray[np.uint8]


@dataclass
class UnknownValues:
    """Values or colours that no palette knew, over many masks: pixels and masks of each, and the pixels seen in all."""

    pixels: Counter[Value] = field(default_factory=Counter)
    masks: Counter[Value] = field(default_factory=Counter)
    seen: int = 0

    def add(self, unknown: Counter[Value], pixels: int) -> None:
        """Count one mask of `pixels` pixels."""
        self.pixels += unknown
        self.masks.update(unknown.keys())
        self.seen += pixels

    def warnings(self) -> list[str]:
        """Return one line that names the commonest with their shares of all pixels, or no line."""
        if not self.pixels:
            return []
        named = [
            f"{_named(value)} ({count / self.seen:.3%} of all pixels, in {self.masks[value]} masks)"
            for value, count in self.pixels.most_common(_MOST_NAMED)
        ]
        more = f" and {len(self.pixels) - _MOST_NAMED} more" if len(self.pixels) > _MOST_NAMED else ""
        share = self.pixels.total() / self.seen
        return [f"masks hold what no class is ({share:.3%} of the pixels, ignored): {', '.join(named)}{more}"]


def read_mask(source: Path, palette: Palette, size: tuple[int, int] | None = None) -> tuple[Classes, Counter[Value]]:
    """Return the class index of every pixel (height, width), 255 where ignored, and the pixels of each unknown value.

    `size` is the (height, width) of the image. Raises DataError when the mask has another size or cannot be read.
    """
    values = read_stored_values(source, colour=bool(palette.colours) and not palette.values)
    if size is not None and values.shape[:2] != size:
        raise DataError(
            f"{source} has {values.shape[1]} x {values.shape[0]} pixels, its image {size[1]} x {size[0]}; "
            "a mask of the image's own size was expected"
        )
    if values.ndim == 3:
        return _of_colours(source, values, palette)
    return _of_values(source, values, palette)


def read_masked(
    item: MaskedItem, palette: Palette, bands: tuple[int, int, int] | None = None
) -> tuple[Pixels, Classes | None, Counter[Value]]:
    """Return an item's RGB pixels (height, width, 3), its classes (None without a mask), its unknown values."""
    pixels = read_image(item.image, bands)
    if item.mask is None:
        return pixels, None, Counter()
    classes, unknown = read_mask(item.mask, palette, pixels.shape[:2])
    return pixels, classes, unknown


def found_values(masks: Iterable[Path]) -> set[Value]:
    """Return every value or colour that occurs in masks. Raises DataError when there are more than classes may be."""
    found: set[Value] = set()
    for mask in masks:
        values = read_stored_values(mask)
        if values.ndim == 3:
            found.update(_colour(int(code)) for code in np.unique(_codes(values)))
        else:
            found.update(int(value) for value in np.unique(_whole(mask, values)))
        if len(found) > MOST_CLASSES:
            raise DataError(
                f"{mask}: with it the masks hold {len(found)} values, at most {MOST_CLASSES} classes are possible; "
                "masks as PNG or TIFF of class values were expected, or a file classes.csv that names them"
            )
    return found


def _of_values(source: Path, values: NDArray[Any], palette: Palette) -> tuple[Classes, Counter[Value]]:
    if not palette.values:
        raise DataError(f"{source} has one channel; a mask in colour was expected ({len(palette.colours)} colours)")
    whole = _whole(source, values)
    ignored = tuple(sorted(value for value in palette.ignored if isinstance(value, int)))
    table = _table(_VALUES, tuple(sorted(palette.values.items())), ignored)
    inside = (whole >= 0) & (whole < _VALUES)
    index = table[np.where(inside, whole, 0)]
    index[~inside] = _UNKNOWN
    return index, Counter({int(value): count for value, count in _unknown(index, whole)})


def _of_colours(source: Path, values: NDArray[Any], palette: Palette) -> tuple[Classes, Counter[Value]]:
    if not palette.colours:
        raise DataError(
            f"{source} is in colour; a mask of one channel with values {sorted(palette.values)} was expected"
        )
    codes = _codes(np.where(values >= 128, 255, 0) if palette.binarised else values)
    colours = tuple(sorted((_code(colour), index) for colour, index in palette.colours.items()))
    ignored = tuple(sorted(_code(value) for value in palette.ignored if isinstance(value, tuple)))
    index = _table(_COLOURS, colours, ignored)[codes]
    return index, Counter({_colour(int(code)): count for code, count in _unknown(index, codes)})


def _unknown(index: Classes, values: NDArray[Any]) -> list[tuple[Any, int]]:
    """Return the values (or codes) without a class and how often each occurs; their pixels become ignored."""
    strange = index == _UNKNOWN
    if not strange.any():
        return []
    found, counts = np.unique(values[strange], return_counts=True)
    index[strange] = IGNORED
    return list(zip(found, counts.tolist(), strict=True))


@lru_cache(maxsize=4)
def _table(size: int, classes: tuple[tuple[int, int], ...], ignored: tuple[int, ...]) -> Classes:
    """Return a look-up table from value to class index; for colours it has 16 MB and saves sorting every pixel."""
    table = np.full(size, _UNKNOWN, np.uint8)
    for value, index in classes:
        table[value] = index
    table[list(ignored)] = IGNORED
    return table


def _whole(source: Path, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return values as whole numbers. Raises DataError for others."""
    whole = values.astype(np.int64)
    if values.dtype.kind == "f" and not np.array_equal(whole, values):
        raise DataError(f"{source} holds fractions; whole numbers, one a class, were expected in a mask")
    return whole


def _codes(values: NDArray[Any]) -> NDArray[np.uint32]:
    red, green, blue = np.moveaxis(values.astype(np.uint32), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue, np.uint32)


def _code(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _colour(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def _named(value: Value) -> str:
    return f"value {value}" if isinstance(value, int) else f"colour {value}"

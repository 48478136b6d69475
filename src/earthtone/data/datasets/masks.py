"""Mask files to class indices; what the palette does not know is counted, named and ignored."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled import MaskedItem, Palette
from earthtone.errors import DataError, SignalError
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import Picture, Pixels, read_picture
from earthtone.signal.remarks import TURNED
from earthtone.signal.stored_values import read_labels

IGNORED = 255
MOST_CLASSES = 254
_UNKNOWN = 254  # inside the look-up tables alone
_VALUES, _COLOURS = 1 << 16, 1 << 24  # lengths of the tables
_MOST_NAMED = 6

Value = int | tuple[int, int, int]
Classes = NDArray[np.uint8]
Valid = NDArray[np.bool_] | None
_log = logging.getLogger(__name__)


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

    Pixels that a TIFF declares to be no data are ignored, also where their value is a class. `size` is the (height,
    width) of the image. Raises DataError when the mask has another size or cannot be read.
    """
    found = read_labels(source, colour=bool(palette.colours) and not palette.values)
    values = found.values
    if size is not None and values.shape[:2] != size:
        raise DataError(
            f"{source} has {values.shape[1]} x {values.shape[0]} pixels, its image {size[1]} x {size[0]}; "
            "a mask of the image's own size was expected"
        )
    if found.nodata in palette.values:
        _tell_of_nodata(source.parent, int(found.nodata or 0), palette)
    if values.ndim == 3:
        return _of_colours(source, values, found.valid, palette)
    return _of_values(source, values, found.valid, palette)


@lru_cache(maxsize=64)
def _say_once(folder: Path, value: int, name: str) -> None:
    _log.warning(
        "%s: masks declare %d to be no data, and it is the class %r; these pixels are ignored. To have the class, "
        "type gdal_edit.py -unsetnodata MASK",
        folder, value, name,
    )  # fmt: skip


def _tell_of_nodata(folder: Path, value: int, palette: Palette) -> None:
    _say_once(folder, value, palette.names[palette.values[value]])


def read_masked(
    item: MaskedItem, palette: Palette, bands: tuple[int, int, int] | None = None
) -> tuple[Pixels, Classes | None, Counter[Value]]:
    """Return an item's RGB pixels (height, width, 3), its classes (None without a mask), its unknown values."""
    picture, classes, unknown = read_masked_picture(item, palette, ImageConfig(bands=bands))
    return picture.pixels, classes, unknown


def read_masked_picture(
    item: MaskedItem, palette: Palette, config: ImageConfig
) -> tuple[Picture, Classes | None, Counter[Value]]:
    """Return an item's picture as `config` has it read, its classes (None without a mask), its unknown values.

    Image and mask are both turned as their EXIF says: as an annotator saw them.
    """
    picture = read_picture(item.image, config)
    if item.mask is None:
        return picture, None, Counter()
    try:
        classes, unknown = read_mask(item.mask, palette, picture.pixels.shape[:2])
    except DataError as error:
        if any(remark.kind == TURNED for remark in picture.remarks) and not isinstance(error, SignalError):
            raise DataError(
                f"{error}; the image is turned as its EXIF says, was the mask drawn on it unturned?"
            ) from error
        raise
    return picture, classes, unknown


def found_values(masks: Iterable[Path]) -> set[Value]:
    """Return every value or colour that occurs in masks. Raises DataError when there are more than classes may be."""
    found: set[Value] = set()
    for mask in masks:
        values, valid = read_labels(mask)[:2]
        values = values.reshape(-1, *values.shape[2:]) if valid is None else values[valid]
        if values.ndim == 2:
            found.update(_colour(int(code)) for code in np.unique(_codes(values)))
        else:
            found.update(int(value) for value in np.unique(_whole(mask, values)))
        if len(found) > MOST_CLASSES:
            raise DataError(
                f"{mask}: with it the masks hold {len(found)} values, at most {MOST_CLASSES} classes are possible; "
                "masks as PNG or TIFF of class values were expected, or a file classes.csv that names them"
            )
    return found


def _of_values(source: Path, values: NDArray[Any], valid: Valid, palette: Palette) -> tuple[Classes, Counter[Value]]:
    if not palette.values:
        raise DataError(f"{source} has one channel; a mask in colour was expected ({len(palette.colours)} colours)")
    whole = _whole(source, values if valid is None else np.where(valid, values, 0))
    ignored = tuple(sorted(value for value in palette.ignored if isinstance(value, int)))
    table = _table(_VALUES, tuple(sorted(palette.values.items())), ignored)
    inside = (whole >= 0) & (whole < _VALUES)
    index = table[np.where(inside, whole, 0)]
    index[~inside] = _UNKNOWN
    if valid is not None:
        index[~valid] = IGNORED
    return index, Counter({int(value): count for value, count in _unknown(index, whole)})


def _of_colours(source: Path, values: NDArray[Any], valid: Valid, palette: Palette) -> tuple[Classes, Counter[Value]]:
    if not palette.colours:
        raise DataError(
            f"{source} is in colour; a mask of one channel with values {sorted(palette.values)} was expected"
        )
    codes = _codes(np.where(values >= 128, 255, 0) if palette.binarised else values)
    colours = tuple(sorted((_code(colour), index) for colour, index in palette.colours.items()))
    ignored = tuple(sorted(_code(value) for value in palette.ignored if isinstance(value, tuple)))
    index = _table(_COLOURS, colours, ignored)[codes]
    if valid is not None:
        index[~valid] = IGNORED
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

"""The tiles of a masked set: looked through once, read again as often as training wants."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from earthtone.data.datasets.masks import IGNORED, Classes, UnknownValues, Value, read_masked
from earthtone.data.labelled import MaskedItem, MaskedSet
from earthtone.data.ordered import ordered_map
from earthtone.errors import DataError, SignalError
from earthtone.progress import progress
from earthtone.signal.image import Pixels

_log = logging.getLogger(__name__)
_THREADS = 2
_NAMED = 5


class Tiles:
    """The usable items of a masked set, by number; broken images are left out, counted and named.

    Raises DataError for a mask of another size than its image: pairs that were put together wrongly.
    """

    def __init__(self, data: MaskedSet, bands: tuple[int, int, int] | None = None) -> None:
        self.palette = data.palette
        self._bands = bands
        self.items: list[MaskedItem] = []
        self.skipped: dict[str, str] = {}
        unknown = UnknownValues()
        looked = ordered_map(self._look, data.items, _THREADS)
        for item, found in zip(data.items, progress(looked, total=len(data.items), label="masks"), strict=True):
            if isinstance(found, str):
                self.skipped[item.id] = found
                continue
            self.items.append(item)
            unknown.add(*found)
        self.unknown = unknown.warnings()
        for line in self.unknown:
            _log.warning("%s: %s", data.name, line)
        if self.skipped:
            named = "; ".join(list(self.skipped.values())[:_NAMED])
            _log.warning("%s: %d of %d tiles left out: %s", data.name, len(self.skipped), len(data.items), named)
        if not self.items:
            first = next(iter(self.skipped.values()), "it has no items")
            raise DataError(f"{data.name}: no usable tile; {first}")

    def of_split(self, split: str) -> list[int]:
        """Return the numbers of the tiles with a mask in a split."""
        return [i for i, item in enumerate(self.items) if item.split == split and item.mask is not None]

    def without_mask(self) -> list[int]:
        """Return the numbers of the tiles that are there to be predicted only."""
        return [i for i, item in enumerate(self.items) if item.mask is None]

    def read(self, number: int) -> tuple[Pixels, Classes]:
        """Return pixels (H, W, 3) and classes (H, W), 255 where ignored, everywhere so without a mask."""
        pixels, classes, _ = read_masked(self.items[number], self.palette, self._bands)
        if classes is None:
            classes = np.full(pixels.shape[:2], IGNORED, np.uint8)
        return pixels, classes

    def read_ahead(self, numbers: Sequence[int]) -> Iterator[tuple[Pixels, Classes]]:
        """Yield the same for several tiles, decoded by threads."""
        return ordered_map(self.read, numbers, _THREADS)

    def _look(self, item: MaskedItem) -> tuple[Counter[Value], int] | str:
        try:
            pixels, _, unknown = read_masked(item, self.palette, self._bands)
        except SignalError as error:
            return str(error)
        return unknown, pixels.shape[0] * pixels.shape[1]

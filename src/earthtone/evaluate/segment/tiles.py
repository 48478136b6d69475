"""The tiles of a masked set: looked through once, read again as often as training wants."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthtone.data.datasets.masks import IGNORED, Classes, UnknownValues, Value, read_masked_picture
from earthtone.data.labelled import MaskedItem, MaskedSet
from earthtone.data.ordered import ordered_map
from earthtone.errors import DataError, SignalError
from earthtone.progress import progress
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import Pixels, image_hash

_log = logging.getLogger(__name__)
_THREADS = 2
_NAMED = 5


@dataclass(frozen=True)
class _Looked:
    """What a look at one item found: values without a class, pixels, pixels of each class, kinds of remarks, a hash."""

    unknown: Counter[Value]
    pixels: int
    classes: NDArray[np.int64]
    remarks: tuple[str, ...]
    digest: str


class Tiles:
    """The usable items of a masked set, by number; broken images are left out, counted and named.

    Raises DataError for a mask of another size than its image: pairs that were put together wrongly.
    """

    def __init__(self, data: MaskedSet, config: ImageConfig | None = None) -> None:
        self.palette = data.palette
        self._config = config or ImageConfig()
        self._labelled: list[NDArray[np.int64]] = []
        self.remarks: Counter[str] = Counter()
        self.items: list[MaskedItem] = []
        self.skipped: dict[str, str] = {}
        self.digests: list[str] = []
        """A hash of the pixels of each."""
        unknown = UnknownValues()
        looked = ordered_map(self._look, data.items, _THREADS)
        for item, found in zip(data.items, progress(looked, total=len(data.items), label="masks"), strict=True):
            if isinstance(found, str):
                self.skipped[item.id] = found
                continue
            self.items.append(item)
            self._labelled.append(found.classes)
            self.digests.append(found.digest)
            self.remarks.update(found.remarks)
            unknown.add(found.unknown, found.pixels)
        self.unknown = unknown.warnings()
        for line in self.unknown:
            _log.warning("%s: %s", data.name, line)
        if self.remarks:
            told = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.remarks.items()))
            _log.warning("%s: of %d tiles some need a look (%s)", data.name, len(data.items), told)
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

    def labelled(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Return how many pixels of each class some tiles have."""
        return np.asarray(np.sum([self._labelled[number] for number in numbers], axis=0), np.int64)

    def read(self, number: int) -> tuple[Pixels, Classes]:
        """Return pixels (H, W, 3) and classes (H, W), 255 where ignored, everywhere so without a mask."""
        picture, classes, _ = read_masked_picture(self.items[number], self.palette, self._config)
        if classes is None:
            classes = np.full(picture.pixels.shape[:2], IGNORED, np.uint8)
        return picture.pixels, classes

    def read_ahead(self, numbers: Sequence[int]) -> Iterator[tuple[Pixels, Classes]]:
        """Yield the same for several tiles, decoded by threads."""
        return ordered_map(self.read, numbers, _THREADS)

    def _look(self, item: MaskedItem) -> _Looked | str:
        try:
            picture, classes, unknown = read_masked_picture(item, self.palette, self._config)
        except SignalError as error:
            return str(error)
        counts = np.zeros(256, np.int64) if classes is None else np.bincount(classes.ravel(), minlength=256)
        height, width = picture.pixels.shape[:2]
        kinds = tuple(remark.kind for remark in picture.remarks)
        return _Looked(unknown, height * width, counts[: len(self.palette.names)], kinds, image_hash(picture.pixels))

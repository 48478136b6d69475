"""What a labelled set is: images, recordings or both with a class each, or images with a mask of classes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """One item and its class; `group` names what must not be divided between splits, such as one recording."""

    id: str
    label: str
    image: Path | None = None
    audio: Path | None = None
    split: str | None = None
    """train, val or test; for sets with folds `fold` says more."""
    fold: int | None = None
    """The official fold, from 1."""
    group: str | None = None
    image_gsd_m: float | None = None
    """Metres a pixel of the image, where known; models with `scale_input` are told them."""


@dataclass(frozen=True)
class LabelledSet:
    """Items in a fixed order (sorted by class and file, as published protocols assume), read lazily."""

    name: str
    items: tuple[LabelledItem, ...]
    warnings: tuple[str, ...] = ()
    """Where the folder differs from what was published: class count, file count, files without a partner."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The sorted class names."""
        return tuple(sorted({item.label for item in self.items}))


@dataclass(frozen=True, slots=True)
class MaskedItem:
    """An image and the file of its mask; `mask` is None where only predictions are wanted."""

    id: str
    image: Path
    mask: Path | None
    split: str | None = None


@dataclass(frozen=True)
class Palette:
    """How a mask's values or colours name classes; class k of `names` is index k, ignored pixels are 255."""

    names: tuple[str, ...]
    values: Mapping[int, int] = field(default_factory=dict)
    """Mask value -> class index, for masks of one channel; a value in neither `values` nor `ignored` is unknown."""
    colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    """RGB -> class index, for masks in colour."""
    ignored: frozenset[int | tuple[int, int, int]] = frozenset()
    """Values or colours that are left out of training and of every figure."""
    shown: tuple[tuple[int, int, int], ...] = ()
    """The RGB in which class k is drawn."""
    binarised: bool = False
    """Whether a mask's channels are set to 0 below 128 and to 255 from there, before its colours are looked up."""


@dataclass(frozen=True)
class MaskedSet:
    """Images with masks, in a fixed order (sorted by file)."""

    name: str
    items: tuple[MaskedItem, ...]
    palette: Palette
    warnings: tuple[str, ...] = ()

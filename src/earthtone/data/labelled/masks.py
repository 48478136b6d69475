"""Masks of classes: the file that names the classes, published palettes, values and colours to class indices."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from colorsys import hsv_to_rgb
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled.items import (
    LabelledItem,
    LoadedItems,
    MaskedItem,
    MaskedSet,
    Palette,
    Published,
    divided,
    logged,
    overlapping,
    refuse_same_ids,
)
from earthtone.data.tables import CsvTable
from earthtone.errors import DataError, SignalError
from earthtone.files import read_yaml, regular_file
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import Picture, read_picture, read_stored_values
from earthtone.signal.remarks import TURNED

IGNORED = 255
MOST_CLASSES = 254
_UNKNOWN = 254  # inside the look-up tables alone
_VALUES, _COLOURS = 1 << 16, 1 << 24  # lengths of the tables
_MOST_NAMED = 6

Value = int | tuple[int, int, int]
Classes = NDArray[np.uint8]
_LOG = logging.getLogger(__name__)
_AS_DECLARED = ImageConfig()


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
    found = read_stored_values(source, colour=bool(palette.colours) and not palette.values)
    values = found.values
    if size is not None and values.shape[:2] != size:
        raise DataError(
            f"{source} has {values.shape[1]} x {values.shape[0]} pixels, its image {size[1]} x {size[0]}; "
            "a mask of the image's own size was expected"
        )
    if found.nodata in palette.values:
        value = int(found.nodata or 0)
        _warn_of_nodata(source.parent, value, palette.names[palette.values[value]])
    if values.ndim == 3:
        if not palette.colours:
            raise DataError(
                f"{source} is in colour; a mask of one channel with values {sorted(palette.values)} was expected"
            )
        codes: NDArray[Any] = _codes(np.where(values >= 128, 255, 0) if palette.binarised else values)
        colours = tuple(sorted((_code(colour), index) for colour, index in palette.colours.items()))
        ignored = tuple(sorted(_code(value) for value in palette.ignored if isinstance(value, tuple)))
        index = _table(_COLOURS, colours, ignored)[codes]
    else:
        if not palette.values:
            raise DataError(f"{source} has one channel; a mask in colour was expected ({len(palette.colours)} colours)")
        codes = _whole(source, values if found.valid is None else np.where(found.valid, values, 0))
        ignored = tuple(sorted(value for value in palette.ignored if isinstance(value, int)))
        inside = (codes >= 0) & (codes < _VALUES)
        index = _table(_VALUES, tuple(sorted(palette.values.items())), ignored)[np.where(inside, codes, 0)]
        index[~inside] = _UNKNOWN
    if found.valid is not None:
        index[~found.valid] = IGNORED
    strange = index == _UNKNOWN
    index[strange] = IGNORED
    unknown = zip(*(part.tolist() for part in np.unique(codes[strange], return_counts=True)), strict=True)
    return index, Counter({_colour(code) if values.ndim == 3 else code: count for code, count in unknown})


@lru_cache(maxsize=64)
def _warn_of_nodata(folder: Path, value: int, name: str) -> None:
    """Warn once a folder that a class is declared to be no data."""
    _LOG.warning(
        "%s: masks declare %d to be no data, and it is the class %r; these pixels are ignored. To have the class, "
        "type gdal_edit.py -unsetnodata MASK",
        folder, value, name,
    )  # fmt: skip


def read_masked(
    item: MaskedItem, palette: Palette, config: ImageConfig = _AS_DECLARED
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
        values, valid = read_stored_values(mask)[:2]
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


# The file `classes.csv` or `classes.yaml` beside images and masks: which value or colour of a mask is which class.
NAMES = ("classes.csv", "classes.yaml", "classes.yml")
_IGNORED = ("", "ignored", "ignore", "unlabelled", "nodata", "no data")
_FORM = "value,name (or colour,name) with values such as 10 and colours such as #ff8800"


def class_table(folder: Path) -> Path | None:
    """Return the table of classes in a folder, or None."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_class_table(path: Path) -> Palette:
    """Return the palette of a table with `name` and `value`, `colour` or both (then masks hold values).

    A row named `ignored` (or without a name) says what is left out. YAML is a list of such rows, or value: name.
    Classes have the order of the table. Raises DataError.
    """
    names: list[str] = []
    values: dict[int, int] = {}
    colours: dict[tuple[int, int, int], int] = {}
    shown: dict[int, tuple[int, int, int]] = {}
    ignored: set[Value] = set()
    rows = _rows(path)
    by_value = any(row.get("value") not in (None, "") for row in rows)
    for row in rows:
        name = str(row.get("name") or "").strip()
        key = _value(path, row.get("value")) if by_value else _cell_colour(path, row.get("colour"))
        if key in ignored or key in values or key in colours:
            raise DataError(f"{path}: {key} occurs twice; one row a value or colour was expected")
        if name.lower() in _IGNORED:
            ignored.add(key)
            continue
        if name not in names:
            names.append(name)
        index = names.index(name)
        if isinstance(key, int):
            values[key] = index
            if row.get("colour"):
                shown[index] = _cell_colour(path, row["colour"])
        else:
            colours[key] = index
            shown.setdefault(index, key)
    if not 2 <= len(names) <= MOST_CLASSES:
        raise DataError(f"{path} names {len(names)} classes; 2 to {MOST_CLASSES} were expected as {_FORM}")
    drawn = (
        tuple(shown[index] for index in range(len(names))) if len(shown) == len(names) else default_colours(len(names))
    )
    return Palette(tuple(names), values, colours, frozenset(ignored), drawn)


def found_palette(found: set[Value]) -> Palette:
    """Return a palette in which every value or colour is a class named like it."""
    values = sorted(value for value in found if isinstance(value, int))
    colours = sorted(value for value in found if isinstance(value, tuple))
    if values and colours:
        raise DataError("some masks have one channel and some are in colour; one kind was expected")
    names = tuple(str(value) for value in values) + tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours)
    return Palette(
        names,
        values={value: index for index, value in enumerate(values)},
        colours={colour: index for index, colour in enumerate(colours)},
        shown=tuple(colours) or default_colours(len(names)),
    )


def default_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return colours that differ well: hues a golden angle apart, three brightnesses."""
    colours = (hsv_to_rgb(index * 0.618034 % 1.0, 0.75, (1.0, 0.75, 0.5)[index % 3]) for index in range(count))
    return tuple((round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colours)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    if path.suffix == ".csv":
        table = CsvTable(path)
        rows = list(table.rows(table.columns))
        faults = [f"{row.where}: {row.fault[1]}" for row in rows if row.fault is not None]
        if faults:
            raise DataError(f"{path}, {faults[0]}")
        return [{name.strip().lower(): cell for name, cell in row.cells.items()} for row in rows]
    try:
        content = read_yaml(regular_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}; a YAML list of classes was expected") from error
    if isinstance(content, dict):
        return [{"value": value, "name": name} for value, name in content.items()]
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        return content
    raise DataError(f"{path}: a list of classes, or value: name, was expected: {_FORM}")


def _value(path: Path, cell: object) -> int:
    text = str(cell if cell is not None else "").strip()
    if not (re.fullmatch(r"[0-9]{1,20}", text) and int(text) < 65536):
        raise DataError(f"{path}: value {text!r:.40}; a whole number from 0 to 65535 was expected")
    return int(text)


def _cell_colour(path: Path, cell: object) -> tuple[int, int, int]:
    """Return a colour written as #rrggbb, as `255 0 0`, or as a list of three numbers."""
    text = " ".join(map(str, cell)) if isinstance(cell, list) else str(cell or "").strip()
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    parts = re.findall(r"[0-9]+", text)
    if len(parts) != 3 or max(map(len, parts)) > 20 or max(map(int, parts)) > 255:
        raise DataError(f"{path}: colour {text!r:.40}; #rrggbb or three numbers up to 255 were expected")
    return int(parts[0]), int(parts[1]), int(parts[2])


_DEEPGLOBE = {
    "urban": (0, 255, 255), "agriculture": (255, 255, 0), "rangeland": (255, 0, 255), "forest": (0, 255, 0),
    "water": (0, 0, 255), "barren": (255, 255, 255),
}  # fmt: skip
_LOVEDA = {
    "background": (255, 255, 255), "building": (255, 0, 0), "road": (255, 255, 0), "water": (0, 0, 255),
    "barren": (159, 129, 183), "forest": (0, 255, 0), "agriculture": (255, 195, 128),
}  # fmt: skip
_ISPRS = {
    "impervious surfaces": (255, 255, 255), "building": (0, 0, 255), "low vegetation": (0, 255, 255),
    "tree": (0, 255, 0), "car": (255, 255, 0), "clutter": (255, 0, 0),
}  # fmt: skip
_BLACK = (0, 0, 0)


def _palette_of_colours(colours: dict[str, tuple[int, int, int]], *, binarised: bool = False) -> Palette:
    return Palette(
        tuple(colours),
        colours={colour: index for index, colour in enumerate(colours.values())},
        ignored=frozenset({_BLACK}),
        shown=tuple(colours.values()),
        binarised=binarised,
    )


#: DeepGlobe's black is "unknown"; the masks' authors ask for a threshold of 128 a channel (Demir et al., CVPRW 2018).
#: LoveDA's 0 is no data (Wang et al., NeurIPS 2021). The ISPRS masks without boundaries are black along them.
PALETTES: dict[str, Palette] = {
    "deepglobe": _palette_of_colours(_DEEPGLOBE, binarised=True),
    "loveda": Palette(
        tuple(_LOVEDA),
        values={index + 1: index for index in range(len(_LOVEDA))},
        ignored=frozenset({0}),
        shown=tuple(_LOVEDA.values()),
    ),
    "potsdam": _palette_of_colours(_ISPRS),
    "vaihingen": _palette_of_colours(_ISPRS),
}


def finished_masked(
    path: Path, name: str, loaded: LoadedItems[MaskedItem], palette: Palette, published: Published | None = None
) -> MaskedSet:
    """Return the set of what was loaded, sorted by file; every image with a mask has a split. Raises DataError.

    Images without a mask have no split: only predictions can be made of them.
    """
    if not loaded.items:
        raise DataError(f"{path}: no image found; {'; '.join(loaded.notes) or 'images and masks were expected'}")
    items = sorted(loaded.items, key=lambda item: str(item.image))
    refuse_same_ids(path, items)
    masked = [LabelledItem(item.id, "", item.image, split=item.split) for item in items if item.mask is not None]
    notes = [*loaded.notes]
    if published is not None:
        notes += published.differences(len(palette.names), len(masked))
    if len(masked) < len(items):
        notes.append(f"{len(items) - len(masked)} images have no mask and are in no split")
    splits: list[str | None] = ["test"] * len(masked)  # one scene can be looked at, not learned from
    if len(masked) > 1 or any(item.split for item in masked):
        splits, more, _ = divided(path, masked)
        notes += more
    split_of = {item.id: split for item, split in zip(masked, splits, strict=True)}
    divided_items = tuple(replace(item, split=split_of.get(item.id)) for item in items)
    return MaskedSet(name, divided_items, palette, logged(path, notes + overlapping(divided_items)))

"""Overlap of test and training data: identical images, identical recordings, and parts of one recording."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.check import MEASURED_SPLITS, Contents, contents_of, small_split_warning, table_contents
from earthtone.data.grouped_split import same_content, text_number, without_silence
from earthtone.data.labelled.items import LabelledItem
from earthtone.data.packed import Table
from earthtone.data.pair import MEDIA
from earthtone.errors import SignalError
from earthtone.progress import decoding_threads, ordered_map, progress
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import image_hash, read_picture
from earthtone.signal.raster import Bands

_NAMED = 5
_log = logging.getLogger(__name__)

#: A number an item (N,), by what it is the number of: equal ones are identical, negative ones are nothing.
Keys = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Overlap:
    """How many of the measured items share an image, a recording or a group with training items."""

    items: int
    """Measured items that share something with training items ..."""
    of: int
    """... of so many."""
    by: Mapping[str, int]
    """How many share what: image, recording, group."""
    examples: Sequence[str]
    """Some of them with what they are identical to: `a.png = b.png`."""

    def to_text(self, what: str) -> str:
        """Return a line on it, empty where nothing is shared; `what` such as "test images"."""
        if not self.items:
            return ""
        parts = " or ".join(f"{'an' if name == 'image' else 'a'} {name}" for name, count in self.by.items() if count)
        return (
            f"{self.items} of {self.of} {what} share {parts} with training {what.split()[-1]}; the figures flatter the "
            f"model: {', '.join(self.examples)}{' ...' if self.items > len(self.examples) else ''}"
        )


def overlap_of(ids: Sequence[str], keys: Keys, part: NDArray[np.int64], measured: NDArray[np.bool_]) -> Overlap:
    """Return which `measured` items (N,) share a key with an item of another `part` (N,); part -1 is left out.

    Parts are splits, those measured and trained on, or folds.
    """
    hit = np.zeros(len(ids), bool)
    by: dict[str, int] = {}
    examples: dict[int, str] = {}
    for name, key in keys.items():
        known = np.flatnonzero((key >= 0) & (part >= 0))
        pairs = np.unique(np.stack([key[known], part[known]], axis=1), axis=0)
        values, counts = np.unique(pairs[:, 0], return_counts=True)
        found = measured & (part >= 0) & np.isin(key, values[counts > 1])
        by[name] = int(found.sum())
        for row in np.flatnonzero(found & ~hit)[:_NAMED]:
            other = known[(key[known] == key[row]) & (part[known] != part[row])][0]
            examples[int(row)] = f"{ids[row]} = {ids[other]}"
        hit |= found
    return Overlap(int(hit.sum()), int(measured.sum()), by, [examples[row] for row in sorted(examples)][:_NAMED])


def overlap_facts(found: Overlap, contents: Mapping[str, Contents], measured: str | None, what: str) -> dict[str, Any]:
    """Return the facts of a result on what overlaps and on how little a split holds, after warning of both."""
    little = small_split_warning(measured, contents[measured]) if measured is not None and measured in contents else ""
    lines = [line for line in (found.to_text(what), little) if line]
    for line in lines:
        _log.warning("%s", line)
    return {
        "shared_with_train": asdict(found),
        "contents": {name: asdict(part) for name, part in contents.items()},
        "cautions": lines,
    }


def table_facts(
    table: Table, measured: str, rows: NDArray[np.int64], *, media: Sequence[str] = ("image", "recording")
) -> dict[str, Any]:
    """Return the facts of a result on `rows` of the split `measured`: overlap with train, what both hold; and warn."""
    needed = ["audio" if name == "recording" else name for name in media]
    train = np.flatnonzero((np.array(table.column("split")) == "train") & table.has(*needed))
    contents = table_contents(table, {"train": train, measured: rows})
    found = Overlap(0, len(rows), {}, [])
    if measured in MEASURED_SPLITS and len(rows):
        part = np.full(len(table), -1, np.int64)
        part[train], part[rows] = 0, 1
        columns = {"image": "image_hash", "recording": "audio_hash"}
        keys = {name: table.groups(columns[name]) for name in media}
        found = overlap_of(table.column("id"), keys, part, part == 1)
    return overlap_facts(found, contents, measured, f"{measured} pairs")


def warn_of_overlap(table: Table, media: Sequence[str] = MEDIA) -> None:
    """Warn, before training, of a table's val and test rows that are also trained on, and of how few there are.

    `media`, `image` and `audio`, are those that are trained on; rows that lack one of them play no part.
    """
    splits = np.array([str(split) for split in table.column("split")], np.str_)
    called = ["recording" if medium == "audio" else medium for medium in media]
    for name in MEASURED_SPLITS:
        if len(rows := np.flatnonzero((splits == name) & table.has(*media))):
            table_facts(table, name, rows, media=called)


def item_facts(
    items: Sequence[LabelledItem],
    part: Sequence[str | int | None],
    measured: str | None,
    media: Sequence[str],
    *,
    bands: Bands | None = None,
    alike: NDArray[np.float32] | None = None,
) -> dict[str, Any]:
    """Return the facts of a result on labelled items: overlap of the parts, what train and test hold; and warn.

    `part` is the split or fold of each; `measured` the split that is measured, None for folds, each of which is once.
    `media` are those that are read, image and recording. Images are compared by their pixels: all are decoded for that,
    or those alone of which features (N, F), in `alike`, are the same.
    """
    used = [name for name in dict.fromkeys(part) if measured is None or name in ("train", measured)]
    number = np.array([used.index(name) if name in used and name is not None else -1 for name in part], np.int64)
    chosen = (number >= 0) if measured is None else np.array([name == measured for name in part], bool)
    keys: dict[str, NDArray[np.int64]] = {}
    if "image" in media:
        keys["image"] = same_pixels([item.image for item in items], number, bands, alike)
    if "recording" in media:
        sounds = [item.audio for item in items]
        keys["recording"] = without_silence(same_content(lambda: sounds), lambda: sounds)
    contents = {}
    for at, name in () if measured is None else enumerate(used):
        own = number == at
        image, recording = (keys[medium][own] if medium in keys else None for medium in ("image", "recording"))
        contents[str(name)] = contents_of(image, recording, None, int(own.sum()))
    groups = [item.group or "" for item in items]
    if any(groups):
        keys["group"] = np.where(np.array(groups) == "", -1, np.unique(groups, return_inverse=True)[1])
    found = overlap_of([item.id for item in items], keys, number, chosen)
    what = "pairs" if len(media) > 1 else {"image": "images", "recording": "sounds"}[media[0]]
    return overlap_facts(found, contents, measured, f"{measured or 'tested'} {what}")


def same_pixels(
    files: Sequence[Path | None],
    part: NDArray[np.int64],
    bands: Bands | None = None,
    alike: NDArray[np.float32] | None = None,
) -> NDArray[np.int64]:
    """Return a number each (N,), equal where the bytes or the pixels are equal; -1 for what cannot be read.

    Pixels of files in different parts are compared; see `item_facts` for `alike`.
    """
    numbers = same_content(lambda: files)
    asked = np.flatnonzero((numbers >= 0) & (part >= 0))
    if alike is not None:
        same = np.array([text_number(alike[row].tobytes().hex()) for row in asked], np.int64)
        pairs = np.unique(np.stack([same, part[asked]], axis=1), axis=0)
        values, counts = np.unique(pairs[:, 0], return_counts=True)
        asked = asked[np.isin(same, values[counts > 1])]
    config = ImageConfig(bands=bands)
    first: dict[int, int] = {}  # of each content one file is decoded
    for row in asked.tolist():
        first.setdefault(int(numbers[row]), row)

    def pixels(row: int) -> str | None:
        try:
            file = files[row]
            return None if file is None else image_hash(read_picture(file, config).pixels)
        except SignalError:
            return None  # the task itself counts it

    if len(first) < 2:
        return numbers
    hashes = ordered_map(pixels, first.values(), decoding_threads())
    shown = progress(hashes, total=len(first), label="compare", unit="image")
    known: dict[str, int] = {}
    same_as = {number: known.setdefault(found, number) for number, found in zip(first, shown, strict=True) if found}
    return np.array([same_as.get(int(number), int(number)) for number in numbers], np.int64)

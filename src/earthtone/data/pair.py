"""What a pair is: an overhead image and a recording of the same place, with what is known about them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from earthtone.signal.remarks import Remark

FileOrBytes = Path | bytes
SPLITS = ("train", "val", "test")

#: The names of a pair's own columns in every manifest and table; all other columns are carried through as `extra`.
PAIR_COLUMNS = (
    "id", "image", "audio", "longitude", "latitude", "datetime", "image_gsd_m",
    "source", "license", "attribution", "split",
)  # fmt: skip

#: The names of the columns that packing adds to them; no free column may have one of either.
PACKED_COLUMNS = (
    "image_hash", "audio_hash", "audio_frames", "audio_seconds", "audio_preview", "tile_side_m", "packing_notes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: coordinates in degrees (WGS 84), time in UTC, ground sample distance in metres a pixel."""

    id: str
    image: FileOrBytes | None
    audio: FileOrBytes | None
    longitude: float | None = None
    latitude: float | None = None
    datetime: dt.datetime | None = None
    image_gsd_m: float | None = None
    source: str | None = None
    license: str | None = None
    attribution: str | None = None
    split: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    """What was noticed about the row's cells; its files have remarks of their own."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used: counted by `kind`, named by `id`, explained by `detail`."""

    id: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something its user should know of a row that is used all the same; counted and named as a Problem is."""

    id: str
    kind: str
    detail: str

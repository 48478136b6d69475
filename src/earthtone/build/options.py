"""What can be said to the verbs that make and describe data sets: one dataclass a verb, as in `earthtone.options`."""

from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from earthtone.build.recordings.facts import zone_of
from earthtone.errors import ConfigError
from earthtone.options import ColumnOptions, refuse_folder
from earthtone.value_types import NonNegativeInt, Options, PositiveFloat, PositiveInt, Rule

SplitKind = Literal["random", "key-digit", "cells", "degree", "h3", "author", "recorder", "time", "region"]
Shares = Annotated[
    tuple[float, float, float],
    Rule(
        "three shares from 0 to 1 that sum to 1, such as 0.7,0.1,0.2",
        lambda shares: all(0 <= share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-6,
    ),
]
Kilometres = Annotated[float, Rule("kilometres, from 0 to 5000", lambda km: 0 <= km <= 5000)]
#: Options that one kind of split alone has.
OF_KIND = {"cell_km": ("cells", "region"), "resolution": ("h3",), "region": ("region",),
           "val_from": ("time",), "test_from": ("time",), "column": ("author", "recorder")}  # fmt: skip
#: What a kind of split does not take.
_UNSHARED = ("key-digit",)


@dataclass(frozen=True)
class RowsOptions(ColumnOptions):
    """Rows whose files need not be there."""

    positional = ("data",)

    data: str | Path
    """manifest (CSV, GeoJSON, Parquet, GeoParquet), release folder, hf://datasets/OWNER/NAME, or a packed table"""
    _: KW_ONLY
    metadata_only: bool = False
    """do not look at files: rows are linked by what the table itself says"""


@dataclass(frozen=True)
class SplitRowsOptions(RowsOptions):
    """Deal rows out to train, val and test: duplicates and pieces of one recording never across; with a report on what
    leaks all the same. With --check: look at a split that is there; exit 1 when it leaks."""

    usual = ("by", "out", "keep", "buffer_km", "seed", "columns")

    out: str | Path | None = None
    """folder to write: split.parquet, split.json, split.html"""
    _: KW_ONLY
    by: SplitKind = "cells"
    """random, key-digit, cells (of 10 km), degree, h3, author, recorder, time or region"""
    keep: str | Path | None = None
    """split made before, whose rows stay where they are; with --check: the one to look at"""
    seed: NonNegativeInt = 0
    """the same seed and rows give the same split everywhere"""
    shares: Shares = (0.7, 0.1, 0.2)
    """shares of the rows in train, val and test, as near as what stays together allows; with region the first two
    share what lies outside it"""
    buffer_km: Kilometres | None = None
    """leave out rows this near to one of another split; default 1 with h3, else 0"""
    cell_km: PositiveFloat = 10.0
    """with cells and region: side of a cell"""
    resolution: Annotated[int, Rule("0 to 15", lambda level: 0 <= level <= 15)] = 4
    """with h3: level of the hexagons; 4: 45 km across, 5: 17 km"""
    region: str | None = None
    """with region: what is left for test, as W,S,E,N in degrees, a polygon as WKT, or a file of one"""
    val_from: str | None = None
    """with time: first day of val, such as 2024-01-01; default: by the shares"""
    test_from: str | None = None
    """with time: first day of test"""
    column: str | None = None
    """with author and recorder: the column that names them; default: found by its name"""

    def check(self) -> None:
        for name, kinds in OF_KIND.items():
            if self.by not in kinds and (given := self.changed(name)):
                raise ConfigError(f"{given[0]} has no effect with --by {self.by}; only with {' and '.join(kinds)}")
        if self.by in _UNSHARED and (given := self.changed("shares", "seed")):
            raise ConfigError(f"{given[0]} has no effect with --by {self.by}, which looks at ids alone")
        if self.by == "region" and self.region is None and self.keep is None:
            raise ConfigError("--by region needs --region: W,S,E,N in degrees, a polygon, or a file of one")
        if (self.val_from is None) != (self.test_from is None):
            raise ConfigError("--val_from and --test_from go together; give both or neither")
        if self.val_from is not None and self.test_from is not None:
            if _day("val_from", self.val_from) > _day("test_from", self.test_from):
                raise ConfigError(f"--val_from {self.val_from} is after --test_from {self.test_from}")
            if given := self.changed("shares"):
                raise ConfigError(f"{given[0]} has no effect with --val_from; leave one of them out")


@dataclass(frozen=True)
class CheckSplitOptions(RowsOptions):
    """Look at a split that is there: what is shared by train and test, and how near they are."""

    _: KW_ONLY
    split: str | Path | None = None
    """file or folder of the split; default: the data's own column"""
    out: str | Path | None = None
    """folder for the report: split.json, split.html"""


@dataclass(frozen=True)
class DescribeOptions(RowsOptions):
    """Tell what a data set is: counts, hours, licences, places, times, sources; with --out as pages, data card and
    credits."""

    out: str | Path | None = None
    """folder to write: describe.html, README.md, croissant.json, credits.txt, describe.json"""
    _: KW_ONLY
    title: str | None = None
    """the data set's name; default: that of its file"""
    url: str | None = None
    """address at which it is published, for the data card"""

    def check(self) -> None:
        if self.out is None and (given := self.changed("url")):
            raise ConfigError(f"{given[0]} has no effect without --out")


@dataclass(frozen=True)
class RecordingsOptions(Options):
    """A folder of field recordings to rows: start, zone, place, device and faults from names, headers, logs."""

    positional = ("folder",)
    usual = ("out", "deployments", "zone", "clip_s")

    folder: str | Path
    """where the recordings lie, at any depth"""
    out: str | Path
    """table to write, a .parquet file: a manifest with paths from its own folder"""
    _: KW_ONLY
    deployments: str | Path | None = None
    """table (CSV, TSV, Parquet) with `device` or `folder` and what is known of it: longitude, latitude,
    uncertainty_m, zone; also from and to, license, attribution"""
    zone: (
        Annotated[str, Rule("UTC, +10:00 or a name such as Europe/Berlin", lambda text: bool(zone_of(text)))] | None
    ) = None
    """zone of times that are told without one and have none in --deployments: UTC, +10:00, Europe/Berlin"""
    trust: Literal["neither", "name", "header"] = "neither"
    """whose time counts where name and header contradict each other; neither: the time is left out"""
    app_positions: bool = False
    """take positions that a configuration app has entered, which it rounds to about a kilometre"""
    clip_s: PositiveFloat | None = None
    """a row for each so many seconds (start_s, end_s) in place of one for the whole recording"""
    license: str | None = None
    """of rows for which --deployments tells none"""
    attribution: str | None = None
    """of rows for which --deployments tells none"""
    threads: PositiveInt = 4
    """files looked at side by side"""

    def check(self) -> None:
        if Path(self.out).suffix.lower() != ".parquet":
            raise ConfigError(f"--out {self.out}; the name of a .parquet file expected")
        refuse_folder("out", self.out)


def _day(option: str, text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d")
    except ValueError as error:
        raise ConfigError(f"--{option} {text!r:.40}; a day such as 2024-01-31 expected") from error

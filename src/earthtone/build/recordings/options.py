"""What can be said to the verb recordings. Light, as `earthtone.options`."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from earthtone.build.recordings.facts import zone_of
from earthtone.errors import ConfigError
from earthtone.options import refuse_folder
from earthtone.value_types import Options, PositiveFloat, PositiveInt, Rule


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

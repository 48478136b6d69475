"""What can be said to the verbs that use a trained model: one dataclass a verb, as in `earthtone.options`. Light."""

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from earthtone.errors import ConfigError
from earthtone.options import AnyModel, ColumnOptions, DeviceOptions, PixelRange, Precision
from earthtone.value_types import NonNegativeInt, PositiveFloat, PositiveInt, PythonOnly, Rule, Typed

Shard = tuple[int, int]
"""Which part, from 0, and of how many."""


def _shard(text: str) -> Shard:
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found is None:
        raise ConfigError(f"{text}; PART/PARTS expected, such as 0/16 for the first and 15/16 for the last of 16")
    part, parts = int(found[1]), int(found[2])
    if part >= parts:
        raise ConfigError(
            f"{text}; parts count from 0: 0/{max(parts, 1)} to {max(parts, 1) - 1}/{max(parts, 1)} expected"
        )
    return part, parts


@dataclass(frozen=True)
class EmbedOptions(DeviceOptions, ColumnOptions):
    """Vectors of images and sounds as one table. A stopped call goes on when it is repeated; so does one whose data has
    got more rows."""

    usual = ("modality", "windows", "shard", "vectors", "device")

    model: AnyModel
    """a run's folder, a .safetensors file, a SoundingEarth checkpoint, or random:NAME"""
    data: str | Path
    """manifest, folder of files or of classes, of tiles, packed table, release folder, hf://datasets/OWNER/NAME"""
    out: str | Path
    """folder to write, of embeddings.lance"""
    _: KW_ONLY
    modality: Literal["image", "audio", "both"] | None = None
    """what is embedded; default: what is there"""
    windows: bool = False
    """a row for each window of a recording, with its start, instead of one for the whole"""
    shard: (
        Annotated[Shard, Typed(_shard), Rule("a part from 0 on below the number of parts", lambda s: 0 <= s[0] < s[1])]
        | None
    ) = None
    """embed one part of several, from 0: 3/16; default: as torchrun or a SLURM array say, else all. 0/1: all"""
    vectors: Literal["float16", "float32"] = "float16"
    """numbers of the stored vectors"""
    precision: Precision = "auto"
    """in which the networks multiply: auto (bf16 where the device does that itself), bf16 or 32. As embed_images: 32"""
    batch: PositiveInt | None = None
    """inputs a pass; default: 4 on a processor, 32 elsewhere. Another one changes the last digits"""
    seed: NonNegativeInt = 0
    """of random:NAME"""
    commit_rows: PythonOnly[PositiveInt] = 4096
    """at most so many rows wait to be written, and are lost when the process is killed ..."""
    commit_seconds: PythonOnly[PositiveFloat] = 60.0
    """... or the rows of so many seconds"""


# Maps.


@dataclass(frozen=True)
class MapOptions(DeviceOptions):
    """Where would a region sound like this? Similarity of every tile to sounds: GeoTIFF, PNG, GeoParquet, PMTiles, and
    a page that needs no network."""

    usual = ("tiles", "raster", "model", "metres", "stride", "region", "background", "difference", "show", "device")

    query: Sequence[str]
    """sound files, or one CSV of them with the columns file, name, month, hour"""
    out: str | Path
    """folder to write"""
    _: KW_ONLY
    tiles: str | Path | None = None
    """folder of embeddings of tiles that lie on one grid"""
    raster: str | Path | None = None
    """GeoTIFF, COG, VRT or a folder of them, in place of --tiles: its tiles are embedded first, and kept in --out"""
    model: AnyModel | None = None
    """a run's folder, a .safetensors file or a SoundingEarth checkpoint; of --tiles, by default the one they were made
    with"""
    background: str | Path | None = None
    """folder of embeddings among which percentiles are counted; by default this map's own tiles"""
    training: str | Path | None = None
    """packed table that the model was trained on, where nothing is kept beside the model of what its images are like"""
    difference: Literal["first", "pairs", "none"] = "first"
    """first, pairs or none: also map each further sound minus the first, or every two"""
    show: Literal["percentile", "score"] = "percentile"
    """percentile or score: what pictures and web tiles show"""
    metres: PositiveFloat | None = None
    """of --raster: along a tile's side; by default those of the training's tiles where the model knows them, else as
    many of the raster's pixels as the model sees"""
    stride: PositiveFloat | None = None
    """of --raster: metres from one tile to the next, less than --metres where they overlap; by default --metres"""
    region: tuple[float, float, float, float] | None = None
    """of --raster: west,south,east,north in degrees; by default all of it"""
    bands: tuple[int, int, int] | None = None
    """of --raster: which bands, from 1, are red, green and blue; by default as the model's, or as the file says"""
    value_range: PixelRange | None = None
    """of --raster: values of more than 8 bits that become black and white, or a name such as sentinel2; by default
    the model's, or its 2nd and 98th percentile"""
    views: Annotated[int, Rule("1 to 4", lambda views: 1 <= views <= 4)] = 4
    """of --raster: so many views of each tile are embedded (as it is, mirrored, turned, its middle), 1 to 4; their
    spread is a band, and each costs as much as the first"""
    attribution: str | None = None
    """of --raster: whose imagery it is, for all files"""

    def check(self) -> None:
        of_raster = ("metres", "stride", "region", "bands", "value_range", "views", "attribution")
        if (self.tiles is None) == (self.raster is None):
            found = "neither is given" if self.tiles is None else "both are given"
            raise ConfigError(f"--tiles EMBEDDINGS or --raster FILE expected; {found}")
        if self.raster is not None and self.model is None:
            raise ConfigError("--raster needs --model, which embeds its tiles")
        if self.raster is None and (idle := self.changed(*of_raster)):
            raise ConfigError(f"{idle[0]} has no effect on --tiles, which are embedded already; leave it out")
        if self.region is not None and not (self.region[1] < self.region[3] and self.region[0] != self.region[2]):
            raise ConfigError(f"--region {self.region}; west,south,east,north in degrees expected, south below north")

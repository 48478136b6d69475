"""What can be said to the verbs that use a trained model: one dataclass a verb, as in `earthtone.options`. Light."""

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from earthtone.errors import ConfigError
from earthtone.options import (
    AnyModel,
    BandOptions,
    ColumnOptions,
    DeviceOptions,
    PixelRange,
    Precision,
)
from earthtone.value_types import (
    NonNegativeInt,
    Options,
    PositiveFloat,
    PositiveInt,
    PythonOnly,
    Rule,
    Share,
    Typed,
    without_brackets,
)

if TYPE_CHECKING:
    from earthtone.atlas.marks import Marks

    AnyMarks: TypeAlias = Marks | str | Path | None
else:  # asked by the name of their class: to import it would bring scikit-learn
    AnyMarks = (
        Annotated[
            Any,
            Rule(
                "a file's name, or Marks",
                lambda value: isinstance(value, (str, Path)) or "Marks" in [k.__name__ for k in type(value).__mro__],
            ),
        ]
        | None
    )

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
class EmbedOptions(DeviceOptions, ColumnOptions, BandOptions):
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
    """image, audio or both; default: what is there"""
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
    engine: Literal["local", "ray"] = "local"
    """local: in this process; ray: each part by a worker of a Ray cluster"""
    parts: PositiveInt | None = None
    """with --engine ray: into how many parts; default: as the folder has begun, else one a processor of the cluster"""
    commit_rows: PythonOnly[PositiveInt] = 16_384
    """at most so many rows wait to be written, and are lost when the process is killed ..."""
    commit_seconds: PythonOnly[PositiveFloat] = 60.0
    """... or the rows of so many seconds"""

    def check(self) -> None:
        if self.parts is not None and self.engine != "ray":
            raise ConfigError("--parts has no effect without --engine ray; leave it out, or type --shard PART/PARTS")
        if self.shard is not None and self.engine == "ray":
            raise ConfigError("--engine ray embeds all parts; leave --shard out, or leave --engine out for one part")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in without_brackets(text).split(",") if name.strip())


@dataclass(frozen=True)
class IndexOptions(Options):
    """Merge the shards of a folder of embeddings, add and remove rows, place them on a plane, make search fast."""

    positional: ClassVar[tuple[str, ...]] = ("folder",)

    folder: str | Path
    """folder that `earthtone embed` wrote"""
    _: KW_ONLY
    add: Annotated[Sequence[str | Path], Typed(_listed)] | Path = ()
    """further folders of embeddings of the same model, whose rows are added: E2,E3"""
    remove: Annotated[Sequence[str | Path], Typed(_listed)] | Path = ()
    """ids whose rows go, separated by commas, or a text file with an id a line"""
    plane: Literal["pca", "umap"] | None = None
    """how x and y are found: pca (principal components), or umap (extra umap); default: as before, else pca"""
    clusters: Annotated[int, Rule("0 to 200", lambda count: 0 <= count <= 200)] | None = None
    """rows are dealt to so many clusters by k-means (column cluster, a colour of the page), 0: none; default: as
    before, else 12"""
    parquet: bool = False
    """also write embeddings.parquet (GeoParquet) and STAC beside it; once there they are renewed with the index"""
    approximate: bool = False
    """also make an approximate index, for many millions of rows, and print its recall; once there it is renewed"""
    keep_shards: bool = False
    """leave shards where they are once they are merged"""
    seed: NonNegativeInt | None = None
    """of umap, of clusters, and of which rows both are laid by where there are more than 50,000; default: as before,
    else 0"""


# Search.


@dataclass(frozen=True)
class OpenIndexOptions(Options):
    """Open a folder of embeddings for searching."""

    positional = ("index",)

    index: str | Path
    """folder that `earthtone embed` wrote"""
    _: KW_ONLY
    model: AnyModel | None = None
    """where the index's model lies; default: where it lay. Needed for files alone"""
    device: str = "auto"
    """cpu, cuda, mps, or auto: the best that is there"""


@dataclass(frozen=True)
class FilterOptions(Options):
    """Which rows of an index are looked at; all that are given must hold."""

    _: KW_ONLY
    box: tuple[float, float, float, float] | None = None
    """west,south,east,north in degrees; west more than east: across the antimeridian"""
    polygon: str | Path | None = None
    """GeoJSON or WKT file, or WKT itself, in degrees"""
    hours_utc: str | None = None
    """hours of the day in UTC: 4-9, 22-4"""
    hours_solar: str | None = None
    """hours of the day by the sun, 12 is its highest: 4-9"""
    months: str | None = None
    """such as 4-6, apr-jun, 11-2"""
    season: str | None = None
    """spring, summer, autumn or winter, of the hemisphere that a row lies in"""
    dates: str | None = None
    """a date or a range: 2020, 2020-03..2021-06-15, 2020-05-01.."""
    source: Sequence[str] = ()
    """rows of this source; * stands for any letters. May be given several times: any of them"""
    license: Sequence[str] = ()
    """rows under this licence, such as CC0-1.0 or 'CC-BY-4*'. May be given several times: any of them"""
    where: Sequence[str] = ()
    """a comparison of any column: label=forest|meadow, quality>=3. May be given several times: all of them"""

    def filters(self) -> dict[str, str | Sequence[str] | None]:
        """Return the filters by their names, as `atlas.filters.filters_of` takes them."""
        box = None if self.box is None else ",".join(f"{degrees:.12g}" for degrees in self.box)
        polygon = None if self.polygon is None else str(self.polygon)
        return {
            "box": box, "polygon": polygon, "hours_utc": self.hours_utc, "hours_solar": self.hours_solar,
            "months": self.months, "season": self.season, "dates": self.dates, "source": self.source,
            "license": self.license, "where": self.where,
        }  # fmt: skip


@dataclass(frozen=True)
class QueryOptions(FilterOptions):
    """What to search an index for."""

    _: KW_ONLY
    k: PositiveInt = 10
    """so many hits"""
    find: Literal["image", "audio", "all"] | None = None
    """image, audio or all; default: sounds by an image, a place or the id of one, images by a sound"""
    windows: Literal["best", "all"] = "best"
    """best: of a recording its best window; all: every window is a hit of its own"""
    gsd_m: PositiveFloat | None = None
    """metres a pixel of images that are queries; needed where the model sees a fixed footprint"""
    marks: AnyMarks = None
    """a file of marks (id,query,verdict,time,who): ranks by a classifier that is trained on them"""
    marks_query: str | None = None
    """which marks, by their column query; needed where the file has several"""
    borderline: bool = False
    """show the unmarked rows nearest to the target score instead of the best ones"""
    target_score: float | None = None
    """score of borderline hits; default with marks: a probability of 0.5"""
    approximate: bool = False
    """look only at rows near the query, which may miss some of the best; needs `earthtone index --approximate`"""

    def check(self) -> None:
        if self.approximate and (self.borderline or self.marks is not None):
            raise ConfigError("--approximate has no effect with --marks or --borderline, which look at all rows")
        if self.target_score is not None and not self.borderline:
            raise ConfigError("--target_score has no effect without --borderline; leave it out, or type both")
        if self.marks_query is not None and self.marks is None:
            raise ConfigError("--marks_query has no effect without --marks; leave it out, or type both")


@dataclass(frozen=True)
class SearchOptions(QueryOptions, OpenIndexOptions):
    """Find what is most like a sound, an image, a place, an id or a vector, in a folder of embeddings."""

    usual = ("like", "unlike", "k", "find", "box", "polygon", "license", "marks", "out", "json")
    stray = "like"

    _: KW_ONLY
    like: Sequence[str] = ()
    """a sound, an image, LON,LAT (the tile there), near:LON,LAT (the nearest row), an id, or vectors (.npy). May be
    given several times"""
    unlike: Sequence[str] = ()
    """what hits should not be like. May be given several times"""
    out: str | Path | None = None
    """file to write, by its suffix: .json, .csv, .geojson, .txt (Raven selection table), or a folder for the media"""


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
    region: str | Path | None = None
    """of --raster: west,south,east,north in degrees, a polygon as WKT, or a file of one; by default all of it"""
    bands: (
        Annotated[tuple[int, int, int], Rule("three band numbers from 1 on", lambda bands: min(bands) > 0)] | None
    ) = None
    """of --raster: which bands, from 1, are red, green and blue; by default as the model's, or as the file says"""
    value_range: PixelRange | None = None
    """of --raster: values of more than 8 bits that become black and white, or a name such as sentinel2; by default
    the model's, or its 2nd and 98th percentile"""
    views: Annotated[int, Rule("1 to 4", lambda views: 1 <= views <= 4)] = 4
    """of --raster: so many views of each tile are embedded (as it is, mirrored, turned, its middle), 1 to 4; their
    spread is a band, and each costs as much as the first"""
    nodata: float | None = None
    """of --raster: the value that is no data, where it names none"""
    nodata_share: Share = 0.1
    """of --raster: leave out tiles of which a larger share is no data"""
    attribution: str | None = None
    """of --raster: whose imagery it is, for all files"""
    license: str | None = None
    """of --raster: under which licence it is, for all files"""

    def check(self) -> None:
        of_raster = (
            "metres", "stride", "region", "bands", "value_range", "views", "nodata", "nodata_share", "attribution",
            "license",
        )  # fmt: skip
        if (self.tiles is None) == (self.raster is None):
            found = "neither is given" if self.tiles is None else "both are given"
            raise ConfigError(f"--tiles EMBEDDINGS or --raster FILE expected; {found}")
        if self.raster is not None and self.model is None:
            raise ConfigError("--raster needs --model, which embeds its tiles")
        if self.raster is None and (idle := self.changed(*of_raster)):
            raise ConfigError(f"{idle[0]} has no effect on --tiles, which are embedded already; leave it out")

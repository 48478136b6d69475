"""What can be said to the verbs that make and describe data sets: one dataclass a verb, as in `earthtone.options`."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from earthtone.build.recordings.facts import zone_of
from earthtone.errors import ConfigError, did_you_mean
from earthtone.options import AnyModel, AnyRetryPolicy, ColumnOptions, Names, Need, PixelRange, refuse_folder
from earthtone.signal.config import named_range
from earthtone.value_types import (
    NonNegativeFloat,
    NonNegativeInt,
    Options,
    PositiveFloat,
    PositiveInt,
    PythonOnly,
    Rule,
    Share,
)

#: What may be allowed beside what is always admitted, as `--allow` has it.
ALLOWED = ("nc", "nd")
#: What an author says of generative models, in Freesound's words.
AI_PREFERENCES = ("no-additional-preferences", "open-source-models", "noncommercial-open-source-models", "no-gen-ai")
SplitKind = Literal["random", "key-digit", "cells", "degree", "h3", "author", "recorder", "time", "region"]
Shares = Annotated[
    tuple[float, float, float],
    Rule(
        "three shares from 0 to 1 that sum to 1, such as 0.7,0.1,0.2",
        lambda shares: all(0 <= share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-6,
    ),
]
Kilometres = Annotated[float, Rule("kilometres, from 0 to 5000", lambda km: 0 <= km <= 5000)]


def _silent(line: str) -> None:
    pass


#: Options of tiles that say what there is imagery from; one of them is given.
IMAGERY = ("raster", "template", "wms", "stac")
#: Options that one kind of split alone has.
OF_KIND = {"cell_km": ("cells", "region"), "resolution": ("h3",), "region": ("region",),
           "val_from": ("time",), "test_from": ("time",), "column": ("author", "recorder")}  # fmt: skip
#: What a kind of split does not take.
_UNSHARED = ("key-digit",)


@dataclass(frozen=True)
class TilesOptions(ColumnOptions):
    """Cut imagery into square tiles of so many metres, with a manifest. A stopped call goes on when it is repeated."""

    usual = ("raster", "template", "wms", "stac", "region", "places", "metres", "pixels", "stride", "model")

    out: str | Path
    """folder to write: manifest.csv and images/"""
    _: KW_ONLY
    raster: str | Path | None = None
    """imagery: a GeoTIFF, COG or VRT, or a folder of them"""
    template: str | None = None
    """imagery: a tile server's address, with {z}, {x} and {y}, or {TileMatrix}, {TileCol} and {TileRow}"""
    wms: str | None = None
    """imagery: the address of a Web Map Service (WMS 1.3.0 or 1.1.1)"""
    stac: str | None = None
    """imagery: the address of a STAC API"""
    region: str | Path | None = None
    """where: west,south,east,north in degrees, a polygon as WKT, or a file of one (GeoJSON, WKT); default: all of
    --raster"""
    places: str | Path | None = None
    """where: a table with id, longitude, latitude; a tile about each"""
    metres: PositiveFloat | None = None
    """side of a tile on the ground; default: what --model was trained on, else --pixels of the raster's own"""
    pixels: Annotated[int, Rule("16 to 8192", lambda pixels: 16 <= pixels <= 8192)] | None = None
    """side of a tile; default: what --model was trained on, else 256"""
    stride: PositiveFloat | None = None
    """metres from one tile to the next; default: --metres"""
    model: AnyModel | None = None
    """take metres, pixels, bands and value range from this model"""
    bands: (
        Annotated[tuple[int, int, int], Rule("three band numbers from 1 on", lambda bands: min(bands) > 0)] | None
    ) = None
    """bands of the imagery as red, green, blue: 4,3,2"""
    value_range: PixelRange | None = None
    """values of more than 8 bits that become 0 and 255: 0,3000, three of these, or a name such as sentinel2; default:
    2nd and 98th percentile of the whole raster"""
    nodata: float | None = None
    """the value that is no data, where the raster names none"""
    nodata_share: Share = 0.1
    """leave out tiles of which a larger share is no data"""
    format: Literal["tif", "png", "jpg"] = "tif"
    """of the tiles: GeoTIFF, PNG or JPEG (without a mask)"""
    parquet: bool = False
    """manifest.parquet in place of manifest.csv"""
    license: str | None = None
    """of the imagery, for the manifest; where a server's terms forbid to store its pictures: what you hold instead"""
    attribution: str | None = None
    """whom to name, for the manifest"""
    max_zoom: NonNegativeInt = 19
    """finest level of --template"""
    matrix_set: str = "WebMercatorQuad"
    """set of tile matrices of --template"""
    keep_repeated: bool = False
    """a picture that --template gives for many addresses is imagery, such as open sea, no placeholder"""
    layers: Names = ()
    """of --wms, the first lowest"""
    collections: Names = ()
    """of --stac: sentinel-2-l2a"""
    asset: str = "visual"
    """of each item of --stac"""
    datetime: str | None = None
    """of the items: 2024-06-01/2024-08-31"""
    max_cloud: Annotated[float, Rule("0 to 100", lambda share: 0 <= share <= 100)] | None = None
    """per cent of cloud that an item may have"""
    within_days: PositiveFloat | None = None
    """with --stac and --places: the scene nearest to each place's own `datetime`, at most so many days away"""
    sign: str | None = None
    """address that gives a token for the assets of --stac; of the Planetary Computer it is known"""
    rate: Annotated[float, Rule("above 0, at most 100", lambda rate: 0 < rate <= 100)] = 4.0
    """requests a second to one host, of all calls together"""
    contact: str | None = None
    """told to hosts beside the program's name: an address of yours"""
    cache: str | Path | None = None
    """folder of the hosts' answers and turns; default: ~/.cache/earthtone"""
    no_store: bool = False
    """keep no answers of hosts on the disk but the tiles themselves"""
    threads: PositiveInt | None = None
    """default: one a core"""
    patience: PythonOnly[AnyRetryPolicy] = None
    """how long to wait for hosts"""

    def check(self) -> None:
        given = [name for name in IMAGERY if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(f"--{name}" for name in given) or "no imagery"
            raise ConfigError(
                f"{said}; one of --raster FILE, --template ADDRESS, --wms ADDRESS and --stac ADDRESS expected"
            )
        if self.region is not None and self.places is not None:
            raise ConfigError("--region and --places both say where; leave one of them out")
        if self.region is None and self.places is None and self.raster is None:
            raise ConfigError(f"--{given[0]} needs a place: type --region or --places")
        if self.value_range is not None:
            named_range(self.value_range, "--value_range")
        of_template = ("max_zoom", "matrix_set", "keep_repeated")
        of_stac = ("collections", "asset", "datetime", "max_cloud", "within_days", "sign")
        of_hosts = ("rate", "contact", "cache", "no_store")
        of_files = ("bands", "value_range", "nodata")
        idle = {
            "raster": (*of_template, "layers", *of_stac, *of_hosts),
            "template": ("layers", *of_stac, *of_files),
            "wms": (*of_template, *of_stac, *of_files),
            "stac": (*of_template, "layers"),
        }[given[0]]  # fmt: skip
        if wrong := self.changed(*idle):
            raise ConfigError(f"{wrong[0]} has no effect with --{given[0]}; leave it out")
        if self.places is not None and (wrong := self.changed("stride")):
            raise ConfigError(f"{wrong[0]} has no effect with --places; leave it out")
        if self.places is None and (wrong := self.changed("columns")):
            raise ConfigError(f"{wrong[0]} has no effect without --places; leave it out")
        if self.stac is not None and not self.collections:
            raise ConfigError("--stac needs --collections, such as sentinel-2-l2a")
        if self.wms is not None and not self.layers:
            raise ConfigError("--wms needs --layers: the names that its capabilities list")
        if self.within_days is not None and self.places is None:
            raise ConfigError("--within_days has no effect without --places, whose datetime it is about; leave it out")


@dataclass(frozen=True)
class RowsOptions(ColumnOptions):
    """Rows whose files need not be there."""

    positional = ("data",)

    data: str | Path
    """manifest (CSV, GeoJSON, Parquet, GeoParquet), release folder, hf://datasets/OWNER/NAME, or a packed table"""
    _: KW_ONLY
    metadata_only: bool = False
    """do not look at files: rows are linked by what the table itself says"""
    need: Need = "both"
    """what a row must have: both (or the one that the data has at all), image, audio or either"""


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
class PublishOptions(ColumnOptions):
    """Write a data set as a folder to upload: Parquet with pictures and sounds, places, licences, credits, data card.
    A stopped call goes on when it is repeated."""

    positional = ("data",)
    usual = ("out", "title", "license", "attribution", "coarsen_km")

    data: str | Path
    """manifest (CSV, GeoJSON, Parquet, GeoParquet), release folder or hf://datasets/OWNER/NAME"""
    out: str | Path
    """folder to write: data/*.parquet, metadata.geoparquet, README.md, croissant.json, credits.txt, describe.html"""
    _: KW_ONLY
    title: str | None = None
    """the data set's name; default: that of its file"""
    url: str | None = None
    """address at which it will be published, for the data card"""
    license: str | None = None
    """of rows that tell none; rows whose licence is unknown are left out"""
    attribution: str | None = None
    """of rows that tell none"""
    coarsen_km: Annotated[float, Rule("kilometres, from 0.1 to 1000", lambda km: 0.1 <= km <= 1000)] | None = None
    """tell places as the middle of cells of so many km; pictures and sounds are then written anew, without headers"""
    outside: bool = False
    """take also files outside the folder of the table, such as those of a curation; of a stranger's table never"""
    shard_mb: Annotated[int, Rule("1 to 2000", lambda size: 1 <= size <= 2000)] = 500
    """megabytes of media in a file at most"""

    def check(self) -> None:
        if self.license is not None:
            from earthtone.build.licences import licence_of

            if not licence_of(self.license).known:
                raise ConfigError(f"--license {self.license!r:.80}; a licence such as CC-BY-4.0 or CC0-1.0 expected")


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


#: The rules of `earthtone curate`, in the order in which they are told, with what each drops.
RULES: Mapping[str, str] = {
    "row": "cells or files that are missing, an id that is there twice",
    "unreadable": "a file that cannot be decoded",
    "short": "less sound than min_seconds",
    "constant": "sound or picture without any change",
    "silent": "a level below min_level_db",
    "clipped": "a larger share of samples at full scale than max_clipped",
    "offset": "a mean of the samples farther from 0 than max_offset",
    "cancel": "nothing: channels that cancel are noted, and the loudest one is the way out",
    "wind": "a larger share of power below 100 Hz than max_wind",
    "speech": "a larger share of speech than max_speech; asked for by --speech",
    "tags": "one of drop_tags at max_tag or more, by --tagger",
    "licence": "a licence that does not admit it: unknown, all rights reserved, non-commercial, no derivatives",
    "ai": "an author's preference on generative models that is one of refuse_ai",
    "null-island": "the place (0, 0)",
    "uncertain": "a place that is known worse than half of tile_m",
    "sea": "a place in the sea of a row that names a country, or of all with --on_land",
    "country": "a place in another country than the row names",
    "same-audio": "samples or a fingerprint as those of a row before it",
    "same-image": "a picture as that of a row before it",
}
_KEPT_ON = ("row", "unreadable")  # what cannot be read cannot stay
Told = Literal["off", "note", "drop"]


@dataclass(frozen=True)
class CurateOptions(ColumnOptions):
    """Keep the rows that are worth training on: each file measured once, each rule with a threshold, or off."""

    positional = ("data",)
    usual = ("out", "allow", "any_licence", "tile_m", "off", "speech", "columns")

    data: str | Path
    """manifest (CSV, GeoJSON, Parquet, GeoParquet) of recordings, images or both, table of `recordings`, or release"""
    out: str | Path
    """folder to write: curated.parquet, dropped.parquet, curation.json, curation.html; with what was measured"""
    _: KW_ONLY
    off: Names = ()
    """rules that do not count, such as wind,sea"""
    min_seconds: NonNegativeFloat = 1.0
    """short: seconds of sound that a row has at least"""
    min_level_db: Annotated[float, Rule("dBFS, from -200 to 0", lambda level: -200 <= level <= 0)] = -80.0
    """silent: level (dBFS, root mean square) of the channels mixed"""
    max_clipped: Share = 0.01
    """clipped: share of a channel's samples at full scale"""
    max_offset: Share = 0.1
    """offset: mean of a channel's samples, full scale being 1"""
    wind: Literal["note", "drop"] = "note"
    """wind: what is done; other rumble is told apart from wind by listening alone"""
    max_wind: Share = 0.95
    """wind: share of the power from 5 Hz on that lies below 100 Hz"""
    max_distance: Share = 0.25
    """same-audio: share of the bits in which two fingerprints differ; 0 for the same samples alone"""
    max_bits: Annotated[int, Rule("0 to 100", lambda bits: 0 <= bits <= 100)] = 32
    """same-image: bits of 256 in which the hashes of two pictures differ"""
    same_images: Literal["alone", "always"] = "alone"
    """same-image: alone: only rows without a sound; several recordings may lie in one tile"""
    speech: Told = "off"
    """share of speech by silero-vad: not asked, noted, or dropped above max_speech"""
    max_speech: Share = 0.05
    """speech: share of the time with speech"""
    tagger: str | None = None
    """plug-in that tells tags of sounds, such as music or indoor (docs/plugins.md)"""
    drop_tags: Names = ()
    """tags: those that a row must not have"""
    max_tag: Share = 0.5
    """tags: how sure the tagger must be"""
    any_licence: bool = False
    """licence: take rows whatever they say, such as your own recordings"""
    allow: Names = ()
    """licence: admit non-commercial and no-derivatives rows too: nc, nd or nc,nd"""
    refuse_ai: Names = ()
    """ai: preferences that are dropped, such as no-gen-ai"""
    tile_m: PositiveFloat | None = None
    """uncertain: metres along the tiles that are paired with the sounds"""
    uncertainty_known: bool = False
    """uncertain: drop rows, too, that do not tell how well their place is known"""
    sea: Literal["note", "drop"] = "note"
    """sea: what is done; the outlines lack many small islands"""
    on_land: bool = False
    """sea: all rows are on land, also those that name no country"""
    border_km: Annotated[float, Rule("kilometres, from 5 to 500", lambda km: 5 <= km <= 500)] = 25.0
    """sea, country: how far off a place must be; outlines are coarse"""
    coarsen_km: Annotated[float, Rule("kilometres, from 0.1 to 1000", lambda km: 0.1 <= km <= 1000)] | None = None
    """for publication: write places as the middle of cells of this size, and no other columns of places"""
    threads: PositiveInt | None = None
    """files measured side by side; default: one a core"""

    def check(self) -> None:
        for name in self.off:
            if name not in RULES:
                raise ConfigError(f"--off {name}; {did_you_mean(name, RULES)}of {', '.join(RULES)} expected")
            if name in _KEPT_ON:
                raise ConfigError(f"--off {name}: what cannot be read cannot stay; leave it out")
        for word in self.allow:
            if word not in ALLOWED:
                raise ConfigError(f"--allow {word}; {did_you_mean(word, ALLOWED)}nc, nd or both expected")
        for word in self.refuse_ai:
            if word not in AI_PREFERENCES:
                known = ", ".join(AI_PREFERENCES)
                raise ConfigError(f"--refuse_ai {word}; {did_you_mean(word, AI_PREFERENCES)}of {known} expected")
        if self.drop_tags and self.tagger is None:
            raise ConfigError("--drop_tags has no effect without --tagger; name a plug-in (earthtone plugins)")
        for option, needed, there in (
            ("allow", "without --any_licence", not self.any_licence),
            ("uncertainty_known", "with --tile_m", self.tile_m is not None),
            ("max_speech", "with --speech", self.speech != "off"),
            ("max_tag", "with --tagger", self.tagger is not None),
        ):
            if not there and (given := self.changed(option)):
                raise ConfigError(f"{given[0]} has an effect only {needed}")

    def counts(self, rule: str) -> bool:
        """Return whether a rule counts."""
        asked = {
            "speech": self.speech != "off", "tags": self.tagger is not None, "licence": not self.any_licence,
            "ai": bool(self.refuse_ai), "uncertain": self.tile_m is not None,
        }  # fmt: skip
        return rule not in self.off and asked.get(rule, True)


@dataclass(frozen=True)
class ExplainOptions(Options):
    """Say for one row of a curation every rule, its value, its threshold and the verdict."""

    positional = ("out", "id")

    out: str | Path
    """folder that `earthtone curate` wrote"""
    id: str
    """of the row"""


@dataclass(frozen=True)
class BuildOptions(Options):
    """Make a data set by a recipe: recordings, imagery about each, curation, split, packed table, data card, each step
    once. A stopped call goes on when it is repeated; one with new recordings adds them."""

    positional = ("recipe",)

    recipe: str | Path
    """a YAML file: docs/building.md"""
    out: str | Path
    """folder to write"""
    _: KW_ONLY
    dry_run: bool = False
    """say what would be fetched, from whom and under which licences; fetch and write nothing"""
    contact: str | None = None
    """told to hosts beside the program's name: an address of yours"""
    cache: str | Path | None = None
    """folder of the hosts' answers and turns; default: ~/.cache/earthtone"""
    say: PythonOnly[Callable[[str], None]] = _silent
    """called with a line before each step"""
    patience: PythonOnly[AnyRetryPolicy] = None
    """how long to wait for hosts"""


def _day(option: str, text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d")
    except ValueError as error:
        raise ConfigError(f"--{option} {text!r:.40}; a day such as 2024-01-31 expected") from error

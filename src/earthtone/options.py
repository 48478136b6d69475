"""What can be said to every verb: one dataclass a verb, for the Python function, the command line and both their helps.

A field is an option: its type, range, default, and the text below it. Nothing heavy is imported here, so that wrong
options are refused before anything is loaded. Longer than other files, since it is a list: to be looked up, not read.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from earthtone.errors import ConfigError, did_you_mean
from earthtone.signal.config import SignalConfig, ValueRange, named_range
from earthtone.value_types import (
    AT_LEAST_ONE,
    ONCE,
    Former,
    NonNegativeInt,
    Options,
    PositiveFloat,
    PositiveInt,
    PythonOnly,
    Removed,
    Renamed,
    Rule,
    Seeds,
    Shots,
    Typed,
    without_brackets,
)

if TYPE_CHECKING:
    import numpy as np
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger
    from numpy.typing import NDArray

    from earthtone.build.web import RetryPolicy
    from earthtone.data.labelled.items import MaskedSet
    from earthtone.data.packed import Table
    from earthtone.evaluate.label_match import LabelMatch
    from earthtone.evaluate.protocols import RetrievalResult
    from earthtone.models.two_tower import TwoTower
    from earthtone.studies.sweep_grid import Grid
    from earthtone.train.recipe import Recipe

    AnyModel: TypeAlias = TwoTower | str | Path
    AnyRecipe: TypeAlias = Recipe | str
    AnyGrid: TypeAlias = Grid | str | Path | None
    AnyMatch: TypeAlias = LabelMatch | str | None
    AnyMasks: TypeAlias = MaskedSet | str | Path
    AnyRetryPolicy: TypeAlias = RetryPolicy | None
    AnyCallbacks: TypeAlias = Sequence[Callback]
    AnyLogger: TypeAlias = Logger
    AfterRetrieval: TypeAlias = Callable[[Table, NDArray[np.int64], RetrievalResult], None] | None
else:  # asked by the name of their class: to import it would bring PyTorch

    def _named(kind: str, expected: str) -> Any:
        known = (str, Path) if "name" in expected else ()
        return Annotated[
            Any,
            Rule(expected, lambda value: isinstance(value, known) or kind in [k.__name__ for k in type(value).__mro__]),
        ]

    AnyModel = _named("TwoTower", "a model, or its name")
    AnyRecipe = _named("Recipe", "a recipe, or its name")
    AnyGrid = _named("Grid", "a grid, or its file's name") | None
    AnyMatch = _named("LabelMatch", "a match, or its name: IMAGE_COLUMN=AUDIO_COLUMN:MAP.json") | None
    AnyMasks = _named("MaskedSet", "an open set, or its folder's name")
    AnyRetryPolicy = _named("RetryPolicy", "a RetryPolicy") | None
    AnyCallbacks = Sequence[_named("Callback", "a callback of lightning.pytorch")]
    AnyLogger = _named("Logger", "a logger of lightning.pytorch")
    AfterRetrieval = Callable[..., None] | None


def columns_mapping(text: str) -> dict[str, str]:
    """Return `image=file,id=key` as a mapping; `datetime=` maps it to nothing. Raises ConfigError."""
    parts = [part.split("=", 1) for part in text.split(",")]
    if any(len(part) != 2 or not part[0].strip() for part in parts):
        raise ConfigError(f"{text}; OURS=THEIRS,OURS=THEIRS expected, such as image=file,id=key")
    return {ours.strip(): theirs.strip() for ours, theirs in parts}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in without_brackets(text).split(",") if name.strip())


def _value_range(text: str) -> ValueRange:
    """Return `0,3000` as (0, 3000), `0,3000,0,2500,0,2000` as three ranges, a name as it is."""
    try:
        found = [float(part) for part in text.translate(str.maketrans("", "", "[]() ")).split(",")]
    except ValueError:
        return text
    return tuple(zip(found[::2], found[1::2], strict=False)) if len(found) == 6 else tuple(found)  # type: ignore[return-value]


def refuse_folder(option: str, path: str | Path | None) -> None:
    """Raise ConfigError, before the long part, where a file is to be written to what is a folder."""
    if path is not None and (Path(path).is_dir() or not Path(path).name):
        raise ConfigError(f"--{option} {path} is a folder; the name of a file expected")


#: How often every bootstrap draws where nothing else is said.
RESAMPLES = 1000

Columns = Annotated[Mapping[str, str], Typed(columns_mapping)]
Names = Annotated[Sequence[str], Typed(_names)]
PixelRange = Annotated[ValueRange, Typed(_value_range)]
Precision = Literal["auto", "bf16", "32"]
SplitName = Literal["train", "val", "test", "all"]
#: Which media a row must have: `either` is one at least. What it need not have is taken where it is there.
Need = Literal["both", "image", "audio", "either"]


# Making, bringing, looking at and packing data.


@dataclass(frozen=True)
class ToyworldOptions(Options):
    """Write a synthetic world: a manifest, image tiles, sounds. Never real data."""

    out: str | Path
    """folder to write"""
    _: KW_ONLY
    rows: PositiveInt = 1000
    """places"""
    seed: NonNegativeInt = 0
    """the same seed gives the same bytes everywhere"""
    pixels: PositiveInt = 128
    """side of a tile"""
    size_m: PositiveFloat = 256.0
    """ground width of a tile in metres"""
    seconds: PositiveFloat = 10.0
    """length of a recording"""
    hz: PositiveInt = 32_000
    """sample rate"""
    masks: bool = False
    """also write land-cover masks"""
    geotiff: bool = False
    """tiles as GeoTIFF instead of PNG"""
    start: PythonOnly[NonNegativeInt] = 0
    """number of the first place"""
    workers: PythonOnly[PositiveInt | None] = None
    """processes; default: one a core"""
    progress: PythonOnly[Callable[[int, int], None] | None] = None
    """called with (places done, places in all)"""


@dataclass(frozen=True)
class FetchOptions(Options):
    """Bring a public data set to a folder; without a name: the catalogue."""

    positional = ("name",)

    name: str | None = None
    """data set; --list shows all"""
    out: str | Path | None = None
    """folder to write; default: data/NAME"""
    _: KW_ONLY
    subset: str | None = None
    """parts, and how many Parquet files: images,2"""
    catalogue: str | Path | None = None
    """another catalogue, such as a mirror's"""
    downloaded: str | Path | None = None
    """folder with files downloaded by hand"""
    retries: NonNegativeInt = 8
    """faults in a row, without a new byte, after which it gives up"""
    timeout_seconds: PositiveFloat = 60.0
    """how long a server may be silent"""
    patience: PythonOnly[AnyRetryPolicy] = None
    """all waits, instead of these two"""


@dataclass(frozen=True)
class SplitOptions(Options):
    """How rows are split."""

    _: KW_ONLY
    split_by: str | None = None
    """how the rows are split: manifest (the default: its own splits), blocks, buffered-blocks, key-digit, geoclap or
    psm-cells; or what `earthtone split` wrote, by its path"""
    buffer_km: float | None = None
    """with buffered-blocks: leave out pairs this near to a block of another split; default 1"""
    exclude: str | Path | None = None
    """CSV of rows that are to be in no split, such as a benchmark's: id, image_hash or other columns of the data"""


@dataclass(frozen=True)
class ColumnOptions(Options):
    """What the columns of a manifest are called."""

    _: KW_ONLY
    columns: Columns | None = None
    """other names of columns: image=file,id=key; datetime= leaves it unread"""


@dataclass(frozen=True)
class PairsOptions(ColumnOptions, SplitOptions):
    """Where pairs are, and how they are split."""

    positional = ("data",)

    data: str | Path
    """manifest (CSV, GeoJSON, Parquet, GeoParquet), release folder, hf://datasets/OWNER/NAME, or a packed table"""


@dataclass(frozen=True)
class CheckOptions(PairsOptions):
    """Look at a manifest or a release folder; exit 1 when nothing in it is usable. Of a packed table: is it all as it
    was packed; exit 1 when it is not."""

    former: ClassVar[Former] = {
        "source_path": Renamed("data", "0.3.0"),
        "decode": Renamed("headers_only", "0.3.0", lambda decode: not decode),
    }

    _: KW_ONLY
    headers_only: bool = False
    """do not decode the files: faster, finds less"""
    bands: tuple[int, int, int] | None = None
    """bands of GeoTIFFs as red, green, blue: 4,3,2"""
    sample: PositiveInt | None = None
    """look into this many rows only"""
    signal: PythonOnly[SignalConfig | None] = None
    """how files are read; refused where `pack` refuses it"""
    need: Need | Sequence[str] = "both"
    """what a row must have: both, image, audio or either; the other one is looked at where it is there"""
    prefer: PythonOnly[str] = "auto"
    """which recordings of a release are looked at"""
    workers: PythonOnly[PositiveInt | None] = None
    """threads; default: one a core"""
    progress: PythonOnly[Callable[[int, int], None] | None] = None
    """called with (rows done, rows in all)"""

    def check(self) -> None:
        if self.headers_only and self.bands:
            raise ConfigError("--bands has no effect with --headers_only; leave one of them out")


@dataclass(frozen=True)
class PackOptions(PairsOptions):
    """Decode pairs into a packed table. A stopped call goes on when it is repeated."""

    usual = (
        "columns", "split_by", "need", "recipe", "model", "threads", "signal.image.pixels",
        "signal.image.stored_pixels", "signal.audio.sample_rate_hz",
    )  # fmt: skip

    out: str | Path
    """the table, such as pairs.lance"""
    _: KW_ONLY
    need: Need = "both"
    """what a row must have: both, image, audio or either; the other one is taken where it is there"""
    threads: PositiveInt | None = None
    """default: one a core"""
    signal: PythonOnly[SignalConfig | None] = None
    """how sounds and images are stored; default: SignalConfig()"""
    preview_seconds: PythonOnly[float] = 10.0
    """length of the sound that is kept to be listened to"""


@dataclass(frozen=True)
class ConvertOptions(Options):
    """Write a checkpoint of the SoundingEarth release as a model that every verb takes."""

    positional = ("checkpoint", "out")

    checkpoint: str | Path
    """the release's .pt file; with --backbone_only also a run"""
    out: str | Path
    """folder to write; must not hold anything yet"""
    _: KW_ONLY
    unit: bool = False
    """trained by a contrastive loss: compare by cosine"""
    backbone_only: bool = False
    """the image encoder alone, for open_backbone"""

    def check(self) -> None:
        if self.backbone_only and self.unit:
            raise ConfigError("--unit has no effect on a backbone, which has no embeddings; leave one of them out")


# Training.


def _silent(line: str) -> None:
    pass


@dataclass(frozen=True)
class DemoOptions(Options):
    """Toy world, pack, pretrain, retrieval, linear probe, report."""

    out: str | Path = "demo"
    """folder to write"""
    _: KW_ONLY
    rows: Annotated[
        int, Rule("200 or more, so that every split has some of each land cover", lambda rows: rows >= 200)
    ] = 1500
    """places of the toy world"""
    epochs: PositiveInt | None = None
    """default: the recipe's"""
    seed: NonNegativeInt = 0
    """of world and training"""
    say: PythonOnly[Callable[[str], None]] = _silent
    """called with a line before each step"""


@dataclass(frozen=True)
class PretrainOptions(PairsOptions):
    """Train two encoders on pairs. Options below 'recipe' change single values of it."""

    usual = (
        "recipe", "resume", "train.epochs", "train.batch_size", "train.learning_rate", "train.device",
        "model.image_encoder", "loss.name",
    )  # fmt: skip

    out: str | Path
    """folder of the run"""
    _: KW_ONLY
    recipe: AnyRecipe = "default"
    """a shipped recipe's name, or a .yaml file"""
    only: Literal["image", "audio"] | None = None
    """train one tower alone, on the rows that have its medium, between views of one picture or recording: sets
    model.only, and where they lack within.name simclr and train.views 2"""
    resume: bool = False
    """go on with the stopped run in --out"""
    report: PythonOnly[bool] = True
    """write report.html at the end"""
    callbacks: PythonOnly[AnyCallbacks] = ()
    """Lightning's callbacks, run after earthtone's own, in every process"""
    logger: PythonOnly[AnyLogger | Sequence[AnyLogger] | None] = None
    """Lightning's loggers, beside the recipe's; log.jsonl and TensorBoard are written anyway"""


@dataclass(frozen=True)
class SweepOptions(PairsOptions):
    """Train every combination of a grid with every seed, and compare them on val. Repeat the call to go on."""

    usual = ("recipe", "set", "grid", "seeds", "jobs", "match", "probe", "split_by")
    former: ClassVar[Former] = {
        "measure": Removed("give its options one by one: match=, probe=, probe_label=, probe_columns=")
    }

    out: str | Path
    """folder of the runs and of sweep.html, .csv, .md"""
    _: KW_ONLY
    recipe: AnyRecipe = "default"
    """what all runs begin with; its name, or a .yaml"""
    set: Sequence[str] = ()
    """an axis: loss.name=infonce,siglip; several times: a grid"""
    grid: AnyGrid = None
    """.yaml with grid, variants, seeds; instead of --set"""
    seeds: Seeds | None = None
    """a run each: 0,1,2; default 0"""
    jobs: PositiveInt = 1
    """runs at a time; they share threads and GPUs"""
    match: str | None = None
    """also hits by label: scene=sound:concepts.json"""
    probe: str | None = None
    """also a linear probe: a labelled set with val"""
    probe_label: str | None = None
    """label column of --probe's manifest"""
    probe_columns: Columns | None = None
    """other names of its columns"""
    say: PythonOnly[Callable[[str], None]] = logging.getLogger("earthtone").info
    """called with a line at each step"""

    def check(self) -> None:
        if self.grid is None and not self.set and self.seeds is None:
            raise ConfigError("nothing to vary; type --set loss.name=infonce,siglip, --grid FILE.yaml or --seeds 0,1,2")
        if self.set and self.grid is not None:
            raise ConfigError("--set and --grid both say what is varied; put it all into the file, or all into --set")


# Evaluation.

#: What each task of `evaluate` measures.
TASKS: Mapping[str, str] = {
    "retrieval": "how well images find their recordings and the other way round",
    "probe": "how well simple classifiers read a label off frozen image features",
    "finetune": "how well a whole network with a linear head learns labelled images",
    "segment": "how well a backbone with a head draws land cover",
    "audiovisual": "how well scenes are told from images, from sounds, and from both",
    "audio": "what the sound tower learned: a label read off frozen sound features, fold by fold",
    "why": "which part of a tile and of a recording speaks for their match, as a page",
    "suite": "models in all these tasks on all sets below a folder, as one table",
}


@dataclass(frozen=True)
class DeviceOptions(Options):
    """Where something is computed."""

    _: KW_ONLY
    device: str = "auto"
    """auto, cpu, cuda or mps"""


@dataclass(frozen=True)
class BootstrapOptions(Options):
    """How intervals are made."""

    _: KW_ONLY
    resamples: PositiveInt = RESAMPLES
    """bootstrap resamples of the intervals"""


@dataclass(frozen=True)
class MeasureOptions(DeviceOptions, BootstrapOptions):
    """On what, in which numbers, and with how many resamples something is measured."""

    _: KW_ONLY
    precision: Precision = "auto"
    """auto, bf16 or 32"""


@dataclass(frozen=True)
class ModelOptions(DeviceOptions, ColumnOptions):
    """A model and data."""

    model: AnyModel
    """a run's folder, a .safetensors file, a SoundingEarth checkpoint, or random:NAME"""
    data: str | Path
    """packed table (or s3://...), manifest, release folder, hf://datasets/OWNER/NAME"""


@dataclass(frozen=True)
class RetrievalOptions(ModelOptions, SplitOptions, BootstrapOptions):
    """How well images find their recordings and recordings their images."""

    usual = ("split", "match", "protocol", "twins", "report", "device", "json", "columns")

    _: KW_ONLY
    split: SplitName = "test"
    """train, val, test or all"""
    match: AnyMatch = None
    """also count hits by label: IMAGE_COLUMN=AUDIO_COLUMN:MAP.json, or COLUMN for equal labels"""
    protocol: Literal["honest", "soundingearth", "geoclap", "psm"] = "honest"
    """how it is counted: honest, or as published by soundingearth, geoclap or psm"""
    twins: Literal["merge", "ignore"] | None = None
    """merge: identical items count as right, the default of the honest protocol; ignore"""
    seed: NonNegativeInt = 0
    """of the bootstrap"""
    report: str | Path | None = None
    """page to write; on the command line by default report-SPLIT.html in the run, report-SPLIT-PROTOCOL.html for
    another protocol"""
    then: PythonOnly[AfterRetrieval] = None
    """called with the open table, the rows and the result"""

    def check(self) -> None:
        refuse_folder("report", self.report)


@dataclass(frozen=True)
class TaskOptions(ModelOptions, MeasureOptions):
    """A model and a labelled set."""

    data: str | Path
    """folder of classes or of a published set, or a manifest"""
    _: KW_ONLY
    dataset: str | None = None
    """a published set's name, such as ucmerced, esc50 or advance"""
    label: str | None = None
    """a manifest's label column"""
    out: str | Path | None = None
    """where the result with all test items is written"""


@dataclass(frozen=True)
class FrozenOptions(TaskOptions):
    """A task on features of a frozen model."""

    _: KW_ONLY
    cache: str | Path | None = None
    """folder that keeps features for other calls"""

    def check(self) -> None:
        refuse_folder("out", self.out)


@dataclass(frozen=True)
class BandOptions(Options):
    """How images of several bands and of more than 8 bits are read."""

    _: KW_ONLY
    bands: tuple[int, int, int] | None = None
    """bands of GeoTIFFs as red, green, blue: 4,3,2"""
    value_range: PixelRange | None = None
    """values of more than 8 bits shown as black and white, 0,3000, three of these, or a name such as sentinel2
    (docs/your-own-data.md); default: each picture's percentiles"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value_range is not None:
            named_range(self.value_range, "--value_range")


@dataclass(frozen=True)
class ImageOptions(BandOptions):
    """How images are read."""

    _: KW_ONLY
    pixels: PositiveInt | None = None
    """side of images as the model sees them; default: its own"""


@dataclass(frozen=True)
class ProbePlan(BootstrapOptions):
    """How features are read."""

    _: KW_ONLY
    method: Annotated[Sequence[Literal["logistic", "knn", "centroid"]], Typed(_names), AT_LEAST_ONE, ONCE] = (
        "logistic",
    )
    """logistic, knn, centroid; several: knn,logistic"""
    shots: Shots = ()
    """also with so few images a class: 1,5,10,20"""
    draws: PositiveInt = 5
    """of few images"""
    seed: NonNegativeInt = 0
    """of draws, folds, bootstrap and random:NAME"""


@dataclass(frozen=True)
class ProbeOptions(FrozenOptions, ImageOptions, ProbePlan):
    """How well simple classifiers read a label off frozen image features."""

    usual = ("dataset", "label", "method", "shots", "stage", "pixels", "cache", "out", "json")
    former: ClassVar[Former] = {
        "probe": Removed("give its options one by one: method=, shots=, draws=, seed=, resamples="),
        "features": Removed("give its options one by one: stage=, cache=, bands=, value_range=, precision="),
    }

    model: AnyModel
    """a run's folder, a .safetensors file, timm:NAME, timm:NAME@FILE, random:NAME, torchgeo:WEIGHTS, ...
    (docs/models.md)"""
    data: str | Path
    """folder of classes or of a published set, manifest, or packed table"""
    _: KW_ONLY
    stage: NonNegativeInt | None = None
    """mean of this stage's map, from 0; default: pooled features"""
    protocol: Literal["probe", "soundingearth"] = "probe"
    """probe; soundingearth: its few-shot protocol"""
    split: Literal["test", "val"] = "test"
    """measured on; val: test is left alone, for choices"""

    def check(self) -> None:
        super().check()
        fixed = self.changed("method", "shots", "draws", "stage", "pixels", "split", "seed")
        if self.protocol == "soundingearth" and fixed:
            raise ConfigError(f"{', '.join(fixed)} has no effect: --protocol soundingearth says it; remove it")


@dataclass(frozen=True)
class FinetuneOptions(TaskOptions, ImageOptions):
    """How well a whole network with a linear head learns labelled images."""

    usual = ("dataset", "label", "epochs", "batch_size", "learning_rate", "seeds", "protocol", "out")

    model: str | Path
    """a run's folder, a .safetensors file, timm:NAME, timm:NAME@FILE, random:NAME, torchgeo:WEIGHTS, ...
    (docs/models.md)"""
    _: KW_ONLY
    protocol: Literal["modern", "soundingearth"] = "modern"
    """modern, or soundingearth: that of the release"""
    epochs: PositiveInt | None = None
    """default: the protocol's"""
    batch_size: PositiveInt | None = None
    """default: the protocol's"""
    learning_rate: PositiveFloat | None = None
    """default: the protocol's"""
    seeds: Seeds = (0,)
    """train once for each: 0,1,2"""
    out: str | Path | None = None
    """folder for result.json and each finished seed: a stopped call goes on"""


@dataclass(frozen=True)
class SegmentOptions(BandOptions, MeasureOptions):
    """Train a segmentation head on a backbone and measure it on test tiles."""

    usual = ("dataset", "head", "frozen", "epochs", "seeds", "protocol", "out", "bands")

    model: str | Path
    """a run, timm:NAME, random:NAME, ... (docs/models.md)"""
    data: AnyMasks
    """folder of images and masks, or a manifest of them"""
    _: KW_ONLY
    dataset: str | None = None
    """its name, such as deepglobe, loveda, potsdam"""
    head: Literal["deeplabv3plus", "linear"] = "deeplabv3plus"
    """deeplabv3plus or linear"""
    frozen: bool = False
    """train the head alone"""
    protocol: Literal["modern", "soundingearth"] = "modern"
    """modern, or soundingearth (the release's)"""
    seeds: Seeds = (0,)
    """one training each: 0,1,2"""
    epochs: PositiveInt | None = None
    """default: the protocol's, as all of these"""
    batch_size: PositiveInt | None = None
    """patches in a step"""
    patch_pixels: PositiveInt | None = None
    """side of a training patch"""
    learning_rate: PositiveFloat | None = None
    """of the head"""
    tile_pixels: PositiveInt | None = None
    """side of a tile in prediction"""
    overlap: Annotated[float, Rule("0 to below 1", lambda share: 0 <= share < 1)] = 0.25
    """share of a tile's side that tiles overlap"""
    out: str | Path | None = None
    """folder for result.json, pictures/ and maps/"""


@dataclass(frozen=True)
class AudioOptions(FrozenOptions):
    """How well a linear classifier reads a label off the frozen sound tower."""

    usual = ("dataset", "label", "features", "cache", "out", "seed", "json")

    _: KW_ONLY
    features: Literal["encoder", "embedding"] = "encoder"
    """encoder, or embedding: after the projection"""
    seed: NonNegativeInt = 0
    """of random:NAME and of cross-validation"""


@dataclass(frozen=True)
class AudiovisualOptions(FrozenOptions):
    """How well scenes are told from images, from sounds, and from both."""

    usual = ("dataset", "label", "protocol", "features", "fusion", "cache", "out", "json")

    _: KW_ONLY
    protocol: Literal["grouped", "soundingearth"] = "grouped"
    """grouped, or soundingearth (the release's)"""
    features: Literal["encoder", "embedding"] | None = None
    """encoder or embedding; default: encoder for grouped, embedding for soundingearth"""
    fusion: bool = False
    """also train both towers and a small head end to end"""
    fusion_epochs: PositiveInt = 10
    """with --fusion"""
    fusion_batch: Annotated[int, Rule("2 or more", lambda number: number >= 2)] = 32
    """with --fusion: pairs in a step"""
    fusion_rate: Annotated[float, Rule("above 0 and below 10", lambda rate: 0 < rate < 10)] = 1e-3
    """with --fusion: learning rate of its head; the towers learn at a tenth of it"""
    seed: NonNegativeInt = 0
    """of random:NAME and of trainings"""

    def check(self) -> None:
        super().check()
        if not self.fusion and (idle := self.changed("fusion_epochs", "fusion_batch", "fusion_rate")):
            raise ConfigError(f"{', '.join(idle)} has no effect without --fusion")
        if self.protocol == "soundingearth" and (self.features == "encoder" or self.fusion):
            raise ConfigError("--protocol soundingearth is about frozen embeddings; leave --features and --fusion out")


@dataclass(frozen=True)
class WhyOptions(ModelOptions):
    """Draw which part of a tile and of a recording speaks for their match."""

    former: ClassVar[Former] = {"name": Removed("leave it out: the model's name is taken from what it is opened by")}

    out: str | Path
    """the page, such as why.html"""
    _: KW_ONLY
    rows: Annotated[int, Rule("1 to 50", lambda rows: 1 <= rows <= 50)] = 8
    """how many pairs, 1 to 50"""
    split: SplitName = "test"
    """train, val, test or all"""
    seed: NonNegativeInt = 0
    """of the draw of pairs"""

    def check(self) -> None:
        if Path(self.out).suffix.lower() not in (".html", ".htm") or Path(self.out).is_dir():
            raise ConfigError(f"--out {self.out}; the name of a page expected, such as why.html")


@dataclass(frozen=True)
class DoctorOptions(ModelOptions, SplitOptions):
    """Is this model healthy? Spread, rank, alignment, modality gap, hubs, each in a sentence; exit 1 when a tower is
    collapsed."""

    usual = ("split", "rows", "out", "device", "json")

    _: KW_ONLY
    split: SplitName = "test"
    """train, val, test or all"""
    rows: Annotated[int, Rule("50 or more", lambda rows: rows >= 50)] = 2000
    """at most so many pairs are looked at"""
    out: str | Path | None = None
    """page to write, with a picture of each figure, such as health.html"""
    seed: NonNegativeInt = 0
    """of the draw of pairs and of random:NAME"""

    def check(self) -> None:
        refuse_folder("out", self.out)


# Studies.


@dataclass(frozen=True)
class SuiteOptions(ImageOptions, MeasureOptions):
    """Models in every task on every set below a folder, as one table."""

    usual = ("tasks", "datasets", "baseline", "seeds", "quick", "pixels", "device")
    former: ClassVar[Former] = {"options": Removed("give its options one by one: seeds=, quick=, epochs=, pixels= ...")}

    models: Sequence[str]
    """as --model of the other tasks, several"""
    data_root: str | Path
    """folder with a folder a data set"""
    out: str | Path
    """folder for suite.html, .csv, .md and results/"""
    _: KW_ONLY
    tasks: Annotated[
        Sequence[Literal["probe", "segment", "audiovisual", "audio", "finetune"]], Typed(_names), ONCE
    ] = ()
    """such as probe,segment; default: all"""
    datasets: Names = ()
    """such as ucmerced,esc50; default: all"""
    baseline: str | None = None
    """whom all are compared with; default: the first model"""
    seeds: Seeds = (0,)
    """a training each, where there is one: 0,1,2"""
    quick: bool = False
    """few epochs, light heads: to see that everything runs, not to publish"""
    epochs: PositiveInt | None = None
    """of all trainings; default: each task's own"""
    say: PythonOnly[Callable[[str], None]] = logging.getLogger("earthtone").info
    """called with a line at each step"""


#: The paper's steps in order.
STEPS: Mapping[str, str] = {
    "pretrain": "pack the release, train the paper's two encoders",
    "retrieval": "images find their recordings, recordings their images",
    "ucmerced": "scene classification, UC Merced, all weights trained on",
    "resisc45": "scene classification, NWPU-RESISC45",
    "aid": "scene classification, AID",
    "aid_few_shot": "AID, five images a class, frozen embeddings, nearest centroid",
    "deepglobe": "land cover, DeepGlobe",
    "advance": "scenes told from image, sound and both, ADVANCE, frozen embeddings",
    "places": "with --places: train and measure on places that lie apart",
    "losses": "retrieval after training with each loss of --losses",
}


@dataclass(frozen=True)
class ReproduceOptions(Options):
    """Run the steps of Heidler et al. (arXiv 2108.00688) and put our figures beside theirs."""

    usual = ("steps", "backbone", "model", "losses", "places", "published_only", "device", "json")
    former: ClassVar[Former] = {"honest": Renamed("published_only", "0.3.0", lambda honest: not honest)}

    data: str | Path
    """what earthtone fetch brings, in soundingearth/, ucmerced/, resisc45/, aid/, deepglobe/, advance/"""
    out: str | Path
    """folder of the table, steps and runs; repeat to go on"""
    _: KW_ONLY
    steps: Names = ()
    """only these, such as retrieval,aid"""
    backbone: Literal["resnet18", "resnet50"] | None = None
    """resnet18 (default) or resnet50"""
    recipe: str | None = None
    """another recipe than the paper's"""
    model: str | None = None
    """a trained or converted model; trains none"""
    imagenet: str | None = None
    """default: timm:resnet18, as the backbone"""
    tile2vec: str | Path | None = None
    """file of Tile2Vec's weights"""
    losses: Names = ()
    """also train with each: TripletLoss,SymmetricCL"""
    places: bool = False
    """also train and measure on places that lie apart"""
    published_only: bool = False
    """leave the honest protocols out"""
    epochs: PositiveInt | None = None
    """of pre-training; default: the recipe's"""
    finetune_epochs: PositiveInt | None = None
    """default: the protocol's"""
    segment_epochs: PositiveInt | None = None
    """default: the protocol's"""
    pixels: Annotated[int, Rule("16 or more", lambda pixels: pixels >= 16)] | None = None
    """side of labelled images as the network sees them, and of segmentation's patches; default: the paper's"""
    seed: NonNegativeInt = 0
    """of weights, orders, draws and bootstrap"""
    device: str = "auto"
    """auto, cpu, cuda or mps"""
    say: PythonOnly[Callable[[str], None]] = _silent
    """called with a line at each step"""

    def check(self) -> None:
        for step in self.steps:
            if step not in STEPS:
                raise ConfigError(f"--steps {step}; {did_you_mean(step, STEPS)}of {', '.join(STEPS)} expected")
        if self.model is not None and (self.recipe is not None or self.epochs is not None):
            raise ConfigError("--model is trained already: --recipe and --epochs have no effect; leave them out")
        if "places" in self.steps and not self.places:
            raise ConfigError("--steps places needs --places, since it trains once more")
        if self.model is not None and (self.losses or self.places):
            raise ConfigError("--losses and --places train models, --model gives one: leave one of them out")
        if "losses" in self.steps and not self.losses:
            raise ConfigError("--steps losses needs --losses, such as --losses TripletLoss,SymmetricCL")

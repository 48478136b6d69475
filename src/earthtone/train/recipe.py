"""The recipe: everything that decides a training, as one object that is the API, the YAML and the command line."""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple

import yaml

from earthtone.files import FORMATS
from earthtone.geo import SMALLEST_KM
from earthtone.models.config import ModelConfig
from earthtone.signal.config import SignalConfig
from earthtone.value_types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Rule, Share

#: Share of a batch that are hard negatives, which need rows to be hard for.
MOST_HARD = 0.75
HardShare = Annotated[float, Rule(f"a share from 0 to {MOST_HARD}", lambda share: 0 <= share <= MOST_HARD)]
Pair = tuple[float, float]
CropArea = Annotated[Pair, Rule("0 < low <= high <= 1", lambda area: 0 < area[0] <= area[1] <= 1)]
CropRatio = Annotated[Pair, Rule("0 < low <= high", lambda ratio: 0 < ratio[0] <= ratio[1] < math.inf)]
MixLevels = Annotated[Pair, Rule("-200 <= low <= high <= 0", lambda levels: -200 <= levels[0] <= levels[1] <= 0)]
NoiseLevels = Annotated[Pair, Rule("-200 <= low <= high <= 60", lambda levels: -200 <= levels[0] <= levels[1] <= 60)]


@dataclass(frozen=True)
class LossConfig:
    """What pulls pairs together and pushes others apart."""

    name: str = "infonce"
    """`infonce`, `siglip`, `batch_triplet`, `triplet_margin`, `infonce_memory`, `place_distillation`, `simclr` or
    `barlow_twins`; or one of the published release's: `TripletLoss`, `NaiveTriplet`, `ContrastiveLoss`, `SymmetricCL`,
    `SymmetricCLWithMemory`, `SymmetricCLWithMemoryAndDistillation`, `SimCLRLoss`, `SymmetricSimCLR`, `BarlowTwins`;
    or a plug-in's (docs/plugins.md)."""
    options: dict[str, bool | int | float | str | None] = field(default_factory=dict)  # `Any` would import classes
    """Options of that loss (docs/losses.md); `batch_size` and `dimensions` come from the recipe."""
    twins: Literal["mask", "positive", "ignore"] = "mask"
    """Pairs that show or play the same: `mask` keeps them out of each other's negatives, `positive` pulls them together
    like a pair's own two sides, `ignore` does not look. Twins have the same image or recording (docs/places.md)."""
    place_column: str | None = None
    """A column with ids of places: pairs with the same one are twins too."""
    twin_radius_m: NonNegativeFloat = 0.0
    """Pairs closer than this are twins too; 0 does not look. Neighbours below 200 m often show the same place."""


@dataclass(frozen=True)
class WithinConfig:
    """Views of one pair against each other within images and within sound, beside the loss (docs/training.md)."""

    name: Literal["none", "simclr", "vicreg"] = "none"
    """`none`, `simclr` or `vicreg`; the latter two need `train.views` of 2 or more."""
    options: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    """Of `simclr`: temperature (0.2); of `vicreg`: invariance (25), variance (25), covariance (1)."""
    image_weight: NonNegativeFloat = 1.0
    """Of the term between views of an image; 0 leaves it out. The loss between image and sound counts 1."""
    audio_weight: NonNegativeFloat = 1.0
    """Of the term between views of a recording; 0 leaves it out."""
    projection: PositiveInt | None = None
    """Width of a head of two layers on the embeddings, one a modality, that these terms alone see; null for none."""


class BatchRows(NamedTuple):
    """Rows of a batch: those whose turn it is, and their hard negatives by place and by embedding."""

    base: int
    ring: int
    similar: int


@dataclass(frozen=True)
class SamplerConfig:
    """Which pairs meet in a batch (docs/places.md); as it stands, each epoch is one random order of all pairs."""

    batches: Literal["random", "spread", "clustered"] = "random"
    """`random`; `spread`: as few pairs of one cell of the Earth in a batch as possible; `clustered`: as many."""
    cell_km: Annotated[float, Rule(f"{SMALLEST_KM} or more", lambda km: km >= SMALLEST_KM)] | None = None
    """Side of a cell of `spread` and `clustered`; null for 50."""
    ring_share: HardShare = 0.0
    """Share of a batch that are neighbours of its other pairs, as hard negatives."""
    ring_km: tuple[float, float] | None = None
    """How near and how far these neighbours are; needed with `ring_share`, such as [1, 50]."""
    similar_share: HardShare = 0.0
    """Share of a batch that the model takes for its other pairs' partners, as hard negatives."""
    refresh_epochs: PositiveInt | None = None
    """Epochs between two embeddings of all pairs that `similar_share` looks at; null for 1."""

    def rows(self, batch_size: int) -> BatchRows:
        """Return how many rows of a batch come from where."""
        ring, similar = round(self.ring_share * batch_size), round(self.similar_share * batch_size)
        return BatchRows(batch_size - ring - similar, ring, similar)


@dataclass(frozen=True)
class AugmentConfig:
    """How a pair is varied in training; every draw depends on seed, epoch, row and view alone."""

    crop_area: CropArea = (0.5, 1.0)
    """Share of the tile inside the random crop: this is the zoom, and the change of metres a pixel."""
    crop_ratio: CropRatio = (1.0, 1.0)
    """Width over height of the random crop, drawn evenly in its logarithm; 0.75 to 1.33 is usual in the field."""
    rotation_degrees: float = 180.0
    """Rotation by any angle up to this, both ways; overhead images have no up."""
    mirror: bool = True
    """Mirror half of the tiles."""
    grid_distortion: Share = 0.0
    """Largest relative change of a column's width and a row's height in a grid of 5 x 5 cells over the view."""
    blur_sigma: NonNegativeFloat = 0.0
    """Widest Gaussian blur, in pixels of the view; each view draws its own, from none up."""
    brightness: Share = 0.2
    """Largest relative change of brightness."""
    contrast: Share = 0.2
    """Largest relative change of contrast."""
    saturation: Share = 0.2
    """Largest relative change of saturation."""
    hue_degrees: NonNegativeFloat = 0.0
    """Largest turn of all hues around the colour circle, both ways."""
    colour_cast: Share = 0.05
    """Largest relative change of one colour channel."""
    gain_db: NonNegativeFloat = 6.0
    """Largest change of loudness."""
    roll: bool = False
    """Shift a window in time around its ends; for sets of short clips that fill one window."""
    time_mask: Share = 0.1
    """Longest masked stretch of a window (SpecAugment, Park et al. 2019), as a share of it."""
    mel_mask: Share = 0.1
    """Widest masked band, as a share of the mel bands."""
    mix_share: Share = 0.0
    """Share of windows that get a part of another training recording in the background."""
    mix_db: MixLevels | None = None
    """Power of that background against the window's own, 0 at most; null for [-20, -5]."""
    noise_share: Share = 0.0
    """Share of windows that get white noise."""
    noise_db: NoiseLevels | None = None
    """Power of that noise against the window's own; null for [-30, -10]."""


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, checkpoints and what is kept."""

    epochs: PositiveInt = 30
    """Passes over the training pairs."""
    batch_size: Annotated[int, Rule("2 or more", lambda pairs: pairs >= 2)] = 128
    """Pairs in a step, over all processes; all others of the step are negatives."""
    chunk_size: int | None = None
    """Pairs whose activations are in memory at once, in each process; null for all. The step stays the same, batch
    norms aside; the forward pass is made twice (docs/scaling.md)."""
    momentum: Annotated[float, Rule("0 to below 1", lambda share: 0 <= share < 1)] | None = None
    """Fills the queue of a loss that has one from encoders that follow slowly and keep this share of themselves a step
    (0.999 is usual); null for none."""
    windows: PositiveInt = 1
    """Windows of a recording in a view, at random places spread over it; memory and time of the audio encoder grow
    with them."""
    views: PositiveInt = 1
    """Views of each pair in a step, each with its own crop of the image and its own windows of the recording; a step
    has that many rows a pair (docs/training.md)."""
    learning_rate: PositiveFloat = 1e-3
    """At the top of the schedule."""
    weight_decay: NonNegativeFloat = 0.05
    """On matrices and kernels; never on biases, norms and the temperature."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """`adamw` or `adam`."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """`cosine` to zero, or `constant`."""
    layer_decay: Annotated[float, Rule("above 0, at most 1", lambda decay: 0 < decay <= 1)] = 1.0
    """Share of the learning rate that each block of an encoder has of the next deeper one's; the deepest, the
    projections and the loss have all of it."""
    freeze: Literal["image", "audio", "both"] | None = None
    """Encoders that stay as they began: `image`, `audio` or `both`; null for none. Projections always learn."""
    unfreeze_step: PositiveInt | None = None
    """Step from which frozen encoders learn too; null for never."""
    warmup_share: Share = 0.05
    """Share of all steps in which the learning rate rises from zero."""
    clip_norm: PositiveFloat | None = 1.0
    """Longest gradient; null for no limit."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """`auto` (bfloat16 where the processor computes with it), `32` or `bf16`."""
    compile: bool = False
    """Compile the encoders by torch.compile, for training only; one process, no chunks (docs/scaling.md)."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    devices: PositiveInt = 1
    """Processes on this machine that train together, each on its device (docs/scaling.md)."""
    nodes: PositiveInt = 1
    """Machines that train together, each with `devices` processes; torchrun or SLURM starts them."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """What each process holds: `ddp`, all weights; `fsdp`, its part of weights, gradients and moments."""
    seed: NonNegativeInt = 0
    """Of weights, order and augmentation."""
    threads: PositiveInt = 2
    """Threads that load batches."""
    validate_every: NonNegativeInt = 1
    """Epochs between two validations; 0 for none."""
    validation_rows: PositiveInt = 1000
    """At most this many pairs of the split `val`."""
    control: Literal["none", "images_only", "shuffled_sounds"] = "none"
    """What a training is compared with, all else the same: `images_only`, no loss hears; `shuffled_sounds`, each image
    has the sound of another row; `none` for the training itself (docs/training.md)."""
    keep: Literal["best", "last"] = "best"
    """The weights that are kept: `best` on the validation pairs, or `last`."""
    checkpoint_seconds: NonNegativeFloat = 120.0
    """Time between two checkpoints for `--resume`."""

    @property
    def processes(self) -> int:
        """Return how many processes train together."""
        return self.devices * self.nodes

    @property
    def frozen_encoders(self) -> tuple[str, ...]:
        """Return which of `image` and `audio` are frozen for a while or for good."""
        return ("image", "audio") if self.freeze == "both" else () if self.freeze is None else (self.freeze,)


@dataclass(frozen=True)
class LoggerConfig:
    """Where a training's figures go too, beside its log.jsonl and TensorBoard; what is learned is the same."""

    name: Literal["none", "csv", "wandb", "mlflow", "comet"] = "none"
    """`none`, `csv`, `wandb`, `mlflow` or `comet`: Lightning's logger of that name (docs/plugins.md)."""
    options: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    """Arguments of that logger, such as `project`; keys of accounts belong into the environment."""


@dataclass(frozen=True)
class Recipe:
    """A whole training."""

    signal: SignalConfig = field(default_factory=SignalConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    within: WithinConfig = field(default_factory=WithinConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)

    @property
    def learns(self) -> tuple[str, ...]:
        """Return the media whose towers learn, `image` and `audio`."""
        return ("image",) if self.train.control == "images_only" else self.model.media

    def decisive(self) -> dict[str, Any]:
        """Return all that decides what is learned, for cards, comparisons and hashes: the logger has no part in it."""
        return {name: values for name, values in asdict(self).items() if name != "logger"}

    def with_only(self, medium: Literal["image", "audio"]) -> "Recipe":
        """Return the recipe of a training of one tower alone: by `within`, which it then has, between two views."""
        within = replace(self.within, name="simclr" if self.within.name == "none" else self.within.name)
        if medium == "image":
            within = replace(within, image_weight=within.image_weight or 1.0)
        else:
            within = replace(within, audio_weight=within.audio_weight or 1.0)
        train = replace(self.train, views=max(2, self.train.views))
        return replace(self, model=replace(self.model, only=medium), within=within, train=train)

    def to_yaml(self) -> str:
        """Return the resolved recipe with the version of its format; without the logger where there is none."""
        values = self.decisive() if self.logger == LoggerConfig() else asdict(self)
        plain = json.loads(json.dumps({"format": FORMATS["recipe"], **values}))  # lists for tuples, which YAML lacks
        return str(yaml.safe_dump(plain, sort_keys=False))

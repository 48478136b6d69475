"""What may be asked of a reproduction, and what follows from it: recipe, encoder, how it departs from the paper."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from earthtone.errors import ConfigError
from earthtone.losses import loss_class
from earthtone.models.open_model import open_model
from earthtone.train.precision import choose_device
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import load_recipe
from earthtone.verbs.reproduce.fingerprint import file_hash, model_file
from earthtone.wording import changes, did_you_mean, flat

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
#: Encoders of the paper's recipes, and of which published backbone they are.
BACKBONES: Mapping[str, str] = {"release_resnet18": "resnet18", "release_resnet50": "resnet50"}
#: Values of a recipe that do not change what is learned, but for rounding.
_HOW_IT_RUNS = ("train.device", "train.threads", "train.checkpoint_seconds", "train.validate_every",
                "train.validation_rows", "train.seed")  # fmt: skip


@dataclass(frozen=True)
class ReproduceOptions:
    """What is asked for; None: as in the paper."""

    data: Path
    out: Path
    backbone: str | None = None
    recipe: str | None = None
    model: str | None = None
    imagenet: str | None = None
    tile2vec: Path | None = None
    losses: tuple[str, ...] = ()
    places: bool = False
    """Also train and measure on a split whose places lie apart."""
    steps: tuple[str, ...] = ()
    """Of `STEPS`; none: all."""
    honest: bool = True
    """Measure each step by the honest protocol too."""
    epochs: int | None = None
    finetune_epochs: int | None = None
    segment_epochs: int | None = None
    pixels: int | None = None
    """Side of labelled images as the network sees them, and of segmentation's patches."""
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for step in self.steps:
            if step not in STEPS:
                raise ConfigError(f"--steps {step}; {did_you_mean(step, STEPS)}of {', '.join(STEPS)} expected")
        if self.backbone not in (None, *BACKBONES.values()):
            raise ConfigError(f"--backbone {self.backbone}; {' or '.join(BACKBONES.values())} expected")
        if self.model is not None and (self.recipe is not None or self.epochs is not None):
            raise ConfigError("--model is trained already: --recipe and --epochs have no effect; leave them out")
        if "places" in self.steps and not self.places:
            raise ConfigError("--steps places needs --places, since it trains once more")
        if self.model is not None and (self.losses or self.places):
            raise ConfigError("--losses and --places train models, --model gives one: leave one of them out")
        if "losses" in self.steps and not self.losses:
            raise ConfigError("--steps losses needs --losses, such as --losses TripletLoss,SymmetricCL")
        for name in ("epochs", "finetune_epochs", "segment_epochs"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ConfigError(f"--{name} {value}; 1 or more expected")
        if self.pixels is not None and self.pixels < 16:
            raise ConfigError(f"--pixels {self.pixels}; 16 or more expected")
        for loss in self.losses:
            loss_class(loss)


@dataclass(frozen=True)
class Setup:
    """Options with what follows from them."""

    options: ReproduceOptions
    recipe: Recipe | None
    """None where a model was given."""
    encoder: str
    """Name of the image encoder, for its untrained twin."""
    backbone: str | None
    """Which of the published backbones it is; None: another one."""
    device: str
    deviations: tuple[str, ...]
    """In what the schedule is not the paper's."""
    identity: Mapping[str, Any]
    """What the model is made from, flat."""

    def recipe_with(self, loss: str) -> Recipe:
        """Return the recipe with another loss under its own default options."""
        assert self.recipe is not None, "no losses are trained where a model was given"  # noqa: S101
        return replace(self.recipe, loss=replace(self.recipe.loss, name=loss, options={}))


def make_setup(options: ReproduceOptions) -> Setup:
    """Return what follows from the options. Raises ConfigError, ModelError."""
    device = choose_device(options.device)
    if options.model is None:
        recipe: Recipe | None = _recipe(options)
        assert recipe is not None  # noqa: S101
        encoder, identity = recipe.model.image_encoder, recipe_identity(recipe)
        deviations = _deviations(options, recipe)
    else:
        recipe, encoder = None, open_model(options.model).config.image_encoder
        identity = {"model": file_hash(model_file(options.model))}
        deviations = [f"the model was not trained here but given: {options.model}"]
    backbone = BACKBONES.get(encoder)
    if options.backbone is not None and (options.recipe or options.model) and backbone != options.backbone:
        raise ConfigError(f"--backbone {options.backbone}, but the image encoder is {encoder}; leave --backbone out")
    deviations += [
        f"--{name} {getattr(options, name)}"
        for name in ("finetune_epochs", "segment_epochs", "pixels")
        if getattr(options, name) is not None
    ]
    return Setup(options, recipe, encoder, backbone, device, tuple(deviations), identity)


def recipe_identity(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe, flat."""
    return flat({"recipe": asdict(recipe)})


def _recipe(options: ReproduceOptions) -> Recipe:
    overrides: dict[str, Any] = {} if options.epochs is None else {"train.epochs": options.epochs}
    overrides |= {} if options.device == "auto" else {"train.device": options.device}
    overrides |= {"train.seed": options.seed} if options.seed or options.recipe is None else {}
    return load_recipe(options.recipe or _paper(options.backbone), overrides)


def _paper(backbone: str | None) -> str:
    return f"soundingearth-paper-{backbone or 'resnet18'}"


def _deviations(options: ReproduceOptions, recipe: Recipe) -> list[str]:
    backbone = options.backbone or BACKBONES.get(recipe.model.image_encoder)
    before, now = (flat(asdict(each)) for each in (load_recipe(_paper(backbone)), recipe))
    kept = [{key: value for key, value in each.items() if key not in _HOW_IT_RUNS} for each in (before, now)]
    changed = changes(*kept)
    return [f"the recipe is not {_paper(backbone)}: {changed}"] if changed else []

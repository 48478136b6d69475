"""Losses by name; each takes (N, D) image and audio embeddings and leaves twins out of the negatives.

Names and options of all are here, without PyTorch: a recipe is checked before that is imported.
"""

import math
from collections.abc import Iterable, Mapping
from importlib import import_module
from inspect import Parameter, isabstract, signature
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_type_hints

from earthtone.errors import ConfigError, EarthtoneError, did_you_mean
from earthtone.plugins import find_plugin, plugins_of
from earthtone.value_types import NonNegativeFloat, PositiveFloat, PositiveInt, Rule, Share, wrong

if TYPE_CHECKING:
    from earthtone.losses.base import Loss

__all__ = [
    "LOSSES",
    "PUBLISHED",
    "VIEW_LOSSES",
    "check_options",
    "loss_class",
    "loss_entry",
    "loss_options",
    "make_loss",
]


class LossEntry(NamedTuple):
    """A loss by module and class, and its options with their types, as its constructor has them (a test compares)."""

    home: "str | type[Loss]"
    """Module and class here, or a plug-in's class."""
    options: Mapping[str, Any]
    has_negatives: bool = True
    """Whether twins and views of one pair can be kept out of the negatives."""

    @property
    def has_queue(self) -> bool:
        """Return whether rows of earlier batches are negatives too."""
        return "batches" in self.options if isinstance(self.home, str) else self.home.has_queue

    def load(self) -> "type[Loss]":
        """Return the class; this imports PyTorch."""
        if not isinstance(self.home, str):
            return self.home
        module, name = self.home.split(".")
        found: type[Loss] = getattr(import_module(f"{__name__}.{module}"), name)
        return found


#: The largest inverse of a learned temperature, as in CLIP.
MAX_SCALE = 100.0
#: Cross-entropy of finding the own partner: one way, or the mean or the sum of both.
Directions = Literal["mean", "sum", "image_to_audio", "audio_to_image"]
CosineTemperature = Annotated[
    float, Rule(f"{1 / MAX_SCALE} or more", lambda temperature: 1 / MAX_SCALE <= temperature < math.inf)
]
FiniteFloat = Annotated[float, Rule("a finite number", math.isfinite)]
RobustLambda = Annotated[float, Rule("above 0, at most 1", lambda share: 0 < share <= 1)]

_QUEUE = {"batches": PositiveInt, "batch_size": PositiveInt, "dimensions": PositiveInt}

LOSSES: dict[str, LossEntry] = {
    "infonce": LossEntry(
        "infonce.InfoNCE",
        {
            "temperature": CosineTemperature,
            "learnable_temperature": bool,
            "directions": Directions,
            "robust_q": Share,
            "robust_lambda": RobustLambda | None,
        },
    ),
    "siglip": LossEntry("siglip.SigLIP", {"temperature": PositiveFloat, "bias": FiniteFloat}),
    "batch_triplet": LossEntry("triplet.BatchTriplet", {"margin": PositiveFloat}),
    "triplet_margin": LossEntry("triplet.TripletMargin", {"margin": PositiveFloat}),
    "infonce_memory": LossEntry("infonce_memory.InfoNCEMemory", {"temperature": PositiveFloat, **_QUEUE}),
    "place_distillation": LossEntry("place_distillation.PlaceDistillation", {"nu": PositiveFloat, **_QUEUE}),
    "simclr": LossEntry(
        "simclr.SimCLR",
        {"temperature": PositiveFloat, "directions": Directions, "hidden": PositiveInt, "dimensions": PositiveInt},
    ),
    "barlow_twins": LossEntry(
        "barlow_twins.BarlowTwins", {"redundancy": PositiveFloat, "normality": NonNegativeFloat}, False
    ),
}

#: Losses between two views of one modality, a recipe's section `within`.
VIEW_LOSSES: dict[str, LossEntry] = {
    "simclr": LossEntry("simclr.NTXent", {"temperature": PositiveFloat}),
    "vicreg": LossEntry(
        "vicreg.VICReg", {"invariance": NonNegativeFloat, "variance": NonNegativeFloat, "covariance": NonNegativeFloat}
    ),
}

#: The names of the SoundingEarth release (arXiv 2108.00688): which loss they are, and with which options.
PUBLISHED: dict[str, tuple[str, Mapping[str, Any]]] = {
    "TripletLoss": ("batch_triplet", {}),
    "NaiveTriplet": ("triplet_margin", {}),
    "ContrastiveLoss": (
        "infonce",
        {"temperature": 0.2, "learnable_temperature": False, "directions": "image_to_audio"},
    ),
    "SymmetricCL": ("infonce", {"temperature": 0.2, "learnable_temperature": False, "directions": "sum"}),
    "SymmetricCLWithMemory": ("infonce_memory", {}),
    "SymmetricCLWithMemoryAndDistillation": ("place_distillation", {}),
    "SimCLRLoss": ("simclr", {"directions": "audio_to_image"}),
    "SymmetricSimCLR": ("simclr", {}),
    "BarlowTwins": ("barlow_twins", {}),
}


def make_loss(name: str, **options: Any) -> "Loss":
    """Return the loss called `name`, or by its name in the release, with its options, which go before the release's.

    Raises ConfigError when the name or an option is unknown.

    >>> make_loss("infonce", temperature=0.1).temperature  # doctest: +ELLIPSIS
    0.1...
    >>> make_loss("SymmetricCL").temperature  # doctest: +ELLIPSIS
    0.2...
    """
    check_options(name, options)
    entry = loss_entry(name)
    try:
        made = entry.load()(**{**PUBLISHED.get(name, ("", {}))[1], **options})
    except Exception as error:
        if isinstance(entry.home, str) or isinstance(error, EarthtoneError):
            raise
        raise ConfigError(f"the loss {name!r} cannot be made: {type(error).__name__}: {error}") from error
    if "_modules" not in vars(made):  # what a module of torch.nn is made of
        raise ConfigError(f"the loss {name!r}: its constructor does not call super().__init__; let it begin with that")
    return made


def check_options(name: str, options: Mapping[str, Any], *, between_views: bool = False) -> None:
    """Raise ConfigError for an unknown loss, for an option that it lacks, and for a wrong value."""
    known = VIEW_LOSSES[name].options if between_views else loss_entry(name).options
    for option, value in options.items():
        if option not in known:
            raise ConfigError(_unknown(f"option of the loss {name!r}", option, known))
        if told := wrong(value, known[option]):
            raise ConfigError(f"{name}: {option} is {told}")


def loss_class(name: str) -> "type[Loss]":
    """Return the class behind a name. Raises ConfigError as `loss_entry` does."""
    return loss_entry(name).load()


def loss_options(name: str) -> tuple[str, ...]:
    """Return the names of the options of a loss. Raises ConfigError as `loss_entry` does."""
    return tuple(loss_entry(name).options)


def loss_entry(name: str) -> LossEntry:
    """Return what is listed of a loss, a plug-in's too. Raises ConfigError, listing the known ones."""
    name = PUBLISHED[name][0] if name in PUBLISHED else name
    if name in LOSSES:
        return LOSSES[name]
    found: LossEntry | None = find_plugin("loss", name)
    if found is None:
        raise ConfigError(
            _unknown("loss", name, [*LOSSES, *PUBLISHED, *plugins_of("loss")]) + "; a module's: --import MODULE"
        )
    return found


def plugin_loss(name: str, loss: Any) -> LossEntry:
    """Return what is listed of a plug-in's class; its options are those of its constructor. Raises ConfigError."""
    from earthtone.losses.base import Loss

    if name in LOSSES or name in PUBLISHED:
        raise ConfigError("earthtone has a loss of this name; choose another")
    if not (isinstance(loss, type) and issubclass(loss, Loss)) or isabstract(loss):
        found = getattr(loss, "__qualname__", repr(loss))
        raise ConfigError(f"it is {found:.80}; a subclass of earthtone.losses.base.Loss that has `compute` expected")

    try:
        signature(loss.compute).bind("self", "image", "audio", "twins", "keys")
    except TypeError:
        raise ConfigError(
            f"its compute takes {signature(loss.compute)}; (self, image, audio, twins, keys=None) expected"
        ) from None
    try:
        hints = get_type_hints(loss.__init__, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigError(f"the types of its options cannot be read ({error})") from error
    known = {} if loss.__init__ is Loss.__init__ else dict(signature(loss).parameters)
    for option, parameter in known.items():
        if parameter.default is Parameter.empty or option not in hints:
            raise ConfigError(f"its option {option!r} has no default or no type; write {option}: float = 1.0, say")
    if not hasattr(loss, "name"):
        loss.name = name
    return LossEntry(loss, {option: hints[option] for option in known}, loss.has_negatives)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return f"unknown {what}: {name!r}; {did_you_mean(name, known)}known are {', '.join(known)}"

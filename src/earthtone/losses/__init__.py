"""Losses by name; each takes (N, D) image and audio embeddings and leaves twins out of the negatives."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

from earthtone.errors import ConfigError, did_you_mean
from earthtone.losses.barlow_twins import BarlowTwins
from earthtone.losses.base import Loss
from earthtone.losses.infonce import InfoNCE
from earthtone.losses.infonce_memory import InfoNCEMemory
from earthtone.losses.place_distillation import PlaceDistillation
from earthtone.losses.siglip import SigLIP
from earthtone.losses.simclr import SimCLR
from earthtone.losses.triplet import BatchTriplet, TripletMargin
from earthtone.value_types import wrong

__all__ = ["LOSSES", "PUBLISHED", "Loss", "check_options", "loss_class", "loss_options", "make_loss"]

LOSSES: dict[str, type[Loss]] = {
    "infonce": InfoNCE,
    "siglip": SigLIP,
    "batch_triplet": BatchTriplet,
    "triplet_margin": TripletMargin,
    "infonce_memory": InfoNCEMemory,
    "place_distillation": PlaceDistillation,
    "simclr": SimCLR,
    "barlow_twins": BarlowTwins,
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


def make_loss(name: str, **options: Any) -> Loss:
    """The loss called `name`, or by its name in the release, with its options; given ones go before the release's.

    Raises ConfigError when the name or an option is unknown.

    >>> make_loss("infonce", temperature=0.1).temperature  # doctest: +ELLIPSIS
    0.1...
    >>> make_loss("SymmetricCL").temperature  # doctest: +ELLIPSIS
    0.2...
    """
    kind, own = loss_class(name), PUBLISHED.get(name, ("", {}))[1]
    check_options(name, options)
    try:
        return kind(**{**own, **options})
    except TypeError as error:
        raise ConfigError(f"options of the loss {name!r}: {error}; numbers expected") from error


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigError for an unknown loss, for an option that it lacks, and for a value of another type."""
    known, hints = loss_options(name), get_type_hints(loss_class(name).__init__)
    for option, value in options.items():
        if option not in known:
            raise ConfigError(_unknown(f"option of the loss {name!r}", option, known))
        if told := wrong(value, hints[option]):
            raise ConfigError(f"{name}: {option} is {told}")


def loss_class(name: str) -> type[Loss]:
    """The class behind a name. Raises ConfigError, listing the known ones."""
    name = PUBLISHED[name][0] if name in PUBLISHED else name
    if name not in LOSSES:
        raise ConfigError(_unknown("loss", name, [*LOSSES, *PUBLISHED]))
    return LOSSES[name]


def loss_options(name: str) -> tuple[str, ...]:
    """The names of the options of a loss."""
    return tuple(inspect.signature(loss_class(name)).parameters)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"unknown {what}: {name!r}; {did_you_mean(name, known)}known are {', '.join(known)}"

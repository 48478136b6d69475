"""Losses by name; each takes (N, D) image and audio embeddings and leaves twins out of the negatives."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss
from earthtone.losses.infonce import SymmetricInfoNCE
from earthtone.losses.siglip import SigLIP
from earthtone.losses.triplet import BatchTriplet
from earthtone.wording import did_you_mean

__all__ = ["LOSSES", "BatchTriplet", "Loss", "SigLIP", "SymmetricInfoNCE", "make_loss"]

LOSSES: dict[str, Callable[..., Loss]] = {
    "batch_triplet": BatchTriplet,
    "infonce": SymmetricInfoNCE,
    "siglip": SigLIP,
}


def make_loss(name: str, **options: Any) -> Loss:
    """The loss called `name` with its options; raises ConfigError when the name or an option is unknown.

    >>> make_loss("infonce", temperature=0.1).temperature  # doctest: +ELLIPSIS
    0.1...
    """
    if name not in LOSSES:
        raise ConfigError(_unknown("loss", name, LOSSES))
    known = inspect.signature(LOSSES[name]).parameters
    for option in options:
        if option not in known:
            raise ConfigError(_unknown(f"option of the loss {name!r}", option, known))
    try:
        return LOSSES[name](**options)
    except TypeError as error:
        raise ConfigError(f"options of the loss {name!r}: {error}; numbers expected") from error


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"unknown {what}: {name!r}; {did_you_mean(name, known)}known are {', '.join(known)}"

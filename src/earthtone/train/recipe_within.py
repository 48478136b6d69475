"""Whether a recipe's section `within` can do what it says; options without an effect are refused."""

import inspect
from dataclasses import asdict
from typing import get_type_hints

from earthtone.errors import ConfigError
from earthtone.losses.base import Loss
from earthtone.losses.nt_xent import NTXent
from earthtone.losses.vicreg import VICReg
from earthtone.train.recipe import Recipe, WithinConfig
from earthtone.value_types import wrong
from earthtone.wording import did_you_mean

NONE = "none"
WITHIN: dict[str, type[Loss]] = {"simclr": NTXent, "vicreg": VICReg}


def check_within(recipe: Recipe, source: str) -> None:
    """Raise ConfigError for values of the section `within` that no training can have, or that would change nothing."""
    within = recipe.within
    known = (NONE, *WITHIN)
    if within.name not in known:
        raise ConfigError(f"{source}: within.name is {within.name!r}; one of {', '.join(known)} expected")
    if within.name == NONE:
        default = asdict(WithinConfig())
        if idle := [key for key, value in asdict(within).items() if value != default[key]]:
            raise ConfigError(f"{source}: within.{idle[0]} does nothing while within.name is none; leave it out")
        return
    if recipe.train.views < 2:
        raise ConfigError(
            f"{source}: within.name {within.name} compares views of a pair, and train.views is {recipe.train.views}; "
            "set train.views to 2 or more"
        )
    for key in ("image_weight", "audio_weight"):
        if not getattr(within, key) >= 0:
            raise ConfigError(f"{source}: within.{key} is {getattr(within, key)}; at least 0 expected")
    if not within.image_weight + within.audio_weight > 0:
        raise ConfigError(f"{source}: within.image_weight and audio_weight are both 0; set within.name to none")
    if within.projection is not None and within.projection < 1:
        raise ConfigError(f"{source}: within.projection is {within.projection}; at least 1 expected, or null")
    try:
        within_loss(within)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def within_loss(config: WithinConfig) -> Loss:
    """Return the loss between two views. Raises ConfigError for an option that it lacks, or a wrong value."""
    kind = WITHIN[config.name]
    known, hints = tuple(inspect.signature(kind).parameters), get_type_hints(kind.__init__)
    for option, value in config.options.items():
        if option not in known:
            hint = did_you_mean(option, known)
            raise ConfigError(f"within.options of {config.name}: unknown {option}; {hint}known: {', '.join(known)}")
        if told := wrong(value, hints[option]):
            raise ConfigError(f"within.options.{option} of {config.name} is {told}")
    try:
        return kind(**config.options)
    except TypeError as error:
        raise ConfigError(f"within.options of {config.name}: {error}; numbers expected") from error

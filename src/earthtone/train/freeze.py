"""Which encoders stay as they are, until when, and how several processes agree on gradients that nobody has."""

from typing import cast

import torch
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.models.encoders import Tower
from earthtone.models.two_tower import TwoTower
from earthtone.train.recipe import Recipe, TrainConfig

FREEZES = ("image", "audio", "both")


def frozen_names(config: TrainConfig) -> tuple[str, ...]:
    """Return the names of the towers whose encoders are frozen for a while or for good."""
    if config.freeze is None:
        return ()
    return ("image", "audio") if config.freeze == "both" else (config.freeze,)


def is_frozen(config: TrainConfig, step: int) -> bool:
    """Return whether the encoders of `frozen_names` stand still in step `step`, counted from 0."""
    return config.freeze is not None and (config.unfreeze_step is None or step < config.unfreeze_step)


def freeze_towers(model: TwoTower, config: TrainConfig, step: int) -> None:
    """Freeze or unfreeze a model's encoders for a step: a function of the step, so a resume needs no state."""
    for name in frozen_names(config):
        cast(Tower, getattr(model, f"{name}_tower")).freeze(is_frozen(config, step))


def frozen_weights(model: TwoTower, config: TrainConfig, step: int) -> list[nn.Parameter]:
    """Return the weights that stand still in a step but will learn later."""
    if config.unfreeze_step is None or not is_frozen(config, step):
        return []
    return [value for name in frozen_names(config) for value in getattr(model, f"{name}_tower").encoder.parameters()]


def nothing_of(weights: list[nn.Parameter]) -> Tensor:
    """Return zero with a gradient of zeros: DDP waits for each weight's gradient, also while the weight is frozen."""
    return torch.stack([value.sum() for value in weights]).sum() * 0.0


def check_freeze(recipe: Recipe, source: str) -> None:
    """Raise ConfigError for freezing without an effect, or of weights that are random."""
    train, model = recipe.train, recipe.model
    if train.freeze is not None and train.freeze not in FREEZES:
        raise ConfigError(f"{source}: train.freeze is {train.freeze!r}; one of {', '.join(FREEZES)} expected, or null")
    for name in frozen_names(train):
        if getattr(model, f"{name}_weights") is None:
            raise ConfigError(
                f"{source}: train.freeze {train.freeze} would keep the {name} encoder's random weights; "
                f"set model.{name}_weights (docs/models.md)"
            )
    if train.unfreeze_step is not None:
        if train.freeze is None:
            raise ConfigError(f"{source}: train.unfreeze_step without train.freeze has no effect; leave it out")
        if train.unfreeze_step < 1:
            raise ConfigError(
                f"{source}: train.unfreeze_step is {train.unfreeze_step}; 1 or more expected, or null for never"
            )
    if not 0 < train.layer_decay <= 1:
        raise ConfigError(f"{source}: train.layer_decay is {train.layer_decay}; above 0, at most 1 expected")
    if train.freeze == "both" and train.unfreeze_step is None:
        for option, value, off in (
            ("train.layer_decay", train.layer_decay, 1.0), ("model.drop_path", model.drop_path, 0.0),
        ):  # fmt: skip
            if value != off:
                raise ConfigError(
                    f"{source}: {option} {value} has no effect on encoders that are frozen for good; "
                    "leave it out, or set train.unfreeze_step"
                )


def check_unfreeze(config: TrainConfig, steps: int) -> None:
    """Raise ConfigError when a training of `steps` steps ends before its encoders join."""
    if config.unfreeze_step is not None and config.unfreeze_step >= steps:
        raise ConfigError(
            f"train.unfreeze_step is {config.unfreeze_step}, but the training has {steps} steps; a smaller one "
            "expected, or null for never"
        )

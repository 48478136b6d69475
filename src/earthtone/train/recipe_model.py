"""The model that a recipe asks for, tried without its weights."""

import torch

from earthtone.models.layers import layer_groups
from earthtone.models.two_tower import TwoTower
from earthtone.train.freeze import frozen_names
from earthtone.train.recipe import Recipe


def check_model(recipe: Recipe) -> None:
    """Raise ConfigError for encoders that cannot be made, and where the rate is to decay with blocks they do not tell.

    Takes neither memory for weights nor random numbers.
    """
    with torch.device("meta"):
        model = TwoTower(recipe.model, recipe.signal)
    if recipe.train.layer_decay == 1:
        return
    still = frozen_names(recipe.train) if recipe.train.unfreeze_step is None else ()
    for name in ("image", "audio"):
        if name not in still:
            layer_groups(getattr(model, f"{name}_tower").encoder)

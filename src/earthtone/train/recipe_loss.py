"""The loss that a recipe asks for."""

from earthtone.errors import ConfigError
from earthtone.losses import Loss, loss_class, loss_options, make_loss
from earthtone.train.recipe import Recipe


def recipe_loss(recipe: Recipe) -> Loss:
    """Return the recipe's loss; a queue and a projection get the recipe's batch size and dimensions.

    Raises ConfigError for an unknown name or option, and for one that contradicts the rest of the recipe.
    """
    name, options = recipe.loss.name, dict(recipe.loss.options)
    if recipe.loss.twins == "mask" and not loss_class(name).uses_twins:
        raise ConfigError(
            f"loss.twins is mask, but the loss {name!r} has no negatives to keep twins out of; type --loss.twins ignore"
        )
    shape = {"batch_size": recipe.train.batch_size, "dimensions": recipe.model.dimensions}
    sections = {"batch_size": "train", "dimensions": "model"}
    for key, value in shape.items():
        if key in loss_options(name) and options.setdefault(key, value) != value:
            raise ConfigError(
                f"loss.options.{key} is {options[key]}, but {sections[key]}.{key} is {value}; leave the option out"
            )
    return make_loss(name, **options)

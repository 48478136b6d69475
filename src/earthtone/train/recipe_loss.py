"""The loss that a recipe asks for."""

from earthtone.errors import ConfigError
from earthtone.losses import Loss, loss_class, loss_options, make_loss
from earthtone.losses.relation import TwinRule
from earthtone.train.recipe import Recipe


def recipe_loss(recipe: Recipe) -> Loss:
    """Return the recipe's loss; a queue and a projection get the recipe's batch size and dimensions.

    Raises ConfigError for an unknown name or option, and for one that contradicts the rest of the recipe.
    """
    name, options = recipe.loss.name, dict(recipe.loss.options)
    twins = recipe.loss.twins
    if twins != "ignore" and not loss_class(name).uses_twins:
        raise ConfigError(
            f"loss.twins is {twins}, but the loss {name!r} has no negatives to keep twins out of; "
            "type --loss.twins ignore"
        )
    for option in ("place_column", "twin_radius_m"):
        if twins == "ignore" and recipe.within.name != "simclr" and getattr(recipe.loss, option):
            raise ConfigError(f"loss.{option} tells twins, but loss.twins is ignore; leave one of them out")
    if recipe.train.momentum is not None and not loss_class(name).has_queue:
        raise ConfigError(
            f"train.momentum fills a queue, but the loss {name!r} has none; leave it out, or choose infonce_memory"
        )
    if recipe.train.views > 1 and not loss_class(name).takes_views:
        raise ConfigError(
            f"train.views is {recipe.train.views}, but the loss {name!r} takes one view of a pair; set train.views to 1"
        )
    shape = {"batch_size": recipe.train.batch_size * recipe.train.views, "dimensions": recipe.model.dimensions}
    rows = "train.batch_size" if recipe.train.views == 1 else "train.batch_size x train.views"
    named = {"batch_size": rows, "dimensions": "model.dimensions"}
    for key, value in shape.items():
        if key in loss_options(name) and options.setdefault(key, value) != value:
            raise ConfigError(
                f"loss.options.{key} is {options[key]}, but {named[key]} is {value}; leave the option out"
            )
    loss = make_loss(name, **options)
    if twins != "ignore":
        loss.twin_rule = TwinRule(twins, recipe.loss.twin_radius_m)
    return loss


def check_queue(loss: Loss, rows: int, recipe: Recipe) -> None:
    """Raise ConfigError when a loss keeps more rows of earlier batches than there are training pairs."""
    if loss.queue_rows > rows * recipe.train.views:
        size = recipe.train.batch_size
        batches = loss.queue_rows // (size * recipe.train.views)
        raise ConfigError(
            f"the loss {recipe.loss.name!r} keeps a queue of {batches} batches of {size}, more than "
            f"the {rows} training pairs: rows would meet themselves; type --loss.options.batches "
            f"{max(1, rows // size)} or less"
        )

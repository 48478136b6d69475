"""What several processes may hold of a model, as a recipe asks for it."""

from earthtone.errors import ConfigError
from earthtone.train.recipe import Recipe


def check_strategy_device(recipe: Recipe, device: str) -> None:
    """Raise ConfigError where weights in parts cannot lie on the chosen device."""
    if recipe.train.strategy == "fsdp" and device == "mps":
        raise ConfigError("train.strategy fsdp is for cpu and cuda, and the device is mps; leave it out")


def check_strategy(recipe: Recipe, source: str) -> None:
    """Raise ConfigError where weights in parts have no effect, or meet what takes them whole."""
    train = recipe.train
    if train.strategy != "fsdp":
        return
    if train.devices * train.nodes == 1:
        raise ConfigError(
            f"{source}: train.strategy fsdp with one process has no effect; type --train.devices with 2 or more, "
            "or leave it out"
        )
    if train.chunk_size is not None:
        raise ConfigError(
            f"{source}: train.strategy fsdp with train.chunk_size {train.chunk_size}: chunks take whole weights; "
            "leave one of them out"
        )

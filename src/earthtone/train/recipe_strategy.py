"""What several processes may hold of a model, as a recipe asks for it."""

from earthtone.errors import ConfigError
from earthtone.train.recipe import Recipe


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
    if train.device == "mps":
        raise ConfigError(
            f"{source}: train.strategy fsdp is for cpu and cuda, train.device is mps; leave one of them out"
        )
    if train.chunk_size is not None:
        raise ConfigError(
            f"{source}: train.strategy fsdp with train.chunk_size {train.chunk_size}: chunks take whole weights; "
            "leave one of them out"
        )

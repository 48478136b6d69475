"""Lightning's trainer for a recipe: device, precision, and DDP or FSDP where several processes train together."""

import logging
import warnings
from typing import Any

from lightning.pytorch import Callback

from earthtone.train.precision import choose_precision
from earthtone.train.recipe import Recipe
from earthtone.train.world import World


def make_trainer(recipe: Recipe, device: str, world: World, records: Callback) -> Any:
    """Return the trainer; `records` is called after each step."""
    from lightning.pytorch import Trainer

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    return Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        precision=choose_precision(recipe.train.precision, device),  # type: ignore[arg-type]
        max_epochs=1,  # the loader holds all epochs in a row: steps are the only clock
        gradient_clip_val=recipe.train.clip_norm,
        logger=False,
        callbacks=[records],
        enable_progress_bar=False,  # the keeper has one that knows where a resume started
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **_processes(recipe, world),
    )


def _processes(recipe: Recipe, world: World) -> dict[str, Any]:
    """Return the trainer's options for the number of processes."""
    if world.size == 1:
        return {"devices": 1}
    from lightning.pytorch.strategies import DDPStrategy

    from earthtone.train.sharded import ShardedStrategy

    strategy = ShardedStrategy if recipe.train.strategy == "fsdp" else DDPStrategy
    return {
        "devices": recipe.train.devices,
        "num_nodes": recipe.train.nodes,
        # buffers are not sent round: a queue is the same everywhere, running statistics are those of the first process
        "strategy": strategy(cluster_environment=world.environment, broadcast_buffers=False),
    }

"""What happens between two steps in the processes beside the first: counting, and stopping when all do."""

from dataclasses import replace
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from earthtone.train.checkpoint import Progress
from earthtone.train.stopping import Stopping
from earthtone.train.task import PretrainTask
from earthtone.train.world import World


class Follower(Callback):
    """Keeps step with the keeper of the first process, which keeps the records."""

    def __init__(self, progress: Progress, stopping: Stopping, world: World) -> None:
        self.progress = progress
        self.stopping = stopping
        self.world = world

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Meet the others."""
        self.world.connect()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals, and take part in what the first process writes."""
        assert isinstance(pl_module, PretrainTask)  # noqa: S101 - for the type checker
        self.stopping.listen()
        pl_module.whole.serve()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count the step, wait for what the first process does after it, and stop when one is asked to."""
        assert isinstance(pl_module, PretrainTask)  # noqa: S101 - for the type checker
        pl_module.done += 1
        self.progress = replace(self.progress, step=pl_module.done)
        pl_module.whole.serve()
        stop = self.stopping.agree()
        pl_module.whole.serve()
        if stop:
            trainer.should_stop = True

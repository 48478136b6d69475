"""One training step as Lightning wants it: two projections, one loss, one optimizer with its schedule."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from earthtone.errors import DataError
from earthtone.losses.base import Loss
from earthtone.models.two_tower import TwoTower
from earthtone.train.loader import Batch
from earthtone.train.recipe import TrainConfig


class PretrainTask(LightningModule):
    """Model and loss under training; `done` counts all steps, also those before a resume (keeper.py)."""

    def __init__(self, model: TwoTower, loss: Loss, config: TrainConfig, steps: int, done: int = 0) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.config = config
        self.steps = steps
        self.done = done
        self.optimizer_state: dict[str, Any] | None = None
        self.last_loss = math.nan

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch. Raises DataError when it is not finite."""
        image, audio = self.model(batch.image, batch.audio)
        loss: Tensor = self.loss(image, audio, points=batch.points, groups=batch.groups)
        self.last_loss = float(loss.detach())
        if not math.isfinite(self.last_loss):
            raise DataError(
                f"loss is {self.last_loss} at step {self.done + 1}, table rows {batch.rows.tolist()[:8]} ...; "
                "lower --train.learning_rate; the last checkpoint is whole"
            )
        return loss

    def on_train_batch_start(self, *_: Any) -> None:
        """Set the learning rate of this step."""
        for group in self._groups():
            group["lr"] = self.config.learning_rate * schedule(self.done, self.steps, self.config)

    @property
    def learning_rate(self) -> float:
        """Of the current step."""
        return float(self._groups()[0]["lr"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer, with its state where a checkpoint brought one."""
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        named = [(name, value) for name, value in self.named_parameters() if value.requires_grad]
        decayed = [value for _, value in named if value.ndim >= 2]
        others = [value for _, value in named if value.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimizer: torch.optim.Optimizer = kinds[self.config.optimizer](groups, lr=self.config.learning_rate)
        if self.optimizer_state is not None:
            optimizer.load_state_dict(self.optimizer_state)
            self.optimizer_state = None
        return optimizer

    def _groups(self) -> list[dict[str, Any]]:
        return self.trainer.optimizers[0].param_groups


def schedule(step: int, steps: int, config: TrainConfig) -> float:
    """Return the learning rate's factor: linear warm-up, then constant or half a cosine to zero (arXiv 1608.03983)."""
    warmup = max(1, round(config.warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

"""A recipe that trains in seconds on the tiny table."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer

from earthtone.data.packed import Table
from earthtone.models.config import ModelConfig
from earthtone.train.lightning_module import PretrainTask
from earthtone.train.recipe import Recipe, TrainConfig

StopAt = Callable[[int], Callback]


@pytest.fixture
def tiny_recipe(tiny_table: Path) -> Recipe:
    return Recipe(
        signal=Table(tiny_table).signal,
        model=ModelConfig(image_encoder="test_resnet", audio_encoder="test_resnet", dimensions=16),
        train=TrainConfig(epochs=3, batch_size=4, learning_rate=1e-3, threads=2, device="cpu"),
    )


class _StopAt(Callback):
    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if cast(PretrainTask, pl_module).done >= self._step:
            trainer.should_stop = True


@pytest.fixture
def stop_at() -> StopAt:
    """A function (step) that makes a callback which ends a training there, as one of a user's may."""
    return _StopAt

"""A recipe that trains in seconds on the tiny table."""

from pathlib import Path

import pytest

from earthtone.data.packed import Table
from earthtone.models.config import ModelConfig
from earthtone.train.recipe import Recipe, TrainConfig


@pytest.fixture
def tiny_recipe(tiny_table: Path) -> Recipe:
    return Recipe(
        signal=Table(tiny_table).signal,
        model=ModelConfig(image_encoder="test_resnet", audio_encoder="test_resnet", dimensions=16),
        train=TrainConfig(epochs=3, batch_size=4, learning_rate=1e-3, threads=2, device="cpu"),
    )

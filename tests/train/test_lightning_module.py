"""The schedule and the parameter groups."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from earthtone.errors import DataError
from earthtone.losses import make_loss
from earthtone.models.two_tower import TwoTower
from earthtone.train.lightning_module import PretrainTask, schedule
from earthtone.train.loader import Batch
from earthtone.train.recipe import Recipe, TrainConfig


def test_warm_up_then_half_a_cosine() -> None:
    config = TrainConfig(warmup_share=0.1)
    factors = [schedule(step, 100, config) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert 0 < factors[-1] < 0.001
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_constant_schedule_and_single_step() -> None:
    assert schedule(50, 100, TrainConfig(schedule="constant")) == 1.0
    assert schedule(0, 1, TrainConfig()) == 1.0


def task_of(recipe: Recipe) -> PretrainTask:
    return PretrainTask(TwoTower(recipe.model, recipe.signal), make_loss("infonce"), recipe.train, steps=10)


def test_only_matrices_decay(tiny_recipe: Recipe) -> None:
    task = task_of(tiny_recipe)
    decayed, others = task.configure_optimizers().param_groups
    assert decayed["weight_decay"] == tiny_recipe.train.weight_decay and others["weight_decay"] == 0
    assert all(value.ndim >= 2 for value in decayed["params"]) and all(value.ndim < 2 for value in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(list(task.parameters()))
    assert any(value is p for value in others["params"] for p in task.loss.parameters())  # the temperature


def test_a_loss_that_is_no_number_stops_and_names_rows(tiny_recipe: Recipe) -> None:
    task = task_of(replace(tiny_recipe))
    with torch.no_grad():
        next(task.model.image_tower.parameters()).fill_(float("nan"))
    signal = tiny_recipe.signal
    batch = Batch(
        image=torch.zeros(2, signal.image.pixels, signal.image.pixels, 3, dtype=torch.uint8),
        audio=torch.zeros(2, 1, signal.audio.window_frames, signal.audio.mels, dtype=torch.uint8),
        rows=torch.tensor([7, 11]),
    )
    with pytest.raises(DataError, match=r"loss is nan at step 1, table rows 7, 11; .*learning_rate"):
        task.training_step(batch, 0)

"""Momentum encoders: they move, they fill the queue, they are in the checkpoint and not in the model."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.losses import make_loss
from earthtone.losses.infonce_memory import InfoNCEMemory
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import read_safetensors
from earthtone.train.checkpoint import CHECKPOINT_FILE
from earthtone.train.fit import fit
from earthtone.train.lightning_module import PretrainTask, recipe_loss, update_momentum
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import LossConfig, Recipe
from earthtone.train.recipe_file import check_recipe

pytestmark = pytest.mark.slow


def with_momentum(recipe: Recipe, **train: object) -> Recipe:
    own = replace(recipe.train, momentum=0.9, keep="last", **train)  # type: ignore[arg-type]
    return replace(recipe, train=own, loss=LossConfig("infonce_memory", {"batches": 3}))


def test_each_weight_moves_its_share() -> None:
    model, moved = nn.Linear(3, 2), nn.Linear(3, 2)
    start = moved.weight.clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    update_momentum(moved, model, 0.9)
    assert torch.allclose(moved.weight, 0.9 * start + 0.1 * model.weight, atol=1e-6)


def test_keys_are_looked_for_and_pushed() -> None:
    torch.manual_seed(0)
    image, audio, image_keys, audio_keys = (torch.randn(5, 4, dtype=torch.float64) for _ in range(4))
    loss = make_loss("infonce_memory", batches=2, batch_size=5, dimensions=4).double()
    assert isinstance(loss, InfoNCEMemory)
    image.requires_grad_()
    found = loss(image, audio, keys=(image_keys, audio_keys))

    def entropy(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        logits = nn.functional.normalize(queries) @ nn.functional.normalize(keys).T / 0.1
        return nn.functional.cross_entropy(logits, torch.arange(5))

    assert torch.allclose(found, entropy(image, audio_keys) + entropy(audio, image_keys))
    assert torch.allclose(loss.queue.image[:5], nn.functional.normalize(image_keys))
    assert torch.allclose(loss.queue.audio[:5], nn.functional.normalize(audio_keys))


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_stop_and_resume_equals_no_stop(
    chunk_size: int | None, tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    model = replace(tiny_recipe.model, drop_path=0.2)
    recipe, table = replace(with_momentum(tiny_recipe, chunk_size=chunk_size), model=model), Table(tiny_table)
    stops: Iterator[bool] = iter([True, False])

    def interrupted(*_: object) -> dict[str, float]:
        if next(stops):
            os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 0.0}

    fit(table, recipe, tmp_path / "whole", validate=lambda *_: {"score": 0.0})
    parts = tmp_path / "parts"
    assert not fit(table, recipe, parts, validate=interrupted).finished
    kept, _ = read_safetensors(parts / CHECKPOINT_FILE)
    trained = [name for name in kept if name.startswith("task.model.")]
    assert all(f"task.momentum_{name.removeprefix('task.')}" in kept for name in trained)
    assert fit(table, recipe, parts, resume=True, validate=lambda *_: {"score": 0.0}).finished
    one, other = (read_safetensors(run / "model.safetensors")[0] for run in (tmp_path / "whole", parts))
    assert all(torch.equal(one[key], other[key]) for key in one) and one.keys() == other.keys()
    assert not any("momentum" in key for key in one)


def test_the_queue_holds_what_the_momentum_encoders_make(tiny_table: Path, tiny_recipe: Recipe) -> None:
    recipe, table = with_momentum(tiny_recipe), Table(tiny_table)
    torch.manual_seed(0)
    task = PretrainTask(TwoTower(recipe.model, recipe.signal), recipe_loss(recipe), recipe.train, steps=4)
    assert task.momentum_model is not None and isinstance(task.loss, InfoNCEMemory)
    with torch.no_grad():  # as after many steps
        for value in task.model.parameters():
            value.add_(0.05 * torch.randn_like(value))
    batch = next(iter(TrainLoader(table, table.rows_of("train"), recipe)))
    start = {name: value.clone() for name, value in task.momentum_model.named_parameters()}
    task.training_step(batch, 0).backward()
    for name, value in task.model.named_parameters():
        moved = task.momentum_model.get_parameter(name)
        assert torch.allclose(moved, 0.9 * start[name] + 0.1 * value, atol=1e-6) and moved.grad is None
    with torch.no_grad():
        expected = nn.functional.normalize(task.momentum_model(batch.image, batch.audio)[0])
    assert torch.allclose(task.loss.queue.image[:4], expected, atol=1e-5)


def test_momentum_without_a_queue_is_refused(tiny_recipe: Recipe) -> None:
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, momentum=0.9))
    with pytest.raises(ConfigError, match="the loss 'infonce' has none; leave it out"):
        check_recipe(recipe, "r")
    with pytest.raises(ConfigError, match="no queue that keys could fill"):
        make_loss("infonce")(torch.ones(2, 2), torch.ones(2, 2), keys=(torch.ones(2, 2), torch.ones(2, 2)))
    with pytest.raises(ConfigError, match="keys of the same"):
        make_loss("infonce_memory", dimensions=2)(
            torch.ones(2, 2), torch.ones(2, 2), keys=(torch.ones(3, 2), torch.ones(3, 2))
        )

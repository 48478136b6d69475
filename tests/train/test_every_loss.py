"""Every loss trains; those with a queue or weights of their own resume exactly, whatever the queue holds."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.errors import DataError
from earthtone.losses import LOSSES, loss_class
from earthtone.losses.queue import MemoryLoss
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import read_safetensors
from earthtone.train.checkpoint import CHECKPOINT_FILE, Progress, load_checkpoint, read_history, save_checkpoint
from earthtone.train.fit import fit
from earthtone.train.lightning_module import PretrainTask, recipe_loss
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import LossConfig, Recipe

pytestmark = pytest.mark.slow

MEMORY = ["infonce_memory", "SymmetricCLWithMemoryAndDistillation"]


def with_loss(recipe: Recipe, name: str, epochs: int, **options: float) -> Recipe:
    twins = "mask" if loss_class(name).has_negatives else "ignore"
    train = replace(recipe.train, epochs=epochs, keep="last")
    if loss_class(name).has_queue:
        options = {"batches": 4, **options}  # as many rows as there are
    return replace(recipe, loss=LossConfig(name, dict(options), twins), train=train)


@pytest.mark.parametrize("name", LOSSES)
def test_trains_an_epoch(name: str, tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    result = fit(Table(tiny_table), with_loss(tiny_recipe, name, 1), tmp_path / "run")
    assert result.finished
    assert f"name: {name}" in (tmp_path / "run" / "recipe.yaml").read_text()


# 4 steps an epoch, 4 rows a step: after the first stop the queue is full, of 2 batches or of as many rows as there are
@pytest.mark.parametrize("batches", [2, 4])
@pytest.mark.parametrize("name", MEMORY)
def test_stop_and_resume_equals_no_stop_with_a_queue(
    name: str, batches: int, tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe, table = with_loss(tiny_recipe, name, 3, batches=batches), Table(tiny_table)

    def score(*_: object) -> dict[str, float]:
        return {"score": 0.0}

    stops: Iterator[bool] = iter([True, True, False])

    def interrupted(*_: object) -> dict[str, float]:
        if next(stops):
            os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 0.0}

    fit(table, recipe, tmp_path / "whole", validate=score)
    parts = tmp_path / "parts"
    assert not fit(table, recipe, parts, validate=interrupted).finished
    tensors, _ = read_safetensors(parts / CHECKPOINT_FILE)
    assert int(tensors["task.loss.queue.pushed"]) == 16
    assert tensors["task.loss.queue.image"].shape == (4 * batches, 16)
    assert (tensors["task.loss.queue.image"].norm(dim=1) > 0).sum() == min(16, 4 * batches)
    assert not fit(table, recipe, parts, resume=True, validate=interrupted).finished
    assert fit(table, recipe, parts, resume=True, validate=interrupted).finished
    one, other = (read_safetensors(run / "model.safetensors")[0] for run in (tmp_path / "whole", parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert [line["loss"] for line in read_history(parts) if "loss" in line] == [
        line["loss"] for line in read_history(tmp_path / "whole") if "loss" in line
    ]


@pytest.mark.parametrize("name", [*MEMORY, "simclr"])
def test_a_checkpoint_brings_all_of_a_loss_back(
    name: str, tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    table = Table(tiny_table)
    recipe = with_loss(tiny_recipe, name, 2)
    batches = list(TrainLoader(table, table.rows_of("train"), recipe))

    def new_task(seed: int) -> PretrainTask:
        torch.manual_seed(seed)
        task = PretrainTask(TwoTower(recipe.model, recipe.signal), recipe_loss(recipe), recipe.train, steps=8)
        task._trainer = SimpleNamespace(optimizers=[task.configure_optimizers()])  # type: ignore[assignment]
        return task

    task, other = new_task(0), new_task(1)
    for batch in batches[:3]:
        task.training_step(batch, 0)
    save_checkpoint(tmp_path, task, Progress(step=3))
    assert load_checkpoint(tmp_path, other).step == 3
    for key, value in task.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    assert torch.equal(task.training_step(batches[3], 0), other.training_step(batches[3], 0))
    if isinstance(task.loss, MemoryLoss):
        assert len(task.loss.queue) == 16 == len(task.loss.queue.image)


def test_places_that_are_lost_stop_before_training(
    write_pairs: Callable[[Path, int], Path], tiny_recipe: Recipe, tmp_path: Path
) -> None:
    manifest = write_pairs(tmp_path / "pairs", 12)
    lines = [line.split(",") for line in manifest.read_text().splitlines()]
    lines[1][lines[0].index("longitude")] = lines[1][lines[0].index("latitude")] = ""
    manifest.write_text("\n".join(",".join(values) for values in lines) + "\n")
    table = Table(pack(manifest, tmp_path / "lost.lance", signal=tiny_recipe.signal, threads=1).path)
    recipe = with_loss(tiny_recipe, "place_distillation", 1, batches=2)
    with pytest.raises(DataError, match=r"1 of 8 training pairs have no coordinates \(pair-0\)"):
        fit(table, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()

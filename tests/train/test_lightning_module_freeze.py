"""Frozen encoders stand still to the last bit, join at their step, and a stop in between changes nothing."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.losses import make_loss
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.train.checkpoint import read_history
from earthtone.train.fit import fit
from earthtone.train.lightning_module import PretrainTask, is_frozen
from earthtone.train.recipe import LossConfig, Recipe, TrainConfig
from earthtone.train.recipe_file import recipe_from_dict


def score(model: TwoTower, table: Table, rows: np.ndarray) -> dict[str, float]:
    return {"score": float(model.embed_tiles([np.full((32, 32, 3), 90, np.uint8)]).sum())}


def with_train(recipe: Recipe, **train: Any) -> Recipe:
    return replace(recipe, train=replace(recipe.train, **train))


@pytest.fixture
def warm_recipe(tiny_recipe: Recipe, tiny_model: TwoTower, tmp_path: Path) -> Recipe:
    """Both towers begin with those of the tiny model; 12 steps."""
    save_model(tmp_path / "donor", tiny_model, {})
    donor = str(tmp_path / "donor")
    model = replace(tiny_recipe.model, image_weights=donor, audio_weights=donor)
    return replace(
        tiny_recipe, model=model, train=replace(tiny_recipe.train, keep="last", precision="32", validation_rows=2)
    )


def same(run: Path, model: TwoTower, part: str) -> set[bool]:
    """Which of a part's tensors are as they began."""
    begun, weights = model.state_dict(), load_file(run / "model.safetensors")
    return {torch.equal(weights[key], value) for key, value in begun.items() if key.startswith(part)}


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["image", "audio", "both"])
@pytest.mark.parametrize("options", [{}, {"chunk_size": 2}], ids=["whole", "chunks"])
def test_frozen_for_good(
    freeze: str, options: dict[str, int], tiny_table: Path, warm_recipe: Recipe, tiny_model: TwoTower, tmp_path: Path
) -> None:
    """Weights, norms' statistics and counters; validation, which sets modes, comes in between."""
    recipe = with_train(warm_recipe, freeze=freeze, epochs=2, **options)
    fit(Table(tiny_table), recipe, tmp_path / "run", validate=score)
    for name in ("image", "audio"):
        frozen = freeze in (name, "both")
        assert (same(tmp_path / "run", tiny_model, f"{name}_tower.encoder") == {True}) == frozen
        assert same(tmp_path / "run", tiny_model, f"{name}_tower.projection") == {False}


def test_they_join_at_their_step(tiny_table: Path, warm_recipe: Recipe, tiny_model: TwoTower, tmp_path: Path) -> None:
    """In the last of eight steps: every weight moves by one Adam step, which is about the rate, and not before."""
    recipe = with_train(warm_recipe, freeze="image", unfreeze_step=7, epochs=2, schedule="constant", weight_decay=0.5)
    fit(Table(tiny_table), recipe, tmp_path / "run")
    begun, weights = tiny_model.state_dict(), load_file(tmp_path / "run" / "model.safetensors")
    moved = {
        key: (weights[key] - begun[key]).abs().max()
        for key, _ in tiny_model.image_tower.named_parameters(prefix="image_tower")
        if "encoder" in key
    }
    rate = recipe.train.learning_rate
    assert all(change < 2 * rate for change in moved.values())
    assert all(change > 0 for key, change in moved.items() if begun[key].ndim >= 2)
    assert moved["image_tower.encoder.bn1.bias"] == pytest.approx(rate, rel=1e-3)
    counters = [value for key, value in weights.items() if "image_tower" in key and "num_batches" in key]
    assert {int(value) for value in counters} == {1}


_CHUNKS = {"chunk_size": 3, "momentum": 0.9, "precision": "bf16"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "options"),
    [
        pytest.param(1, {"layer_decay": 0.7}, id="frozen"),
        pytest.param(2, {"layer_decay": 0.7}, id="joined"),
        pytest.param(1, _CHUNKS, id="frozen-chunks-momentum", marks=pytest.mark.slow),
        pytest.param(2, _CHUNKS, id="joined-chunks-momentum", marks=pytest.mark.slow),
    ],
)
def test_a_stop_before_or_after_they_join_changes_nothing(
    stop: int, options: dict[str, Any], tiny_table: Path, warm_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = with_train(warm_recipe, freeze="both", unfreeze_step=6, **options)
    recipe = replace(recipe, model=replace(recipe.model, drop_path=0.2))
    if "momentum" in options:
        recipe = replace(recipe, loss=LossConfig("infonce_memory", {"batches": 2}))
    fit(Table(tiny_table), recipe, tmp_path / "whole", validate=score)
    epochs = iter(range(1, 10))

    def stopped(*_: Any) -> dict[str, float]:
        if next(epochs) == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return score(*_)

    assert not fit(Table(tiny_table), recipe, tmp_path / "parts", validate=stopped).finished
    fit(Table(tiny_table), recipe, tmp_path / "parts", resume=True, validate=score)
    one, other = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    whole, parts = (
        [{key: value for key, value in line.items() if key != "seconds"} for line in read_history(tmp_path / run)]
        for run in ("whole", "parts")
    )
    assert whole == parts


def test_a_group_has_its_share_of_the_rate(tiny_recipe: Recipe) -> None:
    recipe = with_train(tiny_recipe, layer_decay=0.5)
    task = PretrainTask(TwoTower(recipe.model, recipe.signal), make_loss("infonce"), recipe.train, steps=10)
    groups = task.configure_optimizers().param_groups
    share = {id(value): group["share"] for group in groups for value in group["params"]}
    assert share.keys() == {id(value) for value in task.parameters()}
    for tower in (task.model.image_tower, task.model.audio_tower):
        assert share[id(tower.projection.weight)] == 1.0
        assert share[id(tower.encoder.conv1[0].weight)] == min(share.values()) < 0.2
    assert all(share[id(value)] == 1.0 for value in task.loss.parameters())


def test_the_clock() -> None:
    assert not is_frozen(TrainConfig(), 0)
    assert is_frozen(TrainConfig(freeze="image"), 10**9)
    assert [is_frozen(TrainConfig(freeze="image", unfreeze_step=2), step) for step in range(4)] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"freeze": "sound"}}, "train.freeze is sound; image, audio or both expected"),
        ({"train": {"freeze": "image"}}, r"keep the image encoder's random weights; set model.image_weights"),
        ({"train": {"unfreeze_step": 5}}, "train.unfreeze_step without train.freeze has no effect"),
        (
            {"model": {"image_weights": "x"}, "train": {"freeze": "image", "unfreeze_step": 0}},
            "unfreeze_step is 0; 1 or more",
        ),
        ({"train": {"layer_decay": 0.0}}, "train.layer_decay is 0.0; above 0, at most 1 expected"),
        (
            {"model": {"image_weights": "x", "audio_weights": "x"}, "train": {"freeze": "both", "layer_decay": 0.9}},
            "train.layer_decay 0.9 has no effect on encoders that are frozen for good",
        ),
    ],
)
def test_what_has_no_effect_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_from_dict(values, "test")


def test_they_must_join_before_the_end(tiny_table: Path, warm_recipe: Recipe, tmp_path: Path) -> None:
    recipe = with_train(warm_recipe, freeze="image", unfreeze_step=12)
    with pytest.raises(ConfigError, match=r"unfreeze_step is 12, but the training has 12 steps"):
        fit(Table(tiny_table), recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()

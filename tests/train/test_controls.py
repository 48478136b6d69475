"""Controls: the same training without sounds, and with the sounds of others; their images are those of the true one."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from lightning.pytorch import Callback, LightningModule, Trainer
from safetensors.torch import load_file

import earthtone
from earthtone.data.packed import Table
from earthtone.errors import ConfigError, ModelError
from earthtone.models.storage import load_model
from earthtone.studies.pretrain import report_on_validation
from earthtone.train.checkpoint import read_history
from earthtone.train.fit import fit
from earthtone.train.lightning_module import PretrainTask
from earthtone.train.loader import Batch, TrainLoader
from earthtone.train.recipe import LossConfig, Recipe, SamplerConfig, WithinConfig
from earthtone.train.recipe_file import check_recipe, load_recipe, recipe_from_dict
from earthtone.train.sampler import shuffled_sounds, strangers


def model_of(task: LightningModule) -> dict[str, torch.Tensor]:
    return cast(PretrainTask, task).model.state_dict()


StopAt = Callable[[int], Callback]


@pytest.fixture
def viewed(tiny_recipe: Recipe) -> Recipe:
    """Two views, images against themselves; quiet sounds, so that they can be told."""
    augment = replace(tiny_recipe.augment, gain_db=0, time_mask=0, mel_mask=0)
    train = replace(tiny_recipe.train, views=2, keep="last", precision="32", epochs=2)
    within = WithinConfig("simclr", image_weight=0.75, audio_weight=0.5, projection=8)
    loss = LossConfig(twins="positive")
    return replace(tiny_recipe, augment=augment, train=train, within=within, loss=loss)


Control = Literal["images_only", "shuffled_sounds"]


def control(recipe: Recipe, name: Control) -> Recipe:
    return replace(recipe, train=replace(recipe.train, control=name))


@given(some.lists(some.integers(0, 8), min_size=1, max_size=40), some.integers(0, 99))
def test_nobody_keeps_its_own_where_that_can_be(labels: list[int], seed: int) -> None:
    groups = np.array(labels)
    found = strangers(groups, np.random.default_rng(seed))
    assert sorted(found) == list(range(len(groups)))
    most = int(np.unique(groups, return_counts=True)[1].max())
    assert int((groups[found] == groups).sum()) == max(0, 2 * most - len(groups))
    assert len(groups) == 1 or (found != np.arange(len(groups))).all()


def test_sounds_are_dealt_out_once_for_all_by_the_seed(tiny_table: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = Table(tiny_table)
    rows = table.rows_of("train")
    heard = shuffled_sounds(table, rows, 3)
    assert np.array_equal(heard, shuffled_sounds(Table(tiny_table), rows, 3))
    assert not np.array_equal(heard, shuffled_sounds(table, rows, 4))
    assert sorted(heard[rows]) == rows.tolist() and (heard[rows] != rows).all()  # within the split
    others = np.setdiff1d(np.arange(len(table)), rows)
    assert np.array_equal(heard[others], others) and not caplog.text
    with caplog.at_level(logging.WARNING):
        assert shuffled_sounds(table, rows[:1], 0)[rows[0]] == rows[0]
    assert "1 of 1 training rows keep a sound of their own" in caplog.text


def batches(table: Table, recipe: Recipe, first: int = 0, rank: int = 0, processes: int = 1) -> list[Batch]:
    return list(TrainLoader(table, table.rows_of("train"), recipe, first, rank=rank, processes=processes))


@pytest.mark.parametrize("ring", [False, True])
def test_images_are_those_of_the_true_training(tiny_table: Path, viewed: Recipe, ring: bool) -> None:
    table = Table(tiny_table)
    if ring:
        viewed = replace(viewed, sampler=SamplerConfig(ring_share=0.25, ring_km=(1.0, 5000.0)))
    true = batches(table, viewed)
    alone = batches(table, control(viewed, "images_only"))
    shuffled = batches(table, control(viewed, "shuffled_sounds"))
    heard = shuffled_sounds(table, table.rows_of("train"), viewed.train.seed)
    size, frames = table.signal.audio.window_frames, table.frames()
    for one, other, third in zip(true, alone, shuffled, strict=True):
        assert one.image is not None and other.image is not None and third.image is not None
        assert torch.equal(one.image, other.image) and torch.equal(one.image, third.image)
        assert torch.equal(one.rows, other.rows) and torch.equal(one.rows, third.rows)
        assert other.audio is None and third.audio is not None and one.groups is not None and third.groups is not None
        assert torch.equal(one.groups[:, [0, 2]], third.groups[:, [0, 2]])
        for row, window in zip(third.rows.tolist() * 2, third.audio[:, 0].numpy(), strict=True):
            [whole] = table.sound([heard[row]], [0], [int(frames[heard[row]])])
            assert any(np.array_equal(whole[s : s + size], window) for s in range(len(whole) - size + 1))
        numbers = torch.from_numpy(table.groups("audio_hash"))
        assert torch.equal(third.groups[:, 1], numbers[heard[third.rows.numpy()]].repeat(2))


def test_a_resume_and_several_processes_hear_the_same(tiny_table: Path, viewed: Recipe) -> None:
    table, recipe = Table(tiny_table), control(viewed, "shuffled_sounds")
    whole = batches(table, recipe)
    for one, other in zip(whole[3:], batches(table, recipe, first=3), strict=True):
        assert one.audio is not None and other.audio is not None and torch.equal(one.audio, other.audio)
    for rank in range(2):
        for one, part in zip(whole, batches(table, recipe, rank=rank, processes=2), strict=True):
            assert one.audio is not None and part.audio is not None
            views = one.audio.reshape(2, -1, *one.audio.shape[1:])
            assert torch.equal(views[:, rank::2].flatten(0, 1), part.audio)


@pytest.mark.parametrize("name", ["images_only", "shuffled_sounds"])
def test_a_control_is_trained_stopped_resumed_and_told(
    tiny_table: Path, viewed: Recipe, tmp_path: Path, name: Control, stop_at: StopAt
) -> None:
    table, recipe = Table(tiny_table), control(viewed, name)
    begun: dict[int, dict[str, torch.Tensor]] = {}

    class Keep(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            begun[len(begun)] = {key: value.clone() for key, value in model_of(pl_module).items()}

    assert fit(table, recipe, tmp_path / "whole", callbacks=[Keep()]).finished
    assert not fit(table, recipe, tmp_path / "parts", callbacks=[stop_at(3)]).finished
    with pytest.raises(ConfigError, match=r"train\.control"):
        fit(table, viewed, tmp_path / "parts", resume=True)
    assert fit(table, recipe, tmp_path / "parts", resume=True).finished
    one, other = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)

    fit(table, viewed, tmp_path / "true", callbacks=[Keep(), stop_at(1)])  # began with the same network
    assert all(torch.equal(value, begun[1][key]) for key, value in begun[0].items())
    assert any(not torch.equal(one[key], value) for key, value in begun[0].items())
    logged = [line for line in read_history(tmp_path / "whole") if "loss" in line][-1]
    card = json.loads((tmp_path / "whole" / "card.json").read_text())
    assert card["recipe"]["train"]["control"] == name
    report_on_validation(tmp_path / "whole", table)
    page = (tmp_path / "whole" / "report.html").read_text()
    assert f"This is a control, train.control {name}" in page
    model = load_model(tmp_path / "whole")
    if name == "images_only":
        assert "within_image" in logged and "across" not in logged and "within_audio" not in logged
        assert logged["loss"] == pytest.approx(0.75 * logged["within_image"])
        assert model.config.only == "image" and card["format"] == 2 and not any("audio" in key for key in one)
        assert "there is no retrieval" in page and "effective rank" in page
        with pytest.raises(ModelError, match=r"no audio tower.*model.only image"):
            earthtone.evaluate_retrieval(model, table.path)
    else:
        assert {"across", "within_image", "within_audio"} <= logged.keys()
        assert model.config.only is None and card["format"] == 1


def test_what_has_no_control_is_refused(viewed: Recipe, tiny_recipe: Recipe) -> None:
    check_recipe(control(load_recipe("default"), "images_only"), "recipe")
    unseen = replace(viewed, within=WithinConfig("simclr", image_weight=0))
    alike = replace(viewed, sampler=SamplerConfig(similar_share=0.25))
    only = replace(viewed, model=replace(viewed.model, only="image"))
    for recipe, match in (
        (control(tiny_recipe, "images_only"), "images_only learns from views of one picture alone"),
        (control(unseen, "images_only"), "within.image_weight above 0"),
        (control(alike, "shuffled_sounds"), "similar_share"),
        (control(only, "shuffled_sounds"), "leave model.only out"),
    ):
        with pytest.raises(ConfigError, match=re.escape(match)):
            check_recipe(recipe, "recipe")
    with pytest.raises(ConfigError, match="none, images_only or shuffled_sounds expected"):
        recipe_from_dict({"train": {"control": "shuffled"}}, "recipe")

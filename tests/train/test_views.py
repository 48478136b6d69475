"""Several views of a pair in a step: other crops, other windows, the same facts; the first is what there was before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.losses import LOSSES, loss_class
from earthtone.models.two_tower import TwoTower
from earthtone.train.lightning_module import PretrainTask, check_queue, recipe_loss
from earthtone.train.loader import Batch, TrainLoader
from earthtone.train.recipe import LossConfig, Recipe
from earthtone.train.recipe_file import check_recipe


def with_views(recipe: Recipe, views: int, windows: int = 1) -> Recipe:
    return replace(recipe, train=replace(recipe.train, views=views, windows=windows))


def batches(table: Path, recipe: Recipe, **which: int) -> list[Batch]:
    opened = Table(table)
    return list(TrainLoader(opened, opened.rows_of("all"), recipe, **which))


@pytest.mark.parametrize("windows", [1, 2])
def test_the_first_views_are_those_of_a_recipe_with_fewer(tiny_table: Path, tiny_recipe: Recipe, windows: int) -> None:
    one, two, three = (batches(tiny_table, with_views(tiny_recipe, views, windows)) for views in (1, 2, 3))
    for single, double, triple in zip(one, two, three, strict=True):
        assert single.pairs is None and triple.image.shape[0] == triple.audio.shape[0] == 12
        assert torch.equal(single.rows, triple.rows) and len(triple.rows) == 4
        for part in ("image", "audio"):
            views = getattr(triple, part).chunk(3)
            assert torch.equal(views[0], getattr(single, part))
            assert torch.equal(torch.cat(views[:2]), getattr(double, part))
            assert not torch.equal(views[0], views[1]) and not torch.equal(views[1], views[2])


def test_facts_are_those_of_the_pair(tiny_table: Path, tiny_recipe: Recipe) -> None:
    recipe = replace(with_views(tiny_recipe, 2), loss=LossConfig("place_distillation", {"batches": 1}))
    for batch in batches(tiny_table, recipe):
        assert batch.pairs is not None and batch.pairs.tolist() == batch.rows.tolist() * 2
        for facts in (batch.groups, batch.points):
            assert facts is not None and facts.shape == (8, 3) and torch.equal(facts[:4], facts[4:])


def test_batches_depend_on_seed_and_step_alone(tiny_table: Path, tiny_recipe: Recipe) -> None:
    recipe = with_views(tiny_recipe, 2, windows=2)
    whole = batches(tiny_table, recipe)
    one_thread = replace(recipe, train=replace(recipe.train, threads=1))
    for a, b in zip(whole[5:], batches(tiny_table, one_thread, first=5), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None)


def test_processes_share_the_pairs_and_see_all_facts(tiny_table: Path, tiny_recipe: Recipe) -> None:
    recipe = with_views(tiny_recipe, 3)
    whole, *shares = (batches(tiny_table, recipe, rank=rank, processes=size) for rank, size in ((0, 1), (0, 2), (1, 2)))
    for batch, *parts in zip(whole, *shares, strict=True):
        for part in ("image", "audio"):
            joined = torch.stack([getattr(share, part) for share in parts], dim=1).flatten(0, 1)  # as gathering does
            assert torch.equal(joined, getattr(batch, part))
        for share in parts:
            assert torch.equal(share.pairs, batch.pairs) and torch.equal(share.groups, batch.groups)


def test_a_queue_has_room_for_all_views(tiny_recipe: Recipe) -> None:
    recipe = replace(with_views(tiny_recipe, 2), loss=LossConfig("infonce_memory", {"batches": 3}))
    loss = recipe_loss(recipe)
    assert loss.queue_rows == 3 * 4 * 2
    check_queue(loss, 12, recipe)
    with pytest.raises(ConfigError, match=r"queue of 3 batches of 4, more than the 11 .*batches 2 or less"):
        check_queue(loss, 11, recipe)
    wrong = replace(recipe, loss=LossConfig("infonce_memory", {"batches": 3, "batch_size": 4}))
    with pytest.raises(ConfigError, match=r"batch_size is 4, but train.batch_size x train.views is 8"):
        check_recipe(wrong, "r")


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_takes_views_or_says_that_it_cannot(name: str, tiny_table: Path, tiny_recipe: Recipe) -> None:
    twins = "mask" if loss_class(name).has_negatives else "ignore"
    options = {"batches": 2} if loss_class(name).has_queue else {}
    recipe = replace(with_views(tiny_recipe, 2), loss=LossConfig(name, dict(options), twins))
    if not loss_class(name).has_negatives:
        with pytest.raises(ConfigError, match=rf"train\.views is 2, but the loss '{name}' takes one view of a pair"):
            check_recipe(recipe, "r")
        return
    task = PretrainTask(
        TwoTower(recipe.model, recipe.signal), recipe_loss(recipe), recipe.train, 9, ignores_twins=twins == "ignore"
    )
    value = task.training_step(batches(tiny_table, recipe)[0], 0)
    value.backward()
    assert torch.isfinite(value) and task.model.image_tower.projection.weight.grad is not None


@pytest.mark.parametrize("windows", [1, 2])
def test_views_of_one_long_recording_start_anywhere(tiny_table: Path, tiny_recipe: Recipe, windows: int) -> None:
    """Each view draws its own windows."""
    quiet = replace(tiny_recipe.augment, gain_db=0, time_mask=0, mel_mask=0)
    recipe = replace(with_views(tiny_recipe, 2, windows), augment=quiet)
    frames = Table(tiny_table).frames()
    different = [
        not np.array_equal(one, other)
        for batch in batches(tiny_table, recipe)
        for row, one, other in zip(batch.rows.tolist(), *batch.audio.numpy().reshape(2, 4, -1), strict=True)
        if frames[row] > 100
    ]
    assert len(different) > 10 and np.mean(different) > 0.8

"""The recipe's loss: shaped by the recipe, under the name that was written, contradictions refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from earthtone.errors import ConfigError
from earthtone.losses.queue import MemoryLoss
from earthtone.studies.pretrain import pretrain
from earthtone.train.recipe import LossConfig, Recipe, WithinConfig
from earthtone.train.recipe_file import check_recipe, load_recipe
from earthtone.train.task import recipe_loss


def with_loss(name: str, twins: str = "mask", **options: float) -> Recipe:
    recipe = Recipe(loss=LossConfig(name=name, options=dict(options), twins=twins))
    return replace(recipe, train=replace(recipe.train, batch_size=6), model=replace(recipe.model, dimensions=10))


def test_a_queue_gets_the_recipes_batch_size_and_dimensions() -> None:
    loss = recipe_loss(with_loss("SymmetricCLWithMemory", batches=3))
    assert isinstance(loss, MemoryLoss)
    assert loss.queue.image.shape == (18, 10)
    assert recipe_loss(with_loss("simclr")).g[0].weight.shape == (512, 10)  # type: ignore[index]


def test_the_recipe_keeps_the_name_that_was_written(tmp_path: Path) -> None:
    recipe = with_loss("TripletLoss")
    written = tmp_path / "recipe.yaml"
    written.write_text(recipe.to_yaml())
    assert "name: TripletLoss" in written.read_text()
    assert load_recipe(written).loss.name == "TripletLoss"


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss.options.batch_size is 7, but train.batch_size is 6; leave"):
        check_recipe(with_loss("infonce_memory", batch_size=7), "r")
    with pytest.raises(ConfigError, match=r"loss.options.dimensions is 128, but model.dimensions is 10"):
        check_recipe(with_loss("simclr", dimensions=128), "r")
    with pytest.raises(ConfigError, match=r"'dimensions'; known are margin"):
        recipe_loss(with_loss("batch_triplet", dimensions=10))


def test_masking_twins_of_a_loss_without_negatives_is_refused() -> None:
    for name in ("BarlowTwins", "barlow_twins"):
        with pytest.raises(ConfigError, match=r"no negatives to keep twins out of; type --loss.twins ignore"):
            check_recipe(with_loss(name), "r")
        check_recipe(with_loss(name, twins="ignore"), "r")


def test_a_wrong_loss_is_told_before_anything_is_packed(tiny_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'SimCLRLos'; did you mean SimCLRLoss"):
        pretrain(tiny_pairs, tmp_path / "run", recipe=with_loss("SimCLRLos"))
    assert not (tmp_path / "run").exists()


def test_simclr_within_looks_for_twins_also_where_the_loss_ignores_them() -> None:
    near = LossConfig(twins="ignore", twin_radius_m=100.0)
    with pytest.raises(ConfigError, match=r"twin_radius_m tells twins, but loss.twins is ignore"):
        check_recipe(Recipe(loss=near), "r")
    recipe = Recipe(loss=near, within=WithinConfig("simclr"))
    loss = recipe_loss(replace(recipe, train=replace(recipe.train, views=2)))
    assert loss.twin_rule.radius_m == 0

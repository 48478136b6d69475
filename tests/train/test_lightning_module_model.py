"""What a recipe's encoders cannot do is told before anything is packed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from earthtone.errors import ConfigError
from earthtone.studies.pretrain import pretrain
from earthtone.train.lightning_module import check_model
from earthtone.train.recipe import Recipe

WITHOUT_BLOCKS = "poolformer_s12"  # as timm has it


def with_image_encoder(recipe: Recipe, name: str, **train: object) -> Recipe:
    return replace(
        recipe, model=replace(recipe.model, image_encoder=name, image_weights="x"),
        train=replace(recipe.train, **train),  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_rate_needs_blocks_to_decay_with_where_something_learns(tiny_recipe: Recipe) -> None:
    check_model(with_image_encoder(tiny_recipe, WITHOUT_BLOCKS))
    check_model(with_image_encoder(tiny_recipe, "test_resnet", layer_decay=0.9))
    check_model(with_image_encoder(tiny_recipe, WITHOUT_BLOCKS, layer_decay=0.9, freeze="image"))
    for joins in ({}, {"freeze": "audio"}, {"freeze": "image", "unfreeze_step": 2}):
        with pytest.raises(ConfigError, match=r"does not tell its blocks.*leave layer_decay at 1"):
            check_model(with_image_encoder(tiny_recipe, WITHOUT_BLOCKS, layer_decay=0.9, **joins))


def test_it_draws_no_numbers(tiny_recipe: Recipe) -> None:
    before = torch.get_rng_state()
    check_model(tiny_recipe)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("encoder", "told"), [(WITHOUT_BLOCKS, "does not tell its blocks"), ("resnet19", "'resnet19' is no timm model")]
)
def test_it_is_told_before_anything_is_packed(
    encoder: str, told: str, tiny_recipe: Recipe, tiny_pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        pretrain(tiny_pairs, tmp_path / "run", recipe=with_image_encoder(tiny_recipe, encoder, layer_decay=0.9))
    assert not (tmp_path / "run").exists()

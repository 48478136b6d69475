"""The recipe's sampler: what it cannot do, and what would do nothing, is refused in one line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earthtone.errors import ConfigError
from earthtone.train.recipe import LossConfig, Recipe, SamplerConfig
from earthtone.train.recipe_file import check_recipe, load_recipe

RING = {"ring_share": 0.25, "ring_km": (1.0, 50.0)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batches": "spred"}, r"'spred'; one of random, spread, clustered"),
        ({"cell_km": 20.0}, r"cell_km does nothing without sampler.batches spread or clustered"),
        ({"ring_km": (1.0, 50.0)}, r"ring_km does nothing without a sampler.ring_share"),
        ({"refresh_epochs": 2}, r"refresh_epochs does nothing without a sampler.similar_share"),
        ({"refresh_epochs": 0, "similar_share": 0.5}, r"refresh_epochs is 0; at least 1"),
        ({"batches": "spread", "cell_km": 0.0}, r"cell_km is 0.0; at least 0.1"),
        ({"ring_share": 0.25}, r"ring_share needs sampler.ring_km, such as \[1, 50\]"),
        ({**RING, "ring_km": (50.0, 1.0)}, r"ring_km is \[50.0, 1.0\]; 0 <= low < high"),
        ({**RING, "ring_share": 1.5}, r"ring_share is 1.5; a share from 0 to 0.75"),
        ({**RING, "ring_share": 0.001}, r"0.001 of a batch of 128 is no row; 0.0078 is one"),
        ({**RING, "similar_share": 0.6}, r"more than 0.75 of a batch together"),
        ({**RING, "ring_share": float("nan")}, r"ring_share is nan"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_recipe(Recipe(sampler=SamplerConfig(**values)), "r.yaml")


def test_a_ring_begins_outside_the_twins() -> None:
    recipe = Recipe(sampler=SamplerConfig(**RING), loss=LossConfig(twin_radius_m=1500))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"begins at 1.0 km, inside loss.twin_radius_m 1500"):
        check_recipe(recipe, "r.yaml")
    check_recipe(replace(recipe, loss=LossConfig(twin_radius_m=1000)), "r.yaml")


def test_a_recipe_with_a_sampler_is_written_and_read(tmp_path: Path) -> None:
    recipe = load_recipe(
        "default", {"sampler.ring_share": 0.25, "sampler.ring_km": [1, 50], "sampler.batches": "spread"}
    )
    assert recipe.sampler == SamplerConfig(batches="spread", ring_share=0.25, ring_km=(1, 50))
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "r.yaml") == recipe
    with pytest.raises(ConfigError, match=r"sampler.ring_shar; did you mean sampler.ring_share"):
        load_recipe("default", {"sampler.ring_shar": 0.25})

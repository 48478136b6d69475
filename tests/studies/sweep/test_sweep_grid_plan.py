"""Every combination is checked before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from earthtone.errors import ConfigError
from earthtone.studies.sweep import shares
from earthtone.studies.sweep_grid import Grid, plan
from earthtone.train.recipe_file import load_recipe


@pytest.mark.slow
def test_runs_have_the_recipe_with_its_changes_and_seed(recipe_file: Path, tmp_path: Path) -> None:
    grid = Grid({"loss.name": ["infonce", "siglip"], "train.learning_rate": [1e-3, "1e-2"]}, seeds=(0, 7))
    runs = plan(recipe_file, grid, tmp_path)
    assert len(runs) == 8 and len({run.folder for run in runs}) == 8
    changed = {"loss.name": "siglip", "train.learning_rate": 0.01, "train.seed": 7}
    assert runs[-1].recipe == load_recipe(recipe_file, changed)
    assert plan(load_recipe(recipe_file), grid, tmp_path)[-1].recipe == runs[-1].recipe
    assert runs[-1].folder == tmp_path / "runs" / "loss.name=siglip,train.learning_rate=1e-2" / "seed-7"


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        ({"train.bach_size": [4]}, r"unknown key train.bach_size; did you mean train.batch_size\?"),
        ({"lss.name": ["siglip"]}, r"unknown key lss; did you mean loss\?"),
        ({"train.epochs": [2, "many"]}, r"^train.epochs=many: .*epochs"),
        ({"loss.name": ["infonce", "siglip", "siglop"]}, r"loss.name=siglop: .*siglip"),
        ({"model.image_encoder": ["test_resnet", "resnet19"]}, "encoder 'resnet19' is no timm model"),
        ({"model.image_encoder": ["poolformer_s12"], "train.layer_decay": [0.9]}, "does not tell its blocks"),
        ({"model.windows": ["mean", "attention"]}, "model.windows=attention: .*learns nothing from one window"),
        ({"train.momentum": [0.9], "loss.name": ["siglip", "infonce"]}, "loss.name=siglip: .*; loss.name=infonce: "),
        ({"train.validate_every": [0]}, "a sweep compares by validation"),
        ({"train.nodes": [2]}, "on one machine"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    recipe_file: Path, tmp_path: Path, axes: dict[str, list[Any]], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        plan(recipe_file, Grid(axes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_two_names_for_one_training_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'a' and 'b' are the same training"):
        plan(recipe_file, Grid(named={"a": {}, "b": {"loss.name": "infonce"}}), tmp_path)


def test_places_share_threads(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(recipe_file)
    assert shares(1, [recipe]) == [{}]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [set(place) for place in shares(2, [recipe])] == [{"OMP_NUM_THREADS"}] * 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert shares(2, [recipe]) == [{}, {}]
    with pytest.raises(ConfigError, match="1 or more"):
        shares(0, [recipe])
    with pytest.raises(ConfigError, match=r"train\.devices 2 go one at a time"):
        shares(2, [load_recipe(recipe_file, {"train.devices": 2})])

"""What is varied, by words, by a file, multiplied; what no grid can be; every combination checked beforehand."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.errors import ConfigError
from earthtone.studies.sweep_grid import Grid, plan, read_axes, read_grid
from earthtone.train.recipe_file import load_recipe


def test_words_are_axes_of_yaml_values() -> None:
    axes = read_axes(["loss.name=infonce,siglip", "augment.crop_area=[0.2,1.0],[0.5,1.0]", "train.clip_norm=null,1.5"])
    assert axes == {
        "loss.name": ["infonce", "siglip"],
        "augment.crop_area": [[0.2, 1.0], [0.5, 1.0]],
        "train.clip_norm": [None, 1.5],
    }


def test_variants_times_axes_with_what_differs_in_the_label() -> None:
    grid = Grid({"train.batch_size": [64, 256], "train.epochs": [3]}, {"plain": {}, "siglip": {"loss.name": "siglip"}})
    found = grid.variants("small")
    assert [variant.label for variant in found] == [
        "plain, train.batch_size=64", "plain, train.batch_size=256",
        "siglip, train.batch_size=64", "siglip, train.batch_size=256",
    ]  # fmt: skip
    assert found[3].changes == {"loss.name": "siglip", "train.batch_size": 256, "train.epochs": 3}
    assert found[3].folder == "siglip,train.batch_size=256,train.epochs=3"
    assert [(v.label, v.folder, v.changes) for v in Grid().variants("small")] == [("small", "recipe", {})]


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.sampled_from(["a.b", "a.c", "b/../c"]), st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True)
    ),
    st.lists(st.text(), unique=True, max_size=3),
)
def test_every_combination_once_in_a_folder_of_its_own(axes: dict[str, list[str]], names: list[str]) -> None:
    found = Grid(axes, {f"v{name}": {} for name in names}).variants("r")
    assert len(found) == len(list(product(*axes.values()))) * max(1, len(names))
    assert len({variant.folder for variant in found}) == len(found)
    assert all("/" not in v.folder and len(v.folder.encode()) < 200 and v.folder not in (".", "..") for v in found)


def test_more_values_leave_the_folders_as_they_were() -> None:
    before = {v.folder for v in Grid({"train.epochs": [3]}).variants("r")}
    assert before < {v.folder for v in Grid({"train.epochs": [3, 5]}).variants("r")}


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("grid: {loss.name: [infonce, siglip]}\nvariants: {wide: {model.dimensions: 32}}\nseeds: [3, 4]\n")
    assert read_grid(path) == Grid({"loss.name": ["infonce", "siglip"]}, {"wide": {"model.dimensions": 32}}, [3, 4])
    path.write_text("")
    assert read_grid(path) == Grid(seeds=[0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gird: {}", "unknown key gird; did you mean grid"),
        ("grid: {loss.name: siglip}", "loss.name is siglip; a list of values expected"),
        ("grid: {loss.name: []}", "has no values"),
        ("grid: {train.epochs: [3, 3]}", "train.epochs has 3 twice"),
        ("grid: {train.seed: [0, 1]}", "give the seeds: --seeds"),
        ("variants: {a: {train.seed: 1}}", "give the seeds: --seeds"),
        ("grid: {train.epochs: [1]}\nvariants: {a: {train.epochs: 3}}", "in the grid and in the variant 'a'"),
        ("seeds: 3", "seeds is 3; a list expected"),
        ("seeds: [-1]", "whole numbers from 0 on"),
        ("seeds: [true]", "whole numbers from 0 on"),
        ("variants: [a]", "variants is"),
        ("- a", "a mapping of grid, variants, seeds expected"),
        ("grid: &a {}\nvariants: *a", "alias"),
        ("false", "a mapping of grid, variants, seeds expected"),
        ("grid:", "grid is null"),
        ("variants: {a: }", "variant a is null"),
        ("seeds:", "seeds is null"),
        ("seeds: [0]\nseeds: [1]", "seeds is there twice"),
    ],
)
def test_files_that_are_no_grid(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_grid(tmp_path / "grid.yaml")


@pytest.mark.parametrize(
    "words", [["loss.name"], ["=a"], ["a="], ["a=1", "a=2"], ["a=[1"], ["a=1,"], ["a=,1"], ["a=1,,2"]]
)
def test_words_that_are_no_axes(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="--set"):
        read_axes(words)


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

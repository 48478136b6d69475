"""What is varied: by words, by a file, multiplied; and what no grid can be."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.errors import ConfigError
from earthtone.studies.sweep_grid import Grid, read_axes, read_grid


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

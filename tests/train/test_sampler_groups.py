"""What the recipe needs to know of rows: places, ids of places; options that would look at nothing are refused."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.losses.twins import twins_between
from earthtone.train.checkpoint import read_history
from earthtone.train.fit import fit
from earthtone.train.lightning_module import recipe_loss
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import LossConfig, Recipe
from earthtone.train.recipe_file import check_recipe
from earthtone.train.sampler import table_groups

Change = Callable[[dict[str, str], int], None]


@pytest.fixture
def packed(write_pairs: Callable[[Path, int], Path], tiny_recipe: Recipe, tmp_path: Path) -> Callable[[Change], Table]:
    """A function that packs twelve pairs whose manifest was changed row by row; all are for training."""

    def make(change: Change) -> Table:
        manifest = write_pairs(tmp_path / "pairs", 12)
        names, *lines = [line.split(",") for line in manifest.read_text().splitlines()]
        rows = [dict(zip(names, line, strict=True)) for line in lines]
        for number, row in enumerate(rows):
            row["split"] = "train"
            change(row, number)
        manifest.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
        return Table(pack(manifest, tmp_path / "table.lance", signal=tiny_recipe.signal, threads=1).path)

    return make


def nowhere(row: dict[str, str], _: int) -> None:
    row["longitude"] = row["latitude"] = ""


def test_near_rows_and_rows_of_one_place_are_twins_in_a_batch(
    packed: Callable[[Change], Table], tiny_recipe: Recipe
) -> None:
    def change(row: dict[str, str], number: int) -> None:
        row["site"] = "" if number < 4 else f"site {number // 2}"  # 4 and 5, 6 and 7, ... lie at one place
        row["longitude"], row["latitude"] = "10", str(45 + [0, 0.001, 0.3, 0.3005][number] if number < 4 else number)

    table = packed(change)
    loss = LossConfig(place_column="site", twin_radius_m=150)
    recipe = replace(tiny_recipe, loss=loss, train=replace(tiny_recipe.train, batch_size=12, epochs=1))
    batch = next(iter(TrainLoader(table, table.rows_of("train"), recipe)))
    assert batch.groups is not None and batch.points is not None and batch.points.dtype == torch.float64
    twins = twins_between(
        batch.groups, batch.points, batch.groups, batch.points, recipe_loss(recipe).twin_rule.radius_m
    )
    found = {
        tuple(sorted(batch.rows[[i, j]].tolist()))
        for i, j in twins.nonzero().tolist()
        if batch.rows[i] != batch.rows[j]
    }
    assert found == {(n, n + 1) for n in range(0, 12, 2)}


def test_rows_are_looked_at_only_where_something_needs_them(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    rows = table.rows_of("train")
    assert table_groups(table, rows, tiny_recipe).points is None
    ignored = table_groups(table, rows, replace(tiny_recipe, loss=LossConfig(twins="ignore")))
    assert ignored == (None, None)


def test_options_that_would_find_nobody_are_refused(
    packed: Callable[[Change], Table], tiny_recipe: Recipe, tmp_path: Path
) -> None:
    def change(row: dict[str, str], number: int) -> None:
        nowhere(row, number)
        row["site"] = ""

    table = packed(change)
    with pytest.raises(ConfigError, match=r"none of 12 training pairs has coordinates, so loss.twin_radius_m 200"):
        fit(table, replace(tiny_recipe, loss=LossConfig(twin_radius_m=200)), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"'site' \(loss.place_column\) is empty for all 12"):
        fit(table, replace(tiny_recipe, loss=LossConfig(place_column="site")), tmp_path / "run")
    for option in ({"twin_radius_m": 200.0}, {"place_column": "site"}):
        with pytest.raises(ConfigError, match=r"tells twins, but loss.twins is ignore"):
            check_recipe(replace(tiny_recipe, loss=LossConfig(twins="ignore", **option)), "r")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_batches_of_twins_only_are_counted_and_told_once(
    packed: Callable[[Change], Table], tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = packed(lambda row, _: row.update(label="one place"))
    recipe = replace(tiny_recipe, loss=LossConfig(place_column="label"))
    with caplog.at_level(logging.WARNING):
        result = fit(table, recipe, tmp_path / "run")
    assert result.progress.twins_only == result.steps == 9
    assert caplog.text.count("all 4 pairs of the batch are twins of each other") == 1
    lines = read_history(tmp_path / "run")
    assert [line["twins_only"] for line in lines if "loss" in line] == [9]
    assert lines[0]["loss"] == 0.0


def test_a_queue_larger_than_the_data_is_refused(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    loss = LossConfig("infonce_memory", {"batches": 5})
    with pytest.raises(
        ConfigError, match=r"queue of 5 batches of 4, more than the 16 training pairs.*batches 4 or less"
    ):
        fit(Table(tiny_table), replace(tiny_recipe, loss=loss), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_facts_by_row_number(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    groups, points = table_groups(table, table.rows_of("val"), replace(tiny_recipe, loss=LossConfig(twin_radius_m=1)))
    assert groups is not None and points is not None
    assert groups.shape == points.shape == (24, 3)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-15)

"""A training that breaks: it stops before its weights do, its checkpoint is the last good one, the pairs are named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from earthtone.data.packed import Table
from earthtone.errors import DataError
from earthtone.losses.infonce import InfoNCE
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import read_safetensors
from earthtone.train.checkpoint import CHECKPOINT_FILE
from earthtone.train.fit import fit
from earthtone.train.lightning_module import NOT_FINITE_FILE
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import Recipe


def ids_of_step(table: Table, recipe: Recipe, step: int) -> list[str]:
    batch = next(iter(TrainLoader(table, table.rows_of("train"), recipe, first=step)))
    return [record["id"] for record in table.records(batch.rows.tolist(), ["id"])]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_stops_keeps_the_checkpoint_and_names_the_pairs(
    what: str, tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the sixth step is no number, or is one but has no gradient; a checkpoint is written each step."""
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, checkpoint_seconds=0.0))
    plain, calls = InfoNCE.compute, iter(range(100))

    def broken(self: InfoNCE, *given: object) -> torch.Tensor:
        value = plain(self, *given)  # type: ignore[arg-type]
        if next(calls) != 5:
            return value
        return value * float("nan") if what == "loss" else value + 0 * (value - value.detach()).sqrt()

    monkeypatch.setattr(InfoNCE, "compute", broken)
    table = Table(tiny_table)
    ids = ids_of_step(table, recipe, 5)
    with pytest.raises(DataError, match=rf"^{what} is nan at step 6: pairs {', '.join(ids)} \(all: .*learning_rate"):
        fit(table, recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run" / NOT_FINITE_FILE).read_text())["ids"] == ids
    kept, header = read_safetensors(tmp_path / "run" / CHECKPOINT_FILE)
    assert json.loads(header["earthtone_checkpoint"])["progress"]["step"] == 5
    assert all(torch.isfinite(value).all() for name, value in kept.items() if value.is_floating_point())
    monkeypatch.setattr(InfoNCE, "compute", plain)
    assert fit(table, recipe, tmp_path / "run", resume=True).finished


def test_only_the_pairs_to_blame_are_named(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TwoTower.forward

    def broken(self: TwoTower, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        image, audio = plain(self, *given)
        return image, audio.index_fill(0, torch.tensor([2]), float("inf"))

    monkeypatch.setattr(TwoTower, "forward", broken)
    table = Table(tiny_table)
    bad = ids_of_step(table, tiny_recipe, 0)[2]
    with pytest.raises(DataError, match=rf"loss is nan at step 1: embeddings of {bad} of its 4 pairs"):
        fit(table, tiny_recipe, tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT_FILE).exists()

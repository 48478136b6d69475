"""Callbacks and loggers of others: they see a training, and what is learned is the same, bit for bit."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from safetensors.torch import load_file

import earthtone
from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.models.storage import WEIGHTS_FILE
from earthtone.studies.sweep_grid import Grid, plan
from earthtone.train.checkpoint import CHECKPOINT_FILE, read_history
from earthtone.train.fit import fit
from earthtone.train.lightning_module import PretrainTask
from earthtone.train.loggers import check_logger
from earthtone.train.recipe import LoggerConfig, Recipe, TrainConfig
from earthtone.train.recipe_file import load_recipe, recipe_from_dict

CSV = LoggerConfig("csv", {"flush_logs_every_n_steps": 1})


class Watcher(Callback):
    """Looks at every step, and ends the training after one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.last, self.seen = last, list[int]()

    def on_train_batch_end(self, trainer: Trainer, pl_module: PretrainTask, *_: Any) -> None:  # type: ignore[override]
        self.seen.append(pl_module.done)
        trainer.should_stop = pl_module.done == self.last


class Memory(Logger):
    """Keeps what it is told; fails from some step on."""

    name, version = "memory", 0

    def __init__(self, fails_at: float = float("inf"), starts: bool = True) -> None:
        super().__init__()
        self.fails_at, self.starts, self.steps, self.said = fails_at, starts, list[int](), dict[str, Any]()

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        if not self.starts:
            raise OSError("no account")
        self.said = dict(params)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if step >= self.fails_at:
            raise ConnectionError("the server is gone")
        self.steps.append(step)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / WEIGHTS_FILE)


@pytest.mark.slow
def test_a_training_that_is_watched_stopped_and_resumed_learns_the_same(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    """Dropped paths draw from torch's generator, whose state a resume must find."""
    recipe = replace(tiny_recipe, model=replace(tiny_recipe.model, drop_path=0.2))
    table, watcher, memory = Table(tiny_table), Watcher(5), Memory()
    fit(table, recipe, tmp_path / "plain")
    assert json.loads((tmp_path / "plain/card.json").read_text())["recipe"].keys().isdisjoint({"logger"})
    watched = replace(recipe, logger=CSV)
    first = fit(table, watched, tmp_path / "run", callbacks=[watcher], loggers=[memory])
    assert (first.finished, first.stopped_by, first.progress.step) == (False, "a callback", 5)
    assert watcher.seen == [1, 2, 3, 4, 5] and (tmp_path / "run" / CHECKPOINT_FILE).exists()
    watcher.last = None
    last = fit(table, replace(recipe), tmp_path / "run", resume=True, callbacks=[watcher], loggers=[memory])
    assert last.finished and last.stopped_by is None and watcher.seen == list(range(1, 13))
    expected, found = weights(tmp_path / "plain"), weights(tmp_path / "run")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert memory.steps == [line["step"] for line in read_history(tmp_path / "run")] == [10, 12]
    assert memory.said["train.batch_size"] == 4 and "logger.name" not in memory.said


@pytest.mark.slow
def test_a_logger_that_fails_costs_its_figures_and_not_the_training(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory, table = Memory(fails_at=12), Table(tiny_table)
    with pytest.raises(ConfigError, match="the logger Memory cannot begin: OSError: no account"):
        fit(table, tiny_recipe, tmp_path / "none", loggers=[Memory(starts=False)])
    assert not (tmp_path / "none/run.json").exists()
    with caplog.at_level(logging.WARNING):
        assert fit(table, tiny_recipe, tmp_path / "run", loggers=[memory]).finished
    assert memory.steps == [10] and "step 12: the logger Memory failed (ConnectionError" in caplog.text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"callbacks": [ModelCheckpoint()]}, "ModelCheckpoint: a run writes checkpoints itself"),
        ({"callbacks": [print]}, "callbacks=.*a callback of lightning.pytorch"),
        ({"callbacks": Watcher()}, "callbacks=.*a callback of lightning.pytorch"),
        ({"logger": True}, "logger=.*a logger of lightning.pytorch"),
        ({"callbacks": [type("Callback", (), {})()]}, "no Callback of lightning.pytorch; derive it from that one"),
        ({"logger": [type("Logger", (), {})()]}, "no Logger of lightning.pytorch"),
        ({"recipe": Recipe(train=TrainConfig(device="cpu"), logger=LoggerConfig("wandb"))}, "pip install wandb"),
    ],
)
def test_what_python_hands_over_is_checked_before_anything_is_packed(
    tmp_path: Path, given: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earthtone.train.loggers.find_spec", lambda name: None)  # wherever it may be installed
    known = {"recipe": Recipe(train=TrainConfig(device="cpu"))} | given
    with pytest.raises(ConfigError, match=told):
        earthtone.pretrain("nowhere.csv", tmp_path / "run", **known)
    assert not (tmp_path / "run").exists()


def test_loggers_are_named_in_a_recipe() -> None:
    recipe = load_recipe("default", {"logger.name": "csv", "logger.options": {"version": 3}})
    assert recipe_from_dict(dict(recipe.decisive()), "x") == load_recipe("default")
    assert "logger" in recipe.to_yaml() and "logger" not in load_recipe("default").to_yaml()
    assert load_recipe("default", {"logger.name": "none"}).logger.options == {}
    for key, told in (
        ({"name": "wandbb"}, "none, csv, wandb, mlflow or comet expected"),
        ({"options": {"a": 1}}, "logger.options does nothing while logger.name is none"),
        ({"nme": 1}, r"did you mean logger.name\?"),
    ):
        with pytest.raises(ConfigError, match=told):
            recipe_from_dict({"logger": key}, "x")
    with pytest.raises(ConfigError, match=r"logger.options.versio: csv has no such option; did you mean version\?"):
        check_logger(LoggerConfig("csv", {"versio": 1}))


def test_recipes_that_differ_by_their_logger_are_one_training(tmp_path: Path, tiny_recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match="are the same training"):
        plan(tiny_recipe, Grid({"logger.name": ("none", "csv")}), tmp_path)

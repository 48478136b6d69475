"""All levers at once - views, windows, terms within a modality, background, noise - and still an exact resume."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from earthtone.data.packed import Table
from earthtone.models.storage import WEIGHTS_FILE
from earthtone.models.weights import read_safetensors
from earthtone.train.checkpoint import CHECKPOINT_FILE, read_history
from earthtone.train.fit import FitResult, fit
from earthtone.train.recipe import LossConfig, Recipe, SamplerConfig, WithinConfig


def with_levers(recipe: Recipe, within: str, **train: object) -> Recipe:
    return replace(
        recipe,
        model=replace(recipe.model, drop_path=0.2),
        within=WithinConfig(within, projection=8, image_weight=0.3, audio_weight=0.1),
        augment=replace(recipe.augment, mix_share=0.5, noise_share=0.5, blur_sigma=0.5, roll=True),
        train=replace(recipe.train, views=2, windows=2, keep="last", validate_every=0, checkpoint_seconds=0.0, **train),
    )


def stopped_somewhere(table: Table, recipe: Recipe, run: Path) -> FitResult:
    """A run that is asked to stop once it has a checkpoint, wherever it is then."""

    def ask() -> None:
        end = time.monotonic() + 60
        while not (run / CHECKPOINT_FILE).exists() and time.monotonic() < end:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=ask)
    watcher.start()
    result = fit(table, recipe, run)
    watcher.join()
    return result


def lines(run: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_history(run)]


@pytest.mark.parametrize(
    ("within", "loss", "train"),
    [
        ("simclr", LossConfig(), {}),
        pytest.param(
            "vicreg",
            LossConfig("infonce_memory", {"batches": 2}),
            {"momentum": 0.9, "chunk_size": 2},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_stop_and_resume_equals_no_stop(
    within: str, loss: LossConfig, train: dict[str, object], tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = replace(with_levers(tiny_recipe, within, epochs=2, **train), loss=loss)
    table = Table(tiny_table)
    seldom = replace(recipe, train=replace(recipe.train, checkpoint_seconds=100.0))
    assert fit(table, seldom, tmp_path / "whole").finished
    first = stopped_somewhere(table, recipe, tmp_path / "parts")
    assert first.stopped_by == "SIGINT" and 0 < first.progress.step < first.steps == 8
    assert fit(table, recipe, tmp_path / "parts", resume=True).finished
    one, other = (read_safetensors(tmp_path / run / WEIGHTS_FILE)[0] for run in ("whole", "parts"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts") != []


def test_look_alikes_are_sought_beside_them(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(with_levers(tiny_recipe, "simclr", epochs=2), sampler=SamplerConfig(similar_share=0.25))
    assert fit(Table(tiny_table), recipe, tmp_path / "run").finished

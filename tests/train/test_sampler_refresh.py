"""Training with all of the sampler: stopped anywhere it goes on to the same weights, bit for bit."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from earthtone.data.packed import Table
from earthtone.errors import ModelError
from earthtone.models.weights import read_safetensors
from earthtone.train import callbacks
from earthtone.train.checkpoint import read_history
from earthtone.train.fit import fit
from earthtone.train.lightning_module import PretrainTask
from earthtone.train.recipe import LossConfig, Recipe, SamplerConfig

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    """Six epochs of four steps; embeddings anew before steps 0, 8 and 16; towers with batch statistics."""
    sampler = SamplerConfig(
        batches="spread", ring_share=0.25, ring_km=(1, 15_000), similar_share=0.25, refresh_epochs=2
    )
    train = replace(tiny_recipe.train, epochs=6, keep="last")
    return replace(tiny_recipe, sampler=sampler, train=train, loss=LossConfig(twins="positive", twin_radius_m=200))


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    """Ask politely for a stop after each of these steps, once."""
    left: Iterator[int] = iter(steps)
    following = [next(left)]
    step = PretrainTask.training_step

    def watched(self: PretrainTask, batch: object, number: int) -> torch.Tensor:
        if self.done + 1 == following[0]:
            following[0] = next(left, 0)
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, number)  # type: ignore[arg-type]

    monkeypatch.setattr(PretrainTask, "training_step", watched)


# in the middle of an epoch, in one without a refresh, just before and just after one
@pytest.mark.parametrize("stops", [[3, 6, 11], [8, 9, 16], [1, 15, 23]])
def test_stop_and_resume_equals_no_stop(
    stops: list[int], tiny_table: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "LOG_EVERY", 1)
    table = Table(tiny_table)
    assert fit(table, recipe, tmp_path / "whole").steps == 24
    stop_after(monkeypatch, stops)
    parts = tmp_path / "parts"
    for number, step in enumerate(stops):
        result = fit(table, recipe, parts, resume=number > 0)
        assert not result.finished and result.progress.step == step
        begun = (step - 1) // 8 * 8  # the last refresh, without which nothing could go on
        assert [path.name for path in parts.glob("similar-*")] == [f"similar-{begun}.safetensors"]
    assert fit(table, recipe, parts, resume=True).finished
    one, other = (read_safetensors(run / "model.safetensors")[0] for run in (tmp_path / "whole", parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    losses = [[line["loss"] for line in read_history(run)] for run in (tmp_path / "whole", parts)]
    assert losses[0] == losses[1] and len(losses[0]) == 24
    assert not list(parts.glob("similar-*"))


def test_lost_or_foreign_embeddings_are_refused(
    tiny_table: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, run = Table(tiny_table), tmp_path / "run"
    stop_after(monkeypatch, [3])
    fit(table, recipe, run)
    kept = run / "similar-0.safetensors"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    with pytest.raises(ModelError, match=r"similar-0.safetensors: cannot be read as safetensors"):
        fit(table, recipe, run, resume=True)
    kept.write_bytes(whole.replace(b'"earthtone_similar":"0"', b'"earthtone_similar":"8"'))
    with pytest.raises(ModelError, match=r"not the embeddings of step 0 of this run"):
        fit(table, recipe, run, resume=True)
    kept.unlink()
    with pytest.raises(ModelError, match=r"similar-0.safetensors is missing"):
        fit(table, recipe, run, resume=True)
    kept.write_bytes(whole)
    assert fit(table, recipe, run, resume=True).finished

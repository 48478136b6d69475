"""Compiled passes train as plain ones, resume exactly, and leave no trace in names."""

import os
import signal
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.losses import make_loss
from earthtone.train import lightning_module
from earthtone.train.checkpoint import read_history
from earthtone.train.fit import fit
from earthtone.train.lightning_module import EmbedBy, compiled_embed, embed
from earthtone.train.recipe import Recipe, TrainConfig
from earthtone.train.recipe_file import check_device, recipe_from_dict

COMPILED = Recipe(train=TrainConfig(compile=True))


class Pair(nn.Module):
    """Two towers of one layer each, with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.3)) for _ in range(2)
        )

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return self.towers[0](image), self.towers[1](audio)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_loss_gradients_and_statistics_are_those_of_the_plain_pass(backend: str) -> None:
    """Two steps, random draws included; the second call uses what the first compiled."""
    torch.manual_seed(0)
    plain, image, audio = Pair(), torch.randn(5, 6), torch.randn(5, 6)
    compiled = deepcopy(plain)
    loss = make_loss("infonce")

    def steps(model: nn.Module, embed_by: EmbedBy) -> list[Tensor]:
        torch.manual_seed(1)
        values = [loss(*embed_by(model, image, audio)) for _ in range(2)]
        sum(values).backward()
        return [value.detach() for value in values]

    expected, found = steps(plain, embed), steps(compiled, compiled_embed(backend))
    assert not torch.equal(expected[0], expected[1])  # dropout was drawn anew
    torch.testing.assert_close(found, expected)
    for (name, value), (other, wanted) in zip(compiled.named_parameters(), plain.named_parameters(), strict=True):
        assert name == other
        torch.testing.assert_close(value.grad, wanted.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict())


@pytest.mark.slow
def test_a_stop_and_a_resume_change_nothing(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2N steps are N, a stop and N, bit for bit, with stochastic depth; names are those of a plain training.

    All that torch.compile does but the last part of it, kernels in C++, which would take minutes.
    """
    monkeypatch.setattr(lightning_module, "compiled_embed", partial(compiled_embed, "aot_eager"))
    train = replace(tiny_recipe.train, epochs=2, keep="last", precision="32")
    recipe = replace(tiny_recipe, model=replace(tiny_recipe.model, drop_path=0.3), train=replace(train, compile=True))
    table = Table(tiny_table)
    fit(table, recipe, tmp_path / "whole", validate=lambda *_: {"score": 0.0})

    def stop(*_: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 0.0}

    assert not fit(table, recipe, tmp_path / "parts", validate=stop).finished
    names = load_file(tmp_path / "parts" / "checkpoint.safetensors").keys()
    assert names and not any("_orig_mod" in name for name in names)
    fit(table, recipe, tmp_path / "parts", resume=True, validate=lambda *_: {"score": 0.0})
    one, other = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(one[key], other[key]) for key in one)

    fit(table, replace(recipe, train=train), tmp_path / "plain", validate=lambda *_: {"score": 0.0})
    assert load_file(tmp_path / "plain" / "model.safetensors").keys() == one.keys()
    plain, whole = (
        [line["loss"] for line in read_history(tmp_path / run) if "loss" in line] for run in ("plain", "whole")
    )
    assert whole == pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ({"chunk_size": 8}, "train.compile with train.chunk_size 8: chunks are not compiled"),
        ({"devices": 2}, r"train.compile with 2 processes .* it is for one process; leave it out"),
    ],
)
def test_passes_that_are_not_compiled(train: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        recipe_from_dict({"train": {"compile": True, **train}}, "test")


def test_a_compiler_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "c++-of-nobody -O2")
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler on a CPU, c\+\+-of-nobody is not there"):
        check_device(COMPILED, "cpu")
    check_device(COMPILED, "cuda")
    with pytest.raises(ConfigError, match="cpu and cuda; leave it out on mps"):
        check_device(COMPILED, "mps")

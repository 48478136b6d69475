"""Compiled passes train as plain ones, resume exactly, and leave no trace in names."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from earthtone.data.table import Table
from earthtone.errors import ConfigError
from earthtone.train.compiled import check_compiler
from earthtone.train.fit import fit
from earthtone.train.history import read_history
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import recipe_from_dict


@pytest.mark.slow
def test_compiled_training(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    """2N steps are N, a stop and N, bit for bit; the first loss is that of a plain training."""
    train = replace(tiny_recipe.train, epochs=2, keep="last", precision="32")
    recipe = replace(tiny_recipe, train=replace(train, compile=True))
    table = Table(tiny_table)
    fit(table, recipe, tmp_path / "whole", validate=lambda *_: {"score": 0.0})

    def stop(*_: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 0.0}

    assert not fit(table, recipe, tmp_path / "parts", validate=stop).finished
    names = load_file(tmp_path / "parts" / "checkpoint.safetensors").keys()
    fit(table, recipe, tmp_path / "parts", resume=True, validate=lambda *_: {"score": 0.0})
    one, other = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    fit(table, replace(recipe, train=train), tmp_path / "plain", validate=lambda *_: {"score": 0.0})
    plain = load_file(tmp_path / "plain" / "model.safetensors")
    assert plain.keys() == one.keys() and not any("_orig_mod" in name for name in names)
    losses = [
        next(line["loss"] for line in read_history(tmp_path / run) if "loss" in line) for run in ("plain", "whole")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_chunks_are_not_compiled() -> None:
    with pytest.raises(ConfigError, match=r"train.compile with train.chunk_size 8: chunks are not compiled"):
        recipe_from_dict({"train": {"compile": True, "chunk_size": 8}}, "test")


def test_a_compiler_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler on a CPU, none found \(g\+\+, clang\+\+, cl\)"):
        check_compiler("cpu")
    check_compiler("cuda")
    with pytest.raises(ConfigError, match="cpu and cuda; leave it out on mps"):
        check_compiler("mps")

"""Untrained models of all kinds, and what they are asked."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig

Make = Callable[..., TwoTower]
Inputs = tuple[list[Path], list[Path]]


@pytest.fixture(scope="session")
def make(tiny_signal: SignalConfig) -> Make:
    """A function (encoder, signal, options of ModelConfig) that returns a model whose learned parts say something."""

    def made(encoder: str = "test_resnet", signal: SignalConfig = tiny_signal, **options: object) -> TwoTower:
        torch.manual_seed(1)
        model = TwoTower(ModelConfig(encoder, encoder, dimensions=16, **options), signal).eval()  # type: ignore[arg-type]
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):  # as after training: no norm is the identity
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        if options.get("windows") == "attention":
            nn.init.normal_(model.reducer.weight.weight)  # type: ignore[arg-type, union-attr]
        return model

    return made


@pytest.fixture(scope="session")
def inputs(tiny_pairs: Path) -> Inputs:
    """Pictures of several sizes and recordings of several rates, channels and lengths."""
    return [tiny_pairs.parent / f"{n}.png" for n in range(4)], [tiny_pairs.parent / f"{n}.wav" for n in range(5)]

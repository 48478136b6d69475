"""Both towers' forward and backward pass as kernels that torch.compile writes for them."""

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.train.recipe import Recipe

#: Returns image and audio embeddings (n, D) that a model gives for the rows of both inputs.
EmbedBy = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


def embed(model: nn.Module, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Return both embeddings (n, D) of a model, computed as they are written."""
    images, sounds = model(image, audio)
    return images, sounds


def compiled_embed(backend: str = "inductor") -> EmbedBy:
    """Return `embed`, compiled at its first call for each model, mode and shape; random draws are those of `embed`.

    A function is compiled, not the model: its weights keep their names, validation and files run as ever.
    """
    torch.compiler.reset()  # what earlier trainings compiled counts too, and after eight torch silently stops compiling
    options: dict[str, Any] | None = {"fallback_random": True} if backend == "inductor" else None
    return torch.compile(embed, dynamic=False, backend=backend, options=options)


def check_compile(recipe: Recipe, source: str) -> None:
    """Raise ConfigError where a training has passes that are not compiled, or that nobody has tried compiled."""
    train = recipe.train
    if train.compile and train.chunk_size is not None:
        raise ConfigError(
            f"{source}: train.compile with train.chunk_size {train.chunk_size}: chunks are not compiled; "
            "leave one of them out"
        )
    if train.compile and train.devices * train.nodes > 1:
        raise ConfigError(
            f"{source}: train.compile with {train.devices * train.nodes} processes (train.devices x train.nodes): "
            "it is for one process; leave it out"
        )


def check_compiler(device: str) -> None:
    """Raise ConfigError where torch.compile has nothing to write kernels with."""
    if device == "mps":
        raise ConfigError("train.compile is for cpu and cuda; leave it out on mps")
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", usual).split()[0]
    if device == "cpu" and shutil.which(compiler) is None:
        raise ConfigError(
            f"train.compile needs a C++ compiler on a CPU, {compiler} is not there; install {usual}, "
            "set CXX to another, or leave train.compile out"
        )

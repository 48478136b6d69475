"""Both towers' forward and backward pass as kernels that torch.compile writes for them."""

import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.train.recipe import Recipe

#: Returns image and audio embeddings (n, D) that a model gives for the rows of both inputs.
EmbedBy = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


def embedding(compiled: bool) -> EmbedBy:
    """Return the forward pass of a model's towers, compiled or as it is.

    A function is compiled, not the model: its weights keep their names, validation and files run as ever.
    """
    return torch.compile(_embed, dynamic=False) if compiled else _embed


def _embed(model: nn.Module, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    images, sounds = model(image, audio)
    return images, sounds


def check_compile(recipe: Recipe, source: str) -> None:
    """Raise ConfigError where a training has passes that are not compiled."""
    if recipe.train.compile and recipe.train.chunk_size is not None:
        raise ConfigError(
            f"{source}: train.compile with train.chunk_size {recipe.train.chunk_size}: chunks are not compiled; "
            "leave one of them out"
        )


def check_compiler(device: str) -> None:
    """Raise ConfigError where torch.compile has nothing to write kernels with."""
    if device == "mps":
        raise ConfigError("train.compile is for cpu and cuda; leave it out on mps")
    known = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "cl"]
    if device == "cpu" and not any(map(shutil.which, known)):
        raise ConfigError(
            f"train.compile needs a C++ compiler on a CPU, none found ({', '.join(known)}); install g++ or leave it out"
        )

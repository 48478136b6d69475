"""State dicts with the names and shapes of the SoundingEarth release, their values made by a formula, not stored."""

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"
SEED = 7


def shapes_of(depth: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a whole model with a ResNet of that depth (18, 50) as image encoder."""
    entries = json.loads((FIXTURES / f"release_resnet{depth}.json").read_text())
    return {name: tuple(shape) for name, shape in entries}


def made(name: str, shape: tuple[int, ...], seed: int = SEED) -> Tensor:
    """The tensor that the stored outputs were computed with."""
    rng = np.random.default_rng(zlib.crc32(name.encode()) + seed)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean"):
        values = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 4:
        values = rng.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
    elif len(shape) == 2:
        values = rng.standard_normal(shape) / math.sqrt(shape[1])
    elif name.endswith("bias"):
        values = 0.1 * rng.standard_normal(shape)
    else:
        values = rng.uniform(0.5, 1.5, shape)
    return torch.from_numpy(np.asarray(values, np.float32))


def made_state() -> dict[str, Tensor]:
    """The state dict of a whole model with two ResNet-18."""
    return {name: made(name, shape) for name, shape in shapes_of(18).items()}


def flat_state(depth: int) -> dict[str, Tensor]:
    """A state dict whose file is small: each tensor is one number seen many times."""
    return {name: torch.tensor(0.5).expand(shape) for name, shape in shapes_of(depth).items()}


@pytest.fixture(scope="session")
def release_forward() -> dict[str, np.ndarray]:
    """Inputs and outputs of the release itself with `made_state`, ResNet-18, float32, evaluation mode."""
    with np.load(FIXTURES / "release_forward.npz") as arrays:
        assert int(arrays["seed"]) == SEED
        return {name: arrays[name].astype(np.float32) if arrays[name].ndim > 1 else arrays[name] for name in arrays}


@pytest.fixture(scope="session")
def release_shapes() -> Callable[[int], dict[str, tuple[int, ...]]]:
    """`shapes_of`."""
    return shapes_of


@pytest.fixture(scope="session")
def release_state() -> dict[str, Tensor]:
    """`made_state`, made once; do not change it."""
    return made_state()


@pytest.fixture(scope="session")
def release_file(release_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`made_state` as a checkpoint."""
    path = tmp_path_factory.mktemp("release") / "latest.pt"
    torch.save(release_state, path)
    return path


@pytest.fixture(scope="session")
def flat_release() -> Callable[[int], dict[str, Tensor]]:
    """`flat_state`."""
    return flat_state

"""All nine losses of the published release: values and gradients of a run of it, in float32 and in float64.

Absolute tolerance 1e-5 on values and on gradients; values of size 50 (Barlow Twins) 1e-6 relative.
"""

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from earthtone.losses import PUBLISHED, make_loss
from earthtone.losses.base import Loss

FIXTURE = Path(__file__).parent / "fixtures" / "losses.npz"
MEMORY = ("SymmetricCLWithMemory", "SymmetricCLWithMemoryAndDistillation")
SEED = 7  # of the projections
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@pytest.fixture(scope="module")
def numbers() -> Mapping[str, np.ndarray]:
    with np.load(FIXTURE) as fixture:
        return dict(fixture)


def made_weights(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The fixture's weights of a projection, by its formula."""
    draw = np.random.default_rng(zlib.crc32(key.encode()) + SEED).standard_normal(shape)
    return torch.from_numpy((draw / math.sqrt(shape[1]) if len(shape) == 2 else 0.1 * draw).astype(np.float32))


def published_loss(name: str) -> Loss:
    options = {"batches": 2, "batch_size": 16} if name in MEMORY else {}
    if name.endswith("Distillation"):
        options["nu"] = 0.1
    loss = make_loss(name, **options)
    if "SimCLR" in name:
        shapes = {key: tuple(value.shape) for key, value in loss.state_dict().items()}
        assert shapes == {"g.0.weight": (512, 128), "g.0.bias": (512,), "g.2.weight": (128, 512), "g.2.bias": (128,)}
        loss.load_state_dict({key: made_weights(f"{name}.{key}", shape) for key, shape in shapes.items()})
    return loss


def assert_equal_numbers(
    loss: Loss, numbers: Mapping[str, np.ndarray], key: str, dtype: torch.dtype, shift: int = 0
) -> None:
    image, audio = (
        torch.tensor(np.roll(numbers[modality], shift, axis=1), dtype=dtype, requires_grad=True)
        for modality in ("image", "sound")
    )
    points = torch.tensor(np.roll(numbers["points"], shift, axis=0), dtype=dtype) if loss.needs_points else None
    value = loss(image, audio, points=points)
    value.backward()
    assert value.item() == pytest.approx(float(numbers[key]), abs=1e-5, rel=1e-6)
    for modality, embeddings in (("image", image), ("sound", audio)):
        np.testing.assert_allclose(embeddings.grad, numbers[f"{key}_grad_{modality}"], rtol=0, atol=1e-5)


@DTYPES
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in MEMORY])
def test_equals_the_published_release(name: str, dtype: torch.dtype, numbers: Mapping[str, np.ndarray]) -> None:
    assert_equal_numbers(published_loss(name), numbers, name, dtype)


@DTYPES
@pytest.mark.parametrize("name", MEMORY)
def test_memory_losses_equal_it_in_every_step(name: str, dtype: torch.dtype, numbers: Mapping[str, np.ndarray]) -> None:
    """In four steps with room for two batches the queue is empty, partly filled, full, and has dropped its oldest."""
    loss = published_loss(name)
    for step in range(4):
        assert_equal_numbers(loss, numbers, f"{name}_step{step}", dtype, shift=step)


def test_no_loss_of_the_release_learns_its_temperature() -> None:
    for name in PUBLISHED:
        assert not [key for key, value in make_loss(name).named_parameters() if value.requires_grad and "g." not in key]


def test_the_nine_are_there() -> None:
    assert sorted(PUBLISHED) == sorted(
        [
            "TripletLoss", "NaiveTriplet", "ContrastiveLoss", "SymmetricCL", "SymmetricCLWithMemory",
            "SymmetricCLWithMemoryAndDistillation", "SimCLRLoss", "SymmetricSimCLR", "BarlowTwins",
        ]
    )  # fmt: skip

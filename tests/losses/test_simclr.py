"""SimCLR is InfoNCE behind a shared projection; NT-Xent against its definition in numpy; twins are left out."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from earthtone.errors import ConfigError
from earthtone.losses.infonce import InfoNCE
from earthtone.losses.simclr import NTXent, SimCLR
from earthtone.losses.twins import TwinRule


@pytest.mark.parametrize("directions", ["sum", "mean", "image_to_audio", "audio_to_image"])
def test_equals_infonce_of_projections(directions: str) -> None:
    image, audio = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    loss = SimCLR(0.3, directions, hidden=5, dimensions=8)
    first, last = loss.g[0], loss.g[2]
    projected = [
        F.linear(F.relu(F.linear(x, first.weight, first.bias)), last.weight, last.bias) for x in (image, audio)
    ]
    expected = InfoNCE(0.3, learnable_temperature=False, directions=directions)(*projected)
    torch.testing.assert_close(loss(image, audio), expected)
    assert loss.temperature == 0.3


def defined(first: np.ndarray, second: np.ndarray, temperature: float, twins: set[tuple[int, int]]) -> float:
    """Equation 1 of arXiv 2002.05709, one view after another."""
    views = [*first, *second]
    count, total = len(first), 0.0
    for i, view in enumerate(views):
        similar = {
            j: math.exp(float(view @ other / np.linalg.norm(view) / np.linalg.norm(other)) / temperature)
            for j, other in enumerate(views)
            if j != i and (i % count, j % count) not in twins
        }
        total -= math.log(similar[(i + count) % (2 * count)] / sum(similar.values()))
    return total / len(views)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("use", [None, "mask", "positive"])
def test_equals_the_definition(temperature: float, use: str | None) -> None:
    first, second = np.random.default_rng(0).standard_normal((2, 7, 5))
    loss, twins, groups = NTXent(temperature), set(), None
    if use:
        loss.twin_rule = TwinRule(use)
        twins = {(1, 4), (4, 1)}
        groups = torch.arange(14).reshape(7, 2)
        groups[4, 0] = groups[1, 0]
    found = loss(torch.from_numpy(first), torch.from_numpy(second), groups=groups)
    assert found.item() == pytest.approx(defined(first, second, temperature, twins), rel=1e-10)
    assert loss.temperature == temperature


def test_twins_only_and_one_pair_are_finite() -> None:
    views = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = NTXent()
    value = loss(views[0], views[1], groups=torch.zeros(3, 2, dtype=torch.int64))
    value.backward()
    assert value == 0 and views.grad is not None and torch.isfinite(views.grad).all()
    assert loss(views[0, :1], views[1, :1]) == 0


def test_both_ways_round_alike() -> None:
    first, second = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(NTXent()(first, second), NTXent()(second, first))


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="simclr: temperature is 0"):
        NTXent(0)

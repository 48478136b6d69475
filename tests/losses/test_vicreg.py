"""VICReg against its definition in numpy."""

import math

import numpy as np
import pytest
import torch

from earthtone.errors import ConfigError
from earthtone.losses.vicreg import VICReg


def defined(first: np.ndarray, second: np.ndarray, weights: tuple[float, float, float]) -> float:
    """Equations 1 to 6 of arXiv 2105.04906."""
    count, features = first.shape
    s = sum(float(np.linalg.norm(x - y) ** 2) for x, y in zip(first, second, strict=True)) / count
    v = c = 0.0
    for side in (first, second):
        matrix = np.cov(side, rowvar=False, ddof=1)
        v += sum(max(0.0, 1 - math.sqrt(matrix[j, j] + 1e-4)) for j in range(features)) / features
        c += sum(matrix[i, j] ** 2 for i in range(features) for j in range(features) if i != j) / features
    return weights[0] * s + weights[1] * v + weights[2] * c


@pytest.mark.parametrize("scale", [0.3, 1.0])
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_equals_the_definition(scale: float, weights: tuple[float, float, float]) -> None:
    first, second = np.random.default_rng(1).normal(0.5, scale, (2, 9, 4))
    found = VICReg(*weights)(torch.from_numpy(first), torch.from_numpy(second))
    assert found.item() == pytest.approx(defined(first, second, weights), rel=1e-10)


def test_the_weights_are_the_paper_s() -> None:
    loss = VICReg()
    assert (loss.invariance, loss.variance, loss.covariance) == (25, 25, 1)
    assert repr(loss) == "VICReg(invariance=25.0, variance=25.0, covariance=1.0)"


def test_collapse_costs_and_has_a_finite_gradient() -> None:
    rows = torch.ones(5, 3, requires_grad=True)
    value = VICReg()(rows, rows)
    value.backward()
    assert value.item() == pytest.approx(2 * 25 * 0.99) and rows.grad is not None and torch.isfinite(rows.grad).all()
    assert torch.isfinite(VICReg()(rows[:1], rows[:1]))


def test_twins_have_no_meaning_without_negatives() -> None:
    with pytest.raises(ConfigError, match="no negatives to keep twins out of"):
        VICReg()(torch.ones(2, 3), torch.ones(2, 3), torch.zeros(2, 2, dtype=torch.bool))


def test_a_weight_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="vicreg: covariance is -1"):
        VICReg(covariance=-1)

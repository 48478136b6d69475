"""Barlow Twins against the definition in numpy; no negatives, so no twins."""

import numpy as np
import pytest
import torch

from earthtone.errors import ConfigError
from earthtone.losses.barlow_twins import BarlowTwins


@pytest.mark.parametrize(("redundancy", "normality"), [(5e-3, 0.1), (0.5, 0.0), (1.0, 2.0)])
def test_equals_the_definition(redundancy: float, normality: float) -> None:
    image, audio = np.random.default_rng(4).normal(0.5, 2.0, size=(2, 9, 4))
    both = np.concatenate([image, audio])
    mean, variance = both.mean(axis=0), both.var(axis=0, ddof=1)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            x = (image[:, i] - mean[i]) / np.sqrt(variance[i])
            y = (audio[:, j] - mean[j]) / np.sqrt(variance[j])
            c = (x * y).mean() * len(x) / 9
            expected += (c - 1) ** 2 if i == j else redundancy * c**2
    expected += normality * np.mean((mean**2 + variance - np.log(variance) - 1) / 2)
    value = BarlowTwins(redundancy, normality)(torch.from_numpy(image), torch.from_numpy(audio))
    assert value.item() == pytest.approx(expected, rel=1e-9)


def test_twins_have_no_meaning_without_negatives() -> None:
    with pytest.raises(ConfigError, match="no negatives to keep twins out of"):
        BarlowTwins()(torch.ones(2, 3), torch.ones(2, 3), torch.zeros(2, 2, dtype=torch.bool))


def test_features_that_agree_and_are_independent_cost_next_to_nothing() -> None:
    image = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    assert BarlowTwins()(image, image).item() < 0.01
    assert BarlowTwins()(image, -image).item() > 3

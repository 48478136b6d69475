"""SigLIP against a plain loop."""

import math

import numpy as np
import pytest
import torch

from earthtone.losses.siglip import SigLIP


def by_loop(image: np.ndarray, audio: np.ndarray, temperature: float, bias: float, twins: np.ndarray) -> float:
    """The definition, pair by pair."""
    rows = len(image)
    total = 0.0
    for i in range(rows):
        for j in range(rows):
            if i != j and twins[i, j]:
                continue
            norms = math.sqrt(float(image[i] @ image[i])) * math.sqrt(float(audio[j] @ audio[j]))
            logit = float(image[i] @ audio[j]) / norms / temperature + bias
            total += math.log(1 + math.exp(-logit if i == j else logit))
    return total / rows


@pytest.mark.parametrize(("temperature", "bias"), [(0.1, -10.0), (0.2, -3.0), (1.0, 0.5)])
@pytest.mark.parametrize("share_of_twins", [0.0, 0.3, 1.0])
def test_equals_a_plain_loop(temperature: float, bias: float, share_of_twins: float) -> None:
    rng = np.random.default_rng(3)
    image, audio = rng.normal(size=(2, 7, 4))
    upper = np.triu(rng.random((7, 7)) < share_of_twins, 1)
    twins = upper | upper.T
    loss = SigLIP(temperature, bias)
    value = loss(torch.from_numpy(image), torch.from_numpy(audio), torch.from_numpy(twins))
    assert value.item() == pytest.approx(by_loop(image, audio, temperature, bias, twins), rel=1e-6)


def test_starts_as_in_the_paper_and_learns_both_numbers() -> None:
    loss = SigLIP()
    assert loss.log_scale.item() == pytest.approx(math.log(10))
    assert loss.temperature == pytest.approx(0.1)
    assert loss.bias.item() == -10.0
    assert {name for name, parameter in loss.named_parameters() if parameter.requires_grad} == {"log_scale", "bias"}


def test_large_logits_do_not_overflow() -> None:
    loss = SigLIP(temperature=1e-3, bias=0.0)
    image = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = loss(image, -image)
    value.backward()
    assert value.isfinite()
    assert image.grad is not None
    assert image.grad.isfinite().all()

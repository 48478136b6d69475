"""Symmetric InfoNCE against a plain loop."""

import math

import numpy as np
import pytest
import torch

from earthtone.losses.infonce import InfoNCE


def by_loop(image: np.ndarray, audio: np.ndarray, temperature: float, twins: np.ndarray) -> float:
    """The definition, query by query."""
    rows = len(image)

    def similarity(i: int, j: int) -> float:
        norms = math.sqrt(float(image[i] @ image[i])) * math.sqrt(float(audio[j] @ audio[j]))
        return float(image[i] @ audio[j]) / norms / temperature

    total = 0.0
    for i in range(rows):
        allowed = [j for j in range(rows) if j == i or not twins[i, j]]
        total -= similarity(i, i) - math.log(sum(math.exp(similarity(i, j)) for j in allowed))
        total -= similarity(i, i) - math.log(sum(math.exp(similarity(j, i)) for j in allowed))
    return total / rows / 2


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize("share_of_twins", [0.0, 0.3, 1.0])
def test_equals_a_plain_loop(temperature: float, share_of_twins: float) -> None:
    rng = np.random.default_rng(2)
    image, audio = rng.normal(size=(2, 7, 4))
    upper = np.triu(rng.random((7, 7)) < share_of_twins, 1)
    twins = upper | upper.T
    loss = InfoNCE(temperature)
    value = loss(torch.from_numpy(image), torch.from_numpy(audio), torch.from_numpy(twins))
    assert value.item() == pytest.approx(by_loop(image, audio, temperature, twins), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("directions", ["image_to_audio", "audio_to_image"])
def test_one_direction_is_the_cross_entropy_over_rows_or_columns(directions: str) -> None:
    image, audio = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = torch.nn.functional.cosine_similarity(image[:, None], audio[None], dim=2) / 0.2
    chances = logits.softmax(dim=1 if directions == "image_to_audio" else 0)
    value = InfoNCE(0.2, directions=directions)(image, audio)
    assert value.item() == pytest.approx(-chances.diagonal().log().mean().item(), rel=1e-6)


def test_the_mean_of_the_directions_is_half_their_sum() -> None:
    image, audio = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    total = sum(InfoNCE(directions=one)(image, audio) for one in ("image_to_audio", "audio_to_image"))
    torch.testing.assert_close(InfoNCE(directions="sum")(image, audio), total)
    torch.testing.assert_close(2 * InfoNCE()(image, audio), total)


def test_the_temperature_starts_as_in_clip_and_is_learned() -> None:
    loss = InfoNCE()
    assert loss.temperature == pytest.approx(0.07)
    assert loss.log_scale.requires_grad
    assert not InfoNCE(learnable_temperature=False).log_scale.requires_grad


def test_the_scale_is_clamped_and_comes_back() -> None:
    loss = InfoNCE()
    with torch.no_grad():
        loss.log_scale.fill_(20.0)
    assert loss.temperature == 0.01
    image = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    loss(image, -image).backward()
    assert loss.log_scale.item() == pytest.approx(math.log(100))
    assert loss.log_scale.grad is not None
    assert loss.log_scale.grad > 0  # wrong pairs push the scale down: a step of descent leaves the limit


def test_the_length_of_an_embedding_does_not_matter() -> None:
    image, audio = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = InfoNCE()
    torch.testing.assert_close(loss(image * 7, audio / 3), loss(image, audio))

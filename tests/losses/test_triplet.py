"""The triplet losses against plain loops."""

import numpy as np
import pytest
import torch

from earthtone.losses.triplet import BatchTriplet, TripletMargin


def by_loop(image: np.ndarray, audio: np.ndarray, margin: float, twins: np.ndarray) -> float:
    """The definition, entry by entry."""
    rows = len(image)
    first, second = [], []
    for i in range(rows):
        for j in range(rows):
            if i != j and twins[i, j]:
                continue
            here = np.sqrt(((image[i] - audio[j]) ** 2).sum())
            first.append(max(np.sqrt(((image[j] - audio[j]) ** 2).sum()) - here + margin, 0.0))
            second.append(max(np.sqrt(((image[i] - audio[i]) ** 2).sum()) - here + margin, 0.0))
    return float((np.mean(first) + np.mean(second)) / 2)


@pytest.mark.parametrize("margin", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("share_of_twins", [0.0, 0.3, 1.0])
def test_equals_a_plain_loop(margin: float, share_of_twins: float) -> None:
    rng = np.random.default_rng(5)
    image, audio = rng.normal(size=(2, 7, 4))
    upper = np.triu(rng.random((7, 7)) < share_of_twins, 1)
    twins = upper | upper.T
    value = BatchTriplet(margin)(torch.from_numpy(image), torch.from_numpy(audio), torch.from_numpy(twins))
    assert value.item() == pytest.approx(by_loop(image, audio, margin, twins), rel=1e-12)


def test_far_from_the_origin_keeps_its_digits() -> None:
    """Distances by matrix products lose digits unless the embeddings are centred."""
    rng = np.random.default_rng(5)
    image, audio = (rng.normal(size=(2, 7, 4)) + 1000.0).astype(np.float32)
    value = BatchTriplet()(torch.from_numpy(image), torch.from_numpy(audio))
    expected = by_loop(image.astype(float), audio.astype(float), 1.0, np.zeros((7, 7), bool))
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_perfect_but_collapsed_embeddings_cost_the_margin() -> None:
    same = torch.ones(5, 3, requires_grad=True)
    value = BatchTriplet(margin=0.7)(same, same)
    value.backward()
    assert value.item() == pytest.approx(0.7)
    assert same.grad is not None
    assert same.grad.isfinite().all()


def test_has_no_temperature() -> None:
    assert BatchTriplet().temperature is None
    assert "margin=1.0" in repr(BatchTriplet())


@pytest.mark.parametrize("margin", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("share_of_twins", [0.0, 0.4, 1.0])
def test_one_negative_equals_a_plain_loop(margin: float, share_of_twins: float) -> None:
    rng = np.random.default_rng(6)
    image, audio = rng.normal(size=(2, 7, 4))
    upper = np.triu(rng.random((7, 7)) < share_of_twins, 1)
    twins = upper | upper.T
    hinges = [
        max(np.linalg.norm(image[i] - audio[i]) - np.linalg.norm(image[i] - audio[i - 1]) + margin, 0.0)
        for i in range(7)
        if not twins[i, i - 1]
    ]
    value = TripletMargin(margin)(torch.from_numpy(image), torch.from_numpy(audio), torch.from_numpy(twins))
    assert value.item() == pytest.approx(float(np.mean(hinges)) if hinges else 0.0, rel=1e-12)
    assert f"margin={margin}" in repr(TripletMargin(margin))

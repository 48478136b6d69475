"""Robust InfoNCE against its formula in NumPy; off it is InfoNCE to the bit, near off up to a constant."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.losses import make_loss
from earthtone.losses import twins as twins_module
from earthtone.losses.twins import TwinRule

ROWS, WIDTH = 9, 4


def embeddings(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    image, audio = torch.randn(2, ROWS, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return image.to(dtype), audio.to(dtype)


def robust(**options: Any) -> Any:
    return make_loss("infonce", **{"temperature": 0.2, "learnable_temperature": False, **options}).double()


def one_way(logits: np.ndarray, q: float, lam: float, twins: np.ndarray, use: str) -> float:
    """The paper's form, with exponentials as they are; several positives count alike, each against the negatives."""
    total = []
    for i, row in enumerate(np.exp(logits)):
        mine = {i, *np.flatnonzero(twins[i])} if use == "positive" else {i}
        negatives = sum(row[j] for j in range(len(row)) if j != i and not twins[i, j])
        total.append(np.mean([-(row[p] ** q) / q + (lam * (row[p] + negatives)) ** q / q for p in mine]))
    return float(np.mean(total))


@pytest.mark.parametrize("use", ["mask", "positive"])
@pytest.mark.parametrize(("q", "lam"), [(0.05, 0.01), (0.5, 0.025), (1.0, 0.5), (1.0, 1.0)])
@pytest.mark.parametrize("tile", [1024, 4])
def test_equals_the_formula(q: float, lam: float, use: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins_module, "TILE", tile)
    image, audio = embeddings()
    upper = np.triu(np.random.default_rng(0).random((ROWS, ROWS)) < 0.3, 1)
    twins = upper | upper.T
    x, y = (part.numpy() / np.linalg.norm(part.numpy(), axis=1, keepdims=True) for part in (image, audio))
    expected = (one_way(x @ y.T / 0.2, q, lam, twins, use) + one_way(y @ x.T / 0.2, q, lam, twins, use)) / 2
    loss = robust(robust_q=q, robust_lambda=lam)
    loss.twin_rule = TwinRule(use)
    assert loss(image, audio, torch.from_numpy(twins)).item() == pytest.approx(expected, rel=1e-6)


def test_off_is_infonce_to_the_bit() -> None:
    image, audio = embeddings(torch.float32)
    one, other = robust(robust_q=0.0).float(), make_loss("infonce", temperature=0.2, learnable_temperature=False)
    assert torch.equal(one(image, audio), other(image, audio))
    assert "robust" not in repr(one) and "robust_q=0.5" in repr(robust(robust_q=0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_near_off_is_infonce_and_a_constant(dtype: torch.dtype) -> None:
    image, audio = (part.requires_grad_() for part in embeddings(dtype))
    near, plain = robust(robust_q=1e-6, robust_lambda=0.3)(image, audio), robust()(image, audio)
    assert near.item() == pytest.approx(plain.item() + math.log(0.3), abs=1e-4)
    for one, other in zip(torch.autograd.grad(near, (image, audio)), torch.autograd.grad(plain, (image, audio)),
                          strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_wrong_pair_pulls_less_than_in_infonce() -> None:
    """At q = 1 the weight of a pair's pull grows with its similarity; in InfoNCE it falls."""

    def share_of_the_wrong(loss: Any) -> float:
        audio = torch.eye(4, dtype=torch.float64)
        image = (audio + 0.1).clone()
        image[3] = -audio[3] + 0.1 * audio[0]  # this pair does not belong together
        pull = torch.autograd.grad(loss(image.requires_grad_(), audio), image)[0].norm(dim=1)
        return float(pull[3] / pull.sum())

    assert share_of_the_wrong(robust(robust_q=1.0)) < 0.5 * share_of_the_wrong(robust())


@pytest.mark.parametrize("use", ["mask", "positive"])
def test_gradients_of_finite_differences_and_of_twins_only(use: str) -> None:
    loss = robust(robust_q=0.5)
    loss.twin_rule = TwinRule(use)
    image, audio = (part.requires_grad_() for part in embeddings())
    for groups in (torch.arange(18).reshape(9, 2) // 4, torch.zeros(9, 2, dtype=torch.int64)):
        assert torch.autograd.gradcheck(lambda x, y, g=groups: loss(x, y, groups=g), (image, audio))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"robust_q": 1.5}, "robust_q is 1.5; a share from 0"),
        ({"robust_q": math.nan}, "robust_q is nan"),
        ({"robust_lambda": 0.1}, "robust_lambda has no effect without robust_q"),
        ({"robust_q": 0.5, "robust_lambda": 0.0}, "robust_lambda is 0.0"),
        ({"robust_q": 0.5, "learnable_temperature": True}, "set learnable_temperature to false"),
        ({"robust_q": 1.0, "temperature": 0.01}, "robust_q / temperature is 100"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        robust(**options)

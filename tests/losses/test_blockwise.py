"""Tiles: the values and gradients of whole matrices, whatever twins and views are, and nothing of N x N is made."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from earthtone.losses import LOSSES as ALL
from earthtone.losses import loss_class, make_loss
from earthtone.losses import twins as twins_module
from earthtone.losses.base import Loss
from earthtone.losses.twins import TwinRule

ROWS, WIDTH, RADIUS_M = 23, 4, 2e6
LOSSES: list[tuple[str, dict[str, Any]]] = [
    ("siglip", {}),
    *[("infonce", {"directions": directions}) for directions in ("mean", "sum", "image_to_audio", "audio_to_image")],
    ("simclr", {"hidden": 5, "dimensions": WIDTH}),
]
EVERY_LOSS = pytest.mark.parametrize(("name", "options"), LOSSES, ids=lambda value: str(value))


def data(rows: int = ROWS) -> dict[str, Tensor]:
    """Groups from few numbers and places near each other: many twins in one way or another; some views."""
    draw = torch.Generator().manual_seed(0)
    image, audio = torch.randn(2, rows, WIDTH, generator=draw, dtype=torch.float64)
    points = torch.nn.functional.normalize(torch.randn(rows, 3, generator=draw, dtype=torch.float64), dim=1)
    points[1] = torch.nan
    groups = torch.randint(-1, 2 * rows, (rows, 3), generator=draw)
    pairs = torch.randint(-1, rows // 2, (rows,), generator=draw)
    return {"image": image, "audio": audio, "points": points, "groups": groups, "pairs": pairs}


def measured(loss: Loss, given: dict[str, Tensor]) -> list[Tensor]:
    """The value, and the gradients of both sides and of the loss's own weights."""
    given = {key: value.clone() for key, value in given.items()}
    inputs = [given["image"].requires_grad_(), given["audio"].requires_grad_()]
    weights = [weight for weight in loss.parameters() if weight.requires_grad]
    value = loss(**given)
    return [value.detach(), *torch.autograd.grad(value, [*inputs, *weights])]


FACTS: dict[str, tuple[TwinRule, tuple[str, ...]]] = {
    "ignored": (TwinRule(), ()),
    "masked by groups": (TwinRule("mask"), ("groups",)),
    "masked by distance": (TwinRule("mask", RADIUS_M), ("groups", "points")),
    "positive by distance": (TwinRule("positive", RADIUS_M), ("groups", "points")),
    "views alone": (TwinRule(), ("pairs",)),
    "views, twins masked": (TwinRule("mask", RADIUS_M), ("groups", "points", "pairs")),
    "views, twins positive": (TwinRule("positive"), ("groups", "pairs")),
    "masked as given": (TwinRule("mask"), ("twins",)),
    "positive as given": (TwinRule("positive"), ("twins", "pairs")),
}


@EVERY_LOSS
@pytest.mark.parametrize("case", FACTS)
@pytest.mark.parametrize("tile", [7, 22])
def test_tiles_are_as_one_matrix(
    name: str, options: dict[str, Any], case: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, keys = FACTS[case]
    every = data()
    upper = (torch.rand(ROWS, ROWS, generator=torch.Generator().manual_seed(1)) < 0.2).triu(1)
    every["twins"] = upper | upper.T
    given = {key: every[key] for key in ("image", "audio", *keys)}
    torch.manual_seed(0)
    loss = make_loss(name, **options).double()
    loss.twin_rule = rule
    expected, all_twins = measured(loss, given), loss.twins_only
    monkeypatch.setattr(twins_module, "TILE", tile)
    for one, other in zip(measured(loss, given), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert loss.twins_only == all_twins


@EVERY_LOSS
@pytest.mark.parametrize("use", ["mask", "positive"])
def test_a_batch_of_twins_only_is_told_in_tiles(
    name: str, options: dict[str, Any], use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins_module, "TILE", 7)
    given = data()
    loss = make_loss(name, **options).double()
    loss.twin_rule = TwinRule(use)
    everyone = torch.zeros(ROWS, 3, dtype=torch.int64)
    inputs = {"image": given["image"], "audio": given["audio"]}
    for value in measured(loss, {**inputs, "groups": everyone}):
        assert value.isfinite().all()
    assert loss.twins_only is not None and bool(loss.twins_only)
    everyone[-1] = 1  # the last tile decides
    loss(**inputs, groups=everyone)
    assert not bool(loss.twins_only)
    loss(**inputs)
    assert loss.twins_only is None


def test_the_size_of_a_tile_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given = data(1100)
    del given["points"]
    loss = make_loss("infonce").double()
    found = measured(loss, given)
    monkeypatch.setattr(twins_module, "TILE", 10**6)
    for one, other in zip(found, measured(loss, given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


class Largest(TorchDispatchMode):
    """The most numbers in any tensor that was made inside."""

    most = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.most = max([self.most, *(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))])
        return out


@EVERY_LOSS
@pytest.mark.parametrize("use", ["mask", "positive"])
def test_nothing_quadratic_is_made(
    name: str, options: dict[str, Any], use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 32
    loss = make_loss(name, **options).double()
    loss.twin_rule = TwinRule(use, RADIUS_M)

    def most() -> int:
        with Largest() as largest:
            measured(loss, data(rows))
        return largest.most

    assert most() == rows * rows
    monkeypatch.setattr(twins_module, "TILE", 8)
    assert most() <= rows * max(WIDTH, 8, 5)  # N x D, N x hidden, a vector (N) for each of N / 8 tiles


def test_every_loss_that_says_so_is_asked_here() -> None:
    assert {name for name, _ in LOSSES} == {name for name in ALL if loss_class(name).in_tiles}

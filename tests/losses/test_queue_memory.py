"""Losses with a queue against plain loops over batch and queue; twins in the queue; blocks; what is pushed when."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.losses import make_loss
from earthtone.losses import queue as queue_module
from earthtone.losses.queue import MemoryLoss

ROWS, WIDTH = 5, 4
MEMORY_LOSSES = pytest.mark.parametrize("name", ["infonce_memory", "place_distillation"])
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def batch(seed: int) -> Batch:
    """Embeddings, twins, points and groups: few groups, so that many rows share one, also across batches."""
    draw = torch.Generator().manual_seed(seed)
    image, audio = torch.randn(2, ROWS, WIDTH, generator=draw, dtype=torch.float64)
    points = torch.nn.functional.normalize(torch.randn(ROWS, 3, generator=draw, dtype=torch.float64), dim=1)
    groups = torch.randint(0, 6, (ROWS, 2), generator=draw)
    twins = (groups[:, None] == groups[None]).any(dim=2)
    return image, audio, twins, points, groups


def memory_loss(name: str, **options: float) -> MemoryLoss:
    loss = make_loss(name, batches=2, batch_size=ROWS, dimensions=WIDTH, **options).double()
    assert isinstance(loss, MemoryLoss)
    return loss


def by_loop(name: str, batches: list[Batch], *, mask: bool) -> float:
    """The definition for the last batch, entry by entry; the queue is the two batches before it."""
    now, before = batches[-1], batches[-3:-1]
    total = 0.0
    for own, other in ((0, 1), (1, 0)):
        for i in range(ROWS):
            query = unit(now[own][i])
            columns = []  # cosine, closeness of places
            for past in [now, *before]:
                for j in range(ROWS):
                    same = bool((now[4][i] == past[4][j]).any())
                    if mask and same and not (past is now and i == j):
                        continue
                    columns.append((query @ unit(past[other][j]), float(now[3][i] @ past[3][j])))
                    if past is now and i == j:
                        target = len(columns) - 1
            cosines, closeness = np.array(columns).T
            if name == "infonce_memory":
                logits = cosines / 0.1
                total -= logits[target] - math.log(np.exp(logits).sum())
            else:
                targets = np.exp(closeness / 0.1) / np.exp(closeness / 0.1).sum()
                total -= float((targets * (cosines - math.log(np.exp(cosines).sum()))).sum())
    return total / ROWS


def unit(row: Tensor) -> np.ndarray:
    values = row.numpy()
    return np.asarray(values / np.sqrt((values**2).sum()))


@MEMORY_LOSSES
@pytest.mark.parametrize("mask", [False, True])
def test_equals_a_plain_loop_over_batch_and_queue(name: str, mask: bool) -> None:
    batches = [batch(seed) for seed in range(4)]
    loss = memory_loss(name)
    for count in range(1, 5):
        image, audio, twins, points, groups = batches[count - 1]
        value = loss(image, audio, twins if mask else None, points, groups if mask else None)
        assert value.item() == pytest.approx(by_loop(name, batches[:count], mask=mask), rel=1e-9)


@MEMORY_LOSSES
def test_a_row_that_comes_again_is_no_negative_of_itself(name: str) -> None:
    image, audio, _, points, _ = (part[:1] for part in batch(0))
    groups, twins = torch.tensor([[3, 4]]), torch.tensor([[False]])
    loss = memory_loss(name)
    first, again = (loss(image, audio, twins, points, groups).item() for _ in range(2))
    assert again == pytest.approx(first)
    assert loss(image, audio, points=points).item() > first  # without groups nothing is masked


@MEMORY_LOSSES
@pytest.mark.parametrize("masked", [False, True])
def test_many_blocks_are_as_one_also_in_the_gradient(name: str, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for block in (8192, 3):
        monkeypatch.setattr(queue_module, "BLOCK", block)
        loss = memory_loss(name)
        for seed in range(3):  # in training mode the queue changes before each backward pass
            image, audio, twins, points, groups = batch(seed)
            image.requires_grad_(), audio.requires_grad_()
            value = loss(image, audio, twins if masked else None, points, groups if masked else None)
            value.backward()
        found.append((value.detach(), image.grad, audio.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@MEMORY_LOSSES
def test_gradients_through_blocks_of_twins_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "BLOCK", 2)
    loss = memory_loss(name)
    image, audio, _, points, _ = batch(0)
    groups = torch.zeros(ROWS, 2, dtype=torch.int64)
    everyone = torch.ones(ROWS, ROWS, dtype=torch.bool)
    loss(image, audio, everyone, points, groups)
    loss.eval()
    image.requires_grad_(), audio.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, everyone, points, groups), (image, audio))


@MEMORY_LOSSES
def test_evaluation_looks_at_the_queue_but_leaves_it(name: str) -> None:
    loss = memory_loss(name)
    image, audio, _, points, _ = batch(0)
    alone = loss(image, audio, points=points)
    assert len(loss.queue) == ROWS
    loss.eval()
    first, second = loss(image, audio, points=points), loss(image, audio, points=points)
    assert torch.equal(first, second)
    assert first > alone  # more to tell apart
    assert len(loss.queue) == ROWS


@MEMORY_LOSSES
def test_the_queue_holds_no_gradient(name: str) -> None:
    loss = memory_loss(name)
    image, audio, _, points, _ = batch(0)
    loss(image.requires_grad_(), audio, points=points).backward()
    assert not any(value.requires_grad for value in loss.queue.buffers())
    assert not list(loss.parameters())


@MEMORY_LOSSES
def test_twins_without_groups_would_be_missed_in_the_queue(name: str) -> None:
    image, audio, twins, points, _ = batch(0)
    with pytest.raises(ConfigError, match="twins but no groups"):
        memory_loss(name)(image, audio, twins, points)


@pytest.mark.parametrize("groups", [torch.zeros(ROWS, 3), torch.zeros(ROWS, 4, dtype=torch.int64)])
def test_groups_of_the_wrong_kind_are_refused(groups: Tensor) -> None:
    image, audio, twins, _, _ = batch(0)
    with pytest.raises(ConfigError, match=r"torch\.int64 of shape \(5, 3\)"):
        memory_loss("infonce_memory")(image, audio, twins, groups=groups)


def test_places_are_needed_and_must_fit() -> None:
    image, audio, _, points, _ = batch(0)
    loss = memory_loss("place_distillation")
    with pytest.raises(ConfigError, match=r"compares places; give points, unit vectors \(N, 3\)"):
        loss(image, audio)
    with pytest.raises(ConfigError, match=r"floating point of shape \(5, 3\)"):
        loss(image, audio, points=points[:, :2])


def test_one_place_asks_for_nothing_but_equal_similarities() -> None:
    """All targets are equal: the cross-entropy of a uniform target, twice."""
    image = batch(0)[0]
    loss = memory_loss("place_distillation")
    points = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64).expand(ROWS, 3)
    same = image[:1].expand(ROWS, WIDTH)
    assert loss(same, same, points=points).item() == pytest.approx(2 * math.log(ROWS))

"""Two processes that each embed half of a batch have the loss and the gradients of one process with all of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from earthtone.losses import LOSSES, loss_class, loss_options, make_loss
from earthtone.losses.base import Loss
from earthtone.losses.twins import TwinRule
from earthtone.train.distributed import World, gather_rows
from earthtone.train.gradcache import embed_in_chunks

pytestmark = pytest.mark.slow

ROWS, DIMENSIONS, STEPS = 10, 6, 3
CASES = [(name, use) for name in LOSSES for use in ("mask", "positive", "ignore") if name != "barlow_twins"]
CASES.append(("barlow_twins", "ignore"))
CASES += [(name, "views") for name in LOSSES if loss_class(name).has_negatives]
#: A row whose recording is changed, in one process, and a twin of it, in the other: by image, by place.
TWINS = [(5, 2), (1, 8)]
STRANGER = 4
MASKING = ["infonce", "siglip", "batch_triplet", "infonce_memory"]


def towers() -> nn.ModuleList:
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(5, DIMENSIONS), nn.Linear(7, DIMENSIONS)]).double()


def loss_of(name: str, use: str) -> Loss:
    torch.manual_seed(1)
    shape = {"batches": 2, "batch_size": ROWS, "dimensions": DIMENSIONS}
    loss = make_loss(name, **{key: value for key, value in shape.items() if key in loss_options(name)}).double()
    loss.twin_rule = TwinRule("positive" if use == "positive" else "mask", 50.0)
    return loss


def batch(step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs of both towers, groups, points; rows 2 and 5 show one image, rows 1 and 8 lie at one place."""
    draw = np.random.default_rng([3, step])
    groups = np.stack([np.arange(ROWS), np.arange(ROWS), np.full(ROWS, -1)], 1)
    groups[5, 0] = groups[2, 0]
    points = draw.standard_normal((ROWS, 3))
    points[8] = points[1]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    image, audio = draw.standard_normal((ROWS, 5)), draw.standard_normal((ROWS, 7))
    return tuple(torch.from_numpy(part) for part in (image, audio, groups, points))  # type: ignore[return-value]


def trained(name: str, use: str, world: World) -> dict[str, Any]:
    """Losses, last gradients and the state after three steps of plain gradient descent."""
    loss, both = loss_of(name, use), towers()
    weights = [*both.parameters(), *(value for value in loss.parameters() if value.requires_grad)]
    values = []
    for step in range(STEPS):
        image, audio, groups, points = batch(step)
        own = slice(world.rank, None, world.size)
        embedded = (gather_rows(tower(part[own]), world) for tower, part in zip(both, (image, audio), strict=True))
        facts = {} if use == "ignore" else {"groups": groups}
        if use != "ignore" or loss.needs_points:
            facts["points"] = points
        if use == "views":  # rows 2 and 3 are views of a pair, in two processes; they come again, also in the queue
            facts["pairs"] = torch.tensor([0, 1, 2, 2, *range(4, ROWS)])
        value = loss(*embedded, **facts)
        gradients = list(torch.autograd.grad(value, weights))
        if world.size > 1:  # what DDP does: the mean over the processes
            for gradient in gradients:
                torch.distributed.all_reduce(gradient)
                gradient /= world.size
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= 0.1 * gradient
        values.append(value.item())
    return {"values": values, "gradients": gradients, "loss": loss.state_dict(), "towers": both.state_dict()}


def moved_by(changed: int, name: str, world: World) -> Tensor:
    """How far the gradient of each own image (n, D) moves when one recording is another one.

    Each batch comes twice, so that losses with a queue have met the recording and its twin before.
    """
    draw = torch.Generator().manual_seed(5)
    image, audio = torch.randn(2, ROWS, DIMENSIONS, generator=draw, dtype=torch.float64)
    groups, points = batch(0)[2:]
    own, found = slice(world.rank, None, world.size), []
    for amount in (0.0, 1.0):
        audio[changed, 0] += amount
        loss = loss_of(name, "mask")
        if hasattr(loss, "margin"):
            loss.margin = 50.0  # every hinge is open
        for _ in range(2):
            leaf = image[own].clone().requires_grad_()
            loss(gather_rows(leaf, world), gather_rows(audio[own], world), groups=groups, points=points).backward()
        found.append(leaf.grad)
    return (found[1] - found[0]).abs()  # type: ignore[operator]


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.audio = towers()

    def forward(self, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return self.image(image), self.audio(audio).tanh()


class InChunks(nn.Module):
    """Both towers as a Lightning module under DDP has them, embedding chunk by chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Pair()

    def forward(self, image: Tensor, audio: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
        return embed_in_chunks(self.model, image, audio, chunk)


def in_chunks(model: nn.Module, world: World, chunk: int) -> list[Tensor]:
    """The weights after three steps of plain gradient descent with what DDP, if any, makes of the gradients."""
    loss = loss_of("siglip", "mask")
    for step in range(STEPS):
        image, audio, groups, points = batch(step)
        own = slice(world.rank, None, world.size)
        embedded = model(image[own], audio[own], chunk)
        loss(*(gather_rows(part, world) for part in embedded), groups=groups, points=points).backward()
        with torch.no_grad():
            for weight in model.parameters():
                weight -= 0.1 * weight.grad  # type: ignore[operator]
                weight.grad = None
    return [weight.detach() for weight in model.parameters()]


def process(rank: int, meeting: str, found: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.save([trained(name, use, World(rank, 2)) for name, use in CASES], f"{found}.{rank}")
    torch.save(
        [moved_by(changed, name, World(rank, 2)) for changed, _ in TWINS for name in MASKING], f"{found}.moved.{rank}"
    )
    model = nn.parallel.DistributedDataParallel(InChunks())
    torch.save(in_chunks(model, World(rank, 2), 2), f"{found}.chunks.{rank}")  # three chunks of a process's five rows
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Every loss, twins masked, positive and ignored, and views, with a queue that turns over; chunks under DDP.

    A twin in the other process is no negative.
    """
    torch.multiprocessing.spawn(process, (str(tmp_path / "meeting"), str(tmp_path / "found")), nprocs=2)
    both = [torch.load(tmp_path / f"found.{rank}", weights_only=True) for rank in range(2)]
    for (name, use), first, second in zip(CASES, *both, strict=True):
        expected = trained(name, use, World())
        assert first["values"] == pytest.approx(expected["values"], abs=1e-6), (name, use)
        for one, other in zip(first["gradients"], expected["gradients"], strict=True):
            assert torch.allclose(one, other, atol=1e-6), (name, use)
        for part in ("loss", "towers"):
            for key, value in expected[part].items():
                assert torch.allclose(first[part][key], value, atol=1e-6), (name, use, key)
                assert torch.equal(first[part][key], second[part][key]), (name, use, key)  # queues are one
    moved = torch.load(tmp_path / "found.moved.0", weights_only=True)  # of the rows 0, 2, 4, 6 and 8
    for (twin, name), gradient in zip([(twin, name) for _, twin in TWINS for name in MASKING], moved, strict=True):
        assert gradient[twin // 2].max() < 1e-12, name
        assert gradient[STRANGER // 2].max() > 1e-9, name
    expected_weights = in_chunks(InChunks(), World(), ROWS)
    for rank in range(2):
        for one, other in zip(torch.load(tmp_path / f"found.chunks.{rank}"), expected_weights, strict=True):
            assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(("changed", "twin"), TWINS)
@pytest.mark.parametrize("name", MASKING)
def test_a_twin_is_no_negative_in_batch_and_queue(name: str, changed: int, twin: int) -> None:
    moved = moved_by(changed, name, World())
    assert moved[twin].max() < 1e-12
    assert moved[STRANGER].max() > 1e-9


def test_one_process_has_its_own_rows() -> None:
    own = torch.ones(2, 3)
    assert gather_rows(own, World()) is own

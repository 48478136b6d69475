"""In every loss, at places made by hand: a twin is never a negative; positives equal the definition by loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from earthtone.losses import LOSSES, loss_class, loss_options, make_loss
from earthtone.losses.base import Loss, multi_partner
from earthtone.losses.twins import TwinRule, twins_between

NAMES = [name for name in LOSSES if loss_class(name).has_negatives]
EVERY_LOSS = pytest.mark.parametrize("name", NAMES)
ROWS, WIDTH = 6, 4
#: Metres north of each other: rows 1 and 2 are 50 m apart (and 0 and 1 not), the others kilometres.
METRES = (-3_000.0, 0.0, 50.0, 4_000.0, 9_000.0, 20_000.0)
OTHERS = torch.arange(3 * ROWS).reshape(ROWS, 3)  # no two rows share an image, a recording or an id of place
NEAR = TwinRule("mask", 200.0)


def places(metres: tuple[float, ...] = METRES) -> Tensor:
    latitude = np.radians(47) + np.array(metres) / 6_371_008.8
    return torch.from_numpy(np.stack([np.cos(latitude), 0 * latitude, np.sin(latitude)], axis=1))


def embeddings(seed: int = 0, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    image, audio = torch.randn(2, rows, WIDTH, generator=draw, dtype=torch.float64)
    return image.requires_grad_(), audio.requires_grad_()


def a_loss(name: str, rule: TwinRule) -> Loss:
    torch.manual_seed(0)
    shape = {"batches": 2, "batch_size": ROWS, "hidden": 5, "dimensions": WIDTH}
    # a wide margin, so that every hinge is open, and soft targets that fall within kilometres
    more = {"margin": 50.0, "nu": 1e-7}
    options = {key: value for key, value in {**shape, **more}.items() if key in loss_options(name)}
    loss = make_loss(name, **options).double()
    loss.twin_rule = rule
    return loss.eval()


def touch(loss: Loss, one: int, other: int, groups: Tensor, points: Tensor) -> float:
    """How much image `one` and recording `other` act on each other: the largest mixed second derivative."""
    image, audio = embeddings()
    value = loss(image, audio, groups=groups, points=points)
    (gradient,) = torch.autograd.grad(value, image, create_graph=True)
    found = 0.0
    for part in gradient[one]:
        if part.requires_grad:
            mixed = torch.autograd.grad(part, audio, retain_graph=True, allow_unused=True)[0]
            found = max(found, 0.0 if mixed is None else float(mixed[other].abs().max()))
    return found


TWINS_BY = pytest.mark.parametrize("by", ["distance", "image", "recording", "place"])


@EVERY_LOSS
@TWINS_BY
def test_a_twin_is_no_negative(name: str, by: str) -> None:
    """The one negative of the plain triplet is the recording of the row before: row 2 looks at row 1."""
    groups, rule = OTHERS.clone(), TwinRule()
    if by == "distance":
        rule = NEAR
    else:
        column = ("image", "recording", "place").index(by)
        groups[2, column] = groups[1, column]
    loss = a_loss(name, rule)
    assert touch(loss, 2, 1, OTHERS, places(tuple(1000.0 * n for n in range(ROWS)))) > 1e-6  # strangers are negatives
    assert touch(loss, 2, 1, groups, places()) == 0
    assert touch(loss, 1, 2, groups, places()) == 0


@EVERY_LOSS
def test_a_row_without_a_place_is_nobodys_neighbour(name: str) -> None:
    if loss_class(name).needs_points:
        return  # every row must have one
    points = places()
    points[1] = math.nan
    assert touch(a_loss(name, NEAR), 2, 1, OTHERS, points) > 1e-6


@pytest.mark.parametrize("name", [name for name in NAMES if loss_class(name).has_queue])
def test_a_twin_in_the_queue_is_no_negative(name: str) -> None:
    past = [part.detach() for part in embeddings(1, rows=2)]
    far, close = places((-90_000.0, 80_000.0)), places((-90_000.0, 60.0))  # the second is near rows 1 and 2, or not
    numbers = torch.arange(100, 106).reshape(2, 3)

    def touched(points: Tensor) -> float:
        """How much image 1 and the second recording of the queue act on each other."""
        loss = a_loss(name, NEAR)
        loss.train()
        loss(*past, groups=numbers, points=points)
        assert len(loss.queue) == 2  # type: ignore[arg-type]
        loss.eval()
        queue = loss.queue
        kept = queue.audio[:2].clone().requires_grad_()  # type: ignore[index, union-attr]
        rows = type(queue).rows

        def watched(self: torch.nn.Module, dtype: torch.dtype) -> object:
            return rows(self, dtype)._replace(audio=kept)  # type: ignore[operator]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(queue), "rows", watched)
            image, audio = embeddings()
            one = torch.autograd.grad(loss(image, audio, groups=OTHERS, points=places()), kept, create_graph=True)[0]
            return max(float(torch.autograd.grad(part, image, retain_graph=True)[0][1].abs().max()) for part in one[1])

    assert touched(far) > 1e-6
    assert touched(close) == 0


@EVERY_LOSS
@pytest.mark.parametrize("use", ["mask", "positive"])
def test_a_batch_of_twins_only_is_finite_and_harmless(name: str, use: str) -> None:
    loss = a_loss(name, TwinRule(use, 200.0))
    image, audio = embeddings()
    value = loss(image, audio, groups=OTHERS, points=places((0.0, 1, 2, 3, 4, 5)))
    value.backward()
    assert loss.twins_only is not None and bool(loss.twins_only)
    assert value.isfinite()
    for part in (image, audio):
        assert part.grad is not None and part.grad.isfinite().all()
    cross_entropies = not name.startswith(("siglip", "batch_triplet", "place"))
    if cross_entropies and not (use == "positive" and "riplet" in name.lower()):
        assert image.grad.abs().max() < 1e-12  # type: ignore[union-attr]
    loss(image, audio, groups=OTHERS, points=places())
    assert not bool(loss.twins_only)


# --- positives, by loops over the definition

TWINS = torch.tensor([[0, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0]]).bool()


def positives(i: int) -> list[int]:
    return [j for j in range(5) if i == j or TWINS[i, j]]


def softmax_by_loop(logits: np.ndarray) -> float:
    total = 0.0
    for i, row in enumerate(logits):
        mine = positives(i)
        against = sum(np.exp(row[n]) for n in range(5) if n not in mine)
        total += float(np.mean([-math.log(np.exp(row[p]) / (np.exp(row[p]) + against)) for p in mine]))
    return total / 5


def data() -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """Embeddings, their cosines and their distances."""
    image, audio = (part.detach() for part in embeddings(3, rows=5))
    x, y = image.numpy(), audio.numpy()
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None]
    return image, audio, x @ y.T / lengths, np.linalg.norm(x[:, None] - y[None], axis=2)


def value_of(name: str, **options: float) -> float:
    image, audio, _, _ = data()
    loss = make_loss(name, **options).double()
    loss.twin_rule = TwinRule("positive")
    return loss(image, audio, TWINS, groups=torch.arange(15).reshape(5, 3) if loss.has_queue else None).item()


def test_positive_twins_of_the_softmax_losses() -> None:
    cosine = data()[2]
    both = softmax_by_loop(cosine / 0.1) + softmax_by_loop(cosine.T / 0.1)
    assert value_of("infonce", temperature=0.1) == pytest.approx(both / 2, rel=1e-6)
    assert value_of("infonce_memory", batches=1, batch_size=5, dimensions=4) == pytest.approx(both, rel=1e-9)


def test_positive_twins_of_siglip() -> None:
    logits = data()[2] / 0.1 - 10
    sign = 2.0 * (TWINS.numpy() | np.eye(5, dtype=bool)) - 1
    assert value_of("siglip") == pytest.approx(np.log1p(np.exp(-sign * logits)).sum() / 5, rel=1e-6)


def test_positive_twins_of_the_triplet_losses() -> None:
    distance = data()[3]
    image = [float(np.mean([distance[i, p] for p in positives(i)])) for i in range(5)]
    audio = [float(np.mean([distance[p, i] for p in positives(i)])) for i in range(5)]
    hinges = []
    for i in range(5):
        for j in range(5):
            if i == j:
                hinges.append(1.0)
            elif not TWINS[i, j]:
                hinges += [(max(0, image[i] - distance[i, j] + 1) + max(0, audio[j] - distance[i, j] + 1)) / 2]
    assert value_of("batch_triplet") == pytest.approx(np.mean(hinges), rel=1e-9)
    plain = [max(0, image[i] - distance[i, i - 1] + 1) for i in range(5) if not TWINS[i, i - 1]]
    assert len(plain) == 4
    assert value_of("triplet_margin") == pytest.approx(np.mean(plain), rel=1e-9)


def test_positive_twins_in_the_queue_are_those_of_one_long_row_of_columns() -> None:
    """Batch after batch with groups drawn from few numbers, against loops over batch and queue."""
    loss = make_loss("infonce_memory", batches=2, batch_size=5, dimensions=4).double()
    loss.twin_rule = TwinRule("positive")
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    for seed in range(4):
        image, audio = (torch.nn.functional.normalize(part.detach()) for part in embeddings(seed, rows=5))
        groups = torch.randint(0, 9, (5, 3), generator=torch.Generator().manual_seed(seed))
        total = 0.0
        for query, side in ((image, 1), (audio, 0)):
            keys = torch.cat([(image, audio)[side], *[past[side] for past in seen[-2:]]])
            known = torch.cat([groups, *[past[2] for past in seen[-2:]]])
            partners = twins_between(groups, None, known, None)
            logits = (query @ keys.T / 0.1).numpy()
            for i, row in enumerate(logits):
                against = np.exp(row[~partners[i].numpy()]).sum()
                mine = np.exp(row[partners[i].numpy()])
                total -= float(np.log(mine / (mine + against)).mean()) / 5
        assert loss(image, audio, groups=groups).item() == pytest.approx(total, rel=1e-9)
        seen.append((image, audio, groups))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_a_positive_is_never_pushed_away(seed: int, share: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(7, 7, generator=draw, dtype=torch.float64)
    upper = (torch.rand(7, 7, generator=draw) < share).triu(1)
    twins = upper | upper.T
    multi_partner(logits.requires_grad_(), twins).backward()
    partners = twins | torch.eye(7, dtype=torch.bool)
    assert logits.grad is not None
    assert (logits.grad[partners] <= 0).all()
    assert (logits.grad[~partners] >= 0).all()

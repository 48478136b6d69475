"""Several views of one pair as rows of one batch: positives of each other, never negatives, in the queue too."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.losses import LOSSES, loss_class, loss_options, make_loss
from earthtone.losses.base import Loss
from earthtone.losses.twins import TwinRule

ROWS, WIDTH = 8, 4
PAIRS = torch.tensor([4, 4, 7, 7, 9, 9, -1, -1])  # two views of three pairs; two rows of nobody's
#: Row 0 is a twin of row 2, of another pair; views show the same image and so are twins as well.
GROUPS = torch.tensor([[0, 0], [0, 1], [0, 2], [5, 3], [6, 4], [6, 5], [8, 6], [9, 7]])
WITH_VIEWS = pytest.mark.parametrize("name", [name for name in LOSSES if loss_class(name).has_negatives])


def embeddings(seed: int = 0) -> tuple[Tensor, Tensor]:
    image, audio = torch.randn(2, ROWS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return image.requires_grad_(), audio.requires_grad_()


def places() -> Tensor:
    draw = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return torch.nn.functional.normalize(draw, dim=1)


def a_loss(name: str, use: str = "mask") -> Loss:
    torch.manual_seed(0)
    shape = {"batches": 2, "batch_size": ROWS, "hidden": 5, "dimensions": WIDTH, "margin": 50.0}
    loss = make_loss(name, **{key: value for key, value in shape.items() if key in loss_options(name)}).double()
    loss.twin_rule = TwinRule(use)
    return loss


def value_of(loss: Loss, image: Tensor, audio: Tensor, **facts: Tensor | None) -> Tensor:
    value: Tensor = loss(image, audio, points=places() if loss.needs_points else None, **facts)
    return value


def positives(use: str, *, groups: bool) -> np.ndarray:
    """By loops: who is a positive of whom."""
    found = np.eye(ROWS, dtype=bool)
    for i in range(ROWS):
        for j in range(ROWS):
            found[i, j] |= bool(PAIRS[i] >= 0 and PAIRS[i] == PAIRS[j])
            found[i, j] |= groups and use == "positive" and bool((GROUPS[i] == GROUPS[j]).any())
    return found


def ignored(use: str, *, groups: bool) -> np.ndarray:
    twins = (GROUPS[:, None] == GROUPS).any(2).numpy()
    return twins & ~positives(use, groups=groups) if groups and use == "mask" else np.zeros((ROWS, ROWS), bool)


CASES = pytest.mark.parametrize(("use", "groups"), [("mask", True), ("positive", True), ("mask", False)])


def softmax_by_loop(logits: np.ndarray, mine: np.ndarray, nothing: np.ndarray) -> float:
    total = 0.0
    for i, row in enumerate(logits):
        against = sum(math.exp(row[n]) for n in range(len(row)) if not mine[i, n] and not nothing[i, n])
        terms = [-math.log(math.exp(row[p]) / (math.exp(row[p]) + against)) for p in range(len(row)) if mine[i, p]]
        total += float(np.mean(terms))
    return total / len(logits)


def cosines(image: Tensor, audio: Tensor) -> np.ndarray:
    return torch.nn.functional.cosine_similarity(image[:, None], audio[None], dim=2).detach().numpy()


@CASES
def test_the_softmax_losses_by_loops(use: str, groups: bool) -> None:
    image, audio = embeddings()
    known = {"pairs": PAIRS, "groups": GROUPS if groups else None}
    mine, nothing = positives(use, groups=groups), ignored(use, groups=groups)
    logits = cosines(image, audio) / 0.1
    both = softmax_by_loop(logits, mine, nothing) + softmax_by_loop(logits.T, mine, nothing)
    loss = make_loss("infonce", temperature=0.1, learnable_temperature=False).double()
    loss.twin_rule = TwinRule(use)
    assert value_of(loss, image, audio, **known).item() == pytest.approx(both / 2, rel=1e-6)
    assert value_of(a_loss("infonce_memory", use), image, audio, **known).item() == pytest.approx(both, rel=1e-9)


@CASES
def test_siglip_by_its_definition(use: str, groups: bool) -> None:
    image, audio = embeddings()
    sign = 2.0 * positives(use, groups=groups) - 1
    terms = np.log1p(np.exp(-sign * (cosines(image, audio) / 0.1 - 10))) * ~ignored(use, groups=groups)
    found = value_of(a_loss("siglip", use), image, audio, pairs=PAIRS, groups=GROUPS if groups else None)
    assert found.item() == pytest.approx(terms.sum() / ROWS, rel=1e-6)


@CASES
def test_the_batch_triplet_by_loops(use: str, groups: bool) -> None:
    image, audio = embeddings()
    distance = torch.cdist(image, audio).detach().numpy()
    mine, nothing = positives(use, groups=groups), ignored(use, groups=groups)
    hinges = []
    for i in range(ROWS):
        for j in range(ROWS):
            if i == j:
                hinges.append(50.0)
            elif not mine[i, j] and not nothing[i, j]:
                of_image, of_audio = distance[i, mine[i]].mean(), distance[mine[:, j], j].mean()
                hinges.append((max(0, of_image - distance[i, j] + 50) + max(0, of_audio - distance[i, j] + 50)) / 2)
    found = value_of(a_loss("batch_triplet", use), image, audio, pairs=PAIRS, groups=GROUPS if groups else None)
    assert found.item() == pytest.approx(np.mean(hinges), rel=1e-9)


@WITH_VIEWS
@pytest.mark.parametrize("use", ["mask", "positive"])
def test_a_view_is_never_pushed_away(name: str, use: str) -> None:
    """At hand-made places: views far apart, a stranger between them; only the stranger is pushed."""
    if name == "place_distillation":
        return  # soft targets: nearer places shall be nearer, no row is pushed as far as it goes
    image, audio = torch.eye(4, dtype=torch.float64)[:3], torch.eye(4, dtype=torch.float64)[[1, 2, 3]]
    image, audio = image.clone().requires_grad_(), audio.clone().requires_grad_()
    # row 0's image is near no recording but that of row 1, which is a view of its pair: image 1 = recording 0
    loss = make_loss(name, **{key: 3 for key in ("batch_size", "batches") if key in loss_options(name)}, **(
        {"dimensions": 4} if "dimensions" in loss_options(name) else {}
    )).double()  # fmt: skip
    if name == "simclr":
        torch.nn.init.eye_(loss.g[0].weight), torch.nn.init.eye_(loss.g[2].weight)  # type: ignore[index]
    loss.twin_rule = TwinRule(use)
    value = loss(image, audio, pairs=torch.tensor([5, 5, 8]), groups=torch.arange(6).reshape(3, 2))
    value.backward()
    assert image.grad is not None
    step = -image.grad[0]  # where a step of descent moves image 0
    assert step @ audio[1].detach() >= -1e-9, "pushed away from its own view's recording"


@WITH_VIEWS
def test_pairs_of_one_view_each_change_nothing(name: str) -> None:
    image, audio = embeddings()
    several, one = (value_of(a_loss(name), image, audio, groups=GROUPS, pairs=p) for p in (torch.arange(ROWS), None))
    torch.testing.assert_close(several, one)


@WITH_VIEWS
def test_a_batch_of_one_pair_s_views_is_finite_and_told(name: str) -> None:
    image, audio = embeddings()
    loss = a_loss(name)
    value = value_of(loss, image, audio, pairs=torch.zeros(ROWS, dtype=torch.int64))
    value.backward()
    assert value.isfinite() and image.grad is not None and image.grad.isfinite().all()
    assert loss.twins_only is not None and bool(loss.twins_only)


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("use", ["mask", "positive"])
def test_views_in_the_queue_are_positives_by_loops(use: str, groups: bool) -> None:
    """Two batches with the same pairs: the first one's views, from the queue, are positives of the second's."""
    loss = a_loss("infonce_memory", use)
    seen = [embeddings(seed) for seed in (1, 2)]
    known = {"pairs": PAIRS, "groups": GROUPS if groups else None}
    found = [value_of(loss, *batch, **known).item() for batch in seen][-1]
    twins = (GROUPS[:, None] == GROUPS).any(2).numpy() & groups
    views = ((PAIRS[:, None] == PAIRS) & (PAIRS >= 0)).numpy()
    again = twins | views if use == "positive" else views  # of the queue no row is the own partner
    mine = np.hstack([positives(use, groups=groups), again])
    nothing = np.hstack([ignored(use, groups=groups), twins & ~again])
    total = 0.0
    for query, side in ((0, 1), (1, 0)):
        keys = torch.cat([seen[1][side], seen[0][side]])
        total += softmax_by_loop(cosines(seen[1][query], keys) / 0.1, mine, nothing)
    assert found == pytest.approx(total, rel=1e-9)


def test_a_loss_that_cannot_tell_views_refuses_them() -> None:
    with pytest.raises(ConfigError, match="BarlowTwins takes each row for a pair of its own"):
        make_loss("barlow_twins")(*embeddings(), pairs=PAIRS)


@pytest.mark.parametrize("pairs", [PAIRS[:, None], PAIRS[:-1], PAIRS.double()])
def test_pairs_of_the_wrong_kind_are_refused(pairs: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"pairs are .* need torch\.int64 of shape \(8,\)"):
        make_loss("infonce")(*embeddings(), pairs=pairs)

"""The same questions to every loss: smoke, wrong input, shape, gradient, dtype; and that twins are never negatives."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.losses import LOSSES, PUBLISHED, loss_class, loss_options, make_loss
from earthtone.losses.base import Loss

EVERY_LOSS = pytest.mark.parametrize("name", LOSSES)
LOSSES_WITH_NEGATIVES = pytest.mark.parametrize("name", [name for name in LOSSES if loss_class(name).has_negatives])
TWIN_PAIRS = [(0, 2), (3, 4)]
SEES_NEIGHBOURS = ("triplet_margin",)  # the negative is the row before
SOFT_TARGETS = ("place_distillation", "barlow_twins")


class OnBatch:
    """A loss called with what else it needs: places, and groups where the twins have any.

    A queue already holds a batch, and keeps it: losses are in evaluation mode here, so that calls can be repeated.
    """

    def __init__(self, name: str, width: int = 8, dtype: torch.dtype = torch.float32, **more: Any) -> None:
        shape = {"batches": 2, "batch_size": 6, "hidden": 5, "dimensions": width}
        torch.manual_seed(0)
        options = {key: value for key, value in shape.items() if key in loss_options(name)}
        self.loss: Loss = make_loss(name, **{**options, **more}).to(dtype)
        if self.loss.has_queue:
            image, audio = batch(width=width, seed=99)
            groups = torch.arange(12).reshape(6, 2) + 100
            self.loss(image, audio, points=points_of(6) if self.loss.needs_points else None, groups=groups)
        self.loss.eval()

    def __call__(
        self, image: Tensor, audio: Tensor, twins: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        value: Tensor = self.loss(image, audio, *self.others(len(image), twins, places))
        return value

    def others(
        self, rows: int, twins: Tensor | None, places: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Twins, points and groups, each where the loss takes it."""
        points = (points_of(rows) if places is None else places) if self.loss.needs_points else None
        groups = torch.arange(2 * rows).reshape(rows, 2) if self.loss.has_queue and twins is not None else None
        return twins if self.loss.has_negatives else None, points, groups

    def parameters(self) -> list[Tensor]:
        return [parameter for parameter in self.loss.parameters() if parameter.requires_grad]


def points_of(rows: int) -> Tensor:
    points = torch.randn(rows, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return torch.nn.functional.normalize(points, dim=1)


def batch(rows: int = 6, width: int = 8, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Image embeddings and audio embeddings that partly agree with them."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    audio = 0.5 * image + 0.5 * torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return image.to(dtype).requires_grad_(), audio.to(dtype).requires_grad_()


def twin_matrix(rows: int = 6, pairs: list[tuple[int, int]] = TWIN_PAIRS) -> Tensor:
    twins = torch.zeros(rows, rows, dtype=torch.bool)
    for i, j in pairs:
        twins[i, j] = twins[j, i] = True
    return twins


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_name_of_the_release_is_its_loss_with_its_options(name: str) -> None:
    """So that everything else is asked of the loss alone."""
    own, options = PUBLISHED[name]
    image, audio = batch()
    assert torch.equal(OnBatch(name)(image, audio), OnBatch(own, **options)(image, audio))


@EVERY_LOSS
@pytest.mark.parametrize("twins", [None, twin_matrix()])
def test_is_a_finite_scalar_and_reaches_every_input_and_parameter(name: str, twins: Tensor | None) -> None:
    image, audio = batch()
    loss = OnBatch(name)
    value = loss(image, audio, twins)
    value.backward()
    assert value.shape == ()
    assert value.isfinite()
    for tensor in (image, audio, *loss.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


@pytest.mark.slow
@EVERY_LOSS
def test_descends_to_matching_embeddings(name: str) -> None:
    image, audio = batch()
    loss = OnBatch(name)
    optimizer = torch.optim.Adam([image, audio, *loss.parameters()], lr=0.05)
    before = loss(image, audio).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss(image, audio).backward()
        optimizer.step()
    assert loss(image, audio).item() < before
    if name not in (*SEES_NEIGHBOURS, *SOFT_TARGETS):
        assert (torch.cdist(image, audio).argmin(dim=1) == torch.arange(6)).all()


@EVERY_LOSS
@pytest.mark.parametrize("shapes", [((4, 8), (5, 8)), ((4, 8), (4, 9)), ((8,), (8,)), ((1, 4, 8), (1, 4, 8))])
def test_shapes_that_do_not_fit_are_both_named(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ConfigError) as error:
        make_loss(name)(torch.zeros(shapes[0]), torch.zeros(shapes[1]))
    assert str(shapes[0]) in str(error.value)
    assert str(shapes[1]) in str(error.value)


@EVERY_LOSS
def test_empty_and_integer_embeddings_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="empty"):
        make_loss(name)(torch.zeros(0, 8), torch.zeros(0, 8))
    with pytest.raises(ConfigError, match="int64"):
        make_loss(name)(torch.zeros(2, 8, dtype=torch.int64), torch.zeros(2, 8))


@LOSSES_WITH_NEGATIVES
@pytest.mark.parametrize("twins", [torch.zeros(6, 6), torch.zeros(5, 5, dtype=torch.bool)])
def test_twins_of_the_wrong_kind_are_refused(name: str, twins: Tensor) -> None:
    loss = make_loss(name)
    points = points_of(6) if loss.needs_points else None
    with pytest.raises(ConfigError, match=r"torch\.bool of shape \(6, 6\)"):
        loss(*batch(), twins, points=points, groups=torch.zeros(6, 2, dtype=torch.int64))


@EVERY_LOSS
@pytest.mark.parametrize("twins", [None, twin_matrix(rows=5)])
def test_gradients_are_those_of_finite_differences(name: str, twins: Tensor | None) -> None:
    loss = OnBatch(name, width=3, dtype=torch.float64)
    image, audio = batch(rows=5, width=3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, y: loss(x, y, twins), (image, audio))
    for key, parameter in loss.loss.named_parameters():
        if not parameter.requires_grad:
            continue

        def of_parameter(p: Tensor, key: str = key) -> Tensor:
            given_ = {k: v.detach() for k, v in loss.loss.named_parameters()} | {key: p}
            arguments = (image.detach(), audio.detach(), *loss.others(5, twins))
            return torch.func.functional_call(loss.loss, given_, arguments)

        assert torch.autograd.gradcheck(of_parameter, (parameter.detach().clone().requires_grad_(),))


@EVERY_LOSS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_computes_in_full_precision_whatever_comes_in(name: str, dtype: torch.dtype) -> None:
    image, audio = batch(dtype=dtype)
    loss = OnBatch(name)
    value = loss(image, audio)
    value.backward()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert image.grad is not None
    assert image.grad.dtype == dtype
    assert image.grad.isfinite().all()
    exact = loss(image.detach().double(), audio.detach().double())
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)


@EVERY_LOSS
def test_autocast_changes_nothing(name: str) -> None:
    image, audio = batch()
    loss = OnBatch(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(image, audio)
    assert torch.equal(inside, loss(image, audio))


@EVERY_LOSS
@pytest.mark.parametrize(
    ("image", "audio", "twins"),
    [
        (torch.tensor([[0.3, -1.0]]), torch.tensor([[0.1, 2.0]]), None),
        (torch.tensor([[0.3, -1.0]]), torch.tensor([[0.3, -1.0]]), torch.tensor([[True]])),
        (torch.ones(4, 3), torch.ones(4, 3), None),
        (torch.zeros(4, 3), torch.zeros(4, 3), None),
        (torch.randn(4, 3), torch.randn(4, 3), torch.ones(4, 4, dtype=torch.bool)),
        (1e4 * torch.randn(4, 3), 1e-4 * torch.randn(4, 3), None),
    ],
    ids=["one pair", "one identical pair", "identical", "all zero", "only twins", "far apart in scale"],
)
def test_degenerate_batches_have_finite_values_and_gradients(
    name: str, image: Tensor, audio: Tensor, twins: Tensor | None
) -> None:
    image, audio = image.clone().requires_grad_(), audio.clone().requires_grad_()
    loss = OnBatch(name, width=image.shape[1])
    value = loss(image, audio, twins)
    value.backward()
    for tensor in (value, image.grad, audio.grad, *(p.grad for p in loss.parameters())):
        assert tensor is not None
        assert tensor.isfinite().all()


@LOSSES_WITH_NEGATIVES
def test_twins_give_no_gradient_as_negatives(name: str) -> None:
    """Row 0 is a twin of all others: wherever its recording lies, the other images do not feel it."""
    image, audio = batch()
    others = twin_matrix(pairs=[(0, j) for j in range(1, 6)])

    def gradient_of_others(audio_0: Tensor) -> Tensor:
        x = image.detach().clone().requires_grad_()
        y = torch.cat([audio_0[None], audio.detach()[1:]])
        OnBatch(name, dtype=torch.float64)(x.double(), y.double(), others).backward()
        assert x.grad is not None
        return x.grad[1:]

    torch.testing.assert_close(gradient_of_others(torch.ones(8)), gradient_of_others(-3 * torch.arange(8.0)))


@LOSSES_WITH_NEGATIVES
def test_non_twins_do_give_a_gradient_as_negatives(name: str) -> None:
    image, audio = batch()
    loss = OnBatch(name)
    without = torch.autograd.grad(loss(image, audio, twin_matrix()), audio)[0]
    with_all = torch.autograd.grad(loss(image, audio), audio)[0]
    assert not torch.allclose(without[0], with_all[0])


@LOSSES_WITH_NEGATIVES
def test_the_diagonal_of_twins_is_ignored(name: str) -> None:
    image, audio = batch()
    loss = OnBatch(name)
    twins = twin_matrix()
    assert torch.equal(loss(image, audio, twins), loss(image, audio, twins | torch.eye(6, dtype=torch.bool)))
    no_twins = torch.zeros(6, 6, dtype=torch.bool)
    torch.testing.assert_close(loss(image, audio, no_twins), loss(image, audio))


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in SEES_NEIGHBOURS])
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(6)), seed=st.integers(0, 1000))
def test_the_order_of_the_pairs_does_not_matter(name: str, order: list[int], seed: int) -> None:
    image, audio = batch(seed=seed, dtype=torch.float64)
    twins = twin_matrix()
    loss = OnBatch(name, dtype=torch.float64)
    moved = loss(image[order], audio[order], twins[order][:, order], points_of(6)[order])
    torch.testing.assert_close(moved, loss(image, audio, twins))

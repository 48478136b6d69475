"""Windows to one vector: by hand, in any order, with filling, with gradients, as long as recordings may be."""

import numpy as np
import pytest
import torch
from torch import Tensor

from earthtone.errors import ConfigError
from earthtone.models.config import REDUCERS
from earthtone.models.two_tower import AttentionWindows, make_reducer, weighted_mean

DIMENSIONS = 12


def attention() -> AttentionWindows:
    torch.manual_seed(0)
    reducer = AttentionWindows(DIMENSIONS)
    torch.nn.init.normal_(reducer.weight.weight)
    return reducer


def vectors(*shape: int) -> Tensor:
    return torch.randn(*shape, DIMENSIONS, generator=torch.Generator().manual_seed(1))


def test_mean_is_the_mean() -> None:
    found = vectors(3, 5)
    torch.testing.assert_close(make_reducer("mean", DIMENSIONS)(found), found.mean(dim=1))


def test_attention_by_hand() -> None:
    reducer, found = attention(), vectors(1, 4)
    windows = found[0].numpy().astype(np.float64)
    standard = (windows - windows.mean(axis=1, keepdims=True)) / np.sqrt(windows.var(axis=1, keepdims=True) + 1e-5)
    hidden = np.tanh(standard @ reducer.hidden.weight.detach().numpy().T + reducer.hidden.bias.detach().numpy())
    scores = hidden @ reducer.weight.weight.detach().numpy()[0]
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(reducer(found)[0].detach(), weights @ windows, rtol=1e-4, atol=1e-5)
    assert np.ptp(weights) > 0.1


def test_attention_starts_as_the_mean() -> None:
    found = vectors(2, 6)
    torch.testing.assert_close(AttentionWindows(DIMENSIONS)(found), found.mean(dim=1))


@pytest.mark.parametrize("reducer", [make_reducer("mean", DIMENSIONS), attention()], ids=REDUCERS)
class TestEveryReducer:
    def test_one_window_comes_out_as_it_went_in(self, reducer: AttentionWindows) -> None:
        assert torch.equal(reducer(vectors(3, 1)), vectors(3, 1)[:, 0])

    def test_the_order_of_windows_plays_no_part(self, reducer: AttentionWindows) -> None:
        found = vectors(2, 7)
        torch.testing.assert_close(reducer(found[:, torch.randperm(7)]), reducer(found))

    def test_filling_plays_no_part_even_if_it_is_no_number(self, reducer: AttentionWindows) -> None:
        found = vectors(2, 6)
        heard = torch.tensor([[True] * 6, [True, False, True, False, False, False]])
        for filling in (0.0, 1e6, float("nan")):
            filled = found.masked_fill(~heard[..., None], filling).requires_grad_()
            out = reducer(filled, heard)
            torch.testing.assert_close(out[0], reducer(found)[0])
            torch.testing.assert_close(out[1], reducer(found[1:, [0, 2]])[0])
            (gradient,) = torch.autograd.grad(out.sum(), filled)
            assert torch.isfinite(gradient).all() and not gradient[~heard].any()

    def test_embedding_gives_what_training_gives(self, reducer: AttentionWindows) -> None:
        found = vectors(1, 2000)
        with torch.no_grad():
            whole = weighted_mean(found[0].numpy(), reducer.score(found[0]).numpy())
            np.testing.assert_allclose(whole, reducer(found)[0], atol=1e-5)

    def test_gradients(self, reducer: AttentionWindows) -> None:
        double = reducer.double()
        inputs = vectors(2, 3).double().requires_grad_()
        assert torch.autograd.gradcheck(double, (inputs,))
        reducer.float()


def test_equal_scores_are_a_plain_mean_bit_for_bit() -> None:
    found = np.random.default_rng(0).normal(size=(37, 16)).astype(np.float32)
    for score in (0.0, -3.7):
        mean = weighted_mean(found, np.full(37, score, np.float32))
        np.testing.assert_array_equal(mean, found.mean(axis=0, dtype=np.float64))


def test_large_scores_do_not_overflow() -> None:
    found = np.eye(2, dtype=np.float32)
    np.testing.assert_array_equal(weighted_mean(found, np.array([1e38, -1e38], np.float32)), [1, 0])


def test_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match=r"model\.windows is 'meen'; did you mean mean"):
        make_reducer("meen", DIMENSIONS)


def test_attention_learns_to_pass_over_windows_that_tell_nothing() -> None:
    """One window in four carries the recording's vector and a mark; the others are noise."""
    torch.manual_seed(0)
    reducer = AttentionWindows(DIMENSIONS)
    optimizer = torch.optim.Adam(reducer.parameters(), lr=0.01)

    def recordings() -> tuple[Tensor, Tensor, Tensor]:
        wanted = torch.randn(64, DIMENSIONS)
        wanted[:, 0] = 3.0
        windows = torch.randn(64, 4, DIMENSIONS)
        windows[:, :, 0] = -3.0
        at = torch.randint(4, (64,))
        windows[torch.arange(64), at] = wanted
        return windows, wanted, at

    for _ in range(150):
        windows, wanted, _ = recordings()
        loss = (reducer(windows) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    windows, _, at = recordings()
    with torch.no_grad():
        weights = reducer.score(windows).softmax(dim=1)
    assert weights[torch.arange(64), at].min() > 0.9

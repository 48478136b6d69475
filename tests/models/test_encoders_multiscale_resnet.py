"""Features from all stages: what they are, and that every user of an encoder can live with them."""

import numpy as np
import pytest
import torch

from earthtone.evaluate.explain import last_maps
from earthtone.models.backbone import open_backbone
from earthtone.models.encoders import MultiscaleResNet, fold_batch_norms, is_encoder, layer_groups, make_encoder

NAME = "multiscale_resnet10"


@pytest.fixture
def encoder() -> MultiscaleResNet:
    torch.manual_seed(0)
    made, features = make_encoder(NAME, (3, 96, 96))
    assert isinstance(made, MultiscaleResNet) and features == made.num_features == 480
    return made.eval()


@torch.inference_mode()
@pytest.mark.parametrize("size", [(96, 96), (125, 64), (70, 50)])
def test_features_are_the_stages_means(encoder: MultiscaleResNet, size: tuple[int, int]) -> None:
    inputs = torch.randn(2, 3, *size)
    last, maps = encoder.forward_intermediates(inputs)
    assert [each.shape[1] for each in maps] == [32, 32, 64, 128, 256]
    assert torch.equal(encoder.forward_features(inputs), last) and last.shape[2:] == maps[-1].shape[2:]
    features = encoder(inputs)
    assert torch.allclose(features, last.mean(dim=(2, 3)), atol=1e-6)
    assert torch.allclose(features[:, -256:], maps[-1].mean(dim=(2, 3)), atol=1e-6)
    if size == (96, 96):  # whole cells: then the mean of means is the mean
        means = np.concatenate([each.mean(dim=(2, 3)).numpy() for each in maps[1:]], axis=1)
        np.testing.assert_allclose(features.numpy(), means, atol=1e-5)


@torch.inference_mode()
def test_maps_can_be_chosen(encoder: MultiscaleResNet) -> None:
    inputs = torch.randn(1, 3, 64, 64)
    maps = encoder.forward_intermediates(inputs)[1]
    assert all(map(torch.equal, encoder.forward_intermediates(inputs, indices=2)[1], maps[-2:]))
    chosen = encoder.forward_intermediates(inputs, indices=[0, -1], intermediates_only=True)
    assert all(map(torch.equal, chosen, [maps[0], maps[-1]]))


def test_every_stage_learns_from_every_feature(encoder: MultiscaleResNet) -> None:
    encoder.train()(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in encoder.parameters())


def test_it_is_an_encoder_like_others(encoder: MultiscaleResNet) -> None:
    assert is_encoder(NAME) and len(layer_groups(encoder)) == 5
    assert last_maps(encoder, torch.randn(2, 3, 64, 64)).is_mean  # so the share of each place is known exactly
    norms = fold_batch_norms(encoder, torch.randn(2, 3, 64, 64)).modules()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in norms)
    assert make_encoder(NAME, (1, 125, 64))[1] == 480
    backbone = open_backbone(f"random:{NAME}")
    assert (backbone.channels, backbone.strides) == ((32, 32, 64, 128, 256), (2, 4, 8, 16, 32))
    assert backbone.features == 480 and backbone.pixels == 96
    wide, _ = make_encoder(NAME, (3, 64, 64), output_stride=16)
    assert wide.eval().forward_intermediates(torch.zeros(1, 3, 64, 64))[0].shape == (1, 480, 4, 4)  # type: ignore[operator]

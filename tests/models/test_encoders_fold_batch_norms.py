"""Networks without their batch norms say what they said with them."""

import pytest
import torch
from torch import Tensor, nn

from earthtone.models.backbone import open_backbone
from earthtone.models.encoders import fold_batch_norms


def lived(network: nn.Module) -> nn.Module:
    """The network with statistics and scales as training leaves them."""
    draws = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.uniform_(-0.3, 0.3, generator=draws)
            module.running_var.uniform_(0.5, 2.0, generator=draws)
            module.weight.data.uniform_(0.5, 1.5, generator=draws)
            module.bias.data.uniform_(-0.2, 0.2, generator=draws)
    return network


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "release_resnet18", "test_vit"])
@torch.no_grad()
def test_it_says_the_same_without_norms(name: str) -> None:
    encoder = lived(open_backbone(f"random:{name}", pixels=64).encoder)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    pictures = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    copied = fold_batch_norms(encoder, pictures[:1])
    assert norms(copied) == 0
    torch.testing.assert_close(copied(pictures), encoder(pictures), rtol=1e-4, atol=1e-4)
    maps = zip(copied.forward_intermediates(pictures)[1], encoder.forward_intermediates(pictures)[1], strict=True)  # type: ignore[operator]
    for found, expected in maps:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


class UsedTwice(nn.Module):
    """One convolution in front of two different norms."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, inputs: Tensor) -> Tensor:
        for norm in self.norms:
            inputs = norm(self.convolution(inputs))
        return inputs


class SeenByOthers(nn.Module):
    """A convolution whose own output is used beside what the norm makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, inputs: Tensor) -> Tensor:
        made = self.convolution(inputs)
        found: Tensor = made + self.norm(made)
        return found


@pytest.mark.parametrize("kind", [UsedTwice, SeenByOthers])
@torch.no_grad()
def test_norms_stay_where_folding_would_change_the_answer(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = lived(kind()).eval()
    inputs = torch.randn(2, 3, 8, 8)
    copied = fold_batch_norms(network, inputs)
    assert norms(copied) == norms(network) > 0
    assert copied is not network and torch.equal(copied(inputs), network(inputs))


@torch.no_grad()
def test_a_network_in_training_is_left_in_training() -> None:
    network = lived(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))).train()
    copied = fold_batch_norms(network, torch.randn(1, 3, 8, 8))
    assert network.training and not copied.training and norms(copied) == 0

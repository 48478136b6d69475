"""Any timm model becomes a tower for pictures and for spectrograms; what cannot is explained in one line."""

import pytest
import torch
from torch import nn

from earthtone.errors import ConfigError
from earthtone.models.encoders import Tower, make_projection


def tower_of(name: str, size: tuple[int, int, int], **options):  # type: ignore[no-untyped-def]
    return Tower(name, size, dimensions=8, projection="linear", **options)


@pytest.mark.parametrize("size", [(3, 64, 64), (1, 64, 100)])
@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "test_resnet.r160_in1k",  # with the name of its weights
        "test_convnext",
        "test_efficientnet",
        "test_vit",  # 64 x 100 are no whole patches
        "test_vit_relpos",  # takes a size, but none that varies
        "test_mambaout",  # its features are more than its last stage's
        "test_byobnet",
        "mobilenetv3_small_050",
        "regnetx_002",
    ],
)
def test_any_timm_model(name: str, size: tuple[int, int, int]) -> None:
    tower = tower_of(name, size)
    assert tower.training
    inputs = torch.zeros(2, *size)
    assert tower.encoder(inputs).shape == (2, tower.features)
    projected = tower.eval()(inputs)
    assert projected.shape == (2, 8) and torch.isfinite(projected).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "convnext_tiny", "vit_small_patch16_224"])
@pytest.mark.parametrize("size", [(3, 64, 64), (1, 64, 100)])
def test_the_usual_encoders_learn(name: str, size: tuple[int, int, int]) -> None:
    tower = tower_of(name, size, drop_path=0.1)
    tower(torch.randn(2, *size)).square().sum().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in tower.parameters())


def test_making_a_tower_changes_no_statistics() -> None:
    tower = tower_of("test_resnet", (3, 32, 32))
    assert all(not norm.num_batches_tracked for norm in tower.modules() if isinstance(norm, nn.BatchNorm2d))


def test_towers_of_one_seed_are_equal() -> None:
    towers = []
    for _ in range(2):
        torch.manual_seed(3)
        towers.append(tower_of("test_vit", (1, 32, 50)))
    assert all(torch.equal(a, b) for a, b in zip(*(tower.parameters() for tower in towers), strict=True))


def test_drop_path_reaches_the_encoder() -> None:
    inputs = torch.randn(4, 3, 32, 32)
    with_drops, without = tower_of("test_vit", (3, 32, 32), drop_path=0.5), tower_of("test_vit", (3, 32, 32))
    assert not torch.equal(with_drops(inputs), with_drops(inputs))
    assert torch.equal(without(inputs), without(inputs))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "encoder 'resnet81' is no timm model; near it: resnet"),
        ("", {}, "encoder '' is no timm model"),
        ("resnet*", {}, r"encoder 'resnet\*' is no timm model"),
        ("test_resnet.none", {}, r"encoder 'test_resnet.none' cannot be made: .*tag"),
        ("vgg11", {"drop_path": 0.1}, "encoder 'vgg11' cannot be used .*drop_path_rate"),
        (
            "test_coatnet",
            {},
            "encoder 'test_coatnet' cannot be used for inputs of 64 x 1000: .*match.*; choose another",
        ),
    ],
)
def test_what_cannot_be_an_encoder(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        tower_of(name, (1, 64, 1000), **options)
    assert "\n" not in str(error.value)


def test_projections() -> None:
    assert [tuple(p.shape) for p in make_projection(6, 4, "linear").parameters()] == [(4, 6), (4,)]
    assert [tuple(p.shape) for p in make_projection(6, 4, "mlp").parameters()] == [(6, 6), (6,), (4, 6), (4,)]
    normed = make_projection(6, 4, "mlp_norm")
    assert [tuple(p.shape) for p in normed.parameters()] == [(6, 6), (6,), (6,), (4, 6), (4,)]
    hidden = normed[:2](torch.randn(64, 6) * 3 + 1)  # type: ignore[index]
    assert torch.allclose(hidden.mean(0), torch.zeros(6), atol=1e-5)
    with pytest.raises(ConfigError, match=r"projection 'cubic'; linear, mlp or mlp_norm expected \(model.projection\)"):
        make_projection(6, 4, "cubic")

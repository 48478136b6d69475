"""Weights of torchgeo's catalogue, from torch's cache; without the extra, one line that says what to type."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from earthtone.errors import ConfigError, MissingExtraError, ModelError
from earthtone.models.backbone import open_backbone
from earthtone.models.encoders import IMAGENET_MEAN, IMAGENET_STD


@pytest.mark.skipif(find_spec("torchgeo") is not None, reason="torchgeo is installed")
def test_without_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'earthtone\[torchgeo\]'"):
        open_backbone("torchgeo:ResNet18_Weights.SENTINEL2_RGB_MOCO")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts made weights where torch would have put the fetched ones."""
    models = pytest.importorskip("torchgeo.models", reason="torchgeo is not installed")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def put(name: str, **options: Any) -> Any:
        weights = models.get_weight(name)
        network = timm.create_model(weights.meta["model"], in_chans=weights.meta["in_chans"], **options)
        path = tmp_path / "hub" / "checkpoints" / Path(weights.url).name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), path)
        return weights, network

    return put


@pytest.mark.parametrize("classes", [0, 10])
def test_from_the_cache(cache: Any, classes: int) -> None:
    weights, network = cache("ResNet50_Weights.FMOW_RGB_GASSL", num_classes=classes)
    backbone = open_backbone("torchgeo:ResNet50_Weights.FMOW_RGB_GASSL")
    pixels = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)
    inputs = backbone.prepare(pixels)
    torch.testing.assert_close(inputs, weights.transforms(pixels.permute(0, 3, 1, 2).float()), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        expected = network.eval().forward_features(inputs)
        torch.testing.assert_close(backbone.stages(inputs)[-1], expected)


def test_reflectances_and_seco(cache: Any) -> None:
    cache("ResNet18_Weights.SENTINEL2_RGB_MOCO", num_classes=0)
    white = torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)
    reflectance = open_backbone("torchgeo:ResNet18_Weights.SENTINEL2_RGB_MOCO").prepare(white)
    torch.testing.assert_close(reflectance, torch.full((1, 3, 32, 32), 0.3))
    cache("ResNet18_Weights.SENTINEL2_RGB_SECO", num_classes=0)
    stretched = open_backbone("torchgeo:ResNet18_Weights.SENTINEL2_RGB_SECO").prepare(white)
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(stretched[0, :, 0, 0], (1 - mean) / std)


def test_what_it_has_not(cache: Any) -> None:
    with pytest.raises(ConfigError, match="torchgeo knows no such weights"):
        open_backbone("torchgeo:ResNet18_Weights.NONE")
    with pytest.raises(ConfigError, match="is a resnet18 for 13 channels"):
        open_backbone("torchgeo:ResNet18_Weights.SENTINEL2_ALL_MOCO")


def test_without_a_network(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"could not be had .*put it to .*resnet18_sentinel2_rgb_moco"):
        open_backbone("torchgeo:ResNet18_Weights.SENTINEL2_RGB_MOCO")

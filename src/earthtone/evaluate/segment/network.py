"""A backbone with a head that says for each pixel which class it is."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.errors import ConfigError
from earthtone.models.backbone import Backbone
from earthtone.wording import did_you_mean

_FINE, _COARSE = 4, 16  # strides that DeepLabV3+ joins
_WIDTH = 256


class Segmenter(nn.Module):
    """Class scores (N, classes, H, W) for uint8 pixels (N, H, W, 3) of any size."""

    def __init__(self, backbone: Backbone, classes: int, head: str, *, frozen: bool = False) -> None:
        super().__init__()
        if head not in HEADS:
            raise ConfigError(f"head {head!r}; {did_you_mean(head, HEADS)}one of {', '.join(HEADS)} expected")
        self.backbone = backbone
        self.frozen = frozen
        self.head = HEADS[head](backbone, classes)
        backbone.requires_grad_(not frozen)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the scores; sides are filled up to the deepest stride by reflection and cut off again."""
        height, width = pixels.shape[1:3]
        unit = max(*self.backbone.strides, 2 * _COARSE)
        padded = _filled_up(self.backbone.prepare(pixels), unit)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.backbone.stages(padded)
        scores = F.interpolate(self.head(maps, padded.shape[2:]), padded.shape[2:], mode="bilinear")
        return scores[:, :, :height, :width].float()

    def train(self, mode: bool = True) -> "Segmenter":
        """Set the mode; a frozen backbone keeps the statistics of its norms."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


class DeepLabV3Plus(nn.Module):
    """Atrous spatial pyramid over the last stage, joined with the first one.

    Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
    arXiv 1802.02611; the decoder is that of segmentation-models-pytorch. A backbone whose maps have other strides
    than 4 and 16 (vision transformers, families without dilation) has them resized to these.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

        self.fine = next((i for i, stride in enumerate(backbone.strides) if stride >= _FINE), 0)
        channels = backbone.channels
        self.decoder = DeepLabV3PlusDecoder(
            encoder_channels=(3, 0, channels[self.fine], 0, 0, channels[-1]),
            encoder_depth=5,
            out_channels=_WIDTH,
            atrous_rates=(6, 12, 18),  # the paper's at output stride 16
            output_stride=_COARSE,
            aspp_separable=True,
            aspp_dropout=0.5,
        )
        self.classify = nn.Conv2d(_WIDTH, classes, 1)

    def forward(self, maps: list[Tensor], size: torch.Size) -> Tensor:
        """Return scores at a quarter of the input's `size`."""
        fine = _at(maps[self.fine], size, _FINE)
        coarse = _at(maps[-1], size, _COARSE)
        scores: Tensor = self.classify(self.decoder([fine, fine, fine, coarse]))
        return scores


class LinearHead(nn.Module):
    """One linear layer a pixel on the last stage, behind a batch norm: a probe of what the maps say."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(backbone.channels[-1], affine=False)
        self.classify = nn.Conv2d(backbone.channels[-1], classes, 1)

    def forward(self, maps: list[Tensor], size: torch.Size) -> Tensor:
        """Return scores at the resolution of the last stage."""
        scores: Tensor = self.classify(self.norm(maps[-1]))
        return scores


HEADS: dict[str, Callable[[Backbone, int], nn.Module]] = {"deeplabv3plus": DeepLabV3Plus, "linear": LinearHead}


def _at(maps: Tensor, size: torch.Size, stride: int) -> Tensor:
    wanted = (size[0] // stride, size[1] // stride)
    return maps if maps.shape[2:] == wanted else F.interpolate(maps, wanted, mode="bilinear")


def _filled_up(inputs: Tensor, unit: int) -> Tensor:
    """Sides as multiples of `unit`: mirrored where the picture is large enough, else its border repeated."""
    down, right = -inputs.shape[2] % unit, -inputs.shape[3] % unit
    if not (down or right):
        return inputs
    mirror = down < inputs.shape[2] and right < inputs.shape[3]
    return F.pad(inputs, (0, right, 0, down), mode="reflect" if mirror else "replicate")

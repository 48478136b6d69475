"""ResNets whose features are the means of all their stages, for small sets and no weights from elsewhere."""

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor
from torch.nn import functional as F


class MultiscaleResNet(ResNet):  # type: ignore[misc]  # timm has no types
    """A ResNet (He et al., arXiv 1512.03385) that pools each of its four stages, not only the last one.

    Texture and colour reach the features, and the loss reaches early layers, without a way through all the others: a
    network that starts from random weights learns sooner. Pooled stages as features are usual where few labels or few
    steps are at hand (such as SSD, arXiv 1512.02325, for maps, and Hypercolumns, arXiv 1411.5752). The last map is all
    stages side by side at the last one's resolution, and the features are its mean over places.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.num_features = self.head_hidden_size = sum(stage["num_chs"] for stage in self.feature_info[1:])
        self.reset_classifier(self.num_classes, options.get("global_pool", "avg"))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map (N, sum of the stages' channels, h, w)."""
        return _joined(super().forward_intermediates(x)[1][1:])

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Return the last map, as `forward_features`, and the maps of the stem and of the stages, each its own."""
        maps = super().forward_intermediates(x, norm=norm, output_fmt=output_fmt, intermediates_only=True)
        if indices is None:
            chosen = maps
        else:
            chosen = maps[-indices:] if isinstance(indices, int) else [maps[index] for index in indices]
        return chosen if intermediates_only else (_joined(maps[1:]), chosen)


def _joined(maps: list[Tensor]) -> Tensor:
    """Return the maps side by side, averaged to the size of the last one."""
    height, width = maps[-1].shape[2:]
    return torch.cat([F.adaptive_avg_pool2d(each, (height, width)) for each in maps[:-1]] + [maps[-1]], dim=1)


_PICTURES = {"input_size": (3, 96, 96), "pool_size": (3, 3), "first_conv": "conv1.0", "classifier": "fc"}
default_cfgs = generate_default_cfgs({"multiscale_resnet10.untrained": _PICTURES})


@register_model  # type: ignore[untyped-decorator]
def multiscale_resnet10(pretrained: bool = False, **options: Any) -> MultiscaleResNet:
    """Ten layers, 32 to 256 channels, three small convolutions as a stem: 1.2 million weights, 480 features."""
    arguments = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (32, 64, 128, 256)}
    stem = {"stem_type": "deep", "stem_width": 16, "zero_init_last": False}
    made: MultiscaleResNet = build_model_with_cfg(
        MultiscaleResNet, "multiscale_resnet10", pretrained, **(arguments | stem | options)
    )
    return made

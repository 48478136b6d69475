"""A copy of a network for inference: batch norms become part of the convolutions before them."""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_AGREES = 1e-3  # of the largest feature: a network that is folded wrongly is off by far more, in float32


@torch.no_grad()
def folded(encoder: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a copy, in evaluation mode, without the batch norms that follow a convolution; other layers stay.

    A norm with fixed statistics is a scale and a shift of each channel, which the convolution's weights can bear
    (Jacob et al., arXiv 1712.05877, section 3.2). `inputs` (N, C, H, W) are tried out: which norm follows which
    convolution is seen, not guessed, and where the copy would not say the same of them, such as where a convolution is
    used twice, it keeps its norms.
    """
    copied = copy.deepcopy(encoder).eval()
    names = {module: name for name, module in copied.named_modules()}
    for convolution, norm in _followed(copied, inputs):
        _replace(copied, names[convolution], fuse_conv_bn_eval(convolution, norm))
        _replace(copied, names[norm], cast(nn.Module, getattr(norm, "act", nn.Identity())))  # timm's norms activate too
    plain = copy.deepcopy(encoder).eval()
    both = zip(_said(copied, inputs), _said(plain, inputs), strict=True)
    same = all((found - expected).abs().max() <= _AGREES * expected.abs().max() for found, expected in both)
    return copied if same else plain


def _said(encoder: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Return the features and, of an encoder that gives them, the maps of all stages."""
    stages = getattr(encoder, "forward_intermediates", None)
    return [encoder(inputs), *(stages(inputs)[1] if stages else ())]


def _followed(network: nn.Module, inputs: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return the convolutions whose output goes into a batch norm, with that norm."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # holds the tensors, so that no id is given twice
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def made(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[id(output)] = (cast(nn.Conv2d, module), output)

    def taken(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if id(arguments[0]) in outputs:
            pairs.append((outputs[id(arguments[0])][0], cast(nn.BatchNorm2d, module)))

    hooks = [module.register_forward_hook(made) for module in network.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks += [module.register_forward_pre_hook(taken) for module in norms if module.track_running_stats]
    network(inputs)
    for hook in hooks:
        hook.remove()
    return pairs


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)

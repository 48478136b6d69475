"""An image encoder as a backbone for other tasks: maps of all its stages, pooled features, its own normalisation."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from earthtone.errors import ConfigError, ModelError
from earthtone.models.layers import layer_groups
from earthtone.models.scale_channel import byte_statistics, with_usual_scale
from earthtone.models.tile2vec import tile2vec_trunk
from earthtone.models.trunk import Trunk, fresh_trunk
from earthtone.models.trunk_file import file_trunk
from earthtone.models.trunk_package import package_trunk
from earthtone.models.trunk_timm import timm_trunk
from earthtone.models.trunk_torchgeo import torchgeo_trunk
from earthtone.models.weights import hash_weights
from earthtone.wording import did_you_mean

#: Prefix of a spec -> (rest, pixels, output_stride, seed) to a trunk.
SOURCES: dict[str, Callable[[str, int | None, int, int], Trunk]] = {
    "timm": lambda rest, pixels, stride, _: timm_trunk(rest, pixels, stride),
    "random": fresh_trunk,
    "torchgeo": lambda rest, pixels, stride, _: torchgeo_trunk(rest, pixels, stride),
    "tile2vec": lambda rest, pixels, stride, _: tile2vec_trunk(Path(rest), pixels, stride),
    "package": lambda rest, pixels, stride, _: package_trunk(rest, pixels, stride),
}
SPECS = (
    "a run's folder, a .safetensors file, a checkpoint of the SoundingEarth release (.pt), timm:NAME, timm:NAME@FILE, "
    "random:NAME, package:efficientnet_lite0, torchgeo:WEIGHTS or tile2vec:FILE"
)


class Backbone(nn.Module):
    """An image encoder for frozen features, fine-tuning and segmentation; `stages` and `pooled` share their weights.

    >>> backbone = open_backbone("random:release_resnet18")
    >>> inputs = backbone.prepare(torch.zeros(2, 192, 192, 3, dtype=torch.uint8))
    >>> [tuple(values.shape) for values in backbone.stages(inputs)][-1], tuple(backbone.pooled(inputs).shape)
    ((2, 512, 6, 6), (2, 512))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: Trunk, name: str, output_stride: int = 32) -> None:
        super().__init__()
        self.encoder = trunk.encoder.eval()
        self.name = name
        self.pixels = trunk.pixels
        self.architecture = trunk.architecture
        self.output_stride = output_stride
        self.usual_gsd_m = trunk.usual_gsd_m
        mean, std = byte_statistics(trunk.mean, trunk.std, scale=trunk.usual_gsd_m is not None)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        try:
            with torch.no_grad():
                inputs = torch.zeros(1, len(self.mean), self.pixels, self.pixels)
                maps, pooled = self.stages(inputs), self.pooled(inputs)
        except (RuntimeError, AssertionError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"{name}: no maps of its stages at {self.pixels} x {self.pixels} pixels ({reason})"
            ) from error
        self.channels = tuple(int(values.shape[1]) for values in maps)
        self.strides = tuple(_stride(self.pixels, values.shape[2]) for values in maps)
        self.features = int(pooled.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    @property
    def fingerprint(self) -> str:
        """Hash (32 hex digits) of architecture, normalisation and the present weights; the same in every process."""
        scale = () if self.usual_gsd_m is None else (self.usual_gsd_m,)
        colours = self.mean.flatten().tolist(), self.std.flatten().tolist()
        said = (self.architecture, self.output_stride, *colours, *scale)
        digest = hashlib.blake2b(repr(said).encode(), digest_size=16)
        hash_weights(digest, self.encoder)
        return digest.hexdigest()

    def prepare(self, pixels: Tensor | NDArray[np.uint8]) -> Tensor:
        """Return normalised (N, C, H, W) on the backbone's device, channels last in memory, of uint8 (N, H, W, C).

        C is 3, or 4 for an encoder that is told metres a pixel (scale.py); where they lack, `usual_gsd_m` are taken,
        those of its training, with a warning.
        """
        values = torch.as_tensor(pixels, device=self.device)
        if values.dtype != torch.uint8 or values.ndim != 4 or values.shape[3] not in (3, len(self.mean)):
            channels = "3" if self.usual_gsd_m is None else "3 or 4"
            raise ConfigError(
                f"pixels {values.dtype} {tuple(values.shape)}; uint8 (N, height, width, {channels}) expected"
            )
        if self.usual_gsd_m is not None and values.shape[3] == 3:
            values = with_usual_scale(values, self.usual_gsd_m)
        normalised = (values.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)

    def stages(self, inputs: Tensor) -> list[Tensor]:
        """Return maps (N, channels[k], H / strides[k], W / strides[k]), shallow to deep, of (N, C, H, W)."""
        maps: list[Tensor] = cast(Any, self.encoder).forward_intermediates(inputs)[1]
        return maps

    def pooled(self, inputs: Tensor) -> Tensor:
        """Return features (N, features) of inputs (N, C, H, W), as the encoder itself pools them."""
        features: Tensor = self.encoder(inputs)
        return features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `pooled(inputs)`."""
        return self.pooled(inputs)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return all parameters in groups, shallow to deep, for learning rates that decay with depth."""
        return layer_groups(self.encoder)


def open_backbone(
    spec: str | Path,
    *,
    pixels: int | None = None,
    output_stride: int = 32,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Backbone:
    """Return the image encoder that `spec` names, in evaluation mode.

    `spec` is a run's folder, a `.safetensors` file, a checkpoint of the SoundingEarth release, or `timm:NAME` (its
    published weights), `timm:NAME@FILE` (weights from a file), `random:NAME` (drawn with `seed`),
    `package:efficientnet_lite0`, `torchgeo:WEIGHTS`, `tile2vec:FILE`. `pixels` replaces the side of pictures it was
    trained with; `output_stride` 16 or 8 keeps the last stages' resolution, where the family can.
    Raises ConfigError, ModelError.
    """
    kind, colon, rest = str(spec).partition(":")
    if colon and kind in SOURCES:
        trunk = SOURCES[kind](rest, pixels, output_stride, seed)
    elif Path(spec).exists():
        trunk = file_trunk(Path(spec), pixels, output_stride)
    else:
        hint = did_you_mean(kind, SOURCES) if colon else ""
        raise ModelError(f"model {str(spec)!r}: no such file; {hint}{SPECS} expected")
    return Backbone(trunk, str(spec), output_stride).to(device).eval()


def _stride(pixels: int, side: int) -> int:
    """How many input pixels one map pixel stands for; sides that do not divide are rounded up by convolutions."""
    return pixels // side if pixels % side == 0 else 2 ** round(np.log2(pixels / side))

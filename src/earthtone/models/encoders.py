"""Encoders for pictures and for spectrograms - timm's and the release's ResNets - with their projection heads."""

import difflib
from pathlib import Path
from typing import Any, Self

import timm
import torch
from torch import Tensor, nn

from earthtone.data.hub_endpoint import refuse_token_over_http
from earthtone.errors import ConfigError
from earthtone.models import multiscale_resnet  # noqa: F401  (timm knows them from here on)
from earthtone.models.release_resnet import RELEASE_RESNETS, ReleaseResNet


class Tower(nn.Module):
    """An encoder and its projection into the shared space."""

    def __init__(self, encoder: nn.Module, features: int, dimensions: int, projection: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.features = features
        self.projection = make_projection(features, dimensions, projection)
        self.frozen = False

    def freeze(self, frozen: bool) -> None:
        """Let the encoder stand still: no gradient, norms and dropout as in evaluation; or let it learn again."""
        self.frozen = frozen
        self.encoder.train(self.training and not frozen)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but a frozen encoder's, which stays in evaluation."""
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return projections (N, dimensions), not normalised, for inputs (N, channels, height, width)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.encoder(inputs)
        projected: Tensor = self.projection(features)
        return projected


def make_tower(
    name: str,
    *,
    channels: int,
    height: int,
    width: int,
    dimensions: int,
    projection: str,
    drop_path: float = 0.0,
) -> Tower:
    """Return an untrained tower around the encoder `name` for inputs of the given size. Raises ConfigError."""
    encoder, features = make_encoder(name, (channels, height, width), drop_path=drop_path)
    return Tower(encoder, features, dimensions, projection)


def is_encoder(name: object) -> bool:
    """Return whether `name` is an encoder that is made without asking any network."""
    return isinstance(name, str) and (name in RELEASE_RESNETS or bool(timm.is_model(name)))


def make_encoder(
    name: str,
    shape: tuple[int, int, int],
    *,
    pretrained: bool = False,
    file: Path | None = None,
    drop_path: float = 0.0,
    output_stride: int = 32,
) -> tuple[nn.Module, int]:
    """Return an encoder for inputs of `shape` (channels, height, width), and how many features it gives.

    `pretrained` lets timm fetch its weights, or take them from `file` if that is given. With `output_stride` 16 or 8
    the last stages keep their resolution. Raises ConfigError for an unknown name and for what this encoder cannot do.
    """
    if name in RELEASE_RESNETS:
        if pretrained or drop_path:
            what = "weights of its own to fetch" if pretrained else "drop_path"
            raise ConfigError(f"encoder {name!r} has no {what}; leave that option out")
        release = ReleaseResNet(name, shape[0], output_stride)
        return release, release.num_features
    if not timm.is_model(name) and not name.startswith("hf-hub:"):
        near = difflib.get_close_matches(name, [*RELEASE_RESNETS, *timm.list_models()], n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ConfigError(f"encoder {name!r} is no timm model{hint}; timm.list_models() names all")
    if name.startswith("hf-hub:") or (pretrained and file is None):
        refuse_token_over_http()
    options: dict[str, Any] = {"num_classes": 0, "in_chans": shape[0], "pretrained": pretrained}
    if file is not None:
        options["pretrained_cfg_overlay"] = {"file": str(file)}
    if drop_path:
        options["drop_path_rate"] = drop_path  # not every family knows it
    if output_stride != 32:
        options["output_stride"] = output_stride  # nor this
    return _fitting_encoder(name, options, shape)


def _fitting_encoder(name: str, options: dict[str, Any], shape: tuple[int, int, int]) -> tuple[nn.Module, int]:
    """Return a timm model that takes inputs of `shape` (channels, height, width), and how many features it gives.

    Vision transformers must be told the input's size, and pad a spectrogram to whole patches; others know no size.
    """
    size: dict[str, Any] = {"img_size": shape[1:]}
    reasons: list[Exception] = []
    for sizing in ({**size, "dynamic_img_size": True, "dynamic_img_pad": True}, size, {}):
        try:
            encoder = timm.create_model(name, **options, **sizing)
        except (TypeError, AssertionError) as error:  # an option, or its value, that this family does not know
            reasons.append(error)
            continue
        except (RuntimeError, OSError, ValueError) as error:
            raise ConfigError(f"encoder {name!r} cannot be made: {_line(error)}") from error
        try:
            with torch.no_grad():
                features = encoder.eval()(torch.zeros(1, *shape)).shape[1:]
        except (RuntimeError, AssertionError, ValueError) as error:
            reasons.append(error)
            continue
        if len(features) == 1:
            return encoder.train(), int(features[0])
    if "output_stride" in options:
        raise ConfigError(
            f"encoder {name!r} has no output_stride {options['output_stride']}; leave it at 32, or choose "
            "an encoder that can be dilated, such as resnet50, convnext_tiny or release_resnet50"
        )
    why = f": {_line(reasons[-1])}" if reasons else ""
    raise ConfigError(
        f"encoder {name!r} cannot be used for inputs of {shape[1]} x {shape[2]}{why}; "
        "choose another size or encoder, such as resnet18 or vit_small_patch16_224"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def make_projection(features: int, dimensions: int, kind: str) -> nn.Module:
    """Return the head: `linear`; `mlp`, with one hidden layer as wide as the features; `mlp_norm`, with a norm in it.

    Source of the latter: Chen et al., "SimCLR", arXiv 2002.05709, appendix B.9 (here no norm at the end).
    """
    if kind == "linear":
        return nn.Linear(features, dimensions)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(features, features), nn.GELU(), nn.Linear(features, dimensions))
    if kind == "mlp_norm":
        hidden = [nn.Linear(features, features, bias=False), nn.BatchNorm1d(features), nn.ReLU(inplace=True)]
        return nn.Sequential(*hidden, nn.Linear(features, dimensions))
    raise ConfigError(f"projection {kind!r}; linear, mlp or mlp_norm expected (model.projection)")

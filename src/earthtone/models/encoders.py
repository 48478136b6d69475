"""timm encoders for pictures and for spectrograms, with their projection heads."""

import difflib
from pathlib import Path

import timm
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.models.weights import fill, read_safetensors


class Tower(nn.Module):
    """An encoder and its projection into the shared space."""

    def __init__(self, encoder: nn.Module, features: int, dimensions: int, projection: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.features = features
        self.projection = make_projection(features, dimensions, projection)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return projections (N, dimensions), not normalised, for inputs (N, channels, height, width)."""
        projected: Tensor = self.projection(self.encoder(inputs))
        return projected


def make_tower(
    name: str,
    *,
    channels: int,
    height: int,
    width: int,
    dimensions: int,
    projection: str,
    weights: str | None = None,
    drop_path: float = 0.0,
) -> Tower:
    """Return a tower around the timm model `name` for inputs of the given size. Raises ConfigError, ModelError."""
    if name not in timm.list_models(name) and not name.startswith("hf-hub:"):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ConfigError(f"encoder {name!r} is no timm model{hint}; timm.list_models() names all")
    options = {
        "num_classes": 0,
        "in_chans": channels,
        "pretrained": weights == "pretrained",
        "drop_path_rate": drop_path,
    }
    try:
        # vision transformers need the input's size; spectrograms are padded to whole patches
        encoder = timm.create_model(
            name, img_size=(height, width), dynamic_img_size=True, dynamic_img_pad=True, **options
        )
    except TypeError:
        encoder = timm.create_model(name, **options)
    if weights is not None and weights != "pretrained":
        fill(encoder, read_safetensors(Path(weights))[0], Path(weights))
    return Tower(encoder, int(encoder.num_features), dimensions, projection)


def make_projection(features: int, dimensions: int, kind: str) -> nn.Module:
    """Return the head: `linear` or `mlp`."""
    if kind == "linear":
        return nn.Linear(features, dimensions)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(features, features), nn.GELU(), nn.Linear(features, dimensions))
    raise ConfigError(f"projection {kind!r}; linear or mlp expected (model.projection)")

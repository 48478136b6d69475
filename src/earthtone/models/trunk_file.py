"""Image encoders from files: of a run, of a backbone that was written out, of a release checkpoint."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from earthtone.errors import ConfigError, ModelError
from earthtone.models.encoders import is_encoder, make_encoder
from earthtone.models.storage import WEIGHTS_FILE, load_model
from earthtone.models.trunk import Trunk, fresh_trunk
from earthtone.models.weights import fill, read_header, read_safetensors

BACKBONE_HEADER = "earthtone_backbone"
BACKBONE_FORMAT = 1


def file_trunk(path: Path, pixels: int | None, output_stride: int) -> Trunk:
    """Return the image encoder of a run's folder, of a `.safetensors` file or of a release checkpoint.

    Nothing is executed from the file, nothing fetched. Raises ConfigError, ModelError.
    """
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if file.suffix == ".safetensors" and BACKBONE_HEADER in (header := read_header(file)):
        return _backbone_trunk(file, header[BACKBONE_HEADER], pixels, output_stride)
    model = load_model(path)
    name, side = model.config.image_encoder, model.signal.image.pixels
    encoder: nn.Module = model.image_tower.encoder
    if output_stride != 32:
        dilated, _ = make_encoder(name, (3, side, side), output_stride=output_stride)
        fill(dilated, encoder.state_dict(), file)
        encoder = dilated
    return Trunk(encoder, name, pixels or side)


def _backbone_trunk(file: Path, header: str, pixels: int | None, output_stride: int) -> Trunk:
    """Return a backbone that `write_backbone` wrote."""
    try:
        card: dict[str, Any] = dict(json.loads(header))
        name, side = card["encoder"], int(card["pixels"])
        mean, std = (tuple(float(value) for value in card[key]) for key in ("mean", "std"))
        usable = card["format"] == BACKBONE_FORMAT and is_encoder(name) and 16 <= side <= 4096
        if not usable or len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
            raise ConfigError(f"format {card['format']!r:.20}, encoder {name!r:.60}, {side} pixels")
    except (ValueError, TypeError, KeyError, ConfigError) as error:
        raise ModelError(f"{file}: its card does not describe a backbone of this version ({error})") from error
    trunk = fresh_trunk(name, side, output_stride)
    fill(trunk.encoder, read_safetensors(file)[0], file)
    return Trunk(trunk.encoder, name, pixels or side, mean, std)

"""Image encoders from files: of a run, of a backbone that was written out, of a release checkpoint."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from earthtone.errors import ConfigError, ModelError
from earthtone.models.encoders import is_encoder, make_encoder
from earthtone.models.storage import WEIGHTS_FILE, load_model
from earthtone.models.trunk import Trunk, fresh_trunk
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import check_fit, fill, read_header, read_safetensors, write_safetensors

BACKBONE_FILE = "backbone.safetensors"
BACKBONE_HEADER = "earthtone_backbone"
BACKBONE_FORMAT = 1


def file_trunk(path: Path, pixels: int | None, output_stride: int) -> Trunk:
    """Return the image encoder of a run's folder, of a `.safetensors` file or of a release checkpoint.

    Nothing is executed from the file, nothing fetched. Raises ConfigError, ModelError.
    """
    file = path
    if path.is_dir():
        file = path / (BACKBONE_FILE if (path / BACKBONE_FILE).exists() else WEIGHTS_FILE)
    if file.suffix == ".safetensors" and file.exists() and BACKBONE_HEADER in (header := read_header(file)):
        return _backbone_trunk(file, header[BACKBONE_HEADER], pixels, output_stride)
    trunk = model_trunk(load_model(path), output_stride)
    return replace(trunk, pixels=pixels or trunk.pixels)


def model_trunk(model: TwoTower, output_stride: int = 32) -> Trunk:
    """Return the image encoder of a model. Raises ConfigError where it cannot have that output stride."""
    name, side = model.config.image_encoder, model.signal.image.pixels
    encoder: nn.Module = model.image_tower.encoder
    if output_stride != 32:
        dilated, _ = make_encoder(name, (model.config.image_channels, side, side), output_stride=output_stride)
        dilated.load_state_dict(encoder.state_dict())
        encoder = dilated
    return Trunk(encoder, name, side, usual_gsd_m=model.usual_gsd_m)


def write_trunk(path: Path, trunk: Trunk, card: Mapping[str, Any]) -> Path:
    """Write an image encoder and, in the header, what it is and where it comes from, whole or not at all."""
    said = {
        "format": BACKBONE_FORMAT,
        "encoder": trunk.architecture,
        "pixels": trunk.pixels,
        "mean": trunk.mean,
        "std": trunk.std,
        "card": dict(card),
        **({} if trunk.usual_gsd_m is None else {"gsd_m": trunk.usual_gsd_m}),
    }
    write_safetensors(path, trunk.encoder.state_dict(), {BACKBONE_HEADER: json.dumps(said, sort_keys=True)})
    return path


def _usable(mean: tuple[float, ...], std: tuple[float, ...], gsd_m: float | None) -> bool:
    """Return whether pictures can be normalised with these numbers in float32; a comparison with NaN is false.

    Metres a pixel may be further out than those of files (scale.py): pictures are shown at other sizes.
    """
    colours = all(abs(value) <= 1e3 for value in mean) and all(1e-6 <= value <= 1e3 for value in std)
    return colours and (gsd_m is None or 1e-9 <= gsd_m <= 1e9)


def _backbone_trunk(file: Path, header: str, pixels: int | None, output_stride: int) -> Trunk:
    """Return a backbone that `write_backbone` wrote."""
    try:
        card: dict[str, Any] = dict(json.loads(header))
        name, side = card["encoder"], int(card["pixels"])
        mean, std = (tuple(float(value) for value in card[key]) for key in ("mean", "std"))
        gsd_m = None if card.get("gsd_m") is None else float(card["gsd_m"])
        usable = card["format"] == BACKBONE_FORMAT and is_encoder(name) and 16 <= side <= 4096
        if not usable or len(mean) != 3 or len(std) != 3 or not _usable(mean, std, gsd_m):
            raise ConfigError(f"format {card['format']!r:.20}, encoder {name!r:.60}, {side} pixels")
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, ConfigError) as error:
        raise ModelError(f"{file}: its card does not describe a backbone of this version ({error})") from error
    weights = read_safetensors(file)[0]
    channels = 3 if gsd_m is None else 4
    with torch.device("meta"):  # a small file can name a giant: compared before any memory is taken
        check_fit(fresh_trunk(name, side, output_stride, channels=channels).encoder, weights, file)
    trunk = fresh_trunk(name, side, output_stride, channels=channels)
    fill(trunk.encoder, weights, file)
    return Trunk(trunk.encoder, name, pixels or side, mean, std, gsd_m)

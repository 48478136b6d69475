"""Models on disk: one safetensors file whose header carries the card; `card.json` beside it is for reading."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from earthtone.atomic import write_text_atomic
from earthtone.errors import ConfigError, ModelError
from earthtone.models.config import ModelConfig, model_to_dict
from earthtone.models.encoders import is_encoder
from earthtone.models.release_checkpoint import is_release, read_release
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import check_fit, fill, read_safetensors, write_safetensors
from earthtone.signal.config import signal_from_dict, signal_to_dict
from earthtone.wording import shell_line

FORMAT = 1
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "card.json"
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")  # what torch.save writes


def save_model(folder: Path, model: TwoTower, card: Mapping[str, Any]) -> Path:
    """Write weights and card into `folder` and return the weights' path; each file is whole or absent.

    The card in the header is what is loaded; the copy in `card.json` is for people.
    """
    full = {
        **card,
        "format": FORMAT,
        "model": model_to_dict(model.config),
        "signal": signal_to_dict(model.signal),
    }
    path = folder / WEIGHTS_FILE
    write_safetensors(path, model.state_dict(), {"earthtone": json.dumps(full, sort_keys=True)})
    write_text_atomic(folder / CARD_FILE, json.dumps(full, indent=1, sort_keys=True) + "\n")
    return path


def load_model(path: str | Path, device: str | torch.device = "cpu") -> TwoTower:
    """Return the model of a run's folder, of a `.safetensors` file or of a checkpoint of the SoundingEarth release.

    It is in evaluation mode. Nothing is executed from the file. Raises ModelError when it is missing, broken or none
    of these.
    """
    path = Path(path)
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if file.suffix in CHECKPOINT_SUFFIXES:
        return read_release(file).model.to(device)
    if not file.exists():
        raise ModelError(
            f"{path}: no {WEIGHTS_FILE} there; train one with: earthtone pretrain DATA --out {shell_line(path)}"
        )
    weights, header = read_safetensors(file)
    if is_release(weights):
        return read_release(file).model.to(device)
    if "earthtone_backbone" in header:
        raise ModelError(f"{file}: holds an image encoder only, for open_backbone; a whole model was expected")
    if "earthtone" not in header:
        raise ModelError(f"{file}: safetensors of another project; a model written by earthtone was expected")
    try:
        card = dict(json.loads(header["earthtone"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{file}: its card is no JSON object ({error}); copy it again if it was cut off") from error
    with torch.device("meta"):  # a small file can name a giant: compared before any memory is taken
        check_fit(_empty_model(file, card), weights, file)
    model = _empty_model(file, card)
    fill(model, weights, file)
    if model.config.scale_input and not 0 < float(model.usual_side_m) < math.inf:  # also NaN
        raise ModelError(
            f"{file}: usual_side_m is {float(model.usual_side_m):g}; the metres along a side of a tile, more than 0, "
            "expected: a damaged file; copy it again"
        )
    return model.to(device).eval()


def _empty_model(file: Path, card: dict[str, Any]) -> TwoTower:
    if card.get("format") != FORMAT:
        raise ModelError(f"{file}: model format {card.get('format')}, {FORMAT} expected; install a newer earthtone")
    try:
        # the weights are in the file: whatever the towers started from must not be fetched again
        config = ModelConfig(**{**card["model"], "image_weights": None, "audio_weights": None})
        _refuse_hub(config)
        model = TwoTower(config, signal_from_dict(card["signal"]))
    except Exception as error:  # a card may hold anything, and timm's models fail in their own ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelError(f"{file}: its card does not describe a model of this version ({reason})") from error
    model.card = card
    return model


def _refuse_hub(config: ModelConfig) -> None:
    """A model file must not make its reader fetch anything."""
    for name in (config.image_encoder, config.audio_encoder):
        if not is_encoder(name):
            raise ConfigError(f"encoder {name!r:.60} is no timm model")

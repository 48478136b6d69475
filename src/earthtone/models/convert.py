"""Checkpoints of the SoundingEarth release to files of ours; any model's image encoder to a file of its own."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthtone.errors import ConfigError
from earthtone.models.backbone import encoder_of_model, write_encoder
from earthtone.models.storage import BACKBONE_FILE, load_model, read_release, save_model
from earthtone.models.weights import write_safetensors
from earthtone.options import ConvertOptions
from earthtone.value_types import takes

LOSS_FILE = "loss.safetensors"


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote."""

    path: Path
    """The weights."""
    card: Mapping[str, Any]
    """Where they come from."""
    loss_path: Path | None = None
    """Learnt parts of the loss, where the checkpoint had some."""


@takes(ConvertOptions)
def convert(options: ConvertOptions) -> Converted:
    """Write a release checkpoint into the folder `out` as a model of ours, and return what was written.

    A state dict does not tell by which loss it was trained: `unit` says by a contrastive one, so that embeddings have
    length 1 and are compared by cosine; without it they are raw and compared by Euclidean distance, as the triplet
    loss wants it. Learnt parts of the loss are kept in a file beside the model. `backbone_only` writes the image
    encoder alone, of a checkpoint or of any model of ours, for `open_backbone`. What exists is never written over.
    Raises ConfigError, ModelError.

    >>> convert("latest.pt", "models/release").card["converted_from"]["file"]  # doctest: +SKIP
    'latest.pt'
    """
    source, folder = Path(options.checkpoint), Path(options.out)
    unit, backbone_only = options.unit, options.backbone_only
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty; choose another OUT")
    if backbone_only:
        model = load_model(source)
        path = write_encoder(folder / BACKBONE_FILE, encoder_of_model(model), model.card)
        return Converted(path, model.card)
    release = read_release(source, unit=unit)
    card, loss_path = release.model.card, folder / LOSS_FILE if release.loss else None
    try:
        if loss_path is not None:
            write_safetensors(loss_path, release.loss, {"earthtone_loss": json.dumps(card, sort_keys=True)})
        return Converted(save_model(folder, release.model, card), card, loss_path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # half a conversion; nothing was in it before
        raise

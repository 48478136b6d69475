"""timm's published image encoders: `timm:NAME` with its weights fetched, `timm:NAME@FILE` with weights from a file."""

import logging
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from earthtone.errors import ConfigError, ModelError
from earthtone.models.checkpoint_file import read_checkpoint
from earthtone.models.encoders import make_encoder
from earthtone.models.trunk import Trunk, fresh_trunk, timm_pictures
from earthtone.models.weights import fill

_log = logging.getLogger(__name__)


def timm_trunk(rest: str, pixels: int | None, output_stride: int) -> Trunk:
    """Return the timm model that `NAME` or `NAME@FILE` names, with its weights. Raises ConfigError, ModelError."""
    name, at, file = rest.partition("@")
    if at:
        return filled_trunk(name, Path(file), pixels, output_stride)
    if not timm.is_model(name):
        make_encoder(name, (3, 224, 224))  # explains
        raise ConfigError(f"timm:{name}: timm has no weights for it; timm:NAME@FILE gives them from a file")
    side, mean, std = timm_pictures(name)
    side = pixels or side
    try:
        encoder, _ = make_encoder(name, (3, side, side), pretrained=True, output_stride=output_stride)
    except Exception as error:  # each layer of the way to the network has errors of its own
        make_encoder(name, (3, side, side), output_stride=output_stride)  # when the model is at fault, it says so
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(
            f"timm:{name}: the Hugging Face Hub was asked for its weights, in vain ({reason}); get the file on "
            f"another machine and write timm:{name}@FILE.safetensors"
        ) from error
    return Trunk(encoder, name, side, mean, std)


def filled_trunk(name: str, file: Path, pixels: int | None, output_stride: int) -> Trunk:
    """Return the encoder `name` with the weights of a file; all must fit but a classifier, which is dropped."""
    trunk = fresh_trunk(name, pixels, output_stride)
    load_trunk(trunk.encoder, read_checkpoint(file), file, classifiers(trunk.encoder))
    return trunk


def classifiers(encoder: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that would be the classifier."""
    named: Any = getattr(encoder, "pretrained_cfg", {}).get("classifier") or ("fc",)
    return (named,) if isinstance(named, str) else tuple(named)


def load_trunk(encoder: nn.Module, weights: dict[str, Tensor], source: Path, heads: tuple[str, ...]) -> None:
    """Fill an encoder; keys below `heads` are dropped and named in the log. Raises ModelError for any other misfit."""
    dropped = sorted(name for name in weights if name.startswith(tuple(f"{head}." for head in heads)))
    fill(encoder, {name: value for name, value in weights.items() if name not in dropped}, source)
    if dropped:
        _log.warning("%s: the classifier was left out (%s)", source, ", ".join(dropped))

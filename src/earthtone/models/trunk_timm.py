"""timm's published image encoders: `timm:NAME` with its weights fetched, `timm:NAME@FILE` with weights from a file."""

import logging
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from earthtone.data.hub_endpoint import hub_endpoint
from earthtone.errors import ConfigError, ModelError
from earthtone.models.checkpoint_file import read_checkpoint
from earthtone.models.encoders import make_encoder
from earthtone.models.trunk import Trunk, fresh_trunk, timm_pictures
from earthtone.models.weights import fill

_REACH_SECONDS = 5.0  # the Hub's client would try for most of a minute
_log = logging.getLogger(__name__)


def timm_trunk(rest: str, pixels: int | None, output_stride: int) -> Trunk:
    """Return the timm model that `NAME` or `NAME@FILE` names, with its weights.

    Without a file they come from the cache of the Hugging Face Hub, or from the Hub. Raises ConfigError, ModelError.
    """
    name, at, given = rest.partition("@")
    if at:
        return filled_trunk(name, Path(given), pixels, output_stride)
    side, mean, std = timm_pictures(name)
    side = pixels or side
    return Trunk(timm_encoder(name, (3, side, side), output_stride), name, side, mean, std)


def timm_encoder(name: str, shape: tuple[int, int, int], output_stride: int = 32) -> nn.Module:
    """Return a timm model for inputs of `shape` with its published weights, as timm fits them to channels and size.

    They come from the cache of the Hugging Face Hub, or from the Hub. Raises ConfigError, ModelError.
    """
    make_encoder(name, shape, output_stride=output_stride)  # explains a wrong name or size before anything is fetched
    try:
        file = _cached(name)
        if file is None:
            _reach_hub()
        encoder, _ = make_encoder(name, shape, pretrained=True, file=file, output_stride=output_stride)
    except Exception as error:  # each layer of the way to the network has errors of its own
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(
            f"timm:{name}: its weights are not in the cache, and {hub_endpoint()} could not give them ({reason}); get "
            f"the file on another machine and write timm:{name}@FILE.safetensors"
        ) from error
    return encoder


def _cached(name: str) -> Path | None:
    """Return the weights' file where the Hub's client has it already."""
    from huggingface_hub import try_to_load_from_cache

    config: Any = get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise ConfigError(f"timm has no weights of {name}")
    found = try_to_load_from_cache(config.hf_hub_id, config.hf_hub_filename or "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def _reach_hub() -> None:
    """Raise OSError when the Hub's host does not answer; behind a proxy nobody can tell."""
    if not getproxies():
        place = urlsplit(hub_endpoint())
        port = place.port or (80 if place.scheme == "http" else 443)
        socket.create_connection((place.hostname or "", port), timeout=_REACH_SECONDS).close()


def filled_trunk(name: str, file: Path, pixels: int | None, output_stride: int) -> Trunk:
    """Return the encoder `name` with the weights of a file; all must fit but a classifier, which is dropped."""
    trunk = fresh_trunk(name, None, output_stride)  # at its family's own size, as the weights are
    load_trunk(trunk.encoder, read_checkpoint(file), file, classifiers(trunk.encoder))
    return replace(trunk, pixels=pixels or trunk.pixels)


def classifiers(encoder: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that would be the classifier."""
    named: Any = getattr(encoder, "pretrained_cfg", {}).get("classifier") or ("fc",)
    return (named,) if isinstance(named, str) else tuple(named)


def load_trunk(encoder: nn.Module, weights: dict[str, Tensor], source: str | Path, heads: tuple[str, ...]) -> None:
    """Fill an encoder; keys below `heads` are dropped and named in the log. Raises ModelError for any other misfit."""
    dropped = sorted(name for name in weights if name.startswith(tuple(f"{head}." for head in heads)))
    fill(encoder, {name: value for name, value in weights.items() if name not in dropped}, source)
    if dropped:
        _log.warning("%s: the classifier was left out (%s)", source, ", ".join(dropped))

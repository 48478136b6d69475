"""Towers that begin with the weights of others: from where, whether they fit, and what a run tells of it."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from timm.models import adapt_input_conv, is_model
from torch import Tensor, nn

from earthtone.errors import ConfigError, ModelError, changes, did_you_mean, flat
from earthtone.models.backbone import (
    BACKBONE_HEADER,
    SOURCES,
    classifiers,
    encoder_from_file,
    fill_encoder,
    timm_encoder,
)
from earthtone.models.config import ModelConfig
from earthtone.models.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageEncoder,
    Tower,
    is_encoder,
    make_encoder,
    timm_pictures,
)
from earthtone.models.storage import (
    BACKBONE_FILE,
    CHECKPOINT_SUFFIXES,
    WEIGHTS_FILE,
    is_release,
    load_model,
    weights_fingerprint,
)
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import fill, read_checkpoint, read_header

START_SPECS = (
    "a run's folder, a .safetensors file, a checkpoint of PyTorch or of the SoundingEarth release (.pt, .pth), "
    "pretrained, timm:NAME, timm:NAME@FILE, package:efficientnet_lite0 or torchgeo:WEIGHTS"
)
_TOWERS = ("image", "audio")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Source:
    """Weights that a tower may begin with."""

    architecture: str
    encoder: nn.Module
    head: nn.Module | None = None
    """The projection of a whole tower."""
    other: str = ""
    """How what it was trained to see or hear differs from what the tower will."""


def start_towers(model: TwoTower) -> dict[str, dict[str, Any]]:
    """Fill towers with the weights that `model.config` names; return, by tower, what they are and where from.

    An encoder must fit by architecture, names and shapes. Weights for red, green and blue are summed for the one
    channel of spectrograms; for metres a pixel (`scale_input`) they get zeros, so that the tower begins as one that is
    not told them. Position embeddings are resampled to the tower's inputs, as timm does. A whole tower of a
    run brings its projection too, where that fits. Torch's generator stays as it was. Raises ConfigError, ModelError.
    """
    check_start(model.config)
    told = {}
    for name in _TOWERS:
        spec = getattr(model.config, f"{name}_weights")
        if spec is not None:
            with torch.random.fork_rng(devices=[]):
                told[name] = _start(model, name, spec)
    return told


def check_start(config: ModelConfig) -> None:
    """Raise ConfigError, ModelError for weights that cannot be found; cheap, nothing is opened."""
    for name in _TOWERS:
        spec = getattr(config, f"{name}_weights")
        if spec is None or spec == "pretrained" or Path(spec).exists():
            continue
        kind, colon, _ = spec.partition(":")
        if colon and kind == "random":
            raise ConfigError(f"model.{name}_weights {spec}: null begins with random weights")
        if not colon or kind not in SOURCES:
            hint = did_you_mean(kind, SOURCES) if colon else ""
            raise ModelError(f"model.{name}_weights {spec!r}: no such file; {hint}{START_SPECS} expected")


def _start(model: TwoTower, name: str, spec: str) -> dict[str, Any]:
    tower: Tower = getattr(model, f"{name}_tower")
    source = _opened(model, name, spec)
    place = f"model.{name}_weights {spec}"
    wanted = getattr(model.config, f"{name}_encoder")
    if _family(source.architecture) != _family(wanted):
        way = f"type --model.{name}_encoder {source.architecture}, or " if is_encoder(source.architecture) else ""
        raise ConfigError(
            f"{place}: holds a {source.architecture}, but model.{name}_encoder is {wanted}; {way}choose other weights"
        )
    fill(tower.encoder, _fitted(source.encoder, tower.encoder, _shape(model, name), place), spec)
    if source.other:
        _log.warning("model.%s_weights %s: learned on something else (%s)", name, spec, source.other)
    return {
        "weights": spec,
        "architecture": source.architecture,
        "sha256": _sha256(spec),
        "fingerprint": weights_fingerprint(tower.encoder),
        "projection": _fill_head(tower, source, name, spec),
    }


def _fill_head(tower: Tower, source: _Source, name: str, spec: str) -> bool:
    """Return whether the source's projection could be taken."""
    if source.head is None:
        return False
    theirs, own = source.head.state_dict(), tower.projection.state_dict()
    if {key: value.shape for key, value in theirs.items()} != {key: value.shape for key, value in own.items()}:
        _log.warning("model.%s_weights %s: its projection has another shape; the encoder alone was taken", name, spec)
        return False
    fill(tower.projection, theirs, spec)
    return True


def _opened(model: TwoTower, name: str, spec: str) -> _Source:
    """Return what `spec` names for the tower `name`; an architecture that is told is compared before a download."""
    wanted, shape = getattr(model.config, f"{name}_encoder"), _shape(model, name)
    if not Path(spec).exists():
        if spec == "pretrained" and not is_model(wanted):  # but one of the Hub, or none
            return _Source(wanted, make_encoder(wanted, shape, pretrained=True)[0])
        kind, _, rest = spec.partition(":") if spec != "pretrained" else ("timm", "", wanted)
        if kind == "timm" and (_family(rest.partition("@")[0]) != _family(wanted)):
            return _Source(rest.partition("@")[0], nn.Identity())
        if kind == "timm" and "@" not in rest:
            side, mean, std = timm_pictures(rest)
            return _of_image_encoder(ImageEncoder(timm_encoder(rest, shape), rest, side, mean, std), name)
        return _of_image_encoder(
            SOURCES[kind](rest, model.signal.image.pixels if name == "image" else None, 32, 0), name
        )
    file = _file(spec)
    header = read_header(file) if file.suffix == ".safetensors" else {}
    if BACKBONE_HEADER in header:
        return _of_image_encoder(encoder_from_file(file, None, 32), name)
    if "earthtone" in header or Path(spec).is_dir():
        return _of_model(load_model(file), model, name)
    weights = read_checkpoint(file)
    if is_release(weights):
        return _of_model(load_model(file), model, name)
    return _Source(wanted, _plain(wanted, weights, shape, spec))


def _of_model(source: TwoTower, model: TwoTower, name: str) -> _Source:
    tower: Tower = getattr(source, f"{name}_tower")
    before, now = _perceived(source, name), _perceived(model, name)
    return _Source(getattr(source.config, f"{name}_encoder"), tower.encoder, tower.projection, changes(before, now))


def _perceived(model: TwoTower, name: str) -> dict[str, Any]:
    """Return what decides how files become the tower's inputs."""
    said = flat(asdict(getattr(model.signal, name)))
    return said if name == "image" else {**said, "sound_scale": model.config.sound_scale}


def _of_image_encoder(source: ImageEncoder, name: str) -> _Source:
    """Return an image encoder as what the tower `name` may begin with."""
    usual = name == "audio" or (source.mean, source.std) == (IMAGENET_MEAN, IMAGENET_STD)
    other = "" if usual else f"mean and std of colours {(source.mean, source.std)}"
    return _Source(source.architecture, source.encoder, other=other)


def _plain(name: str, weights: dict[str, Tensor], shape: tuple[int, int, int], spec: str) -> nn.Module:
    """Return the encoder `name` with a state dict, which may be one for colours, and may have a classifier."""
    encoder, _ = make_encoder(name, shape)
    for key in _first_weights(encoder):
        if key in weights and weights[key].ndim == 4 and weights[key].shape[1] == 3 != shape[0]:
            encoder, _ = make_encoder(name, (3, *shape[1:]))
    fill_encoder(encoder, weights, spec, classifiers(encoder))
    return encoder


def _fitted(source: nn.Module, encoder: nn.Module, shape: tuple[int, int, int], place: str) -> Mapping[str, Tensor]:
    """Return the source's weights for an encoder of inputs `shape`, resampled, summed and filled up where needed.

    `place` is where the user named them, for the ConfigError on those that need metres a pixel.
    """
    weights, expected = source.state_dict(), encoder.state_dict()
    others = [key for key in expected.keys() & weights.keys() if weights[key].shape != expected[key].shape]
    if others and hasattr(source, "set_input_size"):
        cast(Any, source).set_input_size(img_size=shape[1:])
        weights = source.state_dict()
    for key in _first_weights(encoder):
        if key not in weights or weights[key].ndim != 4:
            continue
        theirs, own = weights[key].shape[1], expected[key].shape[1]
        if theirs == 3 and own == 1:
            weights[key] = adapt_input_conv(1, weights[key])
        elif theirs == 3 and own == 4:  # metres a pixel count nothing at first
            weights[key] = torch.cat([weights[key], torch.zeros_like(weights[key][:, :1])], dim=1)
        elif theirs == 4 and own != 4:
            way = "type --model.scale_input true, or " if own == 3 else ""
            raise ConfigError(f"{place}: its encoder is told metres a pixel; {way}choose other weights")
    return weights


def _first_weights(encoder: nn.Module) -> list[str]:
    """Return the keys of the convolutions that see the input."""
    named: Any = getattr(encoder, "pretrained_cfg", {}).get("first_conv") or "conv1"
    return [f"{name}.weight" for name in ((named,) if isinstance(named, str) else named)]


def _shape(model: TwoTower, name: str) -> tuple[int, int, int]:
    image, audio = model.signal.image, model.signal.audio
    return (3, image.pixels, image.pixels) if name == "image" else (1, audio.mels, audio.window_frames)


def _family(name: str) -> str:
    """Return a timm name without the tag of its weights."""
    return name if name.startswith("hf-hub:") else name.partition(".")[0]


def _file(spec: str) -> Path:
    """Return the file of an existing path. Raises ModelError when a folder holds none."""
    path = Path(spec)
    if not path.is_dir():
        if path.suffix not in (".safetensors", *CHECKPOINT_SUFFIXES):
            raise ModelError(f"{path}: {START_SPECS} expected")
        return path
    for name in (WEIGHTS_FILE, BACKBONE_FILE):
        if (path / name).is_file():
            return path / name
    raise ModelError(f"{path}: neither {WEIGHTS_FILE} nor {BACKBONE_FILE} there; a run that has kept weights expected")


def _sha256(spec: str) -> str | None:
    """Return the hash of the file that a spec names, or None where it is a package's or the Hub's."""
    place = spec if Path(spec).exists() else spec.partition("@")[2]
    if not place:
        return None
    with (_file(place) if Path(place).is_dir() else Path(place)).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

"""Models on disk, of ours and of the SoundingEarth release, opened by what a user calls them."""

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from earthtone.device import choose_device
from earthtone.errors import ModelError, shell_line
from earthtone.files import FORMATS, format_of, write_text_atomic
from earthtone.models.config import ModelConfig, model_to_dict
from earthtone.models.encoders import RELEASE_PIXELS, ReleaseResNet, check_encoder_name
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import check_fit, fill, hash_weights, read_checkpoint, read_safetensors, write_safetensors
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig, signal_from_dict, signal_to_dict


def model_fingerprint(model: TwoTower) -> str:
    """Return a hash (32 hex digits) of config, signal and weights; the same in every process and on every device."""
    said = {"model": model_to_dict(model.config), "signal": signal_to_dict(model.signal)}
    digest = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16)
    hash_weights(digest, model)
    return digest.hexdigest()


def weights_fingerprint(module: nn.Module) -> str:
    """Return a hash (32 hex digits) of names, shapes and values of a module's weights, wherever they lie."""
    digest = hashlib.blake2b(digest_size=16)
    hash_weights(digest, module)
    return digest.hexdigest()


IMAGE_PREFIX = "img_encoder.module_list.0."
SOUND_PREFIX = "snd_encoder.module_list.0."
LOSS_PREFIX = "loss_function."
_SHOWN = 3  # keys of each kind that a message names
_MOST_DIMENSIONS = 8192  # the release has 128; a small file can claim tensors of any size
_MOST_LOSS_VALUES = 2**24  # its largest projection head has 131,712

#: What the release's images and sounds are: 1,024 px at 0.2 m; the centre 512 px in training, 384 px in evaluation,
#: seen at 192; spectrograms of 128 mel rows, windows of 128 frames.
RELEASE_SIGNAL = SignalConfig(
    audio=AudioConfig(window_seconds=1.28, hop_seconds=0.01, mels=128, input="spectrogram"),
    image=ImageConfig(pixels=RELEASE_PIXELS, stored_pixels=512, footprint_m=102.4, view=0.75),
)


@dataclass(frozen=True)
class ReleaseModel:
    """A converted checkpoint."""

    model: TwoTower
    """Both towers with their heads; its card says where it comes from."""
    loss: Mapping[str, Tensor]
    """Learnt parts of the loss, such as the projection head `g.*` of SimCLR: without a part in the embeddings."""


def is_release(weights: Collection[str]) -> bool:
    """Return whether names of tensors are those of a whole model of the release."""
    return any(name.startswith((IMAGE_PREFIX, SOUND_PREFIX)) for name in weights)


def read_release(path: Path, *, unit: bool = False) -> ReleaseModel:
    """Return the model of a release checkpoint, in evaluation mode; nothing in the file is executed.

    A state dict does not tell by which loss it was trained: for the contrastive ones, which compare by cosine, say
    `unit`. Raises ModelError, naming missing and unexpected keys, for anything that is not such a checkpoint.
    """
    weights = read_checkpoint(path)
    if not is_release(weights):
        raise ModelError(
            f"{path}: no checkpoint of the SoundingEarth release ({len(weights)} tensors, the first is "
            f"{next(iter(weights))!r:.80}; {IMAGE_PREFIX}conv1.weight was expected)"
        )
    names = {prefix: _encoder_name(weights, prefix) for prefix in (IMAGE_PREFIX, SOUND_PREFIX)}
    ours = _our_names(weights, names, path)
    config = ModelConfig(
        image_encoder=names[IMAGE_PREFIX],
        audio_encoder=names[SOUND_PREFIX],
        dimensions=int(ours["image_tower.projection.weight"].shape[0]),
        unit=unit,
        sound_scale="soundingearth",
    )
    model = TwoTower(config, RELEASE_SIGNAL)
    model.load_state_dict(ours)
    loss = {name.removeprefix(LOSS_PREFIX): value for name, value in weights.items() if name.startswith(LOSS_PREFIX)}
    model.card = _card(path, loss)
    return ReleaseModel(model.eval(), loss)


def _encoder_name(weights: Mapping[str, Tensor], prefix: str) -> str:
    """Return which ResNet a tower is, by its keys: 50 has a third convolution a block, 34 more blocks than 18."""
    if f"{prefix}layer1.0.conv3.weight" in weights:
        return "release_resnet50"
    return "release_resnet34" if f"{prefix}layer3.5.conv1.weight" in weights else "release_resnet18"


def _our_names(weights: Mapping[str, Tensor], names: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Return the tensors by our names. Raises ModelError unless each has its place and its shape."""
    found = {name: value for name, value in weights.items() if not name.startswith(LOSS_PREFIX)}
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}  # theirs -> ours, shape in the file
    heads = [found[f"{prefix}fc.bias"].shape for prefix in names if f"{prefix}fc.bias" in found]
    dimensions = int(heads[0][0]) if heads and len(heads[0]) == 1 else 128
    loss = sum(value.numel() for name, value in weights.items() if name.startswith(LOSS_PREFIX))
    if not 1 <= dimensions <= _MOST_DIMENSIONS or loss > _MOST_LOSS_VALUES:
        raise ModelError(
            f"{path}: embeddings of {dimensions} dimensions and {loss} values of the loss; the release has 128, and at "
            "most a small projection"
        )
    for prefix, tower, channels in ((IMAGE_PREFIX, "image_tower", 3), (SOUND_PREFIX, "audio_tower", 1)):
        encoder = ReleaseResNet(names[prefix], channels)
        for key, value in encoder.state_dict().items():
            expected[prefix + key] = (f"{tower}.encoder.{key}", tuple(value.shape))
        expected[f"{prefix}fc.weight"] = (f"{tower}.projection.weight", (dimensions, encoder.num_features, 1, 1))
        expected[f"{prefix}fc.bias"] = (f"{tower}.projection.bias", (dimensions,))
    problems = [
        ("missing", [key for key in expected if key not in found]),
        ("unexpected", [key for key in found if key not in expected]),
        ("of another shape", [key for key in expected if key in found and tuple(found[key].shape) != expected[key][1]]),
    ]
    if said := [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in problems if keys]:
        towers = " and ".join(f"{names[p].removeprefix('release_')} {p.split('_')[0]}_encoder" for p in names)
        raise ModelError(f"{path}: no whole checkpoint of the SoundingEarth release ({towers}): {', '.join(said)}")
    # the head is a 1x1 convolution there, a linear layer here
    return {
        name: found[key].flatten(1) if key.endswith("fc.weight") else found[key] for key, (name, _) in expected.items()
    }


def _some(keys: list[str]) -> str:
    shown = [re.sub(r"[^\w.\-]", "?", key)[:100] for key in sorted(keys)[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(keys) > _SHOWN else "")


def _card(path: Path, loss: Mapping[str, Tensor]) -> dict[str, object]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "converted_from": {
            "file": path.name,
            "sha256": digest,
            "system": "SoundingEarth release (Heidler et al., arXiv 2108.00688)",
            "license": "none stated by its authors",
            "loss_parameters": sorted(loss),
        }
    }


WEIGHTS_FILE = "model.safetensors"
BACKBONE_FILE = "backbone.safetensors"  # of an image encoder alone
CARD_FILE = "card.json"
_BOTH_TOWERS = 1  # the format of models with both towers: earlier versions open them
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")  # what torch.save writes


def save_model(folder: Path, model: TwoTower, card: Mapping[str, Any]) -> Path:
    """Write weights and card into `folder` and return the weights' path; each file is whole or absent.

    The card in the header is what is loaded; the copy in `card.json` is for people.
    """
    full = {
        **card,
        "format": _BOTH_TOWERS if model.config.only is None else FORMATS["model"],
        "model": model_to_dict(model.config),
        "signal": signal_to_dict(model.signal),
    }
    path = folder / WEIGHTS_FILE
    write_safetensors(path, model.state_dict(), {"earthtone": json.dumps(full, sort_keys=True)})
    write_text_atomic(folder / CARD_FILE, json.dumps(full, indent=1, sort_keys=True) + "\n")
    return path


def load_model(path: str | Path, device: str | torch.device = "cpu") -> TwoTower:
    """Return the model of a run's folder, of a `.safetensors` file or of a checkpoint of the SoundingEarth release.

    It is in evaluation mode, on `device`: `cpu`, `cuda`, `mps`, or `auto` for the best that is there. Nothing is
    executed from the file. Raises ModelError when it is missing, broken or none of these, ConfigError for a device that
    is not there.
    """
    device = choose_device(device)
    path = Path(path)
    file = path / WEIGHTS_FILE if path.is_dir() else path
    if file.suffix in CHECKPOINT_SUFFIXES:
        return read_release(file).model.to(device)
    if not file.exists():
        raise ModelError(f"{path}: {_instead(path)}")
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
    with _Undrawn():
        model = _empty_model(file, card)
    fill(model, weights, file)
    del weights  # this frame may outlive the call, in a cycle of an exception that was caught while a model was made
    if model.config.scale_input and not 0 < float(model.usual_side_m) < math.inf:  # also NaN
        raise ModelError(
            f"{file}: usual_side_m is {float(model.usual_side_m):g}; the metres along a side of a tile, more than 0, "
            "expected: a damaged file; copy it again"
        )
    return model.to(device).eval()


def _instead(path: Path) -> str:
    """Return what lacks where no model is, and what to type instead."""
    kind, colon, _ = str(path).partition(":")
    if colon and kind == "random":
        return "an untrained model is no file; --model takes it, and open_backbone its image encoder"
    if colon and kind in ("timm", "package", "torchgeo", "tile2vec"):
        return "an image encoder only, for open_backbone; a whole model was expected"
    if (path / BACKBONE_FILE).exists():
        return f"holds {BACKBONE_FILE}, an image encoder only, for open_backbone; a whole model was expected"
    return f"no {WEIGHTS_FILE} there; train one with: earthtone pretrain DATA --out {shell_line(path)}"


_DRAWS = (Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_)


class _Undrawn(TorchFunctionMode):
    """Random weights are not drawn: all will come from a file, and to draw those of two ResNet-18s takes 0.4 s."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if function in _DRAWS:
            return args[0] if args else named["tensor"]
        return function(*args, **named)


def _empty_model(file: Path, card: dict[str, Any]) -> TwoTower:
    format_of(card, "model", file)
    try:
        # the weights are in the file: whatever the towers started from must not be fetched again
        config = ModelConfig(**{**card["model"], "image_weights": None, "audio_weights": None})
        for name in (config.image_encoder, config.audio_encoder):
            check_encoder_name(name, file)
        model = TwoTower(config, signal_from_dict(card["signal"]))
    except ModelError:
        raise
    except Exception as error:  # a card may hold anything, and timm's models fail in their own ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ModelError(f"{file}: its card does not describe a model of this version ({reason})") from error
    model.card = card
    return model


#: What an untrained model hears and sees.
RANDOM_SIGNAL = SignalConfig(
    audio=AudioConfig(sample_rate_hz=16_000, window_seconds=5.0, mels=64),
    image=ImageConfig(pixels=192, stored_pixels=256),
)


def open_model(spec: str | Path, *, seed: int = 0, device: str | torch.device = "cpu") -> TwoTower:
    """Return the two-tower model that `spec` names, in evaluation mode.

    `spec` is a run's folder, a `.safetensors` file, a checkpoint of the SoundingEarth release, or `random:NAME`: both
    towers are NAME, untrained, drawn with `seed`. Raises ConfigError, ModelError.
    """
    kind, colon, name = str(spec).partition(":")
    if not colon or Path(spec).exists():
        return load_model(spec, device)
    if kind != "random":
        raise ModelError(
            f"model {str(spec)!r} has no sound tower; a run's folder, a .safetensors file, a checkpoint of the "
            "SoundingEarth release or random:NAME expected"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TwoTower(ModelConfig(image_encoder=name, audio_encoder=name), RANDOM_SIGNAL)
    model.card = {"untrained": {"encoder": name, "seed": seed}}
    return model.to(device).eval()


def opened_model(model: TwoTower | str | Path, *, seed: int = 0, device: str = "auto") -> TwoTower:
    """Return a model that is open already as it is, and open any other on `device`. Raises ModelError, ConfigError."""
    return model if isinstance(model, TwoTower) else open_model(model, seed=seed, device=choose_device(device))


def model_name(model: TwoTower | str | Path) -> str:
    """Return what results call a model: as it was named, `two-tower model` for one that is open already."""
    return "two-tower model" if isinstance(model, TwoTower) else str(model)

"""Towers as weights by the names of who builds the network: timm, torchvision, safetensors, the hub's mixin."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from earthtone.errors import ConfigError, ModelError
from earthtone.exports.agreement import Run
from earthtone.exports.graphs import NUMBERS
from earthtone.exports.towers import Batch, Picture, Sound, Subject
from earthtone.models.encoders import is_timms_own, make_projection, sizings
from earthtone.models.two_tower import Embeddings
from earthtone.models.weights import write_safetensors

#: timm's ResNets that are torchvision's, parameter by parameter -> torchvision's names.
TORCHVISION = {
    "resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50", "resnet101": "resnet101",
    "resnet152": "resnet152", "wide_resnet50_2": "wide_resnet50_2", "wide_resnet101_2": "wide_resnet101_2",
    "resnext50_32x4d": "resnext50_32x4d", "resnext101_32x8d": "resnext101_32x8d",
}  # fmt: skip
_RUNS_ALL = "--to onnx and --to torch-export take any encoder, --to safetensors keeps its weights"


@dataclass(frozen=True)
class Built:
    """A tower as another library builds it: how, and its weights there."""

    arguments: Mapping[str, Any]
    """What timm's `create_model` is told beside the name."""
    features: int


def refuse_others(subject: Subject, to: str) -> None:
    """Raise ConfigError for encoders that `to` cannot build without earthtone."""
    for medium, name in subject.architecture.items():
        if to == "torchvision" and name.partition(".")[0] not in TORCHVISION:
            raise ConfigError(
                f"--to torchvision: the {medium} encoder is {name}, which torchvision cannot build; it builds "
                f"{', '.join(TORCHVISION)}. {_other_ways(name)}"
            )
        if to in ("timm", "hf") and not is_timms_own(name):
            why = (
                "a ResNet with a stem of 32 channels and a stage of 182" if name.startswith("release_") else "no model"
            )
            raise ConfigError(
                f"--to {to}: the {medium} encoder is {name}, {why} of timm's, so that no program without earthtone "
                f"could build it. {_other_ways(name)}"
            )


def _other_ways(name: str) -> str:
    return f"{'--to timm and --to hf work here; ' if is_timms_own(name) else ''}{_RUNS_ALL}"


def built_by_timm(subject: Subject, medium: str) -> Built:
    """Return how timm builds a tower's encoder without a classifier. Raises ModelError."""
    program = subject.program(medium)
    wanted = {name: value.shape for name, value in program.encoder.state_dict().items()}
    shape = _shape(subject, medium)
    for sizing in sizings(shape):
        arguments = {"in_chans": shape[0], **sizing}
        try:
            with torch.device("meta"):
                made = timm.create_model(subject.architecture[medium], num_classes=0, **arguments)
        except (TypeError, AssertionError):
            continue
        if {name: value.shape for name, value in made.state_dict().items()} == wanted:
            return Built(arguments, features(subject, medium))
    raise ModelError(
        f"{subject.name}: timm {timm.__version__} builds another {subject.architecture[medium]} than this {medium} "
        f"encoder is; {_RUNS_ALL}"
    )


def _shape(subject: Subject, medium: str) -> tuple[int, int, int]:
    if medium == "image":
        return subject.channels, subject.pixels, subject.pixels
    assert subject.model is not None  # noqa: S101 - sounds have a model
    return 1, subject.model.signal.audio.mels, subject.model.signal.audio.window_frames


def features(subject: Subject, medium: str) -> int:
    """Return how many features an encoder gives."""
    if subject.model is None:
        assert subject.backbone is not None  # noqa: S101 - one of them is there
        return subject.backbone.features
    return (subject.model.image_tower if medium == "image" else subject.model.audio_tower).features


def write_timm(folder: Path, subject: Subject, precision: str) -> None:
    """Write a folder a tower that `timm.create_model("local-dir:FOLDER")` loads, beside it what timm has no place for.

    A linear projection is the classifier, where the family's classifier is linear on the same features.
    """
    for medium in subject.media:
        program, built = subject.program(medium), built_by_timm(subject, medium)
        network, fits = _with_classifier(subject, medium, built)
        place = folder / medium
        place.mkdir()
        write_safetensors(place / "model.safetensors", _in(network.state_dict(), precision), {"format": "pt"})
        (place / "config.json").write_text(json.dumps(_timm_config(subject, medium, network, built), indent=1) + "\n")
        if not fits and subject.projection != "none":
            head = _in(program.projection.state_dict(), precision)
            write_safetensors(folder / f"{medium}_projection.safetensors", head, {"format": "pt"})
    _write_sound_parts(folder, subject)


def _with_classifier(subject: Subject, medium: str, built: Built) -> tuple[nn.Module, bool]:
    """Return timm's model with the projection as classifier and True, or without any and False."""
    program = subject.program(medium)
    encoder, head = program.encoder, program.projection
    if not isinstance(head, nn.Linear):
        return encoder, False
    made = timm.create_model(subject.architecture[medium], num_classes=head.out_features, **built.arguments)
    place: Any = made.get_classifier()
    if not isinstance(place, nn.Linear) or place.weight.shape != head.weight.shape or place.bias is None:
        return encoder, False
    weights = {**made.state_dict(), **encoder.state_dict()}
    at = next(name for name, module in made.named_modules() if module is place)
    weights |= {f"{at}.{name}": value for name, value in head.state_dict().items()}
    try:
        made.load_state_dict(weights)
    except RuntimeError:
        return encoder, False
    made.eval()
    inputs = torch.randn(2, *_shape(subject, medium), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = head(encoder(inputs)), made(inputs)
    same = bool((found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp_min(1e-6))
    return (made, True) if same else (encoder, False)


def _timm_config(subject: Subject, medium: str, network: nn.Module, built: Built) -> dict[str, Any]:
    """Return what timm's `config.json` holds of a model, with how its inputs are made."""
    own: Any = network
    known: dict[str, Any] = own.pretrained_cfg
    if medium == "image":
        mean = (subject.picture.mean.flatten() / 255).tolist()
        std = (subject.picture.std.flatten() / 255).tolist()
    else:
        assert subject.sound is not None  # noqa: S101 - asked for what is in `media`
        mean, std = ([value / 255] for value in subject.sound.scale)
    view = 1.0 if subject.model is None or medium != "image" else subject.model.signal.image.view
    config = {
        "input_size": list(_shape(subject, medium)), "fixed_input_size": bool(known.get("fixed_input_size")),
        "interpolation": "bilinear",
        "crop_pct": view, "crop_mode": "center", "mean": mean, "std": std,
        "num_classes": own.num_classes, "pool_size": None,
        "first_conv": known.get("first_conv"), "classifier": known.get("classifier"), "custom_load": False,
    }  # fmt: skip
    name, _, tag = subject.architecture[medium].partition(".")
    pool = getattr(own, "global_pool", None)
    return {
        "architecture": name, "num_classes": own.num_classes, "num_features": built.features,
        "global_pool": pool if isinstance(pool, str) else "avg",
        "model_args": dict(built.arguments), "pretrained_cfg": {**config, **({"tag": tag} if tag else {})},
    }  # fmt: skip


def write_torchvision(folder: Path, subject: Subject, precision: str) -> None:
    """Write a state dict a tower by torchvision's names, the projection as `fc`, and the image transforms as JSON."""
    for medium in subject.media:
        program = subject.program(medium)
        weights = dict(program.encoder.state_dict())
        weights |= {f"fc.{name}": value for name, value in program.projection.state_dict().items()}
        write_safetensors(folder / f"{medium}.safetensors", _in(weights, precision), {"format": "pt"})
    view = 1.0 if subject.model is None else subject.model.signal.image.view
    transforms = [
        {"name": "CenterCrop", "size": "the shorter side"},
        {"name": "CenterCrop", "size": f"{view:g} of it"},
        {"name": "Resize", "size": [subject.pixels] * 2, "interpolation": "bilinear", "antialias": True},
        {"name": "ToDtype", "dtype": "float32", "scale": True},
        {
            "name": "Normalize",
            "mean": (subject.picture.mean.flatten() / 255).tolist(),
            "std": (subject.picture.std.flatten() / 255).tolist(),
        },
    ]
    note = "near what the tower was trained on; exactly that, area means and the JPEG of tiles: README.md"
    (folder / "transforms.json").write_text(json.dumps({"transforms": transforms, "note": note}, indent=1) + "\n")
    _write_sound_parts(folder, subject)


def write_flat(folder: Path, subject: Subject, precision: str, metadata: Mapping[str, str]) -> None:
    """Write both towers into one `model.safetensors` with flat names, as the class in the README takes them."""
    weights: dict[str, Tensor] = {}
    for medium in subject.media:
        program = subject.program(medium)
        for part in ("encoder", "projection"):
            kept = _in(getattr(program, part).state_dict(), precision)
            weights |= {f"{medium}.{part}.{name}": value for name, value in kept.items()}
    weights |= {name if name.startswith("reducer.") else f"audio.{name}": v for name, v in sound_parts(subject).items()}
    write_safetensors(folder / "model.safetensors", weights, metadata)


def sound_parts(subject: Subject) -> dict[str, Tensor]:
    """Return what stands before and behind the sound encoder: `window`, `mel_filters`, the reducer's weights."""
    if subject.sound is None or subject.model is None:
        return {}
    parts = {f"reducer.{name}": value for name, value in subject.sound.reducer.state_dict().items()}
    if subject.sound.front is not None:
        size = round(subject.model.signal.audio.fft_seconds * subject.model.signal.audio.sample_rate_hz)
        parts |= {"window": torch.hann_window(size), "mel_filters": subject.sound.front.filters[:, :, 0]}
    return parts


def _write_sound_parts(folder: Path, subject: Subject) -> None:
    if subject.sound is not None:
        write_safetensors(folder / "sound_parts.safetensors", sound_parts(subject), {"format": "pt"})


def _in(weights: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Return weights in a precision; whole numbers, such as counts of batches, stay as they are."""
    number = NUMBERS[precision]
    return {name: value.to(number) if value.is_floating_point() else value for name, value in weights.items()}


def run_written(folder: Path, subject: Subject, medium: str, to: str) -> Run:
    """Return what runs a tower from the files that were written, as the library builds it, for the check of parity."""
    program: Picture | Sound = copy.deepcopy(subject.program(medium))
    encoder, head = _loaded(folder, subject, medium, to)
    program.encoder, program.projection = encoder.eval().float(), head.eval().float()

    def run(given: Batch) -> Embeddings:
        with torch.no_grad():
            found = program(torch.from_numpy(given))
        first: Tensor = found if isinstance(found, Tensor) else found[0]
        return np.asarray(first.numpy())

    return run


def _loaded(folder: Path, subject: Subject, medium: str, to: str) -> tuple[nn.Module, nn.Module]:
    """Return encoder and projection as they come out of the files."""
    head: nn.Module = nn.Identity()
    wide = features(subject, medium)
    if subject.projection != "none":
        assert subject.model is not None  # noqa: S101 - only models have projections
        head = make_projection(wide, subject.model.config.dimensions, subject.projection)
    if to == "timm":
        network = timm.create_model(f"local-dir:{folder / medium}", pretrained=True)
        file = folder / f"{medium}_projection.safetensors"
        if not file.exists():
            return network, nn.Identity()
        head.load_state_dict(load_file(file))
        return network, head
    if to == "torchvision":
        return _torchvision(subject, medium, head, load_file(folder / f"{medium}.safetensors")), nn.Identity()
    weights = load_file(folder / "model.safetensors")
    encoder = copy.deepcopy(subject.program(medium).encoder)
    if is_timms_own(subject.architecture[medium]):
        arguments = dict(built_by_timm(subject, medium).arguments)
        encoder = timm.create_model(subject.architecture[medium], num_classes=0, **arguments)
    for module, part in ((encoder, "encoder"), (head, "projection")):
        prefix = f"{medium}.{part}."
        found = {name.removeprefix(prefix): v.float() for name, v in weights.items() if name.startswith(prefix)}
        module.load_state_dict(found)
    return encoder, head


def _torchvision(subject: Subject, medium: str, head: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    from torchvision import models

    name = TORCHVISION[subject.architecture[medium].partition(".")[0]]
    network: Any = getattr(models, name)()
    channels = _shape(subject, medium)[0]
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    network.fc = head
    network.load_state_dict(weights)
    module: nn.Module = network
    return module
